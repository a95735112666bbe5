// SPDX-License-Identifier: Apache-2.0
// The log suite's floors: what the network and the disks take, without anything that makes it a
// log; and the simplest thing that is one, as a peer.
#include "bench/log_follower.hpp"

namespace dolmen::bench {
namespace {

/// One process that answers.
class Echo final : public BatchedLog {
 public:
  explicit Echo(const LogWork& work)
      : BatchedLog(Frames::bare), other_(work.folder(), "bare_rtt", 1, Frames::bare, 0) {}

 private:
  void round(const std::vector<LogFrame>& frames) override {
    other_.send(frames.data(), frames.size());
    other_.wait_for(1, frames.back().sequence);
  }

  Followers other_;
};

/// This process and two others write and sync at the same time; it waits for itself and one of
/// them.
class ThreeCopies final : public BatchedLog {
 public:
  ThreeCopies(const LogWork& work, const std::string& name, Frames kind)
      : BatchedLog(kind),
        followers_(work.folder(), name, 2, kind, log_file_bytes(work)),
        own_(work.folder().below(name + "_own"), log_file_bytes(work)) {}

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
    work.compete_one("bare_rtt", "one process answers over loopback tcp, nothing is stored",
                     std::make_shared<Echo>(work));
  }
  const auto floor = std::make_shared<ThreeCopies>(work, "bare_rtt_fdatasync", Frames::bare);
  const std::string told =
      "three processes at once pwrite to a pre-written file each and fdatasync: the sending one "
      "and "
      "two that answer over loopback tcp; waiting for itself and one";
  work.compete_one("bare_rtt_fdatasync", told, floor);
  work.compete_many("bare_rtt_fdatasync", told + "; 64 entries per round", floor);
}

void add_log_two_sided(LogWork& work) {
  const auto log = std::make_shared<ThreeCopies>(work, "two_sided", Frames::checked);
  const std::string told =
      "as bare_rtt_fdatasync, and each entry has a checksum and is verified to be the next one; "
      "clients in the leader's process; no election";
  work.compete_one("two_sided", told, log);
  work.compete_many("two_sided", told + "; the entries of all clients share one sync", log);
}

}  // namespace dolmen::bench
