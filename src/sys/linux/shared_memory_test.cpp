// SPDX-License-Identifier: Apache-2.0
#include "sys/shared_memory.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "sys/linux/linux.hpp"
#include "sys/linux/shared_scratch.hpp"
#include "sys/memory.hpp"

namespace dolmen::sys {
namespace {

using Names = std::vector<std::string>;
constexpr std::size_t kAnyBytes = std::size_t{1} << 40;
constexpr std::uint64_t kSecondNs = 1'000'000'000;

std::uint64_t now() { return linux_env().clock->monotonic_ns(); }

/// A child that runs `body` and waits to be killed.
template <class Body>
class Victim {
 public:
  explicit Victim(Body body) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe(ends), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      body();
      (void)!::write(ends[1], "x", 1);
      for (;;) ::pause();
    }
    ::close(ends[1]);
    char ready = 0;
    EXPECT_EQ(::read(ends[0], &ready, 1), 1);
    ::close(ends[0]);
  }
  ~Victim() { kill(); }
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;
  void kill() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    pid_ = -1;
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

class SharedMemory : public testing::Test {
 protected:
  std::unique_ptr<SharedObject> opened(const char* name) {
    auto object = directory->open(name, SharedAccess::read_write, 1, kAnyBytes);
    EXPECT_TRUE(object) << object.error().message();
    return object ? std::move(*object) : nullptr;
  }

  test::SharedScratch scratch;
  std::unique_ptr<SharedDirectory> directory = scratch.open();
};

TEST_F(SharedMemory, IsZeroedAndSeenByOthersOncePublished) {
  auto made = directory->create(5000);
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ((*made)->memory().size(), 2 * kPageBytes);
  EXPECT_TRUE(std::ranges::all_of((*made)->memory(), [](std::byte b) { return b == std::byte{}; }));
  EXPECT_EQ(directory->list().value(), Names{});
  ASSERT_TRUE((*made)->publish("one"));
  EXPECT_EQ(directory->list().value(), Names{"one"});
  EXPECT_EQ((*made)->publish("two").error().code(), Errc::invalid_argument);

  const auto seen = opened("one");
  ASSERT_EQ(seen->memory().size(), 2 * kPageBytes);
  (*made)->memory()[4999] = std::byte{7};
  EXPECT_EQ(seen->memory()[4999], std::byte{7});
  const auto read_only = directory->open("one", SharedAccess::read_only, 1, kAnyBytes);
  ASSERT_TRUE(read_only);
  EXPECT_EQ((*read_only)->memory()[4999], std::byte{7});
  // What the system would store there instead of this process, it refuses to.
  const int zeros = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(::read(zeros, (*read_only)->memory().data(), 1), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(::read(zeros, seen->memory().data(), 1), 1);
  ::close(zeros);

  auto other = directory->create(1);
  ASSERT_TRUE(other);
  EXPECT_EQ((*other)->publish("one").error().code(), Errc::already_exists);
  EXPECT_EQ(directory->reap("one").value(), false);
  (*made)->withdraw();
  EXPECT_EQ(directory->list().value(), Names{});
  EXPECT_TRUE((*other)->publish("one"));
  other->reset();
  EXPECT_EQ(directory->list().value(), Names{});
  EXPECT_EQ(seen->memory()[4999], std::byte{7}) << "who has it mapped keeps it";
}

TEST_F(SharedMemory, RefusesWhatIsNoObjectOfThisUserAlone) {
  auto made = directory->create(1);
  ASSERT_TRUE(made);
  ASSERT_TRUE((*made)->publish("object"));
  const auto refused = [&](const char* name, std::size_t least, std::size_t most) {
    const auto result = directory->open(name, SharedAccess::read_write, least, most);
    return result ? Errc{} : result.error().code();
  };
  EXPECT_EQ(refused("object", kPageBytes + 1, kAnyBytes), Errc::invalid_argument);
  EXPECT_EQ(refused("object", 1, kPageBytes - 1), Errc::invalid_argument);
  EXPECT_EQ(refused("absent", 1, kAnyBytes), Errc::not_found);
  EXPECT_EQ(refused("../object", 1, kAnyBytes), Errc::invalid_argument);
  EXPECT_EQ(refused("folder/object", 1, kAnyBytes), Errc::invalid_argument);
  EXPECT_EQ(directory->create(0).error().code(), Errc::invalid_argument);
  EXPECT_EQ(directory->create(~std::size_t{0}).error().code(), Errc::invalid_argument);
  // Given up before anything is taken, whatever the file system would give.
  const std::uint64_t all = linux_env().process->machine_bytes();
  EXPECT_EQ(directory->create(all).error().code(), Errc::out_of_memory);
  EXPECT_TRUE(directory->create(std::size_t{65} << 20)) << "in steps";

  const std::string path = scratch.path() + "/object";
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  EXPECT_EQ(refused("object", 1, kAnyBytes), Errc::invalid_argument);
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  EXPECT_EQ(refused("object", 1, kAnyBytes), Errc{});
  ASSERT_EQ(::symlink(path.c_str(), (scratch.path() + "/link").c_str()), 0);
  EXPECT_EQ(refused("link", 1, kAnyBytes), Errc::io_error);
  ASSERT_EQ(::mkfifo((scratch.path() + "/pipe").c_str(), 0600), 0);
  EXPECT_EQ(refused("pipe", 1, kAnyBytes), Errc::invalid_argument);
  EXPECT_EQ(directory->open_bell("object").error().code(), Errc::invalid_argument);
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(path.c_str(), 12345, 12345), 0);
    EXPECT_EQ(refused("object", 1, kAnyBytes), Errc::invalid_argument);
  }
}

TEST_F(SharedMemory, RefusesAFolderThatOthersCanReachOrThatIsNotInMemory) {
  const std::string path = scratch.path();
  ASSERT_EQ(::chmod(path.c_str(), 0750), 0);
  auto refused = open_shared_directory(path);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::invalid_argument);
  EXPECT_NE(refused.error().message().find("other users"), std::string::npos);
  ASSERT_EQ(::chmod(path.c_str(), 0700), 0);
  EXPECT_TRUE(open_shared_directory(path + "/"));
  EXPECT_TRUE(open_shared_directory(path + "/made"));
  EXPECT_EQ(open_shared_directory(path + "/a/b").error().code(), Errc::not_found);
  ASSERT_EQ(::symlink(path.c_str(), (path + "/link").c_str()), 0);
  EXPECT_FALSE(open_shared_directory(path + "/link/"));
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown((path + "/made").c_str(), 12345, 12345), 0);
    refused = open_shared_directory(path + "/made");
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message().find("another user"), std::string::npos);
  }
  std::filesystem::create_directory("dolmen-no-memory");
  std::filesystem::permissions("dolmen-no-memory", std::filesystem::perms::owner_all);
  const auto on_disk = open_shared_directory("dolmen-no-memory");
  std::filesystem::remove("dolmen-no-memory");
  // Where the build lies in memory itself there is nothing to refuse.
  if (!on_disk) {
    EXPECT_NE(on_disk.error().message().find("not in memory"), std::string::npos);
  }
}

TEST_F(SharedMemory, OfADeadMakerIsReapedAndThatOfALivingOneIsNot) {
  Victim victim([&] {
    const auto own = scratch.open();
    auto* const kept = new auto(own->create(1).value());
    (*kept)->memory()[0] = std::byte{9};
    if (!(*kept)->publish("object") || !own->create(1)) ::_exit(1);
    new auto(own->make_bell("bell").value());
  });
  const Names both{"bell", "object"};
  EXPECT_EQ(directory->list().value(), both);
  EXPECT_EQ(directory->reap("object").value(), false);
  EXPECT_EQ(directory->reap("bell").value(), false);
  const auto seen = opened("object");
  victim.kill();
  EXPECT_EQ(directory->list().value(), both);
  EXPECT_EQ(directory->reap("object").value(), true);
  EXPECT_EQ(directory->reap("bell").value(), true);
  EXPECT_EQ(directory->reap("bell").value(), true) << "gone is gone";
  EXPECT_EQ(directory->list().value(), Names{});
  EXPECT_EQ(seen->memory()[0], std::byte{9});
}

TEST_F(SharedMemory, OfAChildByForkIsNotRemovedByTheChild) {
  auto made = directory->create(1);
  ASSERT_TRUE(made);
  ASSERT_TRUE((*made)->publish("object"));
  auto bell = directory->make_bell("bell");
  ASSERT_TRUE(bell);
  const pid_t child = ::fork();
  if (child == 0) {
    bell->reset();
    made->reset();
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(directory->list().value(), (Names{"bell", "object"}));
  EXPECT_EQ(directory->reap("object").value(), false);
}

TEST_F(SharedMemory, ABellRungBeforeDuringOrAfterIsHeard) {
  auto made = directory->make_bell("bell");
  ASSERT_TRUE(made) << made.error().message();
  OwnBell& bell = **made;
  EXPECT_EQ(directory->make_bell("bell").error().code(), Errc::already_exists);
  auto rope = directory->open_bell("bell");
  ASSERT_TRUE(rope);
  std::vector<std::uint64_t> ended;

  std::uint64_t start = now();
  ASSERT_TRUE(bell.wait(start + 5'000'000, ended));
  EXPECT_GE(now(), start + 5'000'000) << "nobody rang";
  for (int i = 0; i < 100'000; ++i) (*rope)->ring();  // more than a pipe holds
  start = now();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(bell.wait(i == 0 ? start + 60 * kSecondNs : 0, ended));
  EXPECT_LT(now(), start + 30 * kSecondNs);
  start = now();
  ASSERT_TRUE(bell.wait(start + 2'000'000, ended));
  EXPECT_GE(now(), start + 2'000'000) << "heard twice";

  auto ringer = linux_env().process->start_thread("ringer", [&] {
    linux_env().clock->sleep_ns(2'000'000);
    (*rope)->ring();
  });
  start = now();
  ASSERT_TRUE(bell.wait(start + 60 * kSecondNs, ended));
  EXPECT_LT(now(), start + 30 * kSecondNs);
  EXPECT_TRUE(ended.empty());
  made->reset();
  (*rope)->ring();  // nobody hears it, nobody dies of it
  EXPECT_EQ(directory->open_bell("bell").error().code(), Errc::not_found);
}

TEST_F(SharedMemory, TheEndOfAProcessIsReportedOnceWhetherOneWaitsOrLooks) {
  auto bell = directory->make_bell("bell").value();
  std::vector<std::uint64_t> ended;
  for (const bool waits : {false, true}) {
    auto marked = directory->create(sizeof(ProcessMark)).value();
    auto* const mark = new (marked->memory().data()) ProcessMark;
    ASSERT_TRUE(marked->publish("mark"));
    Victim victim([&] {
      const auto own = scratch.open();
      const auto object = own->open("mark", SharedAccess::read_write, 1, kAnyBytes).value();
      *static_cast<ProcessMark*>(static_cast<void*>(object->memory().data())) = own->self().value();
    });
    ASSERT_EQ(mark->pid, static_cast<std::uint64_t>(victim.pid()));
    ASSERT_TRUE(bell->watch(*mark, 5));
    EXPECT_EQ(bell->watch(*mark, 5).error().code(), Errc::already_exists);
    ASSERT_TRUE(bell->watch(directory->self().value(), 6));
    ASSERT_TRUE(bell->wait(0, ended));
    EXPECT_TRUE(ended.empty());
    ::kill(victim.pid(), SIGKILL);
    const std::uint64_t start = now();
    while (ended.empty()) ASSERT_TRUE(bell->wait(waits ? start + 60 * kSecondNs : 0, ended));
    EXPECT_LT(now(), start + 30 * kSecondNs);
    EXPECT_EQ(ended, std::vector<std::uint64_t>{5});
    ended.clear();
    ASSERT_TRUE(bell->wait(0, ended));
    EXPECT_TRUE(ended.empty());
    victim.kill();
    EXPECT_EQ(bell->watch(*mark, 5).error().code(), Errc::not_found);
    bell->unwatch(6);
  }
}

TEST_F(SharedMemory, AWordSaysThatAProcessLivesAndThatItIsEnded) {
  if (base::kThreadSanitizer) GTEST_SKIP() << "no life marks there";
  auto made = directory->create(4096).value();
  ASSERT_TRUE(made->publish("life"));
  auto* const memory = reinterpret_cast<std::uint32_t*>(made->memory().data());
  const std::atomic_ref word(*memory);
  {
    Victim victim([&] {
      const auto own = scratch.open();
      auto* const object = new auto(own->open("life", SharedAccess::read_write, 1, kAnyBytes));
      auto* const at = reinterpret_cast<std::uint32_t*>((**object)->memory().data());
      auto* const mark = new auto(own->mark_life(at));
      while (*mark && std::atomic_ref(*at).load() == 0) linux_env().clock->sleep_ns(100'000);
    });
    EXPECT_NE(word.load(), 0u);
    EXPECT_EQ(word.load() & kLifeEnded, 0u);
    ::kill(victim.pid(), SIGKILL);
    const std::uint64_t start = now();
    while ((word.load() & kLifeEnded) == 0 && now() < start + 30 * kSecondNs) {
    }
    EXPECT_NE(word.load() & kLifeEnded, 0u);
  }
  // Who ends it in order is not ended.
  word.store(0);
  auto mark = directory->mark_life(memory);
  ASSERT_TRUE(mark);
  const std::uint64_t start = now();
  while (word.load() == 0 && now() < start + 30 * kSecondNs) linux_env().clock->sleep_ns(100'000);
  const std::uint32_t lives = word.load();
  EXPECT_NE(lives, 0u);
  // Nor is it a forked child that says so, however that ends.
  const pid_t child = ::fork();
  if (child == 0) {
    mark->reset();
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(word.load(), lives);
  mark->reset();
  EXPECT_EQ(word.load(), 0u);
}

TEST_F(SharedMemory, AMarkThatEndsAtOnceLeavesTheWordAsItWas) {
  if (base::kThreadSanitizer) GTEST_SKIP() << "no life marks there";
  auto made = directory->create(4096).value();
  auto* const memory = reinterpret_cast<std::uint32_t*>(made->memory().data());
  for (int i = 0; i < 200; ++i) {
    auto mark = directory->mark_life(memory);
    ASSERT_TRUE(mark);
    mark->reset();
    ASSERT_EQ(std::atomic_ref(*memory).load(), 0u);
  }
}

TEST_F(SharedMemory, AProcessWithAnothersIdIsNotTakenForIt) {
  auto bell = directory->make_bell("bell").value();
  ProcessMark mark = directory->self().value();
  EXPECT_EQ(mark.pid, linux_env().process->pid());
  mark.started -= 1;
  EXPECT_EQ(bell->watch(mark, 1).error().code(), Errc::not_found);
  mark.started += 1;
  mark.space += 1;
  EXPECT_EQ(bell->watch(mark, 1).error().code(), Errc::unsupported);
  mark.space -= 1;
  mark.pid = 0;
  EXPECT_EQ(bell->watch(mark, 1).error().code(), Errc::not_found);
  mark.pid = ~std::uint64_t{0};
  EXPECT_EQ(bell->watch(mark, 1).error().code(), Errc::not_found);
  EXPECT_TRUE(bell->watch(directory->self().value(), 1));
}

TEST_F(SharedMemory, BellsThatAreReapedWhileTheyAreMadeAreMadeAnyway) {
  std::atomic<bool> done{false};
  auto reaper = linux_env().process->start_thread("reaper", [&] {
    const auto own = scratch.open();
    while (!done) (void)own->reap("bell");
  });
  std::vector<std::uint64_t> ended;
  for (int i = 0; i < 300; ++i) {
    auto bell = directory->make_bell("bell");
    ASSERT_TRUE(bell) << bell.error().message();
    auto rope = directory->open_bell("bell");
    ASSERT_TRUE(rope) << rope.error().message();
    (*rope)->ring();
    const std::uint64_t start = now();
    ASSERT_TRUE((*bell)->wait(start + 60 * kSecondNs, ended));
    ASSERT_LT(now(), start + 30 * kSecondNs);
  }
  done = true;
}

}  // namespace
}  // namespace dolmen::sys
