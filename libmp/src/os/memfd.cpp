// Sealed memfds, mappings, OFD locks. Must refuse foreign memory before it is mapped: a peer that truncates kills by
// SIGBUS.

#include "os/memfd.hpp"

#include "mp/error.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <string>
#include <utility>

namespace mp::os {
namespace {

constexpr int size_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

struct flock one_byte(short type, std::uint64_t byte) noexcept {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(byte);
  lock.l_len = 1;
  return lock;
}

int set_lock(int fd, short type, std::uint64_t byte) noexcept {
  struct flock lock = one_byte(type, byte);
  int result;
  do {
    result = ::fcntl(fd, F_OFD_SETLK, &lock);
  } while (result != 0 && errno == EINTR);
  return result;
}

}  // namespace

unique_fd make_memfd(const char* label, std::uint64_t bytes) {
  unique_fd fd(::memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) detail::throw_system_error(errc::out_of_resources, "cannot make shared memory (memfd_create)", errno);
  // A file-size limit below the size would end us by SIGXFSZ instead of an error.
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < bytes)
    detail::throw_error(errc::out_of_resources, "cannot make shared memory: the file-size limit (RLIMIT_FSIZE) of " +
                                                    std::to_string(limit.rlim_cur) + " bytes is below the " +
                                                    std::to_string(bytes) + " that a channel declares");
  int result;
  do {
    result = ::ftruncate(fd.get(), static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  if (result != 0) detail::throw_system_error(errc::out_of_resources, "cannot size shared memory", errno);
  if (::fcntl(fd.get(), F_ADD_SEALS, size_seals) != 0)
    detail::throw_system_error(errc::out_of_resources, "cannot seal shared memory", errno);
  return fd;
}

void check_memfd(int fd, std::uint64_t least) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) detail::throw_error(errc::bad_frame, "a handle arrived whose descriptor is not a memfd");
  if ((seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
    detail::throw_error(errc::bad_frame, "a handle arrived whose memory is not sealed against a change of size");
  struct stat info {};
  if (::fstat(fd, &info) != 0 || static_cast<std::uint64_t>(info.st_size) < least)
    detail::throw_error(errc::bad_frame, "a handle arrived whose memory is smaller than its header says");
}

int reserve_pages(int fd, std::uint64_t offset, std::uint64_t bytes) noexcept {
  for (;;) {
    if (::fallocate(fd, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0) return 0;
    if (errno != EINTR) return errno;
  }
}

void release_pages(int fd, std::uint64_t offset, std::uint64_t bytes) noexcept {
  ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(bytes));
}

unique_fd reopen(int fd) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  unique_fd copy(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!copy)
    detail::throw_system_error(errc::out_of_resources, "cannot reopen shared memory through /proc/self/fd", errno);
  return copy;
}

file_id identify(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) detail::throw_system_error(errc::bad_frame, "cannot look at a descriptor", errno);
  return {static_cast<std::uint64_t>(info.st_dev), static_cast<std::uint64_t>(info.st_ino)};
}

mapping::mapping(int fd, std::uint64_t offset, std::size_t bytes) : size_(bytes) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (at == MAP_FAILED) detail::throw_system_error(errc::out_of_resources, "cannot map shared memory", errno);
  data_ = static_cast<std::byte*>(at);
}

mapping::mapping(mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

mapping& mapping::operator=(mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

mapping::~mapping() {
  if (data_) ::munmap(data_, size_);
}

bool lock_shared(int fd, std::uint64_t byte) noexcept { return set_lock(fd, F_RDLCK, byte) == 0; }
bool lock_exclusive(int fd, std::uint64_t byte) noexcept { return set_lock(fd, F_WRLCK, byte) == 0; }
void unlock(int fd, std::uint64_t byte) noexcept { set_lock(fd, F_UNLCK, byte); }

bool locked_by_other(int fd, std::uint64_t byte) noexcept {
  struct flock lock = one_byte(F_WRLCK, byte);
  for (;;) {
    if (::fcntl(fd, F_OFD_GETLK, &lock) == 0) return lock.l_type != F_UNLCK;
    if (errno != EINTR) return false;
  }
}

}  // namespace mp::os
