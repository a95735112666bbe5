// SPDX-License-Identifier: Apache-2.0
//
// Sixteen accounts, each an object of its own in one replicated space: transactions over two or
// three of them, of which some fail in the middle, and reads of many. AccountsJudge holds what
// clients saw against the order in which the group decided: each answer is what a single machine
// would have given at its place (strict serializability: consensus and real time agree).
//
// Threads: one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <dolmen/replicated_space.hpp>

#include "base/bytes.hpp"
#include "base/random.hpp"

namespace dolmen::sim {

inline constexpr std::size_t kAccounts = 16;
inline constexpr std::int64_t kFirstBalance = 100;
using Balances = std::array<std::int64_t, kAccounts>;

enum class AccountWork : std::uint8_t {
  move = 1,   ///< from the first to the second, if the first has so much: one transaction
  split = 2,  ///< … to the second and the third, each one half: two transactions of one command
  spoil = 3,  ///< all three are edited, and then the transaction fails
  look = 4,   ///< those of `mask`
};

/// What a client asks of them. As a query: `look` alone.
struct AccountCall {
  std::uint64_t key = 0;  ///< of this call alone
  AccountWork work = AccountWork::look;
  std::array<std::uint8_t, 3> at{};  ///< different ones
  std::uint16_t mask = 0;            ///< not 0
  std::int64_t amount = 0;           ///< more than 0
};

/// What it was told.
struct AccountAnswer {
  std::uint64_t key = 0;
  bool is_done = false;  ///< false: nothing was changed
  /// Behind it: of the three, in their order; of a look: of those in the mask, ascending.
  std::vector<std::int64_t> balances{};
  friend bool operator==(const AccountAnswer&, const AccountAnswer&) = default;
};

/// Some call; its key is to be set.
[[nodiscard]] AccountCall draw_account_call(base::Random& random, bool is_query);
/// A command or a query for a SpaceMachine that has the functions of add_account_functions().
[[nodiscard]] std::vector<std::byte> encode(const AccountCall& call, bool is_query);
void add_account_functions(SpaceFunctions& functions);
/// In what such a function returned, as the client gets it. Nothing: it is something else.
[[nodiscard]] std::optional<AccountAnswer> account_answer_in(base::Bytes reply);

/// The accounts as one machine in plain memory.
class PlainAccounts {
 public:
  PlainAccounts() { balances_.fill(kFirstBalance); }
  AccountAnswer run(const AccountCall& call);
  [[nodiscard]] const Balances& balances() const noexcept { return balances_; }

 private:
  Balances balances_{};
};

class AccountsJudge {
 public:
  /// A client begins to ask for it.
  void begins(const AccountCall& call, bool is_query, std::uint64_t now_ns);
  /// The first answer. `index`: of the log, with it.
  void answered(const AccountAnswer& answer, std::uint64_t index, std::uint64_t now_ns);
  /// A member was told that the entry at `index` is decided, and had executed it so. Any member,
  /// any number of times.
  void decided(std::uint64_t index, const AccountAnswer& answer);

  /// The first thing that cannot be; empty: all is right. `last`: what is there in the end.
  [[nodiscard]] std::string verdict(const Balances& last) const;

  struct Counts {
    std::size_t done = 0;     ///< commands that changed something
    std::size_t undone = 0;   ///< transactions that failed, and are in the log
    std::size_t looks = 0;    ///< reads by command
    std::size_t queries = 0;  ///< … and without one
    std::size_t unknown = 0;  ///< commands that nobody was told of, and that happened
    Counts& operator+=(const Counts& other);
  };
  [[nodiscard]] Counts counts() const;

 private:
  struct Asked {
    AccountCall call;
    bool is_query = false;
    std::uint64_t begin_ns = 0;
    std::uint64_t end_ns = ~std::uint64_t{0};
    std::uint64_t index = 0;
    std::optional<AccountAnswer> answer{};
  };
  /// Where what was asked for stands: commands at even ranks, what reads between them at odd ones.
  using Ranks = std::map<std::uint64_t, std::uint64_t>;
  [[nodiscard]] std::string replay(Ranks& ranks, std::vector<Balances>& states) const;
  [[nodiscard]] std::string look_at_answers(Ranks& ranks,
                                            const std::vector<Balances>& states) const;
  [[nodiscard]] std::string look_at_times(const Ranks& ranks) const;

  std::map<std::uint64_t, Asked> asked_;            ///< by key
  std::map<std::uint64_t, AccountAnswer> decided_;  ///< by place in the log
  std::string wrong_;                               ///< what was seen on the way
};

}  // namespace dolmen::sim
