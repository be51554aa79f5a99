// The rig of the fault tests. Must not repair what it looks at.

#include "ring_rig.hpp"

#include <sys/mman.h>
#include <set>

namespace mp_fault {
namespace ring = mp::ring;

namespace {

constexpr u64 mix(u64 x) noexcept {
  x ^= x >> 31;
  x *= 0x9e3779b97f4a7c15;
  return x ^ x >> 29;
}

void take(void* context, incoming&& item) {
  seen s = look_at(item.bytes);
  s.sequence = item.id;
  s.fds = item.fds.size();
  static_cast<std::vector<seen>*>(context)->push_back(s);
}

}  // namespace

travelling send_off(channel& c, role r) {
  std::array<std::byte, 256> room;
  mp::detail::encoder e(room);
  c.export_handle(e, r);
  return {{room.begin(), room.begin() + static_cast<std::ptrdiff_t>(e.size())}, std::move(e.attachments())};
}

imported_handle arrive(travelling&& t) {
  mp::detail::decoder d(t.bytes, std::move(t.fds));
  d.number<std::uint8_t>();  // the transport: always ring here
  return ring::import_ring_handle(d, 0);
}

std::shared_ptr<channel> make(channel_kind kind, mp::on_death on_death, bool joinable, std::size_t maxsize,
                              std::size_t max_bytes) {
  channel_options o;
  o.kind = kind;
  o.on_consumer_death = on_death;
  o.joinable = joinable;
  o.maxsize = maxsize;
  o.max_bytes = max_bytes;
  return ring::make_ring_channel(o);
}

std::vector<std::byte> make_item(u64 id, std::size_t size) {
  std::vector<std::byte> bytes(size);
  u64 sum = mix(id + size);
  for (std::size_t i = small_item; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(id * 31 + i * 7);
    sum = sum * 31 + static_cast<u64>(bytes[i]);
  }
  const u64 head[3] = {id, size, sum};
  std::memcpy(bytes.data(), head, sizeof head);
  return bytes;
}

seen look_at(std::span<const std::byte> bytes) {
  u64 head[3];
  if (bytes.size() < sizeof head) return {};
  std::memcpy(head, bytes.data(), sizeof head);
  u64 sum = mix(head[0] + bytes.size());
  for (std::size_t i = small_item; i < bytes.size(); ++i) sum = sum * 31 + static_cast<u64>(bytes[i]);
  return {head[0], 0, bytes.size(), 0, head[1] == bytes.size() && head[2] == sum};
}

op_status put_bytes(channel& c, role r, std::span<const std::byte> bytes, time_point until,
                    std::span<const unique_fd> fds) {
  outgoing o;
  o.size = bytes.size();
  o.bytes = bytes;
  o.fds = fds;
  return c.put(r, o, until);
}

op_status get_items(channel& c, role r, std::vector<seen>& into, time_point until, std::size_t most) {
  std::size_t taken = 0;
  return c.get(r, most, take, &into, until, taken);
}

std::vector<seen> lost_items(channel& c) {
  std::vector<seen> lost;
  c.take_lost([](void* context, lost_message&& message) { take(context, std::move(message.item)); }, &lost);
  return lost;
}

view::view(const channel& c) {
  const int fd = dynamic_cast<const ring::ring_channel&>(c).memory_fd();
  control_map_ = mp::os::mapping(fd, 0, ring::control_bytes);
  bodies_ = mp::os::mapping(fd, ring::body_table_offset, 64 * ring::page_bytes);
  cells_ = mp::os::mapping(fd, ring::hands_offset, 64 * ring::cell_bytes);
  log_ = mp::os::mapping(fd, ring::log_offset, 64 * ring::extent_bytes);
  control_ = reinterpret_cast<ring::control*>(control_map_.data());
  participants_ = reinterpret_cast<ring::participant*>(control_map_.data() + ring::participants_offset);
  next_ = reinterpret_cast<std::atomic<u32>*>(control_map_.data() + ring::next_offset);
}

std::string view::damage() const {
  const ring::control& c = *control_;
  if (c.put_lock != 0 || c.get_lock != 0) return "a lock is taken";
  std::set<u32> circle, free;
  for (u32 at = ring::extent_of(c.tail); circle.insert(at).second; at = next_[at])
    if (at >= c.extents_used) return "the circle of extents leaves the memory";
  if (circle.size() != c.circle_extents)
    return "the circle has " + std::to_string(circle.size()) + " extents, not " + std::to_string(c.circle_extents);
  if (!circle.contains(ring::extent_of(c.head))) return "the read position is not in the circle";
  for (u32 link = c.free_extent; link != 0; link = next_[link - 1])
    if (link > c.extents_used || circle.contains(link - 1) || !free.insert(link - 1).second)
      return "the list of free extents is torn";
  if (circle.size() + free.size() != c.extents_used)
    return "of " + std::to_string(c.extents_used) + " extents, " + std::to_string(circle.size() + free.size()) +
           " are left";

  std::set<u32> listed;
  u64 in_use = 0, idle = 0;
  const auto walk = [&](u32 link, u64& bytes) {
    for (; link != 0; link = body(link - 1).next) {
      if (link > c.bodies_used || !listed.insert(link - 1).second) return false;
      bytes += body(link - 1).reserved;
    }
    return true;
  };
  if (!walk(c.body_fifo_first, in_use) || !walk(c.body_limbo, in_use)) return "a list of bodies in use is torn";
  for (const u32 link : c.body_free)
    if (!walk(link, idle)) return "a list of free bodies is torn";
  if (listed.size() != c.bodies_used)
    return "of " + std::to_string(c.bodies_used) + " bodies, " + std::to_string(listed.size()) + " are left";
  if (in_use != c.body_bytes || idle != c.idle_bytes)
    return "the bytes of bodies do not add up: in use " + std::to_string(in_use) + ", counted " +
           std::to_string(c.body_bytes) + "; idle " + std::to_string(idle) + ", counted " +
           std::to_string(c.idle_bytes);
  return {};
}

}  // namespace mp_fault
