// SPDX-License-Identifier: Apache-2.0
//
// How tests put steps of one thread between the steps of another.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/hooks.hpp"

namespace dolmen::node {

/// Runs what a test wants at the named steps of the library.
class Steps final : public base::Hooks {
 public:
  Steps() : former_(base::install_hooks(this)) {}
  ~Steps() override { (void)base::install_hooks(former_); }
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;

  /// Requires: nobody is running yet.
  void at(std::string step, std::function<void()> run) { steps_[std::move(step)] = std::move(run); }
  void take(std::string site, std::function<bool()> decide) {
    sites_[std::move(site)] = std::move(decide);
  }

  /// How often a place is reached from now on.
  const std::atomic<std::uint64_t>& count(std::string site) { return probes_[std::move(site)]; }

  bool buggify(std::string_view site) override {
    const auto found = sites_.find(site);
    return found != sites_.end() && found->second();
  }
  void probe(std::string_view site) override {
    if (const auto found = probes_.find(site); found != probes_.end()) ++found->second;
  }
  bool planted(std::string_view) override { return false; }
  void step(std::string_view step) override {
    if (const auto found = steps_.find(step); found != steps_.end()) found->second();
  }

 private:
  base::Hooks* former_;
  std::map<std::string, std::function<void()>, std::less<>> steps_;
  std::map<std::string, std::function<bool()>, std::less<>> sites_;
  std::map<std::string, std::atomic<std::uint64_t>, std::less<>> probes_;
};

/// Does something once, however often it is asked to.
class Once {
 public:
  template <class Function>
  void operator()(Function function) {
    if (!done_.exchange(true)) function();
  }

 private:
  std::atomic<bool> done_{false};
};

}  // namespace dolmen::node
