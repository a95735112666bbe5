// SPDX-License-Identifier: Apache-2.0
//
// More is asked for than can be done: three members whose machine takes a millisecond for each, in
// virtual time, and clients that want four times as much. Each of a client's askers has one command
// or query under way, waits for a second, and comes again when it was told to, as programs do.
#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/checksum.hpp"
#include "base/random.hpp"
#include "base/sanitizers.hpp"
#include "replication/member.hpp"
#include "sim/host_clock.hpp"
#include "sim/sim_env.hpp"
#include "sim/sim_fabric.hpp"

namespace dolmen::replication {
namespace {

constexpr GroupId kGroup{5, 8};
constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kSecond = 1'000 * kMs;
constexpr std::uint64_t kNever = ~std::uint64_t{0};
constexpr std::uint64_t kServiceNs = kMs;  // so that the capacity is 1000 a second

class SlowMachine final : public StateMachine {
 public:
  explicit SlowMachine(sim::HostClock& clock) : clock_(clock) {}
  std::vector<std::byte> apply(Bytes) override {
    clock_.sleep_ns(kServiceNs);
    ++done_;
    return {};
  }
  Result<std::vector<std::byte>> read(Bytes) const override {
    clock_.sleep_ns(kServiceNs);
    return std::vector<std::byte>{};
  }
  std::vector<std::byte> snapshot() const override { return std::vector<std::byte>(8); }
  Result<void> restore(Bytes) override { return {}; }
  void reset() override {}
  [[nodiscard]] std::uint64_t done() const { return done_; }

 private:
  sim::HostClock& clock_;
  std::uint64_t done_ = 0;
};

struct Demand {
  std::size_t askers = 40;     ///< of one client
  std::uint64_t every_ns = 0;  ///< each begins one so often, at most
  bool reads = false;
};

class LoadClient final : private fabric::Sink {
 public:
  LoadClient(sim::SimFabric& fabric, sim::SimEndpointOptions endpoint, const Demand& demand,
             std::uint64_t seed)
      : fabric_(fabric), demand_(demand), random_(seed), endpoint_(fabric.make(endpoint)) {
    askers_.resize(demand.askers);
    for (Asker& asker : askers_) asker.next_ns = random_.below(demand.every_ns + 1);
  }

  /// The time of the next one.
  std::uint64_t turn() {
    EXPECT_TRUE(endpoint_->poll(*this));
    const std::uint64_t now_ns = fabric_.now_ns();
    std::uint64_t next_ns = kNever;
    for (std::size_t i = 0; i < askers_.size(); ++i) {
      look_after(i, now_ns);
      next_ns = std::min(next_ns, askers_[i].next_ns);
    }
    return next_ns;
  }

  std::uint64_t served = 0;  ///< before its asker lost patience
  std::uint64_t refused = 0;
  std::uint64_t unanswered = 0;

 private:
  struct Asker {
    std::uint64_t session = 0;
    std::uint64_t sequence = 0;
    std::uint64_t number = 0;    ///< of the attempt under way; 0: none is
    std::uint64_t begun_ns = 0;  ///< what it wants now; 0: nothing
    std::uint64_t next_ns = 0;   ///< when it is to be looked after
    bool was_refused = false;
  };

  void look_after(std::size_t i, std::uint64_t now_ns) {
    Asker& asker = askers_[i];
    if (now_ns < asker.next_ns) return;
    if (asker.begun_ns != 0 && now_ns >= asker.begun_ns + kSecond && asker.session != 0) {
      ++(asker.number == 0 && asker.was_refused ? refused : unanswered);
      end(asker, now_ns);
      if (now_ns < asker.next_ns) return;
    }
    if (asker.begun_ns == 0) {
      asker.begun_ns = now_ns;
      asker.was_refused = false;
      if (asker.session != 0) ++asker.sequence;
    }
    ask(i, now_ns);
  }
  void end(Asker& asker, std::uint64_t now_ns) const {
    asker.next_ns = std::max(asker.begun_ns + demand_.every_ns, now_ns);
    asker.begun_ns = 0;
    asker.number = 0;
  }
  void ask(std::size_t i, std::uint64_t now_ns) {
    Asker& asker = askers_[i];
    asker.next_ns = now_ns + 5 * kMs;
    const auto to = endpoint_->connected(fabric::NodeId{member_ + 1});
    if (!to) {
      member_ = random_.below(3);
      return;
    }
    asker.number = ++number_ * askers_.size() + i;
    const bool reads = demand_.reads && asker.session != 0;
    const Request request{
        .number = asker.number,
        .session = asker.session,
        .sequence = asker.session == 0 ? 0 : asker.sequence,
        .command = asker.session == 0 ? base::Bytes{} : base::as_bytes("12345678")};
    const auto head = encode(Envelope{
        .kind = reads ? EnvelopeKind::read_request : EnvelopeKind::request, .group = kGroup});
    const auto body = reads ? encode(ReadRequest{.number = asker.number}) : encode(request);
    const std::array<base::Bytes, 2> parts{head, body};
    if (!endpoint_->send(*to, parts)) return;
    asker.next_ns = (asker.session == 0 ? now_ns : asker.begun_ns) + kSecond;
  }
  void on_connected(const fabric::NodeName& /*peer*/) override {}
  void on_lost(const fabric::NodeName& /*peer*/, const Error& /*why*/) override {}
  void on_refused(fabric::NodeId /*who*/, const Error& /*why*/) override {}
  void on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& /*former*/) override {}
  void on_message(const fabric::NodeName& /*from*/, base::Bytes message) override {
    const auto opened = decode_envelope(message);
    ASSERT_TRUE(opened && opened->envelope.kind == EnvelopeKind::reply);
    const auto reply = decode_reply(opened->body);
    ASSERT_TRUE(reply);
    Asker& asker = askers_[reply->number % askers_.size()];
    if (asker.number != reply->number) return;
    const std::uint64_t now_ns = fabric_.now_ns();
    asker.number = 0;
    switch (reply->status) {
      case ReplyStatus::done:
        if (asker.session == 0) {
          asker.session = reply->value;
        } else {
          ++served;
        }
        return end(asker, now_ns);
      case ReplyStatus::busy: {
        EXPECT_GE(reply->value, 1000u) << "says when to come again";
        const std::uint64_t hint_ns = reply->value * 1000;
        asker.was_refused = true;
        asker.next_ns = now_ns + hint_ns / 2 + random_.below(hint_ns);
        if (asker.session != 0) asker.next_ns = std::min(asker.next_ns, asker.begun_ns + kSecond);
        return;
      }
      case ReplyStatus::not_leader:
        if (reply->value != 0) member_ = reply->value - 1;
        [[fallthrough]];
      default:
        asker.next_ns = now_ns + 5 * kMs;
    }
  }

  sim::SimFabric& fabric_;
  const Demand demand_;
  base::Random random_;
  std::unique_ptr<fabric::Endpoint> endpoint_;
  std::vector<Asker> askers_;
  std::uint64_t number_ = 0;
  std::uint64_t member_ = 0;
};

class OverloadWorld {
 public:
  OverloadWorld(const std::vector<Demand>& demands, const MemberOptions& options) : fabric_(7, {}) {
    log::Configuration first;
    for (std::uint64_t i = 1; i <= 3; ++i) {
      first.voters.push_back(replica_of(fabric::NodeId{i}, 1));
    }
    for (std::size_t i = 0; i < 3; ++i) {
      nodes_.push_back(std::make_unique<Node>(fabric_.queue(), i));
      Node& node = *nodes_.back();
      node.endpoint = fabric_.make({.self = {fabric::NodeId{i + 1}, 1},
                                    .clock = &node.clock,
                                    .waker = [this, i](std::uint64_t at_ns) { wake(i, at_ns); }});
      node.member = std::make_unique<Member>(node.env, *node.endpoint, nullptr, options);
      node.member->add_in_memory(kGroup, first.voters[i], first);
      EXPECT_TRUE(node.member->host(kGroup, node.machine));
      wake(i, 1);
    }
    for (std::size_t k = 0; k < demands.size(); ++k) {
      due_.push_back({});
      clients_.push_back(std::make_unique<LoadClient>(
          fabric_,
          sim::SimEndpointOptions{
              .self = {fabric::NodeId{100 + k}, 1},
              .is_client = true,
              .waker = [this, k](std::uint64_t at_ns) { wake_client(k, at_ns); }},
          demands[k], base::mix_seed(7, k)));
      wake_client(k, 1);
    }
  }
  void run_for(std::uint64_t length_ns) { fabric_.run_for(length_ns); }

  struct Totals {
    std::uint64_t served = 0;
    std::uint64_t refused = 0;
    std::uint64_t unanswered = 0;
  };
  [[nodiscard]] Totals totals() const {
    Totals all;
    for (const auto& client : clients_) {
      all.served += client->served;
      all.refused += client->refused;
      all.unanswered += client->unanswered;
    }
    return all;
  }
  [[nodiscard]] const LoadClient& client(std::size_t k) const { return *clients_[k]; }
  [[nodiscard]] std::size_t most_held() const { return most_held_; }
  [[nodiscard]] std::uint64_t epoch() const { return nodes_[0]->member->status(kGroup)->epoch; }

 private:
  struct Due {
    std::uint64_t at_ns = kNever;
    std::uint64_t number = 0;
  };
  struct Node {
    Node(const sim::EventQueue& queue, std::uint64_t seed)
        : clock(queue), entropy(seed), process(1), machine(clock) {}
    sim::HostClock clock;
    sim::SimEntropy entropy;
    sim::SimProcess process;
    sys::Env env{.clock = &clock, .entropy = &entropy, .process = &process};
    SlowMachine machine;
    std::unique_ptr<fabric::Endpoint> endpoint;
    std::unique_ptr<Member> member;
    Due due;
  };

  void wake(std::size_t i, std::uint64_t at_ns) {
    Node& node = *nodes_[i];
    const std::uint64_t due_ns = std::max(at_ns, node.clock.true_ns());
    if (at_ns == kNever || due_ns >= node.due.at_ns) return;
    node.due = {due_ns, node.due.number + 1};
    fabric_.queue().at(due_ns, [this, i, number = node.due.number] {
      if (nodes_[i]->due.number != number) return;
      nodes_[i]->due.at_ns = kNever;
      turn(i);
    });
  }
  void turn(std::size_t i) {
    Node& node = *nodes_[i];
    if (!node.member) return;
    if (node.clock.true_ns() > fabric_.now_ns()) return wake(i, fabric_.now_ns());
    const auto turned = node.member->turn();
    ASSERT_TRUE(turned) << turned.error().message();
    most_held_ = std::max(most_held_, node.member->inside(kGroup)->held);
    node.clock.sleep_ns(2'000);
    if (*turned) return wake(i, fabric_.now_ns());
    ASSERT_TRUE(node.member->wait());
  }
  void wake_client(std::size_t k, std::uint64_t at_ns) {
    Due& due = due_[k];
    const std::uint64_t due_ns = std::max(at_ns, fabric_.now_ns());
    if (at_ns == kNever || due_ns >= due.at_ns) return;
    due = {due_ns, due.number + 1};
    fabric_.queue().at(due_ns, [this, k, number = due.number] {
      if (due_[k].number != number) return;
      due_[k].at_ns = kNever;
      wake_client(k, clients_[k]->turn());
    });
  }

  sim::SimFabric fabric_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Due> due_;
  std::vector<std::unique_ptr<LoadClient>> clients_;
  std::size_t most_held_ = 0;
};

constexpr std::uint64_t kMeasuredSeconds = base::kSanitized ? 2 : 8;

void expect_served(bool reads) {
  // 40 clients with 40 askers each that want 2.5 a second: 4000.
  const std::vector<Demand> demands(40, {.askers = 40, .every_ns = 400 * kMs, .reads = reads});
  OverloadWorld world(demands, {});
  world.run_for(3 * kSecond);  // everybody has a session, and what it takes is known
  const auto before = world.totals();
  std::vector<std::uint64_t> served_before;
  for (std::size_t k = 0; k < demands.size(); ++k) served_before.push_back(world.client(k).served);
  const std::uint64_t epoch = world.epoch();
  world.run_for(kMeasuredSeconds * kSecond);
  const auto after = world.totals();
  const std::uint64_t served = after.served - before.served;
  std::uint64_t least = kNever;
  for (std::size_t k = 0; k < demands.size(); ++k) {
    least = std::min(least, world.client(k).served - served_before[k]);
  }
  std::printf(
      "%s: %lu served, %lu refused, %lu unanswered in %lu s; least by a client %lu of %lu; "
      "most held %zu\n",
      reads ? "queries" : "commands", served, after.refused - before.refused,
      after.unanswered - before.unanswered, kMeasuredSeconds, least, served / demands.size(),
      world.most_held());
  EXPECT_GE(served, kMeasuredSeconds * 1000 * 8 / 10);
  EXPECT_LE(served, kMeasuredSeconds * 1000 * 102 / 100) << "more than can be";
  EXPECT_GE(least, served / demands.size() / 2) << "somebody starves";
  EXPECT_LE(world.most_held(), 2'000u);
  EXPECT_EQ(world.epoch(), epoch) << "the leader was busy, not gone";
}

TEST(MemberOverload, FourTimesAsManyCommandsLeaveWhatCanBeDone) { expect_served(false); }
TEST(MemberOverload, FourTimesAsManyQueriesLeaveWhatCanBeDone) { expect_served(true); }

// One client asks for 900 at a time; nine others for one at a time, 20 a second each.
TEST(MemberOverload, AClientThatAsksForMuchLeavesTheOthersTheirTurns) {
  std::vector<Demand> demands(9, {.askers = 1, .every_ns = 50 * kMs});
  demands.push_back({.askers = 900, .every_ns = 0});
  OverloadWorld world(demands, {});
  world.run_for(3 * kSecond);
  std::vector<std::uint64_t> before;
  for (std::size_t k = 0; k < 10; ++k) before.push_back(world.client(k).served);
  world.run_for(4 * kSecond);
  for (std::size_t k = 0; k < 9; ++k) {
    EXPECT_GE(world.client(k).served - before[k], 30u) << "of 80 that client " << k << " wants";
  }
  EXPECT_GE(world.client(9).served - before[9], 2'000u) << "what they leave";
}

}  // namespace
}  // namespace dolmen::replication
