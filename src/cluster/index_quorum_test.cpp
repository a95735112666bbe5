// SPDX-License-Identifier: Apache-2.0
//
// Three replicas of a shard that apply its log at times of their own, or take a snapshot instead;
// readers look at two of them, in between all stores.
#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/test_budget.hpp"
#include "cluster/index_reader_fixture.hpp"

namespace dolmen::cluster {
namespace {

enum class Acknowledged : std::uint8_t {
  when_a_majority_applied,
  when_the_leader_applied,  ///< which is too early for this level
};

class QuorumCampaign {
 public:
  QuorumCampaign(IndexKind kind, std::uint64_t seed, Acknowledged acknowledged)
      : random_(seed), acknowledged_(acknowledged), keys_(8 + random_.below(60)) {
    for (int i = 0; i < 3; ++i) replicas_.push_back(std::make_unique<Table>(sizes_of(kind)));
    for (int i = 0; i < 3; ++i) readers_.push_back({IndexHints(replicas_[0]->geometry())});
    piece_bytes_ = random_.chance(1, 2) ? 8 : 64;
    lag_ = 1 + random_.below(6);
    pauses_ = 1 + random_.below(6);
  }

  TornReport run(std::string_view bug, std::uint64_t entries) {
    const IndexHooks hooks(bug, [this] { read(); });
    while (!report_.is_wrong && log_.size() < entries) {
      propose();
      for (std::size_t replica = 0; replica < replicas_.size(); ++replica) {
        if (replica == 0 || random_.chance(1, lag_)) catch_up(replica);
        read();
      }
    }
    for (std::size_t replica = 0; replica < replicas_.size(); ++replica) catch_up(replica);
    for (const auto& replica : replicas_) {
      if (!replica->index().check() ||
          replica->index().fingerprint() != replicas_[0]->index().fingerprint()) {
        report_.is_wrong = true;
      }
    }
    return report_;
  }

 private:
  struct Reader {
    IndexHints hints;
    std::uint64_t key = 0;
    std::uint64_t least = 0;
    std::array<std::size_t, 2> replicas{};
    std::unique_ptr<SlowLookup> lookup{};
  };
  struct Proposed {
    IndexCommand command;
    std::optional<std::uint64_t> key{};
    std::uint64_t number = 0;  ///< in the judge's count
  };

  void propose() {
    const Table& table = *replicas_[0];
    if (random_.chance(1, 8)) {
      log_.push_back({IndexCommand::release(table.last())});
      return;
    }
    const std::uint64_t key = random_.below(keys_);
    const bool is_growing = log_.size() / 100 % 2 == 0;
    const bool is_put = !random_.chance(is_growing ? 1 : 4, 5);
    const std::uint64_t value = log_.size();
    const auto command = is_put ? table.put_command(key, value) : table.erase_command(key);
    const auto number = judge_.begins(key, is_put ? IndexJudge::Value(value) : std::nullopt);
    log_.push_back({command, key, number});
  }

  /// Applies some of the log, or takes a snapshot of the leader's.
  void catch_up(std::size_t replica) {
    Table& table = *replicas_[replica];
    if (replica != 0 && table.last() < replicas_[0]->last() && random_.chance(1, 10)) {
      const auto snapshot = replicas_[0]->index().snapshot();
      EXPECT_TRUE(table.index().restore(snapshot));
      table.goes_on_at(replicas_[0]->last());
    }
    while (table.last() < log_.size()) {
      const Proposed& entry = log_[table.last()];
      if (table.apply(entry.command) == IndexOutcome::no_space) report_.is_wrong = true;
      acknowledge();
    }
    acknowledge();
  }

  void acknowledge() {
    std::array<log::Index, 3> applied{};
    for (std::size_t i = 0; i < 3; ++i) applied[i] = replicas_[i]->index().applied();
    std::ranges::sort(applied);
    const log::Index upto = acknowledged_ == Acknowledged::when_a_majority_applied
                                ? applied[1]
                                : replicas_[0]->index().applied();
    for (; acknowledged_upto_ < upto; ++acknowledged_upto_) {
      const Proposed& entry = log_[acknowledged_upto_];
      if (entry.key) judge_.ends(*entry.key, entry.number);
    }
  }

  void read() {
    for (Reader& reader : readers_) {
      if (!random_.chance(1, pauses_)) continue;
      for (std::uint64_t i = random_.below(40); i > 0; --i) step(reader);
    }
  }

  void step(Reader& reader) {
    if (!reader.lookup) {
      reader.key = random_.below(keys_);
      reader.least = judge_.asks(reader.key);
      const std::size_t left_out = random_.below(3);
      reader.replicas = {left_out == 0 ? 1u : 0u, left_out == 2 ? 1u : 2u};
      reader.lookup = std::make_unique<SlowLookup>(
          lookup_of(*replicas_[0], reader.hints, reader.key, ReadLevel::quorum, 2), piece_bytes_);
    }
    const std::array<base::Bytes, 2> regions{replicas_[reader.replicas[0]]->region(),
                                             replicas_[reader.replicas[1]]->region()};
    reader.lookup->step(regions, random_);
    if (!reader.lookup->is_over()) return;
    const IndexLookup& over = reader.lookup->lookup();
    if (over.state() == LookupState::found) {
      ++report_.found;
      const IndexJudge::Value number = number_in(*replicas_[0], over, reader.key);
      report_.is_wrong |= !number || !judge_.said(reader.key, reader.least, number);
    } else if (over.state() == LookupState::absent) {
      ++report_.absent;
      report_.is_wrong |= !judge_.said(reader.key, reader.least, std::nullopt);
    } else {
      ++report_.asked;
    }
    reader.lookup.reset();
  }

  base::Random random_;
  Acknowledged acknowledged_;
  std::uint64_t keys_;
  std::size_t piece_bytes_ = 8;
  std::uint64_t lag_ = 1;
  std::uint64_t pauses_ = 1;
  std::vector<std::unique_ptr<Table>> replicas_;
  std::vector<Reader> readers_;
  std::vector<Proposed> log_;
  std::size_t acknowledged_upto_ = 0;
  IndexJudge judge_;
  TornReport report_;
};

class IndexQuorumTest : public testing::TestWithParam<IndexKind> {};

TEST_P(IndexQuorumTest, IsLinearizableWhereAMajorityAppliedFirst) {
  const std::uint64_t seeds = base::budget("index_quorum_seeds");
  TornReport sum;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const TornReport report =
        QuorumCampaign(GetParam(), seed, Acknowledged::when_a_majority_applied).run({}, 300);
    ASSERT_FALSE(report.is_wrong) << "seed " << seed;
    sum.found += report.found;
    sum.absent += report.absent;
    sum.asked += report.asked;
  }
  std::printf("%lu found, %lu absent, %lu asked by message\n", sum.found, sum.absent, sum.asked);
  base::say_bound("index_quorum_seeds", seeds);
  EXPECT_GT(sum.found, 1'000u);
  EXPECT_GT(sum.absent, 1'000u);
}

std::uint64_t wrong_after(std::string_view bug, Acknowledged acknowledged) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    if (QuorumCampaign(IndexKind::homes, seed, acknowledged).run(bug, 300).is_wrong) {
      std::printf("%s: seen after %lu seeds\n", std::string(bug).c_str(), seed);
      return seed;
    }
  }
  return 0;
}

class IndexQuorumBugs : public testing::Test {
 protected:
  void SetUp() override {
    if (base::kSanitized) GTEST_SKIP() << "the release build looks for planted bugs";
  }
};

TEST_F(IndexQuorumBugs, AnAcknowledgementBeforeAMajorityAppliedIsSeen) {
  EXPECT_NE(wrong_after({}, Acknowledged::when_the_leader_applied), 0u);
}
TEST_F(IndexQuorumBugs, CopiesThatNeedNotAgreeAreSeen) {
  EXPECT_NE(wrong_after("cluster.quorum_of_one", Acknowledged::when_a_majority_applied), 0u);
}
TEST_F(IndexQuorumBugs, ASequenceNumberOfFourBitsIsSeen) {
  EXPECT_NE(wrong_after("cluster.sequence_wraps", Acknowledged::when_a_majority_applied), 0u);
}

INSTANTIATE_TEST_SUITE_P(Both, IndexQuorumTest,
                         testing::Values(IndexKind::homes, IndexKind::records),
                         [](const auto& info) {
                           return info.param == IndexKind::homes ? "Homes" : "Records";
                         });

}  // namespace
}  // namespace dolmen::cluster
