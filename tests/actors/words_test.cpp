// The plain values of floor 5.

#include "mp/restart_limits.hpp"
#include "mp/verdict.hpp"
#include "support/catch.hpp"

TEST_CASE("verdict: it is clean until somebody was killed or something leaked", "[verdict][unit]") {
  mp::verdict v;
  CHECK(v.clean());
  v.ended.push_back({"a", 1, mp::exit_status::exited(3)});
  CHECK(v.clean());
  v.leaked.push_back("a descriptor");
  CHECK_FALSE(v.clean());
  v.leaked.clear();
  v.killed.push_back({"b", 2, mp::exit_status::signaled(9)});
  CHECK_FALSE(v.clean());
}

TEST_CASE("restart_limits: the defaults are those that the header names", "[restart_limits][unit]") {
  const mp::restart_limits limits;
  CHECK(limits.intensity == 5);
  CHECK(limits.period == mp::duration(std::chrono::seconds(10)));
  CHECK(limits.back_off.first == mp::duration(std::chrono::milliseconds(10)));
}
