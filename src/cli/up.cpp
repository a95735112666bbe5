// SPDX-License-Identifier: Apache-2.0
//
// dolmen up and run: a cluster on this host, of nodes alone or of a program's own processes
// (docs/cluster.md).
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dolmen/cluster.hpp>

#include "cli/command.hpp"
#include "cli/local_cluster.hpp"
#include "sys/linux/children.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace {

struct Options {
  LocalClusterOptions cluster;
  std::uint16_t metrics_port = 0;  ///< 0: none
  std::vector<std::string> program;
  bool no_shm = false;
  bool json = false;
};

std::string exchange_of(const Options& options) {
  return options.no_shm ? std::string() : options.cluster.directory;
}

/// As in "node 3 ended with signal 9".
std::string text_of(const sys::Child::End& how) {
  return "ended with " + (how.signal != 0 ? "signal " + std::to_string(how.signal)
                                          : "exit code " + std::to_string(how.code));
}
int exit_of(const sys::Child::End& how) {
  if (how.signal != 0) return 128 + how.signal;
  return how.code != 0 ? how.code : kFailed;
}

sys::Children* running = nullptr;
volatile std::sig_atomic_t asked_to_end = 0;

/// From here on a signal asks all of them to end, those that are started meanwhile as well.
void end_with(sys::Children& children) {
  running = &children;
  const auto end = [](int) {
    asked_to_end = 1;
    running->terminate();
  };
  std::signal(SIGTERM, end);
  std::signal(SIGINT, end);
}
void end_without() {
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
}

/// Until all have ended. One that fails ends the others; what it ended with is what this ends with.
int wait_for(sys::Children& children, const char* what) {
  end_with(children);
  int result = kOk;
  while (children.running() > 0) {
    const auto ended = children.wait();
    if (!ended) return failed(ended.error());
    if (!*ended) continue;
    const auto& [number, how] = **ended;
    if ((how.code == 0 && how.signal == 0) || asked_to_end != 0) continue;
    if (result != kOk) continue;  // it was asked to end
    (void)failed(std::string(what) + " " + std::to_string(number + 1) + " " + text_of(how));
    result = exit_of(how);
    children.terminate();
  }
  end_without();
  return result;
}

constexpr std::uint64_t kNever = ~std::uint64_t{0};
constexpr const char* kSelf = "/proc/self/exe";

/// The nodes as processes. One that ends is started again, unless the cluster removed it, or it
/// ends again and again as soon as it is there.
class Keeper {
 public:
  Keeper(const Options& options, const LocalCluster& cluster, const Exchange& exchange)
      : cluster_(cluster) {
    for (const auto& [number, why] : cluster.broken()) {
      result_ = why.code() == Errc::corrupt ? kDamaged : kFailed;
      (void)failed("node " + std::to_string(number) + " cannot run: " + as_said(why) +
                   kDamagedNodeAdvice);
    }
    for (const std::uint32_t number : cluster.nodes()) {
      std::vector<std::string> words{"serve", cluster.node_directory(number), "--quiet"};
      if (!exchange.path().empty()) words.insert(words.end(), {"--shm", exchange.path()});
      if (options.metrics_port != 0) {
        words.insert(words.end(), {"--metrics", options.cluster.host + ":" +
                                                    std::to_string(options.metrics_port + number)});
      }
      nodes_.push_back({.number = number, .words = std::move(words)});
    }
  }

  [[nodiscard]] Result<void> start() {
    for (Node& node : nodes_) {
      DOLMEN_CHECK(children_.start(kSelf, node.words, {}));
      node.started_ns = now_ns();
    }
    return {};
  }

  /// Until none is left, or a signal said so.
  int run() {
    end_with(children_);
    for (;;) {
      // Who was started while the signal came has not heard it.
      if (asked_to_end != 0) children_.terminate();
      const std::uint64_t due_ns =
          asked_to_end != 0 ? kNever : std::ranges::min_element(nodes_, {}, &Node::due_ns)->due_ns;
      if (children_.running() == 0 && due_ns == kNever) break;
      const auto ended = due_ns == kNever ? children_.wait() : children_.wait_until(due_ns);
      if (!ended) return failed(ended.error());
      if (asked_to_end != 0) continue;
      if (*ended) note((*ended)->first, (*ended)->second);
      start_due();
    }
    end_without();
    return asked_to_end != 0 ? kOk : result_;
  }

 private:
  struct Node {
    std::uint32_t number = 0;
    std::vector<std::string> words{};
    std::uint64_t started_ns = 0;
    std::uint64_t due_ns = kNever;  ///< when it is started again
    std::uint32_t brief_lives = 0;  ///< in a row
  };
  /// A life that is no longer is brief, and so many of them in a row are enough.
  static constexpr std::uint64_t kBriefNs = 5'000'000'000;
  static constexpr std::uint32_t kBriefLivesMax = 3;
  static constexpr std::uint64_t kPauseNs = 500'000'000;

  static std::uint64_t now_ns() { return sys::linux_env().clock->monotonic_ns(); }

  void note(std::size_t place, const sys::Child::End& how) {
    Node& node = nodes_[place];
    const std::string name = "node " + std::to_string(node.number) + " ";
    if (cluster_.removed().contains(node.number)) {
      (void)failed(name + "was removed from the cluster, and is not started again");
      return;
    }
    const bool is_brief = now_ns() < node.started_ns + kBriefNs;
    node.brief_lives = is_brief ? node.brief_lives + 1 : 0;
    if (node.brief_lives >= kBriefLivesMax) {
      result_ = exit_of(how);
      (void)failed(name + text_of(how) + ", " + std::to_string(node.brief_lives) +
                   " times in a row within seconds of its start, and is not started again");
      return;
    }
    (void)failed(name + text_of(how) + ", and is started again");
    node.due_ns = now_ns() + kPauseNs;
  }

  void start_due() {
    for (std::size_t place = 0; place < nodes_.size(); ++place) {
      Node& node = nodes_[place];
      if (node.due_ns > now_ns()) continue;
      node.due_ns = kNever;
      node.started_ns = now_ns();
      const auto started = children_.start_again(place, kSelf, node.words, {});
      if (started) continue;
      result_ = failed(started.error());
    }
  }

  const LocalCluster& cluster_;
  std::vector<Node> nodes_;
  sys::Children children_;
  int result_ = kOk;
};

int not_brought_up(const Error& error) {
  // By nobody who writes a space, as the code says.
  return error.code() == Errc::held ? failed(as_said(error)) : failed(error);
}

int bring_up(const Options& options) {
  const int apart = std::abs(int{options.metrics_port} - int{options.cluster.port});
  const auto nodes = static_cast<int>(options.cluster.nodes);
  if (options.metrics_port != 0 && apart < nodes) {
    return misused("--metrics-port: nodes listen at the " + std::to_string(nodes) +
                       " ports behind " + std::to_string(options.cluster.port) +
                       ", and figures need others",
                   "up");
  }
  LocalCluster cluster(options.cluster, "up");
  if (const auto made = cluster.make(); !made) return not_brought_up(made.error());
  const Exchange exchange(exchange_of(options));
  cluster.meet_in(exchange);
  Keeper keeper(options, cluster, exchange);
  if (const auto started = keeper.start(); !started) return failed(started.error());
  const std::string address = cluster.address().text();
  if (options.json) {
    print_json({{"address", address}});
  } else {
    const std::size_t count = cluster.nodes().size();
    std::printf(
        "a cluster of %zu %s is at\n  %s\nlook at it: dolmen status '%s'\n"
        "Ctrl-C ends it; the same command goes on with what is in %s\n",
        count, count == 1 ? "node" : "nodes", address.c_str(), address.c_str(),
        options.cluster.directory.c_str());
  }
  std::fflush(stdout);
  return keeper.run();
}

int run_program(const Options& options) {
  if (options.program.empty()) return misused("which program?", "run");
  LocalCluster cluster(options.cluster, "run");
  if (const auto made = cluster.make(); !made) return not_brought_up(made.error());
  if (!cluster.broken().empty()) return failed(cluster.broken().begin()->second);
  if (cluster.nodes().size() != options.cluster.nodes) {
    return failed("a node was removed from this cluster, and its process would have none");
  }
  const Exchange exchange(exchange_of(options));
  sys::Children children;
  const std::vector<std::string> arguments(options.program.begin() + 1, options.program.end());
  for (std::uint32_t i = 0; i < options.cluster.nodes; ++i) {
    const auto started = children.start(options.program.front(), arguments,
                                        {{"DOLMEN_NODE", cluster.node_directory(i + 1)},
                                         {"DOLMEN_CLUSTER", cluster.address().text()},
                                         {"DOLMEN_SHM", exchange.path()},
                                         {"DOLMEN_RANK", std::to_string(i)},
                                         {"DOLMEN_RANKS", std::to_string(options.cluster.nodes)}});
    if (!started) return failed(started.error());
  }
  return wait_for(children, "process");
}

}  // namespace

void add_up(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<Options>();
  const auto add_shared = [&](CLI::App* command, int (*run)(const Options&)) {
    command->add_option("-n,--nodes", options->cluster.nodes, "how many, 1 to 9")
        ->check(CLI::Range(1, 9))
        ->capture_default_str();
    command->add_option("--host", options->cluster.host, "the address at which they listen")
        ->capture_default_str();
    command->add_option("--port", options->cluster.port, "they listen at the ports behind it")
        ->check(CLI::Range(1024, 65'000))
        ->capture_default_str();
    command
        ->add_option("--lease", options->cluster.lease_ms,
                     "milliseconds that leaders of a new cluster's groups are lent; 0: no leases")
        ->envname("DOLMEN_LEASE")
        ->check(CLI::Range(0, 10'000));
    command->add_flag("--trusted-fabric", options->cluster.trusted_fabric,
                      "nobody else can reach their network: nothing is encrypted; of a new "
                      "cluster, and then each time");
    command->add_flag("--no-shm", options->no_shm,
                      "let them meet by tcp alone, and not in the host's shared memory");
    command->callback(
        [options, run, &chosen] { chosen.run = [options, run] { return run(*options); }; });
  };
  CLI::App* const up =
      add_command(app, "up", "run a cluster of several nodes on this host, for trying",
                  "dolmen up cluster -n 3", options->json);
  up->add_option("DIR", options->cluster.directory, "what the nodes keep; made if it is not there")
      ->required();
  up->add_option("--metrics-port", options->metrics_port,
                 "they give figures to Prometheus at the ports behind it")
      ->check(CLI::Range(1024, 65'000));
  add_shared(up, bring_up);

  CLI::App* const run = app.add_subcommand(
      "run", "run a program several times, whose processes are the nodes of a cluster");
  run->footer("Example:\n  dolmen run -n 3 --dir cluster -- ./program words");
  run->add_option("--dir", options->cluster.directory,
                  "what the nodes keep; made if it is not there")
      ->required();
  run->add_option("PROGRAM", options->program, "behind --: the program and its words");
  add_shared(run, run_program);
}

}  // namespace dolmen::cli
