// SPDX-License-Identifier: Apache-2.0
#include "cluster/ordered_tree.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/checksum.hpp"
#include "base/test_budget.hpp"
#include "cluster/index_fixture.hpp"
#include "cluster/ordered_fixture.hpp"

namespace dolmen::cluster {
namespace {

using Texts = std::map<std::string, std::string>;

std::string text_from(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::vector<std::byte> bytes_from(const std::string& text) {
  const auto bytes = base::as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

/// A part of a range, and what it has to be.
testing::AssertionResult scans(Tree& tree, const Texts& model, base::Random& random,
                               std::uint64_t keys) {
  OrderedRange range{.from = bytes_from(hard_key(random.below(keys))),
                     .is_backward = random.chance(1, 2)};
  if (random.chance(1, 4)) range.from.clear();
  if (random.chance(2, 3)) range.to = bytes_from(hard_key(random.below(keys)));
  const std::size_t limit = random.chance(1, 3) ? 100'000 : random.below(40);
  const OrderedPage page = tree.tree().scan(range, limit, 1 << 30);
  std::vector<std::pair<std::string, std::string>> expected;
  for (const auto& [key, value] : model) {
    const bool is_in = key >= text_from(range.from) && (!range.to || key < text_from(*range.to));
    if (is_in) expected.emplace_back(key, value);
  }
  if (range.is_backward) std::ranges::reverse(expected);
  const bool is_all = expected.size() < limit;
  if (expected.size() > limit) expected.resize(limit);
  std::vector<std::pair<std::string, std::string>> got;
  for (const OrderedEntry& entry : page.entries) {
    got.emplace_back(text_from(entry.key), text_from(entry.value));
  }
  if (got != expected) {
    return testing::AssertionFailure() << got.size() << " entries of " << expected.size();
  }
  if (is_all && !page.is_last) return testing::AssertionFailure() << "it says there is more";
  if (!is_all && expected.size() < limit) return testing::AssertionFailure() << "too few";
  return testing::AssertionSuccess();
}

testing::AssertionResult holds(Tree& tree, const Texts& model, base::Random& random,
                               std::uint64_t keys) {
  if (auto checked = tree.tree().check(); !checked) {
    return testing::AssertionFailure() << checked.error().message();
  }
  if (tree.tree().statistics().keys != model.size()) {
    return testing::AssertionFailure() << tree.tree().statistics().keys << " keys";
  }
  for (std::uint64_t key = 0; key < keys; ++key) {
    const auto found = tree.tree().find(base::as_bytes(hard_key(key)));
    const auto expected = model.find(hard_key(key));
    if (found.has_value() != (expected != model.end()) ||
        (found && text_from(*found) != expected->second)) {
      return testing::AssertionFailure() << "key " << key;
    }
  }
  for (int i = 0; i < 5; ++i) {
    if (auto result = scans(tree, model, random, keys); !result) return result;
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult change(Tree& tree, Texts& model, base::Random& random, std::uint64_t keys,
                                unsigned erases_of_16) {
  const std::string key = hard_key(random.below(keys));
  const bool is_there = model.contains(key);
  IndexOutcome outcome{};
  IndexOutcome expected{};
  if (random.below(16) < erases_of_16) {
    outcome = tree.erase(key);
    expected = is_there ? IndexOutcome::erased : IndexOutcome::absent;
    model.erase(key);
  } else {
    const std::string value = hard_value(random);
    outcome = tree.put(key, value);
    if (outcome == IndexOutcome::no_space) return testing::AssertionSuccess();
    expected = is_there ? IndexOutcome::replaced : IndexOutcome::created;
    model[key] = value;
  }
  if (outcome == expected) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "outcome " << static_cast<int>(outcome);
}

/// Grows and shrinks by turns. The first thing that was wrong.
testing::AssertionResult campaign_of(std::uint64_t seed) {
  base::Random random(seed);
  // Some are too small for what comes.
  Tree tree(random.chance(1, 3) ? 30 : 400, random.chance(1, 3) ? 256 << 10 : 8 << 20);
  Texts model;
  const std::uint64_t keys = 20 + random.below(600);
  for (int phase = 0; phase < 6; ++phase) {
    const unsigned erases = phase % 2 == 0 ? 3 : 13;
    const std::uint64_t changes = 100 + random.below(500);
    for (std::uint64_t i = 0; i < changes; ++i) {
      if (auto result = change(tree, model, random, keys, erases); !result) return result;
      if (random.chance(1, 40)) {
        const log::Index grace = random.below(30);
        tree.apply(IndexCommand::release(tree.last() - std::min(tree.last(), grace)));
      }
      if (random.chance(1, 300)) {
        tree.apply(IndexCommand::restamp(static_cast<std::uint32_t>(random.below(1000))));
      }
      if (random.chance(1, 150)) {
        if (auto result = holds(tree, model, random, keys); !result) return result;
      }
    }
  }
  return holds(tree, model, random, keys);
}

TEST(OrderedTree, IsAMapInOrder) {
  const std::uint64_t seeds = base::budget("ordered_map_seeds");
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    ASSERT_TRUE(campaign_of(seed)) << "seed " << seed;
  }
  base::say_bound("ordered_map_seeds", seeds);
}

TEST(OrderedTree, AnEmptyOneHoldsNothing) {
  Tree tree;
  EXPECT_FALSE(tree.tree().find({}));
  EXPECT_EQ(tree.erase("a"), IndexOutcome::absent);
  EXPECT_TRUE(tree.tree().scan({}, 10, 1000).is_last);
  EXPECT_TRUE(tree.tree().scan({.is_backward = true}, 10, 1000).is_last);
  EXPECT_TRUE(tree.tree().check());
  EXPECT_EQ(tree.put("", "of no key"), IndexOutcome::created);
  EXPECT_EQ(tree.tree().scan({}, 10, 1000).entries.size(), 1u);
}

TEST(OrderedTree, APageEndsBehindItsBytes) {
  Tree tree;
  for (int i = 0; i < 50; ++i) tree.put("key " + std::to_string(100 + i), std::string(93, 'v'));
  const OrderedPage page = tree.tree().scan({}, 1000, 1000);
  EXPECT_EQ(page.entries.size(), 10u);
  EXPECT_FALSE(page.is_last);
}

TEST(OrderedTree, GrowsUntilItIsFullAndShrinksToOneNode) {
  Tree tree(60);
  std::uint64_t keys = 0;
  const auto name = [](std::uint64_t number) { return std::to_string(number * 7919 % 100'000); };
  while (tree.put(name(keys), std::string(64, 'v')) == IndexOutcome::created) ++keys;
  ASSERT_TRUE(tree.tree().check());
  const OrderedStatistics full = tree.tree().statistics();
  EXPECT_EQ(full.keys, keys);
  EXPECT_GT(full.levels, 1u);
  EXPECT_GT(keys, full.nodes_live * 12);
  for (std::uint64_t key = 0; key < keys; ++key) {
    ASSERT_EQ(tree.erase(name(key)), IndexOutcome::erased) << key;
  }
  ASSERT_TRUE(tree.tree().check());
  EXPECT_EQ(tree.tree().statistics().nodes_live, 1u);
  EXPECT_EQ(tree.tree().statistics().levels, 1u);
  // Nothing of that may be used before it is released.
  std::uint64_t again = 0;
  while (tree.put(name(again), std::string(64, 'v')) == IndexOutcome::created) ++again;
  EXPECT_LT(again, keys);
  tree.apply(IndexCommand::release(tree.last()));
  for (; again < keys; ++again) {
    ASSERT_EQ(tree.put(name(again), std::string(64, 'v')), IndexOutcome::created) << again;
  }
  EXPECT_TRUE(tree.tree().check());
}

// X7: by replay, and by a snapshot and the rest.
TEST(OrderedTree, ReplicasAreEqualBitForBit) {
  for (std::uint64_t seed = 1; seed <= (base::kSanitized ? 1 : 4); ++seed) {
    base::Random random(seed);
    Tree other(120);
    Tree replayed(120);
    Tree restored(120);
    for (std::uint64_t i = 0; i < 200; ++i) {  // it had a past of its own
      restored.put(hard_key(random.below(300)), "former");
    }
    std::vector<IndexCommand> log;
    const auto step = [&] {
      const std::string key = hard_key(random.below(200));
      const std::string value = hard_value(random);
      IndexCommand command = random.chance(1, 3)
                                 ? IndexCommand::erase(base::as_bytes(key))
                                 : IndexCommand::put(base::as_bytes(key), base::as_bytes(value));
      if (random.chance(1, 20)) command = IndexCommand::release(other.last() / 2);
      log.push_back(command);
      other.apply(command);
    };
    for (int i = 0; i < 400; ++i) step();
    ASSERT_TRUE(restored.tree().restore(other.tree().snapshot()));
    restored.goes_on_at(other.last());
    ASSERT_TRUE(std::ranges::equal(restored.region(), other.region())) << seed;
    const std::size_t at = log.size();
    for (int i = 0; i < 400; ++i) step();
    for (std::size_t i = 0; i < log.size(); ++i) {
      replayed.apply(log[i]);
      if (i >= at) restored.apply(log[i]);
    }
    EXPECT_TRUE(std::ranges::equal(replayed.region(), other.region())) << seed;
    EXPECT_TRUE(std::ranges::equal(restored.region(), other.region())) << seed;
    EXPECT_EQ(replayed.tree().fingerprint(), other.tree().fingerprint());
  }
}

TEST(OrderedTree, ADamagedSnapshotChangesNothing) {
  Tree tree(16, 64 << 10);
  grow_golden(tree);
  const auto good = tree.tree().snapshot();
  Tree other(16, 64 << 10);
  other.put("a", "1");
  const std::uint64_t before = other.tree().fingerprint();
  for (std::size_t cut = 0; cut < good.size(); cut += 397) {
    EXPECT_FALSE(other.tree().restore(base::Bytes(good).first(cut)));
  }
  for (std::size_t at = 0; at < good.size(); at += 211) {
    auto bad = good;
    bad[at] ^= std::byte{4};
    EXPECT_FALSE(other.tree().restore(bad)) << at;
  }
  EXPECT_EQ(other.tree().fingerprint(), before);
  Tree third(16, 64 << 10, 8);  // another table's
  EXPECT_FALSE(third.tree().restore(good));
}

// Somebody computed the checksum anew: whatever is accepted is sound, and else it is empty.
TEST(OrderedTree, AnImpossibleSnapshotIsRefusedThoughItsChecksumFits) {
  Tree tree(16, 64 << 10);
  grow_golden(tree);
  const auto good = tree.tree().snapshot();
  std::uint64_t refused = 0;
  for (std::size_t at = 8; at + 8 < good.size(); at += at < 400 && !base::kSanitized ? 1 : 29) {
    auto bad = good;
    bad[at] ^= std::byte{1};
    base::store(bad, bad.size() - 8,
                base::checksum64(base::Bytes(bad).first(bad.size() - 8), 0x534F4C44));
    Tree other(16, 64 << 10);
    if (other.tree().restore(bad)) continue;  // a byte of a free block
    ++refused;
    EXPECT_TRUE(other.tree().check()) << at;
    EXPECT_EQ(other.tree().statistics().keys, 0u) << at;
  }
  EXPECT_GT(refused, base::kSanitized ? 100u : 300u);
}

TEST(OrderedTree, AnImpossibleGeometryIsRefused) {
  const Tree tree;
  const auto error_of = [&](auto change) {
    OrderedGeometry geometry = tree.geometry();
    change(geometry);
    std::vector<std::uint64_t> words(tree.geometry().region_bytes() / 8);
    const auto made = OrderedTree::make(std::as_writable_bytes(std::span(words)), geometry, 1);
    return made ? Errc{} : made.error().code();
  };
  EXPECT_EQ(error_of([](OrderedGeometry&) {}), Errc{});
  EXPECT_EQ(error_of([](OrderedGeometry& g) { g.table = {}; }), Errc::invalid_argument);
  EXPECT_EQ(error_of([](OrderedGeometry& g) { g.node_count = 0; }), Errc::invalid_argument);
  EXPECT_EQ(error_of([](OrderedGeometry& g) { ++g.node_count; }), Errc::invalid_argument);
  EXPECT_EQ(error_of([](OrderedGeometry& g) { g.heap_bytes = 0; }), Errc::invalid_argument);
}

/// Whether bytes of a node that are not all of one moment, or another node's, are none.
bool believes_whole_nodes_alone() {
  Tree tree;
  for (int i = 0; i < 100; ++i) tree.put("key " + std::to_string(i), "value");
  const auto bytes = base::Bytes(tree.region()).subspan(tree.geometry().node_at(1), kNodeBytes);
  if (!decode_node(bytes, 1, tree.geometry()) || decode_node(bytes, 2, tree.geometry())) {
    return false;
  }
  std::vector<std::byte> torn(bytes.begin(), bytes.end());
  for (std::size_t at = 0; at < torn.size(); at += 7) {
    torn[at] ^= std::byte{2};
    if (decode_node(torn, 1, tree.geometry())) return false;
    torn[at] ^= std::byte{2};
  }
  return true;
}

TEST(OrderedTree, ANodeCountsAsAWholeAndInItsPlaceAlone) {
  EXPECT_TRUE(believes_whole_nodes_alone());
}
TEST(OrderedTreeBugs, ANodeThatIsBelievedUncheckedIsSeen) {
  const IndexHooks planted("cluster.node_unchecked");
  EXPECT_FALSE(believes_whole_nodes_alone());
}

/// Between any two stores: each live node's part of the keys is said the same by all who say it.
/// Whether what never changes is there in each leaf that speaks for it, and in one at least.
bool keeps_what_stays(std::string_view bug, std::uint64_t seed) {
  base::Random random(seed);
  Tree tree(200);
  const std::string stays = "key 00050";
  tree.put(stays, "it");
  bool is_right = true;
  std::uint64_t looked_at = 0;
  const auto look = [&] {
    std::uint64_t sequences = 0;  // of all: they tell whether something was written since
    for (TreeNodeNumber number = 1; number <= 40; ++number) {
      sequences += base::load<std::uint64_t>(tree.region(), tree.geometry().node_at(number) + 8);
    }
    if (std::exchange(looked_at, sequences) == sequences) return;
    bool is_found = false;
    bool is_torn = false;
    for (TreeNodeNumber number = 1; number <= 40; ++number) {
      const auto node = tree.node(number);
      is_torn |= !node;
      if (!node || !node->is_live() || node->level > 0) continue;
      const base::Bytes key = base::as_bytes(stays);
      if (*compare_keys(key, node->low) < 0) continue;
      if (node->has_high && *compare_keys(key, node->high) >= 0) continue;
      const bool has_it = std::ranges::any_of(node->cells, [&](const TreeCell& cell) {
        return std::ranges::equal(cell.key.front, key);
      });
      is_right &= has_it;
      is_found |= has_it;
    }
    is_right &= is_found || is_torn;
  };
  const IndexHooks hooks(bug, look);
  for (int i = 0; i < 800 && is_right; ++i) {
    std::string number = std::to_string(random.below(100));
    const std::string key = "key " + std::string(5 - number.size(), '0') + number;
    if (key == stays) continue;
    if (random.chance(i / 200 % 2 == 0 ? 1 : 7, 8)) {
      tree.erase(key);
    } else {
      tree.put(key, std::string(random.below(200), 'v'));
    }
    tree.apply(IndexCommand::release(tree.last()));
  }
  return is_right;
}

TEST(OrderedTree, WhatStaysIsInEachLeafThatSpeaksForItBetweenAnyTwoStores) {
  for (std::uint64_t seed = 1; seed <= (base::kSanitized ? 1 : 5); ++seed) {
    EXPECT_TRUE(keeps_what_stays("", seed)) << seed;
  }
}

bool is_seen_between_stores(std::string_view bug) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    if (!keeps_what_stays(bug, seed)) return true;
  }
  return false;
}

TEST(OrderedTreeBugs, AnHeirThatClaimsFirstIsSeen) {
  EXPECT_TRUE(is_seen_between_stores("cluster.tree_merge_claims_first"));
}

/// Whether whoever reads the leaf that knew of a key, between two stores, is led on to one that
/// speaks for it: nothing live leads to what was not written yet.
bool leads_to_what_is_there(std::string_view bug) {
  base::Random random(5);
  Tree tree(200);
  bool is_right = true;
  std::uint64_t turns = 0;
  const auto look = [&] {
    if (++turns % 3 != 0) return;
    for (TreeNodeNumber number = 1; number <= 30; ++number) {
      const auto node = tree.node(number);
      if (!node || !node->is_live() || node->link == kNoNode) continue;
      // It may be written just now, but it was before.
      const auto sequence =
          base::load<std::uint64_t>(tree.region(), tree.geometry().node_at(node->link) + 8);
      const auto other = tree.node(node->link);
      is_right &=
          sequence > 1 && (!other || other->is_live() || other->state == TreeNodeState::forward);
    }
  };
  const IndexHooks hooks(bug, look);
  for (int i = 0; i < 150 && is_right; ++i) {
    tree.put("key " + std::to_string(random.below(400)), std::string(100, 'v'));
  }
  return is_right;
}

TEST(OrderedTree, NothingLeadsToWhatIsNotWrittenYet) { EXPECT_TRUE(leads_to_what_is_there("")); }
TEST(OrderedTreeBugs, ASplitThatForgetsFirstIsSeen) {
  EXPECT_FALSE(leads_to_what_is_there("cluster.split_forgets_first"));
}

bool is_seen_by_the_campaign(std::string_view bug) {
  const IndexHooks planted(bug);
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    if (!campaign_of(seed)) return true;
  }
  return false;
}

TEST(OrderedTreeBugs, ASeparatorThatIsTooShortIsSeen) {
  EXPECT_TRUE(is_seen_by_the_campaign("cluster.separator_too_short"));
}
TEST(OrderedTreeBugs, AnHeirThatKeepsItsEndIsSeen) {
  EXPECT_TRUE(is_seen_by_the_campaign("cluster.merge_keeps_high"));
}

// What was retired less than the grace ago is never used (X4).
bool respects_the_grace() {
  Tree tree(200);
  base::Random random(3);
  std::map<TreeNodeNumber, log::Index> retired;
  log::Index released = 0;
  for (std::uint64_t i = 0; i < 1'800; ++i) {
    const std::string key = std::to_string(random.below(200));
    if (random.chance(i / 300 % 2 == 0 ? 1 : 7, 8)) {
      tree.erase(key);
    } else {
      tree.put(key, std::string(100, 'v'));
    }
    if (random.chance(1, 100)) {
      released = tree.last() - std::min<log::Index>(tree.last(), 60);
      tree.apply(IndexCommand::release(released));
    }
    for (TreeNodeNumber number = 1; number <= 60; ++number) {
      const auto node = tree.node(number);
      if (!node) continue;
      if (node->state == TreeNodeState::forward) {
        retired[number] = node->retired_at;
      } else if (const auto was = retired.extract(number); !was.empty()) {
        if (was.mapped() > released) return false;
      }
    }
  }
  return tree.tree().statistics().nodes_retired > 0;
}

TEST(OrderedTree, WhatIsRetiredWaitsForItsGrace) { EXPECT_TRUE(respects_the_grace()); }
TEST(OrderedTreeBugs, ReuseWithoutAGraceIsSeen) {
  const IndexHooks planted("cluster.node_reused_at_once");
  EXPECT_FALSE(respects_the_grace());
}

/// Long separators are shared by fences and the nodes above. Whether each is counted.
bool counts_who_leads_to_records() {
  Tree tree;
  for (int i = 0; i < 200; ++i) {
    const std::string key = std::string(300, 'k') + std::to_string(i * 7 % 200);
    if (tree.put(key, "value") != IndexOutcome::created || !tree.tree().check()) return false;
  }
  return tree.tree().statistics().levels > 1;
}

TEST(OrderedTree, RecordsKnowHowManyLeadToThem) { EXPECT_TRUE(counts_who_leads_to_records()); }
TEST(OrderedTreeBugs, ARecordThatIsNotCountedIsSeen) {
  const IndexHooks planted("cluster.record_not_shared");
  EXPECT_FALSE(counts_who_leads_to_records());
}

TEST(OrderedTree, IsTheGoldenFile) {
  Tree made(16, 64 << 10);
  grow_golden(made);
  ASSERT_TRUE(made.tree().check());
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / "ordered_snapshot_v1.bin";
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  const auto snapshot = bytes_from({std::istreambuf_iterator<char>(file), {}});
  EXPECT_EQ(made.tree().snapshot(), snapshot);
  Tree restored(16, 64 << 10);
  ASSERT_TRUE(restored.tree().restore(snapshot));
  EXPECT_TRUE(restored.tree().find(base::as_bytes(hard_key(4))));
  EXPECT_FALSE(restored.tree().find(base::as_bytes(hard_key(3))));
}

}  // namespace
}  // namespace dolmen::cluster
