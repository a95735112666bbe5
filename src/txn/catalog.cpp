// SPDX-License-Identifier: Apache-2.0
//
// Creating, naming, finding, erasing and resizing objects. Each of these is part of the ambient
// transaction if there is one, else a durable transaction of its own.
#include "txn/catalog.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include <dolmen/assert.hpp>

#include "object/arena.hpp"
#include "object/heap.hpp"
#include "txn/container_check.hpp"
#include "txn/space_core.hpp"
#include "txn/txn_log.hpp"
#include "txn/types.hpp"
#include "txn/view_core.hpp"

namespace dolmen::txn {

ObjectIdSeed catalog_seed(const ObjectId& space) noexcept {
  ObjectIdSeed seed;
  std::memcpy(seed.nonce.data(), &space.high, sizeof space.high);
  std::memcpy(seed.nonce.data() + 8, &space.low, sizeof space.low);
  seed.flags = object::kCatalog;
  return seed;
}

Result<void> check_catalog(const object::HeapReader& heap, std::uint64_t root,
                           std::optional<std::string_view> name) {
  using Node = detail::HashNode<string, CatalogEntry>;
  const ContainerCheck check(heap);
  const std::uint64_t map = root + offsetof(Catalog, by_name);
  const auto key = [&](std::uint64_t node) { return check.string(node + offsetof(Node, entry)); };
  const auto sound = name ? check.hash_map_key(map, hash<string>{}(*name), sizeof(Node), key)
                          : check.hash_map(map, sizeof(Node), key);
  if (sound) return {};
  return fail(Errc::corrupt, interned("catalog: " + std::string(sound.error().context())),
              sound.error().detail());
}

Result<const Catalog*> catalog_of(detail::ViewCore& view, std::optional<std::string_view> name) {
  DOLMEN_TRY(detail::ViewObject* const object, view.map(view.core().catalog_id()));
  DOLMEN_TRY(std::byte* const root, view.core().checked_root(object->base, &type_info<Catalog>));
  const object::HeapReader heap(object->base, detail::mapping_of(object->base).capacity_log2);
  DOLMEN_CHECK(check_catalog(heap, static_cast<std::uint64_t>(root - object->base), name));
  return reinterpret_cast<const Catalog*>(root);
}

}  // namespace dolmen::txn

namespace dolmen::detail {

using txn::Catalog;
using txn::CatalogEntry;
using txn::HomeObject;
using txn::Transaction;

namespace {

constexpr unsigned kCatalogCapacityLog2 = 28;  // address space only: pages are made as names come

Result<unsigned> capacity_class(std::uint64_t bytes) {
  if (bytes > (std::uint64_t{1} << kMaxClass)) {
    return fail(Errc::too_large, "object capacity above 1 GiB", bytes);
  }
  const auto log2 = static_cast<unsigned>(std::bit_width(std::max<std::uint64_t>(bytes, 512) - 1));
  return std::max(log2, kMinClass);
}

/// Runs `function` in the ambient transaction, or in one of its own over `named`.
template <class Function>
Result<void> in_transaction(SpaceCore& core, std::span<Named> named, bool any_object,
                            Function function) {
  struct Call {
    static Result<void> run(void* context) { return (*static_cast<Function*>(context))(); }
  };
  if (ambient.kind == SectionKind::transact && current_section()->core == &core) {
    // Objects that are not in scope yet are locked late; a conflict re-runs the whole body. Who
    // swallows an exception that came in the middle must not commit the half that was done.
    auto& failure = current_section()->transaction->failure;
    try {
      for (const Named& object : named) {
        DOLMEN_TRY(HomeObject* const home, core.home(object.id));
        if (!current_section()->transaction->holds(*home)) {
          core.lock_late(*current_section(), *home);
        }
      }
      return function();
    } catch (const AccessError& access) {
      if (!failure) failure = access.error();
      return std::unexpected(access.error());
    } catch (...) {
      if (!failure) failure = Error(Errc::aborted);
      throw;
    }
  }
  return core.run_transact(named, any_object, TransactOptions{}, Body{&function, &Call::run});
}

/// The catalog, to look a name up and to change it; without a name, to walk through all. What that
/// follows is looked at before. Requires: the ambient transaction holds it.
Result<Catalog*> catalog_root(SpaceCore& core, std::optional<std::string_view> name) {
  DOLMEN_TRY(HomeObject* const home, core.home(core.catalog_id()));
  DOLMEN_TRY(std::byte* const root, core.checked_root(home->base, &type_info<Catalog>));
  const object::HeapReader heap(home->base, home->capacity_log2());
  if (!home->verified) {
    // No allocation overlaps another: what is written to one leaves the others as they were.
    if (const auto sound = heap.verify(); !sound) {
      return fail(Errc::corrupt, "catalog: heap", sound.error().detail());
    }
    home->verified = true;
  }
  DOLMEN_CHECK(txn::check_catalog(heap, static_cast<std::uint64_t>(root - home->base), name));
  return reinterpret_cast<Catalog*>(root);
}

Result<CatalogEntry> look_up(const Catalog& names, std::string_view name) {
  try {
    const auto entry = names.by_name.find(name);
    if (entry == names.by_name.end()) return fail(Errc::not_found, interned(name));
    return entry->second;
  } catch (const AccessError& access) {
    return std::unexpected(access.error());
  }
}

Named catalog_named(const SpaceCore& core) {
  return Named{core.catalog_id(), &type_info<Catalog>, nullptr, true};
}

/// Formats a fresh image and makes room for its root; gives the root's address.
void* format_object(HomeObject& home, const ObjectIdSeed& seed, std::uint32_t tag,
                    std::uint32_t root_bytes, std::uint64_t count) {
  txn::TxnLog log;
  object::Heap::format(home.base, home.capacity_log2(), seed, log);
  object::Heap heap(home.base, home.capacity_log2(), log);
  const auto root = heap.allocate(tag, root_bytes, count);
  if (!root) throw_error(root.error().code(), "root of a new object", root_bytes * count);
  heap.set_root(*root, tag);
  return home.base + *root;
}

Result<void> create_in_transaction(SpaceCore& core, const ObjectIdSeed& seed, const ObjectId& id,
                                   unsigned capacity_log2, const TypeInfo& (*type)(),
                                   std::size_t root_bytes, void (*construct)(void*)) {
  Transaction& transaction = *current_section()->transaction;
  DOLMEN_TRY(HomeObject* const home, core.create_home(transaction, id, capacity_log2));
  const std::uint32_t tag = txn::register_type(type());
  transaction.types.push_back(&type());
  construct(format_object(*home, seed, tag, static_cast<std::uint32_t>(root_bytes), 1));
  return {};
}

}  // namespace

Result<void> SpaceCore::start() {
  catalog_id_ = derive_object_id(txn::catalog_seed(store_->stats().space_id));
  const auto existing = home(catalog_id_);
  if (existing || existing.error().code() != Errc::not_found) {
    if (!existing) return std::unexpected(existing.error());
    return {};
  }
  if (options_.read_only) return {};
  return in_transaction(*this, {}, false, [&]() -> Result<void> {
    return create_in_transaction(*this, txn::catalog_seed(store_->stats().space_id), catalog_id_,
                                 kCatalogCapacityLog2, &type_info<Catalog>, sizeof(Catalog),
                                 [](void* memory) { ::new (memory) Catalog(); });
  });
}

Result<ObjectId> SpaceCore::create_object(const TypeInfo& (*type)(), std::size_t root_bytes,
                                          const ObjectOptions& options,
                                          const std::string_view* name, void (*construct)(void*)) {
  DOLMEN_TRY(const unsigned capacity_log2, capacity_class(options.capacity));
  ObjectIdSeed seed;
  env_.entropy->fill(seed.nonce);
  const ObjectId id = derive_object_id(seed);
  Named catalog = catalog_named(*this);
  DOLMEN_CHECK(in_transaction(
      *this, name == nullptr ? std::span<Named>() : std::span<Named>(&catalog, 1), false,
      [&]() -> Result<void> {
        Catalog* names = nullptr;
        if (name != nullptr) {
          DOLMEN_TRY(names, catalog_root(*this, *name));
          if (names->by_name.contains(*name)) return fail(Errc::already_exists, interned(*name));
        }
        // First: as long as it can still be refused, there is no name either.
        auto made =
            create_in_transaction(*this, seed, id, capacity_log2, type, root_bytes, construct);
        if (made && names != nullptr) {
          names->by_name.insert_or_assign(string(*name),
                                          CatalogEntry{id, txn::register_type(type())});
        }
        return made;
      }));
  return id;
}

Result<ObjectId> SpaceCore::find_name(std::string_view name, const TypeInfo& (*type)()) {
  CatalogEntry found{};
  if (ambient.kind == SectionKind::transact && current_section()->core == this) {
    Named catalog = catalog_named(*this);
    DOLMEN_CHECK(in_transaction(*this, std::span(&catalog, 1), false, [&]() -> Result<void> {
      DOLMEN_TRY(const Catalog* const names, catalog_root(*this, name));
      DOLMEN_TRY(found, look_up(*names, name));
      return {};
    }));
  } else {
    if (forked()) return fail(Errc::forked, "find");
    if (!home(catalog_id_)) return fail(Errc::not_found, interned(name));
    DOLMEN_TRY(const auto view, open_view(ReadOptions{Level::visible}));
    const auto entry = [&]() -> Result<CatalogEntry> {
      DOLMEN_TRY(const Catalog* const names, txn::catalog_of(*view, name));
      return look_up(*names, name);
    }();
    if (const auto damage = view->damage()) return std::unexpected(*damage);
    DOLMEN_TRY(found, entry);
  }
  if (type != nullptr && found.type_tag != type_tag(type())) {
    return fail(Errc::layout_changed,
                txn::layout_difference(*this, static_cast<std::uint32_t>(found.type_tag), type()));
  }
  return found.object;
}

Result<void> SpaceCore::erase_object(const ObjectId& id) {
  if (id == catalog_id_) return fail(Errc::invalid_argument, "the catalog cannot be erased");
  Named objects[2] = {catalog_named(*this), Named{id, nullptr, nullptr}};
  const auto erase = [&]() -> Result<void> {
    DOLMEN_TRY(HomeObject* const home_object, locked(id));
    Transaction& transaction = *current_section()->transaction;
    DOLMEN_TRY(Catalog* const names, catalog_root(*this, std::nullopt));
    std::vector<std::string> gone;
    for (const auto& [name, entry] : names->by_name) {
      if (entry.object == id) gone.emplace_back(std::string_view(name));
    }
    for (const std::string& name : gone) {
      if (const auto sound = catalog_root(*this, name); !sound) {
        if (!transaction.failure) transaction.failure = sound.error();
        return std::unexpected(sound.error());
      }
      names->by_name.erase(std::string_view(name));
    }
    transaction.erased.push_back(home_object);
    home_object->erased.store(txn::kUncommitted, std::memory_order_release);
    return {};
  };
  return in_transaction(*this, std::span(objects, 1), false, erase);
}

Result<HomeObject*> SpaceCore::locked(const ObjectId& id) {
  DOLMEN_TRY(HomeObject* const object, home(id));
  Section& section = *current_section();
  if (!section.transaction->holds(*object)) lock_late(section, *object);
  if (is_gone(*object, section.transaction)) return fail(Errc::not_found, "erased object", id.low);
  return object;
}

Result<void> SpaceCore::set_name(const ObjectId& id, std::string_view name) {
  Named catalog = catalog_named(*this);
  return in_transaction(*this, std::span(&catalog, 1), false, [&]() -> Result<void> {
    DOLMEN_TRY(HomeObject* const object, locked(id));
    const std::uint32_t tag = object::load_header(object->base).root_type;
    DOLMEN_TRY(Catalog* const names, catalog_root(*this, name));
    if (names->by_name.contains(name)) return fail(Errc::already_exists, interned(name));
    names->by_name.insert_or_assign(string(name), CatalogEntry{id, tag});
    return {};
  });
}

Result<void> SpaceCore::remove_name(std::string_view name) {
  Named catalog = catalog_named(*this);
  return in_transaction(*this, std::span(&catalog, 1), false, [&]() -> Result<void> {
    DOLMEN_TRY(Catalog* const names, catalog_root(*this, name));
    if (!names->by_name.contains(name)) return fail(Errc::not_found, interned(name));
    names->by_name.erase(name);
    return {};
  });
}

bool SpaceCore::all_described(const Transaction& transaction) {
  if (transaction.types.empty()) return true;
  const base::Lock guard(types_mutex_);
  return std::ranges::all_of(transaction.types,
                             [&](const TypeInfo* type) DOLMEN_REQUIRES(types_mutex_) {
                               return known_types_.contains(type_tag(*type));
                             });
}

/// The description object is written by whoever uses the type first, one thread at a time.
Result<void> SpaceCore::describe_types(Transaction& transaction) {
  Section section;
  section.core = this;
  section.transaction = &transaction;
  section.open = &transaction.open;
  struct InSection {
    explicit InSection(Section& here) noexcept {
      ambient.section = &here;
      ambient.kind = SectionKind::transact;
    }
    ~InSection() {
      ambient.section = nullptr;
      ambient.kind = SectionKind::none;
    }
    InSection(const InSection&) = delete;
    InSection& operator=(const InSection&) = delete;
  } const in_section(section);
  for (const TypeInfo* type : transaction.types) {
    const std::uint32_t tag = type_tag(*type);
    const ObjectId id = type_object_id(tag);
    const auto existing = home(id);
    if (existing) {
      if ((*existing)->created.load(std::memory_order_acquire) != txn::kUncommitted) {
        const base::Lock guard(types_mutex_);
        known_types_.insert(tag);
      }
      continue;
    }
    if (existing.error().code() != Errc::not_found) return std::unexpected(existing.error());
    DOLMEN_TRY(const auto encoded, object::encode_type(*type));
    const auto length = static_cast<std::uint32_t>(encoded.size());
    const auto capacity = capacity_class(length + length / 8 + 512);
    try {
      DOLMEN_TRY(HomeObject* const object, create_home(transaction, id, *capacity));
      auto* root = static_cast<std::byte*>(format_object(
          *object, type_object_seed(tag), txn::kTypeBytesTag, 1, length + sizeof length));
      log_write_slow(root, length + sizeof length);
      std::memcpy(root, &length, sizeof length);
      std::memcpy(root + sizeof length, encoded.data(), length);
    } catch (const AccessError& access) {
      return std::unexpected(access.error());
    }
  }
  return {};
}

// --- entry points of the public headers --------------------------------------------------------

Result<ObjectId> create_object(SpaceCore& core, const TypeInfo& (*type)(), std::size_t root_bytes,
                               const ObjectOptions& options, const std::string_view* name,
                               void (*construct)(void*)) {
  return core.create_object(type, root_bytes, options, name, construct);
}

Result<ObjectId> find_object(SpaceCore& core, std::string_view name, const TypeInfo& (*type)()) {
  return core.find_name(name, type);
}

void* section_root(SpaceCore* core, const ObjectId& id, const TypeInfo& (*type)(), bool write) {
  Section* section = current_section();
  if (section == nullptr) throw_error(Errc::no_transaction, "root outside a section");
  if (section->core != core) throw_error(Errc::wrong_space, "root");
  const auto home = core->home(id);
  if (!home) throw_error(home.error().code(), "root", id.low);
  core->require_in_scope(*section, **home, (*home)->base);
  if (SpaceCore::is_gone(**home, section->transaction)) {
    throw_error(Errc::deleted, "root", id.low);
  }
  const auto root = core->checked_root((*home)->base, type);
  if (!root) throw_error(root.error());
  if (write) log_write_slow(*root, type().size);
  return *root;
}

const void* section_address(SpaceCore* core, const ObjectId& id, std::uint64_t offset,
                            const TypeInfo& (*type)()) {
  Section* section = current_section();
  if (section == nullptr) throw_error(Errc::no_transaction, "link outside a section");
  if (section->core != core) throw_error(Errc::wrong_space, describe_pointer(nullptr, type));
  const auto home = core->home(id);
  if (!home) {
    throw_error(home.error().code() == Errc::not_found ? Errc::deleted : home.error().code(),
                describe_pointer(nullptr, type), id.low);
  }
  core->require_in_scope(*section, **home, (*home)->base);
  if (SpaceCore::is_gone(**home, section->transaction)) {
    throw_error(Errc::deleted, describe_pointer(nullptr, type), id.low);
  }
  check_target(*core, object::HeapReader((*home)->base, (*home)->capacity_log2()), offset, type,
               nullptr);
  return (*home)->base + offset;
}

Result<void> view_intact(const ViewCore& view) {
  if (const auto damage = view.damage()) return std::unexpected(*damage);
  return {};
}

const void* view_address(ViewCore& view, const ObjectId& id, std::uint64_t offset,
                         const TypeInfo& (*type)(), bool root) {
  const auto object = view.map(id);
  if (!object) {
    const bool gone = object.error().code() == Errc::not_found && !root;
    throw AccessError(Error(gone ? Errc::deleted : object.error().code(),
                            gone ? describe_pointer(nullptr, type) : "object in view", id.low));
  }
  std::byte* base = (*object)->base;
  const auto address = root ? view.core().checked_root(base, type) : base + offset;
  if ((*object)->damaged.load(std::memory_order_acquire)) {
    throw AccessError(view.damage().value_or(Error(Errc::corrupt)));
  }
  if (!root) {
    check_target(view.core(), object::HeapReader(base, mapping_of(base).capacity_log2), offset,
                 type, nullptr);
  }
  if (!address) throw AccessError(address.error());
  return *address;
}

}  // namespace dolmen::detail
