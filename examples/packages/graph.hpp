// SPDX-License-Identifier: Apache-2.0
//
// Questions to a graph of packages, answered by following pointers. The same templates walk
// dolmen's Package (whose edges are dolmen::ptr) and RawPackage (whose edges are raw pointers).
//
// What a question has to remember (who was seen) lies beside the graph, in vectors indexed by
// Package::number: many views may be asked at once, and asking changes nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace packages {

struct Closure {
  std::uint64_t count = 0;  ///< packages reached, the first one included
  std::uint64_t kib = 0;    ///< their installed size
  std::uint64_t hops = 0;   ///< pointers followed
  friend bool operator==(const Closure&, const Closure&) = default;
};

template <class P>
class Walker {
 public:
  explicit Walker(std::size_t count) : seen_(count, 0) {}

  // [demo:closure]
  /// Everything that can be reached from `start` along `edges`: &P::depends or &P::dependents.
  template <class Edges>
  Closure closure(const P& start, Edges P::* edges) {
    Closure result;
    ++round_;
    seen_[start.number] = round_;
    stack_.assign(1, &start);
    while (!stack_.empty()) {
      const P& package = *stack_.back();
      stack_.pop_back();
      ++result.count;
      result.kib += package.installed_kib;
      for (const auto& edge : package.*edges) {
        const P& other = *edge;  // the hop, often into another object
        ++result.hops;
        if (seen_[other.number] == round_) continue;
        seen_[other.number] = round_;
        stack_.push_back(&other);
      }
    }
    return result;
  }
  // [/demo:closure]

 private:
  std::vector<std::uint32_t> seen_;
  std::vector<const P*> stack_;
  std::uint32_t round_ = 0;
};

template <class P>
struct Heavy {
  const P* package = nullptr;
  Closure closure;
};

/// The largest closures by installed size, and the sum of all.
template <class P>
struct Heaviest {
  std::vector<Heavy<P>> top;
  Closure all;

  void add(const Heavy<P>& one, std::size_t top_count) {
    all.count += one.closure.count;
    all.kib += one.closure.kib;
    all.hops += one.closure.hops;
    if (top.size() == top_count && top.back().closure.kib >= one.closure.kib) return;
    top.push_back(one);
    std::ranges::stable_sort(top, std::greater{}, [](const Heavy<P>& h) { return h.closure.kib; });
    if (top.size() > top_count) top.pop_back();
  }
};

/// What each package (or each `step`-th one) brings along.
template <class P, class Packages>
Heaviest<P> heaviest(const Packages& packages, std::size_t count, std::size_t top_count,
                     std::size_t step = 1) {
  Heaviest<P> result;
  Walker<P> walker(count);
  // [demo:heaviest]
  for (std::size_t i = 0; i < count; i += step) {
    const P& package = *packages[i];
    result.add({&package, walker.closure(package, &P::depends)}, top_count);
  }
  // [/demo:heaviest]
  return result;
}

/// A package on the longest chain, and how many packages (itself included) form a cycle with it.
template <class P>
struct Link {
  const P* package = nullptr;
  std::size_t cycle = 1;
};

template <class P>
struct Chains {
  std::vector<Link<P>> longest;  ///< each needs the next; one entry per cycle
  std::size_t cycles = 0;        ///< groups of packages that need each other
  std::size_t largest_cycle = 0;
  std::uint64_t hops = 0;
};

/// The longest chain of dependencies. Packages may need each other in a circle, where "longest" has
/// no meaning; so each circle (strongly connected component) counts as one step of the chain.
/// Tarjan's algorithm without recursion: it finishes a component after all that the component
/// needs, so that the longest chain from there is known at once.
template <class P>
class ChainFinder {
 public:
  template <class Packages>
  static Chains<P> find(const Packages& packages, std::size_t count) {
    ChainFinder finder(count);
    for (std::size_t i = 0; i < count; ++i) {
      const P& package = *packages[i];
      if (finder.nodes_[package.number].order == 0) finder.walk(package);
    }
    finder.collect();
    return std::move(finder.result_);
  }

 private:
  struct Node {
    std::uint32_t order = 0;  // of discovery, from 1
    std::uint32_t low = 0;
    std::uint32_t component = kNone;
  };
  struct Component {
    std::uint32_t length = 1;  // of the longest chain that begins here
    std::uint32_t size = 0;
    const P* entry = nullptr;  // shown if the chain begins here
    const P* next = nullptr;   // where the chain goes on
  };
  struct Frame {
    const P* package;
    std::size_t edge;
  };
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  explicit ChainFinder(std::size_t count) : nodes_(count) {}

  void walk(const P& start) {
    discover(start);
    while (!frames_.empty()) {
      const P& package = *frames_.back().package;
      Node& node = nodes_[package.number];
      if (frames_.back().edge < package.depends.size()) {
        const P& other = *package.depends[frames_.back().edge++];
        ++result_.hops;
        const Node& target = nodes_[other.number];
        if (target.order == 0) {
          discover(other);
        } else if (target.component == kNone) {
          node.low = std::min(node.low, target.order);
        }
        continue;
      }
      frames_.pop_back();
      if (node.low == node.order) finish(package);
      if (!frames_.empty()) {
        Node& parent = nodes_[frames_.back().package->number];
        parent.low = std::min(parent.low, node.low);
      }
    }
  }

  void discover(const P& package) {
    Node& node = nodes_[package.number];
    node.order = node.low = ++orders_;
    open_.push_back(&package);
    frames_.push_back({&package, 0});
  }

  void finish(const P& root) {
    const auto number = static_cast<std::uint32_t>(components_.size());
    auto first = open_.end();
    do {
      --first;
      nodes_[(*first)->number].component = number;
    } while (*first != &root);
    Component component;
    component.size = static_cast<std::uint32_t>(open_.end() - first);
    component.entry = &root;
    for (auto member = first; member != open_.end(); ++member) {
      for (const auto& edge : (*member)->depends) {
        const P& other = *edge;
        ++result_.hops;
        const std::uint32_t there = nodes_[other.number].component;
        if (there == number || components_[there].length < component.length) continue;
        component.length = components_[there].length + 1;
        component.next = &other;
      }
    }
    open_.erase(first, open_.end());
    components_.push_back(component);
  }

  void collect() {
    const Component* at = nullptr;
    for (const Component& component : components_) {
      if (component.size > 1) ++result_.cycles;
      result_.largest_cycle = std::max<std::size_t>(result_.largest_cycle, component.size);
      if (at == nullptr || component.length > at->length) at = &component;
    }
    const P* package = at == nullptr ? nullptr : at->entry;
    while (package != nullptr) {
      const Component& component = components_[nodes_[package->number].component];
      result_.longest.push_back({package, component.size});
      package = component.next;
    }
  }

  std::vector<Node> nodes_;
  std::vector<Component> components_;
  std::vector<const P*> open_;
  std::vector<Frame> frames_;
  Chains<P> result_;
  std::uint32_t orders_ = 0;
};

}  // namespace packages
