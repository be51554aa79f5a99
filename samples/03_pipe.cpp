// 03_pipe: a pipe has two ends of two types, and tells a peer that left from a peer that died.
//
// The ends are handed over, not shared: `std::move(out)` gives the sending end to the child, and from then on only the
// child has it. So the stream ends by itself when the child is done, and a range-for over the receiving end just ends.
// If the child dies instead, everything that it had sent still arrives; then the loop is left by an error.

#include <csignal>
#include <iostream>
#include <mp/mp.hpp>
#include <string>
#include <vector>

struct reading {  // a plain struct travels without a line of code
  int hour = 0;
  std::string place;
  std::vector<double> degrees;
};

void measure(mp::sender<reading> out, bool die_at_noon) {
  for (int hour = 10; hour < 14; ++hour) {
    if (die_at_noon && hour == 12) std::raise(SIGKILL);
    out.put({hour, "roof", {20.0 + hour / 2.0, 19.5}});
  }
}

void watch(bool die_at_noon) {
  auto [in, out] = mp::pipe<reading>();
  mp::process p{measure, std::move(out), die_at_noon};
  p.start();
  try {
    for (const reading& r : in) std::cout << r.hour << " h, " << r.place << ": " << r.degrees.at(0) << " degrees\n";
    std::cout << "the sender is done; its process " << p.join() << '\n';
  } catch (const mp::error& e) {
    if (e.code() != mp::errc::peer_died) throw;
    std::cout << "the sender died; its process was " << p.join() << '\n';
  }
}

int main(int argc, char** argv) {
  mp::init(argc, argv);

  watch(false);
  watch(true);
}
