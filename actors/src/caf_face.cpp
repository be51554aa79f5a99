// Actors that stand for processes: here in the process that uses them. Must never wait in a sender's thread, and must tell
// everybody who waits when the process has ended.

#include "caf_letters.hpp"
#include "mp/caf.hpp"
#include "mp/detail/io_executor.hpp"
#include "mp/detail/process_watch.hpp"
#include "mp/detail/request.hpp"
#include "mp/error.hpp"
#include "node.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <caf/actor_proxy.hpp>
#include <caf/exit_reason.hpp>
#include <caf/make_actor.hpp>
#include <caf/sec.hpp>
#include <caf/system_messages.hpp>

#include <memory>
#include <mutex>
#include <utility>

namespace mp::detail {
namespace {

// From the wish that an isolated actor ends to SIGKILL.
constexpr std::chrono::seconds stop_patience{5};

void respond(const caf::strong_actor_ptr& to, caf::message_id asked, caf::message answer) {
  if (to && asked.is_request()) to->enqueue(nullptr, asked.response_id(), std::move(answer), nullptr);
}

/// A request of a CAF actor to another process.
///
/// Threads:  thread-safe.   Processes: process-bound.
class caf_request final : public future_base, public open_request {
public:
  caf_request(caf::strong_actor_ptr asker, caf::message_id id, const caf_words& words)
      : asker_(std::move(asker)), id_(id), words_(words) {}

  void answered(std::vector<std::byte> value, std::vector<unique_fd> fds) noexcept override {
    if (!claim()) return;
    try {
      decoder d(value, std::move(fds));
      std::vector<std::uint64_t> types;
      const auto count = d.number<std::uint64_t>();
      // One value of a handler, or as many as a behavior gave: then the hashes stand together in front.
      for (std::uint64_t i = 0; i < count && d.left() >= sizeof(std::uint64_t); ++i)
        types.push_back(d.number<std::uint64_t>());
      if (types.size() == 1 && types[0] == type_hash<caf_trouble>())
        respond(asker_, id_, caf::make_message(caf_error_of(decode<caf_trouble>(d))));
      else
        respond(asker_, id_, read_caf_message(types, d, words_));
    } catch (...) {
      respond(asker_, id_, caf::make_message(caf_error_of(std::current_exception())));
    }
    publish();
  }
  void failed(std::exception_ptr why) noexcept override {
    if (!claim()) return;
    respond(asker_, id_, caf::make_message(caf_error_of(std::move(why))));
    publish();
  }

private:
  const caf::strong_actor_ptr asker_;
  const caf::message_id id_;
  const caf_words& words_;
};

/// The process behind an isolated actor: it must end when its handle does.
///
/// Threads:  thread-safe.   Processes: process-bound.
class owned_process : public std::enable_shared_from_this<owned_process> {
public:
  explicit owned_process(process fresh) : process_(std::move(fresh)) {}
  process& get() noexcept { return process_; }

  void stop(bool at_once) noexcept {
    try {
      const std::lock_guard lock(mutex_);
      if (has_ended_) return;
      if (at_once) return process_.kill();
      process_.request_stop();
      auto timer = std::make_shared<asio::steady_timer>(io_executor(), stop_patience);
      timer->async_wait([timer, self = shared_from_this()](const error_code&) { self->kill(); });
      timer_ = timer;
    } catch (...) {
      kill();
    }
  }
  /// It has ended: the timer must not keep anything.
  void ended() noexcept {
    const std::lock_guard lock(mutex_);
    has_ended_ = true;
    if (timer_) asio::post(timer_->get_executor(), [timer = timer_] { timer->cancel(); });
    timer_.reset();
  }

private:
  void kill() noexcept {
    try {
      process_.kill();
    } catch (...) {  // it has ended
    }
  }

  process process_;
  std::mutex mutex_;
  bool has_ended_ = false;
  std::shared_ptr<asio::steady_timer> timer_;
};

class caf_face final : public caf::actor_proxy {
public:
  caf_face(caf::actor_config& config, mp::address to, const caf_words& words, std::shared_ptr<owned_process> owned)
      : caf::actor_proxy(config), to_(std::move(to)), words_(words), owned_(std::move(owned)) {}

  void enqueue(caf::mailbox_element_ptr what, caf::execution_unit*) override {
    const caf::message content = what->move_content_to_message();
    if (content.match_elements<caf::exit_msg>()) {
      const auto& reason = content.get_as<caf::exit_msg>(0).reason;
      if (owned_ && reason) owned_->stop(reason == caf::exit_reason::kill);
      return;
    }
    if (content.match_elements<caf::down_msg>()) return;
    try {
      const caf_letter out(content, words_);
      const auto& to = address_access::state(to_);
      if (!what->mid.is_request()) {
        // Never waits: a full mailbox, or one that is gone, loses it, as CAF loses what is sent to a dead actor.
        static_cast<void>(post_mail(to, out.view(), "as_actor"));
        return;
      }
      const auto request = make_state<caf_request>(what->sender, what->mid, words_);
      send_request(to, out.view(), duration::forever(), any_answer, *request, request);
    } catch (...) {
      respond(what->sender, what->mid, caf::make_message(caf_error_of(std::current_exception())));
    }
  }

  void kill_proxy(caf::execution_unit* host, caf::error reason) override { cleanup(std::move(reason), host); }

  void on_destroy() override {
    if (owned_) owned_->stop(false);
    if (!getf(is_cleaned_up_flag)) cleanup(caf::exit_reason::unreachable, nullptr);
    caf::actor_proxy::on_destroy();
  }

private:
  const mp::address to_;
  const caf_words& words_;
  const std::shared_ptr<owned_process> owned_;  // null: the process is not ours to end
};

// Weak: the face must not outlive its system for the sake of a process that runs on.
auto end_teller(const caf::actor& face) {
  return [weak = caf::actor_cast<caf::weak_actor_ptr>(face)](const mp::exit_status& status) {
    if (const auto strong = weak.lock())
      static_cast<caf_face*>(caf::actor_cast<caf::abstract_actor*>(strong))->kill_proxy(nullptr, reason_of(status));
  };
}

caf::actor make_face(caf::actor_system& system, const address& to, const caf_words& words,
                     std::shared_ptr<owned_process> owned) {
  caf::actor_config config;
  return caf::make_actor<caf_face, caf::actor>(system.next_actor_id(), system.node(), &system, config, to, words,
                                               std::move(owned));
}

}  // namespace

caf::actor make_caf_face(caf::actor_system& system, const address& to, const caf_words& words) {
  caf::actor face = make_face(system, to, words, nullptr);
  when_ended(to, end_teller(face));
  return face;
}

caf::actor make_isolated(caf::actor_system& system, process fresh, const caf_words& words) {
  auto owned = std::make_shared<owned_process>(std::move(fresh));
  owned->get().start();
  caf::actor face;
  try {
    face = make_face(system, owned->get().address(), words, owned);
  } catch (...) {
    owned->get().kill();
    owned->get().join();
    throw;
  }
  owned->get().async_join([owned, tell = end_teller(face)](const error_code& problem, mp::exit_status status) {
    owned->ended();
    tell(problem ? mp::exit_status() : status);
  });
  return face;
}

}  // namespace mp::detail
