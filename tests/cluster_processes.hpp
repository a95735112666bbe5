// SPDX-License-Identifier: Apache-2.0
//
// For tests: nodes of a cluster with two spaces, each a process of its own, and what is in the
// spaces and in the nodes' directories in the end.
#pragma once

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <dolmen/cluster.hpp>

#include "base/sha256.hpp"
#include "node/dump.hpp"
#include "tests/cluster_program.hpp"

namespace dolmen::processes {

namespace fs = std::filesystem;
/// This program with these words, behind those of a program that runs it; what it says on standard
/// error is added to the file `output`. It is never left over.
inline pid_t start_process(std::vector<std::string> words, const std::string& output, int out = -1,
                           std::vector<std::string> before = {}) {
  words.insert(words.begin(), fs::read_symlink("/proc/self/exe"));
  words.insert(words.begin(), before.begin(), before.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int said = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ::dup2(said, STDERR_FILENO);
    ::dup2(out >= 0 ? out : said, STDOUT_FILENO);
    if (::getppid() == parent) ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  if (child < 0) std::abort();  // kill(-1) would be everybody's
  return child;
}

/// What it ended with: its exit code, or the signal's number below 0.
inline int wait_for_end(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}
inline int end_process(pid_t pid, int signal) {
  ::kill(pid, signal);
  return wait_for_end(pid);
}

struct NodesOptions {
  std::uint32_t size = 0;               ///< of each space's group; 0: all nodes
  milliseconds lost_after = kPatience;  ///< as a rule nobody is given another one's seat
  milliseconds lease{0};                ///< of the spaces' leaders
  std::uint64_t log_bytes = 64u << 20;  ///< that each keeps before it cuts its log
  /// "host:port" of each.
  std::vector<std::string> addresses{};
  /// Network name spaces, where each has one of its own.
  std::vector<std::string> namespaces{};
  /// Called with the directory in which the one of a node is made; what it gives is kept as long.
  std::function<std::shared_ptr<void>(const std::string&)> on_folder{};
};

/// Addresses that no other process is given, at ports that none is given without asking for it.
inline std::vector<std::string> loopback(std::uint32_t count) {
  std::vector<std::string> all;
  for (std::uint32_t number = 1; number <= count; ++number) {
    all.push_back(demo::address_of(number));
  }
  return all;
}

/// Founders of a cluster, all of them running, and the spaces north and south at work.
class Nodes {
 public:
  explicit Nodes(NodesOptions options) : options_(std::move(options)) {
    std::string pattern = (fs::temp_directory_path() / "dolmen-cluster-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    dolmen::make_cluster_keys(root_ + "/keys", count()).value();
    for (std::uint32_t number = 1; number <= count(); ++number) {
      const std::string folder = root_ + "/disk-" + std::to_string(number);
      fs::create_directory(folder);
      if (options_.on_folder) kept_.push_back(options_.on_folder(folder));
      dolmen::ClusterNode::create(
          {.directory = directory(number),
           .address = options_.addresses[number - 1],
           .identity_file = root_ + "/keys/node-" + std::to_string(number) + ".key",
           .founders = options_.addresses,
           .lease = options_.lease,
           .log_tail_bytes_max = options_.log_bytes})
          .value();
      start(number);
    }
    cluster_.emplace(dolmen::Cluster::open(address(), kPatience).value());
    for (const char* space : kSpaces) cluster_->create_space(space, size(), kPatience).value();
    for (const char* space : kSpaces) {
      clients_.push_back(cluster_->client(space, kPatience).value());
    }
    wait_until_whole();
    // A node that has not heard of the other space yet says so.
    for (std::uint32_t i = 0; i < 2; ++i) {
      Operation& first = first_[i];
      first = {.key = i * 16, .space = i, .what = What::send, .outcome = Outcome::answered};
      const std::string function = std::string("send ") + kSpaces[1 - i];
      first.begin_ns = now_ns();
      auto done = dolmen::call_space(clients_[i], function, bytes_of(first.key), kPatience);
      while (!done) {
        done = dolmen::call_space(clients_[i], function, bytes_of(first.key), kPatience);
      }
      first.end_ns = now_ns();
      first.value = value_of<std::uint64_t>(*done);
    }
  }
  ~Nodes() {
    for (std::uint32_t number = 1; number <= count(); ++number) (void)end(number, SIGKILL);
    kept_.clear();
    fs::remove_all(root_);
  }
  Nodes(const Nodes&) = delete;
  Nodes& operator=(const Nodes&) = delete;

  [[nodiscard]] std::uint32_t count() const {
    return static_cast<std::uint32_t>(options_.addresses.size());
  }
  [[nodiscard]] std::uint32_t size() const { return options_.size == 0 ? count() : options_.size; }
  [[nodiscard]] std::string address() const {
    return dolmen::ClusterAddress{.nodes = options_.addresses,
                                  .identity_file = root_ + "/keys/client-1.key"}
        .text();
  }
  [[nodiscard]] std::string folder(std::uint32_t number) const {
    return root_ + "/disk-" + std::to_string(number);
  }
  /// Where the processes' complaints are, and what they are.
  [[nodiscard]] std::string output() const { return root_ + "/output"; }
  [[nodiscard]] std::string said() const {
    std::ifstream file(output());
    return {std::istreambuf_iterator<char>(file), {}};
  }

  void start(std::uint32_t number) {
    std::vector<std::string> before;
    if (!options_.namespaces.empty()) {
      before = {"ip", "netns", "exec", options_.namespaces[number - 1]};
    }
    pids_[number] =
        start_process({"node", directory(number), std::to_string(options_.lost_after.count())},
                      output(), -1, before);
  }
  void signal(std::uint32_t number, int signal) { ::kill(pids_.at(number), signal); }
  /// Of each sync of the node's disk, beside what it takes. Requires: it serves already.
  void slow_disk(std::uint32_t number, milliseconds length) {
    ::sigqueue(pids_.at(number), SIGUSR1, {.sival_int = static_cast<int>(length.count())});
  }
  /// What it ended with, as of wait_for_end(); 0 as well if it does not run.
  int end(std::uint32_t number, int signal) {
    const auto found = pids_.find(number);
    if (found == pids_.end()) return 0;
    const pid_t pid = found->second;
    pids_.erase(found);
    return end_process(pid, signal);
  }
  void kill(std::uint32_t number) {
    const int ended = end(number, SIGKILL);
    EXPECT_TRUE(ended == -SIGKILL || ended == 0) << "node " << number << ": " << ended << said();
  }
  /// What it ended with if it did by itself.
  std::optional<int> ended(std::uint32_t number) {
    const auto found = pids_.find(number);
    int status = 0;
    if (found == pids_.end() || ::waitpid(found->second, &status, WNOHANG) == 0) return {};
    pids_.erase(found);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }

  /// Of a space's group; 0: nobody leads, as far as is seen.
  [[nodiscard]] std::uint32_t leader(std::uint32_t space,
                                     milliseconds patience = milliseconds(200)) {
    std::uint32_t found = 0;
    std::uint64_t epoch = 0;
    const auto statuses = clients_[space].status(patience);
    if (!statuses) return 0;
    for (const dolmen::ReplicatedStatus& one : *statuses) {
      if (!one.is_reached || one.role != "leader" || one.epoch < epoch) continue;
      epoch = one.epoch;
      found = one.member;
    }
    return found;
  }
  /// … when somebody does.
  [[nodiscard]] std::uint32_t wait_for_leader(std::uint32_t space) {
    std::uint32_t found = 0;
    while (found == 0) found = leader(space);
    return found;
  }
  /// Who has seats in a space's group, if no change of it is under way.
  [[nodiscard]] std::optional<std::vector<std::uint32_t>> seats(std::uint32_t space) {
    const auto status = cluster_->status(milliseconds(500));
    if (!status) return std::nullopt;
    for (const dolmen::ClusterStatus::Group& group : status->groups) {
      if (group.name != kSpaces[space] || group.adding != 0 || group.leaving != 0) continue;
      return group.members;
    }
    return std::nullopt;
  }
  /// Until all who have seats vote in both spaces' groups, and have what was decided when this
  /// began.
  void wait_until_whole() {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    for (dolmen::ReplicatedClient& client : clients_) {
      std::uint64_t wanted = 0;
      while (!is_whole(client, wanted)) {
        ASSERT_LT(std::chrono::steady_clock::now(), until) << status() << said();
        std::this_thread::sleep_for(milliseconds(1));
      }
    }
  }
  [[nodiscard]] std::string status() const {
    std::ostringstream text;
    for (dolmen::ReplicatedClient& client : clients_) {
      const auto statuses = client.status(milliseconds(500));
      if (!statuses) continue;
      for (const dolmen::ReplicatedStatus& one : *statuses) {
        text << one.member << ": " << (one.is_reached ? one.role : "away") << ", epoch "
             << one.epoch << ", log " << one.first_index << " to " << one.last_index << ", stable "
             << one.stable_index << ", applied " << one.applied_index << "\n";
      }
    }
    return text.str();
  }
  [[nodiscard]] static const char* name(std::uint32_t space) { return kSpaces[space]; }
  [[nodiscard]] dolmen::Cluster& cluster() { return *cluster_; }
  [[nodiscard]] dolmen::ReplicatedClient& client(std::uint32_t space) { return clients_[space]; }

  /// What the judge says when the clients' mail has arrived, or nothing does any more. Requires: no
  /// client is at work.
  [[nodiscard]] std::string verdict(std::vector<Operation> operations) {
    operations.insert(operations.end(), first_.begin(), first_.end());
    std::array<Books, 2> books;
    const auto until = std::chrono::steady_clock::now() + kPatience;
    std::int64_t out = 1;
    while (out != 0 && std::chrono::steady_clock::now() < until) {
      out = 0;
      for (dolmen::ReplicatedClient& client : clients_) {
        const auto bytes = dolmen::query_space(client, "sums", {}, kPatience);
        if (!bytes) return bytes.error().message();
        out += value_of<Sums>(*bytes).out;  // each is above 0 as long as something is under way
      }
    }
    for (std::uint32_t space = 0; space < 2; ++space) {
      const auto read = read_books(space, books[space]);
      if (!read) return read.error().message();
    }
    return processes::judge(operations, books);
  }
  /// … which is to be nothing; then ends the nodes in good order, and compares what is in their
  /// directories.
  void judge(const std::vector<Operation>& operations) {
    EXPECT_EQ(verdict(operations), "") << said();
    ASSERT_NO_FATAL_FAILURE(wait_until_whole());
    ASSERT_NO_FATAL_FAILURE(wait_until_dropped());
    for (std::uint32_t number = 1; number <= count(); ++number) {
      EXPECT_EQ(end(number, SIGTERM), 0) << "node " << number << "\n" << said();
    }
    compare_images();
  }

 private:
  [[nodiscard]] std::string directory(std::uint32_t number) const {
    return folder(number) + "/node";
  }
  [[nodiscard]] bool is_whole(dolmen::ReplicatedClient& client, std::uint64_t& wanted) const {
    const auto statuses = client.status(milliseconds(200));
    if (!statuses || statuses->size() != size()) return false;
    bool is_led = false;
    for (const dolmen::ReplicatedStatus& one : *statuses) {
      if (!one.is_reached || !one.is_voter) return false;
      is_led |= one.role == "leader";
      if (wanted == 0 && one.role == "leader") wanted = one.last_index;
    }
    if (!is_led || wanted == 0) return false;
    return std::ranges::all_of(*statuses, [&](const dolmen::ReplicatedStatus& one) {
      return one.applied_index >= wanted;
    });
  }

  Result<void> read_books(std::uint32_t space, Books& books) {
    std::vector<Entry>* const lists[] = {&books.booked, &books.received, &books.told};
    for (std::uint64_t list = 0; list < 3; ++list) {
      lists[list]->clear();
      for (;;) {
        const ListAsked asked{.list = list, .from = lists[list]->size()};
        DOLMEN_TRY(const auto bytes,
                   dolmen::query_space(clients_[space], "list", bytes_of(asked), kPatience));
        const std::size_t count = bytes.size() / sizeof(Entry);
        std::vector<Entry> some(count);
        std::memcpy(some.data(), bytes.data(), count * sizeof(Entry));
        lists[list]->insert(lists[list]->end(), some.begin(), some.end());
        if (count < kListMax) break;
      }
    }
    DOLMEN_TRY(const auto bytes, dolmen::query_space(clients_[space], "sums", {}, kPatience));
    books.money = value_of<Sums>(bytes).money;
    books.out = value_of<Sums>(bytes).out;
    return {};
  }

  /// Every object and name of a space, as of its last commit.
  struct Hash final : store::ByteSink {
    Result<void> write(base::Bytes bytes) override {
      std::vector<std::byte> all(digest.begin(), digest.end());
      all.insert(all.end(), bytes.begin(), bytes.end());
      digest = base::sha256(all);
      return {};
    }
    base::Sha256Digest digest{};
  };
  [[nodiscard]] std::string image_of(std::uint32_t number, std::uint32_t group) const {
    return directory(number) + "/group-" + std::to_string(group);
  }
  /// The directory of one that was given up stays, with nothing in it.
  [[nodiscard]] bool has_image(std::uint32_t number, std::uint32_t group) const {
    return fs::exists(image_of(number, group) + "/space");
  }
  [[nodiscard]] std::size_t images_of(std::uint32_t group) const {
    std::size_t images = 0;
    for (std::uint32_t number = 1; number <= count(); ++number) {
      images += has_image(number, group) ? 1 : 0;
    }
    return images;
  }
  /// No seat is to go from one node to another any more.
  [[nodiscard]] bool is_at_rest() {
    const auto map = cluster_->status(milliseconds(500));
    if (!map) return false;
    std::vector<std::size_t> seats;
    for (const dolmen::ClusterStatus::Node& node : map->nodes) {
      if (node.state != "active") return false;
      seats.push_back(node.seats);
    }
    const auto [least, most] = std::ranges::minmax(seats);
    return most - least <= 1 && std::ranges::all_of(map->groups, [](const auto& group) {
             return group.adding == 0 && group.leaving == 0;
           });
  }
  /// Who gave a seat up keeps nothing of the group.
  void wait_until_dropped() {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (!is_at_rest() || images_of(2) != size() || images_of(3) != size()) {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << status() << said();
      std::this_thread::sleep_for(milliseconds(5));
    }
  }
  void compare_images() const {
    for (std::uint32_t group = 2; group <= 3; ++group) {  // the root is 1
      std::map<base::Sha256Digest, std::vector<std::string>> found;
      for (std::uint32_t number = 1; number <= count(); ++number) {
        if (!has_image(number, group)) continue;
        const std::string image = image_of(number, group);
        auto space = dolmen::Space::open(image, {.create = false, .read_only = true});
        ASSERT_TRUE(space) << image << ": " << space.error().message();
        Hash hash;
        const auto dumped = node::dump(*space, hash);
        ASSERT_TRUE(dumped) << image << ": " << dumped.error().message();
        found[hash.digest].push_back(image + ", " + std::to_string(dumped->counts.objects) +
                                     " objects at commit " +
                                     std::to_string(space->stats().last_index));
      }
      EXPECT_EQ(found.size(), 1u) << testing::PrintToString(found);
    }
  }

  NodesOptions options_;
  std::string root_;
  std::vector<std::shared_ptr<void>> kept_;
  std::map<std::uint32_t, pid_t> pids_;
  std::optional<dolmen::Cluster> cluster_;
  mutable std::vector<dolmen::ReplicatedClient> clients_;  ///< of north and south
  std::array<Operation, 2> first_{};
};

}  // namespace dolmen::processes
