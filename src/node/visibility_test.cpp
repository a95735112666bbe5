// SPDX-License-Identifier: Apache-2.0
//
// Who sees what, and when, on a disk whose syncs a test holds back or lets fail: durable readers
// and views never show what a crash could still take from a writer who asked for durability.
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/hooks.hpp"
#include "node/open_space.hpp"
#include "node/space_fixture.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {
namespace {

/// A simulated disk that asks before each sync of a file.
class AskingDisk final : public sys::BorrowedDisk {
 public:
  using Ask = std::function<void()>;
  AskingDisk(sim::SimDisk& disk, Ask ask) : BorrowedDisk(disk), ask_(std::move(ask)) {}

  Result<std::unique_ptr<sys::File>> open(std::string_view name, sys::OpenMode mode) override {
    DOLMEN_TRY(auto file, BorrowedDisk::open(name, mode));
    return std::make_unique<AskingFile>(std::move(file), ask_);
  }

 private:
  class AskingFile final : public sys::File {
   public:
    AskingFile(std::unique_ptr<sys::File> file, const Ask& ask)
        : file_(std::move(file)), ask_(ask) {}
    Result<std::size_t> read(std::uint64_t offset, base::MutableBytes out) noexcept override {
      return file_->read(offset, out);
    }
    Result<void> write(std::uint64_t offset, base::Bytes bytes) override {
      return file_->write(offset, bytes);
    }
    Result<void> sync() override {
      ask_();
      return file_->sync();
    }
    Result<std::uint64_t> size() override { return file_->size(); }
    Result<void> resize(std::uint64_t bytes) override { return file_->resize(bytes); }
    Result<void> allocate(std::uint64_t offset, std::uint64_t bytes) override {
      return file_->allocate(offset, bytes);
    }
    Result<void> punch(std::uint64_t offset, std::uint64_t bytes) override {
      return file_->punch(offset, bytes);
    }
    Result<std::uint64_t> allocated_bytes() override { return file_->allocated_bytes(); }

   private:
    std::unique_ptr<sys::File> file_;
    Ask ask_;
  };

  Ask ask_;
};

/// Calls `waits` when a thread is about to wait for the durability of what it saw.
class WaitNotice final : public base::Hooks {
 public:
  explicit WaitNotice(std::function<void()> waits)
      : waits_(std::move(waits)), former_(base::install_hooks(this)) {}
  ~WaitNotice() override { (void)base::install_hooks(former_); }
  WaitNotice(const WaitNotice&) = delete;
  WaitNotice& operator=(const WaitNotice&) = delete;
  bool buggify(std::string_view) override { return false; }
  void probe(std::string_view) override {}
  bool planted(std::string_view) override { return false; }
  void step(std::string_view step) override {
    if (step == "txn.waits_for_observed") waits_();
  }

 private:
  std::function<void()> waits_;
  base::Hooks* former_;
};

class Visibility : public testing::Test {
 protected:
  void SetUp() override {
    open();
    shelf_ = space_->create<Shelf>({.capacity = 1u << 20}).value();
    ASSERT_TRUE(set(1));
  }
  void open() {
    sys::Memory& memory = *sys::linux_env().memory;
    space_.reset();
    sys::Env env = world_.env();
    env.process = sys::linux_env().process;  // which can fence threads: sections go the short way
    auto opened = open_space(
        env,
        std::make_unique<AskingDisk>(disk_,
                                     [this] {
                                       if (asked_) asked_();
                                     }),
        {.background = false, .log_tail_bytes_max = 1u << 20, .log_segment_bytes = 256u << 10},
        memory.best_driver());
    ASSERT_TRUE(opened) << opened.error().message();
    space_.emplace(std::move(*opened));
  }
  Result<void> set(std::uint64_t value, Durability durability = Durability::durable) {
    return space_->transact(TransactOptions{.durability = durability}, shelf_,
                            [&](mut<Shelf> shelf) { shelf->value = value; });
  }
  Result<std::uint64_t> get(Level level) {
    return space_->read(ReadOptions{.level = level}, shelf_,
                        [](ref<Shelf> shelf) { return shelf->value; });
  }
  Result<View> view(Level level) { return space_->view(ReadOptions{.level = level}); }
  void fail_syncs() { disk_.inject({.on = sim::FaultOn::sync, .times = sim::DiskFault::kForever}); }

  sim::SimDisk disk_{1};
  sim::SimEnv world_{1, *sys::linux_env().memory};
  std::function<void()> asked_;  // before every sync, also those of closing
  int syncs_ = 0;
  std::optional<Space> space_;
  Object<Shelf> shelf_;
};

/// A durable commit whose sync is held back until somebody waits for it.
class HeldBack {
 public:
  HeldBack(std::function<void()>& asked, std::function<void()> commit) : asked_(asked) {
    asked_ = [this] {
      reached_ = true;
      reached_.notify_all();
      held_.wait(true);
    };
    writer_ = std::jthread(std::move(commit));
    reached_.wait(false);
  }
  ~HeldBack() {
    let_go();
    writer_.join();
    asked_ = {};
  }
  HeldBack(const HeldBack&) = delete;
  HeldBack& operator=(const HeldBack&) = delete;
  [[nodiscard]] bool is_held() const { return held_; }

 private:
  void let_go() {
    held_ = false;
    held_.notify_all();
  }

  std::function<void()>& asked_;
  std::atomic<bool> reached_{false};
  std::atomic<bool> held_{true};
  WaitNotice notice_{[this] { let_go(); }};
  std::jthread writer_;
};

TEST_F(Visibility, ADurableReadReturnsWhenWhatItSawIsDurable) {
  HeldBack commit(asked_, [this] { EXPECT_TRUE(set(2)); });
  EXPECT_EQ(get(Level::visible).value(), 2u) << "visible before it is durable";
  EXPECT_TRUE(commit.is_held());
  EXPECT_EQ(get(Level::durable).value(), 2u);
  EXPECT_FALSE(commit.is_held());
  const SpaceStats stats = space_->stats();
  EXPECT_EQ(stats.durable_index, stats.last_index);
}

TEST_F(Visibility, ADurableReadOnTheShortWayWaitsToo) {
  HeldBack commit(asked_, [this] { EXPECT_TRUE(set(2)); });
  for (std::uint32_t i = 0; i < 2 * txn::LockTable::kBiasReads; ++i) {
    ASSERT_EQ(get(Level::visible).value(), 2u);
  }
  EXPECT_TRUE(commit.is_held());
  EXPECT_EQ(get(Level::durable).value(), 2u);
  EXPECT_FALSE(commit.is_held());
  const SpaceStats stats = space_->stats();
  EXPECT_EQ(stats.durable_index, stats.last_index);
}

TEST_F(Visibility, AViewIsMadeWhenWhatItShowsIsDurable) {
  HeldBack commit(asked_, [this] { EXPECT_TRUE(set(2)); });
  EXPECT_EQ((*view(Level::visible))[shelf_]->value, 2u);
  EXPECT_TRUE(commit.is_held());
  const View durable = view(Level::durable).value();
  EXPECT_FALSE(commit.is_held());
  EXPECT_GE(space_->stats().durable_index, durable.index());
  EXPECT_EQ(durable[shelf_]->value, 2u);
}

TEST_F(Visibility, AnErrorThatTellsWhatABodySawWaitsToo) {
  HeldBack commit(asked_, [this] { EXPECT_TRUE(set(2)); });
  const auto told = space_->read(shelf_, [](ref<Shelf> shelf) -> Result<void> {
    return shelf->value == 2 ? fail(Errc::already_exists) : Result<void>();
  });
  EXPECT_EQ(told.error().code(), Errc::already_exists);
  EXPECT_FALSE(commit.is_held());
}

TEST_F(Visibility, AReadOfADeferredCommitDoesNotWaitButItsTicketDoes) {
  asked_ = [this] { ++syncs_; };
  Ticket ticket;
  ASSERT_TRUE(
      space_->transact(TransactOptions{.durability = Durability::deferred, .ticket = &ticket},
                       shelf_, [](mut<Shelf> shelf) { shelf->value = 2; }));
  EXPECT_EQ(get(Level::durable).value(), 2u);
  EXPECT_EQ((*view(Level::durable))[shelf_]->value, 2u);
  EXPECT_EQ(ticket.level, Durability::deferred);
  EXPECT_EQ(syncs_, 0);
  EXPECT_LT(space_->stats().durable_index, ticket.index);
  ASSERT_TRUE(space_->wait(ticket));
  EXPECT_EQ(syncs_, 1);
  EXPECT_GE(space_->stats().durable_index, ticket.index);
  ASSERT_TRUE(space_->transact(TransactOptions{.ticket = &ticket}, shelf_,
                               [](mut<Shelf> shelf) { shelf->value = 3; }));
  EXPECT_EQ(ticket.level, Durability::durable);
}

TEST_F(Visibility, ManyWhoCommitAtOnceShareTheirSyncs) {
  constexpr std::uint64_t kThreads = 16;
  std::vector<Object<Shelf>> shelves;
  for (std::uint64_t i = 0; i < kThreads; ++i) {
    shelves.push_back(space_->create<Shelf>({.capacity = 4096}).value());
  }
  const std::uint64_t last = space_->stats().last_index;
  const std::uint64_t before = space_->stats().syncs;
  asked_ = [&] {
    // The first sync takes as long as the others need to append.
    while (space_->core().store().last_index() < last + kThreads) std::this_thread::yield();
  };
  std::vector<std::jthread> threads;
  for (const Object<Shelf>& shelf : shelves) {
    threads.emplace_back([&, shelf] {
      const auto done = space_->transact(shelf, [](mut<Shelf> s) { ++s->value; });
      EXPECT_TRUE(done) << done.error().message();
    });
  }
  threads.clear();
  EXPECT_LE(space_->stats().syncs - before, 2u);
  asked_ = {};
}

TEST_F(Visibility, AfterAFailedSyncOnlyViewsOfWhatIsDurableWork) {
  const View durable = view(Level::durable).value();
  ASSERT_TRUE(set(2, Durability::deferred));
  const View hopeful = view(Level::visible).value();
  fail_syncs();
  EXPECT_EQ(set(3).error().code(), Errc::store_failed);
  EXPECT_EQ(get(Level::durable).error().code(), Errc::store_failed);
  EXPECT_EQ(get(Level::visible).error().code(), Errc::store_failed);
  EXPECT_EQ(view(Level::visible).error().code(), Errc::store_failed);
  EXPECT_EQ(set(4, Durability::deferred).error().code(), Errc::store_failed);
  EXPECT_EQ(space_->checkpoint().error().code(), Errc::store_failed);
  // First looked at after the failure, so that their pages are made now.
  EXPECT_EQ(durable[shelf_]->value, 1u);
  const auto refused = hopeful.read([&] { return hopeful[shelf_]->value; });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::store_failed);
}

TEST_F(Visibility, ReopeningIsTheWayOnAfterAFailedSync) {
  fail_syncs();
  EXPECT_EQ(set(2).error().code(), Errc::store_failed);
  EXPECT_FALSE(space_->close());
  disk_.clear_faults();
  open();
  const auto value = get(Level::durable);
  ASSERT_TRUE(value) << value.error().message();
  EXPECT_TRUE(*value == 1 || *value == 2) << *value;
  ASSERT_TRUE(set(5));
  EXPECT_EQ((*view(Level::durable))[shelf_]->value, 5u);
}

TEST_F(Visibility, AReaderThatSawACommitWhoseSyncFailsGetsAnError) {
  HeldBack commit(asked_, [this] { EXPECT_EQ(set(2).error().code(), Errc::store_failed); });
  fail_syncs();
  const auto read = get(Level::durable);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), Errc::store_failed);
}

}  // namespace
}  // namespace dolmen::node
