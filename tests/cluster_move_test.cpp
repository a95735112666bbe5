// SPDX-License-Identifier: Apache-2.0
//
// A space on its way into a real cluster and out of it again, while whoever moves it is killed,
// nodes are, and disks are full. What comes out is what went in.
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include <dolmen/cluster.hpp>
#include <dolmen/space.hpp>
#include <dolmen/vector.hpp>

#include "base/sanitizers.hpp"
#include "node/dump.hpp"
#include "node/space_copy.hpp"
#include "sys/linux/linux.hpp"
#include "tests/cluster_processes.hpp"
#include "tests/small_disk.hpp"

namespace {

using namespace dolmen::processes;
using dolmen::Errc;

struct Shelf {
  std::uint64_t count = 0;
  dolmen::vector<std::uint64_t> numbers;
};

constexpr const char* kMoved = "moved";
/// Less than this is a part or two, and nobody can be killed in between.
constexpr int kShelves = dolmen::base::kSanitized ? 4 : 8;
constexpr std::uint64_t kNumbers = 300'000;

void make_space(const std::string& directory) {
  auto space = dolmen::Space::open(directory).value();
  for (int i = 0; i < kShelves; ++i) {
    const auto shelf = space.find_or_create<Shelf>("shelf " + std::to_string(i)).value();
    ASSERT_TRUE(space.transact(shelf, [i](dolmen::mut<Shelf> s) {
      for (std::uint64_t k = 1; k <= kNumbers; ++k) {
        s->numbers.push_back((k + i) * 0x9E3779B97F4A7C15);
      }
    }));
  }
  ASSERT_TRUE(space.close());
}

/// Everything but the head, which says of which commit it is.
std::vector<std::byte> contents_of(const std::string& directory) {
  struct Sink final : dolmen::store::ByteSink {
    dolmen::Result<void> write(dolmen::base::Bytes some) override {
      bytes.insert(bytes.end(), some.begin(), some.end());
      return {};
    }
    std::vector<std::byte> bytes;
  } sink;
  constexpr std::size_t kHead = 64;
  auto space = dolmen::Space::open(directory, {.create = false, .read_only = true});
  EXPECT_TRUE(space) << directory;
  if (!space) return {};
  const auto dumped = dolmen::node::dump(*space, sink);
  EXPECT_TRUE(dumped) << dumped.error().message();
  EXPECT_GT(sink.bytes.size(), kHead);
  sink.bytes.erase(sink.bytes.begin(), sink.bytes.begin() + kHead);
  return sink.bytes;
}

enum Ended : int { kDone = 0, kNotThere = 2, kNotMoved = 3, kFull = 4 };

/// "import" or "export"; a byte on standard output for each step.
int run_move(const std::string& what, const std::string& address, const std::string& directory) {
  const auto say = [](std::uint64_t, std::uint64_t) {
    if (::write(STDOUT_FILENO, ".", 1) != 1) std::_Exit(5);
  };
  const auto complain = [&](const dolmen::Error& error, int code) {
    std::fprintf(stderr, "%s: %s\n", what.c_str(), error.message().c_str());
    return code;
  };
  auto cluster = dolmen::Cluster::open(address, kPatience);
  if (!cluster) return complain(cluster.error(), kNotThere);
  const auto number = cluster->create_space(kMoved, 3, kPatience);
  if (!number) return complain(number.error(), kNotThere);
  auto client = cluster->client(kMoved, kPatience);
  if (!client) return complain(client.error(), kNotThere);
  const auto& env = dolmen::sys::linux_env();
  const auto done = what == "import"
                        ? dolmen::node::import_space(env, directory, *client, kPatience, say)
                        : dolmen::node::export_space(env, *client, directory, kPatience, say);
  if (done) return kDone;
  return complain(done.error(), done.error().code() == Errc::no_space ? kFull : kNotMoved);
}

/// One that is under way.
class Move {
 public:
  Move(const Nodes& nodes, const std::string& what, const std::string& directory) {
    if (::pipe2(pipe_, O_CLOEXEC) != 0) std::abort();
    pid_ = start_process({what, nodes.address(), directory}, nodes.output(), pipe_[1]);
    ::close(pipe_[1]);
  }
  ~Move() {
    if (pid_ > 0) (void)end(SIGKILL);
    ::close(pipe_[0]);
  }
  Move(const Move&) = delete;
  Move& operator=(const Move&) = delete;

  /// Until it is so many steps further; false: it has ended.
  [[nodiscard]] bool wait_for_steps(int count) const {
    char step = 0;
    while (count > 0 && ::read(pipe_[0], &step, 1) == 1) --count;
    return count == 0;
  }
  int end(int signal) { return end_process(std::exchange(pid_, 0), signal); }
  int wait() {
    while (wait_for_steps(1)) {
    }
    return wait_for_end(std::exchange(pid_, 0));
  }

 private:
  int pipe_[2] = {-1, -1};
  pid_t pid_ = 0;
};

/// Where copies are made meanwhile.
class CopiesIn {
 public:
  explicit CopiesIn(const std::string& directory) {
    if (const char* const before = std::getenv("TMPDIR")) before_ = before;
    ::setenv("TMPDIR", directory.c_str(), 1);
  }
  ~CopiesIn() {
    if (before_) ::setenv("TMPDIR", before_->c_str(), 1);
    if (!before_) ::unsetenv("TMPDIR");
  }
  CopiesIn(const CopiesIn&) = delete;
  CopiesIn& operator=(const CopiesIn&) = delete;

 private:
  std::optional<std::string> before_;
};

/// The address of a space of the cluster.
std::string address_of_space(const Nodes& nodes, const std::string& name) {
  const std::string address = nodes.address();
  const std::size_t query = address.find('?');
  return address.substr(0, query) + "/" + name + address.substr(query);
}

class ClusterMove : public testing::Test {
 protected:
  ClusterMove() {
    std::string pattern = (fs::temp_directory_path() / "dolmen-move-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
  }
  void fill() {
    make_space(in());
    wanted_ = contents_of(in());
  }
  ~ClusterMove() override { fs::remove_all(root_); }
  [[nodiscard]] std::string in() const { return root_ + "/in"; }
  [[nodiscard]] std::string out() const { return root_ + "/out"; }
  /// Of the space that is moved; 0: not known.
  static std::uint32_t leader(Nodes& nodes) {
    auto client = nodes.cluster().client(kMoved, kPatience);
    const auto members = client ? client->status(milliseconds(500))
                                : dolmen::Result<std::vector<dolmen::ReplicatedStatus>>(
                                      std::unexpected(client.error()));
    if (!members) return 0;
    for (const dolmen::ReplicatedStatus& one : *members) {
      if (one.is_reached && one.role == "leader") return one.member;
    }
    return 0;
  }
  static std::uint32_t wait_for_leader(Nodes& nodes) {
    std::uint32_t found = 0;
    while (found == 0) found = leader(nodes);
    return found;
  }

  std::string root_;
  std::vector<std::byte> wanted_;
};

TEST_F(ClusterMove, WhoeverIsKilledItGoesOn) {
  fill();
  Nodes nodes({.addresses = loopback(3)});
  {
    // The one that sends: what is there is not seen, and not sent again.
    Move first(nodes, "import", in());
    ASSERT_TRUE(first.wait_for_steps(3)) << nodes.said();
    EXPECT_EQ(first.end(SIGKILL), -SIGKILL);
  }
  {
    auto client = nodes.cluster().client(kMoved, kPatience).value();
    const auto asked = dolmen::call_space(client, "sums", {}, kPatience);
    ASSERT_FALSE(asked);
    EXPECT_EQ(asked.error().code(), Errc::unfinished) << asked.error().message();
  }
  {
    // Whoever leads.
    Move second(nodes, "import", in());
    ASSERT_TRUE(second.wait_for_steps(2)) << nodes.said();
    const std::uint32_t led = wait_for_leader(nodes);
    nodes.kill(led);
    EXPECT_EQ(second.wait(), kDone) << nodes.said();
    nodes.start(led);
  }
  {
    // The one that takes it out again: there is no space then.
    Move third(nodes, "export", out());
    ASSERT_TRUE(third.wait_for_steps(1)) << nodes.said();
    EXPECT_EQ(third.end(SIGKILL), -SIGKILL);
    const auto half = dolmen::Space::open(out(), {.create = false, .read_only = true});
    EXPECT_FALSE(half);
  }
  Move fourth(nodes, "export", out());
  ASSERT_TRUE(fourth.wait_for_steps(1)) << nodes.said();
  const std::uint32_t led = wait_for_leader(nodes);
  nodes.kill(led);
  EXPECT_EQ(fourth.wait(), kDone) << nodes.said();
  nodes.start(led);
  EXPECT_TRUE(contents_of(out()) == wanted_);
  ASSERT_NO_FATAL_FAILURE(nodes.wait_until_whole());
  nodes.judge({});
}

constexpr std::size_t kDiskBytes = std::size_t{256} << 20;

TEST_F(ClusterMove, FullDisksEndWhatNeedsRoomAndNothingElse) {
  fill();
  if (!have_own_mounts()) GTEST_SKIP() << "no mounts of one's own here: the kernel forbids them";
  std::vector<const SmallDisk*> disks;
  NodesOptions options{.addresses = loopback(3)};
  options.on_folder = [&](const std::string& folder) {
    auto disk = std::make_shared<SmallDisk>(folder, kDiskBytes);
    disks.push_back(disk.get());
    return disk;
  };
  Nodes nodes(std::move(options));
  for (const SmallDisk* const disk : disks) ASSERT_TRUE(disk->is_mounted());
  std::uint32_t full = 0;
  {
    Move move(nodes, "import", in());
    ASSERT_TRUE(move.wait_for_steps(2)) << nodes.said();
    full = wait_for_leader(nodes);
    ASSERT_TRUE(disks[full - 1]->fill());
    EXPECT_EQ(move.wait(), kDone) << nodes.said();
  }
  // It has ended for want of room, unless it had taken all it needed before.
  const auto ended = nodes.ended(full);
  if (ended) {
    EXPECT_EQ(*ended, demo::kNotServing) << nodes.said();
    EXPECT_NE(nodes.said().find("no_space"), std::string::npos) << nodes.said();
  }
  disks[full - 1]->free();
  if (ended) nodes.start(full);
  ASSERT_NO_FATAL_FAILURE(nodes.wait_until_whole());

  fs::create_directory(out());
  {
    const SmallDisk small(out(), std::size_t{4} << 20);
    ASSERT_TRUE(small.is_mounted());
    Move move(nodes, "export", out());
    EXPECT_EQ(move.wait(), kFull) << nodes.said();
    EXPECT_FALSE(dolmen::Space::open(out(), {.create = false, .read_only = true}));
    const CopiesIn copies(out());
    const auto copy = dolmen::Space::open(address_of_space(nodes, kMoved),
                                          {.read_only = true, .patience = kPatience});
    ASSERT_FALSE(copy);
    EXPECT_EQ(copy.error().code(), Errc::no_space) << copy.error().message();
  }
  Move move(nodes, "export", out());
  EXPECT_EQ(move.wait(), kDone) << nodes.said();
  EXPECT_TRUE(contents_of(out()) == wanted_);
  nodes.judge({});
}

/// What it gave; else the test ends, and says why.
template <class T>
T must(dolmen::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

struct Link {
  std::uint64_t value = 0;
  dolmen::ptr<Link> other;
};

/// By name, by id and along pointers: one program, whatever the address.
std::vector<std::string> walk(const dolmen::Space& at, dolmen::Space& space) {
  std::vector<std::string> seen{at.stats().space_id.to_string()};
  for (const dolmen::NameEntry& name : must(space.names())) {
    seen.push_back(name.name + " " + name.object.to_string() + " " + name.type);
  }
  const auto first = must(space.find<Link>("first"));
  const auto view = must(space.view());
  dolmen::ptr<Link> at_link = dolmen::ptr_to(*view[dolmen::Object<Link>(first.id())]);
  for (int step = 0; step < 4; ++step, at_link = at_link->other) {
    seen.push_back(std::to_string(at_link->value));
  }
  space.read(first, [&](dolmen::ref<Link> link) { seen.push_back(std::to_string(link->value)); })
      .value();
  return seen;
}

TEST_F(ClusterMove, OneProgramFindsTheSameObjectsInADirectoryAndInACluster) {
  const std::string linked = root_ + "/linked";
  {
    auto space = dolmen::Space::open(linked).value();
    const auto first = space.create<Link>("first").value();
    const auto second = space.create<Link>("second").value();
    space
        .transact(first, second,
                  [](dolmen::mut<Link> a, dolmen::mut<Link> b) {
                    *a = {.value = 4711, .other = b};
                    *b = {.value = 815, .other = a};
                  })
        .value();
    ASSERT_TRUE(space.close());
  }
  Nodes nodes({.addresses = loopback(3)});
  const auto& env = dolmen::sys::linux_env();
  must(nodes.cluster().create_space(kMoved, 3, kPatience));
  auto client = must(nodes.cluster().client(kMoved, kPatience));
  must(dolmen::node::import_space(env, linked, client, kPatience));

  const std::string scratch = root_ + "/scratch";
  fs::create_directory(scratch);
  const CopiesIn copies(scratch);
  const auto at = [&](const std::string& name) { return address_of_space(nodes, name); };
  const dolmen::SpaceOptions to_read{.read_only = true, .patience = kPatience};
  const auto open_files = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  std::ptrdiff_t before = 0;
  {
    // The directory and two copies, all of one id, beside each other in one process.
    auto here = must(dolmen::Space::open(linked, to_read));
    before = open_files();
    auto there = must(dolmen::Space::open(at(kMoved), to_read));
    auto again = must(dolmen::Space::open(at(kMoved), to_read));
    const auto wanted = walk(here, here);
    EXPECT_EQ(wanted.back(), "4711");
    EXPECT_EQ(walk(there, there), wanted);
    EXPECT_EQ(walk(again, again), wanted);
    EXPECT_TRUE(fs::is_empty(scratch)) << "a copy has a name";

    const auto first = must(there.find<Link>("first"));
    const auto refused = [](const auto& done) {
      ASSERT_FALSE(done);
      EXPECT_EQ(done.error().code(), Errc::read_only);
      EXPECT_NE(done.error().message().find("call_space()"), std::string::npos)
          << done.error().message();
    };
    refused(there.transact(first, [](dolmen::mut<Link> link) { link->value = 1; }));
    refused(there.create<Link>("third"));
    refused(there.find_or_create<Link>("third"));
    refused(there.erase(first));
    refused(there.resize(first.id(), 1 << 20));
    refused(there.set_name(first.id(), "other"));
    refused(there.checkpoint());
    EXPECT_EQ(walk(there, there), wanted);
    // What is told of the copy does not need the cluster.
    for (std::uint32_t number = 1; number <= 3; ++number) nodes.kill(number);
    EXPECT_EQ(walk(again, again), wanted);
    ASSERT_TRUE(again.close());
  }
  EXPECT_LT(open_files(), before) << "the copies hold files";
  const auto nobody = dolmen::Space::open(
      at(kMoved), {.read_only = true, .patience = std::chrono::milliseconds(200)});
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code(), Errc::timed_out) << nobody.error().message();
}

TEST_F(ClusterMove, ACopyIsAsOfOneCommitWhileOthersAreMade) {
  Nodes nodes({.addresses = loopback(3)});
  const std::string address = nodes.address();
  const std::string north = address_of_space(nodes, kSpaces[0]);
  std::atomic<bool> ends{false};
  std::atomic<std::uint64_t> answered{0};
  std::thread writer([&] {
    auto cluster = dolmen::Cluster::open(address, kPatience).value();
    auto client = cluster.client(kSpaces[0], kPatience).value();
    for (std::uint64_t key = 0x1000; !ends; key += 16) {
      const auto length = dolmen::call_space(client, "move", bytes_of(key), kPatience).value();
      answered = value_of<std::uint64_t>(length);
    }
  });
  constexpr int kCopies = 5;
  std::uint64_t last = 0;
  for (int i = 0; i < kCopies; ++i) {
    while (answered <= last) std::this_thread::yield();
    const std::uint64_t known = answered;
    auto space = must(dolmen::Space::open(north, {.read_only = true, .patience = kPatience}));
    const auto ledger = must(space.find<stored::Ledger>("ledger"));
    const auto view = must(space.view());
    const stored::Ledger& book = *view[ledger];
    last = book.booked.length;
    EXPECT_GE(last, known) << "what was answered before";
    // The accounts are what the lists say that they are, as of the same commit.
    std::vector<std::int64_t> wanted(kAccounts);
    std::uint64_t entries = 0;
    const auto each = [&](const stored::List& list, const auto& use) {
      for (const dolmen::ptr<stored::Page>& page : list.pages) {
        for (const Entry& entry : page->entries) use(entry);
      }
    };
    each(book.booked, [&](const Entry& entry) {
      ++entries;
      wanted[payer_of(entry.key)] -= amount_of(entry.key);
      if (static_cast<What>(entry.what) == What::move) {
        wanted[payee_of(entry.key)] += amount_of(entry.key);
      }
    });
    each(book.received,
         [&](const Entry& entry) { wanted[payee_of(entry.key)] += amount_of(entry.key); });
    each(book.told, [&](const Entry& entry) {
      if (entry.what == 0) wanted[payer_of(entry.key)] += amount_of(entry.key);
    });
    EXPECT_EQ(entries, last);
    ASSERT_EQ(book.accounts.size(), kAccounts);
    for (std::uint64_t k = 0; k < kAccounts; ++k) EXPECT_EQ(book.accounts[k], wanted[k]) << k;
  }
  ends = true;
  writer.join();
}

}  // namespace

int main(int count, char** words) {
  const std::string word = count == 4 ? words[1] : "";
  if (word == "import" || word == "export") return run_move(word, words[2], words[3]);
  if (const auto ended = run_as_process(count, words)) return *ended;
  testing::InitGoogleTest(&count, words);
  return RUN_ALL_TESTS();
}
