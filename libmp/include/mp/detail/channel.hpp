#pragma once
/// @file
/// What every channel is, below its types: bytes and descriptors that go in at one side and come out at the other.
/// Not for users: `queue`, `pipe`, `connection` and the mailbox are the typed faces of this.
///
/// Shape:    one object per process and channel; handles count their roles in it.
/// Threads:  thread-safe, but for a pipe: one putting and one getting thread.   Processes: process-bound (handles
/// travel). Source:   doc/decisions/0006-channels.md.

#include "mp/duration.hpp"
#include "mp/unique_fd.hpp"

#include <sys/types.h>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace mp {

/// What carries a channel: shared memory (default), a socket alone, or this process's memory (between threads; cannot
/// travel to another process).
enum class transport { ring, socket, local };
/// What becomes of an item in the hand of a consumer that dies.
enum class on_death { report, redeliver };

namespace detail {

class encoder;
class decoder;

/// What a handle may do. `whole_get` is a whole handle after `close_sender()`.
enum class role : unsigned char { sender, receiver, whole, whole_get };
constexpr bool may_put(role r) noexcept { return r == role::sender || r == role::whole; }
constexpr bool may_get(role r) noexcept { return r != role::sender; }

/// busy: another thread or process is in the middle of a put, perhaps without its processor; only try_put says so.
enum class op_status : unsigned char { ok, timed_out, closed, peer_died, busy };

/// One encoded message on its way in. Nothing of it is taken unless put returns ok.
struct outgoing {
  std::size_t size = 0;              ///< bytes of the encoded message
  std::span<const std::byte> bytes;  ///< the message, where it is encoded already (then bytes.size() == size)
  void (*write)(void* context, std::span<std::byte> room) = nullptr;  ///< else: encodes exactly `size` bytes into room;
  void* context = nullptr;           ///< called outside of locks; what it throws, put throws
  std::span<const unique_fd> fds{};  ///< attachments, duplicated by the put
};

/// One message on its way out: valid only during the call it is given to.
struct incoming {
  std::span<const std::byte> bytes;
  std::vector<unique_fd> fds;
  std::uint64_t id = 0;  ///< unique in its channel
};
using deliver = void (*)(void* context, incoming&& item);

/// A message that was in the hand of a consumer when it died.
struct lost_message {
  incoming item;
  pid_t consumer = 0;
  std::string consumer_name;
};
using deliver_lost = void (*)(void* context, lost_message&& item);

enum class channel_kind : unsigned char { queue, pipe };

struct channel_options {
  channel_kind kind = channel_kind::queue;
  mp::transport transport = mp::transport::ring;
  mp::on_death on_consumer_death = mp::on_death::report;
  bool joinable = false;
  std::size_t maxsize = 0;      ///< items; 0: no bound
  std::size_t max_bytes = 0;    ///< 0: the default of the kind
  std::uint64_t type_hash = 0;  ///< of the item type
};

/// The side of a channel that is looked at.
enum class side : unsigned char { get, put };

class channel : public std::enable_shared_from_this<channel> {
public:
  virtual ~channel() = default;
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;

  /// Counts one more handle of this process. Handles are the only owners of roles.
  virtual void add_role(role) = 0;
  /// Lets one handle go; the last one that could put (or get) tells the other side.
  virtual void drop_role(role) noexcept = 0;

  /// Puts one message. `until`: time_point::min() never waits, max() waits without limit.
  /// timed_out: no room. closed: nobody left to get it, or shut down. peer_died: the one reader (pipe) vanished.
  /// Throws too_large, out_of_resources, wrong_process, and what `write` throws.
  virtual op_status put(role as, const outgoing&, time_point until) = 0;
  /// A put that never waits, and tells no room (timed_out) from a put of somebody else that is under way (busy).
  virtual op_status put_now(role as, const outgoing& m) { return put(as, m, time_point::min()); }

  /// Gets at least one and at most `most` messages: waits for the first one only. Each is given to `fn` in order.
  /// What `fn` throws leaves get; that message is consumed, later ones stay. `taken` counts what was given.
  virtual op_status get(role as, std::size_t most, deliver fn, void* context, time_point until, std::size_t& taken) = 0;

  /// For everybody: puts end with closed, gets drain and then end with closed.
  virtual void shutdown() = 0;
  /// The items of dead consumers that nobody took yet (on_death::report).
  virtual void take_lost(deliver_lost fn, void* context) = 0;
  /// The calling thread is done with what it has in hand (next get, task_done and close do it, too).
  virtual void clear_hand() noexcept = 0;

  virtual std::size_t size() const = 0;  ///< a snapshot
  virtual bool full() const = 0;         ///< a snapshot
  virtual const channel_options& options() const noexcept = 0;

  /// joinable only: one item is done; false if there were more calls than items.
  virtual bool task_done() = 0;
  /// joinable only: waits until every item put is done.
  virtual op_status join(time_point until) = 0;

  /// Would an operation of this side not wait now (an item, room, or the end)?
  virtual bool ready(role as, side) = 0;
  /// Says that somebody is going to poll: from now on `poll_fd(side)` becomes readable when the side becomes ready.
  /// Gives ready(): if true there is nothing to poll for. Wake-ups may be spurious, and one may come late when a
  /// process dies: look again at least every 50 ms.
  virtual bool prepare_poll(role as, side) = 0;
  /// A borrowed descriptor; readable when there is something to look at.
  virtual int poll_fd(side) = 0;

  /// Is nobody left who could take a put of this role? Looks now (a put looks now and then); false if not known.
  virtual bool nobody_gets(role) const { return false; }
  /// After closed: did the last one of that side leave in order, or did it vanish?
  virtual bool left_in_order(side) const noexcept { return true; }
  /// A mailbox that outlives its holders: the present one is gone. Until another comes a put ends with closed, and
  /// left_in_order(side::get) says whether that is for good.
  virtual void change_holder([[maybe_unused]] bool for_good) noexcept {}
  /// How often the holder has changed, as all processes see it.
  virtual std::uint32_t holder_changes() const noexcept { return 0; }
  /// Changes the bound in items. Throws invalid_argument where the transport cannot.
  virtual void set_maxsize(std::size_t items);

  /// Writes a handle of role `r` into a message; the handle in flight counts as one. Throws invalid_argument for local.
  virtual void export_handle(encoder&, role r) = 0;

protected:
  channel() = default;
};

/// Does a try cost next to nothing? Over a socket it may be a question to another process, on top of a limit.
inline bool tries_at_once(const channel& c) noexcept { return c.options().transport != transport::socket; }

std::shared_ptr<channel> make_channel(const channel_options&);
/// The orderly end of this process: whoever waits for us at a channel learns that we left. Twice is nothing.
void leave_channels() noexcept;

/// Reads a handle that export_handle wrote; `expected_type`: the item type's hash (0: any). Throws type_mismatch,
/// bad_frame. The role is counted already: the caller owns it.
struct imported_handle {
  std::shared_ptr<mp::detail::channel> channel;
  role as{};
};
imported_handle import_handle(decoder&, std::uint64_t expected_type);

}  // namespace detail
}  // namespace mp
