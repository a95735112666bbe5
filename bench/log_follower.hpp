// SPDX-License-Identifier: Apache-2.0
//
// The simplest process that keeps a copy of a log: it reads entries from one connection, writes
// what has arrived to its file, syncs it, and answers with the number of the last entry. The floors
// and the two-sided peer are made of it.
//
// Thread contract: one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/log.hpp"
#include "bench/servers.hpp"

namespace dolmen::bench {

/// As it is sent and stored.
struct LogFrame {
  std::uint64_t sequence = 0;
  std::uint64_t checksum = 0;
  std::array<std::byte, kLogEntryBytes> payload{};
};

/// A file whose blocks are there already, as far as `bytes`: appending to it changes no size.
class LogFile {
 public:
  LogFile(const std::string& path, std::uint64_t bytes);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  void append_durably(const LogFrame* frames, std::size_t count);

 private:
  int fd_;
  std::uint64_t end_ = 0;
};

/// `bench --child log-follower PORT bare|checked [FILE BYTES]`; without a file it only answers.
void log_follower(const std::vector<std::string>& arguments);

enum class Frames : std::uint8_t {
  bare,     ///< nobody looks into them: for a floor
  checked,  ///< made with a checksum, and each verified to be the next one
};
/// Frames from `sequence` on.
[[nodiscard]] std::vector<LogFrame> log_frames(Frames kind, std::uint64_t sequence,
                                               std::size_t count);

/// Followers as seen by whoever sends to them.
class Followers {
 public:
  /// `file_bytes` 0: without files.
  Followers(const Folder& folder, const std::string& name, std::size_t count, Frames kind,
            std::uint64_t file_bytes);
  void send(const LogFrame* frames, std::size_t count);
  /// Waits until `count` of them have answered for `sequence`.
  void wait_for(std::size_t count, std::uint64_t sequence);

 private:
  struct Follower {
    Server server;
    Socket socket;
    std::uint64_t answered = 0;
    std::array<char, 8> partial{};
    std::size_t partial_bytes = 0;
  };
  std::vector<Follower> all_;
};

/// How much of their files is written before.
[[nodiscard]] std::uint64_t log_file_bytes(const LogWork& work);

/// A closed loop of rounds: each client has one entry in every round.
class BatchedLog : public LogSystem {
 public:
  explicit BatchedLog(Frames kind) : kind_(kind) {}
  [[nodiscard]] std::vector<double> times_us(std::size_t entries) override;
  [[nodiscard]] double rate(double seconds) override;

 protected:
  virtual void round(const std::vector<LogFrame>& frames) = 0;

 private:
  void next_round(std::size_t count);

  Frames kind_;
  std::uint64_t sequence_ = 1;
};

}  // namespace dolmen::bench
