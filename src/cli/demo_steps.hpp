// SPDX-License-Identifier: Apache-2.0
//
// The steps of `dolmen demo`, in their order, and the figures that they measure.
//
// Thread contract: one thread; write_beside_view() and ask_while_killing() run one more each.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <dolmen/replicated.hpp>
#include <dolmen/space.hpp>

#include "base/random.hpp"
#include "cli/demo.hpp"
#include "cli/demo_screen.hpp"
#include "packages/census.hpp"
#include "packages/graph.hpp"
#include "packages/model.hpp"
#include "packages/raw_graph.hpp"
#include "sys/env.hpp"

namespace dolmen::cli {

class Demo {
 public:
  struct Paths {
    std::string space;  ///< the directory that becomes the space
    std::string input;  ///< where the input is kept for the loader, in the form it came
  };

  Demo(const DemoOptions& options, const Paths& paths, const sys::Env& env, Screen& screen);

  /// All steps. An Error means that the demo could not go on; a check that failed does not stop it.
  [[nodiscard]] Result<void> run();
  [[nodiscard]] bool all_checks_held() const { return all_held_; }
  [[nodiscard]] const nlohmann::ordered_json& figures() const { return figures_; }

 private:
  using Package = packages::Package;
  using RawPackage = packages::RawPackage;

  // demo_load.cpp
  Result<void> gather();
  Result<void> load_and_kill();
  Result<bool> load_until_killed(std::uint64_t percent);
  Result<void> look_after_kill();
  Result<void> resume();
  Result<void> reopen();
  // demo_ask.cpp
  Result<void> ask();
  void ask_closure(const packages::Catalogue& debian);
  void ask_chain(const packages::Catalogue& debian);
  void ask_heaviest(const packages::Catalogue& debian);
  Result<void> compare();
  void race(const packages::Catalogue& debian, const packages::RawGraph& raw);
  Result<void> write_beside_view();
  // demo_cluster.cpp
  Result<void> replicate();
  Result<void> replicate_in(const std::string& directory);
  Result<void> load_nodes(ReplicatedClient& client);
  Result<std::uint32_t> ask_while_killing(ReplicatedClient& client,
                                          const std::function<void(std::uint32_t)>& kill);
  Result<void> look_at_cluster(const std::string& address);
  Result<void> count_what_is_left(const std::string& address);

  void check(const std::string& what, bool held);
  [[nodiscard]] std::uint64_t now_ns() const { return env_.clock->monotonic_ns(); }

  const DemoOptions& options_;
  const Paths& paths_;
  const sys::Env& env_;
  Screen& screen_;
  base::Random random_;
  nlohmann::ordered_json figures_;
  bool all_held_ = true;

  std::string program_;  // this one
  std::string durable_;  // what "durable" means here, in words
  std::uint64_t total_ = 0;
  std::uint64_t batch_ = 0;
  std::uint64_t killed_at_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::uint64_t found_ = 0;

  std::string subject_;  // the package of the questions: libc6 where there is one
  std::optional<Space> space_;
  std::optional<View> view_;  // of step 3, held until the end
  Object<packages::Catalogue> debian_;
  packages::Closure broken_;  // without the subject
  packages::Chains<Package> chains_;
  packages::Heaviest<Package> heaviest_;
  std::uint64_t heaviest_ns_ = 0;
};

/// Whether the user has asked the demo to end (Ctrl-C); it then ends early and tidies up.
[[nodiscard]] bool interrupted() noexcept;

/// The parts that other processes play: "load" loads options.input into options.directory and
/// reports on standard output; "open" reads one value, of the package named options.input.
[[nodiscard]] int run_demo_child(const DemoOptions& options);

/// "node1", "node2", "node3": one of the nodes of the cluster in options.directory, until it is
/// killed.
[[nodiscard]] Result<void> run_demo_node(const DemoOptions& options, std::uint32_t node);

}  // namespace dolmen::cli
