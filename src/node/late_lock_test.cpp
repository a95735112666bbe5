// SPDX-License-Identifier: Apache-2.0
//
// A transaction that does not get a lock within its body runs again, whatever the body makes of it.
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

#include <unistd.h>

#include <gtest/gtest.h>

#include <dolmen/space.hpp>

#include "base/hooks.hpp"

namespace dolmen {
namespace {

struct Shelf {
  std::uint64_t count = 0;
};

/// The first lock that is wanted within a body is not got.
class FirstLockFails final : public base::Hooks {
 public:
  FirstLockFails() : former_(base::install_hooks(this)) {}
  ~FirstLockFails() override { (void)base::install_hooks(former_); }
  FirstLockFails(const FirstLockFails&) = delete;
  FirstLockFails& operator=(const FirstLockFails&) = delete;
  bool buggify(std::string_view site) override {
    return site == "txn.late_lock_fails" && failed_++ == 0;
  }
  void probe(std::string_view) override {}
  bool planted(std::string_view) override { return false; }
  [[nodiscard]] bool has_failed() const { return failed_ > 0; }

 private:
  base::Hooks* former_;
  int failed_ = 0;
};

class LateLock : public testing::Test {
 protected:
  LateLock() {
    std::string pattern = (std::filesystem::temp_directory_path() / "dolmen-late-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
    space_.emplace(Space::open(path_, {.background = false}).value());
    first_ = space_->create<Shelf>("first").value();
    second_ = space_->create<Shelf>("second").value();
  }
  ~LateLock() override {
    space_.reset();
    std::filesystem::remove_all(path_);
  }

  std::string path_;
  std::optional<Space> space_;
  Object<Shelf> first_;
  Object<Shelf> second_;
};

TEST_F(LateLock, IsNotTakenForAnObjectThatIsNotThere) {
  const FirstLockFails hooks;
  int runs = 0;
  const auto done = space_->transact(any, [&]() -> Result<void> {
    ++runs;
    if (space_->find<Shelf>("second")) return {};
    DOLMEN_TRY(const auto made, space_->create<Shelf>("second"));
    return space_->erase(made);
  });
  EXPECT_TRUE(done) << done.error().message();
  EXPECT_TRUE(hooks.has_failed());
  EXPECT_EQ(runs, 2);
}

TEST_F(LateLock, CommitsNothingOfARunThatWentOnWithoutIt) {
  const FirstLockFails hooks;
  const auto done = space_->transact(
      first_, [&](mut<Shelf> shelf) { shelf->count += space_->find<Shelf>("second") ? 1 : 1000; });
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_TRUE(hooks.has_failed());
  EXPECT_EQ(space_->view().value()[first_]->count, 1u);
}

TEST_F(LateLock, IsNotAnExceptionOfTheBody) {
  const FirstLockFails hooks;
  const auto done = space_->transact(first_, [&](mut<Shelf> shelf) {
    (void)space_->find<Shelf>("second").value();  // throws what is no error of the space
    ++shelf->count;
  });
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_TRUE(hooks.has_failed());
  EXPECT_EQ(space_->view().value()[first_]->count, 1u);
}

TEST_F(LateLock, IsTheResultWhereTheBodyRunsOnce) {
  const FirstLockFails hooks;
  int runs = 0;
  const auto done = space_->transact({.run = Run::once}, first_, [&](mut<Shelf> shelf) {
    ++runs;
    shelf->count += space_->find<Shelf>("second") ? 1 : 1000;
  });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), Errc::conflict);
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(space_->view().value()[first_]->count, 0u);
}

}  // namespace
}  // namespace dolmen
