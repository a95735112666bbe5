// SPDX-License-Identifier: Apache-2.0
// The commits suite: its races, and dolmen's own store.
#include "bench/commits.hpp"

#include <algorithm>

#include <dolmen/ptr.hpp>
#include <dolmen/space.hpp>

#include "bench/suites.hpp"

namespace dolmen::bench {

CommitsWork::Plan CommitsWork::planned(std::size_t commits) {
  base::Random random(++version_);
  Plan plan;
  for (std::size_t i = 0; i < commits; ++i) {
    plan.records.push_back(static_cast<std::uint32_t>(random.below(kCommitRecords)));
    plan.values.push_back(value_of(plan.records.back(), (version_ << 20) + i));
  }
  return plan;
}

void CommitsWork::race() {
  report_->race("small_deferred", "ns", std::move(deferred_));
  report_->race({{"durable_1t", "us"}, {"durable_1t_p99", "us"}}, std::move(single_));
  report_->race("durable_16t", "1/s", std::move(many_));
  report_->race({{"durable_during_checkpoint", "us"}, {"durable_during_checkpoint_p99", "us"}},
                std::move(disturbed_));
}

namespace {

struct Record {
  Value value{};
};

struct Row256 {
  std::array<ptr<Record>, 256> records;
};

struct Table {
  std::array<ptr<Row256>, kCommitRecords / 256> rows;
};

struct Block {
  std::array<std::uint64_t, 512> words{};
};

struct Blocks {
  std::array<ptr<Block>, 256> blocks;
};

struct Bulk {
  std::array<ptr<Blocks>, kBulkBlocks / 256> parts;
};

class DolmenCommits {
  /// A tail that the bulk fills in one pass: many pages to write, soon.
  static constexpr std::uint64_t kTailBytes = 12u << 20;
  static constexpr SpaceOptions kSmallTail{.log_tail_bytes_max = kTailBytes,
                                           .log_segment_bytes = 4u << 20};

 public:
  DolmenCommits(const std::string& path, Durability durability, std::uint32_t bulk_blocks)
      : space_(expect(Space::open(path, bulk_blocks > 0 ? kSmallTail : SpaceOptions{}), "open")),
        options_{.durability = durability},
        table_(expect(space_.create<Table>("table"), "create")),
        bulk_blocks_(bulk_blocks) {
    expect(space_.transact(table_,
                           [](mut<Table> table) {
                             for (ptr<Row256>& row : table->rows) {
                               const mut<Row256> made = make<Row256>(table);
                               for (ptr<Record>& record : made->records) {
                                 record = make<Record>(table);
                               }
                               row = made;
                             }
                           }),
           "fill");
    if (bulk_blocks_ > 0) make_bulk();
    expect(space_.checkpoint(), "checkpoint");
  }

  class Session {
   public:
    explicit Session(DolmenCommits& store) : store_(&store) {}
    void put(std::uint32_t record, const Value& value) {
      expect(store_->space_.transact(
                 store_->options_, store_->table_,
                 [&](ref<Table> table) {
                   edit(table->rows[record / 256]->records[record % 256])->value = value;
                 }),
             "commit");
    }

   private:
    DolmenCommits* store_;
  };
  [[nodiscard]] Session session() { return Session(*this); }

  /// Lets the log tail grow until the space starts a checkpoint by itself, and waits for its end.
  template <class Begun>
  void disturb(Begun&& begun) {
    const std::uint64_t before = space_.stats().checkpoint_index;
    ++round_;
    bool told = false;
    for (std::uint32_t part = 0; space_.stats().checkpoint_index == before; ++part) {
      const std::uint64_t tail = space_.stats().log_tail_bytes;
      if (tail <= kTailBytes) touch_bulk(part % (bulk_blocks_ / 256));
      if (tail <= kTailBytes / 8 * 7) continue;
      if (!told) begun();
      told = true;
      if (tail > kTailBytes) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (!told) begun();
  }

 private:
  void make_bulk() {
    bulk_ = expect(space_.create<Bulk>("bulk", {.capacity = 1u << 30}), "create");
    for (std::uint32_t part = 0; part < bulk_blocks_ / 256; ++part) {
      expect(space_.transact(bulk_,
                             [&](mut<Bulk> bulk) {
                               const mut<Blocks> blocks = make<Blocks>(bulk);
                               for (ptr<Block>& block : blocks->blocks) block = make<Block>(bulk);
                               bulk->parts[part] = blocks;
                             }),
             "fill");
    }
  }
  /// Changes a tenth of each of 256 blocks.
  void touch_bulk(std::uint32_t part) {
    expect(space_.transact(TransactOptions{.durability = Durability::deferred}, bulk_,
                           [&](ref<Bulk> bulk) {
                             for (const ptr<Block>& block : bulk->parts[part]->blocks) {
                               const mut<Block> changed = edit(block);
                               for (std::size_t i = 0; i < 48; ++i) changed->words[i] += round_;
                             }
                           }),
           "touch");
  }

  Space space_;
  TransactOptions options_;
  Object<Table> table_;
  Object<Bulk> bulk_;
  std::uint32_t bulk_blocks_;
  std::uint64_t round_ = 0;
};

/// Ratios of neighbouring measurements, with a checkpoint running over without.
struct Ratios {
  CommitTimes idle;
  Values median;
  Values p99;
};

void add_disturbed(CommitsWork& work, Ratios& ratios) {
  const auto store = std::make_shared<DolmenCommits>(work.folder().below("commits_checkpoint"),
                                                     Durability::durable, work.bulk_blocks());
  const std::size_t commits = work.report().quick() ? 50 : 500;
  work.compete_disturbed("dolmen_idle", "durable; no checkpoint running", [=, &work, &ratios] {
    const Pinned pinned;
    return ratios.idle = work.timed(*store, commits);
  });
  const std::string size = std::to_string(work.bulk_blocks() / 256) + " MiB";
  work.compete_disturbed(
      "dolmen",
      "durable; while the space writes a checkpoint of " + size + " by itself (log tail 12 MiB)",
      [=, &work, &ratios] {
        const CommitTimes times = work.timed_disturbed(*store, commits);
        ratios.median.push_back(times.median / ratios.idle.median);
        ratios.p99.push_back(times.p99 / ratios.idle.p99);
        return times;
      });
}

}  // namespace

void add_commits_dolmen(CommitsWork& work) {
  if (work.wants_deferred()) {
    const auto store = std::make_shared<DolmenCommits>(work.folder().below("commits_deferred"),
                                                       Durability::deferred, 0);
    work.compete_deferred("dolmen", "transact(object), deferred", store, 200'000);
  }
  if (work.wants_durable()) {
    const auto store = std::make_shared<DolmenCommits>(work.folder().below("commits_durable"),
                                                       Durability::durable, 0);
    work.compete_durable("dolmen", "transact(object), durable on return", store);
  }
}

void commits_suite(Report& report) {
  const Folder folder(report.options().directory + "/commits");
  CommitsWork work(report, folder);
  Ratios ratios;
  report.attempt("dolmen", [&] { add_commits_dolmen(work); });
  if (work.wants_disturbed()) report.attempt("dolmen", [&] { add_disturbed(work, ratios); });
  report.attempt("lmdb", [&] { add_commits_lmdb(work); });
  report.attempt("sqlite", [&] { add_commits_sqlite(work); });
  report.attempt("pmdk", [&] { add_commits_pmdk(work); });
  report.attempt("fdatasync", [&] { add_commits_floor(work); });
  work.race();
  // The warm-up's ratio comes first and does not count.
  if (ratios.median.size() > 1) {
    const std::string mode = "with a checkpoint running, over without, in neighbouring runs";
    ratios.median.erase(ratios.median.begin());
    ratios.p99.erase(ratios.p99.begin());
    report.add("durable_during_checkpoint_ratio", "dolmen", mode, "x", ratios.median);
    report.add("durable_during_checkpoint_p99_ratio", "dolmen", mode, "x", ratios.p99);
  }
}

}  // namespace dolmen::bench
