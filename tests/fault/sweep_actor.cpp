// What the traced child does. Few instructions: each of them is a point where it is killed.

#include "sweep.hpp"

#include <cstring>

namespace mp_fault {

void actor::make_ready(u64 id, std::size_t size, std::size_t count) {
  if (ready.empty()) first_id = ready_id = id;
  for (std::size_t i = 0; i < count; ++i) ready.push_back(make_item(id + i, size));
}

op_status actor::put(bool with_fds, time_point until) {
  const u64 id = ready_id++;
  const std::vector<std::byte>& bytes = ready.at(id - first_id);
  book.of[id].began = true;
  outgoing o;
  o.size = bytes.size();
  o.bytes = bytes;
  if (with_fds) o.fds = fds;
  const op_status s = on->put(as, o, until);
  if (s == op_status::ok) book.of[id].put = true;
  return s;
}

op_status actor::get(std::size_t most, time_point until) {
  std::size_t taken = 0;
  return on->get(
      as, most,
      [](void* context, incoming&& item) {
        u64 id = 0;
        std::memcpy(&id, item.bytes.data(), sizeof id);
        if (id < ledger::items) static_cast<actor*>(context)->book.of[id].came = true;
      },
      this, until, taken);
}

void actor::let_go() {
  for (u64 id = 1; id <= 4; ++id)
    if (book.of[id].came) book.of[id].let_go = true;
}

void actor::drop() {
  book.note = 1;
  on->drop_role(as);
}

}  // namespace mp_fault
