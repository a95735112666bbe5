// SPDX-License-Identifier: Apache-2.0
//
// Objects go from the stream through their verification straight into checkpoints of a store that
// nobody can open yet: no log is written of them, and memory holds one object and one batch. Names
// then are an ordinary transaction.
#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/copy.hpp"
#include "node/dump.hpp"
#include "node/object_image.hpp"
#include "node/open_space.hpp"
#include "object/object_header.hpp"
#include "sys/borrowed_disk.hpp"
#include "txn/catalog.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {

namespace {

constexpr std::size_t kNamesPerCommit = 1000;
constexpr std::size_t kNameBytesPerCommit = 4u << 20;

/// Pages of verified objects, by ascending key, and what makes them a checkpoint.
class Batch final : public store::PageSource {
 public:
  explicit Batch(const BatchLimits& limits) noexcept : limits_(limits) {}

  [[nodiscard]] bool full() const noexcept {
    return bytes_.size() >= limits_.bytes || request_.capacity_log2.size() >= limits_.objects;
  }
  [[nodiscard]] bool copies(const ObjectImage& image) const noexcept {
    return image.stored_bytes() <= limits_.copy_bytes_max;
  }

  void add(const ObjectImage& image) {
    bytes_.reserve(limits_.bytes + limits_.copy_bytes_max);
    request_.capacity_log2.emplace_back(image.object().object, image.object().capacity_log2);
    const bool copy = copies(image);
    for (const std::uint32_t page : image.pages()) {
      const base::Bytes contents = image.page(page);
      request_.pages.push_back({image.object().object, page});
      places_.push_back(copy ? bytes_.size() : kInImage);
      if (copy) bytes_.insert(bytes_.end(), contents.begin(), contents.end());
    }
  }

  /// `image` holds the last object that was added.
  Result<void> write(store::Store& store, const ObjectImage& image) {
    if (request_.capacity_log2.empty()) return {};
    image_ = &image;
    request_.as_of = store.last_index();
    request_.source = this;
    DOLMEN_CHECK(store.checkpoint(request_));
    bytes_.clear();
    places_.clear();
    request_ = {};
    return {};
  }

  Result<void> read_page_as_of(const store::PageKey& key, store::Index,
                               base::MutableBytes out) override {
    const auto found = std::ranges::lower_bound(request_.pages, key);
    if (found == request_.pages.end() || *found != key) {
      // A page 0 of zeros: every object has one.
      std::ranges::fill(out, std::byte{0});
      return {};
    }
    const std::size_t place = places_[static_cast<std::size_t>(found - request_.pages.begin())];
    const base::Bytes contents =
        place == kInImage ? image_->page(key.page) : base::Bytes(bytes_).subspan(place, out.size());
    base::copy_bytes(contents, out);
    return {};
  }

 private:
  static constexpr std::size_t kInImage = ~std::size_t{0};

  const BatchLimits limits_;
  store::CheckpointRequest request_;
  std::vector<std::size_t> places_;  // of each page, in bytes_
  std::vector<std::byte> bytes_;
  const ObjectImage* image_ = nullptr;
};

class Loader {
 public:
  Loader(const sys::Env& env, store::ByteSource& source, const Progress& progress,
         const store::CreateOptions& options, const BatchLimits& limits)
      : env_(env),
        reader_(source),
        image_(*env.memory),
        progress_(progress),
        options_(options),
        batch_(limits) {
    options_.unfinished = true;
  }

  Result<DumpSummary> run(const DiskOpener& open_directory) {
    DumpSummary summary;
    DOLMEN_TRY(summary.from, reader_.begin());
    DOLMEN_TRY(disk_, open_directory());
    auto created =
        store::Store::create(env_, std::make_unique<sys::BorrowedDisk>(*disk_), options_);
    const bool not_ours = !created && (created.error().code() == Errc::already_exists ||
                                       created.error().code() == Errc::held);
    unfinished_ = !not_ours;
    if (!created) return std::unexpected(created.error());
    store_ = std::move(*created);
    DOLMEN_TRY(store::DumpItem item, load_objects());
    DOLMEN_TRY(Space space, open_space(env_, std::move(store_), {.background = false},
                                       env_.memory->best_driver()));
    DOLMEN_CHECK(load_names(space, item));
    DOLMEN_CHECK(space.checkpoint());
    DOLMEN_CHECK(space.core().store().finish());
    unfinished_ = false;
    summary.space = space.stats().space_id;
    summary.counts = reader_.counts();
    summary.bytes = reader_.bytes();
    DOLMEN_CHECK(space.close());
    return summary;
  }

  /// After an error. Where this fails too, the directory says that it is unfinished.
  void clean_up() {
    store_.reset();
    if (unfinished_) (void)store::Store::remove_unfinished(env_, *disk_);
  }

 private:
  Result<store::DumpItem> next() {
    auto item = reader_.next();
    if (progress_) progress_(reader_.bytes(), 0);
    return item;
  }

  /// Gives the first item that is no object's.
  Result<store::DumpItem> load_objects() {
    DOLMEN_TRY(store::DumpItem item, next());
    while (item.kind == store::DumpItem::Kind::object) {
      const std::uint64_t at = reader_.position();
      DOLMEN_CHECK(image_.begin(item.object));
      DOLMEN_TRY(item, next());
      while (item.kind == store::DumpItem::Kind::pages) {
        const std::size_t bytes = item.contents.size() / item.page_count;
        for (std::uint32_t i = 0; i < item.page_count; ++i) {
          image_.add_page(item.first_page + i, item.contents.subspan(i * bytes, bytes));
        }
        DOLMEN_TRY(item, next());
      }
      DOLMEN_CHECK(take_object(at));
    }
    DOLMEN_CHECK(batch_.write(*store_, image_));
    return item;
  }

  Result<void> take_object(std::uint64_t at) {
    const auto sound = verify_object();
    if (!sound) {
      return fail(sound.error().code(),
                  interned("dump, byte " + std::to_string(at) + ": object " +
                           image_.object().object.to_string() + ", " +
                           std::string(sound.error().context())),
                  sound.error().detail());
    }
    batch_.add(image_);
    // What was not copied must be written while the image holds it.
    if (!batch_.full() && batch_.copies(image_)) return {};
    return batch_.write(*store_, image_);
  }

  [[nodiscard]] Result<void> verify_object() const {
    DOLMEN_CHECK(image_.verify());
    const auto header = object::load_header(image_.page(0).data());
    // Names are a part of the dump of their own; the new space has an object of its own for them.
    if ((header.flags & object::kCatalog) != 0) return fail(Errc::corrupt, "the names of a space");
    return {};
  }

  Result<void> load_names(Space& space, store::DumpItem item) {
    const Object<txn::Catalog> catalog(space.core().catalog_id());
    std::vector<std::pair<std::string, txn::CatalogEntry>> names;
    std::size_t bytes = 0;
    const auto commit = [&]() -> Result<void> {
      const TransactOptions deferred{.durability = Durability::deferred};
      DOLMEN_CHECK(space.transact(deferred, catalog, [&](mut<txn::Catalog> c) {
        for (const auto& [name, entry] : names) c->by_name.insert_or_assign(string(name), entry);
      }));
      names.clear();
      bytes = 0;
      return {};
    };
    for (; item.kind == store::DumpItem::Kind::name;) {
      DOLMEN_TRY(const std::uint32_t tag, root_type(space, item.object.object));
      names.emplace_back(item.name, txn::CatalogEntry{item.object.object, tag});
      bytes += item.name.size();
      if (names.size() == kNamesPerCommit || bytes >= kNameBytesPerCommit) DOLMEN_CHECK(commit());
      DOLMEN_TRY(item, next());
    }
    return commit();
  }

  /// Without mapping the object: there may be many names, and a mapping has its price.
  Result<std::uint32_t> root_type(Space& space, const ObjectId& id) {
    store::Store& store = space.core().store();
    DOLMEN_TRY(const auto info, store.find(id));
    if (!info || id == space.core().catalog_id()) {
      return reader_.damaged("a name of no object in the dump");
    }
    std::array<std::byte, store::kPageBytes> page;
    const std::size_t bytes = store::page_bytes(info->capacity_log2);
    DOLMEN_CHECK(store.read_page({id, 0}, base::MutableBytes(page).first(bytes)));
    return object::load_header(page.data()).root_type;
  }

  const sys::Env& env_;
  std::unique_ptr<sys::Disk> disk_;
  store::DumpReader reader_;
  ObjectImage image_;
  const Progress& progress_;
  store::CreateOptions options_;
  std::unique_ptr<store::Store> store_;
  Batch batch_;
  bool unfinished_ = false;
};

}  // namespace

Result<DumpSummary> load(const sys::Env& env, store::ByteSource& source,
                         const DiskOpener& open_directory, const Progress& progress,
                         const store::CreateOptions& options, const BatchLimits& limits) {
  Loader loader(env, source, progress, options, limits);
  auto loaded = loader.run(open_directory);
  if (!loaded) loader.clean_up();
  return loaded;
}

}  // namespace dolmen::node
