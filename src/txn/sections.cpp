// SPDX-License-Identifier: Apache-2.0
//
// transact() and read(): scopes, nesting, re-runs. One ambient section per thread; a section inside
// a section either joins it (its objects are in scope already) or is refused with the remedy.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "object/heap.hpp"
#include "txn/space_core.hpp"
#include "txn/types.hpp"
#include "txn/view_core.hpp"

namespace dolmen::detail {

using store::Index;
using txn::HomeObject;
using txn::LockTable;
using txn::ThreadLine;
using txn::Transaction;

[[gnu::tls_model("initial-exec")]] thread_local constinit Ambient ambient;

namespace {

Transaction& thread_transaction(ThreadLine& line) {
  if (line.transaction == nullptr) line.transaction = new Transaction;
  return *line.transaction;
}

/// Makes `section` the thread's ambient one.
void begin_ambient(Section& section, SectionKind kind, std::uint64_t stamp) noexcept {
  ambient.section = &section;
  ambient.kind = kind;
  ambient.stamp = stamp;
  if (++ambient.section_stamp == 0) ambient.section_stamp = 1;
  std::atomic_signal_fence(std::memory_order_seq_cst);  // the fault handler looks for it
}
void end_ambient() noexcept {
  ambient.section = nullptr;
  ambient.kind = SectionKind::none;
  ambient.stamp = ~std::uint64_t{0};
  if (++ambient.section_stamp == 0) ambient.section_stamp = 1;
}

/// The same for a scope.
class AmbientScope {
 public:
  AmbientScope(Section& section, SectionKind kind, std::uint64_t stamp) noexcept {
    begin_ambient(section, kind, stamp);
  }
  ~AmbientScope() { end_ambient(); }
  AmbientScope(const AmbientScope&) = delete;
  AmbientScope& operator=(const AmbientScope&) = delete;
};

bool contains(const std::vector<HomeObject*>& open, const HomeObject* object) noexcept {
  return std::find(open.begin(), open.end(), object) != open.end();
}

/// Whether an object of that capacity can hold a root of the type at `offset`.
bool holds_root(unsigned capacity_log2, std::uint64_t offset, const TypeInfo& type) noexcept {
  return offset != 0 && (offset & (type.align - 1)) == 0 &&
         offset + type.size <= (std::uint64_t{1} << capacity_log2);
}

/// The root's address if header and type are as they should be, else null: checked_root() says what
/// is wrong.
std::byte* sound_root(const HomeObject& image, const TypeInfo& type) noexcept {
  const auto field = [&](std::size_t offset) {
    std::uint32_t value;
    std::memcpy(&value, image.base + offset, sizeof value);
    return value;
  };
  const std::uint32_t offset = field(offsetof(object::ObjectHeader, root_offset));
  const bool sound = field(offsetof(object::ObjectHeader, magic)) == object::kObjectMagic &&
                     holds_root(image.capacity_log2(), offset, type) &&
                     field(offsetof(object::ObjectHeader, root_type)) == type_tag(type);
  return sound ? image.base + offset : nullptr;
}

/// The stripes of a read section's objects, or all.
class SharedLocks {
 public:
  SharedLocks(LockTable& locks, ThreadLine& line, std::span<const Named> named,
              bool everything_open)
      : locks_(locks), line_(line) {
    if (named.size() == 1 && locks.enter_biased(LockTable::stripe_of(named[0].id), line)) [[likely]]
      return;
    lock(named, everything_open);
  }
  ~SharedLocks() { locks_.unlock_shared(line_); }
  SharedLocks(const SharedLocks&) = delete;
  SharedLocks& operator=(const SharedLocks&) = delete;

 private:
  [[gnu::noinline]] void lock(std::span<const Named> named, bool everything_open) {
    std::array<std::uint16_t, txn::ReadStripes::kMax> stripes;
    if (everything_open || named.size() > stripes.size()) return locks_.lock_shared_all(line_);
    std::ranges::transform(named, stripes.begin(),
                           [](const Named& object) { return LockTable::stripe_of(object.id); });
    locks_.lock_shared(std::span(stripes.data(), named.size()), line_);
  }

  LockTable& locks_;
  ThreadLine& line_;
};

}  // namespace

Result<void> SpaceCore::usable() const {
  if (forked()) return fail(Errc::forked);
  if (closed_.load(std::memory_order_relaxed)) return fail(Errc::closed);
  if (store_->failed()) return fail(Errc::store_failed);
  return {};
}

Result<std::byte*> SpaceCore::checked_root(std::byte* base, TypeOf type) {
  const object::ObjectHeader header = object::load_header(base);
  const Mapping& mapping = mapping_of(base);
  if (header.magic != object::kObjectMagic || header.root_offset == 0) {
    return fail(Errc::corrupt, interned("header of object " + mapping.id.to_string()));
  }
  if (header.root_type != type_tag(type())) {
    return fail(Errc::layout_changed, txn::layout_difference(*this, header.root_type, type()));
  }
  if (!holds_root(mapping.capacity_log2, header.root_offset, type())) {
    return fail(Errc::corrupt, interned("root of object " + mapping.id.to_string()),
                header.root_offset);
  }
  return base + header.root_offset;
}

/// Opens the named objects and runs the body; AccessError becomes the result.
Result<void> SpaceCore::open_and_call(Section& section, std::span<Named> named, Body body) {
  try {
    for (Named& object : named) {
      // Looked up under the locks: images cannot move any more.
      HomeObject* image = recent_home(object.id);
      if (image == nullptr) [[unlikely]] {
        DOLMEN_TRY(image, home(object.id));
      }
      open_image(section, *image);
      DOLMEN_CHECK(fill_root(section, *image, object, section.transaction != nullptr));
    }
    return body.call(body.context);
  } catch (const AccessError& access) {
    return std::unexpected(access.error());
  }
}

/// Whether what the section saw can be trusted: pages that could not be read lie there as zeros,
/// also for those who come later.
inline Result<void> SpaceCore::scope_intact(const Section& section) const {
  std::atomic_signal_fence(std::memory_order_seq_cst);  // the fault handler may have noted damage
  if (section.damage) [[unlikely]]
    return std::unexpected(*section.damage);
  if (damage_.load(std::memory_order_acquire) == 0) [[likely]]
    return {};
  if (ambient.kind == SectionKind::read_all) {
    return fail(static_cast<Errc>(damage_.load(std::memory_order_relaxed)),
                "a page of some object could not be read");
  }
  for (const HomeObject* object : *section.open) {
    if (!is_gone(*object, section.transaction)) DOLMEN_CHECK(intact(*object));
  }
  return {};
}

/// Brings an object into scope. Requires: its lock is held.
inline void SpaceCore::open_image(Section& section, HomeObject& image) {
  if (contains(*section.open, &image)) return;
  section.open->push_back(&image);
  if (section.transaction != nullptr) {
    image.writer.store(section.transaction, std::memory_order_release);
  }
}

/// Checks a named object of the scope and says where its root is; logs it if it is to be written.
Result<void> SpaceCore::fill_root(Section& section, HomeObject& image, Named& object, bool write) {
  if (is_gone(image, section.transaction)) [[unlikely]] {
    return fail(Errc::not_found, "erased object", object.id.low);
  }
  DOLMEN_CHECK(intact(image));
  if (object.type == nullptr) return {};  // the object as a whole (resize)
  std::byte* root = sound_root(image, object.type());
  if (root == nullptr) [[unlikely]] {
    DOLMEN_TRY(root, checked_root(image.base, object.type));
  }
  if (section.damage) [[unlikely]]
    return std::unexpected(*section.damage);
  if (LookedUp& recent = looked_up[object.id.low % looked_up.size()]; recent.object == &image) {
    recent.type = object.type;
    recent.root = root;
  }
  object.root = root;
  if (!write || !object.root_edited) return {};
  if (!section.transaction->log(image, root, object.type().size)) {
    return std::unexpected(section.transaction->refusal());
  }
  return {};
}

/// A section inside a section of this thread.
Result<void> SpaceCore::join(std::span<Named> named, bool all, bool write, Body body) {
  Section& outer = *current_section();
  if (outer.core != this) return fail(Errc::nested, "a section of another space is open");
  if (write && ambient.kind != SectionKind::transact) return fail(Errc::would_deadlock);
  if (all && !write && ambient.kind != SectionKind::read_all) {
    return fail(Errc::nested, "read(everything) inside a section");
  }
  if (all && write && !outer.any)
    return fail(Errc::nested, "transact(any) inside transact(objects)");
  try {
    for (Named& object : named) {
      DOLMEN_TRY(HomeObject* const image, home(object.id));
      if (ambient.kind != SectionKind::read_all && !contains(*outer.open, image)) {
        if (!outer.any) return fail(Errc::nested, "object of the inner section");
        lock_late(outer, *image);
      }
      DOLMEN_CHECK(fill_root(outer, *image, object, write));
    }
    auto outcome = body.call(body.context);
    // The inner body's changes are part of the outer transaction: it cannot go on without them
    // undone.
    if (!outcome && write && !outer.transaction->failure)
      outer.transaction->failure = outcome.error();
    return outcome;
  } catch (const AccessError& access) {
    return std::unexpected(access.error());
  } catch (...) {
    if (write && !outer.transaction->failure) outer.transaction->failure = Error(Errc::aborted);
    throw;
  }
}

Result<void> SpaceCore::run_transact(std::span<Named> named, bool any_object,
                                     const TransactOptions& options, Body body) {
  if (!is_usable()) [[unlikely]]
    return usable();
  if (options_.read_only) return fail(Errc::read_only, options_.how_to_write);
  if (ambient.kind != SectionKind::none) return join(named, any_object, true, body);

  ThreadLine& line = txn::thread_line();
  Transaction& transaction = thread_transaction(line);
  const bool durable = options.durability == Durability::durable;
  std::vector<ObjectId> larger;  // what a former run wanted beyond `named`
  for (;;) {
    const auto index = transact_once(line, transaction, named, any_object, larger, durable, body);
    if (!index) {
      const bool again = !transaction.wanted.empty() && options.run == Run::retry &&
                         index.error().code() == Errc::conflict;  // else memory for `larger`
      if (!again) {
        // An error that the body gives may tell what it saw, too.
        if (durable) DOLMEN_CHECK(wait_observed());
        return std::unexpected(index.error());
      }
      DOLMEN_PROBE("txn.rerun_with_larger_set");
      larger.insert(larger.end(), transaction.wanted.begin(), transaction.wanted.end());
      std::sort(larger.begin(), larger.end());
      larger.erase(std::unique(larger.begin(), larger.end()), larger.end());
      continue;
    }
    if (options.ticket != nullptr) *options.ticket = {.index = *index};
    versions_.make_room();
    if (!durable) return {};
    if (DOLMEN_PLANTED("txn.ack_before_sync")) return {};
    // A transaction that changed nothing is a read: what it saw must be durable, not everything.
    const bool is_read = transaction.index.load(std::memory_order_relaxed) == 0;
    DOLMEN_CHECK(is_read ? wait_observed() : store_->wait_durable(*index));
    if (options.ticket != nullptr) options.ticket->level = Durability::durable;
    return {};
  }
}

/// One run of the body, under the locks of `named` and `larger`, and its commit. When a late lock
/// was not got, `larger` grows by what the run had opened, and the transaction says what it wanted.
Result<Index> SpaceCore::transact_once(ThreadLine& line, Transaction& transaction,
                                       std::span<Named> named, bool any_object,
                                       std::vector<ObjectId>& larger, bool durable, Body body) {
  transaction.reset();
  transaction.bytes_max = options_.max_transaction_bytes;
  if (options_.guard_stores) [[unlikely]]
    transaction.guard(*env_.memory);
  Section section;
  section.core = this;
  section.transaction = &transaction;
  section.open = &transaction.open;
  section.any = any_object;

  // Stripes follow from ids alone.
  auto& stripes = transaction.stripes;
  for (const Named& object : named) stripes.push_back(LockTable::stripe_of(object.id));
  for (const ObjectId& id : larger) stripes.push_back(LockTable::stripe_of(id));
  if (stripes.size() > 1) {
    std::sort(stripes.begin(), stripes.end());
    stripes.erase(std::unique(stripes.begin(), stripes.end()), stripes.end());
  }
  locks_->enter_writer(stripes, &transaction, line);
  struct Leave {
    SpaceCore& core;
    ThreadLine& line;
    const Transaction& transaction;
    ~Leave() {
      core.locks_->leave_writer(line);
      if (!transaction.erased.empty() || core.dropped_count_.load(std::memory_order_acquire) != 0)
        core.collect_images();
    }
  };
  const Leave leave{*this, line, transaction};
  Result<void> outcome;
  std::exception_ptr foreign;
  try {
    for (const ObjectId& id : larger) {
      if (const auto image = home(id)) open_image(section, **image);  // else erased meanwhile
    }
    const AmbientScope scope(section, SectionKind::transact, ~std::uint64_t{0});
    outcome = open_and_call(section, named, body);
    if (const auto sound = scope_intact(section); !sound) [[unlikely]]
      outcome = sound;
  } catch (...) {
    foreign = std::current_exception();
  }
  // Whatever the body made of a lock that it did not get (it may take it for "no such object"), the
  // run says nothing about the space.
  if (!transaction.wanted.empty()) [[unlikely]] {
    if (outcome || foreign || outcome.error().code() != Errc::conflict) {
      outcome = fail(Errc::conflict, "late lock");
    }
    foreign = nullptr;
  }
  if (foreign) [[unlikely]] {
    abort(transaction);
    std::rethrow_exception(foreign);
  }
  if (outcome && transaction.failure) outcome = std::unexpected(*transaction.failure);
  if (!outcome) [[unlikely]] {
    try {
      if (!transaction.wanted.empty()) {
        for (const HomeObject* object : transaction.open) {
          if (!object->fresh) larger.push_back(object->id());
        }
      }
    } catch (const std::bad_alloc&) {
      outcome = fail(Errc::out_of_memory, "transaction");
    }
    abort(transaction);
    return std::unexpected(outcome.error());
  }
  return commit(transaction, durable);
}

Result<void> SpaceCore::run_read(std::span<Named> named, bool everything_open,
                                 const ReadOptions& options, Body body) {
  if (!is_usable()) [[unlikely]]
    return usable();
  if (ambient.kind != SectionKind::none) [[unlikely]]
    return join(named, everything_open, false, body);

  ThreadLine& line = txn::thread_line();
  Result<void> outcome;
  Section section;
  section.core = this;
  section.open = &line.open;
  {
    const SharedLocks locked(*locks_, line, named, everything_open);
    const AmbientScope scope(section, everything_open ? SectionKind::read_all : SectionKind::read,
                             everything_open ? table_version() : ~std::uint64_t{0});
    line.open.clear();
    outcome = open_and_call(section, named, body);
    if (const auto sound = scope_intact(section); !sound) [[unlikely]]
      outcome = sound;
  }
  // An error that the body gives may tell what it saw, too.
  if (options.level == Level::durable && !observed_is_durable()) [[unlikely]]
    DOLMEN_CHECK(wait_observed());
  return outcome;
}

// --- the short way through a read section -------------------------------------------------------

namespace {
/// Of the thread, so that beginning a section sets little.
struct KnownReadSection {
  Section section;
  Error error{Errc::closed};  ///< what leave_known_read() gave last
};
[[gnu::tls_model("initial-exec")]] thread_local constinit KnownReadSection known_read;
}  // namespace

[[gnu::always_inline]] inline const void* SpaceCore::enter_known_read(const ObjectId& id,
                                                                      TypeOf type,
                                                                      ThreadLine& line) noexcept {
  const bool entered = locks_->enter_biased(LockTable::stripe_of(id), line);
  const LookedUp* const recent = recently(id);
  if (!entered || recent == nullptr || recent->type != type || line.open.size() != 1 ||
      recent->object->erased.load(std::memory_order_acquire) != 0 ||
      damage_.load(std::memory_order_acquire) != 0) [[unlikely]] {
    locks_->leave_biased(line);
    return nullptr;
  }
  DOLMEN_PROBE("txn.known_read");
  Section& section = known_read.section;
  section.core = this;
  section.open = &line.open;
  section.damage.reset();
  line.open.front() = recent->object;
  begin_ambient(section, SectionKind::read, ~std::uint64_t{0});
  return recent->root;
}

inline void SpaceCore::abandon_known_read() noexcept {
  end_ambient();
  locks_->leave_biased(*txn::own_thread_line);
}

[[gnu::always_inline]] inline const Error* SpaceCore::leave_known_read(Level level) {
  std::atomic_signal_fence(std::memory_order_seq_cst);  // the fault handler may have noted damage
  const bool damaged =
      known_read.section.damage.has_value() || damage_.load(std::memory_order_acquire) != 0;
  if (damaged || (level == Level::durable && !observed_is_durable())) [[unlikely]]
    return leave_known_read_slowly(level);
  abandon_known_read();
  return nullptr;
}

const Error* SpaceCore::leave_known_read_slowly(Level level) {
  Result<void> outcome;
  {
    struct Leave {
      SpaceCore& core;
      ~Leave() { core.abandon_known_read(); }
    };
    const Leave leave{*this};  // also where there is no memory to say what is damaged
    outcome = scope_intact(known_read.section);
  }
  if (level == Level::durable) {
    if (const auto waited = wait_observed(); !waited) outcome = waited;
  }
  if (outcome) return nullptr;
  known_read.error = outcome.error();
  return &known_read.error;
}

const void* enter_known_read(SpaceCore& core, const ObjectId& id, TypeOf type) noexcept {
  ThreadLine* const line = txn::own_thread_line;
  if (line == nullptr || ambient.kind != SectionKind::none || !core.is_usable()) [[unlikely]]
    return nullptr;
  return core.enter_known_read(id, type, *line);
}

const Error* leave_known_read(SpaceCore& core, Level level) { return core.leave_known_read(level); }

void abandon_known_read(SpaceCore& core) noexcept { core.abandon_known_read(); }

void SpaceCore::lock_late(Section& section, HomeObject& object) {
  DOLMEN_ASSERT(section.transaction != nullptr);
  Transaction& transaction = *section.transaction;
  const std::uint16_t stripe = LockTable::stripe_of(object.id());
  const auto& stripes = transaction.stripes;
  // Memory first: a lock that is taken is on the list.
  txn::make_room_for_one(transaction.stripes);
  txn::make_room_for_one(transaction.open);
  if (std::find(stripes.begin(), stripes.end(), stripe) == stripes.end()) {
    if (DOLMEN_BUGGIFY("txn.late_lock_fails") ||
        !locks_->try_lock(stripe, &transaction, &txn::thread_line())) {
      transaction.wanted.push_back(object.id());
      throw_error(Errc::conflict, "late lock");
    }
    transaction.stripes.push_back(stripe);
  }
  if (object.moved.load(std::memory_order_acquire) != 0) {
    transaction.wanted.push_back(object.id());
    throw_error(Errc::conflict, "object moved");
  }
  object.writer.store(&transaction, std::memory_order_release);
  transaction.open.push_back(&object);
}

void SpaceCore::require_in_scope(Section& section, HomeObject& object, const void* place,
                                 TypeOf type) {
  if (ambient.kind == SectionKind::read_all) return;
  if (section.transaction != nullptr ? section.transaction->holds(object)
                                     : contains(*section.open, &object)) {
    return;
  }
  if (!section.any) throw_error(Errc::not_named, describe_pointer(place, type));
  lock_late(section, object);
}

Result<void> run_transact(SpaceCore& core, std::span<Named> named, bool any_object,
                          const TransactOptions& options, Body body) {
  return core.run_transact(named, any_object, options, body);
}

Result<void> run_read(SpaceCore& core, std::span<Named> named, bool everything_open,
                      const ReadOptions& options, Body body) {
  return core.run_read(named, everything_open, options, body);
}

void throw_error(Errc code, const char* context, std::uint64_t detail) {
  throw_error(Error(code, context, detail));
}

void throw_error(const Error& error) {
  if (Section* section = current_section();
      section != nullptr && section->transaction != nullptr && !section->transaction->failure) {
    // Half-done library calls must not be committed by a body that swallows the exception.
    section->transaction->failure = error;
  }
  throw AccessError(error);
}

}  // namespace dolmen::detail
