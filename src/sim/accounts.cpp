// SPDX-License-Identifier: Apache-2.0
#include "sim/accounts.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include <dolmen/vector.hpp>

#include "node/space_effect.hpp"

namespace dolmen::sim {

/// An object of a replicated space.
struct Account {
  std::int64_t balance = kFirstBalance;
  vector<std::uint64_t> recent;  ///< keys of what moved money here
};

namespace {

constexpr const char* kCommand = "accounts";
constexpr const char* kQuery = "accounts.look";
constexpr std::uint64_t kAnswerMagic = 0x53'54'4e'55'4f'43'43'41;  // "ACCOUNTS"
constexpr std::size_t kCallBytes = 24;
constexpr std::size_t kNotesMax = 20;
constexpr std::uint64_t kAccountBytes = 16u << 10;

std::string name_of(std::size_t account) { return "account" + std::to_string(account); }

std::vector<std::byte> bytes_of(const AccountCall& call) {
  base::ByteWriter out;
  out.put(call.key);
  out.put(static_cast<std::uint8_t>(call.work));
  for (const std::uint8_t at : call.at) out.put(at);
  out.put(call.mask);
  out.put(std::uint16_t{0});
  out.put(call.amount);
  return out.release();
}

Result<AccountCall> call_in(base::Bytes bytes) {
  base::ByteReader in(bytes);
  AccountCall call{.key = in.get<std::uint64_t>()};
  call.work = static_cast<AccountWork>(in.get<std::uint8_t>());
  for (std::uint8_t& at : call.at) at = in.get<std::uint8_t>();
  call.mask = in.get<std::uint16_t>();
  (void)in.get<std::uint16_t>();
  call.amount = in.get<std::int64_t>();
  const auto is_one = [](std::uint8_t at) { return at < kAccounts; };
  if (in.failed() || bytes.size() != kCallBytes || !std::ranges::all_of(call.at, is_one)) {
    return fail(Errc::invalid_argument, "a call of accounts");
  }
  return call;
}

std::vector<std::byte> bytes_of(const AccountAnswer& answer) {
  base::ByteWriter out;
  out.put(kAnswerMagic);
  out.put(answer.key);
  out.put(static_cast<std::uint64_t>(answer.is_done ? 1 : 0));
  for (const std::int64_t balance : answer.balances) out.put(balance);
  return out.release();
}

void note(mut<Account> account, std::int64_t amount, std::uint64_t key) {
  account->balance += amount;
  if (account->recent.size() == kNotesMax) account->recent.clear();
  account->recent.push_back(key);
}

/// Whether it was done; what else fails is an error.
Result<bool> is_committed(const Result<void>& transacted) {
  if (transacted) return true;
  if (transacted.error().code() == Errc::aborted) return false;
  return std::unexpected(transacted.error());
}

// The receiver has its money before it is known whether there is any.
Result<bool> move(Space& space, const Object<Account>& from, const Object<Account>& to,
                  std::int64_t amount, std::int64_t needed, std::uint64_t key) {
  return is_committed(
      space.transact(from, to, [&](mut<Account> payer, mut<Account> payee) -> Result<void> {
        note(payee, amount, key);
        if (payer->balance < needed) return fail(Errc::aborted, "an account without so much");
        note(payer, -amount, key);
        return {};
      }));
}

Result<bool> work_on(Space& space, const AccountCall& call) {
  if (call.work == AccountWork::look) return true;
  std::array<Object<Account>, 3> three;
  for (std::size_t i = 0; i < three.size(); ++i) {
    DOLMEN_TRY(three[i],
               space.find_or_create<Account>(name_of(call.at[i]), {.capacity = kAccountBytes}));
  }
  const auto& [a, b, c] = three;
  if (call.work == AccountWork::move) {
    return move(space, a, b, call.amount, call.amount, call.key);
  }
  if (call.work == AccountWork::split) {
    const std::int64_t half = call.amount / 2;
    DOLMEN_TRY(const bool is_begun, move(space, a, b, half, call.amount, call.key));
    if (!is_begun) return false;
    return move(space, a, c, call.amount - half, 0, call.key);
  }
  const auto edit = [&](mut<Account> x, mut<Account> y, mut<Account> z) -> Result<void> {
    note(x, call.amount, call.key);
    note(y, call.amount, call.key);
    note(z, -call.amount, call.key);
    if (call.amount % 2 == 0) throw std::runtime_error("a transaction that fails");
    return fail(Errc::aborted, "a transaction that fails");
  };
  try {
    return is_committed(space.transact(a, b, c, edit));
  } catch (const std::runtime_error&) {
    return false;
  }
}

std::vector<std::size_t> accounts_of(const AccountCall& call) {
  if (call.work != AccountWork::look) return {call.at.begin(), call.at.end()};
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < kAccounts; ++i) {
    if ((call.mask >> i & 1) != 0) all.push_back(i);
  }
  return all;
}

Result<std::vector<std::int64_t>> balances_of(Space& space,
                                              const std::vector<std::size_t>& accounts) {
  std::vector<std::optional<Object<Account>>> objects;
  for (const std::size_t account : accounts) {
    const auto there = space.find<Account>(name_of(account));
    if (!there && there.error().code() != Errc::not_found) return std::unexpected(there.error());
    objects.push_back(there ? std::optional(*there) : std::nullopt);
  }
  return space.read(everything, [&] {
    std::vector<std::int64_t> balances;
    for (const auto& object : objects) {
      balances.push_back(object ? space.root(*object)->balance : kFirstBalance);
    }
    return balances;
  });
}

Result<std::vector<std::byte>> run_accounts(Space& space, base::Bytes arguments) {
  DOLMEN_TRY(const AccountCall call, call_in(arguments));
  AccountAnswer answer{.key = call.key};
  DOLMEN_TRY(answer.is_done, work_on(space, call));
  DOLMEN_TRY(answer.balances, balances_of(space, accounts_of(call)));
  return bytes_of(answer);
}

std::string text_of(const AccountAnswer& answer) {
  std::string text = answer.is_done ? "done:" : "not done:";
  for (const std::int64_t balance : answer.balances) text += " " + std::to_string(balance);
  return text;
}

std::string name_of_call(std::uint64_t key) {
  return "call " + std::to_string(key & 0xffff'ffff) + " of client " + std::to_string(key >> 32);
}

}  // namespace

AccountCall draw_account_call(base::Random& random, bool is_query) {
  AccountCall call;
  // Mostly few of them meet often, and some of the looks see all.
  const std::uint64_t range = random.chance(1, 2) ? 4 : kAccounts;
  for (std::size_t i = 0; i < call.at.size(); ++i) {
    const auto before = [&] { return std::span(call.at).first(i); };
    do {
      call.at[i] = static_cast<std::uint8_t>(random.below(range));
    } while (std::ranges::find(before(), call.at[i]) != before().end());
  }
  call.mask = static_cast<std::uint16_t>(random.chance(1, 3) ? 0xffff : 1 + random.below(0xffff));
  call.amount = static_cast<std::int64_t>(1 + random.below(80));
  if (is_query) return call;
  constexpr std::array kWorks{AccountWork::move,  AccountWork::move,  AccountWork::move,
                              AccountWork::split, AccountWork::split, AccountWork::spoil,
                              AccountWork::look};
  call.work = kWorks[random.below(kWorks.size())];
  return call;
}

std::vector<std::byte> encode(const AccountCall& call, bool is_query) {
  return node::encode(
      node::SpaceCall{.function = is_query ? kQuery : kCommand, .arguments = bytes_of(call)});
}

void add_account_functions(SpaceFunctions& functions) {
  functions[kCommand] = run_accounts;
  functions[kQuery] = SpaceFunction::query(run_accounts);
}

std::optional<AccountAnswer> account_answer_in(base::Bytes reply) {
  const auto bytes = node::decode_reply(reply);
  if (!bytes) return std::nullopt;
  base::ByteReader in(*bytes);
  if (in.get<std::uint64_t>() != kAnswerMagic) return std::nullopt;
  AccountAnswer answer{.key = in.get<std::uint64_t>()};
  answer.is_done = in.get<std::uint64_t>() != 0;
  while (in.remaining() > 0) answer.balances.push_back(in.get<std::int64_t>());
  if (in.failed()) return std::nullopt;
  return answer;
}

AccountAnswer PlainAccounts::run(const AccountCall& call) {
  AccountAnswer answer{.key = call.key, .is_done = call.work != AccountWork::spoil};
  const auto& [a, b, c] = call.at;
  if (call.work == AccountWork::move || call.work == AccountWork::split) {
    answer.is_done = balances_[a] >= call.amount;
    const std::int64_t half = call.amount / 2;
    const bool is_split = call.work == AccountWork::split;
    if (answer.is_done) {
      balances_[a] -= call.amount;
      balances_[b] += is_split ? half : call.amount;
      balances_[c] += is_split ? call.amount - half : 0;
    }
  }
  for (const std::size_t account : accounts_of(call)) {
    answer.balances.push_back(balances_[account]);
  }
  return answer;
}

void AccountsJudge::begins(const AccountCall& call, bool is_query, std::uint64_t now_ns) {
  asked_.emplace(call.key, Asked{.call = call, .is_query = is_query, .begin_ns = now_ns});
}

void AccountsJudge::answered(const AccountAnswer& answer, std::uint64_t index,
                             std::uint64_t now_ns) {
  const auto found = asked_.find(answer.key);
  if (found == asked_.end()) {
    wrong_ = name_of_call(answer.key) + " was answered, and nobody asked for it";
    return;
  }
  found->second.answer = answer;
  found->second.index = index;
  found->second.end_ns = now_ns;
}

void AccountsJudge::decided(std::uint64_t index, const AccountAnswer& answer) {
  const auto [known, is_new] = decided_.try_emplace(index, answer);
  if (is_new || known->second == answer || !wrong_.empty()) return;
  wrong_ = "two members executed entry " + std::to_string(index) +
           " differently: " + text_of(known->second) + "; " + text_of(answer);
}

/// What one machine makes of the commands in their order is what they gave.
std::string AccountsJudge::replay(Ranks& ranks, std::vector<Balances>& states) const {
  PlainAccounts one;
  states.push_back(one.balances());
  for (const auto& [index, answer] : decided_) {
    const std::string name = name_of_call(answer.key);
    const auto asked = asked_.find(answer.key);
    if (asked == asked_.end()) return name + " was executed, and nobody asked for it";
    if (!ranks.emplace(answer.key, 2 * states.size()).second) return name + " was executed twice";
    const AccountAnswer expected = one.run(asked->second.call);
    if (answer != expected) {
      return name + " at " + std::to_string(index) + " gave " + text_of(answer) +
             "; what was decided before makes it " + text_of(expected);
    }
    states.push_back(one.balances());
  }
  return "";
}

std::string AccountsJudge::look_at_answers(Ranks& ranks,
                                           const std::vector<Balances>& states) const {
  for (const auto& [key, asked] : asked_) {
    if (!asked.answer) continue;
    const std::string name = name_of_call(key);
    if (!asked.is_query) {
      const auto rank = ranks.find(key);
      if (rank == ranks.end()) return name + " was acknowledged, and is lost";
      const auto there =
          std::next(decided_.begin(), static_cast<std::ptrdiff_t>(rank->second / 2 - 1));
      if (there->second != *asked.answer) {
        return name + " was told " + text_of(*asked.answer) + ", and the log says " +
               text_of(there->second);
      }
      continue;
    }
    const auto behind = decided_.upper_bound(asked.index);
    const auto place = static_cast<std::size_t>(std::distance(decided_.begin(), behind));
    AccountAnswer expected{.key = key, .is_done = true};
    for (const std::size_t account : accounts_of(asked.call)) {
      expected.balances.push_back(states[place][account]);
    }
    if (*asked.answer != expected) {
      return name + " read " + text_of(*asked.answer) + " as of " + std::to_string(asked.index) +
             ", where there was " + text_of(expected);
    }
    ranks.emplace(key, 2 * place + 1);
  }
  return "";
}

/// What had ended before another one began stands before it.
std::string AccountsJudge::look_at_times(const Ranks& ranks) const {
  struct Placed {
    std::uint64_t begin_ns, end_ns, rank, key;
  };
  std::vector<Placed> begins;
  for (const auto& [key, rank] : ranks) {
    const Asked& asked = asked_.at(key);
    begins.push_back({asked.begin_ns, asked.end_ns, rank, key});
  }
  std::vector<Placed> ends = begins;
  std::ranges::sort(begins, {}, &Placed::begin_ns);
  std::ranges::sort(ends, {}, &Placed::end_ns);
  std::size_t ended = 0;
  Placed highest{};
  for (const Placed& one : begins) {
    for (; ended < ends.size() && ends[ended].end_ns < one.begin_ns; ++ended) {
      if (ends[ended].rank > highest.rank) highest = ends[ended];
    }
    if (one.rank < highest.rank) {
      return name_of_call(one.key) + " was answered from the past: " + name_of_call(highest.key) +
             " had ended before it began, and stands behind it";
    }
  }
  return "";
}

std::string AccountsJudge::verdict(const Balances& last) const {
  if (!wrong_.empty()) return wrong_;
  Ranks ranks;
  std::vector<Balances> states;
  std::string what = replay(ranks, states);
  if (what.empty()) what = look_at_answers(ranks, states);
  if (what.empty()) what = look_at_times(ranks);
  if (what.empty() && states.back() != last) what = "in the end there is something else";
  return what;
}

AccountsJudge::Counts& AccountsJudge::Counts::operator+=(const Counts& other) {
  done += other.done;
  undone += other.undone;
  looks += other.looks;
  queries += other.queries;
  unknown += other.unknown;
  return *this;
}

AccountsJudge::Counts AccountsJudge::counts() const {
  Counts counts;
  for (const auto& [index, answer] : decided_) {
    const auto found = asked_.find(answer.key);
    if (found == asked_.end()) continue;
    if (!found->second.answer) ++counts.unknown;
    if (found->second.call.work == AccountWork::look) {
      ++counts.looks;
    } else {
      ++(answer.is_done ? counts.done : counts.undone);
    }
  }
  for (const auto& [key, asked] : asked_) counts.queries += asked.is_query && asked.answer ? 1 : 0;
  return counts;
}

}  // namespace dolmen::sim
