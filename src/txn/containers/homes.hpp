// SPDX-License-Identifier: Apache-2.0
//
// Where a container under test lives. Each home holds one Root and offers
//   bool change(body)   runs body(Root&), sometimes twice; false if its effects were taken back
//   void look(body)     runs body(const Root&)
//   bool grow_old()     whatever may happen between two changes; true if something did
// so that one suite runs off the arena, in transactions, with aborts and across reopening.
//
// Threads: one per home.
#pragma once

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include <dolmen/space.hpp>

#include "base/random.hpp"

namespace dolmen::txn::test {

/// A directory that goes away with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "dolmen-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
    path_ = pattern;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

/// The value of a Result that a test relies on.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

template <class Root>
class OffArena {
 public:
  static constexpr int kRounds = 1000;
  explicit OffArena(std::uint64_t) {}
  template <class Body>
  bool change(Body&& body) {
    body(root_);
    return true;
  }
  template <class Body>
  void look(Body&& body) {
    body(std::as_const(root_));
  }
  bool grow_old() { return false; }

 private:
  Root root_;
};

inline SpaceOptions small_space() {
  SpaceOptions options;
  options.background = false;
  options.log_tail_bytes_max = 4u << 20;
  options.log_segment_bytes = 1u << 20;
  options.guard_stores = true;
  return options;
}

/// One object in a space of its own; every commit proves that no store bypassed logging.
template <class Root>
class InTransaction {
 public:
  static constexpr int kRounds = 60;
  explicit InTransaction(std::uint64_t)
      : space_(must(Space::open(directory_.path(), small_space()))) {
    object_ = must(space_->template create<Root>("root", ObjectOptions{.capacity = 32u << 20}));
  }
  template <class Body>
  bool change(Body&& body) {
    must(space_->transact(TransactOptions{.durability = Durability::deferred}, object_,
                          [&](mut<Root> root) { body(*root); }));
    return true;
  }
  template <class Body>
  void look(Body&& body) {
    must(space_->read(ReadOptions{.level = Level::visible}, object_,
                      [&](ref<Root> root) { body(*root); }));
  }
  bool grow_old() { return false; }

 protected:
  TemporaryDirectory directory_;
  std::optional<Space> space_;
  Object<Root> object_;
};

/// Every third change is taken back, by an Error or by an exception.
template <class Root>
class WithAborts : public InTransaction<Root> {
 public:
  explicit WithAborts(std::uint64_t seed) : InTransaction<Root>(seed), random_(seed) {}
  template <class Body>
  bool change(Body&& body) {
    if (!random_.chance(1, 3)) return InTransaction<Root>::change(body);
    if (random_.chance(1, 2)) {
      const Result<void> outcome =
          this->space_->transact(this->object_, [&](mut<Root> root) -> Result<void> {
            body(*root);
            return fail(Errc::aborted);
          });
      EXPECT_FALSE(outcome);
    } else {
      EXPECT_THROW(
          static_cast<void>(this->space_->transact(this->object_,
                                                   [&](mut<Root> root) {
                                                     body(*root);
                                                     throw std::runtime_error("taken back");
                                                   })),
          std::runtime_error);
    }
    return false;
  }

 protected:
  base::Random random_;
};

/// With aborts, and closed and opened again now and then, sometimes behind a checkpoint.
template <class Root>
class Reopened : public WithAborts<Root> {
 public:
  static constexpr int kRounds = 40;
  using WithAborts<Root>::WithAborts;
  bool grow_old() {
    if (!this->random_.chance(1, 8)) return false;
    if (this->random_.chance(1, 2)) must(this->space_->checkpoint());
    must(this->space_->close());
    this->space_.reset();
    this->space_.emplace(must(Space::open(this->directory_.path(), small_space())));
    this->object_ = must(this->space_->template find<Root>("root"));
    return true;
  }
};

/// The homes as types of a typed test suite: `typename TypeParam::template Home<Root>`.
template <template <class> class HomeTemplate>
struct In {
  template <class Root>
  using Home = HomeTemplate<Root>;
};
using Homes = testing::Types<In<OffArena>, In<InTransaction>, In<WithAborts>, In<Reopened>>;

/// A seed that a failing run prints, and that DOLMEN_TEST_SEED repeats.
inline std::uint64_t seed_of_test() {
  const char* const given = std::getenv("DOLMEN_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 20240229;
}

/// Changes a container and its model side by side: batches of step(Root&, Model&, Random&), each
/// kept or taken back as a whole, and same(const Root&, const Model&) between them.
template <class Home, class Model, class Step, class Same>
void live(Step step, Same same) {
  const std::uint64_t seed = seed_of_test();
  SCOPED_TRACE("DOLMEN_TEST_SEED=" + std::to_string(seed));
  base::Random random(seed);
  Home home(seed);
  Model model;
  for (int round = 0; round < Home::kRounds && !testing::Test::HasFatalFailure(); ++round) {
    const Model before = model;
    const bool kept = home.change([&](auto& root) {
      const std::uint64_t steps = random.below(120);
      for (std::uint64_t i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) {
        step(root, model, random);
      }
    });
    if (!kept) model = before;
    if (home.grow_old() || !kept || round % 8 == 0) {
      home.look([&](const auto& root) { same(root, model); });
    }
  }
  home.look([&](const auto& root) { same(root, model); });
}

}  // namespace dolmen::txn::test
