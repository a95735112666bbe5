// SPDX-License-Identifier: Apache-2.0
//
// A program whose own processes are the nodes of a cluster: each adds to one counter that all of
// them keep.
//   dolmen run -n 3 --dir cluster -- spmd_counter
//   srun -n 4 spmd_counter
//   mpirun -n 4 spmd_counter           (MPICH's: with DOLMEN_JOB=DIRECTORY)
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dolmen/cluster.hpp>

namespace {

struct Counter {
  std::uint64_t value = 0;
  std::uint64_t done = 0;  ///< processes that need nobody any more
};

using Reply = dolmen::Result<std::vector<std::byte>>;

template <std::uint64_t Counter::* Member>
Reply add(dolmen::Space& space, std::span<const std::byte> words) {
  std::uint64_t amount = 0;
  if (words.size() == sizeof amount) std::memcpy(&amount, words.data(), sizeof amount);
  DOLMEN_TRY(const auto counter, space.find_or_create<Counter>("counter"));
  std::uint64_t value = 0;
  DOLMEN_CHECK(
      space.transact(counter, [&](dolmen::mut<Counter> c) { value = (*c).*Member += amount; }));
  std::vector<std::byte> reply(sizeof value);
  std::memcpy(reply.data(), &value, sizeof value);
  return reply;
}

/// How many processes there are, as whoever started them says it; 0: nobody does.
std::uint64_t processes() {
  for (const char* const name :
       {"DOLMEN_RANKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"}) {
    if (const char* const text = std::getenv(name)) return std::strtoull(text, nullptr, 10);
  }
  return 0;
}

dolmen::Result<std::uint64_t> count(std::uint64_t all) {
  constexpr std::chrono::seconds kPatience(30);
  DOLMEN_TRY(auto cluster, dolmen::Cluster::open("", kPatience));
  DOLMEN_CHECK(cluster.create_space("counters", 3, kPatience));
  DOLMEN_TRY(auto client, cluster.client("counters"));
  const auto call = [&](const char* function, std::uint64_t amount,
                        std::chrono::seconds patience) -> dolmen::Result<std::uint64_t> {
    std::array<std::byte, sizeof amount> words{};
    std::memcpy(words.data(), &amount, sizeof amount);
    DOLMEN_TRY(const auto reply, dolmen::call_space(client, function, words, patience));
    std::uint64_t value = 0;
    if (reply.size() == sizeof value) std::memcpy(&value, reply.data(), sizeof value);
    return value;
  };
  std::uint64_t value = 0;
  for (int i = 0; i < 100; ++i) {
    DOLMEN_TRY(value, call("add", 1, kPatience));
  }
  // Until the others are as far.
  while (value < all * 100) {
    DOLMEN_TRY(value, call("add", 0, kPatience));
  }
  // And need this node no more. Whoever ends last may find nobody left to ask.
  auto done = call("leave", 1, kPatience);
  while (done && *done < all) done = call("leave", 0, std::chrono::seconds(2));
  return value;
}

/// As mpirun would, for trying: three processes that know their rank. Whether all did well.
bool run_three() {
  std::vector<pid_t> children;
  for (int rank = 0; rank < 3; ++rank) {
    ::setenv("PMI_RANK", std::to_string(rank).c_str(), 1);
    ::setenv("PMI_SIZE", "3", 1);
    ::setenv("PMI_JOBID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("DOLMEN_HOST", "127.0.0.1", 1);
    const pid_t child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::execl("/proc/self/exe", "spmd_counter", nullptr);
      ::_exit(127);
    }
    children.push_back(child);
  }
  bool is_well = true;
  for (const pid_t child : children) {
    int status = 0;
    is_well &= ::waitpid(child, &status, 0) == child && status == 0;
  }
  return is_well;
}

}  // namespace

int main() {
  const bool is_started = std::getenv("DOLMEN_NODE") != nullptr || processes() > 0;
  if (!is_started) return run_three() ? 0 : 1;
  dolmen::NodeRunOptions options;
  options.functions["add"] = add<&Counter::value>;
  options.functions["leave"] = add<&Counter::done>;
  auto node = dolmen::ClusterNode::start("", options);
  if (!node) {
    std::fprintf(stderr, "%s\n", node.error().message().c_str());
    return 1;
  }
  dolmen::Result<std::uint64_t> counted = std::uint64_t{0};
  std::thread worker([&] {
    counted = count(processes());
    node->stop();
  });
  const auto ended = node->run();
  worker.join();
  if (!ended || !counted) {
    std::fprintf(stderr, "%s\n", (ended ? counted.error() : ended.error()).message().c_str());
    return 1;
  }
  std::printf("node %u: %llu\n", node->number(), static_cast<unsigned long long>(*counted));
  return *counted == 100 * processes() ? 0 : 1;
}
