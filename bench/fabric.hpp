// SPDX-License-Identifier: Apache-2.0
//
// The fabric suite's work: writes, reads and round trips from this process to another one, which is
// started for each measurement and ends with it. Each of the two has a core of its own where there
// are two, and polls without pause; on one core they give it to each other.
//
// Thread contract: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness.hpp"
#include "bench/servers.hpp"

namespace dolmen::bench {

inline constexpr std::size_t kFabricSmallBytes = 64;
inline constexpr std::size_t kFabricPageBytes = 4096;
/// Of the target's memory, which writes and reads pass through from end to end.
inline constexpr std::size_t kFabricRegionBytes = std::size_t{64} << 10;

enum class FabricWork : std::uint8_t { write64, read4k, rtt64 };

/// What a process that waits for the other one does between two looks.
class Spin {
 public:
  explicit Spin(bool shares_core) : shares_core_(shares_core) {}
  void operator()() const noexcept;

 private:
  bool shares_core_;
};

/// One system at work. Throws Failure.
class Exchange {
 public:
  virtual ~Exchange() = default;
  /// So many, each begun when the one before is done.
  virtual void repeat(std::size_t count) = 0;
};

/// The two processes of a measurement.
class FabricStage {
 public:
  /// `outputs`: the folder for what the other process says.
  explicit FabricStage(std::string outputs);
  [[nodiscard]] int own_core() const noexcept { return cores_.back(); }
  [[nodiscard]] int other_core() const noexcept { return cores_.front(); }
  [[nodiscard]] bool shares_core() const noexcept { return cores_.size() < 2; }
  [[nodiscard]] Spin spin() const noexcept { return Spin(shares_core()); }
  /// For the mode.
  [[nodiscard]] std::string told() const;
  /// Starts the other process: `bench --child <part> <where> <work> <core> <shares core>`.
  [[nodiscard]] Server start(const std::string& part, const std::string& where,
                             FabricWork work) const;

 private:
  std::string outputs_;
  std::vector<int> cores_;
};

/// What the other process was told.
struct FabricPart {
  std::string where;
  FabricWork work{};
  int core = 0;
  bool shares_core = false;

  /// Throws Failure.
  explicit FabricPart(const std::vector<std::string>& arguments);
};

/// A folder in memory, of this user alone; removed with what is in it.
class SharedFolder {
 public:
  SharedFolder();
  ~SharedFolder();
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

/// dolmen's, and the bare ones.
[[nodiscard]] std::unique_ptr<Exchange> dolmen_over_shm(const FabricStage& stage, FabricWork work);
[[nodiscard]] std::unique_ptr<Exchange> dolmen_over_tcp(const FabricStage& stage, FabricWork work);
[[nodiscard]] std::unique_ptr<Exchange> bare_over_shm(const FabricStage& stage, FabricWork work);
[[nodiscard]] std::unique_ptr<Exchange> bare_over_tcp(const FabricStage& stage, FabricWork work);

/// Their other sides; they end when the first side is gone, or are killed.
void dolmen_shm_part(const FabricPart& part);
void dolmen_tcp_part(const FabricPart& part);
void bare_shm_part(const FabricPart& part);
void bare_tcp_part(const FabricPart& part);

}  // namespace dolmen::bench
