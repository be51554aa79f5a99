// 06_mailbox: processes send each other messages, and ask each other questions.
//
// Every process has one mailbox. Whoever holds its address sends; `receive` takes the oldest message that fits one of its
// handlers. A question is a message with an answer: what the handler returns comes back as a future, and what it throws
// is thrown where somebody asked.

#include <chrono>
#include <csignal>
#include <iostream>
#include <map>
#include <mp/mp.hpp>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;

struct deposit {  // a plain struct travels without a line of code
  std::string owner;
  int amount = 0;
};

void bank() {
  std::map<std::string, int> accounts;
  for (bool open = true; open;)
    mp::receive([&](deposit d) { accounts[d.owner] += d.amount; },
                [&](const std::string& owner) {
                  if (!accounts.contains(owner)) throw std::out_of_range("no account of " + owner);
                  return accounts[owner];
                },
                [&](bool) { open = false; });
}

void customer(mp::address to, std::string name, int times) {
  for (int i = 1; i <= times; ++i) to.send(deposit{name, i});
}

int main(int argc, char** argv) {
  mp::init(argc, argv);
  mp::shutdown_on({SIGINT, SIGTERM});  // Ctrl-C closes the bank in order

  mp::process office{bank};
  office.start();
  mp::process ann{customer, office.address(), "Ann", 10}, bob{customer, office.address(), "Bob", 4};
  ann.start();
  bob.start();
  ann.join();
  bob.join();

  auto of_ann = office.request<int>(10s, "Ann"), of_bob = office.request<int>(10s, "Bob");
  std::cout << "Ann has " << of_ann.get() << ", Bob has " << of_bob.get() << '\n';
  try {
    office.request<int>(10s, "Eve").get();
  } catch (const std::out_of_range& e) {
    std::cout << "the bank says: " << e.what() << '\n';
  }
  office.send(false);
  std::cout << "the bank " << office.join() << '\n';
}
