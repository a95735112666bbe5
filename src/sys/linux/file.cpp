// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/file.hpp"

#include <algorithm>
#include <cerrno>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/linux/system_error.hpp"

namespace dolmen::sys {
namespace {

constexpr std::size_t kChunkBytes = 64 << 10;

class LinuxFile final : public File {
 public:
  LinuxFile(int fd, std::string name, bool writable)
      : name_(std::move(name)), fd_(fd), writable_(writable) {}
  ~LinuxFile() override { ::close(fd_); }
  LinuxFile(const LinuxFile&) = delete;
  LinuxFile& operator=(const LinuxFile&) = delete;

  Result<std::size_t> read(std::uint64_t offset, base::MutableBytes out) noexcept override {
    std::size_t done = 0;
    while (done < out.size()) {
      const ssize_t count = without_interruption([&] {
        return ::pread(fd_, out.data() + done, out.size() - done,
                       static_cast<off_t>(offset + done));
      });
      if (count < 0) return system_failure(errno, name_);
      if (count == 0) break;
      done += static_cast<std::size_t>(count);
    }
    return done;
  }

  Result<void> write(std::uint64_t offset, base::Bytes bytes) override {
    DOLMEN_CHECK(require_writable());
    while (!bytes.empty()) {
      const ssize_t count = without_interruption(
          [&] { return ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
      if (count < 0) return system_failure(errno, name_);
      offset += static_cast<std::uint64_t>(count);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    return {};
  }

  // fdatasync also writes the size, and the blocks of an extended file, whenever reading the data
  // back needs them; only times are left out.
  Result<void> sync() override {
    if (without_interruption([&] { return ::fdatasync(fd_); }) != 0) {
      return system_failure(errno, name_);
    }
    return {};
  }

  void write_back(std::uint64_t offset, std::uint64_t bytes) noexcept override {
    (void)::sync_file_range(fd_, static_cast<off64_t>(offset), static_cast<off64_t>(bytes),
                            SYNC_FILE_RANGE_WRITE);
  }

  Result<std::uint64_t> size() override {
    DOLMEN_TRY(const struct stat status, this->status());
    return static_cast<std::uint64_t>(status.st_size);
  }

  Result<void> resize(std::uint64_t bytes) override {
    DOLMEN_CHECK(require_writable());
    if (without_interruption([&] { return ::ftruncate(fd_, static_cast<off_t>(bytes)); }) != 0) {
      return system_failure(errno, name_);
    }
    return {};
  }

  Result<void> allocate(std::uint64_t offset, std::uint64_t bytes) override {
    DOLMEN_CHECK(require_writable());
    if (bytes == 0) return {};
    if (without_interruption([&] {
          return ::fallocate(fd_, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes));
        }) == 0) {
      return {};
    }
    if (errno != EOPNOTSUPP && errno != ENOSYS) return system_failure(errno, name_);
    return rewrite(offset, bytes);
  }

  Result<void> punch(std::uint64_t offset, std::uint64_t bytes) override {
    DOLMEN_CHECK(require_writable());
    if (bytes == 0) return {};
    if (without_interruption([&] {
          return ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                             static_cast<off_t>(offset), static_cast<off_t>(bytes));
        }) == 0) {
      return {};
    }
    if (errno != EOPNOTSUPP && errno != ENOSYS) return system_failure(errno, name_);
    DOLMEN_TRY(const std::uint64_t end, size());
    if (offset >= end) return {};
    const std::vector<std::byte> zeros(kChunkBytes);
    for (std::uint64_t left = std::min(bytes, end - offset); left > 0;) {
      const std::size_t step = std::min<std::uint64_t>(left, zeros.size());
      DOLMEN_CHECK(write(offset, base::Bytes(zeros).first(step)));
      offset += step;
      left -= step;
    }
    return {};
  }

  Result<std::uint64_t> allocated_bytes() override {
    DOLMEN_TRY(const struct stat status, this->status());
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }

 private:
  [[nodiscard]] Result<void> require_writable() const {
    return writable_ ? Result<void>() : system_failure(EROFS, name_);
  }

  [[nodiscard]] Result<struct stat> status() const {
    struct stat status{};
    if (::fstat(fd_, &status) != 0) return system_failure(errno, name_);
    return status;
  }

  // Where the file system cannot reserve room: writes what is there once more, and zeros beyond the
  // end.
  [[nodiscard]] Result<void> rewrite(std::uint64_t offset, std::uint64_t bytes) {
    std::vector<std::byte> chunk(kChunkBytes);
    while (bytes > 0) {
      const std::size_t step = std::min<std::uint64_t>(bytes, chunk.size());
      const base::MutableBytes part = base::MutableBytes(chunk).first(step);
      DOLMEN_TRY(const std::size_t present, read(offset, part));
      std::ranges::fill(part.subspan(present), std::byte{0});
      DOLMEN_CHECK(write(offset, part));
      offset += step;
      bytes -= step;
    }
    return {};
  }

  const std::string name_;
  const int fd_;
  const bool writable_;
};

}  // namespace

std::unique_ptr<File> make_file(int fd, std::string name, bool writable) {
  return std::make_unique<LinuxFile>(fd, std::move(name), writable);
}

}  // namespace dolmen::sys
