// SPDX-License-Identifier: Apache-2.0
#include "store/page_scrub.hpp"

#include "store/block_map.hpp"
#include "store/page_store.hpp"

namespace dolmen::store {
namespace {

class Scrubber final : public TreeVisitor {
 public:
  Scrubber(PageReader& reader, const TreeRoot& root, std::uint64_t file_bytes, ScrubReport& report,
           const std::function<void(std::uint64_t, std::uint64_t)>& progress)
      : reader_(reader), root_(root), map_(file_bytes), report_(report), progress_(progress) {}

  Result<bool> node(const TreeEntry& where, const NodeView& view) override {
    verified("tree node", where);
    if (view.level() > 0) return true;
    for (std::size_t i = 0; i < view.count(); ++i) page(view.entry(i));
    if (progress_) progress_(units_, root_.live_blocks);
    return true;
  }

  Result<void> damaged(const TreeEntry& where, unsigned /*level*/, const Error& error) override {
    incomplete_ = true;
    note("tree node", where, error);
    return {};
  }

  void check_totals() {
    if (incomplete_ || (units_ == root_.live_blocks && objects_ == root_.object_count)) return;
    report_.damage.push_back({"page tree", "pages file: the root's counts are wrong", {}, {}});
  }

 private:
  void page(const TreeEntry& entry) {
    if (entry.key.page == 0) ++objects_;
    const base::MutableBytes out = base::MutableBytes(page_).first(entry.loc.bytes());
    if (const Result<void> read = reader_.read_page(entry, out); !read) {
      units_ += entry.loc.units();
      note("page", entry, read.error());
    } else {
      verified("page", entry);
    }
  }

  void verified(const char* what, const TreeEntry& entry) {
    units_ += entry.loc.units();
    ++report_.blocks_verified;
    report_.bytes_verified += entry.loc.bytes();
    if (!map_.mark(entry.loc)) add(what, entry, describe(entry.loc) + ": has two users");
  }

  void note(const char* what, const TreeEntry& entry, const Error& error) {
    std::string where = describe(entry.loc);
    if (error.code() != Errc::corrupt) where += " (" + std::string(error.name()) + ")";
    add(what, entry, std::move(where));
  }

  void add(const char* what, const TreeEntry& entry, std::string where) {
    report_.damage.push_back(
        {.what = what,
         .where = std::move(where),
         .page = entry.key,
         .place = Damage::Place{std::string(kPagesFile), entry.loc.offset(), entry.loc.bytes()}});
  }

  PageReader& reader_;
  const TreeRoot& root_;
  BlockMap map_;
  ScrubReport& report_;
  const std::function<void(std::uint64_t, std::uint64_t)>& progress_;
  NodeFrame page_;
  std::uint64_t units_ = 0;
  std::uint64_t objects_ = 0;
  bool incomplete_ = false;
};

}  // namespace

Result<void> scrub_pages(PageReader& reader, const TreeRoot& root, std::uint64_t file_bytes,
                         ScrubReport& report,
                         const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  Scrubber scrubber(reader, root, file_bytes, report, progress);
  // A root that names no node is damage like any other.
  if (const Result<void> walked = reader.walk(root, scrubber, NodeSource::disk); !walked) {
    if (walked.error().code() != Errc::corrupt) return walked;
    report.damage.push_back({"page tree", std::string(walked.error().context()), {}, {}});
    return {};
  }
  scrubber.check_totals();
  return {};
}

}  // namespace dolmen::store
