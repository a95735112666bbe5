// SPDX-License-Identifier: Apache-2.0
// The log suite's floors: what the network and the disks take, without anything that makes it a
// log; and the simplest thing that is one, as a peer.
#include "bench/log_follower.hpp"

namespace dolmen::bench {
namespace {

class Floor final : public BatchedLog {
 public:
  Floor(const LogWork& work, const std::string& name, std::size_t processes,
        std::uint64_t file_bytes)
      : followers_(work.folder(), name, processes, file_bytes), needed_(processes / 2 + 1) {}

 private:
  void round(const std::vector<LogFrame>& frames) override {
    followers_.send(frames.data(), frames.size());
    followers_.wait_for(needed_, frames.back().sequence);
  }

  Followers followers_;
  std::size_t needed_;
};

class TwoSided final : public BatchedLog {
 public:
  explicit TwoSided(const LogWork& work)
      : followers_(work.folder(), "two_sided", 2, log_file_bytes(work)),
        own_(work.folder().below("two_sided_leader"), log_file_bytes(work)) {}

 private:
  void round(const std::vector<LogFrame>& frames) override {
    followers_.send(frames.data(), frames.size());
    own_.append_durably(frames.data(), frames.size());
    followers_.wait_for(1, frames.back().sequence);
  }

  Followers followers_;
  LogFile own_;
};

}  // namespace

void add_log_floors(LogWork& work) {
  if (work.wants_one()) {
    work.compete_one("bare_rtt", "one process answers over loopback tcp, nothing stored",
                     std::make_shared<Floor>(work, "bare_rtt", 1, 0));
  }
  const auto synced = std::make_shared<Floor>(work, "bare_rtt_fdatasync", 3, log_file_bytes(work));
  const std::string told =
      "three processes at once pwrite to a pre-written file each, fdatasync and answer over "
      "loopback tcp; waiting for two";
  work.compete_one("bare_rtt_fdatasync", told, synced);
  work.compete_many("bare_rtt_fdatasync", told + "; 64 entries per round", synced);
}

void add_log_two_sided(LogWork& work) {
  const auto log = std::make_shared<TwoSided>(work);
  const std::string told =
      "clients in the leader's process; it sends over loopback tcp to two followers, which pwrite "
      "to "
      "a pre-written file, fdatasync and answer, does the same itself, waits for one; no election";
  work.compete_one("two_sided", told, log);
  work.compete_many("two_sided", told + "; the entries of all clients share one sync", log);
}

}  // namespace dolmen::bench
