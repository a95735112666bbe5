// SPDX-License-Identifier: Apache-2.0
#include "sim/crash_workload.hpp"

#include <algorithm>
#include <memory>
#include <optional>

#include "base/checksum.hpp"
#include "base/random.hpp"
#include "node/inspect.hpp"
#include "sim/crash_edits.hpp"
#include "sim/sim_env.hpp"
#include "store/store.hpp"
#include "txn/space_core.hpp"

namespace dolmen::sim {

namespace {

struct HeldView {
  View view;
  std::string text;
};
/// Another process that reads.
struct HeldReader {
  std::unique_ptr<SimEnv> world;
  Space space;
  View view;
  std::string text;
};

class Workload {
 public:
  Workload(Space& space, SimDisk& disk, sys::Memory& memory, const Swarm& swarm, Model start,
           const LifeOptions& options)
      : space_(space),
        disk_(disk),
        memory_(memory),
        swarm_(swarm),
        options_(options),
        random_(options.seed),
        model_(std::move(start)) {
    life_.opened_at = disk.op_count();
    keep_state(model_);
    for (const auto& [name, box] : model_.boxes) note_name(name);
    for (const auto& [name, small] : model_.smalls) note_name(name);
    for (const auto& [name, hub] : model_.hubs) note_name(name);
  }

  Life run() {
    if (options_.stamps != 0) guarded("stamps", [&] { stamp(options_.stamps, options_.uneven); });
    const std::uint64_t trouble_at = random_.below(std::max(options_.steps, 1u));
    for (unsigned i = 0; i < options_.steps && !over_; ++i) {
      if (i == trouble_at) begin_trouble();
      guarded("a step", [&] { step(); });
    }
    guarded("views", [&] { check_views(); });
    readers_.clear();
    views_.clear();
    if (options_.trouble == Trouble::full_disk) end_full_disk();
    disk_.clear_faults();
    disk_.power_off_at(~std::uint64_t{0});
    life_.attempted.emplace_back(disk_.op_count(), life_.commits());
    return std::move(life_);
  }

 private:
  void violation(const std::string& what) { life_.violations.push_back(what); }

  void note_name(const std::string& name) {
    const auto digits = name.find_first_of("0123456789");
    if (digits == std::string::npos) return;
    next_name_ = std::max<std::uint64_t>(next_name_, std::stoull(name.substr(digits)) + 1);
  }

  std::size_t keep_state(const Model& model) {
    life_.states.push_back(model);
    life_.texts.push_back(render(model));
    return life_.states.size() - 1;
  }

  /// Whether this error may be met here. A disturbed world refuses room now and then, as a full
  /// disk does; what else may fail depends on this life's trouble.
  [[nodiscard]] bool is_expected(const Error& error) {
    switch (error.code()) {
      case Errc::object_full:
      case Errc::no_space:
        return true;
      case Errc::store_failed:
        over_ = true;
        return options_.trouble != Trouble::none;
      case Errc::io_error:
      case Errc::corrupt:  // a page that could not be read stays damaged
        if (options_.trouble != Trouble::killed && options_.trouble != Trouble::failing_calls &&
            options_.trouble != Trouble::failing_write &&
            options_.trouble != Trouble::failing_sync) {
          return false;
        }
        if (error.code() == Errc::corrupt) over_ = true;
        return true;
      default:
        return false;
    }
  }
  void report(const char* what, const Error& error) {
    if (!is_expected(error)) violation(std::string(what) + ": " + error.message());
  }
  template <class Body>
  void guarded(const char* what, Body body) {
    try {
      body();
    } catch (const AccessError& access) {
      report(what, access.error());
    }
    if (options_.trouble == Trouble::killed && power_is_off()) over_ = true;
  }
  [[nodiscard]] bool power_is_off() { return !disk_.list(); }

  void step() {
    using Step = void (Workload::*)();
    static constexpr std::array<Step, Swarm::kSteps> kSteps = {&Workload::edit_box,
                                                               &Workload::create_box,
                                                               &Workload::create_small,
                                                               &Workload::erase_one,
                                                               &Workload::checkpoint,
                                                               &Workload::checkpoint_inside,
                                                               &Workload::hold_view,
                                                               &Workload::check_views,
                                                               &Workload::aborted,
                                                               &Workload::link_boxes,
                                                               &Workload::resize_one,
                                                               &Workload::long_text,
                                                               &Workload::rename_box,
                                                               &Workload::sync,
                                                               &Workload::prepare_segments,
                                                               &Workload::scrub,
                                                               &Workload::read_beside,
                                                               &Workload::check_now,
                                                               &Workload::edit_hub,
                                                               &Workload::deferred_and_wait,
                                                               &Workload::stamps};
    unsigned total = 0;
    for (const unsigned weight : swarm_.weights) total += weight;
    std::uint64_t drawn = random_.below(total);
    for (std::size_t i = 0; i < kSteps.size(); ++i) {
      if (drawn < swarm_.weights[i]) return (this->*kSteps[i])();
      drawn -= swarm_.weights[i];
    }
  }

  void begin_trouble() {
    switch (options_.trouble) {
      case Trouble::none:
        break;
      case Trouble::killed:
        disk_.power_off_at(disk_.op_count() + random_.below(60));
        break;
      case Trouble::failing_sync:
        disk_.inject({.on = random_.chance(1, 4) ? FaultOn::sync_directory : FaultOn::sync,
                      .nth = random_.between(1, 8),
                      .times = random_.chance(1, 2) ? 1 : DiskFault::kForever});
        break;
      case Trouble::failing_write:
        disk_.inject({.on = FaultOn::write,
                      .nth = random_.between(1, 12),
                      .code = random_.chance(1, 3) ? Errc::no_space : Errc::io_error});
        break;
      case Trouble::failing_calls:
        disk_.inject({.nth = random_.between(1, 40), .times = random_.between(1, 4)});
        break;
      case Trouble::full_disk:
        disk_.set_capacity_bytes(disk_.used_bytes() + random_.below(4) * 4096);
        break;
    }
  }

  /// With room again everything goes on, without opening anew.
  void end_full_disk() {
    disk_.set_capacity_bytes(std::uint64_t{1} << 40);
    if (over_) return;
    guarded("with room again", [&] { create_small(); });
    guarded("with room again", [&] { check_now(); });
  }

  /// Runs one mutation of space and model. `change` is given the copy of the model that becomes the
  /// model if the commit takes effect.
  template <class Change>
  void commit(const char* what, Change change) {
    const bool durable = random_.chance(swarm_.durable_of_4, 4);
    commit_as(what, durable ? Durability::durable : Durability::deferred, change);
  }
  template <class Change>
  void commit_as(const char* what, Durability durability, Change change) {
    Model next = model_;
    // The commit may become durable with any disk operation from here on.
    life_.attempted.emplace_back(disk_.op_count(), life_.states.size());
    const std::size_t k = keep_state({});
    const auto drop_state = [&] {
      life_.states.pop_back();
      life_.texts.pop_back();
      life_.attempted.pop_back();
    };
    const std::uint64_t before = last_index();
    Ticket ticket;
    Result<void> done;
    try {
      done = change(next, TransactOptions{.durability = durability, .ticket = &ticket});
    } catch (const AccessError& access) {
      done = std::unexpected(access.error());
    }
    if (!done) report(what, done.error());
    if (!done && ticket.index == 0) return drop_state();
    if (done && ticket.index <= before) {
      // Nothing was changed: a read, which acknowledges nothing that was deferred before it.
      drop_state();
      if (render(next) != life_.texts.back()) violation(std::string(what) + ": left no record");
      model_ = std::move(next);
      return;
    }
    // After a failed sync the outcome is unknown: the commit may be found, or not.
    model_ = std::move(next);
    life_.states[k] = model_;
    life_.texts[k] = render(model_);
    if (done && durability == Durability::durable) {
      life_.acknowledged.emplace_back(disk_.op_count(), k);
    }
  }
  /// For calls that are a durable transaction of their own.
  template <class Change>
  void commit_alone(const char* what, Change change) {
    commit_as(what, Durability::durable, [&](Model& next, const TransactOptions& options) {
      const std::uint64_t before = last_index();
      const Result<void> done = change(next);
      if (const std::uint64_t now = last_index(); now != before) options.ticket->index = now;
      return done;
    });
  }

  [[nodiscard]] std::uint64_t last_index() { return space_.core().store().last_index(); }

  [[nodiscard]] std::string some_box() {
    if (model_.boxes.empty()) return {};
    auto it = model_.boxes.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random_.below(model_.boxes.size())));
    return it->first;
  }
  template <class T = Box>
  [[nodiscard]] Object<T> object(const std::string& name) {
    auto found = space_.find<T>(name);
    if (!found) throw AccessError(found.error());
    return *found;
  }

  void create_box() {
    if (model_.boxes.size() > 8) return erase_one();
    const std::uint64_t serial = next_name_++;
    const std::string name = "box" + std::to_string(serial);
    constexpr std::uint64_t kCapacities[] = {4096, 16384, 65536, 1 << 20};
    const std::uint64_t capacity = kCapacities[random_.below(4)];
    commit("create", [&](Model& next, const TransactOptions& options) -> Result<void> {
      return space_.transact(options, any, [&]() -> Result<void> {
        DOLMEN_TRY(const auto made, space_.create<Box>(name, {.capacity = capacity}));
        space_.edit(made)->serial = serial;
        next.boxes[name].id = made.id();
        next.boxes[name].serial = serial;
        return {};
      });
    });
  }

  void create_small() {
    const std::string name = "small" + std::to_string(next_name_++);
    const std::string target = some_box();
    const std::string far = some_box();
    const std::uint64_t value = random_();
    commit("create small", [&](Model& next, const TransactOptions& options) -> Result<void> {
      return space_.transact(options, any, [&]() -> Result<void> {
        DOLMEN_TRY(const auto made, space_.create<Small>(name, {.capacity = 512}));
        next.smalls[name] = ModelSmall{made.id(), value, target, far};
        const mut<Small> small = space_.edit(made);
        small->value = value;
        if (!target.empty()) small->box = space_.root(object(target));
        if (!far.empty()) small->far = link<Box>(ptr<Box>(space_.root(object(far))));
        return {};
      });
    });
  }

  void erase_one() {
    const std::string name = some_box();
    if (name.empty()) return create_box();
    // What points to it is cut in the same commit.
    commit("erase", [&](Model& next, const TransactOptions& options) -> Result<void> {
      next.boxes.erase(name);
      for (auto& [other_name, other] : next.boxes) {
        if (other.other == name) other.other.clear();
      }
      for (auto& [small_name, small] : next.smalls) {
        if (small.box == name) small.box.clear();
        if (small.far == name) small.far.clear();
      }
      return space_.transact(options, any, [&]() -> Result<void> {
        for (const auto& [other_name, other] : model_.boxes) {
          if (other.other == name) space_.edit(object(other_name))->other = nullptr;
        }
        for (const auto& [small_name, small] : model_.smalls) {
          if (small.box != name && small.far != name) continue;
          const mut<Small> holder = space_.edit(object<Small>(small_name));
          if (small.box == name) holder->box = nullptr;
          if (small.far == name) holder->far = {};
        }
        return space_.erase(object(name));
      });
    });
  }

  void edit_box() {
    const std::string name = some_box();
    const std::string second = some_box();
    if (name.empty()) return create_box();
    commit("edit", [&](Model& next, const TransactOptions& options) -> Result<void> {
      const base::Random before = random_;
      // A body may run more than once.
      const auto again = [&] { random_ = before, next = model_; };
      if (second == name) {
        return space_.transact(options, object(name), [&](mut<Box> b) {
          again();
          edit(b, next.boxes[name], random_);
        });
      }
      return space_.transact(options, object(name), object(second), [&](auto first, auto other) {
        again();
        edit(first, next.boxes[name], random_);
        edit(other, next.boxes[second], random_);
      });
    });
  }

  /// Mostly larger than a log segment: it goes to the log in parts.
  void long_text() {
    const std::string name = some_box();
    if (name.empty()) return;
    std::string text(random_.between(swarm_.segment_bytes / 2, swarm_.segment_bytes * 3), ' ');
    for (char& c : text) c = static_cast<char>('a' + random_.below(26));
    commit("long text", [&](Model& next, const TransactOptions& options) -> Result<void> {
      next.boxes[name].text = text;
      return space_.transact(options, object(name), [&](mut<Box> b) { b->text = text; });
    });
  }

  void link_boxes() {
    const std::string from = some_box();
    const std::string to = some_box();
    if (from.empty()) return;
    commit("link", [&](Model& next, const TransactOptions& options) -> Result<void> {
      next.boxes[from].other = to;
      return space_.transact(options, any,
                             [&] { space_.edit(object(from))->other = space_.root(object(to)); });
    });
  }

  void rename_box() {
    const std::string name = some_box();
    if (name.empty()) return;
    const std::string news = "box" + std::to_string(next_name_++);
    commit("rename", [&](Model& next, const TransactOptions& options) -> Result<void> {
      next.boxes[news] = next.boxes[name];
      next.boxes.erase(name);
      for (auto& [other_name, other] : next.boxes) {
        if (other.other == name) other.other = news;
      }
      for (auto& [small_name, small] : next.smalls) {
        if (small.box == name) small.box = news;
        if (small.far == name) small.far = news;
      }
      return space_.transact(options, any, [&]() -> Result<void> {
        DOLMEN_CHECK(space_.set_name(model_.boxes[name].id, news));
        return space_.remove_name(name);
      });
    });
  }

  void resize_one() {
    const std::string name = some_box();
    if (name.empty()) return;
    const std::uint64_t bytes = std::uint64_t{swarm_.large_resizes ? 65536u : 8192u}
                                << random_.below(4);
    commit_alone("resize", [&](Model&) { return space_.resize(object(name).id(), bytes); });
  }

  /// Many foreign pointers: the table of an object grows, and is swept when most are gone again.
  void edit_hub() {
    if (!swarm_.hub) return edit_box();
    constexpr std::size_t kMany = 140;
    commit("hub", [&](Model& next, const TransactOptions& options) -> Result<void> {
      return space_.transact(options, any, [&] {
        next = model_;  // a body may run more than once
        change_hub(space_, next, kMany);
      });
    });
  }

  /// Commits whose records are all equally long, the last one synced; or, `uneven`, some as long as
  /// two, and synced now and then. What a reused log segment still holds from its former life then
  /// lies where a record may begin.
  void stamp(unsigned count, bool uneven) {
    for (unsigned i = 0; i < count && !over_ && !model_.sheet.id.is_null(); ++i) {
      const bool twice = uneven && random_.chance(1, 4);
      const bool durable = i + 1 == count || (uneven && random_.chance(1, 2));
      commit_as("stamp", durable ? Durability::durable : Durability::deferred,
                [&](Model& next, const TransactOptions& options) -> Result<void> {
                  return space_.transact(options, Object<Sheet>(next.sheet.id),
                                         [&](mut<Sheet> sheet) {
                                           next = model_;
                                           stamp_sheet(sheet, next.sheet, twice);
                                         });
                });
    }
    if (!model_.sheet.id.is_null()) return;
    const auto create = [&](Model& next, const TransactOptions& options) -> Result<void> {
      return space_.transact(options, any, [&]() -> Result<void> {
        next = model_;
        DOLMEN_TRY(const auto made, space_.create<Sheet>("sheet", {.capacity = 4096}));
        next.sheet.id = made.id();
        return {};
      });
    };
    commit_as("create sheet", Durability::durable, create);
  }
  void stamps() { stamp(static_cast<unsigned>(random_.between(1, 12)), true); }

  void deferred_and_wait() {
    const std::string name = some_box();
    if (name.empty()) return create_box();
    Ticket ticket;
    const std::size_t before = life_.states.size();
    commit_as("deferred", Durability::deferred,
              [&](Model& next, const TransactOptions& options) -> Result<void> {
                const base::Random drawn = random_;
                auto done = space_.transact(options, object(name), [&](mut<Box> b) {
                  random_ = drawn, next = model_;
                  edit(b, next.boxes[name], random_);
                });
                ticket = *options.ticket;
                return done;
              });
    if (life_.states.size() == before || ticket.index == 0) return;
    if (const auto done = space_.wait(ticket); !done) return report("wait", done.error());
    life_.acknowledged.emplace_back(disk_.op_count(), before);
  }

  void aborted() {
    const std::string name = some_box();
    if (name.empty()) return;
    const auto done = space_.transact(object(name), [&](mut<Box> b) -> Result<void> {
      ModelBox scratch = model_.boxes[name];
      edit(b, scratch, random_);
      return fail(Errc::aborted);
    });
    if (done) violation("an aborted transaction succeeded");
    if (!done && done.error().code() != Errc::aborted) report("abort", done.error());
    check_now();
  }

  void checkpoint() {
    if (const auto done = space_.checkpoint(); !done) report("checkpoint", done.error());
  }

  void checkpoint_inside() {
    const std::string name = some_box();
    if (name.empty()) return checkpoint();
    const bool abort_it = random_.chance(1, 2);
    const auto body = [&](Model& next, const TransactOptions& options) -> Result<void> {
      return space_.transact(options, object(name), [&](mut<Box> b) -> Result<void> {
        edit(b, next.boxes[name], random_);
        checkpoint();  // must hold the last commit, not what this body has done so far
        if (abort_it) return fail(Errc::aborted);
        edit(b, next.boxes[name], random_);
        return {};
      });
    };
    if (!abort_it) return commit("checkpoint inside", body);
    Model scratch = model_;
    (void)body(scratch, TransactOptions{});
    check_now();
  }

  void sync() {
    const std::size_t newest = life_.commits();
    if (const auto done = space_.sync(); !done) return report("sync", done.error());
    life_.acknowledged.emplace_back(disk_.op_count(), newest);
  }

  void prepare_segments() {
    const auto done = space_.core().store().prepare_segments();
    if (!done) report("prepare", done.error());
  }

  void scrub() {
    const auto scrubbed = node::scrub(space_, {});
    if (!scrubbed) return report("scrub", scrubbed.error());
    if (scrubbed->damage.empty()) return;
    const Error found(Errc::corrupt, interned("scrub: " + scrubbed->damage.front().where));
    report("scrub", found);
  }

  void check_now() {
    const bool images = random_.chance(1, 2);
    const auto text = images ? render_images(space_) : render_space(space_);
    if (!text) return report("reading", text.error());
    if (*text != life_.texts.back()) violation("the space differs from the model");
  }

  void hold_view() {
    auto view = space_.view(ReadOptions{Level::visible});
    if (!view) return report("view", view.error());
    views_.push_back(std::make_unique<HeldView>(HeldView{std::move(*view), life_.texts.back()}));
    if (views_.size() > 3) {
      check_view(*views_.front());
      views_.erase(views_.begin());
    }
  }
  void check_view(const HeldView& held) {
    const auto text = render(held.view);
    if (!text) return report("a held view", text.error());
    if (*text != held.text) violation("a view changed");
  }
  void check_views() {
    for (const auto& held : readers_) check_reader(*held);
    for (const auto& held : views_) check_view(*held);
    readers_.clear();
    views_.clear();
  }

  /// A reader in another process sees what is durable, or about to be, and goes on seeing it.
  void read_beside() {
    for (const auto& held : readers_) check_reader(*held);
    if (readers_.size() > 1) readers_.erase(readers_.begin());
    auto world = std::make_unique<SimEnv>(options_.seed + 5, memory_, 2000);
    auto space = open_on(*world, disk_, swarm_, false, true);
    if (!space) return report("reader", space.error());
    auto view = space->view();
    if (!view) return report("reader", view.error());
    auto text = render(*view);
    if (!text) return report("reader", text.error());
    const auto [fewest, most] = life_.bounds(disk_.op_count());
    const auto begin = life_.texts.begin() + static_cast<std::ptrdiff_t>(fewest);
    const auto end = life_.texts.begin() + static_cast<std::ptrdiff_t>(most) + 1;
    if (std::find(begin, end, *text) == end) violation("a reader sees another state");
    readers_.push_back(std::make_unique<HeldReader>(
        HeldReader{std::move(world), std::move(*space), std::move(*view), std::move(*text)}));
  }
  void check_reader(const HeldReader& held) {
    const auto text = render(held.view);
    // Beyond the room that readers may hold back, blocks are used again; it is told.
    if (!text && text.error().code() == Errc::closed) return;
    if (!text) return report("a held reader", text.error());
    if (*text != held.text) violation("what a reader sees changed");
  }

  Space& space_;
  SimDisk& disk_;
  sys::Memory& memory_;
  const Swarm& swarm_;
  const LifeOptions options_;
  base::Random random_;
  Model model_;
  Life life_;
  std::vector<std::unique_ptr<HeldView>> views_;
  std::vector<std::unique_ptr<HeldReader>> readers_;
  std::uint64_t next_name_ = 0;
  bool over_ = false;  // the space has failed: only opening again helps
};

}  // namespace

Life run_life(Space& space, SimDisk& disk, sys::Memory& memory, const Swarm& swarm, Model start,
              const LifeOptions& options) {
  return Workload(space, disk, memory, swarm, std::move(start), options).run();
}

}  // namespace dolmen::sim
