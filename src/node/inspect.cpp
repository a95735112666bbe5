// SPDX-License-Identifier: Apache-2.0
#include "node/inspect.hpp"

#include <algorithm>

#include "object/fot.hpp"
#include "txn/types.hpp"
#include "txn/view_core.hpp"

namespace dolmen::node {

namespace {

/// What a view read stays in memory as long as the view.
constexpr std::uint64_t kLookedAtBytesMax = 256u << 20;

StoredDamage told(const store::Damage& damage) {
  StoredDamage result;
  result.what = damage.what;
  result.where = damage.where;
  if (damage.page) {
    const std::string page = "page " + std::to_string(damage.page->page) + " of object " +
                             damage.page->object.to_string();
    result.where +=
        damage.what == "page" ? " (" + page + ")" : " (leads to pages from " + page + " on)";
    result.object = damage.page->object;
    result.page = damage.page->page;
  }
  if (damage.place) {
    result.where += ", byte " + std::to_string(damage.place->offset) + " of " + damage.place->file;
    result.file = damage.place->file;
    result.offset = damage.place->offset;
    result.bytes = damage.place->bytes;
  }
  return result;
}

}  // namespace

Result<ScrubSummary> scrub(Space& space, const Progress& progress) {
  DOLMEN_TRY(const store::ScrubReport report, space.core().store().scrub(progress));
  ScrubSummary summary{report.blocks_verified, report.bytes_verified, report.records_verified, {}};
  for (const store::Damage& damage : report.damage) summary.damage.push_back(told(damage));
  return summary;
}

Result<Explorer> Explorer::make(Space& space) {
  DOLMEN_TRY(View view, space.view());
  auto names = view.names();
  // A space whose creation was cut short has no catalog yet; a damaged one can still be explored.
  std::vector<NameEntry> entries;
  if (names) entries = std::move(*names);
  if (!names && names.error().code() != Errc::not_found && names.error().code() != Errc::corrupt) {
    return std::unexpected(names.error());
  }
  std::ranges::sort(entries, {}, &NameEntry::name);
  return Explorer(space, std::move(view), std::move(entries));
}

Result<std::vector<ObjectId>> Explorer::objects() {
  return space_->core().all_objects(view_.index());
}

Result<ObjectId> Explorer::find(std::string_view name_or_id) const {
  const auto found = std::ranges::find(names_, name_or_id, &NameEntry::name);
  if (found != names_.end()) return found->object;
  if (const auto id = ObjectId::parse(name_or_id)) return *id;
  return fail(Errc::not_found, interned("object '" + std::string(name_or_id) + "'"));
}

Result<Explorer::Image> Explorer::image(const ObjectId& id) {
  auto mapped = view_.core().map(id);
  if (!mapped) {
    if (mapped.error().code() != Errc::not_found) return std::unexpected(mapped.error());
    return fail(Errc::not_found, interned("object " + id.to_string()));
  }
  const detail::ViewObject& object = **mapped;
  return Image{object.base, detail::mapping_of(object.base).capacity_log2};
}

Result<void> Explorer::let_go() {
  // A reader's commits do not move: another view shows the same one.
  if (!space_->core().options().read_only || looked_at_bytes_ < kLookedAtBytesMax) return {};
  looked_at_bytes_ = 0;
  DOLMEN_TRY(view_, space_->view());
  return {};
}

bool Explorer::damaged(const ObjectId& id) {
  const auto mapped = view_.core().map(id);
  return !mapped || (*mapped)->damaged.load(std::memory_order_acquire) ||
         (*mapped)->home->damaged();
}

Result<ObjectFacts> Explorer::facts(const ObjectId& id) {
  DOLMEN_TRY(const Image image, this->image(id));
  const object::HeapReader heap(image.base, image.capacity_log2);
  const object::ObjectHeader header = object::load_header(image.base);
  ObjectFacts facts;
  facts.id = id;
  facts.capacity = std::uint64_t{1} << image.capacity_log2;
  facts.internal = (header.flags & (object::kCatalog | object::kTypeDescription)) != 0;
  if (const auto stats = heap.stats()) {
    facts.allocations = stats->allocations;
    facts.allocated_bytes = stats->allocated_bytes;
  }
  for (std::uint32_t i = 1; i <= object::fot_count(heap); ++i) {
    facts.foreign += object::fot_entry(heap, i) ? 1 : 0;
  }
  facts.type = "(unknown)";
  if (header.root_type == txn::kTypeBytesTag) {
    facts.type = "(description of a type)";
  } else if (const auto type = txn::type_description(space_->core(), header.root_type)) {
    facts.type = (*type)->types[0].name;
  }
  if (damaged(id)) return fail(Errc::corrupt, interned("object " + id.to_string()));
  return facts;
}

Result<Value> Explorer::value(const ObjectId& id, std::uint64_t offset, const ValueLimits& limits) {
  DOLMEN_TRY(const Image image, this->image(id));
  const object::HeapReader heap(image.base, image.capacity_log2);
  const object::ObjectHeader header = object::load_header(image.base);
  const auto place = heap.at(offset == 0 ? header.root_offset : offset);
  if (damaged(id)) return fail(Errc::corrupt, interned("object " + id.to_string()));
  if (!place) return fail(Errc::out_of_bounds, interned("object " + id.to_string()), offset);
  object::TypeDescription bytes;  // for tags that are the space's own
  std::shared_ptr<const object::TypeDescription> described;
  const object::TypeDescription* types = &bytes;
  if (place->type_tag < object::kFirstUserTag) {
    bytes.types.emplace_back();
    bytes.types[0].kind = TypeKind::byte;
    bytes.types[0].size = 1;
  } else {
    DOLMEN_TRY(described, txn::type_description(space_->core(), place->type_tag));
    types = described.get();
  }
  ValueReader reader(heap, id, *types, limits);
  auto value = place->type_tag < object::kFirstUserTag
                   ? reader.read_many(0, place->offset, place->bytes)
               : place->is_array ? reader.read_many(0, place->offset, place->count)
                                 : reader.read(0, place->offset);
  if (damaged(id)) return fail(Errc::corrupt, interned("object " + id.to_string()));
  return value;
}

Result<std::vector<ObjectId>> Explorer::references(const ObjectId& id) {
  DOLMEN_TRY(const Image image, this->image(id));
  const object::HeapReader heap(image.base, image.capacity_log2);
  std::vector<ObjectId> targets;
  for (std::uint32_t i = 1; i <= object::fot_count(heap); ++i) {
    if (const auto target = object::fot_entry(heap, i)) targets.push_back(*target);
  }
  if (damaged(id)) return fail(Errc::corrupt, interned("object " + id.to_string()));
  return targets;
}

}  // namespace dolmen::node
