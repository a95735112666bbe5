// SPDX-License-Identifier: Apache-2.0
#include "replication/executor.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/copy.hpp"
#include "base/hooks.hpp"

namespace dolmen::replication {

namespace {

/// Instead of the bytes of a result: there is none, for the command was given up.
constexpr std::uint64_t kGivenUp = ~std::uint64_t{0};

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "the state of a member"); }

}  // namespace

std::vector<std::byte> encode_command(std::uint64_t session, std::uint64_t sequence,
                                      base::Bytes command, Holder holder) {
  std::vector<std::byte> bytes(kCommandHeadBytes + command.size());
  base::store(base::MutableBytes(bytes), 0, session);
  base::store(base::MutableBytes(bytes), 8, sequence);
  base::store(base::MutableBytes(bytes), 16, holder);
  base::copy_bytes(command, base::MutableBytes(bytes).subspan(kCommandHeadBytes));
  return bytes;
}

std::vector<std::byte> encode_question(std::uint64_t session, std::uint64_t sequence,
                                       Holder holder) {
  std::array<std::byte, sizeof session> asked{};
  base::store(base::MutableBytes(asked), 0, session);
  return encode_command(kQuestionSession, sequence, asked, holder);
}

std::optional<std::pair<fabric::NodeId, std::string>> address_in(const log::Entry& entry) {
  if (entry.kind != log::EntryKind::command) return std::nullopt;
  base::ByteReader in(entry.payload);
  const auto session = in.get<std::uint64_t>();
  const fabric::NodeId node{in.get<std::uint64_t>()};
  (void)in.get<Holder>();
  if (in.failed() || session != kAddressSession || node == fabric::NodeId::nobody) {
    return std::nullopt;
  }
  if (in.remaining() > kAddressBytesMax) return std::nullopt;
  std::string text;
  for (const std::byte byte : in.take(in.remaining())) text.push_back(static_cast<char>(byte));
  return std::pair{node, std::move(text)};
}

Executor::Outcome Executor::execute(const log::Entry& entry, bool is_wanted) {
  DOLMEN_ASSERT_CMP(entry.index, ==, executed_ + 1);
  executed_ = entry.index;
  if (entry.kind != log::EntryKind::command) return {};
  return run(entry, is_wanted);
}

Executor::Outcome Executor::run(const log::Entry& entry, bool is_wanted) {
  base::ByteReader in(entry.payload);
  auto session = in.get<std::uint64_t>();
  const auto sequence = in.get<std::uint64_t>();
  const auto holder = in.get<Holder>();
  const bool is_question = session == kQuestionSession;
  if (is_question) {
    session = in.get<std::uint64_t>();
    if (!in.finished() || session == 0 || session >= kReservedSession) in.fail();
  }
  // Whoever wrote this was no member of this version; all of them refuse it alike.
  if (in.failed() || (session != 0 && sequence == 0)) return {.status = ReplyStatus::refused};
  if (session == 0) {
    open_session(entry.index, holder);
    return {.value = entry.index};
  }
  if (session == kAddressSession) {
    auto told = address_in(entry);
    if (told && told->second.empty()) addresses_.erase(told->first);
    const bool fits =
        told && (addresses_.size() < kAddressesMax || addresses_.contains(told->first));
    if (fits && !told->second.empty()) addresses_[told->first] = std::move(told->second);
    return {};
  }
  if (session == kNoSession)
    return {.result = machine_.apply_for(holder, entry.index, in.take(in.remaining()))};
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return {.status = ReplyStatus::expired};
  // Nor does that keep the session from giving way.
  Session& known = found->second;
  if (!may_use(known, holder)) return {.status = ReplyStatus::no_right};
  auto use = by_use_.extract(known.used);
  known.used = entry.index;
  use.key() = entry.index;
  by_use_.insert(by_use_.end(), std::move(use));
  if (sequence < known.sequence) return {.status = ReplyStatus::expired, .value = kLaterCommand};
  const bool is_again = !is_question && DOLMEN_PLANTED("replication.run_again");
  if (sequence > known.sequence || is_again) {
    const Outcome given_up{.status = ReplyStatus::aborted};
    if (is_question && DOLMEN_PLANTED("replication.given_up_for_now")) return given_up;
    known.sequence = sequence;
    if (is_question) {
      known.outcome = given_up;
    } else {
      known.outcome = {.result = machine_.apply_for(holder, entry.index, in.take(in.remaining()))};
    }
  }
  // Most members have nobody who waits for it, and it has memory of its own.
  return is_wanted ? known.outcome : Outcome{};
}

/// A client that opens more than its share gives up its own, and nobody else's.
void Executor::open_session(log::Index index, Holder holder) {
  const auto its = counts_.find(holder);
  const bool has_its_share =
      holder != 0 && its != counts_.end() && its->second >= kSessionsOfHolderMax;
  if (has_its_share) {
    forget_session(std::ranges::find_if(
        by_use_, [&](const auto& use) { return sessions_.at(use.second).holder == holder; }));
  } else if (sessions_.size() >= kSessionsMax) {
    forget_session(by_use_.begin());
  }
  sessions_.emplace(index, Session{.used = index, .holder = holder});
  by_use_.emplace(index, index);
  ++counts_[holder];
}

void Executor::forget_session(std::map<log::Index, std::uint64_t>::iterator its_use) {
  const auto session = sessions_.find(its_use->second);
  const auto count = counts_.find(session->second.holder);
  if (--count->second == 0) counts_.erase(count);
  sessions_.erase(session);
  by_use_.erase(its_use);
}

Result<std::vector<std::byte>> Executor::snapshot() const {
  DOLMEN_TRY(const std::vector<std::byte> state, machine_.try_snapshot());
  base::ByteWriter out;
  out.put(static_cast<std::uint32_t>(sessions_.size()));
  out.put(static_cast<std::uint32_t>(addresses_.size()));
  for (const auto& [number, session] : sessions_) {
    out.put(number);
    out.put(session.sequence);
    out.put(session.used);
    out.put(session.holder);
    const bool is_given_up = session.outcome.status == ReplyStatus::aborted;
    out.put(is_given_up ? kGivenUp : static_cast<std::uint64_t>(session.outcome.result.size()));
    out.put_bytes(session.outcome.result);
  }
  put_addresses(out, addresses_);
  out.put_bytes(state);
  return out.release();
}

Result<Executor::Decoded> Executor::decode(const log::Snapshot& snapshot) {
  Decoded decoded;
  base::ByteReader in(snapshot.state());
  const auto count = in.get<std::uint32_t>();
  const auto places = in.get<std::uint32_t>();
  if (in.failed() || count > kSessionsMax) return damaged();
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto number = in.get<std::uint64_t>();
    Session session{.sequence = in.get<std::uint64_t>(),
                    .used = in.get<std::uint64_t>(),
                    .holder = in.get<Holder>()};
    const auto bytes = in.get<std::uint64_t>();
    const bool is_given_up = bytes == kGivenUp;
    const base::Bytes result = in.take(is_given_up ? 0 : bytes);
    if (in.failed() || number == 0 || session.used < number) return damaged();
    if (session.used > snapshot.last().index) return damaged();
    if (session.sequence == 0 && bytes != 0) return damaged();
    if (is_given_up) session.outcome.status = ReplyStatus::aborted;
    // Ascending, so that a state that is understood is exactly what snapshot() gives.
    auto& sessions = decoded.sessions;
    if (!sessions.empty() && number <= sessions.rbegin()->first) return damaged();
    if (!decoded.by_use.emplace(session.used, number).second) return damaged();
    session.outcome.result.assign(result.begin(), result.end());
    const std::size_t its = ++decoded.counts[session.holder];
    if (session.holder != 0 && its > kSessionsOfHolderMax) return damaged();
    sessions.emplace_hint(sessions.end(), number, std::move(session));
  }
  auto known = take_addresses(in, places);
  if (!known) return damaged();
  for (const auto& [node, text] : *known) {
    if (text.empty()) return damaged();
  }
  decoded.addresses = std::move(*known);
  decoded.machine = in.take(in.remaining());
  return decoded;
}

Result<base::Bytes> Executor::machine_state_in(const log::Snapshot& snapshot) {
  DOLMEN_TRY(const Decoded decoded, decode(snapshot));
  return decoded.machine;
}

Result<void> Executor::restore(const log::Snapshot* snapshot) {
  Decoded decoded;
  if (snapshot == nullptr) {
    machine_.reset();
  } else {
    DOLMEN_TRY(decoded, decode(*snapshot));
    DOLMEN_CHECK(machine_.restore(decoded.machine));
  }
  sessions_ = std::move(decoded.sessions);
  by_use_ = std::move(decoded.by_use);
  counts_ = std::move(decoded.counts);
  addresses_ = std::move(decoded.addresses);
  executed_ = snapshot == nullptr ? 0 : snapshot->last().index;
  return {};
}

bool Executor::may_use(const Session& session, Holder holder) {
  return session.holder == holder || DOLMEN_PLANTED("replication.session_of_anybody");
}

bool Executor::may_use(std::uint64_t session, Holder holder) const {
  const auto found = sessions_.find(session);
  return found == sessions_.end() || may_use(found->second, holder);
}

bool Executor::has_run(std::uint64_t session, std::uint64_t sequence) const {
  const auto found = sessions_.find(session);
  return found != sessions_.end() && sequence <= found->second.sequence;
}

}  // namespace dolmen::replication
