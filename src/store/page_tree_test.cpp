// SPDX-License-Identifier: Apache-2.0
//
// The shape of the tree that checkpoints leave behind, and what it costs on the disk.
#include <string_view>

#include "base/hooks.hpp"
#include "base/sanitizers.hpp"
#include "store/page_test_directory.hpp"

namespace dolmen::store {
namespace {

// Every node's fill and first key, by level.
class Shape final : public TreeVisitor {
 public:
  Result<bool> node(const TreeEntry& where, const NodeView& view) override {
    if (levels.size() <= view.level()) levels.resize(view.level() + 1);
    if (keys.size() <= view.level()) keys.resize(view.level() + 1);
    keys[view.level()].push_back(where.key);
    std::size_t ids = 0;
    for (std::size_t i = 0; i < view.count(); ++i) {
      const bool fresh = i == 0 || view.key(i).object != view.key(i - 1).object;
      if (fresh) ++ids;
    }
    const auto content = static_cast<double>(node_content_bytes(view.count(), ids));
    levels[view.level()].push_back(content / (kNodeBytes - kNodeHeaderBytes));
    blocks.insert(where.loc.unit());
    return true;
  }
  std::vector<std::vector<double>> levels;
  std::vector<std::vector<PageKey>> keys;
  std::set<std::uint64_t> blocks;
};

class PageTreeTest : public PageDirectory, public base::Hooks {
 protected:
  void SetUp() override {
    PageDirectory::SetUp();
    base::install_hooks(this);
  }
  void TearDown() override {
    base::install_hooks(nullptr);
    PageDirectory::TearDown();
  }
  bool buggify(std::string_view site) override { return site == disturbed; }
  void probe(std::string_view site) override { probes.insert(std::string(site)); }
  bool planted(std::string_view bug) override { return bug == planted_bug; }

  Shape shape() {
    auto pages = disk->open(kPagesFile, sys::OpenMode::read_only);
    PageReader reader(pages->get(), kSpace, 1 << 20);
    Shape seen;
    const auto walked = reader.walk(store->root(), seen);
    EXPECT_TRUE(walked) << walked.error().message();
    return seen;
  }
  // Every node but the last of its level is at least 40 % full, less the entry that did not fit.
  void expect_filled_nodes() {
    for (const std::vector<double>& level : shape().levels) {
      for (std::size_t i = 0; i + 1 < level.size(); ++i) ASSERT_GE(level[i], 0.39) << "node " << i;
    }
  }
  CheckpointRequest bulk(std::uint64_t objects, std::uint8_t capacity, std::uint32_t pages) {
    CheckpointRequest request;
    request.source = &source;
    base::Random random(9);
    for (std::uint64_t i = 0; i < objects; ++i) {
      const ObjectId id{random(), random()};
      request.capacity_log2.emplace_back(id, capacity);
      for (std::uint32_t page = 0; page < pages; ++page) request.pages.push_back({id, page});
    }
    return request;
  }

  PatternSource source{1};
  std::string_view disturbed, planted_bug;
  std::set<std::string> probes;
};

TEST_F(PageTreeTest, BulkLoadsFillNodesToTheEnd) {
  checkpoint(bulk(30000, 9, 1));
  const Shape seen = shape();
  ASSERT_EQ(seen.levels.size(), 3u);
  double sum = 0;
  for (const double fill : seen.levels[0]) sum += fill;
  EXPECT_GE(sum / static_cast<double>(seen.levels[0].size()), 0.98);
  expect_filled_nodes();
}

TEST_F(PageTreeTest, OneChangedPageRewritesOnePathAndNothingElse) {
  const CheckpointRequest all = bulk(30000, 9, 1);
  checkpoint(all);
  const Shape before = shape();
  CheckpointRequest one;
  one.source = &source;
  one.pages = {{all.capacity_log2[12345].first, 0}};
  ++source.version;
  checkpoint(one);
  EXPECT_EQ(stats.bytes_written, 512u + 3 * kNodeBytes);
  const Shape after = shape();
  std::size_t shared = 0;
  for (const std::uint64_t block : after.blocks) shared += before.blocks.count(block);
  EXPECT_EQ(shared, before.blocks.size() - 3);
}

TEST_F(PageTreeTest, NodesStayFilledThroughInsertionsAndErasures) {
  for (const std::string_view site :
       {"", "store.tree_nodes_small", "store.checkpoint_write_early"}) {
    disturbed = site;
    PageModel model(5);
    reopen({});
    for (int i = 0; i < 3000; ++i) model.create(9);
    checkpoint(model);
    for (int round = 0; round < 12; ++round) {
      for (int i = 0; i < (round < 6 ? 40 : 400); ++i) model.step();
      // Neighbours go, so that one node is nearly emptied beside untouched ones.
      const ObjectId from = model.some_object();
      for (int i = 0; i < 100; ++i) {
        const auto next = model.classes().lower_bound(from);
        if (next != model.classes().end()) model.erase(next->first);
      }
      checkpoint(model);
      ASSERT_EQ(model.difference(*store), "");
      if (site.empty()) expect_filled_nodes();
    }
    model.erase_most();
    checkpoint(model);
    ASSERT_EQ(model.difference(*store), "");
    if (site.empty()) expect_filled_nodes();
    expect_clean_scrub();
  }
  EXPECT_TRUE(probes.contains("store.node_split"));
  EXPECT_TRUE(probes.contains("store.node_merge"));
  EXPECT_TRUE(probes.contains("store.page_became_sparse"));
}

TEST_F(PageTreeTest, ErasingALargeObjectGivesItsBlocksBack) {
  const CheckpointRequest all = bulk(2, 26, 16384);
  checkpoint(all);
  const auto before = *store->stats();
  EXPECT_LE(static_cast<double>(before.live_bytes), 2 * 16384 * 4096 * 1.012);
  CheckpointRequest erase;
  erase.source = &source;
  erase.erased = {all.capacity_log2[0].first};
  checkpoint(erase);
  EXPECT_EQ(store->stats()->object_count, 1u);
  EXPECT_LT(store->stats()->live_bytes, before.live_bytes / 2 + 65536);
  EXPECT_LE(static_cast<double>(store->stats()->file_bytes_allocated),
            static_cast<double>(store->stats()->live_bytes) * 1.05);
  EXPECT_TRUE(probes.contains("store.large_object_erased"));
  EXPECT_TRUE(probes.contains("store.hole_punched"));
  expect_clean_scrub();
  erase.erased = {all.capacity_log2[1].first};
  checkpoint(erase);
  EXPECT_TRUE(store->root().empty());
  EXPECT_EQ(store->stats()->live_bytes, 0u);
  EXPECT_EQ(std::filesystem::file_size(file()), 0u);
}

TEST_F(PageTreeTest, ALoneChildBecomesTheRoot) {
  const CheckpointRequest all = bulk(40000, 9, 1);
  checkpoint(all);
  std::vector<ObjectId> ids;
  for (const auto& [id, capacity] : all.capacity_log2) ids.push_back(id);
  std::ranges::sort(ids);
  const auto last_part = std::ranges::lower_bound(ids, shape().keys[1].back().object);
  CheckpointRequest erase;
  erase.source = &source;
  // All but one leaf of the last inner node, then everything beside that node.
  erase.erased.assign(last_part, ids.end() - 30);
  checkpoint(erase);
  erase.erased.assign(ids.begin(), last_part);
  checkpoint(erase);
  EXPECT_EQ(shape().levels.size(), 2u);
  EXPECT_FALSE(probes.contains("store.root_shrink"));
  CheckpointRequest touch;
  touch.source = &source;
  touch.pages = {{ids.back(), 0}};
  checkpoint(touch);
  EXPECT_TRUE(probes.contains("store.root_shrink"));
  EXPECT_EQ(shape().levels.size(), 1u);
  EXPECT_EQ(store->root().object_count, 30u);
  expect_clean_scrub();
}

TEST_F(PageTreeTest, RewritingEverythingKeepsTheFileNearTheLiveSize) {
  CheckpointRequest all = bulk(1, 26, 16384);
  checkpoint(all);
  all.capacity_log2.clear();
  for (int round = 0; round < 4; ++round) {
    ++source.version;
    checkpoint(all);
    const auto now = *store->stats();
    EXPECT_LE(static_cast<double>(now.file_bytes_allocated),
              static_cast<double>(now.live_bytes) * 1.05);
  }
  expect_clean_scrub();
}

TEST_F(PageTreeTest, AMillionSmallObjectsTakeLessThan640BytesEach) {
  constexpr std::uint64_t kObjects = base::kSanitized ? 200'000 : 1'000'000;
  checkpoint(bulk(kObjects, 9, 1));
  const auto now = *store->stats();
  const double each = static_cast<double>(now.file_bytes_allocated) / kObjects;
  RecordProperty("bytes_per_object", static_cast<int>(each));
  EXPECT_LE(each, 640.0);
  EXPECT_GE(each, 512.0);
  EXPECT_EQ(now.object_count, kObjects);
}

TEST_F(PageTreeTest, AMergeThatDropsAnEntryIsNoticed) {
  planted_bug = "store.node_merge_drops_entry";
  PageModel model(5);
  for (int i = 0; i < 3000; ++i) model.create(9);
  checkpoint(model);
  bool noticed = false;
  for (int round = 0; round < 20 && !noticed; ++round) {
    const ObjectId from = model.some_object();
    for (int i = 0; i < 100; ++i) {
      const auto next = model.classes().lower_bound(from);
      if (next != model.classes().end()) model.erase(next->first);
    }
    checkpoint(model);
    ScrubReport report;
    ASSERT_TRUE(store->scrub(report));
    noticed = model.difference(*store) != "" || !report.damage.empty();
  }
  EXPECT_TRUE(noticed);
}

}  // namespace
}  // namespace dolmen::store
