// SPDX-License-Identifier: Apache-2.0
//
// What is special about nodes in shared memory, in one process; conformance is tested for all
// backends together, and dying processes in shm_kill_test.cpp.
#include "fabric/shm.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include "base/random.hpp"
#include "base/sanitizers.hpp"
#include "fabric/shm_fixture.hpp"
#include "fabric/shm_layout.hpp"
#include "fabric/shm_memory.hpp"

namespace dolmen::fabric::shm {
namespace {

using test::bytes_of;
using test::life;
using test::Node;
using test::ShmWorld;
using Lost = std::vector<std::pair<NodeName, Errc>>;
using Messages = std::vector<std::pair<NodeName, std::string>>;

constexpr Rights kAll{.read = true, .write = true, .atomic = true};
constexpr auto kRegion = static_cast<RegionId>(7);
constexpr auto kOp = static_cast<OpId>(42);

class Shm : public ShmWorld {};

TEST_F(Shm, NodesFindEachOtherInAnyOrderAndTalk) {
  Node two = join(life(2));
  settle(two);
  Node one = join(life(1));
  Node three = join(life(3));
  settle(one, two, three);
  EXPECT_EQ(one.record.connected.size(), 2u);
  EXPECT_EQ(two.record.connected.size(), 2u);
  EXPECT_EQ(three.record.connected.size(), 2u);
  EXPECT_EQ(one->connected(static_cast<NodeId>(2)), life(2));
  EXPECT_EQ(one->connected(static_cast<NodeId>(1)), std::nullopt);
  ASSERT_TRUE(one->send(life(2), bytes_of("hello")));
  ASSERT_TRUE(one->send(life(2), Bytes()));
  ASSERT_TRUE(two->send(life(1), bytes_of("and to you")));
  settle(one, two, three);
  EXPECT_EQ(two.record.messages, (Messages{{life(1), "hello"}, {life(1), ""}}));
  EXPECT_EQ(one.record.messages, (Messages{{life(2), "and to you"}}));
  EXPECT_EQ(one->send(life(2, 9), bytes_of("x")).error().code(), Errc::not_connected);
  EXPECT_EQ(one->send(life(9), bytes_of("x")).error().code(), Errc::not_connected);
  // Connections have no names once both sides have them.
  EXPECT_EQ(objects(), (std::vector<std::string>{bell_of(life(1)), bell_of(life(2)),
                                                 bell_of(life(3)), node_object(life(1)),
                                                 node_object(life(2)), node_object(life(3))}));
}

TEST_F(Shm, WhoLeavesIsMissedAndLeavesNothing) {
  Node one = join(life(1));
  {
    Node two = join(life(2));
    settle(one, two);
    ASSERT_TRUE(two->make_region(kRegion, 100));
    ASSERT_TRUE(two->send(life(1), bytes_of("goodbye")));
  }
  settle(one);
  EXPECT_EQ(one.record.messages, (Messages{{life(2), "goodbye"}})) << "sent before, so heard";
  EXPECT_EQ(one.record.lost, (Lost{{life(2), Errc::connection_lost}}));
  EXPECT_EQ(objects(), (std::vector<std::string>{bell_of(life(1)), node_object(life(1))}));
  Node two = join(life(2, 2));
  settle(one, two);
  EXPECT_EQ(one.record.connected, std::vector<NodeName>{life(2, 2)});
}

TEST_F(Shm, AForkedChildThatForgetsItTakesNothingFromItsParent) {
  Node one = join(life(1));
  Node two = join(life(2));
  settle(one, two);
  ASSERT_TRUE(two->make_region(kRegion, 100));
  const auto names = objects();
  const pid_t child = ::fork();
  if (child == 0) {
    one.endpoint.reset();
    two.endpoint.reset();
    ::_exit(0);
  }
  ASSERT_GT(child, 0);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(objects(), names);
  ASSERT_TRUE(one->send(life(2), bytes_of("still here")));
  settle(one, two);
  EXPECT_EQ(two.record.messages, (Messages{{life(1), "still here"}}));
  EXPECT_EQ(one.record.lost, Lost());
  EXPECT_EQ(two.record.lost, Lost());
}

// Its process is being ended, and did not get so far yet: what the kernel does is done here by
// hand.
TEST_F(Shm, WhoIsBeingEndedIsMissedBeforeItHasEnded) {
  for (const std::uint64_t node : {1, 3}) {  // below and above: who dials, and who does not
    Node survivor = join(life(2));
    {
      Node victim = join(life(node));
      settle(survivor, victim);
      const auto header = scratch.open()
                              ->open(node_object(life(node)), sys::SharedAccess::read_write,
                                     kHeaderBytes, kHeaderBytes)
                              .value();
      const auto word = word_at<std::uint32_t>(header->memory(), kNodeLifeAt);
      const std::uint64_t start = sys::linux_env().clock->monotonic_ns();
      while (word.load() == 0 && !base::kThreadSanitizer) {  // there it stays 0
        ASSERT_LT(sys::linux_env().clock->monotonic_ns(), start + 30'000'000'000);
        std::this_thread::yield();
      }
      settle(survivor);
      EXPECT_TRUE(survivor.record.lost.empty());
      ASSERT_TRUE(victim->send(life(2), bytes_of("the last word")));
      word.fetch_or(sys::kLifeEnded);
      ASSERT_TRUE(survivor->wait(~std::uint64_t{0})) << "nobody wakes it, so it has to see it";
      settle(survivor);
      EXPECT_EQ(survivor.record.messages, (Messages{{life(node), "the last word"}}));
      EXPECT_EQ(survivor.record.lost, (Lost{{life(node), Errc::connection_lost}}));
      EXPECT_FALSE(survivor->send(life(node), bytes_of("x")));
      // It has not ended, and is left alone all the same.
      settle(survivor);
      EXPECT_TRUE(survivor.record.connected.empty());
    }
    settle(survivor);
    Node next = join(life(node, 2));
    settle(survivor, next);
    EXPECT_EQ(survivor.record.connected, std::vector<NodeName>{life(node, 2)});
    survivor.endpoint.reset();
    next.endpoint.reset();
  }
}

TEST_F(Shm, OfTwoLivesTheLaterStaysAndTheEarlierIsTold) {
  for (const std::uint64_t node : {1, 5}) {  // the one that dials, and the one that is dialled
    Node other = join(life(3, node));
    Node early = join(life(node, 4));
    settle(other, early);
    Node late = join(life(node, 6));
    settle(other, early, late);
    EXPECT_EQ(other.record.lost, (Lost{{life(node, 4), Errc::superseded}}));
    EXPECT_EQ(other.record.connected, std::vector<NodeName>{life(node, 6)});
    EXPECT_EQ(early.record.lost, (Lost{{life(3, node), Errc::superseded}}));
    ASSERT_FALSE(early.record.refused.empty());
    EXPECT_EQ(early.record.refused.back(),
              (std::pair{static_cast<NodeId>(node), Errc::superseded}));
    EXPECT_EQ(early->send(life(3, node), bytes_of("x")).error().code(), Errc::not_connected);

    ShmOptions options;
    options.self = life(node, 5);
    EXPECT_EQ(open_shm(sys::linux_env(), scratch.open(), options).error().code(), Errc::superseded);
    options.self = life(node, 6);
    EXPECT_EQ(open_shm(sys::linux_env(), scratch.open(), options).error().code(),
              Errc::already_exists);
    // Whoever met the later life does not go back to an earlier one when that is gone.
    late.endpoint.reset();
    options.self = life(node, 5);
    Node again = join(options);
    settle(other, again);
    EXPECT_TRUE(other.record.connected.empty());
    EXPECT_EQ(
        again.record.refused,
        (std::vector<std::pair<NodeId, Errc>>{{static_cast<NodeId>(node), Errc::superseded}}));
  }
}

TEST_F(Shm, ADisconnectedPairConnectsAnew) {
  Node one = join(life(1));
  Node two = join(life(2));
  settle(one, two);
  for (Node* ends : {&one, &two}) {
    Node& other = ends == &one ? two : one;
    ASSERT_TRUE(other->send(ends->endpoint->self(), bytes_of("dropped")));
    (*ends)->disconnect(other->self().node);
    EXPECT_EQ((*ends)->send(other->self(), bytes_of("x")).error().code(), Errc::not_connected);
    settle(one, two);
    EXPECT_EQ(ends->record.lost, (Lost{{other->self(), Errc::closed}}));
    EXPECT_EQ(other.record.lost, (Lost{{ends->endpoint->self(), Errc::connection_lost}}));
    EXPECT_TRUE(ends->record.messages.empty());
    ASSERT_TRUE(other->send(ends->endpoint->self(), bytes_of("anew")));
    settle(one, two);
    EXPECT_EQ(ends->record.messages, (Messages{{other->self(), "anew"}}));
    for (Node* node : {&one, &two}) {
      node->record.lost.clear();
      node->record.messages.clear();
    }
  }
}

TEST_F(Shm, MessagesLongerThanTheRingPassInPiecesAndTheQueueHasALimit) {
  ShmOptions options;
  options.ring_bytes = 4096;
  options.queue_bytes_max = 100'000;
  options.message_bytes_max = 60'000;
  options.self = life(1);
  Node one = join(options);
  options.self = life(2);
  options.message_bytes_max = 50'000;
  Node two = join(options);
  settle(one, two);
  base::Random random(1);
  Messages expected;
  std::size_t refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text(random.chance(1, 10) ? random.below(50'001) : random.below(300), '\0');
    for (char& letter : text) letter = static_cast<char>(random());
    const auto half = static_cast<std::ptrdiff_t>(random.below(text.size() + 1));
    const Bytes parts[] = {bytes_of(text).first(half), Bytes(), bytes_of(text).subspan(half)};
    const auto sent = one->send(life(2), parts);
    if (sent) {
      expected.emplace_back(life(1), std::move(text));
    } else {
      ASSERT_EQ(sent.error().code(), Errc::busy);
      ++refused;
    }
    if (!sent || random.chance(1, 3)) {
      two.poll();
      one.poll();
    }
  }
  settle(one, two);
  EXPECT_GT(refused, 10u);
  EXPECT_GT(expected.size(), 1000u);
  EXPECT_TRUE(two.record.messages == expected);
  const std::string large(50'001, 'x');
  EXPECT_EQ(one->send(life(2), bytes_of(large)).error().code(), Errc::too_large);
  EXPECT_TRUE(two->send(life(1), bytes_of(large).first(50'000)));
}

TEST_F(Shm, OperationsReachGrantedMemoryWithoutTheOwner) {
  Node one = join(life(1));
  Node two = join(life(2));
  settle(one, two);
  const auto memory = two->make_region(kRegion, 5000);
  ASSERT_TRUE(memory);
  EXPECT_EQ(two->make_region(kRegion, 1).error().code(), Errc::already_exists);
  EXPECT_EQ(two->make_region(RegionId{}, 0).error().code(), Errc::invalid_argument);
  const auto done = [&] {
    one.record.completed.clear();
    one.poll();  // the owner does not
    EXPECT_EQ(one.record.completed.size(), 1u);
    EXPECT_EQ(one.record.completed.at(0).first, kOp);
    return one.record.completed.at(0).second;
  };
  Place place{.target = life(2), .region = kRegion, .offset = 11};
  std::string text = "over there, word by word and byte by byte";
  ASSERT_TRUE(one->write(kOp, place, bytes_of(text), Level::placed));
  EXPECT_EQ(done(), Errc::no_right);
  ASSERT_TRUE(two->grant(kRegion, life(1).node, {.read = true}));
  ASSERT_TRUE(one->write(kOp, place, bytes_of(text), Level::placed));
  EXPECT_EQ(done(), Errc::no_right);
  ASSERT_TRUE(two->grant(kRegion, life(1).node, kAll));
  EXPECT_EQ(two->grant(kRegion, life(1).node, {.read = true}).error().code(), Errc::unsupported);
  EXPECT_EQ(two->revoke(kRegion, life(1).node).error().code(), Errc::unsupported);
  EXPECT_EQ(two->close_region(kRegion).error().code(), Errc::unsupported);
  ASSERT_TRUE(one->write(kOp, place, bytes_of(text), Level::placed));
  EXPECT_EQ(std::memcmp(memory->data() + 11, text.data(), text.size()), 0);
  EXPECT_EQ(done(), Errc{});
  std::string back(text.size(), ' ');
  ASSERT_TRUE(one->read(kOp, place, std::as_writable_bytes(std::span(back))));
  EXPECT_EQ(done(), Errc{});
  EXPECT_EQ(back, text);

  place.offset = 4960;
  EXPECT_TRUE(one->compare_and_swap(kOp, place, 0, 77));
  EXPECT_EQ(done(), Errc{});
  EXPECT_EQ(one.record.value, 0u);
  EXPECT_TRUE(one->compare_and_swap(kOp, place, 5, 78));
  EXPECT_EQ(done(), Errc{});
  EXPECT_EQ(one.record.value, 77u);
  EXPECT_TRUE(one->fetch_add(kOp, place, ~std::uint64_t{0}));
  EXPECT_EQ(done(), Errc{});
  EXPECT_EQ(base::load<std::uint64_t>(*memory, 4960), 76u);
  place.offset = 4961;
  EXPECT_EQ(one->fetch_add(kOp, place, 1).error().code(), Errc::invalid_argument);
  for (const std::uint64_t offset : {std::uint64_t{5000}, std::uint64_t{4993} / 8 * 8 + 8,
                                     ~std::uint64_t{7}, std::uint64_t{1} << 63}) {
    place.offset = offset;
    ASSERT_TRUE(one->fetch_add(kOp, place, 1));
    EXPECT_EQ(done(), Errc::out_of_bounds) << offset;
  }
  place.region = RegionId{8};
  ASSERT_TRUE(one->fetch_add(kOp, place, 1));
  EXPECT_EQ(done(), Errc::not_found);
  EXPECT_EQ(one->write(kOp, place, bytes_of(text), Level::durable).error().code(),
            Errc::unsupported);
  place.target = life(2, 2);
  EXPECT_EQ(one->read(kOp, place, {}).error().code(), Errc::not_connected);
}

TEST_F(Shm, MappedMemoryGoesAsFarAsTheGrantAndOutlivesItsOwner) {
  Node one = join(life(1));
  Node two = join(life(2));
  settle(one, two);
  MutableBytes mapped;
  {
    const auto memory = two->make_region(kRegion, 100);
    ASSERT_TRUE(memory);
    EXPECT_EQ(one->map(life(2), RegionId{1}).error().code(), Errc::not_found);
    EXPECT_EQ(one->map(life(2), kRegion).error().code(), Errc::no_right);
    ASSERT_TRUE(two->grant(kRegion, life(1).node, {.read = true}));
    const auto to_read = one->map(life(2), kRegion);
    ASSERT_TRUE(to_read);
    (*memory)[99] = std::byte{5};
    EXPECT_EQ((*to_read)[99], std::byte{5});
    ASSERT_TRUE(two->grant(kRegion, life(1).node, {.read = true, .write = true}));
    mapped = one->map(life(2), kRegion).value();
    EXPECT_NE(mapped.data(), to_read->data());
    mapped[0] = std::byte{6};
    EXPECT_EQ((*memory)[0], std::byte{6});
    EXPECT_EQ(mapped.size(), 100u);
  }
  two.endpoint.reset();
  settle(one);
  EXPECT_EQ(mapped[99], std::byte{5});
  EXPECT_EQ(one->map(life(2), kRegion).error().code(), Errc::not_connected);
}

/// How many mappings this process has of regions.
std::size_t mapped_regions() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);)
    count += line.find("/region") != line.npos ? 1 : 0;
  return count;
}

TEST_F(Shm, MappedMemoryThatIsUsedNoMoreIsGivenBack) {
  Node one = join(life(1));
  Node two = join(life(2));
  settle(one, two);
  for (const RegionId region : {kRegion, RegionId{8}}) {
    ASSERT_TRUE(two->make_region(region, 100));
    ASSERT_TRUE(two->grant(region, life(1).node, {.read = true, .write = true}));
    ASSERT_TRUE(one->map(life(2), region));
  }
  one->unmap(life(2), kRegion);  // while its owner is there
  one->unmap(life(2), RegionId{9});
  two.endpoint.reset();
  settle(one);
  EXPECT_EQ(mapped_regions(), 1u);
  one->unmap(life(2), RegionId{8});
  EXPECT_EQ(mapped_regions(), 0u);
}

TEST_F(Shm, OperationsThatNobodyPollsForAreLimited) {
  ShmOptions options;
  options.self = life(1);
  options.operations_max = 3;
  Node one = join(options);
  Node two = join(life(2));
  settle(one, two);
  const Place place{.target = life(2), .region = kRegion};
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(one->fetch_add(kOp, place, 1));
  EXPECT_EQ(one->fetch_add(kOp, place, 1).error().code(), Errc::busy);
  two.endpoint.reset();
  settle(one);
  EXPECT_EQ(one.record.completed.size(), 3u);
}

TEST_F(Shm, WaitEndsByMessageWakeAndDeadlineAndMissesNone) {
  for (const std::uint64_t spin_ns : {std::uint64_t{0}, std::uint64_t{3000}, ~std::uint64_t{0}}) {
    ShmOptions options;
    options.wait = {.spin_ns = spin_ns};
    options.self = life(1, spin_ns);
    options.ring_bytes = 4096;  // so that the writer waits for room, too
    Node one = join(options);
    options.self = life(2, spin_ns);
    Node two = join(options);
    settle(one, two);
    sys::Clock& clock = *sys::linux_env().clock;
    std::uint64_t start = clock.monotonic_ns();
    ASSERT_TRUE(one->wait(start + 3'000'000));
    EXPECT_GE(clock.monotonic_ns(), start + 3'000'000);
    ASSERT_TRUE(one->wait(0));
    one->wake();
    start = clock.monotonic_ns();
    ASSERT_TRUE(one->wait(start + 60'000'000'000));
    EXPECT_LT(clock.monotonic_ns(), start + 30'000'000'000);

    constexpr int kMessages = 2000;
    constexpr std::uint64_t kLong = 20'000'000'000;
    std::atomic<bool> failed{false};
    std::atomic<bool> finished{false};
    auto echo = sys::linux_env().process->start_thread("echo", [&] {
      // To the very end: what is queued leaves in its polls.
      std::size_t echoed = 0;
      while (!finished && !failed) {
        if (!two.poll()) {
          const std::uint64_t now = clock.monotonic_ns();
          if (!two->wait(now + kLong) || clock.monotonic_ns() >= now + kLong) failed = true;
        }
        while (echoed < two.record.messages.size() &&
               two->send(life(1, spin_ns), bytes_of(two.record.messages[echoed].second))) {
          ++echoed;
        }
      }
    });
    base::Random random(2);
    std::size_t sent = 0;
    while (one.record.messages.size() < kMessages && !failed) {
      const std::size_t batch = random.chance(1, 2) ? 1 : random.below(30);
      for (std::size_t i = 0; i < batch && sent < kMessages; ++i) {
        if (!one->send(life(2, spin_ns), bytes_of(std::string(random.below(900), 'x')))) break;
        ++sent;
      }
      if (!one.poll() && one.record.messages.size() < sent) {
        const std::uint64_t now = clock.monotonic_ns();
        if (!one->wait(now + kLong) || clock.monotonic_ns() >= now + kLong) failed = true;
      }
    }
    EXPECT_FALSE(failed) << "a wake-up was missed";
    finished = true;
    two->wake();
    EXPECT_EQ(one.record.messages.size(), static_cast<std::size_t>(kMessages));
  }
}

TEST_F(Shm, AWaitFromAnotherThreadIsWoken) {
  Node one = join(life(1));
  sys::Clock& clock = *sys::linux_env().clock;
  settle(one);
  std::atomic<bool> rung{false};
  auto waker = sys::linux_env().process->start_thread("waker", [&] {
    clock.sleep_ns(2'000'000);
    rung = true;
    one->wake();
  });
  const std::uint64_t start = clock.monotonic_ns();
  while (!rung) ASSERT_TRUE(one->wait(start + 30'000'000'000));
  EXPECT_LT(clock.monotonic_ns(), start + 15'000'000'000);
}

TEST_F(Shm, ASleeperIsWokenOnceForAllThatIsSentUntilThePollOrTheWait) {
  Node one = join(life(1));
  Node two = join(life(2));
  settle(one, two);
  const auto header =
      scratch.open()
          ->open(node_object(life(2)), sys::SharedAccess::read_write, kHeaderBytes, kHeaderBytes)
          .value();
  const auto sleeps = word_at<std::uint32_t>(header->memory(), kNodeWaitingAt);
  for (const bool polls : {true, false}) {
    sleeps.store(1);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(one->send(life(2), bytes_of("one of three")));
    EXPECT_EQ(sleeps.load(), 1u) << "not for each of them";
    if (polls) {
      (void)one.poll();
    } else {
      ASSERT_TRUE(one->wait(0));
    }
    EXPECT_EQ(sleeps.load(), 0u);
    sleeps.store(1);
    (void)one.poll();
    EXPECT_EQ(sleeps.load(), 1u) << "it was told of all there is";
    sleeps.store(0);
    settle(one, two);
    EXPECT_EQ(std::exchange(two.record.messages, {}).size(), 3u);
  }
}

TEST_F(Shm, RefusesOptionsThatMakeNoSense) {
  const auto refused = [&](auto change) {
    ShmOptions options;
    options.self = life(1);
    change(options);
    const auto opened = open_shm(sys::linux_env(), scratch.open(), options);
    return opened ? Errc{} : opened.error().code();
  };
  EXPECT_EQ(refused([](ShmOptions& o) { o.self.node = NodeId::nobody; }), Errc::invalid_argument);
  EXPECT_EQ(refused([](ShmOptions& o) { o.ring_bytes = 5000; }), Errc::invalid_argument);
  EXPECT_EQ(refused([](ShmOptions& o) { o.ring_bytes = 2048; }), Errc::invalid_argument);
  EXPECT_EQ(refused([](ShmOptions& o) { o.message_bytes_max = 0; }), Errc::invalid_argument);
  EXPECT_EQ(refused([](ShmOptions&) {}), Errc{});
}

TEST_F(ShmWorld, ClientsAreConnectedWithNodesAndNotWithEachOther) {
  Node early = join(life(kClientIds | 1));
  Node node = join(life(7));
  Node late = join(life(kClientIds | 2));
  settle(early, node, late);
  EXPECT_EQ(node.record.connected.size(), 2u);
  EXPECT_EQ(early.record.connected, std::vector<NodeName>{life(7)});
  EXPECT_EQ(late.record.connected, std::vector<NodeName>{life(7)});
  EXPECT_TRUE(early.record.refused.empty());
  EXPECT_TRUE(late.record.refused.empty());
  ASSERT_TRUE(late->send(life(7), bytes_of("x")));
  settle(early, node, late);
  EXPECT_EQ(node.record.messages.size(), 1u);
}

}  // namespace
}  // namespace dolmen::fabric::shm
