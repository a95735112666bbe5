// SPDX-License-Identifier: Apache-2.0
//
// What tests of the hash index share: planted bugs, and a way in between two stores.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string_view>
#include <utility>

#include "base/hooks.hpp"
#include "base/random.hpp"
#include "cluster/index_table.hpp"

namespace dolmen::cluster {

/// Plants one bug and lets a test in between two stores of the writer, as long as it lives.
class IndexHooks final : public base::Hooks {
 public:
  explicit IndexHooks(std::string_view bug = {}, std::function<void()> between = {})
      : bug_(bug), between_(std::move(between)), former_(base::install_hooks(this)) {}
  ~IndexHooks() override { base::install_hooks(former_); }
  IndexHooks(const IndexHooks&) = delete;
  IndexHooks& operator=(const IndexHooks&) = delete;
  bool buggify(std::string_view) override { return false; }
  void probe(std::string_view) override {}
  bool planted(std::string_view bug) override { return bug == bug_; }
  void step(std::string_view name) override {
    if (between_ && name == "cluster.index_store") between_();
  }

 private:
  std::string_view bug_;
  std::function<void()> between_;
  base::Hooks* former_;
};

using Model = std::map<std::uint64_t, std::uint64_t>;

inline TableSizes sizes_of(IndexKind kind) {
  if (kind == IndexKind::homes) return {};
  return {.kind = kind, .heap_bytes = 128 * 1024};
}

}  // namespace dolmen::cluster
