#pragma once
/// @file
/// What a process is given besides its function: name, place, streams, limits.
///
/// Model:    subprocess.Popen's arguments, as an aggregate with designated initialisers.
/// Threads:  values.                 Processes: process-bound.

#include "mp/duration.hpp"
#include "mp/init.hpp"

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mp {

namespace detail {
/// std::filesystem::path, told without its header.
template <class P>
concept path_like = requires(const P& p) {
  static_cast<const std::string&>(p.native());
  P::preferred_separator;
};
template <class E>
concept has_path = requires(const E& e) {
  static_cast<const std::string&>(e.path().native());
};
}  // namespace detail

/// A path, kept as its text: takes a std::filesystem::path or a string, gives either back. So that this header need not
/// include <filesystem>, which costs every user's compiler a third of a second.
///
/// Threads:  a value.   Processes: process-bound.
class file_path {
public:
  file_path() noexcept = default;
  file_path(std::string text) noexcept : text_(std::move(text)) {}
  file_path(std::string_view text) : text_(text) {}
  file_path(const char* text) : text_(text) {}
  template <detail::path_like Path>
  file_path(const Path& path) : text_(path.native()) {}
  template <detail::has_path Entry>  // of a directory
  file_path(const Entry& entry) : text_(entry.path().native()) {}

  template <detail::path_like Path>
  operator Path() const {
    return Path(text_);
  }
  bool empty() const noexcept { return text_.empty(); }
  const std::string& native() const noexcept { return text_; }
  const char* c_str() const noexcept { return text_.c_str(); }
  std::string string() const { return text_; }
  friend bool operator==(const file_path&, const file_path&) = default;
  template <detail::path_like Path>
  friend bool operator==(const file_path& a, const Path& b) {
    return a.text_ == b.native();
  }

private:
  std::string text_;
};

/// Where a standard stream of a child goes.
///
/// Threads:  a value.   Processes: process-bound.
class stdio {
public:
  /// The same as ours, as it is at start().
  stdio() noexcept = default;
  static stdio inherit() { return {}; }
  /// /dev/null.
  static stdio null() { return stdio(kind::null); }
  /// A pipe; our end comes from process::take_in, take_out, take_err.
  static stdio pipe() { return stdio(kind::pipe); }
  /// Passed on to our own stream as it comes; the last 4 KiB are kept for process::failure(). Not for `in`.
  static stdio capture() { return stdio(kind::capture); }
  /// A file, opened at start(): truncated unless `append`.
  static stdio file(file_path path, bool append = false) {
    stdio s(kind::file);
    s.path_ = std::move(path);
    s.append_ = append;
    return s;
  }
  /// A descriptor of ours, duplicated at start().
  static stdio fd(int number) {
    stdio s(kind::fd);
    s.fd_ = number;
    return s;
  }

  enum class kind : unsigned char { inherit, null, pipe, capture, file, fd };
  kind what() const noexcept { return kind_; }
  const file_path& path() const noexcept { return path_; }
  bool append() const noexcept { return append_; }
  int number() const noexcept { return fd_; }

private:
  explicit stdio(kind k) noexcept : kind_(k) {}

  kind kind_ = kind::inherit;
  bool append_ = false;
  int fd_ = -1;
  file_path path_;
};

/// Limits of the child, as of setrlimit; unset: inherited.
struct limits {
  std::optional<std::size_t> memory{};  ///< address space: an allocation beyond it throws std::bad_alloc there
  std::optional<std::size_t> stack{}, core{}, file_size{};
  std::optional<std::ptrdiff_t> open_files{};
  std::optional<duration> cpu_time{};  ///< in whole seconds, rounded up
};

struct process_options {
  std::string name{};                              ///< default "process-1", in its children "process-1:2"
  bool daemon = false;                             ///< not awaited when we exit; its children are, too
  std::optional<mp::start_method> start_method{};  ///< default: get_start_method()
  std::map<std::string, std::optional<std::string>> environment{};  ///< changes to ours at start(); nullopt removes
  file_path working_directory{};                                    ///< default: ours at start()
  mp::stdio in = stdio::null(), out{}, err{};
  int nice = 0;                     ///< added to ours
  std::vector<int> cpu_affinity{};  ///< processors it may use; default: ours
  mp::limits rlimits{};
  duration start_timeout = std::chrono::seconds(30);  ///< from start() to the child's hello
};

}  // namespace mp
