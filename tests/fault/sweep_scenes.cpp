// What is swept. Each operation in its fast and its slow form, and what happens at the edges of the memory.

#include "sweep.hpp"

namespace mp_fault {
namespace ring = mp::ring;

namespace {

constexpr std::size_t record_bytes = sizeof(ring::record_header) + small_item;
constexpr std::size_t large = 2200;         // has a body of its own
constexpr std::size_t almost_large = 1992;  // eight of them fill an extent

// Brings the write position of an empty channel to within one item of its extent's end, then leaves `left` items in it.
void fill_extent(channel& c, u64 left) {
  std::vector<seen> got;
  const std::size_t fit = (ring::extent_bytes - sizeof(ring::record_header)) / record_bytes;
  for (std::size_t i = 0; i < fit; ++i) {
    const bool stays = i + left >= fit;
    put_item(c, role::whole, stays ? i + left - fit + 1 : 600, small_item, at_once);
    if (!stays) get_items(c, role::whole, got, at_once);
  }
  c.clear_hand();
}

// Fills the extents that a channel begins with, so that the next record needs a new one.
void fill_circle(channel& c) {
  const std::size_t fit = ring::base_extents * (ring::extent_bytes / (sizeof(ring::record_header) + almost_large + 32));
  for (u64 id = 1; id <= fit; ++id) put_item(c, role::whole, id, almost_large, at_once);
}

// The circle has grown and is drained; the write position is one item in front of an extent's end.
void grow_and_drain(channel& c) {
  std::vector<seen> got;
  for (u64 i = 0; i < 60; ++i) put_item(c, role::whole, 600, almost_large, at_once);
  for (u64 i = 0; i < 60; ++i) get_items(c, role::whole, got, at_once);
  const view memory(c);
  while (ring::extent_bytes - ring::offset_of(memory.head().tail) % ring::extent_bytes >=
         record_bytes + sizeof(ring::record_header)) {
    put_item(c, role::whole, 600, small_item, at_once);
    get_items(c, role::whole, got, at_once);
  }
  c.clear_hand();
}

// Bodies of two sizes have been used and are free.
void warm_bodies(channel& c) {
  std::vector<seen> got;
  for (u64 i = 0; i < 3; ++i) put_item(c, role::whole, 600, large, at_once);
  for (u64 i = 0; i < 3; ++i) get_items(c, role::whole, got, at_once);
  c.clear_hand();
}

// All bodies that there may be have been used, for messages of `size`, and are free.
std::function<void(channel&)> use_all_bodies(std::size_t size) {
  return [size](channel& c) {
    constexpr u32 most = 3;
    std::vector<seen> got;
    for (u64 i = 0; i < most; ++i) put_item(c, role::whole, 600, size, at_once);
    for (u64 i = 0; i < most; ++i) get_items(c, role::whole, got, at_once);
    c.clear_hand();
    view(c).head().fewer_bodies = ring::max_bodies - most;
  };
}

scene base(const char* name) {
  scene s;
  s.name = name;
  return s;
}

scene put_scene(const char* name, std::size_t size = small_item, std::size_t count = 1) {
  scene s = base(name);
  if (size > ring::inline_most) s.sentinel = size;
  s.prepare = [=](actor& a) { a.make_ready(100, size, count); };
  s.act = [=](actor& a) {
    for (std::size_t i = 0; i < count; ++i) a.put(!a.fds.empty());
  };
  return s;
}

scene get_scene(const char* name, std::size_t most = 1, std::size_t size = small_item) {
  scene s = base(name);
  s.child = role::receiver;
  s.size = size;
  if (size > ring::inline_most) s.sentinel = size;
  s.act = [=](actor& a) { a.get(most); };
  return s;
}

// The child got one item while it prepared; the traced get lets go of it.
scene second_get_scene(const char* name, std::size_t size = small_item) {
  scene s = get_scene(name, 1, size);
  s.prepare = [](actor& a) { a.get(); };
  s.act = [](actor& a) {
    a.let_go();
    a.get();
  };
  return s;
}

void tell(void* context, lost_message&& message) {
  u64 id = 0;
  std::memcpy(&id, message.item.bytes.data(), sizeof id);
  if (id < ledger::items) static_cast<actor*>(context)->book.of[id].told = true;
}

}  // namespace

std::vector<scene> queue_scenes() {
  std::vector<scene> all;
  const auto add = [&](scene s) -> scene& { return all.emplace_back(std::move(s)); };

  add(put_scene("queue: put")).is_main = true;
  add(put_scene("queue: put, sender alone")).child = role::sender;
  add(put_scene("queue: three puts", small_item, 3));
  add(put_scene("queue: put into the next extent")).set_up = [](channel& c) { fill_extent(c, 3); };
  add(put_scene("queue: put that needs a new extent", almost_large)).set_up = fill_circle;
  add(put_scene("queue: put that gives an extent back")).set_up = grow_and_drain;
  add(put_scene("queue: put of a large message", large));
  add(put_scene("queue: put of a large message into a used body", large)).set_up = warm_bodies;
  add(put_scene("queue: put of a large message into a body of a smaller class", 2 * large)).set_up =
      use_all_bodies(large);
  add(put_scene("queue: put of a large message into a body of a larger class", large)).set_up =
      use_all_bodies(2 * large);
  {
    scene& s = add(put_scene("queue: put of a large message near the bound", 2 * large));
    s.size = large;
    s.max_bytes = 20 << 10;
    s.sentinel = small_item;  // a large one would wait for two bodies
    s.preload = 4;
  }
  add(put_scene("queue: put with a descriptor")).fds = 1;
  add(put_scene("queue: put of a large message with descriptors", large)).fds = 2;
  add(put_scene("queue: put up to the bound")).maxsize = 4;

  add(get_scene("queue: get"));
  add(second_get_scene("queue: second get")).is_main = true;
  {
    scene& s = add(get_scene("queue: get of several", 10));
    s.preload = 5;
  }
  add(get_scene("queue: get from the next extent", 10)).set_up = [](channel& c) {
    fill_extent(c, 2);
    for (u64 id = 3; id <= 5; ++id) put_item(c, role::whole, id, small_item, at_once);
  };
  add(get_scene("queue: get of a large message", 1, large));
  add(second_get_scene("queue: second get of a large message", large));
  add(get_scene("queue: get with a descriptor")).fds = 1;
  add(second_get_scene("queue: second get with descriptors")).fds = 2;
  {
    scene& s = add(get_scene("queue: get from a full queue"));
    s.maxsize = 3;
  }
  {
    scene& s = add(get_scene("queue: get beside dead consumers"));
    s.earlier_death = true;
    s.preload = 4;
  }
  {
    scene& s = add(base("queue: take_lost"));
    s.child = role::receiver;
    s.earlier_death = true;
    s.act = [](actor& a) { a.on->take_lost(tell, &a); };
  }
  {
    scene& s = add(base("queue: take_lost of large messages"));
    s.child = role::receiver;
    s.size = large;
    s.earlier_death = true;
    s.act = [](actor& a) { a.on->take_lost(tell, &a); };
  }
  {
    scene& s = add(get_scene("queue: get again what a dead consumer had"));
    s.on_death = mp::on_death::redeliver;
    s.earlier_death = true;
  }
  {
    scene& s = add(second_get_scene("queue: second get of what a dead consumer had", large));
    s.on_death = mp::on_death::redeliver;
    s.earlier_death = true;
  }
  {
    scene& s = add(second_get_scene("queue: second get where items come again"));
    s.on_death = mp::on_death::redeliver;
  }
  {
    scene& s = add(get_scene("queue: get of several, joinable", 2));
    s.joinable = true;
  }
  {
    scene& s = add(get_scene("queue: get again, joinable", 2));
    s.joinable = true;
    s.on_death = mp::on_death::redeliver;
    s.earlier_death = true;
  }
  {
    scene& s = add(base("queue: task_done"));
    s.child = role::receiver;
    s.joinable = true;
    s.prepare = [](actor& a) { a.get(2); };
    s.act = [](actor& a) {
      a.let_go();
      a.on->task_done();
    };
  }
  {
    scene& s = add(base("queue: task_done and get, items come again"));
    s.child = role::receiver;
    s.joinable = true;
    s.on_death = mp::on_death::redeliver;
    s.prepare = [](actor& a) { a.get(1); };
    s.act = [](actor& a) {
      a.let_go();
      a.on->task_done();
      a.get(1);
    };
  }
  {
    scene& s = add(base("queue: close with an item in hand"));
    s.prepare = [](actor& a) { a.get(); };
    s.act = [](actor& a) {
      a.let_go();
      a.drop();
    };
  }
  {
    scene& s = add(base("queue: close with an item in hand, joinable"));
    s.joinable = true;
    s.prepare = [](actor& a) { a.get(); };
    s.act = [](actor& a) {
      a.let_go();
      a.drop();
    };
  }
  {
    scene& s = add(base("queue: poll, then get"));
    s.child = role::receiver;
    s.act = [](actor& a) {
      a.on->prepare_poll(a.as, side::get);
      a.get();
    };
  }
  {
    scene& s = add(base("queue: poll of an empty queue, then put"));
    s.preload = 0;
    s.prepare = [](actor& a) { a.make_ready(100, small_item); };
    s.act = [](actor& a) {
      a.on->prepare_poll(a.as, side::get);
      a.put();
    };
  }
  return all;
}

std::vector<scene> pipe_scenes() {
  std::vector<scene> all;
  const auto writer = [&](const char* name, std::size_t size, std::size_t before, std::size_t count) -> scene& {
    scene s = base(name);
    s.kind = channel_kind::pipe;
    s.survivor = role::receiver;
    s.child = role::sender;
    s.preload = 0;
    s.prepare = [=](actor& a) {
      a.make_ready(100, size, before + count);
      for (std::size_t i = 0; i < before; ++i) a.put(!a.fds.empty());
    };
    s.act = [=](actor& a) {
      for (std::size_t i = 0; i < count; ++i) a.put(!a.fds.empty());
    };
    return all.emplace_back(std::move(s));
  };
  const auto reader = [&](const char* name, std::size_t size, std::size_t preload, std::size_t before,
                          std::size_t most) -> scene& {
    scene s = base(name);
    s.kind = channel_kind::pipe;
    s.survivor = role::sender;
    s.child = role::receiver;
    s.size = size;
    s.preload = preload;
    s.prepare = [=](actor& a) {
      for (std::size_t i = 0; i < before; ++i) a.get();
    };
    s.act = [=](actor& a) { a.get(most); };
    return all.emplace_back(std::move(s));
  };
  writer("pipe: first put", small_item, 0, 1);
  writer("pipe: put", small_item, 1, 2).is_main = true;
  writer("pipe: put into the next extent", almost_large, 8, 2);
  writer("pipe: put that needs a new extent", almost_large, 30, 3).max_bytes = 1 << 20;
  writer("pipe: put of a large message", large, 1, 2);
  writer("pipe: put with a descriptor", small_item, 1, 2).fds = 1;
  writer("pipe: put of a large message with descriptors", large, 0, 2).fds = 2;
  writer("pipe: close after puts", small_item, 2, 1).act = [](actor& a) {
    a.put();
    a.drop();
  };
  reader("pipe: first get", small_item, 3, 0, 1);
  reader("pipe: get", small_item, 5, 1, 2).is_main = true;
  reader("pipe: get of several from the next extent", almost_large, 12, 7, 4);
  reader("pipe: get of large messages", large, 3, 1, 2);
  reader("pipe: get with a descriptor", small_item, 3, 1, 2).fds = 1;
  reader("pipe: close after a get", small_item, 3, 1, 1).act = [](actor& a) {
    a.get();
    a.drop();
  };
  return all;
}

std::vector<scene> handle_scenes() {
  std::vector<scene> all;
  {
    scene s = base("handle: a sender put into a queue");
    s.second = true;
    s.prepare = [](actor& a) { a.make_ready(100, small_item); };
    s.act = [](actor& a) {
      travelling t = send_off(*a.second, role::sender);
      a.fds = std::move(t.fds);
      a.put(true);
      a.fds.clear();
      a.second->drop_role(role::sender);
    };
    all.push_back(std::move(s));
  }
  {
    scene s = base("handle: a sender exported and imported");
    s.second = true;
    s.act = [](actor& a) {
      imported_handle h = arrive(send_off(*a.second, role::sender));
      h.channel->drop_role(h.as);
      imported_handle other = arrive(send_off(*a.on, a.as));
      other.channel->drop_role(other.as);
    };
    all.push_back(std::move(s));
  }
  return all;
}

}  // namespace mp_fault
