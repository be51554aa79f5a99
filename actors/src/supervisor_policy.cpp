// What is wrong with a specification, in one sentence. Must never look at processes or clocks.

#include "supervisor_policy.hpp"

#include "supervisor_plan.hpp"

#include <set>

namespace mp {
namespace detail {
namespace {

std::string number(std::ptrdiff_t n) { return std::to_string(n); }

std::string named(const child_spec& spec) { return "child \"" + spec.name + "\": "; }

}  // namespace

std::string complaint(const child_spec& spec, mp::strategy in, mp::auto_shutdown when) {
  if (spec.name.empty()) return "a child without a name: give each child_spec a .name of its own";
  if (spec.start && spec.supervise) return named(spec) + "it has both .start and .supervise: give it one of them";
  if (!spec.start && !spec.supervise) return named(spec) + "it has neither .start nor .supervise: give it one of them";
  if (in == mp::strategy::simple_one_for_one && spec.supervise)
    return named(spec) + "simple_one_for_one has processes only: use another strategy for supervisors";
  if (spec.significant && spec.restart == mp::restart::permanent)
    return named(spec) + "a permanent child never ends for good: make a significant one transient or temporary";
  if (spec.significant && when == mp::auto_shutdown::never)
    return named(spec) + "it is significant, but the supervisor's auto_shutdown is never";
  if (spec.supervise)
    return complaint(supervisor_plan_of(spec.supervise)->options, supervisor_plan_of(spec.supervise)->children);
  return {};
}

std::string complaint(const supervisor_options& options, const std::vector<child_spec>& children) {
  const auto& limits = options.restart;
  if (limits.intensity < 0) return "restart.intensity is " + number(limits.intensity) + ": it must be at least 0";
  if (limits.period.count().count() == 0) return "restart.period is 0: the intensity is counted within it";
  const bool simple = options.strategy == mp::strategy::simple_one_for_one;
  if (simple && children.size() != 1)
    return "simple_one_for_one takes one child_spec, the pattern of those that start_child adds; there are " +
           std::to_string(children.size());
  if (simple && children.front().supervise) return complaint(children.front(), options.strategy, options.auto_shutdown);
  if (simple) return {};
  std::set<std::string_view> names;
  for (const child_spec& spec : children) {
    if (auto problem = complaint(spec, options.strategy, options.auto_shutdown); !problem.empty()) return problem;
    if (!names.insert(spec.name).second) return "two children are named \"" + spec.name + "\"";
  }
  return {};
}

}  // namespace detail

supervisor_spec::supervisor_spec(supervisor_options options, std::vector<child_spec> children)
    : plan_(std::make_shared<const detail::supervisor_plan>(
          detail::supervisor_plan{std::move(options), std::move(children)})) {}

}  // namespace mp
