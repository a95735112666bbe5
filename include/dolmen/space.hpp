// SPDX-License-Identifier: Apache-2.0
//
// A space: objects with ordinary, pointer-rich structures in them, kept in one directory. Change
// them in transact(), read them in read() or, for as long as you like, in a view().
//
//   auto space = dolmen::Space::open("web.dolmen").value();
//   auto web = space.find_or_create<Web>("crawl").value();
//   space.transact(web, [&](dolmen::mut<Web> w) { w->count += 1; }).value();   // durable on return
//   space.read(web, [](dolmen::ref<Web> w) { return w->count; }).value();
//   auto view = space.view().value();
//   use(view[web]->count);
//
// Bodies: may run more than once (unless Run::once). A run in which a lock was not got counts as
// nothing, whatever the body makes of the Errc::conflict that it sees. An exception of the body's
// own aborts and is rethrown; a body that returns a Result with an error aborts with that error.
// AccessError inside a body becomes the call's Result. After an abort every byte is as before.
//
// Threads: a Space may be used from any thread at once; a section belongs to the thread that runs
// its body (a thread started inside has no transaction). A View may be used by several threads.
//
// Processes: once a process has opened a space, a child that it forks has none of the memory of
// objects. There every call gives Errc::forked, and closing or destroying what it inherited does
// nothing; an address in an object that it follows all the same, or the end of a body in which it
// was forked and that changed something, ends it by SIGSEGV. A child that runs exec(), or was
// forked before, is a process like any other.
#pragma once

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <dolmen/detail/body_signature.hpp>
#include <dolmen/error.hpp>
#include <dolmen/id.hpp>
#include <dolmen/ptr.hpp>
#include <dolmen/reflect.hpp>

namespace dolmen {

/// When transact() returns with success.
enum class Durability : std::uint8_t {
  durable,   ///< the commit is on the disk (one fdatasync, shared with everybody who waits)
  deferred,  ///< the commit is visible; a crash may lose it and everything after it. See Ticket
};

enum class Run : std::uint8_t {
  retry,  ///< on conflict the body runs again
  once,   ///< on conflict the result is Errc::conflict
};

/// What a read section or view may have observed when it returns.
enum class Level : std::uint8_t {
  durable,  ///< only what is durable, as far as its writer asked for durability
  visible,  ///< also commits that a crash may still lose
};

/// A commit's position in the space's history, and how safe it was when transact() returned.
/// Space::wait() makes everything up to it durable.
struct Ticket {
  std::uint64_t index = 0;
  Durability level = Durability::deferred;
};

struct TransactOptions {
  Durability durability = Durability::durable;
  Run run = Run::retry;
  Ticket* ticket = nullptr;  ///< if given, receives the commit's position
};

struct ReadOptions {
  Level level = Level::durable;
};

struct SpaceOptions {
  bool create = true;      ///< make the space if the directory does not exist or is empty
  bool read_only = false;  ///< works beside a writer; transact() gives read_only
  std::chrono::milliseconds patience{30'000};  ///< of a cluster's: without any answer
  /// Memory that one transaction may need beside its objects: the pre-images of what it changes (80
  /// bytes for every 64 that it touches) and its commit record (what differs) together. Beyond that
  /// the transaction is too_large, before anything of it is in the log. So is one whose record
  /// would fill 152 segments of the log.
  std::uint64_t max_transaction_bytes = 256u << 20;
  /// Memory for pages that writers have replaced and views still need. Beyond it they go to a file
  /// in the space's directory. If that file cannot be written, the oldest views end: reading in
  /// them gives the file's error (no_space, io_error) from then on, and writers go on.
  std::uint64_t view_memory_bytes = 64u << 20;
  bool background = true;  ///< checkpoints and log preparation in a thread of the space
  std::uint64_t log_tail_bytes_max = 64u << 20;  ///< at creation: log kept before a checkpoint
  std::uint32_t log_segment_bytes = 16u << 20;   ///< at creation
  /// Debug mode: stores past mut<T> and the containers are caught (docs/debugging.md). Also
  /// switched on by the environment: DOLMEN_GUARD_STORES=1.
  bool guard_stores = false;
};

struct ObjectOptions {
  /// Address space of the object, rounded up to a power of two from 512 B to 1 GiB. Only touched
  /// pages cost memory or disk.
  std::uint64_t capacity = 64u << 20;
};

struct SpaceStats {
  ObjectId space_id;
  std::uint64_t last_index = 0;
  std::uint64_t durable_index = 0;
  std::uint64_t checkpoint_index = 0;
  std::uint64_t log_tail_bytes = 0;
  std::uint64_t log_disk_bytes = 0;
  std::uint64_t pages_disk_bytes = 0;
  std::uint64_t pages_live_bytes = 0;
  std::uint64_t objects_mapped = 0;
  std::uint64_t views_live = 0;
  std::uint64_t version_bytes = 0;       ///< page versions kept for views, in memory
  std::uint64_t version_disk_bytes = 0;  ///< the same, in the space's scratch file
  std::uint64_t commits = 0;
  std::uint64_t aborts = 0;
  std::uint64_t syncs = 0;
};

struct NameEntry {
  std::string name;
  ObjectId object;
  std::string type;
};

/// Read access to one T within a section.
template <class T>
class ref {
 public:
  explicit ref(const T* address) noexcept : address_(address) {}
  [[nodiscard]] const T* get() const noexcept { return address_; }
  const T* operator->() const noexcept { return address_; }
  const T& operator*() const noexcept { return *address_; }
  operator ptr<T>() const { return ptr_to(*address_); }  // NOLINT(google-explicit-constructor)

 private:
  const T* address_;
};

/// Names an object whose root is a T. A value: cheap to copy, keeps nothing alive.
template <class T>
class Object {
 public:
  using root_type = T;
  constexpr Object() noexcept = default;
  constexpr explicit Object(ObjectId id) noexcept : id_(id) {}
  [[nodiscard]] constexpr const ObjectId& id() const noexcept { return id_; }
  friend constexpr auto operator<=>(const Object&, const Object&) = default;

 private:
  ObjectId id_{};
};

/// `transact(any, body)`: the body edits whatever it reaches; locks are taken on first use.
struct Any {};
inline constexpr Any any{};
/// `read(everything, body)`: the body may follow every pointer; writers wait meanwhile.
struct Everything {};
inline constexpr Everything everything{};

namespace detail {

class SpaceCore;  // txn layer
class ViewCore;

struct Named {
  ObjectId id;
  const TypeInfo& (*type)() = nullptr;
  void* root = nullptr;      ///< filled in before the body runs
  bool root_edited = false;  ///< the body takes it as mut
};

/// A callable by reference.
struct Body {
  void* context;
  Result<void> (*call)(void*);
};

Result<void> run_transact(SpaceCore& core, std::span<Named> named, bool any_object,
                          const TransactOptions& options, Body body);
Result<void> run_read(SpaceCore& core, std::span<Named> named, bool everything,
                      const ReadOptions& options, Body body);
/// Begins a read section of one object on the short way: if this thread has read it before, its
/// readers need no fence, and nothing else stands against it. Gives the root, and
/// leave_known_read() must follow; or null with nothing done, for run_read() to say what is wrong.
[[nodiscard]] const void* enter_known_read(SpaceCore& core, const ObjectId& object,
                                           const TypeInfo& (*type)()) noexcept;
/// Ends it. Null, or why nothing that it read may be relied on: this thread's, until its next
/// section.
[[nodiscard]] const Error* leave_known_read(SpaceCore& core, Level level);
/// Ends it for an exception, which waits for nothing.
void abandon_known_read(SpaceCore& core) noexcept;
Result<ObjectId> create_object(SpaceCore& core, const TypeInfo& (*type)(), std::size_t root_bytes,
                               const ObjectOptions& options, const std::string_view* name,
                               void (*construct)(void*));
Result<ObjectId> find_object(SpaceCore& core, std::string_view name, const TypeInfo& (*type)());
/// The root's address in the ambient section. Throws AccessError.
void* section_root(SpaceCore* core, const ObjectId& object, const TypeInfo& (*type)(), bool write);
const void* view_address(ViewCore& view, const ObjectId& object, std::uint64_t offset,
                         const TypeInfo& (*type)(), bool root);
/// Damage that reading through this view has met so far.
Result<void> view_intact(const ViewCore& view);
const void* section_address(SpaceCore* core, const ObjectId& object, std::uint64_t offset,
                            const TypeInfo& (*type)());

template <class T>
struct IsResult : std::false_type {};
template <class T>
struct IsResult<Result<T>> : std::true_type {
  using Wrapped = T;
};

/// Runs `function`, which returns void, R or Result<R>, as a Body and keeps its value.
template <class Function>
class BodyWithResult {
 public:
  using Returned = std::invoke_result_t<Function>;
  static constexpr bool kIsResult = IsResult<Returned>::value;
  static constexpr bool kIsVoid = std::is_void_v<Returned>;
  using Value = typename std::conditional_t<kIsResult, IsResult<Returned>,
                                            IsResult<Result<Returned>>>::Wrapped;

  explicit BodyWithResult(Function& function) noexcept : function_(function) {}
  [[nodiscard]] Body body() noexcept { return Body{this, &BodyWithResult::call}; }
  [[nodiscard]] Result<Value> finish(Result<void> outcome) {
    if (!outcome) return std::unexpected(outcome.error());
    if constexpr (std::is_void_v<Value>) {
      return {};
    } else {
      return std::move(*value_);
    }
  }

 private:
  static Result<void> call(void* self_address) {
    auto& self = *static_cast<BodyWithResult*>(self_address);
    if constexpr (kIsVoid) {
      self.function_();
      return {};
    } else if constexpr (kIsResult) {
      auto result = self.function_();
      if (!result) return std::unexpected(result.error());
      if constexpr (!std::is_void_v<Value>) self.value_.emplace(std::move(*result));
      return {};
    } else {
      self.value_.emplace(self.function_());
      return {};
    }
  }

  struct Nothing {};
  Function& function_;
  std::optional<std::conditional_t<std::is_void_v<Value>, Nothing, Value>> value_;
};

/// Calls `function`, which returns void, R or Result<R>; AccessError becomes the result.
template <class Function, class Argument>
auto call_body(Function& function, Argument argument) {
  using Returned = std::invoke_result_t<Function&, Argument>;
  using Outcome = std::conditional_t<IsResult<Returned>::value, Returned, Result<Returned>>;
  try {
    if constexpr (std::is_void_v<Returned>) {
      std::invoke(function, std::move(argument));
      return Outcome();
    } else if constexpr (IsResult<Returned>::value) {
      return Outcome(std::invoke(function, std::move(argument)));
    } else {
      return Outcome(std::in_place, std::invoke(function, std::move(argument)));
    }
  } catch (const AccessError& access) {
    return Outcome(std::unexpect, access.error());
  }
}

/// A section on the short way, ended when an exception passes.
class KnownRead {
 public:
  KnownRead(SpaceCore& core, Level level) noexcept : core_(&core), level_(level) {}
  ~KnownRead() {
    if (core_ != nullptr) abandon_known_read(*core_);
  }
  KnownRead(const KnownRead&) = delete;
  KnownRead& operator=(const KnownRead&) = delete;
  [[nodiscard]] const Error* leave() {
    return leave_known_read(*std::exchange(core_, nullptr), level_);
  }

 private:
  SpaceCore* core_;
  Level level_;
};

/// The root of the I-th object in the arguments of a section.
template <class Tuple, std::size_t I>
using RootOf =
    typename std::remove_cvref_t<std::tuple_element_t<I, std::remove_cvref_t<Tuple>>>::root_type;

/// How the body sees it: in a transaction as mut, unless it asks for a ref.
template <bool kWrite, class Tuple, class Body, std::size_t I>
inline constexpr bool edits_root = kWrite && !takes<Body, I, ref<RootOf<Tuple, I>>>();

template <bool kWrite, class Body, class Tuple, std::size_t... I>
auto named_array(const Tuple& objects, std::index_sequence<I...>) {
  return std::array<Named, sizeof...(I)>{Named{std::get<I>(objects).id(),
                                               &type_info<RootOf<Tuple, I>>, nullptr,
                                               edits_root<kWrite, Tuple, Body, I>}...};
}

template <bool kEdited, class T>
auto root_access(void* root) {
  if constexpr (kEdited) {
    check_editable_whole<T>();
    return Access::make_mut(static_cast<T*>(root));
  } else {
    return ref<T>(static_cast<const T*>(root));
  }
}

}  // namespace detail

/// Everything as of one commit. Blocks nobody and is blocked by nobody, however long it lives.
/// Pointers read in a view stay in that view. Move-only; its addresses die with it. Must not
/// outlive its Space.
///
/// A page that cannot be read, or fails its checksum, reads as zeros: read() tells, and so does the
/// next access through operator[]; a bare walk between them does not.
class View {
 public:
  View(View&& other) noexcept;
  View& operator=(View&& other) noexcept;
  ~View();

  /// The object's root. Throws AccessError: not_found (not at that time), layout_changed, corrupt.
  template <class T>
  [[nodiscard]] const T* operator[](const Object<T>& object) const {
    return static_cast<const T*>(detail::view_address(*core_, object.id(), 0, &type_info<T>, true));
  }
  /// What a link leads to. Throws AccessError: deleted, wrong_type, out_of_bounds.
  template <class T>
  [[nodiscard]] const T* operator[](const link<T>& target) const {
    return static_cast<const T*>(
        detail::view_address(*core_, target.object(), target.offset(), &type_info<T>, false));
  }
  template <class T>
  [[nodiscard]] Result<Object<T>> find(std::string_view name) const {
    DOLMEN_TRY(const ObjectId id, find_id(name, &type_info<T>));
    return Object<T>(id);
  }
  /// Runs `body` and turns AccessError into a Result; corrupt if this view ever met damage, for
  /// then the body may have seen zeros in its place.
  template <class Function>
  auto read(Function&& body) const -> Result<std::invoke_result_t<Function>> {
    try {
      if constexpr (std::is_void_v<std::invoke_result_t<Function>>) {
        body();
        return detail::view_intact(*core_);
      } else {
        Result<std::invoke_result_t<Function>> result = body();
        DOLMEN_CHECK(detail::view_intact(*core_));
        return result;
      }
    } catch (const AccessError& access) {
      // What looks like a null pointer or a lost storage is the damage itself.
      DOLMEN_CHECK(detail::view_intact(*core_));
      return std::unexpected(access.error());
    }
  }
  /// The commit that the view shows.
  [[nodiscard]] std::uint64_t index() const noexcept;
  [[nodiscard]] Result<std::vector<NameEntry>> names() const;
  [[nodiscard]] detail::ViewCore& core() const noexcept { return *core_; }

 private:
  friend class Space;
  explicit View(std::unique_ptr<detail::ViewCore> core) noexcept;
  [[nodiscard]] Result<ObjectId> find_id(std::string_view name, const TypeInfo& (*type)()) const;
  std::unique_ptr<detail::ViewCore> core_;
};

class Space {
 public:
  /// Opens the space in this directory; by default makes it when there is none.
  /// Errors: held (who holds it is in the message), not_a_space, corrupt, version_unsupported,
  /// io_error, forked. Cost: milliseconds, whatever the size; pages come in on first touch.
  ///
  /// Or "dolmen://HOST:PORT[,HOST:PORT…]/NAME[?identity=FILE]", and `read_only`: a cluster's space,
  /// as of one commit behind the call's begin, and no later one; open it again for that. Objects,
  /// names, ids and pointers are those of the space; changes are functions that are sent there
  /// (Cluster::call(), call_space()). Cost: a copy through the network, in files without names
  /// where the variable TMPDIR says, or /tmp, which go with the Space. Errors also: read_only (it
  /// was not said), those of Cluster::open(), not_found (no such space, or nothing in it yet),
  /// unfinished (it is being imported), busy (another copy is being made), timed_out, no_space.
  [[nodiscard]] static Result<Space> open(const std::string& directory,
                                          const SpaceOptions& options = {});
  Space(Space&& other) noexcept;
  Space& operator=(Space&& other) noexcept;
  /// Closes without reporting; prefer close().
  ~Space();
  /// Makes everything durable and releases the directory. A second call repeats what the first one
  /// gave. Requires: no section or view is alive.
  [[nodiscard]] Result<void> close();

  // --- objects and names ---------------------------------------------------------------------
  // Each of these joins the ambient transaction of this thread, or is a durable one of its own.

  template <class T>
  [[nodiscard]] Result<Object<T>> create(const ObjectOptions& options = {}) {
    return create_named<T>(options, nullptr);
  }
  /// Errors: already_exists.
  template <class T>
  [[nodiscard]] Result<Object<T>> create(std::string_view name, const ObjectOptions& options = {}) {
    return create_named<T>(options, &name);
  }
  /// Errors: not_found, layout_changed (with the first field that differs).
  template <class T>
  [[nodiscard]] Result<Object<T>> find(std::string_view name) {
    check_storable<T>();
    DOLMEN_TRY(const ObjectId id, detail::find_object(*core_, name, &type_info<T>));
    return Object<T>(id);
  }
  template <class T>
  [[nodiscard]] Result<Object<T>> find_or_create(std::string_view name,
                                                 const ObjectOptions& options = {}) {
    auto found = find<T>(name);
    if (found || found.error().code() != Errc::not_found) return found;
    auto created = create<T>(name, options);
    if (created || created.error().code() != Errc::already_exists) return created;
    return find<T>(name);
  }
  /// Deletes the object and its names; views that can see it keep it.
  [[nodiscard]] Result<void> erase(const ObjectId& object);
  template <class T>
  [[nodiscard]] Result<void> erase(const Object<T>& object) {
    return erase(object.id());
  }
  [[nodiscard]] Result<void> set_name(const ObjectId& object, std::string_view name);
  [[nodiscard]] Result<void> remove_name(std::string_view name);
  /// Changes the capacity, with one commit. Sections that hold the object are waited for; views
  /// keep what they see. Requires: no ambient section on this thread. Errors: object_full (would
  /// not fit), too_large.
  [[nodiscard]] Result<void> resize(const ObjectId& object, std::uint64_t capacity_bytes);

  // --- sections ------------------------------------------------------------------------------

  /// transact(object…, body) or transact(any, body). The body takes a mut<T> per object; or, as a
  /// parameter of just this type, a ref<T>: then it edit()s what the root leads to, or parts of the
  /// root, and no copy of the root is kept. A root of more than 4 KiB can only be taken so.
  template <class... Arguments>
  [[nodiscard]] auto transact(Arguments&&... arguments) {
    return transact(TransactOptions{}, std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  [[nodiscard]] auto transact(TransactOptions options, Arguments&&... arguments) {
    static_assert(sizeof...(Arguments) >= 1, "dolmen: transact(objects…, body)");
    return section<true>(options, std::forward_as_tuple(std::forward<Arguments>(arguments)...),
                         std::make_index_sequence<sizeof...(Arguments) - 1>{});
  }
  /// read(object…, body) or read(everything, body); body takes a ref<T> per object.
  template <class... Arguments>
  [[nodiscard]] auto read(Arguments&&... arguments) {
    return read(ReadOptions{}, std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  [[nodiscard]] auto read(ReadOptions options, Arguments&&... arguments) {
    static_assert(sizeof...(Arguments) >= 1, "dolmen: read(objects…, body)");
    return section<false>(options, std::forward_as_tuple(std::forward<Arguments>(arguments)...),
                          std::make_index_sequence<sizeof...(Arguments) - 1>{});
  }
  /// May be held for hours; see SpaceOptions::view_memory_bytes. Errors: store_failed.
  [[nodiscard]] Result<View> view(const ReadOptions& options = {});

  /// The root of an object in the ambient section of this thread. Throws AccessError: not_named, …
  template <class T>
  [[nodiscard]] ref<T> root(const Object<T>& object) {
    return ref<T>(static_cast<const T*>(
        detail::section_root(core_.get(), object.id(), &type_info<T>, false)));
  }
  template <class T>
  [[nodiscard]] mut<T> edit(const Object<T>& object) {
    detail::check_editable_whole<T>();
    return detail::Access::make_mut(
        static_cast<T*>(detail::section_root(core_.get(), object.id(), &type_info<T>, true)));
  }
  /// What a link leads to, in the ambient section. Throws AccessError: deleted, wrong_type,
  /// out_of_bounds, not_named.
  template <class T>
  [[nodiscard]] ptr<T> resolve(const link<T>& target) {
    return ptr_to(*static_cast<const T*>(
        detail::section_address(core_.get(), target.object(), target.offset(), &type_info<T>)));
  }

  // --- durability and upkeep -----------------------------------------------------------------

  /// Makes everything up to the ticket durable. Errors: store_failed.
  [[nodiscard]] Result<void> wait(const Ticket& ticket);
  /// Makes every commit so far durable.
  [[nodiscard]] Result<void> sync();
  /// Writes a checkpoint now. Errors: no_space (the last one stays in force), store_failed.
  [[nodiscard]] Result<void> checkpoint();
  [[nodiscard]] SpaceStats stats() const;
  [[nodiscard]] Result<std::vector<NameEntry>> names();
  /// Loads an object's pages, so that system calls can be given addresses in it.
  [[nodiscard]] Result<void> prefault(const ObjectId& object);
  [[nodiscard]] detail::SpaceCore& core() const noexcept { return *core_; }

 private:
  friend struct SpaceAccess;
  struct Impl;
  explicit Space(std::unique_ptr<Impl> impl) noexcept;

  template <class T>
  Result<Object<T>> create_named(const ObjectOptions& options, const std::string_view* name) {
    check_storable<T>();
    DOLMEN_TRY(const ObjectId id,
               detail::create_object(*core_, &type_info<T>, sizeof(T), options, name,
                                     [](void* memory) { ::new (memory) T(); }));
    return Object<T>(id);
  }

  template <bool kWrite, class Options, class Tuple, std::size_t... I>
  auto section(const Options& options, Tuple&& arguments, std::index_sequence<I...>) {
    auto& body = std::get<sizeof...(I)>(arguments);
    if constexpr (sizeof...(I) == 1 &&
                  (std::is_same_v<
                       std::remove_cvref_t<std::tuple_element_t<0, std::remove_cvref_t<Tuple>>>,
                       Any> ||
                   std::is_same_v<
                       std::remove_cvref_t<std::tuple_element_t<0, std::remove_cvref_t<Tuple>>>,
                       Everything>)) {
      return run<kWrite>(options, std::span<detail::Named>{}, true, body);
    } else {
      if constexpr (!kWrite && sizeof...(I) == 1) {
        const auto& object = std::get<0>(arguments);
        using Root = detail::RootOf<Tuple, 0>;
        if (const void* const root =
                detail::enter_known_read(*core_, object.id(), &type_info<Root>)) [[likely]] {
          detail::KnownRead entered(*core_, options.level);
          auto outcome = detail::call_body(body, ref<Root>(static_cast<const Root*>(root)));
          if (const Error* const error = entered.leave()) [[unlikely]]
            outcome = std::unexpected(*error);
          return outcome;
        }
      }
      using BodyType = decltype(body);
      using Objects = std::remove_cvref_t<Tuple>;
      auto named = detail::named_array<kWrite, BodyType>(arguments, std::index_sequence<I...>{});
      auto call = [&]() -> decltype(auto) {
        return std::invoke(body,
                           detail::root_access<detail::edits_root<kWrite, Objects, BodyType, I>,
                                               detail::RootOf<Objects, I>>(named[I].root)...);
      };
      return run<kWrite>(options, std::span<detail::Named>(named), false, call);
    }
  }

  template <bool kWrite, class Options, class Function>
  auto run(const Options& options, std::span<detail::Named> named, bool all, Function& function) {
    detail::BodyWithResult<Function&> body(function);
    if constexpr (kWrite) {
      return body.finish(detail::run_transact(*core_, named, all, options, body.body()));
    } else {
      return body.finish(detail::run_read(*core_, named, all, options, body.body()));
    }
  }

  std::unique_ptr<Impl> impl_;
  // The same object as impl_'s, kept here so that the inline paths above need no Impl.
  struct NoDelete {
    void operator()(detail::SpaceCore*) const noexcept {}
  };
  std::unique_ptr<detail::SpaceCore, NoDelete> core_;
};

}  // namespace dolmen
