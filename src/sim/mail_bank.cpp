// SPDX-License-Identifier: Apache-2.0
#include "sim/mail_bank.hpp"

#include <iterator>
#include <utility>
#include <variant>

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

std::vector<cluster::HomeCommand> MailBank::objects_of(std::uint64_t amount) const {
  std::vector<cluster::HomeCommand> commands;
  const std::uint64_t choice = amount / 64;
  if (choice % 3 == 0) {
    const ObjectId id{.high = mail_.mailbox().self().low, .low = amount | 1};
    // Without it, where there is no directory yet.
    if (!state_.published.contains(id) && !homes_.publish(id, commands)) commands.clear();
  } else if (choice % 7 == 1 && !state_.published.empty()) {
    const auto place = static_cast<std::ptrdiff_t>(choice % state_.published.size());
    homes_.erase(*std::next(state_.published.begin(), place), commands);
  }
  return commands;
}

// The command of the log: what is added, what comes of it, what becomes of homes, and the mail.
Result<std::vector<std::byte>> MailBank::effect_of(Bytes request) {
  cluster::MailChange change;
  std::vector<cluster::HomeCommand> objects;
  std::uint64_t amount = 0;
  if (node::MailPart::is_request(request)) {
    DOLMEN_TRY(change, mail_.take(request));
    if (change.received && cluster::is_home_mail(change.received->bytes)) {
      objects.emplace_back(cluster::home::Take{cluster::HomeRefusal::no_space});
    } else if (change.received) {
      const Money money = money_in(change.received->bytes);
      if (money.hops > 0)
        post(change, money.id + money.hops, money.amount, money.hops - 1, money.id);
    }
    if (!homes_.judge(objects, change, mail_)) return fail(Errc::busy, "mail");
  } else {
    if (request.size() < 8) return fail(Errc::too_large, "an amount");
    amount = base::load<std::uint64_t>(request);
    if (amount % 2 == 1) {
      const std::uint64_t id = mail_.mailbox().self().low << 32 | (state_.transfers + 1);
      post(change, amount, static_cast<std::int64_t>(amount % 1000), amount / 8 % 3, id);
    }
    // Without the transfer, if there is no room for it.
    if (mail_.mailbox().judge(change) != cluster::MailVerdict::applied) change.posted.clear();
    objects = objects_of(amount);
    if (!homes_.judge(objects, change, mail_)) objects.clear();
  }
  std::vector<std::byte> command(16);
  base::store(base::MutableBytes(command), 0, amount);
  base::store(base::MutableBytes(command), 8, state_.value + amount);
  const std::vector<std::byte> homes = node::encode_home_commands(objects);
  base::ByteWriter out;
  out.put(static_cast<std::uint32_t>(homes.size()));
  out.put_bytes(homes);
  command.insert(command.end(), out.bytes().begin(), out.bytes().end());
  const std::vector<std::byte> mail = cluster::encode(change);
  command.insert(command.end(), mail.begin(), mail.end());
  return command;
}

std::vector<std::byte> MailBank::apply(Bytes) {
  DOLMEN_ASSERT(false && "apply_at() is called instead");
  return {};
}

std::vector<std::byte> MailBank::apply_at(std::uint64_t index, Bytes command) {
  DOLMEN_ASSERT(command.size() > 20 && "nothing else passes effect_of()");
  base::ByteReader in(command.subspan(16));
  const base::Bytes homes = in.take(in.get<std::uint32_t>());
  const auto change = cluster::decode_mail_change(in.take(in.remaining()));
  DOLMEN_ASSERT(change);
  const auto objects = node::decode_home_commands(homes);
  DOLMEN_ASSERT(objects);
  if (homes_.apply(index, homes, *change, mail_)) {
    book(*change);
    for (const cluster::HomeCommand& each : *objects) {
      if (const auto* const create = std::get_if<cluster::home::Create>(&each)) {
        state_.published.insert(create->id);
      } else if (const auto* const erase = std::get_if<cluster::home::Erase>(&each)) {
        state_.erased.insert(erase->id);
      }
    }
  }
  state_.value += base::load<std::uint64_t>(command);
  if (state_.value != base::load<std::uint64_t>(command, 8)) state_.value = kWrong;
  return Tally::add(state_.value);
}

void MailBank::book(const cluster::MailChange& change) {
  if (change.received && !cluster::is_home_mail(change.received->bytes)) {
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
  for (const auto* const ids : {&state_.published, &state_.erased}) {
    out.put(static_cast<std::uint64_t>(ids->size()));
    for (const ObjectId& id : *ids) out.put_id(id);
  }
  return out.release();
}

std::vector<std::byte> MailBank::snapshot() const {
  std::vector<std::byte> state = encode_state();
  const std::vector<std::byte> homes = homes_.snapshot();
  base::ByteWriter length;
  length.put(static_cast<std::uint32_t>(homes.size()));
  state.insert(state.end(), length.bytes().begin(), length.bytes().end());
  state.insert(state.end(), homes.begin(), homes.end());
  const std::vector<std::byte> mail = mail_.snapshot();
  state.insert(state.end(), mail.begin(), mail.end());
  return state;
}

std::uint64_t MailBank::state_hash() const {
  // With what is applied and not known to be decided yet.
  cluster::Mailbox mailbox = mail_.mailbox();
  mailbox.settle(~log::Index{0});
  cluster::HomeTable homes = homes_.table();
  homes.settle(~log::Index{0});
  return base::mix_seed(
      base::checksum64(homes.snapshot(), 3),
      base::mix_seed(base::checksum64(encode_state(), 1), base::checksum64(mailbox.snapshot(), 2)));
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
  for (auto* const ids : {&state.published, &state.erased}) {
    for (auto left = in.get<std::uint64_t>(); left > 0 && !in.failed(); --left) {
      ids->insert(in.get_id());
    }
  }
  const base::Bytes homes = in.take(in.get<std::uint32_t>());
  if (in.failed()) return fail(Errc::corrupt, "a bank");
  state_ = std::move(state);
  DOLMEN_CHECK(homes_.restore(homes));
  return mail_.restore(in.take(in.remaining()));
}

void MailBank::reset() {
  state_ = {};
  mail_.reset();
  homes_.reset();
}

}  // namespace dolmen::sim
