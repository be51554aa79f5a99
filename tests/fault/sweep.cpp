// The survivor. Must use nothing but what any participant has: its own handle. Only the last look, at the lists behind
// the scenes, goes deeper.

#include "sweep.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <csignal>

namespace mp_fault {
namespace ring = mp::ring;

namespace {

constexpr u64 sentinel = 500;  // ids the survivor puts afterwards

struct shared_ledger {
  ledger* book;
  shared_ledger() {
    void* at = ::mmap(nullptr, sizeof(ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    book = new (at) ledger{};
  }
  ~shared_ledger() { ::munmap(book, sizeof(ledger)); }
};

unique_fd new_fd() { return unique_fd(::eventfd(0, EFD_CLOEXEC)); }

// A consumer that gets two items and dies with them in hand.
void die_with_two(channel& c) {
  travelling t = send_off(c, role::receiver);
  const pid_t pid = ::fork();
  if (pid == 0) {
    imported_handle h = arrive(std::move(t));
    std::vector<seen> got;
    get_items(*h.channel, h.as, got, at_once, 2);
    ::kill(::getpid(), SIGKILL);
  }
  t.fds.clear();
  ::waitpid(pid, nullptr, 0);
}

class run {
public:
  run(const scene& s, tally& t)
      : scene_(s), tally_(t), channel_(make(s.kind, s.on_death, s.joinable, s.maxsize, s.max_bytes)) {
    channel_->add_role(s.survivor);
    if (s.kind == channel_kind::pipe) channel_->add_role(s.child);
    if (s.set_up) {
      s.set_up(*channel_);
    } else {
      for (u64 id = 1; id <= s.preload; ++id) preload(id);
    }
    preloaded_ = channel_->size();
    if (s.earlier_death) die_with_two(*channel_);
    if (s.second) {
      second_ = make(channel_kind::queue);
      second_->add_role(role::whole);
      travelling_second_ = send_off(*second_, role::sender);
      second_->add_role(role::receiver);
      second_->drop_role(role::whole);
    }
    travelling_ = send_off(*channel_, s.child);
    if (s.kind == channel_kind::pipe) channel_->drop_role(s.child);
    actor_.emplace(*ledger_.book);
    child_.emplace([this] { prepare(); }, [this] { scene_.act(*actor_); });
    travelling_.fds.clear();
    travelling_second_.fds.clear();
  }

  // Kills after n steps and judges. True: the operation was over before.
  bool at(grain g, std::size_t n) {
    if (!child_->wait_prepared()) {
      tally_.check(false, scene_.name + ": the child failed in its preparation: " + child_->complaint());
      return true;
    }
    std::vector<std::span<const std::byte>> watched;
    std::optional<view> memory;
    if (g == grain::change) {
      memory.emplace(*channel_);
      watched = {memory->control_bytes(),
                 {memory->log(0), ring::base_extents * ring::extent_bytes},
                 {reinterpret_cast<std::byte*>(&memory->cell(0)), 2 * ring::cell_bytes},
                 {reinterpret_cast<std::byte*>(&memory->body(0)), ring::page_bytes}};
      watched.push_back({reinterpret_cast<std::byte*>(ledger_.book), sizeof(ledger)});
    }
    patient_ = g != grain::instruction;
    finished_ = child_->advance(g, n, watched);
    const std::string complaint = child_->complaint();
    child_->kill();
    where_ = scene_.name + ", killed after " + std::to_string(n) +
             (g == grain::instruction ? " instructions"
              : g == grain::change    ? " changes"
                                      : " call stops");
    if (!complaint.empty()) promise(false, "the child " + complaint);
    try {
      if (scene_.kind == channel_kind::queue)
        judge_queue();
      else if (scene_.survivor == role::receiver)
        judge_reader();
      else
        judge_writer();
    } catch (const std::exception& e) {
      promise(false, std::string("the survivor got: ") + e.what());
    }
    return finished_;
  }

  std::size_t violations() const { return violations_; }
  std::size_t instructions() const { return child_->instructions(); }
  double takeover_ms() const { return takeover_ms_; }

private:
  void preload(u64 id) {
    std::vector<unique_fd> fds;
    for (std::size_t i = 0; i < scene_.fds; ++i) fds.push_back(new_fd());
    put_bytes(*channel_, scene_.survivor == role::receiver ? scene_.child : scene_.survivor, make_item(id, scene_.size),
              at_once, fds);
  }

  void prepare() {
    actor& a = *actor_;
    imported_handle h = arrive(std::move(travelling_));
    a.held = std::move(h.channel);
    a.on = a.held.get();
    a.as = h.as;
    if (scene_.second) a.second = arrive(std::move(travelling_second_)).channel;
    for (std::size_t i = 0; i < scene_.fds; ++i) a.fds.push_back(new_fd());
    if (scene_.prepare) scene_.prepare(a);
  }

  bool promise(bool kept, const std::string& what) {
    if (!kept) ++violations_;
    return tally_.check(kept, where_ + ": " + what);
  }

  ledger::entry& of(u64 id) { return ledger_.book->of[id < ledger::items ? id : 0]; }

  void drain(std::vector<seen>& into) {
    while (get_items(*channel_, scene_.survivor, into, at_once) == op_status::ok)
      if (into.size() > 10'000) return;
  }

  void judge_items(const std::vector<seen>& got, const std::vector<seen>& lost) {
    std::map<u64, int> count;
    u64 last = 0, last_put = 99;
    for (const seen& s : got) {
      promise(s.whole, "item " + std::to_string(s.id) + " of " + std::to_string(s.size) + " bytes is damaged");
      ++count[s.id];
      if (s.id < 100 && scene_.on_death == mp::on_death::report)
        promise(s.id > std::exchange(last, s.id), "items came out of order");
      if (s.id >= 100 && s.id < sentinel) {
        promise(s.id == last_put + 1, "there is a gap in what the child put");
        last_put = s.id;
      }
      if (scene_.fds != 0 && s.id < sentinel && scene_.on_death == mp::on_death::report)
        promise(s.fds == scene_.fds,
                "item " + std::to_string(s.id) + " came with " + std::to_string(s.fds) + " descriptors");
    }
    for (const seen& s : lost) {
      promise(s.whole, "the lost item " + std::to_string(s.id) + " is damaged");
      ++count[s.id];
    }
    for (u64 id = 1; id <= preloaded_; ++id) {
      const auto& e = of(id);
      const int n = count[id];
      if (e.told)
        promise(n <= 1, "item " + std::to_string(id) + " was told twice after a death");
      else
        promise(n == 1 || (n == 0 && e.let_go), "item " + std::to_string(id) + " was seen " + std::to_string(n) +
                                                    " times" + (e.came ? ", the child had it" : ""));
    }
    for (u64 id = 100; id < sentinel; ++id) {
      const auto& e = of(id);
      const int n = count[id];
      if (e.put || n > 1 || (n == 1 && !e.began))
        promise(n == 1 || (n == 0 && e.let_go),
                "item " + std::to_string(id) + " of the child was seen " + std::to_string(n) + " times");
    }
  }

  void judge_queue() {
    // Waiting for a dead owner's lock takes a slice; who does not wait takes it over at once. Both are tried.
    const auto began = std::chrono::steady_clock::now();
    const auto until = patient_ ? in(std::chrono::seconds(2)) : at_once;
    const op_status s = put_item(*channel_, role::whole, sentinel, scene_.sentinel, until);
    std::vector<seen> got, lost;
    bool full = false;
    if (s != op_status::ok && (scene_.maxsize != 0 || scene_.max_bytes != 0)) {
      full = true;
    } else {
      promise(s == op_status::ok, "the next put does not succeed");
    }
    const op_status g = get_items(*channel_, role::whole, got, until);
    promise(g == op_status::ok, "the next get does not succeed");
    takeover_ms_ = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
    if (full) {
      takeover_ms_ = 0;
      promise(put_item(*channel_, role::whole, sentinel, scene_.sentinel, in(std::chrono::seconds(2))) == op_status::ok,
              "no put succeeds after a get");
    }
    if (scene_.joinable)
      promise(channel_->join(at_once) == op_status::timed_out, "join ends although items are not done");
    lost = lost_items(*channel_);
    drain(got);
    judge_items(got, lost);
    const auto sentinels = std::count_if(got.begin(), got.end(), [](const seen& x) { return x.id == sentinel; });
    promise(sentinels == 1, "what the survivor put came " + std::to_string(sentinels) + " times");
    if (scene_.joinable) {
      channel_->clear_hand();
      for (std::size_t i = 0; i < got.size(); ++i) {
        if (!promise(channel_->join(at_once) == op_status::timed_out, "join ends before the last task_done")) break;
        promise(channel_->task_done(), "one task_done for each item is refused");
      }
      promise(channel_->join(in(std::chrono::seconds(2))) == op_status::ok,
              "join does not end after the last task_done");
    }
    if (scene_.fds != 0) judge_descriptors();
    judge_memory();
    if (scene_.second) judge_second();
    std::vector<seen> none;
    promise(get_items(*channel_, role::whole, none, in(std::chrono::seconds(2))) == op_status::closed,
            "a get does not end although nobody is left to put");
  }

  // Messages with descriptors go on, as many as ever.
  void judge_descriptors() {
    std::vector<seen> got;
    for (u64 i = 0; i < 3; ++i) {
      std::vector<unique_fd> fds;
      fds.push_back(new_fd());
      promise(put_bytes(*channel_, role::whole, make_item(sentinel + 1, small_item), in(std::chrono::seconds(2)),
                        fds) == op_status::ok,
              "no item with a descriptor can be put any more");
      promise(
          get_items(*channel_, role::whole, got, in(std::chrono::seconds(2))) == op_status::ok && got.back().fds == 1,
          "a descriptor that was put does not come");
    }
  }

  void judge_memory() {
    channel_->clear_hand();
    // A large message makes the put side look at what is drained, then the lists must hold everything.
    std::vector<seen> got;
    for (int i = 0; i < 2; ++i) {
      promise(put_item(*channel_, role::whole, sentinel + 2, 5000, in(std::chrono::seconds(2))) == op_status::ok,
              "no large message can be put any more");
      promise(get_items(*channel_, role::whole, got, in(std::chrono::seconds(2))) == op_status::ok && got.back().whole,
              "a large message does not come whole");
    }
    channel_->clear_hand();
    const view memory(*channel_);
    if (memory.head().body_limbo == 0) {
      // One body may still be marked as being filled by the dead: it is in no list until somebody needs the room.
      std::string damage = memory.damage();
      if (damage.ends_with("bodies, " + std::to_string(memory.head().bodies_used - 1) + " are left")) damage.clear();
      promise(damage.empty(), damage);
    }
  }

  // The sender's handle was with the child, or on its way: when that is gone, the other channel ends.
  void judge_second() {
    std::vector<seen> got;
    const op_status s = get_items(*second_, role::receiver, got, in(std::chrono::seconds(2)));
    promise(s == op_status::closed, "a channel whose only sender died on its way does not end");
  }

  // The child wrote into a pipe: whole messages in order, then the end.
  void judge_reader() {
    std::vector<seen> got;
    op_status s;
    while ((s = get_items(*channel_, role::receiver, got, in(std::chrono::seconds(2)))) == op_status::ok) {
    }
    judge_items(got, {});
    const bool in_order = ledger_.book->note.load() != 0;
    promise(s == op_status::peer_died || (in_order && s == op_status::closed),
            "the pipe ends with status " + std::to_string(static_cast<int>(s)));
    promise(get_items(*channel_, role::receiver, got, at_once) == s, "the end of the pipe changes");
  }

  // The child read from a pipe: the writer learns of it.
  void judge_writer() {
    op_status s = op_status::ok;
    for (int i = 0; i < 20'000 && s == op_status::ok; ++i)
      s = put_item(*channel_, role::sender, sentinel, small_item, in(std::chrono::seconds(2)));
    const bool in_order = ledger_.book->note.load() != 0;
    promise(s == op_status::peer_died || (in_order && s == op_status::closed),
            "puts into the pipe end with status " + std::to_string(static_cast<int>(s)));
    for (u64 id = 1; id <= preloaded_; ++id)
      promise(id == 1 || !of(id).came || of(id - 1).came, "the child got an item before the one in front of it");
  }

  const scene& scene_;
  tally& tally_;
  shared_ledger ledger_;
  std::shared_ptr<channel> channel_, second_;
  travelling travelling_, travelling_second_;
  std::optional<actor> actor_;
  std::optional<traced_child> child_;
  u64 preloaded_ = 0;
  bool finished_ = false, patient_ = true;
  std::string where_;
  std::size_t violations_ = 0;
  double takeover_ms_ = 0;
};

}  // namespace

sweep_figures sweep(const scene& s, grain g, tally& t, std::size_t every) {
  sweep_figures f;
  for (std::size_t n = g == grain::instruction ? 1 : 0;; n += every) {
    run r(s, t);
    const bool over = r.at(g, n);
    ++f.points;
    f.violations += r.violations();
    f.longest_takeover_ms = std::max(f.longest_takeover_ms, r.takeover_ms());
    f.instructions = std::max(f.instructions, r.instructions());
    if (over || n > 200'000) return f;
  }
}

}  // namespace mp_fault
