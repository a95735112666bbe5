// SPDX-License-Identifier: Apache-2.0
//
// Mapping of objects and the arena's fault handler. The handler runs on the touching thread, at the
// place of an ordinary load or store to an object. It takes no lock that is held while object
// memory is touched (the store's and the version table's are leaves), so it behaves like a function
// call made there.
#include <algorithm>
#include <array>
#include <cstring>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "object/arena.hpp"
#include "object/heap.hpp"
#include "txn/space_core.hpp"
#include "txn/view_core.hpp"

namespace dolmen::detail {

using store::kPageBytes;
using txn::HomeObject;
using txn::Transaction;

namespace {

constexpr std::size_t kUnitBytesMax = 64 * 1024;

class ArenaFaults final : public sys::FaultHandler {
 public:
  [[nodiscard]] bool on_fault(std::uintptr_t address) noexcept override {
    if (!in_arena(address)) return false;
    Mapping& mapping = mapping_of(address);
    if (mapping.kind == 1) {
      return static_cast<SpaceCore*>(mapping.space)
          ->fault_home(*static_cast<HomeObject*>(mapping.record), address);
    }
    if (mapping.kind == 2) {
      auto& object = *static_cast<ViewObject*>(mapping.record);
      return object.view->fault(object, address);
    }
    return false;
  }
};

/// Process-wide: which driver the one handler was installed with.
struct InstalledFaults {
  base::Mutex mutex;
  sys::FaultDriver driver DOLMEN_GUARDED_BY(mutex) = sys::FaultDriver::none;
  ArenaFaults handler;
};

InstalledFaults& installed_faults() {
  static InstalledFaults faults;
  return faults;
}

}  // namespace

Result<sys::FaultDriver> install_arena_faults(sys::Memory& memory, sys::FaultDriver driver) {
  if (driver == sys::FaultDriver::none) return driver;
  InstalledFaults& faults = installed_faults();
  const base::Lock guard(faults.mutex);
  if (faults.driver == sys::FaultDriver::none) {
    DOLMEN_CHECK(memory.install_fault_handler(driver, &faults.handler));
    faults.driver = driver;
  }
  return faults.driver;
}

Result<void> SpaceCore::intact(const HomeObject& object) {
  const std::uint16_t code = object.damage.load(std::memory_order_acquire);
  if (code == 0) [[likely]]
    return {};
  return fail(static_cast<Errc>(code),
              interned("a page of object " + object.id().to_string() + " could not be read"));
}

/// Before the page is there: whoever sees its zeros finds the note, too.
void SpaceCore::note_damage(HomeObject& object, const Error& error) noexcept {
  const auto code = static_cast<std::uint16_t>(error.code());
  std::uint16_t none = 0;
  object.damage.compare_exchange_strong(none, code, std::memory_order_acq_rel);
  none = 0;
  damage_.compare_exchange_strong(none, code, std::memory_order_acq_rel);
  detail::note_damage(error);
}

void note_damage(const Error& error) noexcept {
  Section* section = current_section();
  if (section != nullptr && !section->damage) section->damage = error;
}

bool SpaceCore::eager(unsigned capacity_log2) const noexcept {
  if (options_.fault_driver == sys::FaultDriver::none) return true;
  return (std::size_t{1} << capacity_log2) < env_.memory->fault_unit_bytes(options_.fault_driver);
}

HomeObject* SpaceCore::find_mapped(const ObjectId& id) { return objects_.find(id); }

Result<HomeObject*> SpaceCore::home(const ObjectId& id) {
  if (HomeObject* const object = recent_home(id)) return object;
  const std::uint64_t version = table_version();  // before the look-up: it may go meanwhile
  DOLMEN_TRY(HomeObject* const object, find_or_map(id));
  looked_up[id.low % looked_up.size()] = LookedUp{.version = version, .id = id, .object = object};
  return object;
}

Result<HomeObject*> SpaceCore::find_or_map(const ObjectId& id) {
  if (HomeObject* object = find_mapped(id)) return object;
  const base::Lock guard(map_mutex_);
  if (HomeObject* object = find_mapped(id)) return object;
  if (erased_ids_.contains(id)) return fail(Errc::not_found, "object", id.low);
  DOLMEN_TRY(const auto info, store_->find(id));
  if (!info) return fail(Errc::not_found, "object", id.low);
  return map_object(id, info->capacity_log2, false);
}

Result<std::byte*> SpaceCore::allocate_slot(unsigned capacity_log2, bool demand) {
  using object::SlotKind;
  return object::allocate_slot(capacity_log2, demand                  ? SlotKind::demand
                                              : options_.guard_stores ? SlotKind::alone
                                                                      : SlotKind::plain);
}

Result<void> SpaceCore::close_slot(std::byte* base) {
  if (!options_.guard_stores) return {};
  const std::size_t bytes = std::size_t{1} << class_of(reinterpret_cast<std::uintptr_t>(base));
  return env_.memory->protect(base, std::max<std::size_t>(bytes, kPageBytes), false);
}

void SpaceCore::free_slot(std::byte* base) noexcept {
  if (options_.guard_stores) {
    const std::size_t bytes = std::size_t{1} << class_of(reinterpret_cast<std::uintptr_t>(base));
    const auto opened = env_.memory->protect(base, std::max<std::size_t>(bytes, kPageBytes), true);
    if (!opened) return;  // never used again: whoever got it would fault
  }
  object::free_slot(base);
}

/// An image in a slot of its own, not linked into the map.
Result<HomeObject*> SpaceCore::make_image(const ObjectId& id, unsigned capacity_log2, bool fresh) {
  const bool demand = !fresh && !eager(capacity_log2);
  DOLMEN_TRY(std::byte* const base, allocate_slot(capacity_log2, demand));
  OwnedSlot slot(*this, base);
  const std::uint32_t count = 1u << (capacity_log2 < 12 ? 0 : capacity_log2 - 12);
  txn::PageMetas pages;
  if (count > 1) {
    pages = txn::make_page_metas(count);
    if (!pages) return fail(Errc::out_of_memory, "an object's pages", id.low);
  }
  if (!fresh && !demand) {
    DOLMEN_TRY(const std::uint32_t stored, store_->page_count(id));
    DOLMEN_CHECK(load_pages(base, std::min(stored, count), store::page_bytes(capacity_log2),
                            [&](std::uint32_t page, base::MutableBytes out) {
                              return store_->read_page(store::PageKey{id, page}, out);
                            }));
  }
  DOLMEN_CHECK(close_slot(base));
  HomeObject* object = objects_.make(base);
  slot.release();
  Mapping& mapping = mapping_of(base);
  mapping.capacity_log2 = static_cast<std::uint8_t>(capacity_log2);
  mapping.view_stamp = 0;
  mapping.id = id;
  mapping.space = this;
  if (pages) object->pages = pages.release();
  object->whole = !demand;
  mapping.record = object;
  std::atomic_thread_fence(std::memory_order_release);
  mapping.kind = 1;
  return object;
}

/// Requires: the object is not mapped.
Result<HomeObject*> SpaceCore::map_object(const ObjectId& id, unsigned capacity_log2, bool fresh) {
  objects_.make_room();  // memory first: an image is in the map or was not made
  DOLMEN_TRY(HomeObject* const object, make_image(id, capacity_log2, fresh));
  objects_.link(*object);
  return object;
}

Result<HomeObject*> SpaceCore::create_home(Transaction& transaction, const ObjectId& id,
                                           unsigned capacity_log2) {
  const base::Lock guard(map_mutex_);
  if (find_mapped(id) != nullptr) return fail(Errc::already_exists, "object id", id.low);
  txn::make_room_for_one(transaction.created);
  txn::make_room_for_one(transaction.open);
  DOLMEN_TRY(HomeObject* const object, map_object(id, capacity_log2, true));
  object->fresh = true;
  object->created.store(txn::kUncommitted, std::memory_order_relaxed);
  object->writer.store(&transaction, std::memory_order_release);
  transaction.created.push_back(object);
  transaction.open.push_back(object);
  return object;
}

bool SpaceCore::fault_home(HomeObject& object, std::uintptr_t address) noexcept {
  const std::size_t unit = env_.memory->fault_unit_bytes(options_.fault_driver);
  alignas(64) std::byte buffer[kUnitBytesMax];
  const auto base = reinterpret_cast<std::uintptr_t>(object.base);
  const std::uintptr_t begin = address & ~(unit - 1);
  for (std::size_t done = 0; done < unit; done += kPageBytes) {
    const auto page = static_cast<std::uint32_t>((begin + done - base) / kPageBytes);
    const auto read = or_out_of_memory([&] {
      return store_->read_page(store::PageKey{object.id(), page},
                               base::MutableBytes(buffer + done, kPageBytes));
    });
    if (!read) {
      DOLMEN_PROBE("txn.damaged_page");
      std::memset(buffer + done, 0, kPageBytes);
      note_damage(object, read.error());
      // Before the zeros are there, and unless somebody else was luckier with it.
      txn::PageState absent = txn::PageState::absent;
      object.page(page).state.compare_exchange_strong(absent, txn::PageState::damaged,
                                                      std::memory_order_acq_rel);
    }
  }
  auto* target = reinterpret_cast<std::byte*>(begin);
  if (!env_.memory->fill(target, base::Bytes(buffer, unit))) return false;
  for (std::size_t done = 0; done < unit; done += kPageBytes) {
    const auto page = static_cast<std::uint32_t>((begin + done - base) / kPageBytes);
    txn::PageState absent = txn::PageState::absent;
    object.page(page).state.compare_exchange_strong(absent, txn::PageState::present,
                                                    std::memory_order_acq_rel);
  }
  return true;
}

void SpaceCore::advise_huge(HomeObject& object) noexcept {
  object.huge = true;
  if (!object.whole || options_.guard_stores) return;  // filled, or closed, page by page
  // Each costs two of the mappings that the kernel allows a process, 65,530 by default.
  constexpr std::uint32_t kHugeObjectsMax = 4096;
  if (huge_objects_.load(std::memory_order_relaxed) >= kHugeObjectsMax) return;
  // The heap's page table grows down from the end, and a short one shall not cost 2 MiB.
  constexpr std::size_t kTableBytes = std::size_t{2} << 20;
  const std::size_t end = (std::size_t{1} << object.capacity_log2()) - kTableBytes;
  if (end <= kHugeFrom) return;
  huge_objects_.fetch_add(1, std::memory_order_relaxed);
  DOLMEN_PROBE("txn.huge_pages");
  env_.memory->advise_huge(object.base + kHugeFrom, end - kHugeFrom);
}

void SpaceCore::load_all(HomeObject& object) {
  for (std::uint32_t page = 0; page < object.page_count(); ++page) {
    if (object.page_state(page) == txn::PageState::absent) {
      // A volatile load: the point is the fault that it may take.
      (void)*const_cast<const volatile std::byte*>(object.page_address(page));
    }
  }
}

}  // namespace dolmen::detail
