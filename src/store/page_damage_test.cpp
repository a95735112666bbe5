// SPDX-License-Identifier: Apache-2.0
//
// Damaged and forged page files: an error that names the place, never wrong bytes, never an endless
// walk.
#include <array>
#include <fstream>
#include <numeric>

#include "base/checksum.hpp"
#include "base/hooks.hpp"
#include "store/page_test_directory.hpp"

namespace dolmen::store {
namespace {

class PageDamageTest : public PageDirectory, public base::Hooks {
 protected:
  bool buggify(std::string_view) override { return false; }
  void probe(std::string_view site) override { probes.insert(std::string(site)); }
  bool planted(std::string_view bug) override { return bug == planted_bug; }

  void patch(std::uint64_t offset, base::Bytes bytes) {
    auto pages = disk->open(kPagesFile, sys::OpenMode::read_write);
    ASSERT_TRUE((*pages)->write(offset, bytes));
  }
  void flip(std::uint64_t offset) {
    auto pages = disk->open(kPagesFile, sys::OpenMode::read_write);
    std::byte byte{};
    ASSERT_EQ(*(*pages)->read(offset, {&byte, 1}), 1u);
    byte ^= std::byte{0x10};
    ASSERT_TRUE((*pages)->write(offset, {&byte, 1}));
  }
  // A node at this block, with a true checksum; gives the entry that leads to it.
  TreeEntry forge(std::uint64_t unit, unsigned level, const std::vector<TreeEntry>& entries) {
    NodeFrame frame;
    encode_node(entries, level, frame);
    patch(unit * kUnitBytes, frame);
    return {entries.front().key,
            {unit, kNodeSizeLog2, 0},
            base::checksum64(frame, node_seed(kSpace, level))};
  }
  void reopen_at(const TreeEntry& top, unsigned level) {
    reopen({BlockLoc(top.loc.unit(), kNodeSizeLog2, level).packed(), top.checksum, 1, 1});
  }
  Errc walk_error() {
    const auto walked = store->for_each_object([](const ObjectInfo&) { return true; });
    return walked ? Errc{} : walked.error().code();
  }
  std::size_t damage_count() {
    ScrubReport report;
    EXPECT_TRUE(store->scrub(report));
    return report.damage.size();
  }

  std::string_view planted_bug;
  std::set<std::string> probes;
};

TEST_F(PageDamageTest, AFlippedBitInAnyBlockIsFoundByScrubAndNeverReturned) {
  PageModel model(1);
  for (int i = 0; i < 40; ++i) model.step();
  const TreeRoot root = checkpoint(model);
  std::map<PageKey, std::vector<std::byte>> contents = model.pages();
  for (const auto& [id, capacity] : model.classes()) {
    contents.try_emplace({id, 0}, page_bytes(capacity));
  }
  const std::uint64_t units = std::filesystem::file_size(file()) / kUnitBytes;
  std::uint64_t found = 0;
  for (std::uint64_t unit = 0; unit < units; ++unit) {
    const std::uint64_t offset = unit * kUnitBytes + model.random().below(kUnitBytes);
    flip(offset);
    reopen(root);
    // Free units may hold anything. Every unit is live in this first checkpoint, except fillings.
    ScrubReport report;
    ASSERT_TRUE(store->scrub(report));
    ASSERT_LE(report.damage.size(), 1u);
    bool refused = false;
    for (const auto& [key, expected] : contents) {
      std::vector<std::byte> page(expected.size(), std::byte{1});
      const auto read = store->read_page(key, page);
      if (read) {
        ASSERT_EQ(page, expected) << "wrong bytes of " << describe(key);
        continue;
      }
      ASSERT_EQ(read.error().code(), Errc::corrupt);
      ASSERT_EQ(page, std::vector<std::byte>(page.size()));
      refused = true;
      if (!report.damage.empty() && report.damage[0].page == key) {
        ASSERT_NE(read.error().context().find(describe(key)), std::string_view::npos);
        ASSERT_NE(read.error().context().find(report.damage[0].where), std::string_view::npos);
      }
    }
    ASSERT_EQ(refused, !report.damage.empty());
    found += report.damage.size();
    flip(offset);
  }
  EXPECT_EQ(found, root.live_blocks);
}

TEST_F(PageDamageTest, ADamagedPageIsNotReadWithItsNeighboursEither) {
  PageModel model(1);
  const ObjectId id = model.create(16);
  for (std::uint32_t page = 1; page < 16; ++page) model.write({id, page});
  checkpoint(model);
  std::vector<std::uint32_t> pages(16);
  std::iota(pages.begin(), pages.end(), 0u);
  std::vector<std::byte> out(pages.size() * 4096);
  ASSERT_TRUE(store->read_pages(id, pages, 4096, 4096, out));
  for (std::uint64_t block = 0; block < 16; ++block) {
    const std::uint64_t offset = block * 4096 + model.random().below(4096);
    flip(offset);
    const auto read = store->read_pages(id, pages, 4096, 4096, out);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code(), Errc::corrupt);
    std::vector<std::byte> page(4096);
    std::size_t damaged = 0;
    for (const std::uint32_t number : pages)
      damaged += store->read_page({id, number}, page) ? 0 : 1;
    EXPECT_EQ(damaged, 1u);
    flip(offset);
  }
  // The tree is remembered, and half of the pages are gone.
  std::filesystem::resize_file(file(), 8 * 4096);
  const auto read = store->read_pages(id, pages, 4096, 4096, out);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), Errc::corrupt);
}

TEST_F(PageDamageTest, ASkippedChecksumWouldReturnWrongBytes) {
  PageModel model(1);
  const ObjectId id = model.create(13);
  model.write({id, 1});
  checkpoint(model);
  flip(100);
  flip(4196);
  std::vector<std::byte> page(4096);
  EXPECT_FALSE(store->read_page({id, 0}, page));
  base::install_hooks(this);
  planted_bug = "store.page_checksum_unchecked";
  EXPECT_NE(model.difference(*store), "");
  std::vector<std::byte> both(2 * 4096);
  EXPECT_TRUE(store->read_pages(id, std::array{0u, 1u}, 4096, 4096, both));
  base::install_hooks(nullptr);
}

TEST_F(PageDamageTest, AMisdirectedWriteIsNotTakenForThePageItHit) {
  PageModel model(1);
  const ObjectId a = model.create(12), b = model.create(12);
  checkpoint(model);
  std::vector<std::byte> page(4096);
  ASSERT_TRUE(store->read_page({a, 0}, page));
  // Both pages lie in the first two frames; the whole of one over the other.
  patch(0, page);
  patch(4096, page);
  EXPECT_TRUE(store->read_page({a, 0}, page));
  EXPECT_EQ(store->read_page({b, 0}, page).error().code(), Errc::corrupt);
  EXPECT_EQ(damage_count(), 1u);
}

TEST_F(PageDamageTest, ATruncatedFileIsCorruptNotShort) {
  PageModel model(1);
  for (int i = 0; i < 100; ++i) model.step();
  const TreeRoot root = checkpoint(model);
  std::filesystem::resize_file(file(), std::filesystem::file_size(file()) / 2);
  reopen(root);
  EXPECT_EQ(walk_error(), Errc::corrupt);
  EXPECT_GT(damage_count(), 0u);
}

TEST_F(PageDamageTest, DamageElsewhereStopsNeitherReadingNorCheckpointsNorReusesAnything) {
  base::install_hooks(this);
  PatternSource source(1);
  CheckpointRequest request;
  request.source = &source;
  for (std::uint64_t i = 1; i <= 1000; ++i) {
    request.capacity_log2.emplace_back(ObjectId{i, 1}, std::uint8_t{9});
  }
  const TreeRoot first = checkpoint(request);
  // The leaf of object 1 is the first that is written behind its 113 pages.
  std::vector<std::byte> page(512);
  std::uint64_t offset = 0;
  for (std::uint64_t at = 0; at < std::filesystem::file_size(file()) && offset == 0; at += 4096) {
    std::uint32_t magic = 0;
    std::ifstream pages(file(), std::ios::binary);
    pages.seekg(static_cast<std::streamoff>(at));
    char raw[4];
    pages.read(raw, 4);
    std::memcpy(&magic, raw, 4);
    if (magic == 0x4E545044) offset = at;
  }
  flip(offset + 99);
  reopen(first);
  EXPECT_EQ(store->read_page({{1, 1}, 0}, page).error().code(), Errc::corrupt);
  CheckpointRequest change;
  change.source = &source;
  change.pages = {{{1000, 1}, 0}};
  for (int round = 0; round < 20; ++round) {
    ++source.version;
    checkpoint(change);
  }
  EXPECT_TRUE(probes.contains("store.free_space_unknown"));
  EXPECT_TRUE(*store->read_page({{1000, 1}, 0}, page));
  EXPECT_EQ(base::load<std::uint64_t>(page, 24), 21u);
  // Repairing the node brings back all that was below it.
  flip(offset + 99);
  EXPECT_TRUE(*store->read_page({{1, 1}, 0}, page));
  change.pages = {{{1, 1}, 0}};
  checkpoint(change);
  expect_clean_scrub();
  base::install_hooks(nullptr);
}

TEST_F(PageDamageTest, ForgedTreesGiveErrorsAndEveryWalkEnds) {
  std::vector<std::byte> zeros(4096 * 16);
  patch(0, zeros);
  const ObjectId a{1, 1}, b{2, 1}, c{3, 1};
  const std::uint64_t zero_page =
      base::checksum64(base::Bytes(zeros).first(512), page_seed(kSpace, {a, 0}));
  const TreeEntry page{{a, 0}, {0, 0, 9}, zero_page};
  const TreeEntry leaf = forge(8, 0, {page});
  reopen_at(leaf, 0);
  EXPECT_EQ(walk_error(), Errc{});

  // One node below two keys: sharing would make a walk's length exponential.
  TreeEntry shared = leaf;
  shared.key = {b, 0};
  reopen_at(forge(16, 1, {leaf, shared}), 1);
  EXPECT_EQ(walk_error(), Errc::corrupt);
  std::vector<std::byte> out(512);
  EXPECT_EQ(store->read_page({b, 0}, out).error().code(), Errc::corrupt);
  EXPECT_GT(damage_count(), 0u);

  // A node used at another level than its own.
  reopen_at(forge(24, 2, {leaf}), 2);
  EXPECT_EQ(walk_error(), Errc::corrupt);
  reopen_at(leaf, 3);
  EXPECT_EQ(walk_error(), Errc::corrupt);

  // Keys that belong to the next node.
  TreeEntry far = page;
  far.key = {c, 0};
  const TreeEntry wide = forge(32, 0, {page, far});
  TreeEntry second = forge(40, 0, {TreeEntry{{b, 0}, {1, 0, 9}, 0}});
  reopen_at(forge(48, 1, {wide, second}), 1);
  EXPECT_EQ(walk_error(), Errc::corrupt);

  // A block beyond the end of the file, and a block with two users.
  TreeEntry outside = page;
  outside.loc = BlockLoc((std::uint64_t{1} << 40) - 1, 0, 9);
  reopen_at(forge(56, 0, {outside}), 0);
  EXPECT_EQ(store->read_page({a, 0}, out).error().code(), Errc::corrupt);
  EXPECT_GT(damage_count(), 0u);
  far.checksum = base::checksum64(base::Bytes(zeros).first(512), page_seed(kSpace, far.key));
  reopen_at(forge(64, 0, {page, far}), 0);
  EXPECT_GT(damage_count(), 0u);

  // Roots that name nothing.
  for (const std::uint64_t loc :
       {~std::uint64_t{0}, std::uint64_t{5}, BlockLoc(8, 3, 20).packed()}) {
    reopen({loc, 0, 1, 1});
    EXPECT_EQ(walk_error(), Errc::corrupt);
    EXPECT_EQ(store->find(a).error().code(), Errc::corrupt);
    EXPECT_GT(damage_count(), 0u);
  }
}

}  // namespace
}  // namespace dolmen::store
