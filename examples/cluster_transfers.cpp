// SPDX-License-Identifier: Apache-2.0
//
// Two banks in a cluster, each a space of its own, and money that goes from one to the other by
// post(): out of an account here in one transaction, into one there in another, exactly once. Some
// of it is for accounts that do not exist, and comes back. Meanwhile nodes are killed, one after
// the other. In the end nothing was lost or made.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <dolmen/cluster.hpp>

#include "bank.hpp"
#include "cluster_demo.hpp"

namespace {

using bank::Bytes;
using bank::Reply;

struct Order {
  std::uint64_t from = 0;
  std::uint64_t to = 0;  ///< at the other bank
  std::int64_t amount = 0;
};
/// What is under way from here, and what came of it.
struct Foreign {
  std::int64_t out = 0;  ///< left, and not known yet to have arrived
  std::uint64_t sent = 0, arrived = 0, returned = 0, received = 0;
};
struct Sums {
  std::int64_t money = 0;  ///< in accounts
  Foreign foreign{};
};

dolmen::Result<void> pay(dolmen::Space& space, std::uint64_t number, std::int64_t amount,
                         const auto& book) {
  DOLMEN_TRY(const auto bank, space.find<bank::Bank>("bank"));
  DOLMEN_TRY(const auto foreign, space.find_or_create<Foreign>("foreign"));
  return space.transact(
      bank, foreign,
      [&](dolmen::mut<bank::Bank> b, dolmen::mut<Foreign> f) -> dolmen::Result<void> {
        const auto account = b->accounts.find(number);
        if (account == b->accounts.end()) return dolmen::fail(dolmen::Errc::not_found, "account");
        if (account->second->balance + amount < 0) {
          return dolmen::fail(dolmen::Errc::aborted, "not enough money");
        }
        dolmen::edit(account->second)->balance += amount;
        book(*f);
        return {};
      });
}

/// Called by clients of the bank `here`.
Reply send(dolmen::Space& space, Bytes arguments, const char* there) {
  const auto order = bank::value_of<Order>(arguments);
  if (order.amount <= 0) return dolmen::fail(dolmen::Errc::invalid_argument, "an amount");
  DOLMEN_CHECK(pay(space, order.from, -order.amount, [&](Foreign& f) {
    f.out += order.amount;
    ++f.sent;
  }));
  // With what was done above in one entry of the log. "told" hears what came of it.
  DOLMEN_CHECK(dolmen::post(space, there, "receive", arguments,
                            {.on_result = "told", .context = arguments}));
  return std::vector<std::byte>{};
}

/// Called by the other bank's post().
Reply receive(dolmen::Space& space, Bytes arguments) {
  const auto order = bank::value_of<Order>(arguments);
  DOLMEN_CHECK(pay(space, order.to, order.amount, [](Foreign& f) { ++f.received; }));
  return std::vector<std::byte>{};
}

/// Called with what came of that.
Reply told(dolmen::Space& space, Bytes arguments) {
  DOLMEN_TRY(const dolmen::PostResult came, dolmen::post_result(arguments));
  const auto order = bank::value_of<Order>(came.context);
  // Money for an account that is not there goes back to where it is from.
  const std::int64_t back = came.result ? 0 : order.amount;
  DOLMEN_CHECK(pay(space, order.from, back, [&](Foreign& f) {
    f.out -= order.amount;
    ++(came.result ? f.arrived : f.returned);
  }));
  return std::vector<std::byte>{};
}

Reply sums(dolmen::Space& space, Bytes arguments) {
  DOLMEN_TRY(const auto bytes, bank::totals(space, arguments));
  Sums sums{.money = bank::value_of<bank::Totals>(bytes).money};
  DOLMEN_TRY(const auto foreign, space.find_or_create<Foreign>("foreign"));
  DOLMEN_TRY(sums.foreign, space.read(foreign, [](dolmen::ref<Foreign> f) { return *f; }));
  return bank::bytes_of(sums);
}

constexpr std::chrono::seconds kPatience(60);

/// Sends until it is told to end.
class Customer {
 public:
  Customer(const std::string& address, std::string bank, std::uint64_t seed)
      : bank_(std::move(bank)), random_(seed), thread_([this, address] { run(address); }) {}
  [[nodiscard]] bool stop() {
    is_stopping_ = true;
    thread_.join();
    return is_sound_;
  }
  [[nodiscard]] std::uint64_t sent() const { return sent_; }

 private:
  void run(const std::string& address) {
    auto cluster = dolmen::Cluster::open(address, kPatience);
    auto client = cluster ? cluster->client(bank_) : std::unexpected(cluster.error());
    if (!client) return fail(client.error());
    const std::string function = bank_ == "north" ? "send south" : "send north";
    while (!is_stopping_) {
      const auto order = bank::next_order(random_);
      // Every eighth is for nobody.
      const std::uint64_t to = order.to + (sent_ % 8 == 7 ? 1000 : 0);
      const auto done = dolmen::call_space(
          *client, function,
          bank::bytes_of(Order{.from = order.from, .to = to, .amount = order.amount + 1}),
          kPatience);
      if (done) {
        ++sent_;
      } else if (done.error().code() != dolmen::Errc::aborted) {
        return fail(done.error());
      }
    }
    is_sound_ = true;
  }
  void fail(const dolmen::Error& error) {
    std::fprintf(stderr, "%s: %s\n", bank_.c_str(), error.message().c_str());
    sent_ = ~std::uint64_t{0} / 2;  // nobody waits for it
  }

  const std::string bank_;
  std::uint64_t random_;
  std::atomic<bool> is_stopping_{false};
  std::atomic<std::uint64_t> sent_{0};
  bool is_sound_ = false;
  std::thread thread_;
};

}  // namespace

int main(int count, char** words) {
  dolmen::NodeRunOptions options;
  options.functions = bank::functions();
  options.functions["send south"] = [](auto& space, Bytes order) {
    return send(space, order, "south");
  };
  options.functions["send north"] = [](auto& space, Bytes order) {
    return send(space, order, "north");
  };
  options.functions["receive"] = receive;
  options.functions["told"] = told;
  options.functions["sums"] = sums;
  if (demo::is_node(count, words)) return demo::serve(words[2], options);

  demo::Nodes nodes(3);
  auto cluster = dolmen::Cluster::open(nodes.address(), kPatience).value();
  std::vector<dolmen::ReplicatedClient> banks;
  for (const char* bank : {"north", "south"}) {
    cluster.create_space(bank, 3, kPatience).value();
    banks.push_back(cluster.client(bank, kPatience).value());
    dolmen::call_space(banks.back(), "open", {}, kPatience).value();
  }
  // A node that has not heard of the other bank yet says so.
  demo::doing = "waiting for both banks to know each other";
  for (std::size_t i = 0; i < banks.size(); ++i) {
    const Order order{.from = 1, .to = 1, .amount = 1};
    const char* const function = i == 0 ? "send south" : "send north";
    while (!dolmen::call_space(banks[i], function, bank::bytes_of(order), kPatience)) {
    }
  }
  Customer north(nodes.address(), "north", 1);
  Customer south(nodes.address(), "south", 2);
  bool is_sound = true;
  for (std::uint32_t victim = 1; victim <= 3; ++victim) {
    demo::doing = "moving money";
    const std::uint64_t aim[] = {north.sent() + 60, south.sent() + 60};
    while (north.sent() < aim[0] || south.sent() < aim[1]) (void)cluster.status();
    is_sound &= nodes.end(victim, SIGKILL);
    nodes.start(victim);
  }
  is_sound &= north.stop();
  is_sound &= south.stop();

  // What is under way arrives, or comes back.
  demo::doing = "waiting for the mail";
  for (;;) {
    std::vector<Sums> at;
    for (auto& bank : banks) {
      const auto bytes = dolmen::call_space(bank, "sums", {}, kPatience).value();
      at.push_back(bank::value_of<Sums>(bytes));
    }
    const Foreign& n = at[0].foreign;
    const Foreign& s = at[1].foreign;
    if (n.out != 0 || s.out != 0) continue;
    const std::int64_t money = at[0].money + at[1].money;
    const auto all = 2 * bank::kEach * static_cast<std::int64_t>(bank::kAccounts);
    is_sound &=
        money == all && n.sent == n.arrived + n.returned && s.sent == s.arrived + s.returned;
    is_sound &= n.arrived == s.received && s.arrived == n.received && n.returned + s.returned > 0;
    is_sound &= n.sent == north.sent() + 1 && s.sent == south.sent() + 1;
    std::printf(
        "%.1f s: %lu transfers from north to south, %lu back; %lu came to nothing; 3 nodes killed; "
        "%ld of %ld are there\n",
        nodes.age_s(), n.sent, s.sent, n.returned + s.returned, money, all);
    break;
  }
  is_sound &= nodes.stop();
  return is_sound ? 0 : 1;
}
