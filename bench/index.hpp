// SPDX-License-Identifier: Apache-2.0
//
// The index suite's work: keys and values of 64 bytes in a table that other processes keep, which
// clients get and put. A system is an IndexSystem.
//
// Thread contract: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <dolmen/replicated.hpp>

#include "base/random.hpp"
#include "bench/fabric.hpp"
#include "bench/harness.hpp"
#include "bench/machine.hpp"
#include "bench/servers.hpp"

namespace dolmen::bench {

inline constexpr std::size_t kIndexValueBytes = 64;
inline constexpr std::uint64_t kIndexKeys = 10'000;
/// Gets or puts of one client at once where they are pipelined.
inline constexpr std::size_t kIndexBatch = 16;

/// Entries of a scan.
inline constexpr std::size_t kIndexScan = 100;

/// What clients do.
struct IndexMix {
  std::size_t clients = 1;
  std::size_t batch = 1;          ///< so many at once; all of one batch are gets, or all are puts
  std::uint64_t gets_of_100 = 0;  ///< the others are puts
  bool is_threads = false;        ///< each client is a thread, where there is a choice
};

/// "key-00000017": 12 bytes.
[[nodiscard]] std::string index_key(std::uint64_t number);

/// All of kIndexKeys are there. Throws Failure from every call.
class ReadSystem {
 public:
  virtual ~ReadSystem() = default;
  /// Seconds of each get of one client, or of each scan of kIndexScan entries.
  [[nodiscard]] virtual std::vector<double> times_of_reads(std::size_t count) = 0;
};

class IndexSystem : public ReadSystem {
 public:
  /// Gets and puts per second, of about so many seconds.
  [[nodiscard]] virtual double rate(const IndexMix& mix, double seconds) = 0;
};

enum class IndexGroupKind : std::uint8_t { shared_memory, tcp_memory, tcp_durable };
/// How members and clients are run.
struct IndexTuning {
  bool has_lease = false;   ///< leaders have leases, by which clients read
  std::size_t shards = 1;   ///< of a hash index: each is a group of the three
  bool is_polling = false;  ///< clients, and members that are asked, look for what comes themselves
  bool is_clear = false;    ///< the fabric is declared trusted: nothing is encrypted
};
/// Three members in processes of their own, and how clients find them.
class IndexMembers {
 public:
  IndexMembers(const Folder& folder, IndexGroupKind kind, const std::string& table,
               const IndexTuning& tuning = {});
  [[nodiscard]] const ReplicatedGroup& group() const { return group_; }

 private:
  SharedFolder shared_;
  ReplicatedGroup group_;
  std::vector<Server> members_;
};

/// Three members in processes of their own, of which each has the whole index.
[[nodiscard]] std::unique_ptr<IndexSystem> start_index(const Folder& folder, IndexGroupKind kind,
                                                       const IndexTuning& tuning = {});
/// The same of an ordered index, which is scanned.
[[nodiscard]] std::unique_ptr<ReadSystem> start_ordered(const Folder& folder, IndexGroupKind kind);
/// `bench --child index-member …`: one of them.
void index_child(const std::vector<std::string>& arguments);

/// A master and two replicas in memory alone; puts wait for one of them. Requires: it is installed.
[[nodiscard]] std::unique_ptr<IndexSystem> start_index_redis(const Folder& folder,
                                                             const std::string& program,
                                                             bool waits_for_replica);
/// One process with a sorted set, of which each member is a key and its value, all of one score: a
/// range is one command (ZRANGEBYLEX). Requires: it is installed.
[[nodiscard]] std::unique_ptr<ReadSystem> start_ordered_redis(const Folder& folder,
                                                              const std::string& program);
/// One process. Requires: it is installed.
[[nodiscard]] std::unique_ptr<IndexSystem> start_index_memcached(const Folder& folder,
                                                                 const std::string& program);

}  // namespace dolmen::bench
