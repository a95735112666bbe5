// SPDX-License-Identifier: Apache-2.0
//
// Space: the composition of world, store and transactions, with the threads that keep it in shape.
#include <algorithm>
#include <atomic>

#include <dolmen/space.hpp>

#include "node/open_space.hpp"
#include "node/space_of_cluster.hpp"
#include "node/upkeep.hpp"
#include "sys/linux/linux.hpp"
#include "txn/catalog.hpp"
#include "txn/space_core.hpp"
#include "txn/types.hpp"
#include "txn/view_core.hpp"

namespace dolmen {

struct Space::Impl {
  std::unique_ptr<detail::SpaceCore> core;
  std::unique_ptr<node::Upkeep> upkeep;

  ~Impl() {
    upkeep.reset();
    if (core) (void)core->close();  // close() is for who wants to know
  }
};

struct SpaceAccess {
  static Result<Space> make(const sys::Env& env, std::unique_ptr<detail::SpaceCore> core,
                            bool background) {
    // Memory first: the thread ends before the core does, whatever happens after its start.
    auto impl = std::make_unique<Space::Impl>();
    impl->core = std::move(core);
    if (background) {
      DOLMEN_TRY(impl->upkeep, node::Upkeep::start(env, *impl->core));
    }
    return Space(std::move(impl));
  }
};

Space::Space(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {
  core_.reset(impl_->core.get());
}
Space::Space(Space&&) noexcept = default;
Space& Space::operator=(Space&&) noexcept = default;
Space::~Space() = default;

namespace node {

Result<Space> open_space(const sys::Env& env, std::unique_ptr<sys::Disk> disk,
                         const SpaceOptions& options, sys::FaultDriver driver,
                         const char* how_to_write) {
  DOLMEN_TRY(const auto files, disk->list());
  // No root yet: a new directory, or one in which an earlier creation was cut short.
  const bool absent = std::ranges::find(files, "space") == files.end();
  store::OpenOptions open_options;
  open_options.read_only = options.read_only;
  std::unique_ptr<store::Store> store;
  if (absent && options.create && !options.read_only) {
    store::CreateOptions create_options;
    create_options.segment_bytes = options.log_segment_bytes;
    create_options.tail_bytes_max = options.log_tail_bytes_max;
    DOLMEN_TRY(store, store::Store::create(env, std::move(disk), create_options, open_options));
  } else {
    DOLMEN_TRY(store, store::Store::open(env, std::move(disk), open_options));
  }
  return open_space(env, std::move(store), options, driver, how_to_write);
}

Result<Space> open_space(const sys::Env& env, std::unique_ptr<store::Store> store,
                         const SpaceOptions& options, sys::FaultDriver driver,
                         const char* how_to_write) {
  DOLMEN_CHECK(object::ensure_arena(*env.memory));
  detail::CoreOptions core_options;
  core_options.read_only = options.read_only;
  core_options.how_to_write = how_to_write;
  core_options.max_transaction_bytes = options.max_transaction_bytes;
  core_options.guard_stores = options.guard_stores;
  if (options.guard_stores) DOLMEN_CHECK(detail::install_store_guard(*env.memory));
  core_options.view_memory_bytes = options.view_memory_bytes;
  DOLMEN_TRY(core_options.fault_driver, detail::install_arena_faults(*env.memory, driver));
  auto core = std::make_unique<detail::SpaceCore>(env, std::move(store), core_options);
  DOLMEN_CHECK(core->start());
  return SpaceAccess::make(env, std::move(core), options.background && !options.read_only);
}

Result<SpaceOptions> prepare_process(const sys::Env& env, const SpaceOptions& options) {
  // Here, since a simulated process, which may have been the first to open one, does not fork.
  static std::atomic<bool> noticed{false};
  if (!noticed.load(std::memory_order_acquire)) {
    DOLMEN_CHECK(env.process->on_fork_child(&detail::SpaceCore::on_fork_child, nullptr));
    noticed.store(true, std::memory_order_release);
  }
  SpaceOptions guarded = options;
  const std::string wanted = env.process->environment("DOLMEN_GUARD_STORES");
  if (!wanted.empty() && wanted != "0") guarded.guard_stores = true;
  return guarded;
}

}  // namespace node

Result<Space> Space::open(const std::string& directory, const SpaceOptions& options) {
  // Before anything is touched: the arena of the process that opened one is not here.
  if (detail::SpaceCore::has_lost_arena()) return fail(Errc::forked, "open");
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(const SpaceOptions prepared, node::prepare_process(env, options));
  if (node::is_of_cluster(directory)) return node::open_space_of_cluster(env, directory, prepared);
  DOLMEN_TRY(auto disk, sys::open_directory(directory, options.create && !options.read_only
                                                           ? sys::DirectoryMode::open_or_create
                                                           : sys::DirectoryMode::open_existing));
  return node::open_space(env, std::move(disk), prepared, env.memory->best_driver());
}

Result<void> Space::close() {
  impl_->upkeep.reset();
  return core_->close();
}

Result<View> Space::view(const ReadOptions& options) {
  DOLMEN_TRY(auto view, core_->open_view(options));
  return View(std::move(view));
}

Result<void> Space::erase(const ObjectId& object) { return core_->erase_object(object); }
Result<void> Space::set_name(const ObjectId& object, std::string_view name) {
  return core_->set_name(object, name);
}
Result<void> Space::remove_name(std::string_view name) { return core_->remove_name(name); }
Result<void> Space::resize(const ObjectId& object, std::uint64_t capacity_bytes) {
  return core_->resize_object(object, capacity_bytes);
}

Result<void> Space::wait(const Ticket& ticket) {
  if (core_->forked()) return fail(Errc::forked, "wait");
  if (ticket.index > core_->store().last_index()) {
    return fail(Errc::invalid_argument, "a ticket of another space", ticket.index);
  }
  return core_->store().wait_durable(ticket.index);
}

Result<void> Space::sync() {
  DOLMEN_CHECK(core_->usable());
  return core_->store().wait_durable(core_->store().last_index());
}

Result<void> Space::checkpoint() { return core_->checkpoint(0, {}); }
SpaceStats Space::stats() const { return core_->stats(); }

Result<std::vector<NameEntry>> Space::names() {
  DOLMEN_TRY(const View now, view(ReadOptions{Level::visible}));
  return now.names();
}

Result<void> Space::prefault(const ObjectId& object) {
  if (core_->forked()) return fail(Errc::forked, "prefault");
  const detail::SpaceCore::MapUser user(*core_);
  DOLMEN_TRY(txn::HomeObject* const home, core_->home(object));
  core_->load_all(*home);
  return core_->intact(*home);
}

View::View(std::unique_ptr<detail::ViewCore> core) noexcept : core_(std::move(core)) {}
View::View(View&&) noexcept = default;
View& View::operator=(View&&) noexcept = default;
View::~View() = default;

std::uint64_t View::index() const noexcept { return core_->index(); }

Result<ObjectId> View::find_id(std::string_view name, const TypeInfo& (*type)()) const {
  auto found_id = read([&]() -> Result<ObjectId> {
    DOLMEN_TRY(const txn::Catalog* const catalog, txn::catalog_of(*core_, name));
    const auto found = catalog->by_name.find(name);
    if (found == catalog->by_name.end()) return fail(Errc::not_found, interned(name));
    if (found->second.type_tag != detail::type_tag(type())) {
      return fail(Errc::layout_changed,
                  txn::layout_difference(
                      core_->core(), static_cast<std::uint32_t>(found->second.type_tag), type()));
    }
    return found->second.object;
  });
  if (!found_id) return std::unexpected(found_id.error());
  return *found_id;
}

Result<std::vector<NameEntry>> View::names() const {
  auto found = read([&]() -> Result<std::vector<NameEntry>> {
    DOLMEN_TRY(const txn::Catalog* const catalog, txn::catalog_of(*core_, std::nullopt));
    std::vector<NameEntry> names;
    for (const auto& [name, entry] : catalog->by_name) {
      const auto type =
          txn::type_description(core_->core(), static_cast<std::uint32_t>(entry.type_tag));
      names.push_back(NameEntry{std::string(std::string_view(name)), entry.object,
                                type ? (*type)->types[0].name : std::string()});
    }
    return names;
  });
  if (!found) return std::unexpected(found.error());
  return *found;
}

}  // namespace dolmen
