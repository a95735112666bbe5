// SPDX-License-Identifier: Apache-2.0
//
// One open space in this process: its objects' running images, their locks, snapshots and views, on
// top of a Store. The public headers reach it through the free functions of dolmen::detail.
//
// The source is split by what it does: objects.cpp (mapping and faults), images.cpp (which image of
// an object who sees, and when it goes), sections.cpp (transact and read), commit.cpp, pointers.cpp
// (dereference, FOT, translation tables), allocation.cpp, catalog.cpp (names and types),
// snapshots.cpp (a page as of a commit), checkpoint.cpp.
//
// Lock order: object stripes (ascending) < map_mutex_ < shard mutex < table mutex; the store's and
// the version table's locks are leaves. No lock of this list is held while memory of an object that
// may be absent is touched, except object stripes.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <dolmen/space.hpp>

#include "base/mutex.hpp"
#include "store/store.hpp"
#include "sys/env.hpp"
#include "txn/home_object.hpp"
#include "txn/locks.hpp"
#include "txn/object_map.hpp"
#include "txn/transaction.hpp"
#include "txn/versions.hpp"

namespace dolmen::object {
class HeapReader;
}

namespace dolmen::detail {

class ViewCore;

/// How many forks lie between this process and the one that first opened a space.
extern constinit std::atomic<std::uint64_t> fork_generation;

using TypeOf = const TypeInfo& (*)();

/// As the one in ambient.hpp, for an error that somebody returned.
[[noreturn, gnu::cold]] void throw_error(const Error& error);

/// What a thread looked up lately. Entries are good while the space's table version stands: it
/// changes whenever an image has left the map, and no two spaces of a process ever share one.
struct alignas(64) LookedUp {
  std::uint64_t version = 0;
  ObjectId id;
  txn::HomeObject* object = nullptr;
  TypeOf type = nullptr;      ///< what the root was last found to be; null: not looked at
  std::byte* root = nullptr;  ///< set with `type`
};
[[gnu::tls_model("initial-exec")]] extern thread_local constinit std::array<LookedUp, 8> looked_up;

struct CoreOptions {
  bool read_only = false;
  const char* how_to_write = "";  ///< of one that is read only: what to do instead
  std::uint64_t max_transaction_bytes = 256u << 20;
  bool guard_stores = false;  ///< images and views are closed to stores (store_guard.hpp)
  std::uint64_t view_memory_bytes = 64u << 20;
  sys::FaultDriver fault_driver = sys::FaultDriver::none;
};

/// The ambient section of a thread; lives on the stack of run_transact / run_read.
struct Section {
  SpaceCore* core = nullptr;
  txn::Transaction* transaction = nullptr;        ///< null in read sections
  std::vector<txn::HomeObject*>* open = nullptr;  ///< objects in scope (not used by read_all)
  bool any = false;                               ///< transact(any): scope grows on demand
  std::optional<Error> damage;                    ///< a page that was read failed its checksum
};

class SpaceCore final : public store::PageSource {
 public:
  SpaceCore(const sys::Env& env, std::unique_ptr<store::Store> store, const CoreOptions& options);
  ~SpaceCore() override;
  SpaceCore(const SpaceCore&) = delete;
  SpaceCore& operator=(const SpaceCore&) = delete;

  /// Reads the catalog, or makes it in a new space.
  [[nodiscard]] Result<void> start();
  /// Makes everything durable; later calls give closed, and this one what it gave first. Requires:
  /// no section or view is alive.
  [[nodiscard]] Result<void> close();

  // --- objects.cpp ---------------------------------------------------------------------------
  /// The object's image, mapped on first use. Errors: not_found, deleted, corrupt, out_of_memory.
  [[nodiscard]] Result<txn::HomeObject*> home(const ObjectId& id);
  /// The same if this thread looked it up lately, else null.
  [[nodiscard]] txn::HomeObject* recent_home(const ObjectId& id) const noexcept {
    const LookedUp* const recent = recently(id);
    return recent != nullptr ? recent->object : nullptr;
  }
  [[nodiscard]] const LookedUp* recently(const ObjectId& id) const noexcept {
    const LookedUp& recent = looked_up[id.low % looked_up.size()];
    return recent.version == table_version() && recent.id == id ? &recent : nullptr;
  }
  /// A new object's empty image, held by `transaction`.
  [[nodiscard]] Result<txn::HomeObject*> create_home(txn::Transaction& transaction,
                                                     const ObjectId& id, unsigned capacity_log2);
  /// Fault handler: makes one absent unit present. Async-signal-safe in practice (see objects.cpp).
  [[nodiscard]] bool fault_home(txn::HomeObject& object, std::uintptr_t address) noexcept;
  void load_all(txn::HomeObject& object);
  /// Objects that grew to this size have the memory that they grow into in huge pages: a fault, a
  /// page walk and a miss in the TLB for 2 MiB instead of 4 KiB.
  static constexpr std::uint64_t kHugeFrom = std::uint64_t{4} << 20;
  void advise_huge(txn::HomeObject& object) noexcept;
  /// The error of the first page of the object that could not be read: it lies there as zeros, so
  /// nobody may rely on the object until the space is opened again.
  [[nodiscard]] static Result<void> intact(const txn::HomeObject& object);
  [[nodiscard]] bool eager(unsigned capacity_log2) const noexcept;
  /// A slot for an image or a view of an object; close_slot() when it is filled, free_slot() at the
  /// end. Under the store guard nothing else shares its pages.
  [[nodiscard]] Result<std::byte*> allocate_slot(unsigned capacity_log2, bool demand);
  [[nodiscard]] Result<void> close_slot(std::byte* base);
  void free_slot(std::byte* base) noexcept;

  /// A slot that goes back unless it is released.
  class OwnedSlot {
   public:
    OwnedSlot(SpaceCore& core, std::byte* base) noexcept : core_(core), base_(base) {}
    ~OwnedSlot() {
      if (base_ != nullptr) core_.free_slot(base_);
    }
    OwnedSlot(const OwnedSlot&) = delete;
    OwnedSlot& operator=(const OwnedSlot&) = delete;
    void release() noexcept { base_ = nullptr; }

   private:
    SpaceCore& core_;
    std::byte* base_;
  };

  // --- images.cpp ----------------------------------------------------------------------------
  /// The image that a snapshot at `index` sees, if one is mapped. Requires: the snapshot is live,
  /// and the caller is a MapUser or in a section.
  [[nodiscard]] txn::HomeObject* find_image(const ObjectId& id, store::Index index);
  /// The same, mapped on first use. Errors: not_found, corrupt, out_of_memory.
  [[nodiscard]] Result<txn::HomeObject*> image_at(const ObjectId& id, store::Index index);
  /// Takes images out of the map: of objects that `transaction` erased with commit `index`, which
  /// older snapshots go on seeing, and of objects that an abort unmade.
  void unlink_images(txn::Transaction& transaction, store::Index index);
  /// Destroys unlinked images that no snapshot sees and no thread can hold a pointer to.
  void collect_images(std::optional<store::Index> ended_snapshot = std::nullopt);
  /// Images that only snapshots see.
  [[nodiscard]] std::size_t former_images() const noexcept {
    return former_count_.load(std::memory_order_acquire);
  }
  [[nodiscard]] Result<std::vector<ObjectId>> all_objects(store::Index as_of);
  /// Whether the object is gone for `transaction` (null: for a reader): erased by a commit, or by
  /// itself. What another transaction erases may still come back.
  [[nodiscard]] static bool is_gone(const txn::HomeObject& object,
                                    const txn::Transaction* transaction) noexcept;

  // --- sections.cpp --------------------------------------------------------------------------
  [[nodiscard]] Result<void> run_transact(std::span<Named> named, bool any_object,
                                          const TransactOptions& options, Body body);
  [[nodiscard]] Result<void> run_read(std::span<Named> named, bool everything_open,
                                      const ReadOptions& options, Body body);
  /// See detail::enter_known_read().
  [[nodiscard]] const void* enter_known_read(const ObjectId& id, TypeOf type,
                                             txn::ThreadLine& line) noexcept;
  [[nodiscard]] const Error* leave_known_read(Level level);
  [[nodiscard, gnu::cold, gnu::noinline]] const Error* leave_known_read_slowly(Level level);
  void abandon_known_read() noexcept;

  /// Keeps images alive for a thread that is in no section (views, checkpoints).
  class MapUser {
   public:
    explicit MapUser(SpaceCore& core) noexcept : core_(core) {
      core_.map_users_.fetch_add(1, std::memory_order_seq_cst);
    }
    ~MapUser() { core_.map_users_.fetch_sub(1, std::memory_order_seq_cst); }
    MapUser(const MapUser&) = delete;
    MapUser& operator=(const MapUser&) = delete;

   private:
    SpaceCore& core_;
  };

  /// Brings an object into the ambient section's scope, or throws not_named / conflict.
  /// `place` and `type`: of the pointer that led there.
  void require_in_scope(Section& section, txn::HomeObject& object, const void* place,
                        TypeOf type = nullptr);
  /// Takes a lock inside a running body. Throws AccessError(conflict) when it is not free.
  void lock_late(Section& section, txn::HomeObject& object);
  /// Root address in the image or view of an object, after the checks of header and type. Errors:
  /// layout_changed, corrupt.
  [[nodiscard]] Result<std::byte*> checked_root(std::byte* base, TypeOf type);

  // --- commit.cpp ----------------------------------------------------------------------------
  [[nodiscard]] Result<store::Index> commit(txn::Transaction& transaction, bool durable);
  void abort(txn::Transaction& transaction) noexcept;

  // --- pointers.cpp --------------------------------------------------------------------------
  /// Base of the mapping that index `index` of `mapping`'s FOT leads to. Throws AccessError.
  /// `scope`: also bring the target into the ambient section's scope.
  [[nodiscard]] std::uintptr_t follow(Mapping& mapping, std::uint32_t index, const void* place,
                                      bool scope);
  void revalidate(Mapping& mapping);
  /// Where an index of the slot's FOT is known to lead; 0 = not looked up.
  [[nodiscard]] static std::uintptr_t cell(const std::byte* slot, std::uint32_t index) noexcept;
  /// Remembers where an index leads (0 forgets). Requires: index > 0.
  void set_cell(const std::byte* slot, std::uint32_t index, std::uintptr_t base)
      DOLMEN_EXCLUDES(table_mutex_);
  /// Pointer bits in `from` (held by the ambient transaction) for an address in `to`.
  [[nodiscard]] std::uint64_t foreign_bits(txn::HomeObject& from, txn::HomeObject& to,
                                           std::uint64_t offset);
  [[nodiscard]] std::uint64_t table_version() const noexcept {
    return table_version_.load(std::memory_order_seq_cst);  // see collect_images()
  }
  /// All cells of all tables must be looked at again (an object or an index went away).
  void invalidate_tables();

  // --- catalog.cpp ---------------------------------------------------------------------------
  [[nodiscard]] Result<ObjectId> create_object(const TypeInfo& (*type)(), std::size_t root_bytes,
                                               const ObjectOptions& options,
                                               const std::string_view* name,
                                               void (*construct)(void*));
  [[nodiscard]] Result<ObjectId> find_name(std::string_view name, const TypeInfo& (*type)());
  [[nodiscard]] Result<void> erase_object(const ObjectId& id);
  [[nodiscard]] Result<void> set_name(const ObjectId& id, std::string_view name);
  [[nodiscard]] Result<void> remove_name(std::string_view name);
  /// The object, held by the ambient transaction. Throws AccessError(conflict) when it is not free.
  [[nodiscard]] Result<txn::HomeObject*> locked(const ObjectId& id);
  [[nodiscard]] Result<void> resize_object(const ObjectId& id, std::uint64_t capacity_bytes);
  [[nodiscard]] ObjectId catalog_id() const noexcept { return catalog_id_; }
  [[nodiscard]] static ObjectId type_object_id(std::uint32_t tag) noexcept;
  [[nodiscard]] static ObjectIdSeed type_object_seed(std::uint32_t tag) noexcept;
  /// Adds descriptions of the transaction's new types to it.
  [[nodiscard]] bool all_described(const txn::Transaction& transaction);
  [[nodiscard]] Result<void> describe_types(txn::Transaction& transaction)
      DOLMEN_REQUIRES(describe_mutex_);

  // --- snapshots.cpp -------------------------------------------------------------------------
  [[nodiscard]] Result<std::unique_ptr<ViewCore>> open_view(const ReadOptions& options);
  /// The page as of commit `index`, for which a snapshot is registered.
  [[nodiscard]] Result<void> page_as_of(txn::HomeObject& object, std::uint32_t page,
                                        store::Index index, base::MutableBytes out);
  /// The version that was kept, if there is one; see Versions::find().
  [[nodiscard]] Result<bool> find_version(const store::PageKey& key, store::Index index,
                                          base::MutableBytes out);
  [[nodiscard]] static bool visible_at(const txn::HomeObject& object, store::Index index) noexcept;
  [[nodiscard]] Result<void> read_page_as_of(const store::PageKey& key, store::Index as_of,
                                             base::MutableBytes out) override;
  /// Keeps versions of the transaction's pages that a live snapshot needs.
  void preserve_versions(txn::Transaction& transaction, store::Index index) noexcept;
  /// Keeps what older snapshots may still ask of objects that the next checkpoint drops.
  void preserve_erased(const std::vector<ObjectId>& erased);
  [[nodiscard]] static store::Index erasing_commit(const txn::HomeObject& image) noexcept;

  // --- checkpoint.cpp ------------------------------------------------------------------------
  [[nodiscard]] Result<void> checkpoint(std::uint64_t bytes_per_second_max,
                                        const std::function<bool()>& cancelled);
  [[nodiscard]] store::Index take_changes() DOLMEN_REQUIRES(checkpoint_mutex_);
  [[nodiscard]] Result<void> write_checkpoint(store::Index as_of,
                                              std::uint64_t bytes_per_second_max,
                                              const std::function<bool()>& cancelled)
      DOLMEN_REQUIRES(checkpoint_mutex_);
  /// Called in the append critical section: lists pages and objects for the next checkpoint.
  void list_dirty(txn::Transaction& transaction, store::Index index) noexcept;

  [[nodiscard]] store::Store& store() noexcept { return *store_; }
  [[nodiscard]] const CoreOptions& options() const noexcept { return options_; }
  [[nodiscard]] txn::LockTable& locks() noexcept { return *locks_; }
  [[nodiscard]] txn::Versions& versions() noexcept { return versions_; }
  [[nodiscard]] const sys::Env& env() const noexcept { return env_; }
  [[nodiscard]] SpaceStats stats();
  /// True in a child of the process that opened the space: the arena was not inherited.
  [[nodiscard]] bool forked() const noexcept {
    return fork_generation.load(std::memory_order_relaxed) != fork_generation_;
  }
  /// The same of a process in which no space can be opened.
  [[nodiscard]] static bool has_lost_arena() noexcept {
    return fork_generation.load(std::memory_order_relaxed) != 0;
  }
  /// Runs in the child after fork().
  static void on_fork_child(void* unused) noexcept;
  /// Errors that stop any section: forked, closed, store_failed.
  [[nodiscard]] Result<void> usable() const;
  [[nodiscard]] bool is_usable() const noexcept {
    return !forked() && !closed_.load(std::memory_order_relaxed) &&
           !store_failed_.load(std::memory_order_acquire);
  }
  /// Waits until everything that was visible, and whose writer asked for it, is durable.
  [[nodiscard]] Result<void> wait_observed();
  [[nodiscard]] bool observed_is_durable() const noexcept {
    const store::Index requested = newest_durable_request_.load(std::memory_order_acquire);
    if (requested <= known_durable_.load(std::memory_order_relaxed)) [[likely]]
      return true;
    const store::Index durable = store_->durable_index();
    known_durable_.store(durable, std::memory_order_relaxed);  // an older one is true, too
    return requested <= durable;
  }

 private:
  friend class ViewCore;
  friend class StoreCheck;

  /// For the next checkpoint, in the order of commits.
  struct Changes {
    std::vector<store::PageKey> pages;
    std::vector<std::pair<ObjectId, std::uint8_t>> capacity_log2;  ///< created or resized
    std::vector<ObjectId> erased;
  };

  [[nodiscard]] txn::HomeObject* find_mapped(const ObjectId& id);
  [[nodiscard]] Result<txn::HomeObject*> find_or_map(const ObjectId& id);
  [[nodiscard]] Result<txn::HomeObject*> make_image(const ObjectId& id, unsigned capacity_log2,
                                                    bool fresh) DOLMEN_REQUIRES(map_mutex_);
  [[nodiscard]] Result<void> move_to_class(const ObjectId& id, unsigned capacity_log2);
  [[nodiscard]] Result<txn::HomeObject*> move_image(txn::Transaction& transaction,
                                                    txn::HomeObject& object,
                                                    unsigned capacity_log2);
  static void settle_resize(const txn::Resized& resized, store::Index index);
  void exchange_images(const txn::Resized& resized, store::Index index);
  [[nodiscard]] Result<txn::HomeObject*> map_object(const ObjectId& id, unsigned capacity_log2,
                                                    bool fresh) DOLMEN_REQUIRES(map_mutex_);
  void drop_former(std::optional<store::Index> ended) DOLMEN_REQUIRES(map_mutex_);
  void destroy(txn::HomeObject& image);
  void store_cell(const std::byte* slot, std::uint32_t index, std::uintptr_t base)
      DOLMEN_REQUIRES(table_mutex_);
  void remember_cell(const std::byte* slot, std::uint32_t index, std::uintptr_t base,
                     std::uint64_t stamp) DOLMEN_EXCLUDES(table_mutex_);
  [[nodiscard]] Result<store::Index> commit_described(txn::Transaction& transaction, bool durable);
  [[nodiscard]] Result<store::Index> append(txn::Transaction& transaction, bool durable);
  void finish(txn::Transaction& transaction, bool committed, store::Index index) noexcept;
  void release_locks(txn::Transaction& transaction);
  [[nodiscard]] Result<store::Index> transact_once(txn::ThreadLine& line,
                                                   txn::Transaction& transaction,
                                                   std::span<Named> named, bool any_object,
                                                   std::vector<ObjectId>& larger, bool durable,
                                                   Body body);
  [[nodiscard]] Result<void> join(std::span<Named> named, bool all, bool write, Body body);
  void note_damage(txn::HomeObject& object, const Error& error) noexcept;
  [[nodiscard]] Result<void> scope_intact(const Section& section) const;
  void open_image(Section& section, txn::HomeObject& image);
  [[nodiscard]] Result<void> open_and_call(Section& section, std::span<Named> named, Body body);
  [[nodiscard]] Result<void> fill_root(Section& section, txn::HomeObject& image, Named& object,
                                       bool write);

  sys::Env env_;
  std::unique_ptr<store::Store> store_;
  const std::atomic<bool>& store_failed_;
  CoreOptions options_;
  std::unique_ptr<txn::LockTable> locks_;
  txn::Versions versions_;

  base::Mutex map_mutex_;  ///< serialises mapping of objects
  txn::ObjectMap objects_;
  /// Images that are not in the map: by id, also such as are being moved to; and by the commit that
  /// ended them.
  std::unordered_multimap<ObjectId, txn::HomeObject*> former_ DOLMEN_GUARDED_BY(map_mutex_);
  std::multimap<store::Index, txn::HomeObject*> former_by_end_ DOLMEN_GUARDED_BY(map_mutex_);
  /// Images that nobody can find any more, with the epoch in which that came about.
  std::vector<std::pair<std::uint64_t, txn::HomeObject*>> dropped_ DOLMEN_GUARDED_BY(map_mutex_);
  std::atomic<std::size_t> former_count_{0};
  std::atomic<std::size_t> dropped_count_{0};
  std::atomic<std::uint32_t> map_users_{0};  ///< threads outside sections that hold image pointers
  std::unordered_map<ObjectId, store::Index> erased_ids_
      DOLMEN_GUARDED_BY(map_mutex_);  ///< until checkpointed
  base::Mutex table_mutex_;
  std::vector<std::unique_ptr<std::uintptr_t[]>> retired_tables_ DOLMEN_GUARDED_BY(table_mutex_);

  std::atomic<std::uint64_t> table_version_;
  std::atomic<store::Index> newest_durable_request_{0};
  mutable std::atomic<store::Index> known_durable_{0};  ///< durable, perhaps not the newest
  std::atomic<std::uint64_t> commits_{0};
  std::atomic<std::uint64_t> aborts_{0};
  std::atomic<std::uint64_t> views_made_{0};
  std::atomic<std::uint32_t> huge_objects_{0};
  std::atomic<std::uint16_t> damage_{0};  ///< HomeObject::damage of the first damaged image
  const std::uint64_t fork_generation_;
  std::atomic<bool> closed_{false};
  Result<void> closed_with_;  ///< what close() gave

  ObjectId catalog_id_;
  base::Mutex describe_mutex_;
  base::Mutex types_mutex_;
  std::unordered_set<std::uint32_t> known_types_
      DOLMEN_GUARDED_BY(types_mutex_);  ///< described in the space

  // Append critical section:
  std::uint32_t dirty_generation_ = 1;
  Changes changes_;
  base::Mutex checkpoint_mutex_;  ///< one checkpoint at a time
  /// What checkpoints took on that were not written, the oldest first.
  std::list<Changes> unwritten_ DOLMEN_GUARDED_BY(checkpoint_mutex_);
};

/// The ambient section, or null.
[[nodiscard]] inline Section* current_section() noexcept {
  return static_cast<Section*>(ambient.section);
}
/// The transaction of the ambient section, or null.
[[nodiscard]] inline const txn::Transaction* current_transaction() noexcept {
  const Section* section = current_section();
  return section == nullptr ? nullptr : section->transaction;
}
[[nodiscard]] inline txn::HomeObject* home_of(const void* address) noexcept {
  Mapping& mapping = mapping_of(address);
  return mapping.kind == 1 ? static_cast<txn::HomeObject*>(mapping.record) : nullptr;
}
/// "Page.next of object 1234…": where an address lies, for error messages. Never throws.
[[nodiscard]] const char* describe_place(const void* address) noexcept;
/// The same for the place of a pointer; "ptr<Page>" off the arena, "link<Page>" for no place.
[[nodiscard]] const char* describe_pointer(const void* place, TypeOf type) noexcept;
/// Throws AccessError unless a `type` lies at `offset`: out_of_bounds, wrong_type.
void check_target(SpaceCore& core, const object::HeapReader& heap, std::uint64_t offset,
                  TypeOf type, const void* place);

}  // namespace dolmen::detail
