// SPDX-License-Identifier: Apache-2.0
#include "sim/mail_bank.hpp"

#include <utility>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "sim/tally.hpp"

namespace dolmen::sim {

namespace {

constexpr std::uint64_t kWrong = 0xBAD0BAD0BAD0BAD0;
constexpr std::uint64_t kGroupsMax = 8;

/// What a mail says.
struct Money {
  std::uint64_t id = 0;
  std::int64_t amount = 0;
  std::uint64_t hops = 0;  ///< how often it is sent on
};

std::vector<std::byte> bytes_of(const Money& money, std::size_t padding) {
  std::vector<std::byte> bytes(24 + padding);
  base::store(base::MutableBytes(bytes), 0, money.id);
  base::store(base::MutableBytes(bytes), 8, money.amount);
  base::store(base::MutableBytes(bytes), 16, money.hops);
  return bytes;
}

Money money_in(base::Bytes bytes) {
  DOLMEN_ASSERT(bytes.size() >= 24);
  return {.id = base::load<std::uint64_t>(bytes),
          .amount = base::load<std::int64_t>(bytes, 8),
          .hops = base::load<std::uint64_t>(bytes, 16)};
}

}  // namespace

/// To some other group, if there is one.
void MailBank::post(cluster::MailChange& change, std::uint64_t choice, std::int64_t amount,
                    std::uint64_t hops, std::uint64_t id) const {
  for (std::uint64_t i = 0; i < kGroupsMax; ++i) {
    const auto to = mail_.find("g" + std::to_string(1 + (choice + i) % kGroupsMax), 0);
    if (!to || *to == mail_.mailbox().self()) continue;
    change.posted.push_back(
        {.to = *to, .bytes = bytes_of({.id = id, .amount = amount, .hops = hops}, choice % 97)});
    return;
  }
}

// The command of the log: what is added, what comes of it, and the mail.
Result<std::vector<std::byte>> MailBank::effect_of(Bytes request) {
  cluster::MailChange change;
  std::uint64_t amount = 0;
  if (node::MailPart::is_request(request)) {
    DOLMEN_TRY(change, mail_.take(request));
    if (change.received) {
      const Money money = money_in(change.received->bytes);
      if (money.hops > 0)
        post(change, money.id + money.hops, money.amount, money.hops - 1, money.id);
    }
    if (mail_.mailbox().judge(change) != cluster::MailVerdict::applied) {
      return fail(Errc::busy, "mail");
    }
  } else {
    if (request.size() < 8) return fail(Errc::too_large, "an amount");
    amount = base::load<std::uint64_t>(request);
    if (amount % 2 == 1) {
      const std::uint64_t id = mail_.mailbox().self().low << 32 | (state_.transfers + 1);
      post(change, amount, static_cast<std::int64_t>(amount % 1000), amount / 8 % 3, id);
    }
    // Without the transfer, if there is no room for it.
    if (mail_.mailbox().judge(change) != cluster::MailVerdict::applied) change.posted.clear();
  }
  std::vector<std::byte> command(16);
  base::store(base::MutableBytes(command), 0, amount);
  base::store(base::MutableBytes(command), 8, state_.value + amount);
  const std::vector<std::byte> mail = cluster::encode(change);
  command.insert(command.end(), mail.begin(), mail.end());
  return command;
}

std::vector<std::byte> MailBank::apply(Bytes) {
  DOLMEN_ASSERT(false && "apply_at() is called instead");
  return {};
}

std::vector<std::byte> MailBank::apply_at(std::uint64_t index, Bytes command) {
  DOLMEN_ASSERT(command.size() > 16 && "nothing else passes effect_of()");
  const auto change = cluster::decode_mail_change(command.subspan(16));
  DOLMEN_ASSERT(change);
  const cluster::MailVerdict verdict = mail_.apply(index, *change);
  if (verdict == cluster::MailVerdict::applied) book(*change);
  state_.value += base::load<std::uint64_t>(command);
  if (state_.value != base::load<std::uint64_t>(command, 8)) state_.value = kWrong;
  return Tally::add(state_.value);
}

void MailBank::book(const cluster::MailChange& change) {
  if (change.received) {
    const Money money = money_in(change.received->bytes);
    state_.balance += money.amount;
    state_.books[change.received->from].came.push_back(money.id);
  }
  for (const cluster::Letter& letter : change.posted) {
    const Money money = money_in(letter.bytes);
    state_.balance -= money.amount;
    state_.books[letter.to].sent.push_back(money.id);
    if (!change.received) ++state_.transfers;
  }
}

Result<std::vector<std::byte>> MailBank::read(Bytes query) const {
  if (!query.empty()) return fail(Errc::invalid_argument, "a tally's only query is empty");
  return Tally::add(state_.value);
}

std::vector<std::byte> MailBank::encode_state() const {
  base::ByteWriter out;
  out.put(state_.value);
  out.put(state_.transfers);
  out.put(state_.balance);
  out.put(static_cast<std::uint64_t>(state_.books.size()));
  for (const auto& [group, book] : state_.books) {
    out.put_id(group);
    for (const auto* const ids : {&book.sent, &book.came}) {
      out.put(static_cast<std::uint64_t>(ids->size()));
      for (const std::uint64_t id : *ids) out.put(id);
    }
  }
  return out.release();
}

std::vector<std::byte> MailBank::snapshot() const {
  std::vector<std::byte> state = encode_state();
  const std::vector<std::byte> mail = mail_.snapshot();
  state.insert(state.end(), mail.begin(), mail.end());
  return state;
}

std::uint64_t MailBank::state_hash() const {
  // With what is applied and not known to be decided yet.
  cluster::Mailbox mailbox = mail_.mailbox();
  mailbox.settle(~log::Index{0});
  return base::mix_seed(base::checksum64(encode_state(), 1),
                        base::checksum64(mailbox.snapshot(), 2));
}

Result<void> MailBank::restore(Bytes bytes) {
  base::ByteReader in(bytes);
  State state{.value = in.get<std::uint64_t>(),
              .transfers = in.get<std::uint64_t>(),
              .balance = in.get<std::int64_t>()};
  for (auto groups = in.get<std::uint64_t>(); groups > 0 && !in.failed(); --groups) {
    Book& book = state.books[in.get_id()];
    for (auto* const ids : {&book.sent, &book.came}) {
      for (auto left = in.get<std::uint64_t>(); left > 0 && !in.failed(); --left) {
        ids->push_back(in.get<std::uint64_t>());
      }
    }
  }
  if (in.failed()) return fail(Errc::corrupt, "a bank");
  state_ = std::move(state);
  return mail_.restore(in.take(in.remaining()));
}

void MailBank::reset() {
  state_ = {};
  mail_.reset();
}

}  // namespace dolmen::sim
