// SPDX-License-Identifier: Apache-2.0
#include "sim/crash_workload.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "base/checksum.hpp"
#include "base/random.hpp"

namespace dolmen::sim {

namespace {

struct ModelBox {
  std::uint64_t version = 0;
  std::string text;
  std::vector<std::uint64_t> numbers;
  std::map<std::uint64_t, std::uint64_t> table;
  std::map<std::uint64_t, std::uint64_t> sorted;
  std::vector<std::uint64_t> list;  // newest first
  std::string other;                // name of the box pointed to, or empty
};
struct ModelSmall {
  std::uint64_t value = 0;
  std::string box;
};
struct Model {
  std::map<std::string, ModelBox> boxes;
  std::map<std::string, ModelSmall> smalls;
};

void append(std::string& text, const char* label, std::uint64_t value) {
  text += label;
  text += std::to_string(value);
}

/// Long texts (of transactions larger than a log segment) by length and hash.
void append_text(std::string& text, std::string_view value) {
  text += " '";
  if (value.size() <= 64) {
    text += value;
  } else {
    append(text, "#", value.size());
    append(text, "#", base::checksum64(base::as_bytes(value), 0));
  }
  text += "'";
}

/// Refusals that leave everything as it was; a disturbed world refuses now and then.
bool is_refusal(const Error& error) {
  return error.code() == Errc::object_full || error.code() == Errc::no_space;
}

std::string render(const Model& model) {
  std::string text;
  for (const auto& [name, box] : model.boxes) {
    text += "box " + name;
    append(text, " v", box.version);
    append_text(text, box.text);
    for (const std::uint64_t n : box.numbers) append(text, " n", n);
    for (const auto& [k, v] : box.table) append(text, " t", k), append(text, "=", v);
    for (const auto& [k, v] : box.sorted) append(text, " s", k), append(text, "=", v);
    for (const std::uint64_t n : box.list) append(text, " l", n);
    if (!box.other.empty()) append(text, " -> v", model.boxes.at(box.other).version);
    text += "\n";
  }
  for (const auto& [name, small] : model.smalls) {
    text += "small " + name;
    append(text, " v", small.value);
    if (!small.box.empty()) append(text, " -> v", model.boxes.at(small.box).version);
    text += "\n";
  }
  return text;
}

std::string render(const View& view) {
  std::string text;
  std::string smalls;
  const auto names = view.names();
  if (!names) throw AccessError(names.error());
  std::map<std::string, NameEntry> sorted;
  for (const NameEntry& entry : *names) sorted.emplace(entry.name, entry);
  for (const auto& [name, entry] : sorted) {
    if (name.starts_with("small")) {
      const Small* small = view[Object<Small>(entry.object)];
      smalls += "small " + name;
      append(smalls, " v", small->value);
      if (small->box) append(smalls, " -> v", small->box->version);
      smalls += "\n";
      continue;
    }
    const Box* box = view[Object<Box>(entry.object)];
    text += "box " + name;
    append(text, " v", box->version);
    append_text(text, box->text);
    for (const std::uint64_t n : box->numbers) append(text, " n", n);
    std::map<std::uint64_t, std::uint64_t> table;
    for (const auto& [k, v] : box->table) table.emplace(k, v);
    for (const auto& [k, v] : table) append(text, " t", k), append(text, "=", v);
    for (const auto& [k, v] : box->sorted) append(text, " s", k), append(text, "=", v);
    for (auto item = box->list; item; item = item->next) append(text, " l", item->value);
    if (box->other) append(text, " -> v", box->other->version);
    text += "\n";
  }
  return text + smalls;
}

struct HeldView {
  View view;
  std::string text;
};

class Workload {
 public:
  Workload(Space& space, const WorkloadOptions& options,
           const std::function<std::uint64_t()>& op_count)
      : space_(space), options_(options), op_count_(op_count), random_(options.seed) {}

  WorkloadHistory run() {
    history_.states.push_back(render(model_));
    for (unsigned i = 0; i < options_.commits; ++i) step();
    check_views();
    history_.attempted.emplace_back(op_count_(), history_.states.size() - 1);
    return std::move(history_);
  }

 private:
  void violation(const std::string& what) { history_.violations.push_back(what); }

  void step() {
    switch (random_.below(17)) {
      case 0:
        return create_box();
      case 1:
        return create_small();
      case 2:
        return erase_one();
      case 3:
        return checkpoint();
      case 4:
        return checkpoint_inside_a_transaction();
      case 5:
        return hold_view();
      case 6:
        return check_views();
      case 7:
        return aborted();
      case 8:
        return link_boxes();
      case 9:
        return resize_one();
      case 10:
        return long_text();
      default:
        return edit_box();
    }
  }

  /// Runs one mutation of space and model. `change` is given the copy of the model that becomes the
  /// model if the commit takes effect.
  template <class Change>
  void commit(const char* what, Change change) {
    Model next = model_;
    const bool durable = random_.chance(3, 4);
    // The commit may become durable with any disk operation from here on.
    history_.attempted.emplace_back(op_count_(), history_.states.size());
    history_.states.push_back({});
    const Result<void> done = change(
        next, TransactOptions{.durability = durable ? Durability::durable : Durability::deferred});
    if (!done) {
      history_.states.pop_back();
      history_.attempted.pop_back();
      if (!is_refusal(done.error())) {
        violation(std::string(what) + ": " + done.error().message());
      }
      return;
    }
    model_ = std::move(next);
    history_.states.back() = render(model_);
    if (durable) history_.acknowledged.emplace_back(op_count_(), history_.states.size() - 1);
  }

  std::string some_box() {
    if (model_.boxes.empty()) return {};
    auto it = model_.boxes.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random_.below(model_.boxes.size())));
    return it->first;
  }

  Object<Box> box(const std::string& name) { return space_.find<Box>(name).value(); }

  void create_box() {
    const std::string name = "box" + std::to_string(next_name_++);
    constexpr std::uint64_t kCapacities[] = {4096, 16384, 65536, 1 << 20};
    const std::uint64_t capacity = kCapacities[random_.below(4)];
    commit("create", [&](Model& next, const TransactOptions& options) -> Result<void> {
      next.boxes[name];
      return space_.transact(options, any, [&]() -> Result<void> {
        const auto made = space_.create<Box>(name, {.capacity = capacity});
        if (!made) return std::unexpected(made.error());
        return {};
      });
    });
  }

  void create_small() {
    const std::string name = "small" + std::to_string(next_name_++);
    const std::string target = some_box();
    const std::uint64_t value = random_();
    commit("create small", [&](Model& next, const TransactOptions& options) -> Result<void> {
      next.smalls[name] = ModelSmall{value, target};
      return space_.transact(options, any, [&]() -> Result<void> {
        const auto made = space_.create<Small>(name, {.capacity = 512});
        if (!made) return std::unexpected(made.error());
        const mut<Small> small = space_.edit(*made);
        small->value = value;
        if (!target.empty()) small->box = space_.root(box_in_section(target));
        return {};
      });
    });
  }

  Object<Box> box_in_section(const std::string& name) {
    auto found = space_.find<Box>(name);
    if (!found) throw AccessError(found.error());
    return *found;
  }

  void erase_one() {
    const std::string name = some_box();
    if (name.empty()) return;
    // What points to it is cut in the same commit.
    commit("erase", [&](Model& next, const TransactOptions& options) -> Result<void> {
      next.boxes.erase(name);
      for (auto& [other_name, other] : next.boxes) {
        if (other.other == name) other.other.clear();
      }
      for (auto& [small_name, small] : next.smalls) {
        if (small.box == name) small.box.clear();
      }
      return space_.transact(options, any, [&]() -> Result<void> {
        for (const auto& [other_name, other] : model_.boxes) {
          if (other.other == name) space_.edit(box_in_section(other_name))->other = nullptr;
        }
        for (const auto& [small_name, small] : model_.smalls) {
          if (small.box != name) continue;
          auto found = space_.find<Small>(small_name);
          if (!found) return std::unexpected(found.error());
          space_.edit(*found)->box = nullptr;
        }
        return space_.erase(box_in_section(name));
      });
    });
  }

  /// A few random edits of one box and its model.
  void edit(mut<Box> box, ModelBox& model) {
    ++box->version;
    ++model.version;
    const std::uint64_t edits = random_.between(1, 6);
    for (std::uint64_t i = 0; i < edits; ++i) {
      const std::uint64_t key = random_.below(40);
      const std::uint64_t value = random_.below(1000);
      switch (random_.below(8)) {
        case 0:
          model.text = std::string(random_.below(60), static_cast<char>('a' + value % 26));
          box->text = model.text;
          break;
        case 1:
          model.numbers.push_back(value);
          box->numbers.push_back(value);
          break;
        case 2:
          if (!model.numbers.empty()) model.numbers.pop_back(), box->numbers.pop_back();
          break;
        case 3:
          model.table[key] = value;
          box->table.insert_or_assign(key, value);
          break;
        case 4:
          model.table.erase(key);
          box->table.erase(key);
          break;
        case 5:
          model.sorted[key] = value;
          box->sorted.insert_or_assign(key, value);
          break;
        case 6:
          model.sorted.erase(key);
          box->sorted.erase(key);
          break;
        default: {
          const mut<Item> item = make<Item>(box, value, nullptr);
          item->next = box->list;
          box->list = item;
          model.list.insert(model.list.begin(), value);
          if (model.list.size() > 12) drop_last(box, model);
        }
      }
    }
  }

  static void drop_last(mut<Box> box, ModelBox& model) {
    auto before = box->list;
    while (before->next->next) before = before->next;
    const mut<Item> last_but_one = dolmen::edit(before);
    const mut<Item> last = dolmen::edit(last_but_one->next);
    last_but_one->next = nullptr;
    destroy(last);
    model.list.pop_back();
  }

  void edit_box() {
    const std::string name = some_box();
    const std::string second = some_box();
    if (name.empty()) return create_box();
    commit("edit", [&](Model& next, const TransactOptions& options) -> Result<void> {
      const base::Random before = random_;
      const auto both = [&](auto first_box, auto second_box) {
        random_ = before;  // a body may run more than once
        next = model_;
        edit(first_box, next.boxes[name]);
        edit(second_box, next.boxes[second]);
      };
      if (second == name) {
        return space_.transact(options, box(name), [&](mut<Box> b) {
          random_ = before;
          next = model_;
          edit(b, next.boxes[name]);
        });
      }
      return space_.transact(options, box(name), box(second), both);
    });
  }

  /// A transaction larger than a log segment: it goes to the log in parts.
  void long_text() {
    const std::string name = some_box();
    if (name.empty()) return;
    std::string text(random_.between(70'000, 150'000), ' ');
    for (char& c : text) c = static_cast<char>('a' + random_.below(26));
    commit("long text", [&](Model& next, const TransactOptions& options) -> Result<void> {
      next.boxes[name].text = text;
      return space_.transact(options, box(name), [&](mut<Box> b) { b->text = text; });
    });
  }

  void link_boxes() {
    const std::string from = some_box();
    const std::string to = some_box();
    if (from.empty()) return;
    commit("link", [&](Model& next, const TransactOptions& options) -> Result<void> {
      next.boxes[from].other = to;
      return space_.transact(options, any, [&] {
        space_.edit(box_in_section(from))->other = space_.root(box_in_section(to));
      });
    });
  }

  void resize_one() {
    const std::string name = some_box();
    if (name.empty() || !views_.empty()) return;
    history_.attempted.emplace_back(op_count_(), history_.states.size());
    history_.states.push_back(render(model_));
    const auto done = space_.resize(box(name).id(), random_.chance(1, 2) ? 131072 : 262144);
    if (done) {
      history_.acknowledged.emplace_back(op_count_(), history_.states.size() - 1);
    } else if (!is_refusal(done.error())) {
      violation("resize: " + done.error().message());
    }
  }

  void aborted() {
    const std::string name = some_box();
    if (name.empty()) return;
    const auto done = space_.transact(box(name), [&](mut<Box> b) -> Result<void> {
      ModelBox scratch = model_.boxes[name];
      edit(b, scratch);
      return fail(Errc::aborted);
    });
    if (done) violation("an aborted transaction succeeded");
    check_now();
  }

  void checkpoint() {
    if (const auto done = space_.checkpoint(); !done && !is_refusal(done.error())) {
      violation("checkpoint: " + done.error().message());
    }
  }

  void checkpoint_inside_a_transaction() {
    const std::string name = some_box();
    if (name.empty()) return checkpoint();
    const bool abort_it = random_.chance(1, 2);
    const auto body = [&](Model& next, const TransactOptions& options) -> Result<void> {
      return space_.transact(options, box(name), [&](mut<Box> b) -> Result<void> {
        edit(b, next.boxes[name]);
        checkpoint();  // must hold the last commit, not what this body has done so far
        if (abort_it) return fail(Errc::aborted);
        edit(b, next.boxes[name]);
        return {};
      });
    };
    if (!abort_it) return commit("checkpoint inside", body);
    Model scratch = model_;
    (void)body(scratch, TransactOptions{});
    check_now();
  }

  void check_now() {
    const auto text = render_space(space_);
    if (!text) return violation("reading: " + text.error().message());
    if (*text != render(model_)) violation("the space differs from the model");
  }

  void hold_view() {
    auto view = space_.view(ReadOptions{Level::visible});
    if (!view) return violation("view: " + view.error().message());
    views_.push_back(std::make_unique<HeldView>(HeldView{std::move(*view), render(model_)}));
    if (views_.size() > 3) {
      check_view(*views_.front());
      views_.erase(views_.begin());
    }
  }

  void check_view(HeldView& held) {
    try {
      if (render(held.view) != held.text) violation("a view changed");
    } catch (const AccessError& access) {
      violation("view: " + access.message());
    }
  }

  void check_views() {
    for (const auto& held : views_) check_view(*held);
    views_.clear();
  }

  Space& space_;
  WorkloadOptions options_;
  const std::function<std::uint64_t()>& op_count_;
  base::Random random_;
  Model model_;
  WorkloadHistory history_;
  std::vector<std::unique_ptr<HeldView>> views_;
  std::uint64_t next_name_ = 0;
};

}  // namespace

std::pair<std::size_t, std::size_t> WorkloadHistory::bounds(std::uint64_t op) const {
  std::size_t fewest = 0;
  std::size_t most = 0;
  for (const auto& [at, k] : acknowledged) {
    if (at <= op) fewest = k;
  }
  for (const auto& [at, k] : attempted) {
    if (at <= op) most = k;
  }
  return {fewest, std::max(fewest, most)};
}

Result<std::string> render_space(Space& space) {
  auto view = space.view(ReadOptions{Level::visible});
  if (!view) return std::unexpected(view.error());
  try {
    return render(*view);
  } catch (const AccessError& access) {
    return std::unexpected(access.error());
  }
}

WorkloadHistory run_workload(Space& space, const WorkloadOptions& options,
                             const std::function<std::uint64_t()>& op_count) {
  return Workload(space, options, op_count).run();
}

}  // namespace dolmen::sim
