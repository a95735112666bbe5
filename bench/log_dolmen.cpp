// SPDX-License-Identifier: Apache-2.0
// The log suite's own system: a group of three members over tcp. This process is the one that
// leads, as with the floors, so that clients are in the leader's process; the other two are
// children that never stand for election.
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include <dolmen/hash_map.hpp>

#include "bench/log.hpp"
#include "bench/servers.hpp"
#include "fabric/tcp_endpoint.hpp"
#include "node/space_machine.hpp"
#include "replication/member.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::bench {
namespace {

constexpr std::size_t kMembers = 3;
constexpr replication::GroupId kGroup{1, 1};

template <class T>
T value_of(Result<T> result, const char* doing) {
  if (!result) throw Failure(std::string(doing) + ": " + result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

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

struct Cell {
  std::array<std::uint64_t, kLogEntryBytes / 8> words{};
};
struct Table {
  hash_map<std::uint64_t, Cell> cells;
};

/// A transaction in a replicated space: the client's cell gets other 64 bytes.
Result<std::vector<std::byte>> put(Space& space, std::span<const std::byte> arguments) {
  Cell cell;
  for (std::size_t i = 0; i < cell.words.size(); ++i) {
    cell.words[i] = base::load<std::uint64_t>(arguments, 8 * i);
  }
  DOLMEN_CHECK(space.transact(any, [&]() -> Result<void> {
    DOLMEN_TRY(const auto table, space.find_or_create<Table>("table"));
    space.edit(table)->cells.insert_or_assign(cell.words[0] % kLogClients, cell);
    return {};
  }));
  return std::vector<std::byte>{};
}

/// The client's cell.
Result<std::vector<std::byte>> get(Space& space, std::span<const std::byte> arguments) {
  const std::uint64_t client = base::load<std::uint64_t>(arguments) % kLogClients;
  DOLMEN_TRY(const auto table, space.find<Table>("table"));
  return space.read(table, [&](ref<Table> t) {
    std::vector<std::byte> found;
    const auto cell = t->cells.find(client);
    if (cell == t->cells.end()) return found;
    for (const std::uint64_t word : (*cell).second.words) {
      found.resize(found.size() + sizeof word);
      base::store(base::MutableBytes(found), found.size() - sizeof word, word);
    }
    return found;
  });
}

std::unique_ptr<StateMachine> make_machine(const std::string& kind, const std::string& directory) {
  if (kind == "counter") return std::make_unique<Counter>();
  const sys::Env& env = sys::linux_env();
  SpaceFunctions functions;
  functions["put"] = put;
  functions["get"] = SpaceFunction::query(get);
  auto disk = value_of(sys::open_directory(directory, sys::DirectoryMode::create), "a directory");
  return value_of(node::SpaceMachine::open(env, std::move(disk), env.memory->best_driver(),
                                           std::move(functions), {}),
                  "an image");
}

/// One of the three, in this process. `kind`: "counter" or "space".
class OneMember {
 public:
  OneMember(const std::string& kind, std::size_t number, const std::vector<std::uint16_t>& ports,
            const std::string& directory)
      : machine_(make_machine(kind, directory + "_space")) {
    const sys::Env& env = sys::linux_env();
    const std::array<std::byte, 32> key{};
    fabric::TcpOptions tcp{.self = {fabric::NodeId{number}, 1}, .key = fabric::Secret(key)};
    for (std::size_t i = 1; i <= kMembers; ++i) {
      const sys::NetworkAddress address{"127.0.0.1", ports[i - 1]};
      if (i == number) tcp.listen = address;
      if (i != number) tcp.peers.push_back({fabric::NodeId{i}, address});
    }
    endpoint_ =
        value_of(fabric::TcpEndpoint::make(
                     tcp, {.network = env.network, .clock = env.clock, .entropy = env.entropy}),
                 "listening");
    auto disk = value_of(sys::open_directory(directory, sys::DirectoryMode::create), "a directory");
    auto journal = value_of(replication::Journal::open(env, std::move(disk), {}), "a journal");
    log::Configuration first;
    for (std::size_t i = 1; i <= kMembers; ++i) {
      first.voters.push_back(replication::replica_of(fabric::NodeId{i}, 1));
    }
    value_of(journal->add(kGroup, replication::replica_of(fabric::NodeId{number}, 1), first),
             "a replica");
    // The first one is to lead, also on a machine that does much else.
    const std::uint64_t silence_ns = number == 1 ? 100'000'000 : 2'000'000'000;
    member_ = std::make_unique<replication::Member>(
        env, *endpoint_, std::move(journal),
        replication::MemberOptions{.replica = {.silence_ns = silence_ns}});
    value_of(member_->host(kGroup, *machine_), "the state machine");
  }

  void turn() {
    if (!value_of(member_->turn(), "a turn")) value_of(member_->wait(), "waiting");
  }
  void turn_now() { value_of(member_->turn(), "a turn"); }
  [[nodiscard]] bool leads() const {
    return member_->status(kGroup)->role == log::Role::leader &&
           member_->status(kGroup)->stable == member_->status(kGroup)->end.index;
  }
  void submit(base::Bytes entry, replication::Member::Answer answer) {
    member_->submit(kGroup, entry, std::move(answer));
  }
  void query(base::Bytes query, replication::Member::Answer answer) {
    member_->query(kGroup, query, replication::ReadLevel::linearizable, std::move(answer));
  }

 private:
  std::unique_ptr<StateMachine> machine_;
  std::unique_ptr<fabric::TcpEndpoint> endpoint_;
  std::unique_ptr<replication::Member> member_;
};

/// What its clients ask for.
enum class Asked : std::uint8_t { changes, reads_as_commands, queries };

class Dolmen final : public LogSystem {
 public:
  Dolmen(const LogWork& work, const std::string& kind, Asked asked = Asked::changes)
      : kind_(kind), asked_(asked) {
    const std::vector<std::uint16_t> ports = free_ports(kMembers);
    const std::string folder =
        work.folder().path() + "/dolmen_" + kind + std::to_string(static_cast<int>(asked)) + "_";
    for (std::size_t i = 2; i <= kMembers; ++i) {
      std::vector<std::string> words{"log-dolmen", kind, std::to_string(i),
                                     folder + std::to_string(i)};
      for (const std::uint16_t port : ports) words.push_back(std::to_string(port));
      followers_.push_back(Server::part(words, folder + std::to_string(i) + ".log"));
    }
    leader_.emplace(kind, 1, ports, folder + "1");
    warm_up();
    // Between measurements somebody has to say that the leader is there.
    between_ = std::thread([this] {
      while (!is_over_) {
        {
          const std::lock_guard lock(mutex_);
          leader_->turn_now();
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    });
  }
  ~Dolmen() override {
    is_over_ = true;
    if (between_.joinable()) between_.join();
  }

  std::vector<double> times_us(std::size_t entries) override {
    const std::lock_guard lock(mutex_);
    lead();
    std::vector<double> times;
    for (std::size_t i = 0; i < entries; ++i) {
      const auto start = std::chrono::steady_clock::now();
      bool is_told = false;
      submit([&] { is_told = true; });
      while (!is_told) turn();
      times.push_back(
          std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
              .count());
    }
    return times;
  }
  double rate(double seconds) override {
    const std::lock_guard lock(mutex_);
    lead();
    const auto start = std::chrono::steady_clock::now();
    const auto end = start + std::chrono::duration<double>(seconds);
    std::size_t told = 0;
    std::size_t under_way = 0;
    // Each client sends its next entry when it is told of the last.
    const std::function<void()> next = [&] {
      ++told;
      --under_way;
      if (std::chrono::steady_clock::now() < end) {
        ++under_way;
        submit(next);
      }
    };
    for (std::size_t i = 0; i < kLogClients; ++i) {
      ++under_way;
      submit(next);
    }
    while (under_way > 0) turn();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    return static_cast<double>(told) / taken.count();
  }

 private:
  void lead() {
    const auto until = std::chrono::steady_clock::now() + kStartPatience;
    // Also what was heard while nobody looked.
    leader_->turn();
    while (!leader_->leads()) {
      if (std::chrono::steady_clock::now() > until) throw Failure("nobody leads");
      leader_->turn();
    }
  }
  /// The first transaction makes the image's files: who does that for long leads no more.
  void warm_up() {
    for (int attempt = 0; attempt < 20; ++attempt) {
      lead();
      std::optional<replication::ReplyStatus> status;
      leader_->submit(next_request(), [&](const auto& outcome) { status = outcome.status; });
      while (!status) leader_->turn();
      if (status == replication::ReplyStatus::done) return;
    }
    throw Failure("no entry is taken");
  }
  /// Another one each time, so that a space has something to change.
  std::vector<std::byte> next_request() {
    base::store(base::MutableBytes(entry_), 0, ++count_);
    if (kind_ == "counter") return {entry_.begin(), entry_.end()};
    return node::encode(node::SpaceCall{.function = "put", .arguments = entry_});
  }
  void turn() {
    leader_->turn();
    for (auto& told : std::exchange(refused_, {})) submit(std::move(told));
  }
  void submit(std::function<void()> told) {
    const auto taken = [this, told = std::move(told)](const auto& outcome) {
      // Refused in time because the members were held up: who asked comes again, as clients do.
      if (outcome.status == replication::ReplyStatus::busy) return refused_.push_back(told);
      if (outcome.status != replication::ReplyStatus::done) {
        throw Failure("an entry was not taken: " +
                      std::to_string(static_cast<unsigned>(outcome.status)));
      }
      told();
    };
    if (asked_ == Asked::changes) return leader_->submit(next_request(), taken);
    base::store(base::MutableBytes(entry_), 0, ++count_);
    const std::vector<std::byte> read =
        node::encode(node::SpaceCall{.function = "get", .arguments = entry_});
    if (asked_ == Asked::queries) return leader_->query(read, taken);
    leader_->submit(read, taken);
  }

  const std::string kind_;
  const Asked asked_;
  std::uint64_t count_ = 0;
  std::array<std::byte, kLogEntryBytes> entry_{};
  std::vector<std::function<void()>> refused_;
  std::vector<Server> followers_;
  std::optional<OneMember> leader_;
  std::mutex mutex_;  // who runs the leader
  std::atomic<bool> is_over_{false};
  std::thread between_;
};

}  // namespace

void add_log_dolmen(LogWork& work) {
  work.compete("dolmen",
               "three members over tcp (encrypted), the loop blocks when there is nothing to do; "
               "clients in the leader's process",
               std::make_shared<Dolmen>(work, "counter"));
}

std::shared_ptr<LogSystem> start_replicated_space(const LogWork& work) {
  return std::make_shared<Dolmen>(work, "space");
}

std::shared_ptr<LogSystem> start_replicated_readers(const LogWork& work, bool with_queries) {
  return std::make_shared<Dolmen>(work, "space",
                                  with_queries ? Asked::queries : Asked::reads_as_commands);
}

void dolmen_log_child(const std::vector<std::string>& arguments) {
  std::vector<std::uint16_t> ports;
  for (std::size_t i = 3; i < arguments.size(); ++i) {
    ports.push_back(static_cast<std::uint16_t>(std::stoul(arguments[i])));
  }
  OneMember member(arguments[0], std::stoul(arguments[1]), ports, arguments[2]);
  for (;;) member.turn();
}

}  // namespace dolmen::bench
