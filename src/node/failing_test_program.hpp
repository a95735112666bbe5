// SPDX-License-Identifier: Apache-2.0
//
// A program that makes a space, uses it in every way, closes it and opens it again, in a world
// where calls fail; it goes on where it can, and says when something was not as it must be: each
// call of the space works or says clearly what happened, what was acknowledged is there afterwards,
// and what was not is there wholly or not at all. Tests only.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/hash_map.hpp>
#include <dolmen/ordered_map.hpp>
#include <dolmen/space.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "base/test_length.hpp"
#include "node/inspect.hpp"
#include "node/open_space.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {

/// Its version says what is in its containers.
struct Desk {
  std::uint64_t version;
  vector<std::uint64_t> numbers;
  hash_map<std::uint64_t, std::uint64_t> table;
  ordered_map<std::uint64_t, std::uint64_t> sorted;
  string text;
  ptr<Desk> other;
};

struct Leaf {
  std::uint64_t version;
};

inline constexpr std::uint64_t kEntries = 40;

inline void fill(Desk& desk, std::uint64_t version) {
  desk.version = version;
  desk.numbers.assign(kEntries * version, version);
  desk.table.clear();
  desk.sorted.clear();
  for (std::uint64_t i = 0; i < kEntries; ++i) {
    desk.table.insert_or_assign(i * version, version);
    desk.sorted.insert_or_assign(i * version, version);
  }
  desk.text = std::string(100 * version, static_cast<char>('a' + version));
}

inline bool is_filled(const Desk& desk) {
  const std::uint64_t version = desk.version;
  if (version == 0) return desk.numbers.empty() && desk.table.empty() && desk.text.empty();
  if (desk.numbers.size() != kEntries * version || desk.table.size() != kEntries ||
      desk.sorted.size() != kEntries ||
      desk.text != std::string(100 * version, static_cast<char>('a' + version))) {
    return false;
  }
  for (const std::uint64_t number : desk.numbers) {
    if (number != version) return false;
  }
  for (std::uint64_t i = 0; i < kEntries; ++i) {
    const auto hashed = desk.table.find(i * version);
    const auto sorted = desk.sorted.find(i * version);
    if (hashed == desk.table.end() || hashed->second != version) return false;
    if (sorted == desk.sorted.end() || sorted->second != version) return false;
  }
  return true;
}

/// What a space is to hold: versions by name; of desks also the version of the other one.
using Model = std::map<std::string, std::string>;

inline std::string render(const Model& model) {
  std::string text;
  for (const auto& [name, value] : model) text += name + " " + value + "\n";
  return text;
}

inline Result<std::string> shown_by(const View& view) {
  DOLMEN_TRY(const auto names, view.names());
  return view.read([&] {
    Model model;
    for (const NameEntry& entry : names) {
      std::string& value = model[entry.name];
      if (entry.name.starts_with("leaf")) {
        value = std::to_string(view[Object<Leaf>(entry.object)]->version);
        continue;
      }
      const Desk* const desk = view[Object<Desk>(entry.object)];
      value = std::to_string(desk->version);
      if (desk->other) value += " beside " + std::to_string(desk->other->version);
      if (!is_filled(*desk)) value += " with wrong contents";
    }
    return render(model);
  });
}

/// A program that goes on where it can and keeps account of what it was told.
class Program {
 public:
  Program(const sys::Env& env, sim::SimDisk& disk, bool guarded = false)
      : env_(env), disk_(disk), guarded_(guarded) {}
  ~Program() { end(); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  /// Codes that the world may give, and whether the trouble lasts.
  void run(Errc injected, bool lasts) {
    injected_ = injected;
    lasts_ = lasts;
    first_life();
    end();
    second_life();
    end();
  }
  /// The disk has a limit, which is lifted half way.
  void run_on_a_full_disk() {
    injected_ = Errc::no_space;
    lasts_ = true;
    first_life();
    if (failed()) return wrong("a full disk", "made the space fail");
    if (space_ && have("desk b")) {
      lasts_ = false;  // the reserve
      change(
          "erasing on a full disk",
          [](Model& m) {
            m.erase("desk b");
            m["desk a"] = m["desk a"].substr(0, m["desk a"].find(' '));
          },
          [&] {
            return space_->transact(desks_["desk a"], [&](mut<Desk> a) {
              a->other = nullptr;
              return space_->erase(desks_["desk b"]);
            });
          });
      beside_ = false;
      lasts_ = true;
      checkpoint();
    }
    disk_.set_capacity_bytes(~std::uint64_t{0} / 2);
    lasts_ = false;
    write("desk a", 1);
    checkpoint();
    end();
    second_life();
    end();
  }
  /// The trouble is over, and the machine was not switched off: everything works again.
  void check_afterwards() {
    lasts_ = true;
    ++life_;
    auto opened = open();
    if (!opened) return wrong("opening afterwards", opened.error().message());
    space_.emplace(std::move(*opened));
    const std::string found = text_of("afterwards");
    if (std::ranges::find(possible_, found) == possible_.end()) {
      return wrong("afterwards", "holds\n" + found + "which was none of its states; the last is\n" +
                                     possible_.back());
    }
    check_objects();
    const auto leaf = space_->create<Leaf>("leaf afterwards", {.capacity = 512});
    if (!leaf) return wrong("creating afterwards", leaf.error().message());
    const std::string last = text_of("afterwards");
    space_.reset();
    if (!made_) return;  // a name whose directory sync failed cannot be made durable by reading
    const auto lost = disk_.crash({.kind = sim::CrashPlan::Kind::none});
    auto again = open_space(env_, std::make_unique<sys::BorrowedDisk>(*lost), options(),
                            env_.memory->best_driver());
    if (!again) return wrong("opening after a loss of power", again.error().message());
    space_.emplace(std::move(*again));
    if (text_of("after a loss of power") != last) wrong("a loss of power", "took what was durable");
    space_.reset();
  }
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }
  [[nodiscard]] std::uint64_t refusals() const noexcept { return refusals_; }

 private:
  SpaceOptions options() const {
    return {.view_memory_bytes = 8192,  // old states go to the disk, too
            .background = false,
            .log_tail_bytes_max = 128u << 10,
            .log_segment_bytes = 32u << 10,
            .guard_stores = guarded_};
  }
  Result<Space> open() {
    return open_space(env_, std::make_unique<sys::BorrowedDisk>(disk_), options(),
                      env_.memory->best_driver());
  }
  void wrong(const std::string& what, const std::string& how) {
    if (problem_.empty()) problem_ = what + ": " + how;
  }
  [[nodiscard]] bool failed() { return space_ && space_->core().store().failed(); }

  /// A call was refused: with a code that can be meant, and store_failed exactly if it is so.
  void refused(const std::string& what, const Error& error, bool at_end = false) {
    ++refusals_;
    troubled_ = true;
    const bool says_failed = error.code() == Errc::store_failed;
    if (space_ && says_failed != failed() && !at_end) wrong(what, "gives " + error.message());
    // The store guard says which limit of the system was met.
    const bool meant = error.code() == injected_ || (guarded_ && error.code() == Errc::limit);
    if (!says_failed && !meant) wrong(what, "gives " + error.message());
  }

  /// A call that changes nothing of the space's contents.
  template <class Call>
  bool act(const std::string& what, Call call) {
    for (int attempt = 0;; ++attempt) {
      if (!space_) return false;
      const bool was_failed = failed();
      const auto done = call();
      if (done) {
        if (was_failed) wrong(what, "works in a failed space");
        return true;
      }
      refused(what, done.error());
      if (failed() || lasts_) return false;
      // An object with a page that could not be read is used again when it is opened again.
      if (done.error().context().find("could not be read") != std::string_view::npos) return false;
      if (attempt == 1) {
        wrong(what, "fails again without a reason: " + done.error().message());
        return false;
      }
    }
  }
  /// A call that changes what the space holds, as `edit` changes the model.
  template <class Call>
  void change(const std::string& what, const std::function<void(Model&)>& edit, Call call,
              bool durable = true) {
    if (!space_) return;
    Model next = model_;
    edit(next);
    const bool was_failed = failed();
    const bool done = act(what, call);
    if (done) {
      model_ = std::move(next);
      if (durable) possible_.clear();
      possible_.push_back(render(model_));
    } else if (failed() && !was_failed) {
      possible_.push_back(render(next));
    }
    if (troubled_) look(what);
  }
  void durable() { possible_ = {render(model_)}; }

  std::string text_of(const std::string& what) {
    const auto view = space_->view();
    if (!view) {
      wrong(what, view.error().message());
      return {};
    }
    const auto text = shown_by(*view);
    if (!text) wrong(what, text.error().message());
    return text.value_or("");
  }
  /// Readers see the model, or an error.
  void look(const std::string& what) {
    troubled_ = false;
    if (!space_) return;
    std::optional<View> now;
    act("a view after " + what, [&]() -> Result<void> {
      DOLMEN_TRY(now, space_->view());
      return {};
    });
    if (now) compare(what, *now, render(model_));
    for (const auto& [name, desk] : desks_) {
      if (!model_.contains(name)) continue;
      std::string version;
      const bool read = act("reading after " + what, [&]() -> Result<void> {
        DOLMEN_TRY(version, space_->read(desk, [](ref<Desk> d) {
          return std::to_string(d->version) + (is_filled(*d) ? "" : " with wrong contents");
        }));
        return {};
      });
      if (read && !model_[name].starts_with(version)) wrong(what, "reads " + name + " " + version);
    }
    if (held_) compare("a held view after " + what, *held_, held_text_);
  }
  void compare(const std::string& what, const View& view, const std::string& expected) {
    const auto text = shown_by(view);
    if (!text) {
      refused("looking after " + what, text.error(), true);
    } else if (*text != expected) {
      wrong(what, "shows\n" + *text + "instead of\n" + expected);
    }
  }

  void start(const std::string& what) {
    ++life_;
    for (int attempt = 0; attempt < 2 && !space_; ++attempt) {
      auto opened = open();
      if (opened) {
        space_.emplace(std::move(*opened));
        made_ = true;
        if (possible_.empty()) possible_.push_back("");
        return;
      }
      refused(what, opened.error());
      if (!made_ && possible_.empty()) possible_.push_back("");
    }
    if (!space_ && !lasts_) wrong(what, "fails twice");
  }
  void end() {
    held_.reset();
    if (!space_) return;
    // A failed space closes with success if all that it took is durable.
    const auto closed = space_->close();
    if (closed) durable();
    if (!closed) refused("closing", closed.error(), true);
    space_.reset();
  }

  void create_desk(const std::string& name, std::uint64_t capacity) {
    change(
        "creating " + name, [&](Model& m) { m[name] = "0"; },
        [&]() -> Result<void> {
          DOLMEN_TRY(desks_[name], space_->create<Desk>(name, {.capacity = capacity}));
          return {};
        });
  }
  [[nodiscard]] bool have(const std::string& name) const { return model_.contains(name); }
  void write(const std::string& name, std::uint64_t version,
             Durability durability = Durability::durable) {
    if (!have(name)) return;
    change(
        "writing " + name,
        [&](Model& m) {
          m[name] = std::to_string(version);
          if (name == "desk a" && beside_) m[name] += " beside " + m["desk b"];
          if (name == "desk b" && beside_) {
            m["desk a"] = m["desk a"].substr(0, m["desk a"].find(' ')) + " beside " + m[name];
          }
        },
        [&] {
          return space_->transact(TransactOptions{.durability = durability}, desks_[name],
                                  [&](mut<Desk> desk) { fill(*desk, version); });
        },
        durability == Durability::durable);
  }
  void checkpoint() {
    if (act("a checkpoint", [&] { return space_->checkpoint(); })) durable();
    look("a checkpoint");
  }

  void first_life() {
    start("making the space");
    create_desk("desk a", 64u << 10);
    create_desk("desk b", 1u << 20);
    write("desk a", 3);
    if (have("desk a") && have("desk b")) {
      change(
          "writing over two objects",
          [](Model& m) {
            m["desk b"] = "2";
            m["desk a"] += " beside 2";
          },
          [&] {
            return space_->transact(desks_["desk a"], desks_["desk b"],
                                    [](mut<Desk> a, mut<Desk> b) {
                                      fill(*b, 2);
                                      a->other = b;
                                    });
          });
      beside_ = model_["desk a"].ends_with("beside 2");
    }
    act("holding a view", [&]() -> Result<void> {
      DOLMEN_TRY(held_, space_->view());
      return {};
    });
    held_text_ = render(model_);
    write("desk b", 9, Durability::deferred);
    write("desk a", 8);
    checkpoint();
    change(
        "creating a leaf", [](Model& m) { m["leaf"] = "0"; },
        [&]() -> Result<void> {
          DOLMEN_TRY(leaf_, space_->create<Leaf>("leaf", {.capacity = 512}));
          return {};
        });
    if (have("leaf")) {
      change(
          "naming it again", [](Model& m) { m["leaf two"] = "0"; },
          [&] { return space_->set_name(leaf_.id(), "leaf two"); });
      change(
          "writing it",
          [&](Model& m) {
            for (auto& [name, value] : m)
              if (name.starts_with("leaf")) value = "7";
          },
          [&] { return space_->transact(leaf_, [](mut<Leaf> leaf) { leaf->version = 7; }); });
    }
    if (have("desk a")) {
      change(
          "resizing", [](Model&) {},
          [&] { return space_->resize(desks_["desk a"].id(), 256u << 10); });
      change(
          "a body that gives up", [](Model&) {},
          [&]() -> Result<void> {
            const auto done =
                space_->transact(desks_["desk a"], [](mut<Desk> desk) -> Result<void> {
                  fill(*desk, 5);
                  return fail(Errc::aborted);
                });
            if (done.error().code() == Errc::aborted) return {};
            return done;
          },
          false);
    }
    write("desk a", 12);
    if (have("leaf")) {
      change(
          "erasing",
          [](Model& m) {
            m.erase("leaf");
            m.erase("leaf two");
          },
          [&] { return space_->erase(leaf_); });
    }
    checkpoint();
    held_.reset();
    write("desk b", 11);
  }
  void second_life() {
    start("opening the space again");
    if (!space_) return;
    model_ = {};
    // Which of the states that are possible it is must be one for all that follows.
    std::optional<View> now;
    std::string text;
    const bool seen = act("looking first", [&]() -> Result<void> {
      DOLMEN_TRY(now, space_->view());
      DOLMEN_TRY(text, shown_by(*now));
      return {};
    });
    now.reset();
    if (!seen) return space_.reset();
    if (std::ranges::find(possible_, text) == possible_.end()) {
      return wrong("opening again", "holds\n" + text + "instead of\n" + possible_.back());
    }
    possible_ = {text};
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t line = text.find('\n', at);
      const std::string entry = text.substr(at, line - at);
      const std::size_t digit = entry.find_first_of("0123456789");
      model_[entry.substr(0, digit - 1)] = entry.substr(digit);
      at = line + 1;
    }
    for (const std::string name : {"desk a", "desk b"}) {
      if (!have(name)) continue;
      act("finding " + name, [&]() -> Result<void> {
        DOLMEN_TRY(desks_[name], space_->find<Desk>(name));
        return {};
      });
    }
    beside_ = have("desk a") && model_["desk a"].find("beside") != std::string::npos;
    write("desk b", 4);
    write("desk a", 6);
    checkpoint();
    write("desk a", 2);
  }
  void check_objects() {
    auto explorer = Explorer::make(*space_);
    if (!explorer) return wrong("exploring", explorer.error().message());
    const auto objects = explorer->objects();
    if (!objects) return wrong("listing", objects.error().message());
    for (const ObjectId& id : *objects) {
      const auto findings = explorer->check(id);
      if (!findings) return wrong("checking", findings.error().message());
      for (const Finding& f : *findings)
        wrong("an object", f.what + " " + f.where + " " + f.detail);
    }
    const auto scrubbed = scrub(*space_, {});
    if (!scrubbed) return wrong("scrubbing", scrubbed.error().message());
    for (const StoredDamage& damage : scrubbed->damage) wrong("scrub", damage.where);
  }

  const sys::Env& env_;
  sim::SimDisk& disk_;
  std::optional<Space> space_;
  std::map<std::string, Object<Desk>> desks_;
  Object<Leaf> leaf_;
  std::optional<View> held_;
  std::string held_text_;
  Model model_;
  std::vector<std::string> possible_;  // states that may be found, the last acknowledged one first
  const bool guarded_;
  bool beside_ = false;  // desk a leads to desk b
  bool made_ = false;
  bool troubled_ = false;  // a call was refused, and nobody has looked since
  unsigned life_ = 0;
  Errc injected_{};
  bool lasts_ = false;
  std::uint64_t refusals_ = 0;
  std::string problem_;
};

/// Of so many calls one fails; in the soak every single one.
inline std::uint64_t stride(std::uint64_t in_gate) { return base::at_full_length() ? 1 : in_gate; }

}  // namespace dolmen::node
