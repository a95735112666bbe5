// SPDX-License-Identifier: Apache-2.0
//
// Two banks in a cluster of this program's own processes. While clients move money, a fourth node
// joins, another one is drained and taken out of the cluster, and one is killed for good, whose
// seats the others take. No money is lost or made, and every transfer is in the books once.
#include <string>
#include <thread>
#include <vector>

#include <dolmen/cluster.hpp>

#include "bank.hpp"
#include "cluster_demo.hpp"

namespace {

/// Transfers until it is told to end; how many were booked, or -1.
class Customer {
 public:
  Customer(const std::string& address, std::string bank, std::uint64_t seed)
      : bank_(std::move(bank)), random_(seed), thread_([this, address] { run(address); }) {}
  /// Whether everything went as it should.
  [[nodiscard]] bool stop() {
    is_stopping_ = true;
    thread_.join();
    return is_sound_;
  }
  [[nodiscard]] std::uint64_t booked() const { return booked_; }

 private:
  void run(const std::string& address) {
    auto cluster = dolmen::Cluster::open(address);
    auto client = cluster ? cluster->client(bank_) : std::unexpected(cluster.error());
    if (!client) return fail(client.error());
    constexpr std::chrono::seconds kPatience(30);
    if (const auto open = dolmen::call_space(*client, "open", {}, kPatience); !open) {
      return fail(open.error());
    }
    while (!is_stopping_) {
      const auto done = dolmen::call_space(*client, "transfer",
                                           bank::bytes_of(bank::next_order(random_)), kPatience);
      if (done) {
        ++booked_;
      } else if (done.error().code() != dolmen::Errc::aborted) {
        return fail(done.error());
      }
    }
    const auto sum = dolmen::call_space(*client, "totals", {}, kPatience);
    if (!sum) return fail(sum.error());
    const auto totals = bank::value_of<bank::Totals>(*sum);
    is_sound_ = bank::is_right(totals) && totals.booked == booked_;
  }
  void fail(const dolmen::Error& error) {
    std::fprintf(stderr, "%s: %s\n", bank_.c_str(), error.message().c_str());
  }

  const std::string bank_;
  std::uint64_t random_;
  std::atomic<bool> is_stopping_{false};
  std::atomic<std::uint64_t> booked_{0};
  bool is_sound_ = false;
  std::thread thread_;
};

}  // namespace

int main(int count, char** words) {
  dolmen::NodeRunOptions options;
  options.functions = bank::functions();
  options.lost_after = std::chrono::seconds(1);
  if (demo::is_node(count, words)) return demo::serve(words[2], options);

  demo::Nodes nodes(3);
  auto cluster = dolmen::Cluster::open(nodes.address()).value();
  for (const char* bank : {"north", "south"}) cluster.create_space(bank).value();
  Customer north(nodes.address(), "north", 1);
  Customer south(nodes.address(), "south", 2);
  const auto until = [&](const char* doing, const auto& is_so) {
    demo::doing = doing;
    for (;;) {
      const auto status = cluster.status();
      if (status && is_so(*status)) return;
    }
  };
  const auto booked = [&](std::uint64_t more) {
    demo::doing = "moving money";
    const std::uint64_t aim[] = {north.booked() + more, south.booked() + more};
    while (north.booked() < aim[0] || south.booked() < aim[1]) {
      (void)cluster.status();  // takes a moment
    }
  };
  const auto seats = [](const dolmen::ClusterStatus& status, std::uint32_t number) {
    for (const auto& node : status.nodes) {
      if (node.number == number) return node.seats;
    }
    return std::uint64_t{0};
  };
  const auto is_settled = [](const dolmen::ClusterStatus& status) {
    for (const auto& group : status.groups) {
      if (group.adding != 0 || group.leaving != 0 || group.leader == 0) return false;
      if (group.members.size() != 3) return false;
    }
    return status.groups.size() == 3;
  };
  booked(100);

  const std::uint32_t fourth = nodes.join();
  cluster.drain(1).value();
  until("draining node 1", [&](const dolmen::ClusterStatus& status) {
    return seats(status, 1) == 0 && is_settled(status);
  });
  cluster.remove(1, "keys/owner.key").value();
  bool is_sound = nodes.end(1, SIGKILL);
  std::printf("%.1f s: node %u joined, and node 1 was taken out of the cluster\n", nodes.age_s(),
              fourth);
  booked(100);

  const std::uint32_t fifth = nodes.join();
  is_sound &= nodes.end(2, SIGKILL);
  until("giving the seats of node 2 to others", [&](const dolmen::ClusterStatus& status) {
    return seats(status, 2) == 0 && is_settled(status);
  });
  std::printf("%.1f s: node %u joined, node 2 was killed, and its seats are others'\n",
              nodes.age_s(), fifth);
  booked(100);

  // The whole cluster at once.
  for (const std::uint32_t number : {3u, fourth, fifth}) is_sound &= nodes.end(number, SIGKILL);
  for (const std::uint32_t number : {3u, fourth, fifth}) nodes.start(number);
  booked(100);
  std::printf("%.1f s: all of them were killed at once, and are back\n", nodes.age_s());

  is_sound &= north.stop();
  is_sound &= south.stop();
  std::printf("%llu transfers in the north, %llu in the south; all of it is in the books\n",
              static_cast<unsigned long long>(north.booked()),
              static_cast<unsigned long long>(south.booked()));
  is_sound &= nodes.stop();
  return is_sound ? 0 : 1;
}
