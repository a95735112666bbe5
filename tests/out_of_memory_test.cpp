// SPDX-License-Identifier: Apache-2.0
//
// Want of memory in the middle of a transaction. For every allocation that a transaction makes, a
// process in which it fails: either the transaction is an error that leaves no trace and no lock,
// or the process ends; what was acknowledged is there in both cases, and nothing in parts.
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <future>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <dolmen/hash_map.hpp>
#include <dolmen/space.hpp>
#include <dolmen/vector.hpp>

#include "base/sanitizers.hpp"
#include "base/test_length.hpp"

namespace {

/// Allocations of this thread until one fails; 0: none does.
thread_local std::uint64_t allocations_left = 0;
/// And all after it.
thread_local bool fails_for_good = false;
thread_local bool has_failed = false;
/// The same for all threads that are not this one, together.
thread_local bool is_main = false;
std::atomic<std::uint64_t> others_left{0};
std::atomic<bool> others_fail_for_good{false};
std::atomic<bool> others_failed{false};

[[maybe_unused]] bool fails_now() {
  if (!is_main && others_fail_for_good && others_failed) return true;
  if (!is_main && others_left != 0 && others_left.fetch_sub(1) == 1) {
    others_failed = true;
    return true;
  }
  if (has_failed && fails_for_good) return true;
  if (allocations_left == 0 || --allocations_left != 0) return false;
  has_failed = true;
  return true;
}

}  // namespace

#if !DOLMEN_SANITIZED  // they have their own
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

/// Of so many pages that a checkpoint has several nodes for them.
struct Numbers {
  dolmen::vector<std::uint64_t> all;
};
constexpr std::uint64_t kNumbers = 200'000;

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
  is_wrong = 4,
  unreadable = 5  ///< an object, until the space is opened again
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

struct Later {
  std::uint64_t value;
  dolmen::vector<dolmen::ptr<Page>> pages;
};

/// What a process does while an allocation fails. Changes nothing that commits_in() looks at.
using Operation = std::function<dolmen::Result<void>(dolmen::Space&)>;

dolmen::Result<void> look_and_checkpoint(dolmen::Space& space) {
  const auto view = space.view();
  if (!view) return std::unexpected(view.error());
  return space.checkpoint();
}

/// Names an object of a type that the space does not know yet.
dolmen::Result<void> describe(dolmen::Space& space) {
  return space.transact(dolmen::any, [&]() -> dolmen::Result<void> {
    const auto later = space.create<Later>("later", {.capacity = 64u << 10});
    if (!later) return std::unexpected(later.error());
    space.edit(*later)->pages.resize(10);
    return {};
  });
}

dolmen::Result<void> resize(dolmen::Space& space) {
  const auto ledger = space.find<Ledger>("ledger");
  if (!ledger) return std::unexpected(ledger.error());
  return space.resize(ledger->id(), 1u << 20);
}

/// Reads what is not in memory yet, in a view and in a section; wrong contents are `corrupt`.
dolmen::Result<void> look(dolmen::Space& space) {
  const auto numbers = space.find<Numbers>("numbers");
  if (!numbers) return std::unexpected(numbers.error());
  const auto sum = [](const Numbers& n) {
    std::uint64_t all = 0;
    for (const std::uint64_t number : n.all) all += number;
    return all;
  };
  const auto view = space.view();
  if (!view) return std::unexpected(view.error());
  const auto in_view = view->read([&] { return sum(*(*view)[*numbers]); });
  const auto now = space.read(*numbers, [&](dolmen::ref<Numbers> n) { return sum(*n); });
  for (const auto& seen : {in_view, now}) {
    if (seen && *seen != kNumbers) return dolmen::fail(dolmen::Errc::corrupt, "wrong contents");
  }
  if (!in_view) return std::unexpected(in_view.error());
  if (!now) return std::unexpected(now.error());
  return {};
}

/// In a process of its own. `before`: commits that the space holds.
Ending run_operation(const std::string& path, std::uint64_t nth, bool for_good, std::int64_t before,
                     const Operation& operation) {
  auto space = dolmen::Space::open(path, options());
  if (!space) return is_wrong;
  const auto ledger = space->find<Ledger>("ledger").value();
  allocations_left = nth;
  fails_for_good = for_good;
  dolmen::Result<void> done;
  try {
    done = operation(*space);
  } catch (const std::bad_alloc&) {
    done = dolmen::fail(dolmen::Errc::out_of_memory);
  }
  const bool reached = has_failed;
  allocations_left = 0;
  has_failed = false;
  if (!done && !reached) return is_wrong;
  if (!done && done.error().code() == dolmen::Errc::corrupt) return is_wrong;
  // The next ones take on what this one did not.
  const auto next = commit(*space, ledger);
  if (!next && next.error().code() == dolmen::Errc::store_failed) return store_failed;
  if (!next) {
    // A page that could not be read keeps its object's sections off until the space is opened anew.
    if (next.error().code() != dolmen::Errc::out_of_memory || !reached) return is_wrong;
    return space->checkpoint() && space->close() ? unreadable : is_wrong;
  }
  if (!space->checkpoint()) return is_wrong;
  if (space->stats().views_live != 0 || commits_in(*space) != before + 1) return is_wrong;
  if (!space->close()) return is_wrong;
  return !reached ? nothing_failed : done ? worked : was_an_error;
}

/// Opens and closes, with something to recover and something to make durable.
Ending open_and_close(const std::string& path, std::uint64_t nth, bool for_good,
                      std::int64_t before) {
  allocations_left = nth;
  fails_for_good = for_good;
  bool opened = false;
  bool closed = false;
  dolmen::Result<void> second;
  try {
    auto space = dolmen::Space::open(path, options());
    opened = space.has_value();
    if (opened) {
      closed = space->close().has_value();
      second = space->close();
    }
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): an error, too
  }
  const bool reached = has_failed;
  allocations_left = 0;
  has_failed = false;
  if (!reached && !(opened && closed)) return is_wrong;
  if (opened && closed != second.has_value()) return is_wrong;
  auto space = dolmen::Space::open(path, options());
  if (!space || commits_in(*space) != before) return is_wrong;
  if (!commit(*space, space->find<Ledger>("ledger").value()) || !space->close()) return is_wrong;
  return !reached ? nothing_failed : closed ? worked : was_an_error;
}

/// Commits until the background thread has written a checkpoint or had no memory.
Ending run_beside_upkeep(const std::string& path, std::uint64_t nth, bool for_good,
                         std::int64_t before) {
  is_main = true;
  others_left = nth;
  others_fail_for_good = for_good;
  auto space = dolmen::Space::open(path, options());
  if (!space) return is_wrong;
  const auto ledger = space->find<Ledger>("ledger").value();
  const std::uint64_t checkpoint = space->stats().checkpoint_index;
  std::int64_t commits = before;
  // As long as it lasts, who commits hears nothing of it, unless it was about to write the log.
  for (int more = 0; more < 3;) {
    const auto done = commit(*space, ledger);
    if (!done && done.error().code() == dolmen::Errc::store_failed) {
      return others_failed ? store_failed : is_wrong;
    }
    if (!done) return is_wrong;
    ++commits;
    if (others_failed || space->stats().checkpoint_index != checkpoint) ++more;
  }
  const bool reached = others_failed;
  others_left = 0;
  others_fail_for_good = false;
  if (!space->checkpoint() || commits_in(*space) != commits) return is_wrong;
  if (!commit(*space, ledger) || !space->close()) return is_wrong;
  return reached ? worked : nothing_failed;
}

class OutOfMemory : public testing::Test {
 protected:
  void SetUp() override {
#if DOLMEN_SANITIZED
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
  /// Fails each allocation of `function` in turn (in CI: each `step`th), each time in a copy of one
  /// space that holds `kBefore` commits. Gives how many were errors.
  template <class Function>
  int sweep_copies(std::uint64_t step, std::uint64_t tail_bytes, bool may_end, Function function) {
    const std::string original = path_ + "-original";
    const auto make = [&]() -> std::int64_t {
      auto made = options();
      made.background = false;
      made.log_tail_bytes_max = tail_bytes;
      auto space = dolmen::Space::open(original, made);
      const auto ledger = space->create<Ledger>("ledger");
      for (std::int64_t i = 0; i < kBefore; ++i) {
        if (!commit(*space, *ledger)) return 0;
        if (i == kBefore / 2 && !space->checkpoint()) return 0;
        if (i != 0 || !has_numbers_) continue;
        const auto numbers = space->create<Numbers>("numbers");
        const auto filled =
            space->transact(*numbers, [](dolmen::mut<Numbers> n) { n->all.assign(kNumbers, 1); });
        if (!filled) return 0;
      }
      return space->close() ? 1 : 0;
    };
    fs::remove_all(original);
    EXPECT_EQ(in_child(make).second, 1);
    int errors = 0;
    if (dolmen::base::at_full_length()) step = 1;
    for (std::uint64_t nth = 1; nth < 20'000 && !testing::Test::HasFailure(); nth += step) {
      fs::remove_all(path_);
      fs::copy(original, path_, fs::copy_options::recursive);
      const auto [status, ending] = in_child([&] { return function(nth); });
      const std::int64_t now = commits();
      if (WIFSIGNALED(status)) {
        EXPECT_TRUE(may_end) << "allocation " << nth << ": signal " << WTERMSIG(status);
      } else {
        EXPECT_NE(ending, is_wrong) << "allocation " << nth;
        EXPECT_NE(ending, -1) << "allocation " << nth;
        if (ending == nothing_failed) {
          RecordProperty("allocations", static_cast<int>(nth));
          return errors;
        }
        worked_ += ending == worked ? 1 : 0;
        errors += ending == was_an_error || ending == unreadable || ending == store_failed ? 1 : 0;
      }
      EXPECT_GE(now, kBefore) << "allocation " << nth;
    }
    ADD_FAILURE() << "no end";
    return errors;
  }
  int sweep_operation(std::uint64_t step, bool may_end, const Operation& operation) {
    int errors = 0;
    for (const bool for_good : {false, true}) {
      errors += sweep_copies(step, 64u << 20, may_end, [&](std::uint64_t nth) {
        return run_operation(path_, nth, for_good, kBefore, operation);
      });
    }
    return errors;
  }

  static constexpr std::int64_t kBefore = 6;
  bool has_numbers_ = false;  ///< whether there is such an object
  int worked_ = 0;  ///< operations that an allocation was missing to, and that worked all the same
  std::string path_;
};

TEST_F(OutOfMemory, AtAnyAllocationOfATransactionIsAnErrorOrTheEndNeverAPart) {
  EXPECT_GE(sweep(false), 10);
}

TEST_F(OutOfMemory, FromAnyAllocationOnIsAnErrorOrTheEndNeverAPart) { EXPECT_GE(sweep(true), 3); }

TEST_F(OutOfMemory, AtAnyAllocationOfACheckpointLosesNothing) {
  EXPECT_GE(sweep_operation(17, false, look_and_checkpoint), 5);
}

TEST_F(OutOfMemory, WhileATypeIsDescribedLosesNothing) {
  EXPECT_GE(sweep_operation(13, true, describe), 6);
}

TEST_F(OutOfMemory, WhileAnObjectIsResizedLosesNothing) {
  EXPECT_GE(sweep_operation(37, true, resize), 2);
}

TEST_F(OutOfMemory, WhilePagesAreReadIsAnErrorOfWhoReads) {
  has_numbers_ = true;
  EXPECT_GE(sweep_operation(2, false, look), 5);
}

TEST_F(OutOfMemory, WhileASpaceIsOpenedAndClosedLosesNothing) {
  int errors = 0;
  for (const bool for_good : {false, true}) {
    errors += sweep_copies(17, 64u << 20, false, [&](std::uint64_t nth) {
      return open_and_close(path_, nth, for_good, kBefore);
    });
  }
  EXPECT_GE(errors, 5);
}

TEST_F(OutOfMemory, InTheBackgroundThreadIsOvercome) {
  for (const bool for_good : {false, true}) {
    (void)sweep_copies(23, 32u << 10, false, [&](std::uint64_t nth) {
      return run_beside_upkeep(path_, nth, for_good, kBefore);
    });
  }
  EXPECT_GE(worked_, 5);
}

}  // namespace
