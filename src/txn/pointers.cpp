// SPDX-License-Identifier: Apache-2.0
//
// What the inline dereference does not settle: first use of a FOT index, scopes, checks, and
// turning addresses back into pointers. Translation tables grow under table_mutex_ and are read
// without it.
#include <algorithm>
#include <cstring>
#include <string>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "object/fot.hpp"
#include "object/heap.hpp"
#include "object/type_query.hpp"
#include "txn/space_core.hpp"
#include "txn/txn_log.hpp"
#include "txn/types.hpp"
#include "txn/view_core.hpp"

namespace dolmen::detail {

using txn::HomeObject;

namespace {

std::uintptr_t number(const void* address) noexcept {
  return reinterpret_cast<std::uintptr_t>(address);
}

object::HeapReader reader_of(const Mapping& mapping, std::uintptr_t base) noexcept {
  return object::HeapReader(reinterpret_cast<const std::byte*>(base), mapping.capacity_log2);
}

/// The mapping that holds an arena address, if it is a live one.
Mapping* live_mapping(std::uintptr_t address) noexcept {
  if (!in_arena(address) || class_of(address) < kMinClass || class_of(address) > kMaxClass) {
    return nullptr;
  }
  Mapping& mapping = mapping_of(address);
  return mapping.kind == 0 ? nullptr : &mapping;
}

/// A transient pointer. `look`: it must not be followed without a look at its scope.
std::uint64_t transient_bits(std::uintptr_t address, bool look, bool stamped) noexcept {
  std::uint64_t stamp = 0;
  if (stamped) {
    if (const Mapping* mapping = live_mapping(address)) {
      stamp = (mapping->kind == 2 ? mapping->view_stamp : ambient.section_stamp) & kStampMask;
    }
  }
  if (!look && stamp == 0 && is_plain_transient(address)) return address;
  return kStampedTag | stamp << kStampShift | address;
}

/// Whether following a pointer to this address needs no further check of scope.
bool in_scope(std::uintptr_t address) noexcept {
  const Mapping* mapping = live_mapping(address);
  if (mapping == nullptr || mapping->kind == 2) return true;
  const Section* section = current_section();
  if (section == nullptr || section->core != mapping->space) return false;
  if (ambient.kind == SectionKind::read_all) return true;
  const auto* object = static_cast<const HomeObject*>(mapping->record);
  if (section->transaction != nullptr) return section->transaction->holds(*object);
  for (const HomeObject* open : *section->open) {
    if (open == object) return true;
  }
  return false;
}

void require_scope(std::uintptr_t address, const void* place, TypeOf type = nullptr) {
  Mapping* mapping = live_mapping(address);
  if (mapping == nullptr || mapping->kind == 2) return;
  Section* section = current_section();
  if (section == nullptr) throw_error(Errc::not_named, describe_pointer(place, type));
  if (section->core != mapping->space)
    throw_error(Errc::wrong_space, describe_pointer(place, type));
  auto& object = *static_cast<HomeObject*>(mapping->record);
  section->core->require_in_scope(*section, object, place, type);
}

/// Whether a transient pointer was made in this section, or in the view that it leads into.
bool is_fresh(std::uint64_t bits) noexcept {
  const std::uint64_t stamp = bits >> kStampShift & kStampMask;
  if (stamp == 0) return true;  // code without checks made it
  const Mapping* mapping = live_mapping(bits & kAddressMask);
  if (mapping == nullptr) return false;
  return stamp == ((mapping->kind == 2 ? mapping->view_stamp : ambient.section_stamp) & kStampMask);
}

bool is_transient(std::uint64_t bits) noexcept { return !is_foreign(bits) && bits > kOffsetMask; }

}  // namespace

void SpaceCore::invalidate_tables() {
  static constinit std::atomic<std::uint64_t> next{2};  // of the process: versions of spaces differ
  table_version_.store(next.fetch_add(1, std::memory_order_relaxed), std::memory_order_release);
}

std::uintptr_t SpaceCore::cell(const std::byte* slot, std::uint32_t index) noexcept {
  if (index == 0) return 0;
  if (index < kNearIndices) {
    return translation_of(slot).words[index].load(std::memory_order_acquire);
  }
  const Mapping& mapping = mapping_of(slot);
  if (index >= mapping.table_size.load(std::memory_order_acquire)) return 0;
  return __atomic_load_n(mapping.table.load(std::memory_order_relaxed) + index, __ATOMIC_ACQUIRE);
}

void SpaceCore::set_cell(const std::byte* slot, std::uint32_t index, std::uintptr_t base) {
  const base::Lock guard(table_mutex_);
  store_cell(slot, index, base);
}

void SpaceCore::store_cell(const std::byte* slot, std::uint32_t index, std::uintptr_t base) {
  if (index < kNearIndices) {
    translation_of(slot).words[index].store(base, std::memory_order_release);
    return;
  }
  Mapping& mapping = mapping_of(slot);
  const std::uint32_t size = mapping.table_size.load(std::memory_order_relaxed);
  const std::uintptr_t* table = mapping.table.load(std::memory_order_relaxed);
  if (index < size) {
    __atomic_store_n(const_cast<std::uintptr_t*>(table) + index, base, __ATOMIC_RELEASE);
    return;
  }
  if (base == 0) return;
  std::uint32_t grown = std::max(size * 2, kNearIndices * 2);
  while (grown <= index) grown *= 2;
  auto* bigger = new std::uintptr_t[grown]();
  for (std::uint32_t i = 0; i < size; ++i) {
    bigger[i] = __atomic_load_n(table + i, __ATOMIC_RELAXED);
  }
  bigger[index] = base;
  // Readers load the size first, then the table: a new size implies the new table.
  mapping.table.store(bigger, std::memory_order_release);
  mapping.table_size.store(grown, std::memory_order_release);
  if (table != nullptr && mapping.kind == 2) {
    static_cast<ViewObject*>(mapping.record)
        ->retired_tables.emplace_back(const_cast<std::uintptr_t*>(table));
  } else if (table != nullptr) {
    retired_tables_.emplace_back(const_cast<std::uintptr_t*>(table));  // a reader may be in it
  }
}

void SpaceCore::revalidate(Mapping& mapping) {
  const std::uint64_t version = table_version();
  const std::byte* slot = static_cast<const HomeObject*>(mapping.record)->base;
  const object::HeapReader heap = reader_of(mapping, number(slot));
  const auto table_size = [&] {
    return std::max(kNearIndices, mapping.table_size.load(std::memory_order_acquire));
  };
  std::vector<std::uintptr_t> sound(table_size());
  for (std::uint32_t index = 1; index < sound.size(); ++index) {
    const std::uintptr_t base = cell(slot, index);
    if (base == 0) continue;
    // Asked by id: what the cell leads to may be in other use by now.
    const auto entry = object::fot_entry(heap, index);
    const HomeObject* target = entry ? find_mapped(*entry) : nullptr;
    if (target != nullptr && number(target->base) == base) sound[index] = base;
  }
  const base::Lock guard(table_mutex_);
  auto& stamp = translation_of(slot).stamp();
  if (stamp.load(std::memory_order_relaxed) >= version) return;
  const std::uint32_t size = table_size();
  for (std::uint32_t index = 1; index < size; ++index) {
    const std::uintptr_t base = cell(slot, index);
    const bool keep = index < sound.size() && sound[index] == base;
    if (base != 0 && !keep) store_cell(slot, index, 0);
  }
  stamp.store(version, std::memory_order_release);
}

/// Remembers what was looked up while the table's stamp was `stamp`. Others may have validated the
/// table since then, after the target went or moved: then nobody would look at the cell again.
void SpaceCore::remember_cell(const std::byte* slot, std::uint32_t index, std::uintptr_t base,
                              std::uint64_t stamp) {
  const base::Lock guard(table_mutex_);
  if (translation_of(slot).stamp().load(std::memory_order_relaxed) != stamp) return;
  store_cell(slot, index, base);
}

std::uintptr_t SpaceCore::follow(Mapping& mapping, std::uint32_t index, const void* place,
                                 bool scope) {
  const auto* slot = reinterpret_cast<const std::byte*>(base_of(place));
  const auto entry_id = [&] {
    const auto entry = object::fot_entry(reader_of(mapping, number(slot)), index);
    if (!entry) throw_error(Errc::out_of_bounds, describe_place(place), index);
    return *entry;
  };
  const auto require = [&](const auto& target, const ObjectId& id) {
    if (target) return;
    const Errc code = target.error().code();
    throw_error(code == Errc::not_found ? Errc::deleted : code, describe_place(place), id.low);
  };
  if (mapping.kind == 2) {
    const ObjectId id = entry_id();
    const auto target = static_cast<ViewObject*>(mapping.record)->view->map(id);
    require(target, id);
    set_cell(slot, index, number((*target)->base));
    return number((*target)->base);
  }
  const auto& stamp = translation_of(slot).stamp();
  if (stamp.load(std::memory_order_acquire) < table_version()) revalidate(mapping);
  const std::uint64_t stamped = stamp.load(std::memory_order_acquire);
  std::uintptr_t base = cell(slot, index);
  if (base == 0) {
    const ObjectId id = entry_id();
    const auto target = home(id);
    require(target, id);
    base = number((*target)->base);
    DOLMEN_STEP("txn.target_looked_up");
    remember_cell(slot, index, base, stamped);
  }
  if (scope) require_scope(base, place);
  const auto& target = *static_cast<HomeObject*>(mapping_of(base).record);
  if (is_gone(target, current_transaction())) {
    throw_error(Errc::deleted, describe_place(place), target.id().low);
  }
  return base;
}

namespace {

/// Address that pointer bits stored at `at` lead to; it lies in the object that they mean. `scope`:
/// the target will be looked at.
std::uintptr_t locate(std::uint64_t bits, const void* at, bool scope, TypeOf type = nullptr) {
  if (is_transient(bits)) {
    // Objects hold offsets and foreign pointers only: somebody stored an address past ptr<T>.
    if (in_arena(at)) throw_error(Errc::outside_arena, describe_place(at), bits & kAddressMask);
    if (is_plain_transient(bits)) return bits;
    if (!is_fresh(bits)) throw_error(Errc::stale_pointer, describe_pointer(at, type));
    const std::uintptr_t address = bits & kAddressMask;
    if (scope) require_scope(address, at, type);
    return address;
  }
  Mapping* mapping = live_mapping(number(at));
  if (mapping == nullptr) throw_error(Errc::outside_arena, "a stored pointer was copied bytewise");
  std::uintptr_t base = base_of(at);
  if (is_foreign(bits)) {
    auto& core = *static_cast<SpaceCore*>(mapping->space);
    base = core.follow(*mapping, fot_index(bits), at, scope);
  }
  const std::uint64_t offset = bits & kOffsetMask;
  if (offset >> mapping_of(base).capacity_log2 != 0) {
    throw_error(Errc::out_of_bounds, describe_place(at), offset);
  }
  return base + offset;
}

}  // namespace

void check_target(SpaceCore& core, const object::HeapReader& heap, std::uint64_t offset,
                  TypeOf type_of, const void* place) {
  const TypeInfo& type = type_of();
  const auto allocation = heap.at(offset);
  if (!allocation || allocation->type_tag < object::kFirstUserTag ||
      offset + type.size > std::uint64_t{allocation->offset} + allocation->bytes) {
    throw_error(Errc::out_of_bounds, describe_pointer(place, type_of), offset);
  }
  if (allocation->type_tag == type_tag(type) &&
      (offset - allocation->offset) % std::max(1u, allocation->element_bytes) == 0) {
    return;
  }
  const auto description = txn::type_description(core, allocation->type_tag);
  if (!description || allocation->element_bytes == 0) return;  // an undescribed type: bounds only
  const auto inside =
      static_cast<std::uint32_t>((offset - allocation->offset) % allocation->element_bytes);
  if (!object::type_lies_at(**description, 0, inside, type.fingerprint)) {
    throw_error(Errc::wrong_type,
                interned(std::string(describe_pointer(place, type_of)) + ": a `" +
                         (*description)->types[0].name + "` was reached through a pointer to `" +
                         std::string(type.name) + "`"),
                offset);
  }
}

const void* resolve_slow(std::uint64_t bits, const void* at, TypeOf type) {
  if (bits == 0) throw_error(Errc::null_pointer, describe_pointer(at, type));
  return reinterpret_cast<const void*>(locate(bits, at, true, type));
}

const void* resolve_checked(std::uint64_t bits, const void* at, TypeOf type) {
  const std::uintptr_t address = number(resolve_slow(bits, at, type));
  if (!in_arena(address)) return reinterpret_cast<const void*>(address);
  const Mapping* mapping = live_mapping(address);
  if (mapping == nullptr) throw_error(Errc::stale_pointer, describe_pointer(at, type));
  if (mapping->kind == 1) require_scope(address, at, type);
  const std::uintptr_t base = base_of(address);
  check_target(*static_cast<SpaceCore*>(mapping->space), reader_of(*mapping, base), address - base,
               type, at);
  return reinterpret_cast<const void*>(address);
}

std::uint64_t rebase_slow(std::uint64_t bits, const void* from, std::uintptr_t to, bool stamp) {
  if (bits == 0) return 0;
  if (!in_arena(to)) {
    if (is_transient(bits) && !in_arena(from)) return bits;  // copied as it is
    const std::uintptr_t address = locate(bits, from, false);
    return transient_bits(address, !in_scope(address), stamp);
  }
  if (is_transient(bits) && !is_plain_transient(bits) && !is_fresh(bits)) {
    throw_error(Errc::stale_pointer, describe_place(reinterpret_cast<const void*>(to)));
  }
  return encode_address(reinterpret_cast<const void*>(locate(bits, from, false)), to, stamp);
}

std::uint64_t encode_address(const void* address, std::uintptr_t place_of_pointer, bool stamp) {
  if (address == nullptr) return 0;
  const auto* to = reinterpret_cast<const void*>(place_of_pointer);
  if (!in_arena(to)) return transient_bits(number(address), false, stamp);
  log_write_slow(to, sizeof(std::uint64_t));
  Mapping* target = live_mapping(number(address));
  if (target == nullptr) {
    throw_error(in_arena(address) ? Errc::stale_pointer : Errc::outside_arena, describe_place(to));
  }
  const std::uint64_t offset = number(address) - base_of(address);
  if (base_of(address) == base_of(to)) return offset;
  HomeObject* from = home_of(to);
  if (target->kind != 1 || target->space != mapping_of(to).space) {
    throw_error(Errc::wrong_space, describe_place(to));
  }
  auto& object = *static_cast<HomeObject*>(target->record);
  if (SpaceCore::is_gone(object, current_transaction())) {
    throw_error(Errc::deleted, describe_place(to));
  }
  return static_cast<SpaceCore*>(target->space)->foreign_bits(*from, object, offset);
}

std::uint64_t SpaceCore::foreign_bits(HomeObject& from, HomeObject& to, std::uint64_t offset) {
  if (!from.fot_index) from.fot_index = std::make_unique<object::FotIndex>();
  txn::TxnLog log;
  object::Heap heap(from.base, from.capacity_log2(), log);
  const std::uint32_t count = object::fot_count(heap);
  auto inserted = object::fot_find_or_insert(heap, *from.fot_index, to.id());
  if (!inserted) throw_error(inserted.error().code(), describe_place(from.base));
  constexpr std::uint32_t kReclaimFrom = 256;
  if (inserted->inserted && count >= kReclaimFrom && (count & (count - 1)) == 0 &&
      object::fot_count(heap) > count) {
    // The table is about to double: first give back what no pointer uses. The entry just made is
    // not stored anywhere yet, so it is kept by hand.
    DOLMEN_PROBE("txn.fot_reclaim");
    txn::StoredPointerLayout layout(*this);
    if (auto used = object::fot_mark(heap, layout)) {
      if (used->size() <= inserted->index) used->resize(inserted->index + 1);
      (*used)[inserted->index] = true;
      const auto freed = object::fot_reclaim(heap, *from.fot_index, *used);
      if (!freed) throw_error(freed.error().code(), describe_place(from.base));
      // Pointers on this thread's stack are addresses, views have their own tables: only ours is
      // stale.
      for (const std::uint32_t index : *freed) set_cell(from.base, index, 0);
    }
  }
  if (inserted->inserted) {
    auto& cells = current_section()->transaction->cells;
    txn::make_room_for_one(cells);
    // What was moved since the address was taken is looked up when it is followed.
    const bool current = to.moved.load(std::memory_order_acquire) == 0;
    set_cell(from.base, inserted->index, current ? number(to.base) : 0);
    cells.emplace_back(from.base, inserted->index);
  }
  return kForeignTag | std::uint64_t{inserted->index} << kOffsetBits | offset;
}

Target target_of(std::uint64_t bits, const void* at) {
  if (bits == 0) return {};
  const std::uintptr_t address = locate(bits, at, false);
  const Mapping* mapping = live_mapping(address);
  if (mapping == nullptr) return Target{ObjectId{}, address};
  return Target{mapping->id, address - base_of(address)};
}

const char* describe_pointer(const void* place, TypeOf type) noexcept {
  if (in_arena(place) || type == nullptr) return describe_place(place);
  try {
    const std::string kind = place == nullptr ? "link<" : "ptr<";
    return interned(kind + std::string(type().name) + ">");
  } catch (...) {
    return "ptr";
  }
}

const char* describe_place(const void* address) noexcept {
  try {
    const Mapping* mapping = live_mapping(number(address));
    if (mapping == nullptr) return "a copy of a pointer";
    const std::uintptr_t base = base_of(address);
    const auto offset = static_cast<std::uint32_t>(number(address) - base);
    std::string text;
    if (const auto allocation = reader_of(*mapping, base).at(offset)) {
      const auto description =
          txn::type_description(*static_cast<SpaceCore*>(mapping->space), allocation->type_tag);
      if (description && allocation->element_bytes != 0) {
        text = (*description)->types[0].name;
        const std::string path = object::field_path(
            **description, 0, (offset - allocation->offset) % allocation->element_bytes);
        if (!path.empty()) text += (path[0] == '[' ? "" : "::") + path;
        text += " in ";
      }
    }
    return interned(text + "object " + mapping->id.to_string() + " at offset " +
                    std::to_string(offset));
  } catch (...) {
    return "an object";
  }
}

}  // namespace dolmen::detail
