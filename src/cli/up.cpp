// SPDX-License-Identifier: Apache-2.0
//
// dolmen up and run: a cluster on this host, of nodes alone or of a program's own processes
// (docs/cluster.md).
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <dolmen/cluster.hpp>

#include "base/checksum.hpp"
#include "cli/command.hpp"
#include "sys/disk.hpp"
#include "sys/linux/children.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace {

namespace fs = std::filesystem;

struct Options {
  std::string directory;
  std::uint32_t nodes = 3;
  std::string host = "127.0.0.1";
  std::uint16_t port = 7400;
  std::uint16_t metrics_port = 0;  ///< 0: none
  std::uint32_t lease_ms = 0;
  std::vector<std::string> program;
  bool no_shm = false;
  bool trusted_fabric = false;
  bool json = false;
};

/// Where the nodes and clients of this host meet in memory; gone at the end. The same whenever the
/// cluster is brought up, so that its address stays.
class Exchange {
 public:
  /// Where there is no such memory, or somebody else has the place, as who brings up the same
  /// cluster a second time, there is none.
  explicit Exchange(const Options& options) {
    if (options.no_shm) return;
    const std::string cluster = fs::absolute(options.directory).lexically_normal().string();
    const std::uint64_t id = base::checksum64(base::as_bytes(cluster), ::geteuid());
    const std::string path = "/dev/shm/dolmen-up-" + std::to_string(id);
    if (!sys::open_shared_directory(path, sys::DirectoryMode::open_or_create)) return;
    auto place = sys::open_directory(path, sys::DirectoryMode::open_existing);
    if (!place) return;
    auto lock = (*place)->try_lock(".lock", sys::LockMode::exclusive, "dolmen up", nullptr);
    if (!lock) return;
    place_ = std::move(*place);
    lock_ = std::move(*lock);
    path_ = path;
  }
  ~Exchange() {
    std::error_code unused;
    if (!path_.empty()) fs::remove_all(path_, unused);
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;  ///< empty: none
  std::unique_ptr<sys::Disk> place_;
  std::unique_ptr<sys::FileLock> lock_;
};

/// The nodes' directories and the keys; what is there already is left as it is.
class LocalCluster {
 public:
  explicit LocalCluster(const Options& options)
      : directory_(fs::absolute(options.directory)),
        host_(options.host),
        port_(options.port),
        lease_(options.lease_ms) {
    for (std::uint32_t number = 1; number <= options.nodes; ++number) {
      address_.nodes.push_back(options.host + ":" + std::to_string(options.port + number));
    }
    address_.identity_file = directory_ + "/keys/client-1.key";
    address_.is_trusted_fabric = options.trusted_fabric;
  }

  [[nodiscard]] Result<void> make() const {
    std::error_code error;
    fs::create_directories(directory_, error);
    if (error) return fail(Errc::io_error, interned(directory_));
    const auto keys =
        make_cluster_keys(directory_ + "/keys", static_cast<std::uint32_t>(address_.nodes.size()));
    if (!keys && keys.error().code() != Errc::already_exists) return keys;
    // Whoever listens at one of them is no node of this cluster, and would be asked in vain.
    for (std::size_t i = 0; i < address_.nodes.size(); ++i) {
      const auto free = sys::linux_env().network->listen(
          {.host = host_, .port = static_cast<std::uint16_t>(port_ + i + 1)});
      if (free || free.error().code() != Errc::already_exists) continue;
      return fail(free.error().code(), interned(address_.nodes[i] + " (another --port, perhaps)"),
                  free.error().detail());
    }
    for (std::size_t i = 0; i < address_.nodes.size(); ++i) {
      const auto made = ClusterNode::create(
          {.directory = node_directory(i),
           .address = address_.nodes[i],
           .identity_file = directory_ + "/keys/node-" + std::to_string(i + 1) + ".key",
           .founders = address_.nodes,
           .lease = lease_,
           .is_trusted_fabric = address_.is_trusted_fabric});
      if (!made && made.error().code() != Errc::already_exists) return made;
    }
    return {};
  }
  [[nodiscard]] const ClusterAddress& address() const noexcept { return address_; }
  void meet_in(const Exchange& exchange) { address_.shared_directory = exchange.path(); }
  [[nodiscard]] std::string node_directory(std::size_t i) const {
    return directory_ + "/node-" + std::to_string(i + 1);
  }

 private:
  std::string directory_;
  std::string host_;
  std::uint16_t port_;
  std::chrono::milliseconds lease_;
  ClusterAddress address_;
};

sys::Children* running = nullptr;
volatile std::sig_atomic_t asked_to_end = 0;

/// Until all have ended. One that fails ends the others; what it ended with is what this ends with.
int wait_for(sys::Children& children, const char* what) {
  running = &children;
  const auto end = [](int) {
    asked_to_end = 1;
    running->terminate();
  };
  std::signal(SIGTERM, end);
  std::signal(SIGINT, end);
  int result = kOk;
  while (children.running() > 0) {
    const auto ended = children.wait();
    if (!ended) return failed(ended.error());
    if (!*ended) continue;
    const auto& [number, how] = **ended;
    if ((how.code == 0 && how.signal == 0) || asked_to_end != 0) continue;
    if (result != kOk) continue;  // it was asked to end
    const std::string why = how.signal != 0 ? "signal " + std::to_string(how.signal)
                                            : "exit code " + std::to_string(how.code);
    (void)failed(std::string(what) + " " + std::to_string(number + 1) + " ended with " + why);
    result = how.code != 0 ? how.code : 128 + how.signal;
    children.terminate();
  }
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
  return result;
}

int bring_up(const Options& options) {
  LocalCluster cluster(options);
  if (const auto made = cluster.make(); !made) return failed(made.error());
  const Exchange exchange(options);
  cluster.meet_in(exchange);
  sys::Children children;
  for (std::size_t i = 0; i < options.nodes; ++i) {
    std::vector<std::string> words{"serve", cluster.node_directory(i), "--json"};
    if (!exchange.path().empty()) words.insert(words.end(), {"--shm", exchange.path()});
    if (options.metrics_port != 0) {
      words.insert(words.end(), {"--metrics", options.host + ":" +
                                                  std::to_string(options.metrics_port + i + 1)});
    }
    const auto started = children.start("/proc/self/exe", words, {});
    if (!started) return failed(started.error());
  }
  if (options.json) {
    print_json({{"address", cluster.address().text()}});
  } else {
    std::printf(
        "a cluster of %u nodes is at\n  %s\nlook at it: dolmen status '%s'\n"
        "Ctrl-C ends it; the same command goes on with what is in %s\n",
        options.nodes, cluster.address().text().c_str(), cluster.address().text().c_str(),
        options.directory.c_str());
  }
  std::fflush(stdout);
  return wait_for(children, "node");
}

int run_program(const Options& options) {
  if (options.program.empty()) return misused("which program?", "run");
  const LocalCluster cluster(options);
  if (const auto made = cluster.make(); !made) return failed(made.error());
  const Exchange exchange(options);
  sys::Children children;
  const std::vector<std::string> arguments(options.program.begin() + 1, options.program.end());
  for (std::size_t i = 0; i < options.nodes; ++i) {
    const auto started = children.start(options.program.front(), arguments,
                                        {{"DOLMEN_NODE", cluster.node_directory(i)},
                                         {"DOLMEN_CLUSTER", cluster.address().text()},
                                         {"DOLMEN_SHM", exchange.path()},
                                         {"DOLMEN_RANK", std::to_string(i)},
                                         {"DOLMEN_RANKS", std::to_string(options.nodes)}});
    if (!started) return failed(started.error());
  }
  return wait_for(children, "process");
}

}  // namespace

void add_up(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<Options>();
  const auto add_shared = [&](CLI::App* command, int (*run)(const Options&)) {
    command->add_option("-n,--nodes", options->nodes, "how many, 1 to 9")
        ->check(CLI::Range(1, 9))
        ->capture_default_str();
    command->add_option("--host", options->host, "the address at which they listen")
        ->capture_default_str();
    command->add_option("--port", options->port, "they listen at the ports behind it")
        ->check(CLI::Range(1024, 65'000))
        ->capture_default_str();
    command
        ->add_option("--lease", options->lease_ms,
                     "milliseconds that leaders of a new cluster's groups are lent; 0: no leases")
        ->envname("DOLMEN_LEASE")
        ->check(CLI::Range(0, 10'000));
    command->add_flag("--trusted-fabric", options->trusted_fabric,
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
  up->add_option("DIR", options->directory, "what the nodes keep; made if it is not there")
      ->required();
  up->add_option("--metrics-port", options->metrics_port,
                 "they give figures to Prometheus at the ports behind it")
      ->check(CLI::Range(1024, 65'000));
  add_shared(up, bring_up);

  CLI::App* const run = app.add_subcommand(
      "run", "run a program several times, whose processes are the nodes of a cluster");
  run->footer("Example:\n  dolmen run -n 3 --dir cluster -- ./program words");
  run->add_option("--dir", options->directory, "what the nodes keep; made if it is not there")
      ->required();
  run->add_option("PROGRAM", options->program, "behind --: the program and its words");
  add_shared(run, run_program);
}

}  // namespace dolmen::cli
