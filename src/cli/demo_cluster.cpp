// SPDX-License-Identifier: Apache-2.0
//
// The end of the demo: the same graph in a space that three processes keep, of which the one that
// leads is killed while it is asked.
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <dolmen/replicated_space.hpp>

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

/// The key of the three, and where they are: ports of a loopback address that is this process's
/// own, below those that the system gives away.
Result<void> make_group(const std::string& directory, const sys::Env& env) {
  fs::create_directories(directory);
  std::ofstream(directory + "/key").close();
  fs::permissions(directory + "/key", fs::perms::owner_read | fs::perms::owner_write);
  std::array<std::byte, 32> secret{};
  env.entropy->fill(secret);
  std::ofstream key(directory + "/key");
  for (const std::byte byte : secret) {
    for (const int shift : {4, 0}) {
      key << "0123456789abcdef"[std::to_integer<unsigned>(byte) >> shift & 15];
    }
  }
  const std::uint64_t pid = env.process->pid();
  std::ofstream where(directory + "/addresses");
  for (std::uint32_t member = 1; member <= kNodes; ++member) {
    where << "127." << 1 + (pid >> 16 & 0x7f) << '.' << (pid >> 8 & 0xff) << '.' << (pid & 0xff)
          << ':' << 7400 + member << '\n';
  }
  key.close();
  where.close();
  if (!key || !where) return fail(Errc::io_error, interned(directory));
  return {};
}

ReplicatedOptions options_of(const std::string& directory, std::uint32_t member) {
  ReplicatedOptions options{.group = {.members = {}, .key_file = directory + "/key"},
                            .member = member,
                            .directory = directory + "/log" + std::to_string(member)};
  std::ifstream where(directory + "/addresses");
  for (std::string address; std::getline(where, address);) {
    options.group.members.push_back(address);
  }
  return options;
}

// [demo:functions]
/// What would break without a package: runs where the graph is.
Result<Bytes> would_break(Space& space, std::span<const std::byte> name) {
  DOLMEN_TRY(const auto debian, space.find<Catalogue>("debian"));
  DOLMEN_TRY(const View view, space.view());
  DOLMEN_TRY(const Closure closure, view.read([&] {
    const Catalogue& all = *view[debian];
    Walker<Package> walker(all.packages.size());
    const ptr<Package>* const package = all.by_name.get(text_of(name));
    return package == nullptr ? Closure{} : walker.closure(**package, &Package::dependents);
  }));
  return bytes_of(closure);
}
// [/demo:functions]

Result<Bytes> count_all(Space& space, std::span<const std::byte>) {
  DOLMEN_TRY(const auto debian, space.find<Catalogue>("debian"));
  DOLMEN_TRY(const View view, space.view());
  DOLMEN_TRY(const std::uint64_t whole, view.read([&] {
    const packages::Census census = packages::count(*view[debian]);
    return census.wrong.empty() ? census.progress() : 0;
  }));
  return bytes_of(whole);
}

Replicated* running = nullptr;

/// Three processes, and who of them leads.
class Nodes {
 public:
  Nodes(std::string program, std::string directory, std::string input)
      : program_(std::move(program)), directory_(std::move(directory)), input_(std::move(input)) {}

  Result<void> make(const sys::Env& env) {
    DOLMEN_CHECK(make_group(directory_, env));
    for (std::uint32_t member = 1; member <= kNodes; ++member) {
      DOLMEN_CHECK(Replicated::create(options_of(directory_, member)));
      DOLMEN_CHECK(start(member));
    }
    return {};
  }
  Result<void> start(std::uint32_t member) {
    DOLMEN_TRY(sys::Child child,
               sys::Child::start(program_, {"demo", "--child", "node" + std::to_string(member),
                                            "--dir", directory_, "--input", input_}));
    children_[member - 1] = std::make_unique<sys::Child>(std::move(child));
    return {};
  }
  void kill(std::uint32_t member) { children_[member - 1]->kill(); }
  Result<void> reap(std::uint32_t member) {
    DOLMEN_CHECK(children_[member - 1]->wait());
    return {};
  }

 private:
  std::string program_;
  std::string directory_;
  std::string input_;
  std::array<std::unique_ptr<sys::Child>, kNodes> children_;
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

Result<void> run_demo_node(const DemoOptions& options, std::uint32_t member) {
  const packages::Universe universe(packages::read_file(options.input));
  SpaceFunctions functions;
  functions["load"] = [&](Space& space, std::span<const std::byte>) -> Result<Bytes> {
    DOLMEN_TRY(const auto debian, space.find_or_create<Catalogue>("debian"));
    DOLMEN_TRY(const std::uint64_t done, packages::Loader(space, debian, universe).step());
    return bytes_of(done);
  };
  functions["would break"] = would_break;
  functions["count"] = count_all;
  DOLMEN_TRY(ReplicatedSpace space,
             ReplicatedSpace::open(options.directory + "/space" + std::to_string(member),
                                   std::move(functions)));
  DOLMEN_TRY(Replicated node,
             Replicated::start(options_of(options.directory, member), space.machine()));
  running = &node;
  std::signal(SIGTERM, [](int) { running->stop(); });
  return node.run();
}

/// The graph of step 3 into the nodes, by the same loader.
Result<void> Demo::load_nodes(ReplicatedClient& client) {
  const std::uint64_t start_ns = now_ns();
  std::uint64_t done = 0;
  while (done < total_ && !interrupted()) {
    DOLMEN_TRY(const Bytes reply, call_space(client, "load", {}, kPatience));
    DOLMEN_TRY(done, value_of<std::uint64_t>(reply));
    screen_.progress("loading into three", done, total_);
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
/// them the leader's process ends. Gives its number.
Result<std::uint32_t> Demo::ask_while_killing(ReplicatedClient& client,
                                              const std::function<void(std::uint32_t)>& kill) {
  DOLMEN_TRY(const View view, space_->view());
  const std::uint64_t questions = options_.quick ? 100 : 400;
  const std::uint64_t kill_at = random_.between(questions * 3 / 10, questions * 7 / 10);
  std::vector<std::uint64_t> took_ns;
  std::uint64_t wrong = 0;
  std::uint64_t outage_ns = 0;
  std::uint32_t killed = 0;
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
    if (i == kill_at) {
      killed = leader_of(client);
      if (killed == 0) return fail(Errc::timed_out, "nobody leads the three");
      kill(killed);  // SIGKILL
    }
    const std::uint64_t start_ns = now_ns();
    DOLMEN_TRY(const Bytes reply, call_space(client, "would break",
                                             base::as_bytes(std::string_view(name)), kPatience));
    took_ns.push_back(now_ns() - start_ns);
    if (i == kill_at) outage_ns = took_ns.back();
    DOLMEN_TRY(const auto answer, value_of<packages::Closure>(reply));
    wrong += answer == right ? 0 : 1;
    screen_.progress("asking", i + 1, questions);
  }
  screen_.end_progress();
  if (interrupted()) return fail(Errc::aborted, "interrupted");
  std::ranges::sort(took_ns);
  auto& figures = figures_["nodes"];
  figures["questions"] = questions;
  figures["killed_at"] = kill_at;
  figures["answers_wrong"] = wrong;
  figures["answer_ms"] = static_cast<double>(took_ns[took_ns.size() / 2]) / 1e6;
  figures["outage_ms"] = static_cast<double>(outage_ns) / 1e6;
  screen_.figure("questions", grouped(questions) +
                                  ", one after the other; half of them took less "
                                  "than " +
                                  duration_text(took_ns[took_ns.size() / 2]));
  screen_.figure("killed with SIGKILL", "node " + std::to_string(killed) +
                                            ", which led, before question " + grouped(kill_at + 1));
  screen_.figure(
      "that question took",
      duration_text(outage_ns) + ", with another node that took over and opened the space");
  check("every answer was right, before and after", wrong == 0);
  return killed;
}

Result<void> Demo::replicate() {
  screen_.heading(6, "Three processes keep it, and the one that leads is killed");
  screen_.say(
      "The same loader and the same walk, as functions that run in the memory of whichever process "
      "leads; what they change counts when it is on the disks of two of the three:");
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
  DOLMEN_TRY(space_, Space::open(paths_.space));
  DOLMEN_TRY(ReplicatedClient client, ReplicatedClient::make(options_of(directory, 1).group));
  DOLMEN_CHECK(load_nodes(client));
  if (interrupted()) return fail(Errc::aborted, "interrupted");
  DOLMEN_TRY(const std::uint32_t killed,
             ask_while_killing(client, [&](std::uint32_t member) { nodes.kill(member); }));
  DOLMEN_TRY(const Bytes reply, call_space(client, "count", {}, kPatience));
  DOLMEN_TRY(const auto found, value_of<std::uint64_t>(reply));
  check("nothing is lost: all " + grouped(total_ / 2) + " packages and their links are there",
        found == total_);
  DOLMEN_CHECK(nodes.reap(killed));
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
  check("the killed one is one of three again", is_back);
  return space_->close();
}

}  // namespace dolmen::cli
