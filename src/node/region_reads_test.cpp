// SPDX-License-Identifier: Apache-2.0
#include "node/region_reads.hpp"

#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <gtest/gtest.h>

#include "node/replicated_group.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

constexpr fabric::NodeName kLeader{fabric::NodeId{1}, 1};

/// Connected with one member, which leads; what is queued for it is at its limit, for ever.
class StuckEndpoint final : public fabric::Endpoint {
 public:
  /// So many, and whoever polls is taken to do so for ever.
  static constexpr int kPollsMax = 10'000;

  fabric::NodeName self() const noexcept override { return {fabric::NodeId{2}, 1}; }
  const fabric::Traits& traits() const noexcept override { return traits_; }
  std::optional<fabric::NodeName> connected(fabric::NodeId) const noexcept override {
    return is_connected_ ? std::optional(kLeader) : std::nullopt;
  }
  Result<void> send(const fabric::NodeName&, std::span<const base::Bytes>) override {
    is_asked_ = true;
    return {};
  }
  Result<base::MutableBytes> make_region(fabric::RegionId, std::size_t) override { return none(); }
  Result<void> close_region(fabric::RegionId) override { return none(); }
  Result<void> grant(fabric::RegionId, fabric::NodeId, fabric::Rights) override { return none(); }
  Result<void> revoke(fabric::RegionId, fabric::NodeId) override { return none(); }
  Result<void> write(fabric::OpId, const fabric::Place&, base::Bytes, fabric::Level) override {
    return none();
  }
  Result<void> read(fabric::OpId, const fabric::Place&, base::MutableBytes) override {
    return fail(is_connected_ ? Errc::busy : Errc::not_connected, "node");
  }
  Result<void> compare_and_swap(fabric::OpId, const fabric::Place&, std::uint64_t,
                                std::uint64_t) override {
    return none();
  }
  Result<void> fetch_add(fabric::OpId, const fabric::Place&, std::uint64_t) override {
    return none();
  }
  Result<base::MutableBytes> map(const fabric::NodeName&, fabric::RegionId) override {
    return none();
  }
  Result<bool> poll(fabric::Sink& sink) override {
    if (++polls_ > kPollsMax) return fail(Errc::limit, "polls");
    if (!std::exchange(is_asked_, false)) return false;
    const auto replica = replication::replica_of(kLeader.node, 1);
    log::Configuration members;
    members.voters.push_back(replica);
    auto message = encode(replication::Envelope{
        .kind = replication::EnvelopeKind::memory, .group = group_of(7), .from = replica});
    const auto body = encode(replication::MemoryReply{
        .epoch = 1, .leader = 1, .configured = 1, .bytes = 1 << 20, .configuration = members});
    message.insert(message.end(), body.begin(), body.end());
    sink.on_message(kLeader, message);
    return true;
  }
  Result<void> wait(std::uint64_t) override {
    sys::linux_env().clock->sleep_ns(100'000);
    return {};
  }
  void wake() noexcept override {}
  void disconnect(fabric::NodeId) noexcept override { is_connected_ = false; }

 private:
  static std::unexpected<Error> none() { return fail(Errc::unsupported, "a stuck endpoint"); }

  fabric::Traits traits_{};
  bool is_connected_ = true;
  bool is_asked_ = false;
  int polls_ = 0;
};

class OneRead final : public cluster::RegionReader {
 public:
  OneRead() : RegionReader(cluster::ReadLevel::hint, {}) { reads_.push_back({.bytes = 64}); }

 private:
  void take(std::span<const base::Bytes>) override { end(cluster::LookupState::found); }
};

struct Reads final : RegionReads {
  using RegionReads::RegionReads;
  Result<bool> learn_region(std::uint64_t, std::uint64_t) override { return true; }
};

// A leader that was stopped takes nothing more, and is connected still.
TEST(RegionReads, WhoTakesNoMoreReadsIsNotWaitedForBeyondThePatience) {
  constexpr std::uint64_t kPatienceNs = 20'000'000;
  for (const bool is_single : {true, false}) {
    IndexCounts counts;
    Reads reads({.reads = IndexReads::hint}, counts);
    reads.endpoint = std::make_unique<StuckEndpoint>();
    reads.group = group_of(7);
    reads.nodes = {kLeader.node};
    std::optional<cluster::LookupState> ended;
    const auto end = [&](RegionReads::Reader& reader) { ended = reader.state(); };
    const std::uint64_t now_ns = Reads::now_ns();
    std::unique_ptr<RegionReads::Reader> one = std::make_unique<OneRead>();
    constexpr std::size_t kOne = 0;
    const auto read = is_single
                          ? reads.read_one([&]() -> RegionReads::Reader& { return *one; }, end,
                                           now_ns, now_ns + kPatienceNs)
                          : reads.read_all(
                                std::span(&kOne, 1), [&](std::size_t) { return std::move(one); },
                                [&](std::size_t, RegionReads::Reader& reader) { end(reader); },
                                now_ns + kPatienceNs);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(ended, cluster::LookupState::ask) << "by message, which is nobody's either";
  }
}

}  // namespace
}  // namespace dolmen::node
