// The life of an isolated actor, in its own process. Must answer every request that it takes, and must end when its actor
// does.

#include "caf_letters.hpp"
#include "mp/caf.hpp"
#include "mp/detail/io_executor.hpp"
#include "mp/detail/request.hpp"
#include "mp/error.hpp"
#include "mp/mailbox.hpp"
#include "mp/this_process.hpp"
#include "node.hpp"

#include <boost/asio/steady_timer.hpp>

#include <caf/actor_proxy.hpp>
#include <caf/make_actor.hpp>
#include <caf/send.hpp>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace mp::detail {
namespace {

void write_list(const caf_letter& all, encoder& e) {
  e.number(static_cast<std::uint64_t>(all.types().size()));
  e.raw(all.types().data(), all.types().size_bytes());
  all.write(e);
}

void answer_with(const mail& asked, const caf::message& content, const caf_words& words) noexcept {
  try {
    if (content.match_elements<caf::error>()) {
      const caf_trouble trouble = trouble_of(content.get_as<caf::error>(0));
      if (asked.answer_type != any_answer)
        throw_error(errc::task_threw, "the actor answered with an error: " + trouble.text);
      return send_answer(
          asked, type_hash<caf_trouble>(), "caf::error",
          [](const void* t, encoder& e) { encode(e, *static_cast<const caf_trouble*>(t)); }, &trouble);
    }
    const caf_letter out(content, words);
    if (asked.answer_type == any_answer)
      return send_answer(
          asked, any_answer, "a list",
          [](const void* l, encoder& e) { write_list(*static_cast<const caf_letter*>(l), e); }, &out);
    const std::uint64_t type = out.types().empty() ? answer_type<void>() : out.types()[0];
    send_answer(
        asked, out.types().size() > 1 ? any_answer : type, "several values",
        [](const void* l, encoder& e) { static_cast<const caf_letter*>(l)->write(e); }, &out);
  } catch (...) {
    send_failure(asked, std::current_exception());
  }
}

/// Where responses of the behavior come to: an actor without a thread of its own.
class way_back final : public caf::actor_proxy {
public:
  way_back(caf::actor_config& config, const caf_words& words) : caf::actor_proxy(config), words_(words) {}

  caf::message_id expect(std::shared_ptr<mail> asked) {
    const std::lock_guard lock(mutex_);
    const auto id = caf::make_message_id(++last_);
    open_[id.response_id().integer_value()] = std::move(asked);
    return id;
  }
  void enqueue(caf::mailbox_element_ptr what, caf::execution_unit*) override {
    std::shared_ptr<mail> asked;
    {
      const std::lock_guard lock(mutex_);
      const auto at = open_.find(what->mid.integer_value());
      if (at == open_.end()) return;
      asked = std::move(at->second);
      open_.erase(at);
    }
    answer_with(*asked, what->move_content_to_message(), words_);
  }
  void kill_proxy(caf::execution_unit* host, caf::error reason) override { cleanup(std::move(reason), host); }

private:
  const caf_words& words_;
  std::mutex mutex_;
  std::uint64_t last_ = 0;
  std::map<std::uint64_t, std::shared_ptr<mail>> open_;
};

// Until what failed is tried again.
constexpr std::chrono::milliseconds pause{10};

/// Takes what comes to this process's mailbox and gives it to the actor. On the I/O thread.
///
/// Threads:  thread-safe.   Processes: process-bound.
class front_door : public std::enable_shared_from_this<front_door> {
public:
  front_door(caf::actor inside, const caf_words& words) : inside_(std::move(inside)), words_(words) {
    auto& system = inside_.home_system();
    caf::actor_config config;
    back_ = caf::make_actor<way_back, caf::actor>(system.next_actor_id(), system.node(), &system, config, words_);
  }
  void open() {
    mailbox{}.async_receive([self = shared_from_this()](const error_code& problem, const any_message& m) {
      if (!problem) self->let_in(mail_access::unwrap(m));
      self->open_again(problem);
    });
  }

private:
  // Whatever a letter holds, and whatever fails: the door is open again, until the library is shut down.
  void open_again(const error_code& problem) noexcept {
    try {
      if (problem == asio::error::operation_aborted || problem == errc::shut_down) return;
      // A letter that nobody can read has gone; one for which there is no descriptor, say, is still there.
      const bool is_over =
          !problem || problem == errc::undecodable || problem == errc::bad_frame || problem == errc::type_mismatch;
      if (is_over) return open();
    } catch (const error& e) {
      if (e.code() == errc::shut_down) return;
    } catch (...) {
    }
    try {
      auto timer = std::make_shared<asio::steady_timer>(io_executor(), pause);
      timer->async_wait([timer, self = shared_from_this()](const error_code& stopped) {
        if (!stopped) self->open_again({});
      });
    } catch (...) {
      // Shut down, or no memory even for that.
    }
  }

  void let_in(const std::shared_ptr<mail>& m) noexcept {
    try {
      decoder d(m->values, std::move(m->fds));
      caf::message content = read_caf_message(m->types, d, words_);
      if (m->request == 0) return caf::anon_send(inside_, std::move(content));
      auto* const back = static_cast<way_back*>(caf::actor_cast<caf::abstract_actor*>(back_));
      const auto id = back->expect(m);
      caf::actor_cast<caf::strong_actor_ptr>(inside_)->enqueue(caf::actor_cast<caf::strong_actor_ptr>(back_), id,
                                                               std::move(content), nullptr);
    } catch (...) {
      if (m->request != 0) send_failure(*m, std::current_exception());
    }
  }

  const caf::actor inside_;
  const caf_words& words_;
  caf::actor back_;
};

}  // namespace

void live_isolated(std::stop_token stop, caf::actor born, const caf_words& words) {
  struct end {
    std::mutex mutex;
    std::condition_variable news;
    std::optional<caf::error> reason;
  };
  const auto ended = std::make_shared<end>();
  born->attach_functor([ended](const caf::error& reason) {
    const std::lock_guard lock(ended->mutex);
    ended->reason = reason;
    ended->news.notify_all();
  });
  const std::stop_callback on_stop(stop, [&] { caf::anon_send_exit(born, caf::exit_reason::user_shutdown); });
  std::make_shared<front_door>(born, words)->open();
  std::unique_lock lock(ended->mutex);
  ended->news.wait(lock, [&] { return ended->reason.has_value(); });
  const caf::error reason = *ended->reason;
  lock.unlock();
  born = nullptr;
  const bool in_order = !reason || reason == caf::exit_reason::user_shutdown || reason == caf::exit_reason::unreachable;
  this_process::exit(in_order ? 0 : 1);
}

}  // namespace mp::detail
