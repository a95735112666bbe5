// SPDX-License-Identifier: Apache-2.0
//
// One directory of files, as the durability code sees it. The contract is deliberately weak,
// because disks are: a write is volatile until a later sync() of the same file has succeeded;
// before that, after a crash, any subset of its 512-byte sectors may be there, torn at any byte. A
// name (create, rename, remove) is volatile until sync_directory(). After a failed sync nothing is
// known about the writes before it. A call's return is its completion.
//
// Threads: a Disk and its Files may be used from any thread; reads and writes of overlapping ranges
// at the same time are the caller's to avoid. File::read is async-signal-safe in sys/linux (the
// fault handler of the arena reads pages with it).
//
// Errors: io_error (detail = errno), no_space, not_found, already_exists, held, read_only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"

namespace dolmen::sys {

inline constexpr std::size_t kSectorBytes = 512;

class File {
 public:
  virtual ~File() = default;
  /// Reads up to out.size() bytes at `offset`; fewer only at the end of the file. Gives the count.
  [[nodiscard]] virtual Result<std::size_t> read(std::uint64_t offset,
                                                 base::MutableBytes out) noexcept = 0;
  /// Writes all bytes at `offset`, extending the file when needed. On error any part may be
  /// written.
  [[nodiscard]] virtual Result<void> write(std::uint64_t offset, base::Bytes bytes) = 0;
  /// Makes every completed write of this file, and its size, durable.
  [[nodiscard]] virtual Result<void> sync() = 0;
  /// Begins to bring the range to the disk, so that a later sync() has less to wait for. A hint:
  /// may do nothing, and makes nothing durable.
  virtual void write_back(std::uint64_t offset, std::uint64_t bytes) noexcept {
    (void)offset;
    (void)bytes;
  }
  [[nodiscard]] virtual Result<std::uint64_t> size() = 0;
  [[nodiscard]] virtual Result<void> resize(std::uint64_t bytes) = 0;
  /// Reserves room so that later writes in the range do not fail with no_space; contents unchanged,
  /// and a file that ends before the range's end is extended to it by zeros.
  [[nodiscard]] virtual Result<void> allocate(std::uint64_t offset, std::uint64_t bytes) = 0;
  /// Gives the range's room back; it reads as zeros. A hint: may do nothing but zero the range.
  [[nodiscard]] virtual Result<void> punch(std::uint64_t offset, std::uint64_t bytes) = 0;
  /// Bytes of disk that the file occupies.
  [[nodiscard]] virtual Result<std::uint64_t> allocated_bytes() = 0;
};

/// An exclusive or shared hold on a lock file; released on destruction or when the process dies.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

enum class OpenMode : std::uint8_t { read_only, read_write, create_new, create_or_open };
enum class LockMode : std::uint8_t { shared, exclusive };

class Disk {
 public:
  virtual ~Disk() = default;
  /// Names are relative to the directory, without path separators except for one sub-directory
  /// level.
  [[nodiscard]] virtual Result<std::unique_ptr<File>> open(std::string_view name,
                                                           OpenMode mode) = 0;
  [[nodiscard]] virtual Result<std::vector<std::string>> list() = 0;  ///< sorted file names
  [[nodiscard]] virtual Result<void> remove(std::string_view name) = 0;
  [[nodiscard]] virtual Result<void> rename(std::string_view from, std::string_view to) = 0;
  [[nodiscard]] virtual Result<void> sync_directory() = 0;
  [[nodiscard]] virtual Result<std::uint64_t> free_bytes() = 0;
  /// Takes a lock without waiting. On success of an exclusive lock the file holds `owner` (who
  /// holds it, for people). Errors: held — then `*holder`, if given, receives the other owner's
  /// text.
  [[nodiscard]] virtual Result<std::unique_ptr<FileLock>> try_lock(std::string_view name,
                                                                   LockMode mode,
                                                                   std::string_view owner,
                                                                   std::string* holder) = 0;
  /// For messages: the directory's path or a simulated name.
  [[nodiscard]] virtual std::string describe() const = 0;
};

}  // namespace dolmen::sys
