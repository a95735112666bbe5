// SPDX-License-Identifier: Apache-2.0
//
// The end of the demo: the same graph in a space of a cluster of three nodes, of which the one that
// leads is killed while it is at work on a question.
#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <dolmen/cluster.hpp>

#include "cli/demo_steps.hpp"
#include "packages/load.hpp"
#include "sys/linux/child.hpp"

namespace dolmen::cli {
namespace {

namespace fs = std::filesystem;

using packages::Catalogue;
using packages::Closure;
using packages::Package;
using packages::Walker;
using Bytes = std::vector<std::byte>;

constexpr std::uint32_t kNodes = 3;
constexpr std::chrono::seconds kPatience{30};
constexpr const char* kSpaceName = "debian";

template <class T>
Bytes bytes_of(const T& value) {
  Bytes bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

template <class T>
Result<T> value_of(const Bytes& bytes) {
  T value{};
  if (bytes.size() != sizeof value) return fail(Errc::corrupt, "an answer", bytes.size());
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

std::string text_of(std::span<const std::byte> bytes) {
  std::string text(bytes.size(), '\0');
  std::ranges::transform(bytes, text.begin(), [](std::byte b) { return static_cast<char>(b); });
  return text;
}

std::string node_directory(const std::string& directory, std::uint32_t node) {
  return directory + "/node-" + std::to_string(node);
}

// [demo:functions]
struct Asked {  // one more object of the space: how many questions were answered
  std::uint64_t questions = 0;
};

/// What would break without a package: runs in the memory of the node that leads, where the graph
/// is. That the question is counted is on the disks of two of three before anybody is told.
Result<Bytes> would_break(Space& space, std::span<const std::byte> name) {
  DOLMEN_TRY(const auto debian, space.find<Catalogue>("debian"));
  DOLMEN_TRY(const auto asked, space.find_or_create<Asked>("asked"));
  DOLMEN_TRY(const View view, space.view());
  DOLMEN_TRY(const Closure closure, view.read([&] {
    const Catalogue& all = *view[debian];
    Walker<Package> walker(all.packages.size());
    const ptr<Package>* const package = all.by_name.get(text_of(name));
    return package == nullptr ? Closure{} : walker.closure(**package, &Package::dependents);
  }));
  DOLMEN_CHECK(space.transact(asked, [](mut<Asked> a) { ++a->questions; }));
  return bytes_of(closure);
}
// [/demo:functions]

ClusterNode* running = nullptr;

/// Three nodes on this machine, each a process: ports of a loopback address that is this process's
/// own, below those that the system gives away.
class Nodes {
 public:
  Nodes(std::string program, std::string directory, std::string input)
      : program_(std::move(program)), directory_(std::move(directory)), input_(std::move(input)) {}

  /// As `dolmen cluster init`, `dolmen node init` and `dolmen serve` do it.
  Result<void> make(const sys::Env& env) {
    fs::create_directories(directory_);
    DOLMEN_CHECK(make_cluster_keys(directory_ + "/keys", kNodes));
    const std::uint64_t pid = env.process->pid();
    for (std::uint32_t node = 1; node <= kNodes; ++node) {
      address_.nodes.push_back("127." + std::to_string(1 + (pid >> 16 & 0x7f)) + "." +
                               std::to_string(pid >> 8 & 0xff) + "." + std::to_string(pid & 0xff) +
                               ":" + std::to_string(7400 + node));
    }
    address_.identity_file = directory_ + "/keys/client-1.key";
    for (std::uint32_t node = 1; node <= kNodes; ++node) {
      DOLMEN_CHECK(ClusterNode::create(
          {.directory = node_directory(directory_, node),
           .address = address_.nodes[node - 1],
           .identity_file = directory_ + "/keys/node-" + std::to_string(node) + ".key",
           .founders = address_.nodes}));
      DOLMEN_CHECK(start(node));
    }
    return {};
  }
  Result<void> start(std::uint32_t node) {
    DOLMEN_TRY(sys::Child child,
               sys::Child::start(program_, {"demo", "--child", "node" + std::to_string(node),
                                            "--dir", directory_, "--input", input_}));
    children_[node - 1] = std::make_unique<sys::Child>(std::move(child));
    return {};
  }
  void kill(std::uint32_t node) { children_[node - 1]->kill(); }
  Result<void> reap(std::uint32_t node) {
    DOLMEN_CHECK(children_[node - 1]->wait());
    return {};
  }
  [[nodiscard]] const ClusterAddress& address() const { return address_; }
  /// Of the space, as commands and Space::open() take it.
  [[nodiscard]] std::string space_address() const {
    const std::string text = address_.text();
    const std::size_t query = text.find('?');
    return text.substr(0, query) + "/" + kSpaceName + text.substr(query);
  }

 private:
  std::string program_;
  std::string directory_;
  std::string input_;
  ClusterAddress address_;
  std::array<std::unique_ptr<sys::Child>, kNodes> children_;
};

/// From a thread of its own, kills a node in the middle of a question.
class Killer {
 public:
  Killer(sys::Clock& clock, std::function<void(std::uint32_t)> kill)
      : clock_(clock), kill_(std::move(kill)) {}
  ~Killer() { ends_ = true; }  // and thread_ is waited for
  Killer(const Killer&) = delete;
  Killer& operator=(const Killer&) = delete;

  Result<void> start(const sys::Env& env) {
    DOLMEN_TRY(thread_, env.process->start_thread("demo killer", [this] { run(); }));
    return {};
  }
  /// This one, so long after a question was sent whose answer is not there by then.
  void aim(std::uint32_t node, std::uint64_t pause_ns) {
    pause_ns_ = pause_ns;
    node_ = node;
  }
  void sent(std::uint64_t question) { under_way_ = question + 1; }
  void answered() { under_way_ = 0; }
  [[nodiscard]] bool has_killed() const { return has_killed_; }
  /// While which question.
  [[nodiscard]] std::uint64_t killed_at() const { return killed_at_; }

 private:
  void run() {
    constexpr std::uint64_t kLook_ns = 20'000;
    while (!ends_) {
      const std::uint64_t question = under_way_;
      if (node_ == 0 || question == 0) {
        clock_.sleep_ns(kLook_ns);
        continue;
      }
      clock_.sleep_ns(pause_ns_);
      if (under_way_ != question) continue;  // it was answered: the next one
      kill_(node_);                          // SIGKILL
      killed_at_ = question - 1;
      has_killed_ = true;
      return;
    }
  }

  sys::Clock& clock_;
  const std::function<void(std::uint32_t)> kill_;
  std::atomic<std::uint32_t> node_{0};
  std::atomic<std::uint64_t> pause_ns_{0};
  std::atomic<std::uint64_t> under_way_{0};
  std::atomic<std::uint64_t> killed_at_{0};
  std::atomic<bool> has_killed_{false};
  std::atomic<bool> ends_{false};
  std::unique_ptr<sys::Thread> thread_;  // last: it uses the others
};

/// Who leads; 0: nobody.
std::uint32_t leader_of(ReplicatedClient& client) {
  const auto statuses = client.status();
  if (!statuses) return 0;
  for (const ReplicatedStatus& status : *statuses) {
    if (status.role == "leader") return status.member;
  }
  return 0;
}

/// Whether this member has everything that the leader has.
bool has_caught_up(ReplicatedClient& client, std::uint32_t member) {
  const auto statuses = client.status();
  if (!statuses) return false;
  for (const ReplicatedStatus& status : *statuses) {
    for (const ReplicatedStatus::Lag& lag : status.lag) {
      if (lag.member == member) return lag.entries == 0 && (*statuses)[member - 1].is_reached;
    }
  }
  return false;
}

}  // namespace

Result<void> run_demo_node(const DemoOptions& options, std::uint32_t node) {
  const packages::Universe universe(packages::read_file(options.input));
  NodeRunOptions run;
  run.functions["load"] = [&](Space& space, std::span<const std::byte>) -> Result<Bytes> {
    DOLMEN_TRY(const auto debian, space.find_or_create<Catalogue>("debian"));
    DOLMEN_TRY(const std::uint64_t done, packages::Loader(space, debian, universe).step());
    return bytes_of(done);
  };
  run.functions["would break"] = would_break;
  DOLMEN_TRY(ClusterNode served, ClusterNode::start(node_directory(options.directory, node), run));
  running = &served;
  std::signal(SIGTERM, [](int) { running->stop(); });
  return served.run();
}

/// The graph of step 3 into the nodes, by the same loader.
Result<void> Demo::load_nodes(ReplicatedClient& client) {
  const std::uint64_t start_ns = now_ns();
  std::uint64_t done = 0;
  while (done < total_ && !interrupted()) {
    DOLMEN_TRY(const Bytes reply, call_space(client, "load", {}, kPatience));
    DOLMEN_TRY(done, value_of<std::uint64_t>(reply));
    screen_.progress("loading into the cluster", done, total_);
  }
  screen_.end_progress();
  const std::uint64_t took_ns = now_ns() - start_ns;
  const double rate = static_cast<double>(total_) * 1e9 / static_cast<double>(took_ns);
  figures_["nodes"] = {{"load_ms", static_cast<double>(took_ns) / 1e6}, {"packages_per_s", rate}};
  screen_.figure("loaded in", duration_text(took_ns) + ", " +
                                  grouped(static_cast<std::uint64_t>(rate)) +
                                  " packages/s, each batch on the disks of two of three");
  return {};
}

/// Questions one after the other, whose answers the embedded space gives as well; in the middle of
/// one of them the leader's process ends. Gives its number.
Result<std::uint32_t> Demo::ask_while_killing(ReplicatedClient& client,
                                              const std::function<void(std::uint32_t)>& kill) {
  DOLMEN_TRY(const View view, space_->view());
  const std::uint64_t questions = options_.quick ? 100 : 400;
  const std::uint64_t kill_from = random_.between(questions * 3 / 10, questions * 6 / 10);
  Killer killer(*env_.clock, kill);
  DOLMEN_CHECK(killer.start(env_));
  std::vector<std::uint64_t> took_ns;
  std::uint64_t wrong = 0;
  std::uint32_t killed = 0;
  const auto median_ns = [&] {
    std::vector<std::uint64_t> sorted = took_ns;
    std::ranges::sort(sorted);
    return sorted[sorted.size() / 2];
  };
  for (std::uint64_t i = 0; i < questions && !interrupted(); ++i) {
    std::string name;
    packages::Closure right;
    DOLMEN_CHECK(view.read([&] {
      const packages::Catalogue& debian = *view[debian_];
      const Package& package = *debian.packages.at(random_.below(debian.packages.size()));
      name = package.name.str();
      right =
          packages::Walker<Package>(debian.packages.size()).closure(package, &Package::dependents);
    }));
    if (i == kill_from) {
      killed = leader_of(client);
      if (killed == 0) return fail(Errc::timed_out, "nobody leads the three");
      killer.aim(killed, median_ns() / 2);
    }
    const std::uint64_t start_ns = now_ns();
    killer.sent(i);
    const auto reply =
        call_space(client, "would break", base::as_bytes(std::string_view(name)), kPatience);
    killer.answered();
    took_ns.push_back(now_ns() - start_ns);
    DOLMEN_CHECK(reply);
    DOLMEN_TRY(const auto answer, value_of<packages::Closure>(*reply));
    wrong += answer == right ? 0 : 1;
    screen_.progress("asking", i + 1, questions);
  }
  screen_.end_progress();
  if (interrupted()) return fail(Errc::aborted, "interrupted");
  if (!killer.has_killed()) return fail(Errc::timed_out, "no question was slow enough");
  const std::uint64_t killed_at = killer.killed_at();
  // Its answer may have been on its way: then it is the next one that waited.
  const std::uint64_t outage_ns =
      std::max(took_ns[killed_at], took_ns[std::min(killed_at + 1, questions - 1)]);
  auto& figures = figures_["nodes"];
  figures["questions"] = questions;
  figures["killed_at"] = killed_at;
  figures["answers_wrong"] = wrong;
  figures["answer_ms"] = static_cast<double>(median_ns()) / 1e6;
  figures["outage_ms"] = static_cast<double>(outage_ns) / 1e6;
  screen_.figure("questions", grouped(questions) +
                                  ", one after the other; half of them took less than " +
                                  duration_text(median_ns()));
  screen_.figure("killed with SIGKILL", "node " + std::to_string(killed) +
                                            ", which led, while it was at work on question " +
                                            grouped(killed_at + 1));
  screen_.figure("until another node answered",
                 duration_text(outage_ns) + ": it noticed, took over, and opened the space");
  check("every answer was right, before and after", wrong == 0);
  return killed;
}

Result<void> Demo::replicate() {
  screen_.heading(6, "A cluster of three nodes keeps it, and the node that leads is killed");
  screen_.say(
      "The same graph in a space of a cluster. Each of three nodes is a process with a directory "
      "of "
      "its own, as it would be a machine: one leads the space and runs its functions, the others "
      "follow its log. A client sends the loader, and then questions, to wherever the space is "
      "led; "
      "what a function changed counts when it is on the disks of two of the three:");
  screen_.code("functions");
  const std::string directory = paths_.input + ".nodes";
  const auto done = replicate_in(directory);
  std::error_code ignored;
  fs::remove_all(directory, ignored);
  return done;
}

Result<void> Demo::replicate_in(const std::string& directory) {
  Nodes nodes(program_, directory, paths_.input);
  DOLMEN_CHECK(nodes.make(env_));
  screen_.code("cluster");
  DOLMEN_TRY(space_, Space::open(paths_.space));
  // [demo:cluster]
  DOLMEN_TRY(Cluster cluster, Cluster::open(nodes.address(), kPatience));  // dolmen://HOST:PORT…
  DOLMEN_CHECK(cluster.create_space(kSpaceName, kNodes, kPatience));
  DOLMEN_TRY(ReplicatedClient client, cluster.client(kSpaceName, kPatience));
  // [/demo:cluster]
  DOLMEN_CHECK(load_nodes(client));
  if (interrupted()) return fail(Errc::aborted, "interrupted");
  DOLMEN_TRY(const std::uint32_t killed,
             ask_while_killing(client, [&](std::uint32_t node) { nodes.kill(node); }));
  DOLMEN_CHECK(nodes.reap(killed));
  DOLMEN_CHECK(look_at_cluster(nodes.address().text()));
  DOLMEN_CHECK(count_what_is_left(nodes.space_address()));
  const std::uint64_t start_ns = now_ns();
  DOLMEN_CHECK(nodes.start(killed));
  bool is_back = false;
  const std::uint64_t end_ns = start_ns + 60'000'000'000;
  while (!is_back && !interrupted() && now_ns() < end_ns) {
    is_back = has_caught_up(client, killed);
    env_.clock->sleep_ns(5'000'000);
  }
  figures_["nodes"]["back_ms"] = static_cast<double>(now_ns() - start_ns) / 1e6;
  screen_.figure("started again, it had everything after", duration_text(now_ns() - start_ns));
  check("the killed node is one of three again", is_back);
  screen_.paragraph(
      "What you saw: a client lost the node that it was talking to in the middle of a call, was "
      "answered by another one, and nothing that it had been told was lost or done twice. To do "
      "the "
      "same by hand, in two terminals:");
  screen_.output("dolmen up mine -n 3");
  screen_.output("A='dolmen://127.0.0.1:7401?identity=mine/keys/client-1.key'");
  screen_.output("dolmen import " +
                 (options_.directory.empty() ? std::string("SPACE") : options_.directory) +
                 " \"$A\" debian    # SPACE: of `dolmen demo --keep`");
  screen_.output("dolmen status \"$A\"; dolmen top \"$A\"");
  screen_.output("dolmen ls 'dolmen://127.0.0.1:7401/debian?identity=mine/keys/client-1.key'");
  screen_.say("docs/cluster.md says what stays true when which of them fails.");
  return space_->close();
}

/// What `dolmen status` says of it, while the killed node is away.
Result<void> Demo::look_at_cluster(const std::string& address) {
  screen_.paragraph("The cluster now, as anybody with a client's key sees it:");
  screen_.output("$ dolmen status 'dolmen://…'");
  DOLMEN_TRY(sys::Child status, sys::Child::start(program_, {"status", address}));
  for (;;) {
    DOLMEN_TRY(const auto line, status.read_line());
    if (!line) break;
    screen_.output(*line);
  }
  DOLMEN_TRY(const sys::Child::End end, status.wait());
  check("two of three answer", end.code == 0 && end.signal == 0);
  return {};
}

/// With what reads the directory of step 3, by another address: everything that was acknowledged.
Result<void> Demo::count_what_is_left(const std::string& address) {
  screen_.paragraph(
      "Is anything lost? The census of step 3 once more, on a copy that two nodes give of the "
      "space, as of one commit:");
  screen_.code("copy");
  const std::uint64_t start_ns = now_ns();
  // [demo:copy]
  DOLMEN_TRY(Space copy, Space::open(address, {.read_only = true}));  // dolmen://HOST:PORT/debian
  DOLMEN_TRY(const auto debian, copy.find<Catalogue>("debian"));
  DOLMEN_TRY(const View view, copy.view());
  DOLMEN_TRY(const packages::Census census,
             view.read([&] { return packages::count(*view[debian]); }));
  // [/demo:copy]
  const std::uint64_t took_ns = now_ns() - start_ns;
  DOLMEN_TRY(const auto asked, copy.find<Asked>("asked"));
  DOLMEN_TRY(const std::uint64_t counted, view.read([&] { return view[asked]->questions; }));
  auto& figures = figures_["nodes"];
  figures["counted"] = counted;
  figures["copy_ms"] = static_cast<double>(took_ns) / 1e6;
  screen_.figure("copied and counted in", duration_text(took_ns));
  check("nothing is lost: all " + grouped(total_ / 2) + " packages and their links are there",
        census.wrong.empty() && census.progress() == total_);
  const std::uint64_t questions = figures["questions"];
  check("each of the " + grouped(questions) +
            " questions was counted exactly once, also the one that was cut short",
        counted == questions);
  return {};
}

}  // namespace dolmen::cli
