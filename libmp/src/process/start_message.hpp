#pragma once
/// @file
/// What a starter tells its child before the task: who it is and how to set itself up.
///
/// Shape:    one record of the control socket; unset fields stay as the child found them. Descriptors come in the
///           order of the flags: mailbox, directory, in, out, err, then those of the call.
/// Threads:  values.                 Processes: both ends are the same build, checked before this is read.
/// Source:   doc/process-model.md.

#include "mp/init.hpp"
#include "mp/unique_fd.hpp"
#include "os/modules.hpp"

#include <sys/resource.h>
#include <sys/types.h>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace mp::detail {

struct limit_setting {
  std::int32_t resource = 0;
  std::uint64_t soft = 0, hard = 0;
};

struct start_message {
  std::string name;
  bool daemon = false;
  start_method method = start_method::forkserver;  // default of its own children
  pid_t parent_pid = 0;
  std::string parent_name;

  std::optional<std::vector<std::string>> environment;
  std::optional<std::int32_t> group;
  std::vector<limit_setting> limits;
  std::vector<std::byte> affinity;  // empty: as found
  std::int32_t nice = 0;            // added
  bool enters_directory = false;    // a descriptor of it comes along
  std::string working_directory;    // then, relative to that
  std::array<bool, 3> streams{};    // descriptors for 0, 1, 2 come along
  bool ignores_interrupt = false;   // pool workers

  std::vector<std::byte> mailbox;  // the parent's address; its two descriptors come first

  bool go_follows = false;    // the function must not run before `go`
  bool call_follows = false;  // the call is too large for this record and comes in one of its own
};

std::vector<std::byte> encode_start(const start_message&, std::span<const std::byte> call);

struct decoded_start {
  start_message message;
  std::span<const std::byte> call;  // borrowed from the bytes
};
/// Throws error{undecodable}.
decoded_start decode_start(std::span<const std::byte> bytes);

/// What the parent says with `go`, once it knows that the child may run.
struct go_message {
  std::uint32_t changes_umask = 0, umask = 0;
};

/// The hello of both sides: protocol and builds.
std::vector<std::byte> encode_hello(std::string_view refusal = {});
/// Empty: the same build. Else one sentence. A refusal that the other side wrote comes in `refusal`.
/// Throws error{undecodable}.
std::string check_hello(std::span<const std::byte> bytes, std::string& refusal);

}  // namespace mp::detail
