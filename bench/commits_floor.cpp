// SPDX-License-Identifier: Apache-2.0
// The commits suite's floor: what the disk itself takes for 128 bytes. Nothing durable can be
// faster, unless several commits share one sync.
#include <fcntl.h>
#include <unistd.h>

#include "bench/commits.hpp"

namespace dolmen::bench {
namespace {

class File {
 public:
  File(const std::string& path, std::uint64_t bytes)
      : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)), bytes_(bytes) {
    if (fd_ < 0) throw Failure("cannot make " + path);
    write_all();
  }
  ~File() { ::close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// Writes the whole file and syncs it.
  void write_all() {
    const std::vector<char> block(1u << 20, 'x');
    for (std::uint64_t at = 0; at < bytes_; at += block.size())
      write(at, block.data(), block.size());
    sync();
  }
  void write(std::uint64_t at, const void* data, std::size_t bytes) {
    if (pwrite(fd_, data, bytes, static_cast<off_t>(at)) != static_cast<ssize_t>(bytes)) {
      throw Failure("pwrite failed");
    }
  }
  void sync() {
    if (fdatasync(fd_) != 0) throw Failure("fdatasync failed");
  }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  int fd_;
  std::uint64_t bytes_;
};

/// Appends 128 bytes at a time to a file that has its blocks already, syncing after each.
class Floor {
 public:
  Floor(const Folder& folder, std::uint64_t bulk_bytes)
      : log_(folder.below("floor_log"), 16u << 20), bulk_(folder.below("floor_bulk"), bulk_bytes) {}

  class Session {
   public:
    explicit Session(Floor& floor) : floor_(&floor) {}
    void put(std::uint32_t record, const Value& value) {
      std::array<std::byte, 128> line{};
      std::memcpy(line.data(), value.data(), value.size());
      std::memcpy(line.data() + value.size(), &record, sizeof(record));
      const std::uint64_t at = floor_->next_.fetch_add(line.size());
      floor_->log_.write(at % floor_->log_.bytes(), line.data(), line.size());
      floor_->log_.sync();
    }

   private:
    Floor* floor_;
  };
  [[nodiscard]] Session session() { return Session(*this); }
  template <class Begun>
  void disturb(Begun&& begun) {
    begun();
    bulk_.write_all();
  }

 private:
  File log_;
  File bulk_;
  std::atomic<std::uint64_t> next_{0};
};

}  // namespace

void add_commits_floor(CommitsWork& work) {
  if (!work.wants_durable()) return;
  const std::uint64_t bulk_bytes = std::uint64_t{work.bulk_blocks()} * 4096;
  const auto floor = std::make_shared<Floor>(work.folder(), bulk_bytes);
  const std::string told = "pwrite of 128 B to a pre-written file + fdatasync";
  work.compete_durable("fdatasync", told, floor);
  if (!work.wants_disturbed()) return;
  work.compete_disturbed(
      "fdatasync",
      told + "; while a thread rewrites and syncs another file of " +
          std::to_string(bulk_bytes >> 20) + " MiB",
      [floor, &work] { return work.timed_disturbed(*floor, work.report().quick() ? 50 : 500); });
}

}  // namespace dolmen::bench
