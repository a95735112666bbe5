// SPDX-License-Identifier: Apache-2.0
#include "bench/memory_member.hpp"

#include <array>
#include <utility>

#include "fabric/shm.hpp"
#include "fabric/tcp_endpoint.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::bench {
namespace {

constexpr replication::GroupId kGroup{1, 2};

/// It counts.
class Counter final : public StateMachine {
 public:
  std::vector<std::byte> apply(Bytes /*command*/) override {
    ++count_;
    return {};
  }
  std::vector<std::byte> snapshot() const override {
    std::vector<std::byte> bytes(sizeof count_);
    base::store(base::MutableBytes(bytes), 0, count_);
    return bytes;
  }
  Result<void> restore(Bytes state) override {
    if (state.size() != sizeof count_) return fail(Errc::corrupt, "a counter");
    count_ = base::load<std::uint64_t>(state);
    return {};
  }
  void reset() override { count_ = 0; }

 private:
  std::uint64_t count_ = 0;
};

std::unique_ptr<fabric::Endpoint> endpoint_of(const MemberPlan& plan) {
  const sys::Env& env = sys::linux_env();
  // The clock only goes forward here, so a later life has a higher number.
  const fabric::NodeName self{fabric::NodeId{plan.number}, env.clock->wall_ns()};
  const fabric::WaitPolicy wait{.spin_ns = plan.spin_ns};
  if (!plan.shared_directory.empty()) {
    auto directory =
        expect(sys::open_shared_directory(plan.shared_directory), "the shared directory");
    return expect(fabric::open_shm(env, std::move(directory), {.self = self, .wait = wait}),
                  "an endpoint");
  }
  std::array<std::byte, 32> key{};
  key.fill(std::byte{0x5a});  // nobody else dials meanwhile
  fabric::TcpOptions tcp{.self = self, .key = fabric::Secret(key), .wait = wait};
  for (std::uint32_t i = 1; i <= kGroupMembers; ++i) {
    const sys::NetworkAddress address{"127.0.0.1", plan.ports.at(i - 1)};
    if (i == plan.number) tcp.listen = address;
    if (i != plan.number) tcp.peers.push_back({fabric::NodeId{i}, address});
  }
  return expect(fabric::TcpEndpoint::make(
                    tcp, {.network = env.network, .clock = env.clock, .entropy = env.entropy}),
                "an endpoint");
}

}  // namespace

std::vector<std::string> MemberPlan::words() const {
  std::vector<std::string> words{std::to_string(number),
                                 std::to_string(life),
                                 shared_directory.empty() ? "-" : shared_directory,
                                 journal.empty() ? "-" : journal,
                                 std::to_string(spin_ns),
                                 std::to_string(replica.silence_ns)};
  for (const std::uint16_t port : ports) words.push_back(std::to_string(port));
  return words;
}

MemberPlan MemberPlan::of_words(const std::vector<std::string>& words) {
  if (words.size() < 6) throw Failure("wrong arguments");
  MemberPlan plan{.number = static_cast<std::uint32_t>(std::stoul(words[0])),
                  .life = static_cast<std::uint32_t>(std::stoul(words[1])),
                  .shared_directory = words[2] == "-" ? "" : words[2],
                  .journal = words[3] == "-" ? "" : words[3],
                  .spin_ns = std::stoull(words[4])};
  plan.replica.silence_ns = std::stoull(words[5]);
  for (std::size_t i = 6; i < words.size(); ++i) {
    plan.ports.push_back(static_cast<std::uint16_t>(std::stoul(words[i])));
  }
  return plan;
}

struct MemoryMember::Parts {
  Counter counter;
  std::unique_ptr<fabric::Endpoint> endpoint;
  std::unique_ptr<replication::Member> member;
};

MemoryMember::MemoryMember(const MemberPlan& plan) : parts_(std::make_unique<Parts>()) {
  const sys::Env& env = sys::linux_env();
  const log::ReplicaId self = replication::replica_of(fabric::NodeId{plan.number}, plan.life);
  log::Configuration first;
  for (std::uint32_t i = 1; i <= kGroupMembers; ++i) {
    first.voters.push_back(replication::replica_of(fabric::NodeId{i}, 1));
  }
  std::unique_ptr<replication::Journal> journal;
  if (!plan.journal.empty()) {
    auto disk = expect(sys::open_directory(plan.journal, sys::DirectoryMode::open_or_create),
                       "a directory");
    const bool is_new = expect(disk->list(), "a directory").empty();
    journal = expect(replication::Journal::open(env, std::move(disk), {}), "a journal");
    if (is_new) expect(journal->add(kGroup, self, first), "a replica");
  }
  const bool is_durable = journal != nullptr;
  parts_->endpoint = endpoint_of(plan);
  parts_->member =
      std::make_unique<replication::Member>(env, *parts_->endpoint, std::move(journal),
                                            replication::MemberOptions{.replica = plan.replica});
  if (!is_durable) parts_->member->add_in_memory(kGroup, self, first);
  expect(parts_->member->host(kGroup, parts_->counter), "the state machine");
}

MemoryMember::~MemoryMember() = default;

bool MemoryMember::turn() { return expect(parts_->member->turn(), "a turn"); }
void MemoryMember::wait() { expect(parts_->member->wait(), "waiting"); }
replication::MemberStatus MemoryMember::status() const { return *parts_->member->status(kGroup); }
bool MemoryMember::leads() const { return parts_->member->leads(kGroup); }
void MemoryMember::submit(base::Bytes entry, replication::Member::Answer answer) {
  parts_->member->submit(kGroup, entry, std::move(answer));
}

}  // namespace dolmen::bench
