// SPDX-License-Identifier: Apache-2.0
//
// Want of memory in the middle of a transaction. For every allocation that a transaction makes, a
// process in which it fails: either the transaction is an error that leaves no trace and no lock,
// or the process ends; what was acknowledged is there in both cases, and nothing in parts.
#include <cstdlib>
#include <filesystem>
#include <future>
#include <new>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <dolmen/hash_map.hpp>
#include <dolmen/space.hpp>
#include <dolmen/vector.hpp>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

namespace {

/// Allocations of this thread until one fails; 0: none does.
thread_local std::uint64_t allocations_left = 0;
/// And all after it.
thread_local bool fails_for_good = false;
thread_local bool has_failed = false;

[[maybe_unused]] bool fails_now() {
  if (has_failed && fails_for_good) return true;
  if (allocations_left == 0 || --allocations_left != 0) return false;
  has_failed = true;
  return true;
}

}  // namespace

#ifndef SANITIZED  // they have their own
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  void* const memory = fails_now() ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace {

namespace fs = std::filesystem;

struct Page {
  std::uint64_t number;
};
struct Ledger {
  std::uint64_t commits;
  dolmen::vector<std::uint64_t> all;
  dolmen::hash_map<std::uint64_t, dolmen::ptr<Page>> pages;
};

dolmen::SpaceOptions options() {
  dolmen::SpaceOptions options;
  options.log_segment_bytes = 256u << 10;
  return options;
}

/// Changes the ledger, and makes, names and erases objects, in one transaction.
dolmen::Result<void> commit(dolmen::Space& space, const dolmen::Object<Ledger>& ledger) {
  return space.transact(ledger, [&](dolmen::mut<Ledger> l) -> dolmen::Result<void> {
    const std::uint64_t number = l->commits + 1;
    l->commits = number;
    for (int i = 0; i < 40; ++i) l->all.push_back(number);
    auto page = space.create<Page>("page " + std::to_string(number), {.capacity = 4096});
    if (!page) return std::unexpected(page.error());
    space.edit(*page)->number = number;
    l->pages.insert_or_assign(number, dolmen::ptr_to(*space.root(*page)));
    if (number < 3) return {};
    l->pages.erase(number - 2);
    const auto old = space.find<Page>("page " + std::to_string(number - 2));
    if (!old) return std::unexpected(old.error());
    return space.erase(*old);
  });
}

/// How many commits the space holds; -1 if one is there in parts.
std::int64_t commits_in(dolmen::Space& space) {
  const auto ledger = space.find<Ledger>("ledger");
  if (!ledger) return -1;
  const auto view = space.view();
  if (!view) return -1;
  const auto l = (*view)[*ledger];
  const std::uint64_t commits = l->commits;
  if (l->all.size() != commits * 40 || l->pages.size() != std::min<std::uint64_t>(commits, 2)) {
    return -1;
  }
  for (std::uint64_t i = 0; i < l->all.size(); ++i) {
    if (l->all[i] != i / 40 + 1) return -1;
  }
  for (const auto& [number, page] : l->pages) {
    if (number > commits || number + 2 <= commits || page->number != number) return -1;
    if (!space.find<Page>("page " + std::to_string(number))) return -1;
  }
  return static_cast<std::int64_t>(commits);
}

enum Ending : std::int64_t {
  nothing_failed = 0,
  worked = 1,
  was_an_error = 2,
  store_failed = 3,  ///< says so in every call: what was seen by others could not be written
  is_wrong = 4
};

/// In a process of its own.
Ending run(const std::string& path, std::uint64_t nth, bool for_good) {
  auto space = dolmen::Space::open(path, options());
  if (!space) return is_wrong;
  const auto ledger = space->find<Ledger>("ledger").value();
  const std::int64_t before = commits_in(*space);
  allocations_left = nth;
  fails_for_good = for_good;
  bool committed = false;
  bool expected_error = true;
  try {
    const auto done = commit(*space, ledger);
    committed = done.has_value();
    if (!committed && done.error().code() == dolmen::Errc::store_failed) {
      return space->transact(ledger, [](dolmen::mut<Ledger>) {}) ? is_wrong : store_failed;
    }
    expected_error = committed || done.error().code() == dolmen::Errc::out_of_memory;
  } catch (const std::bad_alloc&) {  // the body's own
  }
  const bool reached = has_failed;
  allocations_left = 0;
  has_failed = false;
  const std::int64_t after = commits_in(*space);
  if (!expected_error || after != before + (committed ? 1 : 0)) return is_wrong;
  // The thread itself can go on, and no lock is left behind: others can, too.
  if (!commit(*space, ledger) || commits_in(*space) != after + 1) return is_wrong;
  std::future<bool> other =
      std::async(std::launch::async, [&] { return commit(*space, ledger).has_value(); });
  if (!other.get() || commits_in(*space) != after + 2) return is_wrong;
  return !reached ? nothing_failed : committed ? worked : was_an_error;
}

/// Looks and writes a checkpoint, in a process of its own.
Ending keep_up(const std::string& path, std::uint64_t nth, bool for_good) {
  auto space = dolmen::Space::open(path, options());
  if (!space) return is_wrong;
  const auto ledger = space->find<Ledger>("ledger").value();
  const std::int64_t before = commits_in(*space);
  if (!commit(*space, ledger)) return is_wrong;
  allocations_left = nth;
  fails_for_good = for_good;
  bool worked_out = false;
  try {
    const auto view = space->view();
    worked_out = view.has_value() && space->checkpoint().has_value();
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): an error, too
  }
  const bool reached = has_failed;
  allocations_left = 0;
  has_failed = false;
  // The next one takes on what this one did not.
  const auto next = commit(*space, ledger);
  if (!next && next.error().code() == dolmen::Errc::store_failed) return store_failed;
  if (!next || !space->checkpoint()) return is_wrong;
  if (!worked_out && !reached) return is_wrong;
  if (space->stats().views_live != 0) return is_wrong;
  if (commits_in(*space) != before + 2) return is_wrong;
  return !reached ? nothing_failed : worked_out ? worked : was_an_error;
}

class OutOfMemory : public testing::Test {
 protected:
  void SetUp() override {
#ifdef SANITIZED
    GTEST_SKIP() << "the sanitizer's operator new cannot be made to fail";
#endif
  }
  OutOfMemory() {
    std::string pattern = (fs::temp_directory_path() / "dolmen-memory-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
    path_ += "/space";
  }
  ~OutOfMemory() override { fs::remove_all(fs::path(path_).parent_path()); }

  /// Runs it in a process of its own; gives how that ended, and the number it made. This process
  /// never opens a space: a space does not go through a fork.
  template <class Function>
  static std::pair<int, std::int64_t> in_child(Function function) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      std::fclose(stderr);  // says why it ends
      const std::int64_t number = function();
      ::_exit(::write(ends[1], &number, sizeof number) == sizeof number ? 0 : 1);
    }
    ::close(ends[1]);
    int status = 0;
    ::waitpid(child, &status, 0);
    std::int64_t number = -1;
    if (::read(ends[0], &number, sizeof number) != sizeof number) number = -1;
    ::close(ends[0]);
    return {status, number};
  }
  std::int64_t commits() const {
    const auto look = [&]() -> std::int64_t {
      auto space = dolmen::Space::open(path_, options());
      return space ? commits_in(*space) : -1;
    };
    return in_child(look).second;
  }
  /// Fails each allocation in turn; gives how many were errors.
  int sweep(bool for_good) {
    const auto make = [&]() -> std::int64_t {
      auto space = dolmen::Space::open(path_, options());
      return space && space->create<Ledger>("ledger") ? 1 : 0;
    };
    EXPECT_EQ(in_child(make).second, 1);
    int errors = 0;
    int ends = 0;
    std::int64_t known = 0;
    for (std::uint64_t nth = 1; nth < 10'000; ++nth) {
      const auto [status, ending] = in_child([&] { return run(path_, nth, for_good); });
      const std::int64_t now = commits();
      if (WIFSIGNALED(status) || ending == store_failed) {
        if (WIFSIGNALED(status)) {
          EXPECT_EQ(WTERMSIG(status), SIGABRT) << "allocation " << nth;
        }
        EXPECT_TRUE(now == known || now == known + 1) << "allocation " << nth << ": " << now;
        ++ends;
      } else {
        EXPECT_TRUE(ending == nothing_failed || ending == worked || ending == was_an_error)
            << "allocation " << nth;
        EXPECT_EQ(now, known + (ending == was_an_error ? 2 : 3)) << "allocation " << nth;
        if (ending == nothing_failed) break;
        errors += ending == was_an_error ? 1 : 0;
      }
      if (testing::Test::HasFailure()) break;
      known = now;
    }
    RecordProperty("errors", errors);
    RecordProperty("ends", ends);
    return errors;
  }
  /// The same of keep_up().
  int sweep_upkeep(bool for_good) {
    const auto make = [&]() -> std::int64_t {
      auto space = dolmen::Space::open(path_, options());
      return space && space->create<Ledger>("ledger") ? 1 : 0;
    };
    EXPECT_EQ(in_child(make).second, 1);
    int errors = 0;
    std::int64_t known = 0;
    for (std::uint64_t nth = 1; nth < 10'000; ++nth) {
      const auto [status, ending] = in_child([&] { return keep_up(path_, nth, for_good); });
      const std::int64_t now = commits();
      if (WIFSIGNALED(status) || ending == store_failed) {
        EXPECT_EQ(now, known + 1) << "allocation " << nth;
      } else {
        EXPECT_TRUE(ending == nothing_failed || ending == worked || ending == was_an_error)
            << "allocation " << nth << ": " << ending;
        EXPECT_EQ(now, known + 2) << "allocation " << nth;
        if (ending == nothing_failed) break;
        errors += ending == was_an_error ? 1 : 0;
      }
      if (testing::Test::HasFailure()) break;
      known = now;
    }
    RecordProperty("errors", errors);
    return errors;
  }
  std::string path_;
};

TEST_F(OutOfMemory, AtAnyAllocationOfATransactionIsAnErrorOrTheEndNeverAPart) {
  EXPECT_GE(sweep(false), 10);
}

TEST_F(OutOfMemory, FromAnyAllocationOnIsAnErrorOrTheEndNeverAPart) { EXPECT_GE(sweep(true), 3); }

TEST_F(OutOfMemory, AtAnyAllocationOfACheckpointLosesNothing) {
  EXPECT_GE(sweep_upkeep(false), 10);
}

TEST_F(OutOfMemory, FromAnyAllocationOfACheckpointOnLosesNothing) {
  EXPECT_GE(sweep_upkeep(true), 3);
}

}  // namespace
