// SPDX-License-Identifier: Apache-2.0
#include "sim/mail_bank.hpp"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/hooks.hpp"
#include "node/space_post.hpp"
#include "sim/tally.hpp"

namespace dolmen::sim {

namespace {

constexpr std::uint64_t kWrong = 0xBAD0BAD0BAD0BAD0;
constexpr std::uint64_t kGroupsMax = 8;
constexpr std::uint32_t kPartBytes = 8;

/// An object that was written so often: one to seven parts, the first of which says it.
std::vector<std::byte> object_of(const ObjectId& id, std::uint64_t count) {
  std::vector<std::byte> bytes(8 + id.low / 2 % 7 * 8,
                               std::byte{static_cast<std::uint8_t>(id.low)});
  base::store(base::MutableBytes(bytes), 0, count);
  return bytes;
}

/// What came from a bank, or from a space.
MailBank::Money money_of_mail(base::Bytes bytes) {
  const auto letter = node::decode_space_letter(bytes);
  const bool is_call = letter && letter->function == kCameFunction;
  const auto money = MailBank::money_in(is_call ? letter->body : bytes);
  DOLMEN_ASSERT(money);
  return *money;
}

}  // namespace

std::vector<std::byte> MailBank::bytes_of(const Money& money, std::size_t padding) {
  base::ByteWriter out;
  out.put(money.id);
  out.put(money.amount);
  out.put(money.hops);
  if (money.sender != 0) out.put(money.sender);
  std::vector<std::byte> bytes = out.release();
  bytes.resize(bytes.size() + padding);
  return bytes;
}

Result<MailBank::Money> MailBank::money_in(base::Bytes bytes) {
  base::ByteReader in(bytes);
  Money money{.id = in.get<std::uint64_t>(),
              .amount = in.get<std::int64_t>(),
              .hops = in.get<std::uint64_t>()};
  if (in.failed()) return fail(Errc::corrupt, "money");
  if (in.remaining() >= sizeof money.sender) money.sender = in.get<std::uint64_t>();
  return money;
}

/// To some other group, if there is one.
void MailBank::post(cluster::MailChange& change, std::uint64_t choice, std::int64_t amount,
                    std::uint64_t hops, std::uint64_t id) const {
  const auto space = mail_.find(kSpaceGroup, 0);
  if (space && choice % 3 == 0) {
    const std::vector<std::byte> money = bytes_of(
        {.id = id, .amount = amount, .hops = hops, .sender = mail_.mailbox().self().low}, 0);
    change.posted.push_back({.to = *space,
                             .bytes = node::encode(node::SpaceLetter{.is_result = false,
                                                                     .function = kCameFunction,
                                                                     .on_result = {},
                                                                     .context = {},
                                                                     .body = money})});
    return;
  }
  for (std::uint64_t i = 0; i < kGroupsMax; ++i) {
    const auto to = mail_.find("g" + std::to_string(1 + (choice + i) % kGroupsMax), 0);
    if (!to || *to == mail_.mailbox().self()) continue;
    change.posted.push_back(
        {.to = *to, .bytes = bytes_of({.id = id, .amount = amount, .hops = hops}, choice % 97)});
    return;
  }
}

std::vector<cluster::HomeCommand> MailBank::move_of(std::uint64_t choice,
                                                    const ObjectId& id) const {
  std::vector<cluster::HomeCommand> commands;
  for (std::uint64_t i = 0; i < kGroupsMax; ++i) {
    const auto to = mail_.find("g" + std::to_string(1 + (choice + i) % kGroupsMax), 0);
    if (!to || *to == mail_.mailbox().self()) continue;
    const auto bytes = object_of(id, state_.objects.at(id));
    const cluster::home::Move move{.id = id,
                                   .to = static_cast<cluster::GroupNumber>(to->low),
                                   .object_bytes = bytes.size(),
                                   .part_bytes = kPartBytes,
                                   .hash = cluster::hash_of_object(id, bytes, kPartBytes)};
    (void)homes_.plan({.object = id, .group = move.to}, move, commands);
    break;
  }
  return commands;
}

MailBank::Objects MailBank::objects_of(std::uint64_t amount) const {
  Objects done;
  const std::uint64_t choice = amount / 64;
  const auto pick = [&](const auto& all) {
    return std::next(all.begin(), static_cast<std::ptrdiff_t>(choice / 8 % all.size()));
  };
  if (choice % 4 == 0) {
    const ObjectId id{.high = mail_.mailbox().self().low, .low = amount | 1};
    // Without it, where there is no directory yet.
    if (!state_.published.contains(id) && !homes_.publish(id, done.commands)) done.commands.clear();
  } else if (choice % 16 == 1 && !state_.published.empty()) {
    homes_.erase(*pick(state_.published), done.commands);
  } else if (!state_.objects.empty()) {
    const ObjectId id = pick(state_.objects)->first;
    if (moves_objects_ && choice % 4 == 2) {
      done.commands = move_of(choice, id);
    } else if (!homes_.is_frozen(id)) {
      done.written = id;
    }
  }
  return done;
}

Result<std::vector<cluster::HomeCommand>> MailBank::parts() const {
  return homes_.post_parts([this](const ObjectId& id, std::uint64_t offset,
                                  std::size_t bytes) -> Result<std::vector<std::byte>> {
    const auto all = object_of(id, state_.objects.at(id));
    const base::Bytes part = base::Bytes(all).subspan(offset, bytes);
    return std::vector<std::byte>(part.begin(), part.end());
  });
}

// The command of the log: what is added, what comes of it, what becomes of homes, and the mail.
Result<std::vector<std::byte>> MailBank::effect_of(Bytes request) {
  cluster::MailChange change;
  Objects objects;
  std::uint64_t amount = 0;
  if (node::MailPart::is_request(request)) {
    DOLMEN_TRY(change, mail_.take(request));
    if (const auto mail = node::HomePart::mail_in(change)) {
      objects.commands = homes_.taking(*mail, cluster::HomeRefusal::none);
    } else if (change.received) {
      const Money money = money_of_mail(change.received->bytes);
      if (money.hops > 0)
        post(change, money.id + money.hops, money.amount, money.hops - 1, money.id);
    }
    if (!homes_.judge(objects.commands, change, mail_)) return fail(Errc::busy, "mail");
  } else if (std::ranges::equal(request, node::parts_request())) {
    DOLMEN_TRY(objects.commands, parts());
    DOLMEN_CHECK(homes_.fit(objects.commands, mail_));
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
    if (!homes_.judge(objects.commands, change, mail_)) objects = {};
  }
  std::vector<std::byte> command(16);
  base::store(base::MutableBytes(command), 0, amount);
  base::store(base::MutableBytes(command), 8, state_.value + amount);
  const std::vector<std::byte> homes = node::encode_home_commands(objects.commands);
  base::ByteWriter out;
  out.put_id(objects.written);
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
  DOLMEN_ASSERT(command.size() > 36 && "nothing else passes effect_of()");
  base::ByteReader in(command.subspan(16));
  const ObjectId written = in.get_id();
  const base::Bytes homes = in.take(in.get<std::uint32_t>());
  const auto change = cluster::decode_mail_change(in.take(in.remaining()));
  DOLMEN_ASSERT(change);
  const auto objects = node::decode_home_commands(homes);
  DOLMEN_ASSERT(objects);
  std::vector<node::HomeDone> done;
  const bool is_applied = homes_.apply(index, homes, *change, mail_, &done).has_value();
  keep(done);
  state_.value += base::load<std::uint64_t>(command);
  if (is_applied) {
    book(*change);
    for (const cluster::HomeCommand& each : *objects) {
      if (const auto* const create = std::get_if<cluster::home::Create>(&each)) {
        state_.published.insert(create->id);
        state_.objects.emplace(create->id, 0);
      } else if (const auto* const erase = std::get_if<cluster::home::Erase>(&each)) {
        state_.erased.insert(erase->id);
      }
    }
    if (!written.is_null()) {
      ++state_.written[written];
      const auto found = state_.objects.find(written);
      // Whoever proposed it saw it.
      if (found == state_.objects.end()) state_.value = kWrong;
      if (found != state_.objects.end()) ++found->second;
    }
  }
  if (state_.value != base::load<std::uint64_t>(command, 8)) state_.value = kWrong;
  return Tally::add(state_.value);
}

void MailBank::keep(const std::vector<node::HomeDone>& done) {
  using Kind = cluster::HomeBytes::Kind;
  for (const node::HomeDone& each : done) {
    std::vector<std::byte>& aside = state_.aside[each.id];
    if (each.kind == Kind::put_aside) {
      aside.insert(aside.end(), each.part.begin(), each.part.end());
      continue;
    }
    if (each.kind == Kind::erase) state_.objects.erase(each.id);
    if (each.kind == Kind::publish) {
      const std::uint64_t count =
          aside.size() < 8 ? ~std::uint64_t{0} : base::load<std::uint64_t>(aside);
      const bool is_right = aside == object_of(each.id, count);
      state_.objects[each.id] = is_right ? count : ~std::uint64_t{0};
    }
    state_.aside.erase(each.id);
  }
}

void MailBank::book(const cluster::MailChange& change) {
  if (change.received && !cluster::is_home_mail(change.received->bytes)) {
    const Money money = money_of_mail(change.received->bytes);
    state_.balance += money.amount;
    state_.books[change.received->from].came.push_back(money.id);
  }
  for (const cluster::Letter& letter : change.posted) {
    const Money money = money_of_mail(letter.bytes);
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
  for (const auto* const counts : {&state_.objects, &state_.written}) {
    out.put(static_cast<std::uint64_t>(counts->size()));
    for (const auto& [id, count] : *counts) {
      out.put_id(id);
      out.put(count);
    }
  }
  const bool has_aside = !DOLMEN_PLANTED("homes.aside_not_in_snapshot");
  out.put(static_cast<std::uint64_t>(has_aside ? state_.aside.size() : 0));
  for (const auto& [id, bytes] : state_.aside) {
    if (!has_aside) break;
    out.put_id(id);
    out.put(static_cast<std::uint32_t>(bytes.size()));
    out.put_bytes(bytes);
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
  for (auto* const counts : {&state.objects, &state.written}) {
    for (auto left = in.get<std::uint64_t>(); left > 0 && !in.failed(); --left) {
      const ObjectId id = in.get_id();
      (*counts)[id] = in.get<std::uint64_t>();
    }
  }
  for (auto left = in.get<std::uint64_t>(); left > 0 && !in.failed(); --left) {
    const ObjectId id = in.get_id();
    const base::Bytes bytes = in.take(in.get<std::uint32_t>());
    state.aside[id].assign(bytes.begin(), bytes.end());
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
