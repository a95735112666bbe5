// SPDX-License-Identifier: Apache-2.0
//
// Nodes that are killed at random moments, two at a time, while two others live on and watch. Each
// message says whose it is, of which life and the how-manieth, so that a lost, repeated, reordered,
// torn or misdirected one is seen.
#include <algorithm>
#include <array>
#include <cstring>
#include <iostream>
#include <map>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/checksum.hpp"
#include "base/random.hpp"
#include "base/test_budget.hpp"
#include "fabric/shm_fixture.hpp"

namespace dolmen::fabric::shm {
namespace {

using test::life;

constexpr auto kRegion = static_cast<RegionId>(1);
constexpr Rights kAll{.read = true, .write = true, .atomic = true};
constexpr std::size_t kRingBytes = 4096;
constexpr std::array<std::uint64_t, 2> kSurvivors{10, 30};
constexpr std::array<std::uint64_t, 3> kVictims{5, 20, 40};  // below, between and above
constexpr std::uint64_t kPatienceNs = 20'000'000'000;
constexpr std::uint64_t kMeetingNs = 300'000'000;

std::uint64_t now() { return sys::linux_env().clock->monotonic_ns(); }

struct Stamp {
  NodeName from;
  NodeName to;
  std::uint64_t number = 0;
  std::uint64_t bytes = 0;  // behind the stamp, each the number's low byte
  std::uint64_t check = 0;
};

/// Sends stamped messages to all that are connected, and checks those that come.
class Talker final : public Sink {
 public:
  explicit Talker(std::unique_ptr<Endpoint> its_endpoint, std::uint64_t seed)
      : endpoint(std::move(its_endpoint)), random(seed) {}

  void on_connected(const NodeName& peer) override {
    expect(peers.emplace(peer, Counters{}).second, "connected twice");
    for (const auto& [other, counters] : peers) {
      expect(other == peer || other.node != peer.node, "two lives at once");
    }
  }
  void on_lost(const NodeName& peer, const Error& why) override {
    expect(peers.erase(peer) == 1, "lost without having been connected");
    expect(why.code() == Errc::connection_lost || why.code() == Errc::superseded, "lost for why");
    lost.push_back(peer);
  }
  void on_refused(NodeId, const Error& why) override {
    std::cerr << "refused: " << why.message() << "\n";
    expect(false, "refused");
  }
  void on_message(const NodeName& from, Bytes message) override {
    const auto found = peers.find(from);
    if (found == peers.end() || message.size() < sizeof(Stamp)) return expect(false, "from whom");
    const auto stamp = base::load<Stamp>(message);
    expect(stamp.from == from && stamp.to == endpoint->self(), "meant for another life");
    expect(stamp.number == found->second.received++, "out of order");
    expect(stamp.bytes == message.size() - sizeof(Stamp) && stamp.check == check_of(stamp), "torn");
    const Bytes rest = message.subspan(sizeof(Stamp));
    expect(std::ranges::all_of(
               rest, [&](std::byte b) { return b == static_cast<std::byte>(stamp.number); }),
           "torn");
    ++heard;
  }
  void on_completed(OpId, const Result<std::uint64_t>& former) override {
    expect(former || former.error().code() == Errc::not_found ||
               former.error().code() == Errc::no_right,
           "an operation failed");
  }

  void speak() {
    for (auto& [peer, counters] : peers) {
      if (!random.chance(2, 3)) continue;
      Stamp stamp{.from = endpoint->self(), .to = peer, .number = counters.sent};
      stamp.bytes = random.chance(1, 20) ? random.below(3 * kRingBytes) : random.below(100);
      stamp.check = check_of(stamp);
      const std::vector<std::byte> rest(stamp.bytes, static_cast<std::byte>(stamp.number));
      const Bytes parts[] = {std::as_bytes(std::span(&stamp, 1)), rest};
      if (endpoint->send(peer, parts)) ++counters.sent;
      const Place place{.target = peer, .region = kRegion, .offset = 8 * random.below(8)};
      (void)endpoint->fetch_add(OpId{}, place, 1);
    }
  }
  bool poll() {
    const auto polled = endpoint->poll(*this);
    expect(polled.has_value(), "poll failed");
    return polled.value_or(false);
  }

  std::unique_ptr<Endpoint> endpoint;
  base::Random random;
  struct Counters {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
  };
  std::map<NodeName, Counters> peers;
  std::vector<NodeName> lost;
  std::uint64_t heard = 0;
  const char* broken = nullptr;

 private:
  static std::uint64_t check_of(Stamp stamp) {
    stamp.check = 0;
    return base::checksum64(std::as_bytes(std::span(&stamp, 1)), 1);
  }
  void expect(bool holds, const char* what) {
    if (!holds && broken == nullptr) broken = what;
  }
};

std::unique_ptr<Talker> join(const sys::test::SharedScratch& scratch, const NodeName& self,
                             std::uint64_t seed) {
  auto directory = sys::open_shared_directory(scratch.path());
  if (!directory) return nullptr;
  ShmOptions options;
  options.self = self;
  options.ring_bytes = kRingBytes;
  options.queue_bytes_max = 40'000;
  auto opened = open_shm(sys::linux_env(), std::move(*directory), options);
  if (!opened) {
    std::cerr << opened.error().message() << "\n";
    return nullptr;
  }
  return std::make_unique<Talker>(std::move(*opened), seed);
}

[[noreturn]] void be_a_victim(const sys::test::SharedScratch& scratch, const NodeName& self,
                              std::uint64_t seed) {
  auto talker = join(scratch, self, seed);
  if (talker == nullptr) ::_exit(3);
  if (!talker->endpoint->make_region(kRegion, 64)) ::_exit(4);
  for (const std::uint64_t node : kSurvivors) {
    (void)talker->endpoint->grant(kRegion, static_cast<NodeId>(node), kAll);
  }
  const std::uint64_t turns = 1 + talker->random.below(4000);
  for (std::uint64_t turn = 0; turn < turns || !talker->random.chance(1, 2); ++turn) {
    talker->speak();
    if (!talker->poll() && !talker->endpoint->wait(now() + 500'000)) ::_exit(5);
    if (talker->broken != nullptr) {
      std::cerr << "a victim says: " << talker->broken << "\n";
      ::_exit(6);
    }
  }
  talker->endpoint.reset();  // some leave in order
  ::_exit(0);
}

TEST(ShmKill, SurvivorsHearOfEachDeathAndKeepNothingOfIt) {
  const auto kills = static_cast<int>(base::budget("shm_kills"));
  std::uint64_t seed = 0;
  sys::linux_env().entropy->fill(std::as_writable_bytes(std::span(&seed, 1)));
  std::cout << "seed " << seed << "\n";
  base::Random random(seed);
  const sys::test::SharedScratch scratch;
  std::array<std::unique_ptr<Talker>, 2> survivors;
  for (std::size_t i = 0; i < survivors.size(); ++i) {
    survivors[i] = join(scratch, life(kSurvivors[i]), random());
    ASSERT_NE(survivors[i], nullptr);
    ASSERT_TRUE(survivors[i]->endpoint->make_region(kRegion, 64));
    for (const std::uint64_t node : kVictims) {
      ASSERT_TRUE(survivors[i]->endpoint->grant(kRegion, static_cast<NodeId>(node), kAll));
    }
  }
  const auto turn = [&] {
    bool did = false;
    for (const auto& survivor : survivors) {
      survivor->speak();
      did = survivor->poll() || did;
      ASSERT_EQ(survivor->broken, nullptr) << survivor->broken;
    }
    if (!did) {
      ASSERT_TRUE(survivors[random.below(2)]->endpoint->wait(now() + random.below(300'000)));
    }
  };

  struct Victim {
    pid_t pid = -1;
    NodeName name;
  };
  std::array<Victim, 2> alive;
  std::uint64_t incarnation = 1;
  std::vector<std::uint64_t> notices_ns;
  int connected_deaths = 0;
  for (int killed = 0; killed < kills;) {
    for (Victim& victim : alive) {
      if (victim.pid > 0) continue;
      do {
        victim.name = life(kVictims[random.below(kVictims.size())], ++incarnation);
      } while (alive[0].name.node == alive[1].name.node);
      const std::uint64_t its_seed = random();
      victim.pid = ::fork();
      ASSERT_GE(victim.pid, 0);
      if (victim.pid == 0) be_a_victim(scratch, victim.name, its_seed);
    }
    Victim& victim = alive[random.below(2)];
    const auto is_known = [&] {
      return std::ranges::all_of(
          survivors, [&](const auto& survivor) { return survivor->peers.contains(victim.name); });
    };
    const std::uint64_t until = now() + random.below(6'000'000);
    while (now() < until) ASSERT_NO_FATAL_FAILURE(turn());
    // On a slow machine nearly all would die before anybody met them.
    if (random.chance(1, 4)) {
      while (!is_known() && now() < until + kMeetingNs) ASSERT_NO_FATAL_FAILURE(turn());
    }
    const bool known = is_known();
    const std::uint64_t start = now();
    ::kill(victim.pid, SIGKILL);
    const auto gone = [&] {
      return std::ranges::none_of(
          survivors, [&](const auto& survivor) { return survivor->peers.contains(victim.name); });
    };
    while (!gone()) {
      ASSERT_LT(now(), start + kPatienceNs) << "the death was not noticed";
      ASSERT_NO_FATAL_FAILURE(turn());
    }
    if (known) notices_ns.push_back(now() - start);
    connected_deaths += known ? 1 : 0;
    int status = 0;
    ASSERT_EQ(::waitpid(victim.pid, &status, 0), victim.pid);
    const bool by_signal = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    ASSERT_TRUE(by_signal || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) << status;
    killed += by_signal ? 1 : 0;
    victim = {};
  }
  for (const Victim& victim : alive) {
    if (victim.pid <= 0) continue;
    ::kill(victim.pid, SIGKILL);
    ::waitpid(victim.pid, nullptr, 0);
  }
  for (const std::uint64_t start = now();
       survivors[0]->peers.size() + survivors[1]->peers.size() > 2;) {
    ASSERT_LT(now(), start + kPatienceNs);
    ASSERT_NO_FATAL_FAILURE(turn());
  }
  const auto have_talked = [&] {
    return std::ranges::all_of(survivors, [](const auto& each) { return each->heard > 100; });
  };
  for (const std::uint64_t start = now(); !have_talked() && now() < start + kPatienceNs;) {
    ASSERT_NO_FATAL_FAILURE(turn());
  }
  std::uint64_t heard = 0;
  // The survivors still have each other, with every message in its place.
  EXPECT_TRUE(survivors[0]->lost.size() > 0 && survivors[1]->lost.size() > 0);
  for (const auto& survivor : survivors) {
    EXPECT_EQ(survivor->peers.size(), 1u);
    EXPECT_EQ(std::ranges::count_if(
                  survivor->lost,
                  [](const NodeName& name) {
                    return std::ranges::find(kSurvivors, static_cast<std::uint64_t>(name.node)) !=
                           kSurvivors.end();
                  }),
              0);
    EXPECT_GT(survivor->heard, 100u);
    heard += survivor->heard;
  }
  // What the dead left is gone: by the survivors, or, of one that died before anybody met it, by
  // the next that comes.
  survivors[0].reset();
  survivors[0] = join(scratch, life(kSurvivors[0], 2), 1);
  for (int i = 0; i < 1000; ++i) {
    for (const auto& survivor : survivors) (void)survivor->poll();
  }
  const auto objects = scratch.open()->list().value();
  // A bell and a header of each survivor, and a region.
  EXPECT_EQ(objects.size(), 5u) << testing::PrintToString(objects);
  ASSERT_FALSE(notices_ns.empty());
  std::ranges::sort(notices_ns);
  std::cout << kills << " kills, " << connected_deaths << " of connected nodes; noticed after "
            << notices_ns[notices_ns.size() / 2] / 1000 << " us (median), "
            << notices_ns.back() / 1000 << " us (longest); messages heard " << heard << "\n";
  EXPECT_GT(connected_deaths, kills / 10);
}

/// The time from kill() to on_lost(), of a victim that does nothing else.
void measure_notice(bool polls) {
  const sys::test::SharedScratch scratch;
  auto survivor = join(scratch, life(kSurvivors[0]), 1);
  ASSERT_NE(survivor, nullptr);
  std::vector<std::uint64_t> times;
  for (std::uint64_t cycle = 1; cycle <= 20; ++cycle) {
    const pid_t victim = ::fork();
    if (victim == 0) {
      auto talker = join(scratch, life(kVictims[cycle % 2], cycle), cycle);
      for (;;) {
        if (talker == nullptr || !talker->poll()) sys::linux_env().clock->sleep_ns(200'000);
      }
    }
    const auto until = [&](bool connected) {
      const std::uint64_t start = now();
      while (survivor->peers.empty() == connected) {
        if (now() > start + kPatienceNs) return false;
        if (!survivor->poll() && !polls) {
          EXPECT_TRUE(survivor->endpoint->wait(start + kPatienceNs));
        }
      }
      return true;
    };
    const bool met = until(true);
    for (int i = 0; i < 1000; ++i) (void)survivor->poll();
    const std::uint64_t start = now();
    ::kill(victim, SIGKILL);
    EXPECT_TRUE(until(false)) << "the death was not noticed";
    times.push_back(now() - start);
    ::waitpid(victim, nullptr, 0);
    ASSERT_TRUE(met && survivor->broken == nullptr);
  }
  std::ranges::sort(times);
  std::cout << (polls ? "polling" : "blocking") << ": noticed after "
            << times[times.size() / 2] / 1000 << " us (median), " << times.front() / 1000
            << " us (shortest)\n";
}

TEST(ShmKill, ADeathIsNoticedByWhoPolls) { measure_notice(true); }
TEST(ShmKill, ADeathWakesWhoSleeps) { measure_notice(false); }

}  // namespace
}  // namespace dolmen::fabric::shm
