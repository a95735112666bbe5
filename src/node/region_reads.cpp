// SPDX-License-Identifier: Apache-2.0
#include "node/region_reads.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "log/lane.hpp"

namespace dolmen::node {

namespace {

using cluster::LookupState;
using replication::EnvelopeKind;

/// Of an operation that belongs to no look-up.
constexpr fabric::OpId kFetch{~std::uint64_t{0}};
/// Who leads is asked again after this.
constexpr std::uint64_t kAgainNs = 5'000'000;

}  // namespace

RegionReads::~RegionReads() {
  // The endpoint goes first: it may write into buffers until then.
  endpoint.reset();
}

// --- what arrives --------------------------------------------------------------------------------

void RegionReads::on_lost(const fabric::NodeName& peer, const Error& why) {
  copies.erase(peer.node);
  if (led && std::ranges::any_of(led->lines, [&](const Copy& c) { return c.name == peer; })) {
    let_go();
  }
  ClientOf::Impl::on_lost(peer, why);
}

void RegionReads::on_message(const fabric::NodeName& from, base::Bytes message) {
  const auto opened = replication::decode_envelope(message);
  if (opened && opened->envelope.kind == EnvelopeKind::lease) {
    const auto told = replication::decode_lease_told(opened->body);
    const bool is_leaders = told && led && opened->envelope.group == group &&
                            from == led->lines.front().name &&
                            opened->envelope.from == led->lines.front().replica;
    if (is_leaders) lease.told(now_ns(), *told);
    return;
  }
  if (!opened || opened->envelope.kind != EnvelopeKind::memory) {
    return ClientOf::Impl::on_message(from, message);
  }
  const auto reply = replication::decode_memory_reply(opened->body);
  if (!reply || opened->envelope.group != group) return;
  if (replication::node_of(opened->envelope.from) != from.node) return;
  copies[from.node] = {.name = from, .replica = opened->envelope.from, .said = *reply};
}

void RegionReads::on_completed(fabric::OpId op, const Result<std::uint64_t>& former) {
  if (op == kFetch) {
    fetched = former ? Result<void>{} : std::unexpected(former.error());
    return;
  }
  const auto number = static_cast<std::uint64_t>(op);
  const std::size_t slot = number / kReadsOfLookup;
  if (slot >= lookups.size() || lookups[slot].under_way == 0) return;
  Lookup& lookup = lookups[slot];
  if (!former) lookup.has_failed.set(number % kReadsOfLookup);
  --lookup.under_way;
}

// --- who leads -----------------------------------------------------------------------------------

Result<bool> RegionReads::learn(std::uint64_t deadline_ns, std::uint64_t begin_ns) {
  if (led) DOLMEN_CHECK(look_after_lease(begin_ns));
  if (led) return true;
  if (now_ns() < ask_until_ns) return false;
  ++counts->learned;
  const std::uint64_t end_ns = std::min(deadline_ns, now_ns() + kLearnNs);
  copies.clear();
  std::uint64_t asked_ns = 0;
  while (now_ns() < end_ns) {
    DOLMEN_CHECK(look_after_roster());
    if (asked_ns == 0 || now_ns() >= asked_ns + kAgainNs) {
      for (const fabric::NodeId node : nodes) {
        DOLMEN_TRY(const bool is_sent, send(node, EnvelopeKind::ask_memory, {}));
        if (is_sent) asked_ns = now_ns();
      }
    }
    DOLMEN_CHECK(poll_until(std::min(end_ns, now_ns() + kAgainNs)));
    auto chosen = choose_copies(copies);
    if (!chosen) continue;
    DOLMEN_TRY(const bool is_usable,
               use({std::move(*chosen)}, std::min(deadline_ns, now_ns() + kAttemptNs)));
    if (is_usable) return true;
    copies.clear();
    asked_ns = 0;
  }
  ask_until_ns = now_ns() + kAskNs;
  return false;
}

Result<void> RegionReads::look_after_lease(std::uint64_t begin_ns) {
  is_by_lease = false;
  if (options.reads != IndexReads::lease) return {};
  if (const auto ask = lease.ask(begin_ns)) {
    DOLMEN_TRY(const bool is_sent,
               send(led->lines.front().name.node, EnvelopeKind::ask_lease, encode(*ask)));
    static_cast<void>(is_sent);
  }
  // Where reads are loads nobody else looks whether the answer is there.
  if (is_mapped() && lease.is_asking()) DOLMEN_CHECK(poll_until(begin_ns));
  is_by_lease = led && begin_ns < lease.until_ns();
  return {};
}

cluster::ReadTimes RegionReads::times_of(const Reader& reader, std::uint64_t led_in) const {
  if (reader.level() != cluster::ReadLevel::lease || !led || led_in != learned) return {};
  return {.completed_ns = now_ns(), .lease_until_ns = lease.until_ns()};
}

void RegionReads::unmap(Led& chosen) {
  for (std::size_t i = 0; i < chosen.mapped.size(); ++i) {
    const Copy& copy = chosen.lines[i];
    endpoint->unmap(copy.name, fabric::RegionId{copy.said.region});
  }
  chosen.mapped.clear();
}

/// False: some of them are elsewhere, and all are read.
bool RegionReads::map(Led& chosen) {
  for (const Copy& copy : chosen.lines) {
    auto mapped = endpoint->map(copy.name, fabric::RegionId{copy.said.region});
    if (!mapped || mapped->size() < replication::kMemoryLineBytes ||
        mapped->size() - replication::kMemoryLineBytes < copy.said.bytes) {
      unmap(chosen);
      return false;
    }
    chosen.mapped.push_back(*mapped);
  }
  return true;
}

Result<bool> RegionReads::use(Led chosen, std::uint64_t deadline_ns) {
  if (endpoint->traits().mapped) (void)map(chosen);
  led = std::move(chosen);
  ++learned;
  lease.begin(led->epoch.epoch);
  is_by_lease = false;
  DOLMEN_TRY(const bool is_usable, learn_region(led->lines.front().said.bytes, deadline_ns));
  if (!is_usable) let_go();
  return is_usable && led.has_value();
}

void RegionReads::let_go() {
  if (!led) return;
  unmap(*led);
  led.reset();
}

Result<std::optional<std::vector<std::byte>>> RegionReads::fetch(std::uint64_t offset,
                                                                 std::size_t bytes,
                                                                 std::uint64_t deadline_ns) {
  if (!led) return std::nullopt;
  offset += replication::kMemoryLineBytes;
  // Its own, so that nothing is written into what is gone, whatever becomes of this call.
  fetch_into.assign(bytes, std::byte{0});
  if (!led->mapped.empty()) {
    log::copy_shared(fetch_into, base::Bytes(led->mapped.front()).subspan(offset, bytes));
    return fetch_into;
  }
  const Copy copy = led->lines.front();
  fetched.reset();
  if (!endpoint->read(kFetch, {copy.name, fabric::RegionId{copy.said.region}, offset},
                      fetch_into)) {
    return std::nullopt;
  }
  while (!fetched) {
    if (now_ns() >= deadline_ns) endpoint->disconnect(copy.name.node);
    const auto polled = poll_until(std::max(deadline_ns, now_ns() + kPauseNs));
    if (polled) continue;
    failure = polled.error();
    return std::unexpected(*failure);
  }
  if (!*fetched) return std::nullopt;
  return fetch_into;
}

// --- reading -------------------------------------------------------------------------------------

/// By loads, until it is over.
void RegionReads::load(Reader& lookup) {
  while (lookup.state() == LookupState::reading) {
    const auto reads = lookup.reads();
    std::size_t bytes = 0;
    for (const cluster::IndexRead& read : reads) bytes += read.bytes;
    if (loaded.size() < bytes) loaded.resize(bytes);
    pieces.clear();
    std::size_t at = 0;
    for (const cluster::IndexRead& read : reads) {
      const base::MutableBytes into = base::MutableBytes(loaded).subspan(at, read.bytes);
      at += read.bytes;
      pieces.push_back(into);
      if (read.line == 0) {
        const std::uint64_t offset = replication::kMemoryLineBytes + read.offset;
        log::copy_shared(into, base::Bytes(led->mapped.front()).subspan(offset, read.bytes));
      } else {
        // What was copied is older than what is read of the lines.
        if (read.line == 1) std::atomic_thread_fence(std::memory_order_seq_cst);
        log::copy_shared(into,
                         base::Bytes(led->mapped[read.line - 1]).subspan(read.offset, read.bytes));
      }
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    // A line of the dead says nothing: their next lives may have promised more. Behind the loads:
    // who lives now had no next life then (docs/index.md, As a service).
    for (std::size_t i = 0; i < reads.size(); ++i) {
      const std::uint32_t line = reads[i].line;
      if (line == 0 || DOLMEN_PLANTED("node.lines_of_the_dead")) continue;
      if (!endpoint->lives(led->lines[line - 1].name)) pieces[i] = {};
    }
    lookup.arrived(pieces, times_of(lookup, learned));
  }
}

/// False: it is to be looked up anew.
bool RegionReads::settle(const Reader& reader, std::uint64_t led_in) {
  counts->round_trips += reader.round_trips();
  const bool is_answer =
      reader.state() == LookupState::found || reader.state() == LookupState::absent;
  if (is_answer && reader.level() == cluster::ReadLevel::lease) ++counts->by_lease;
  if (reader.state() != LookupState::deposed) return true;
  if (led_in == learned) let_go();  // else another one was found since
  return false;
}

/// Asks for what it wants to read; false: not all of it could be asked for yet.
bool RegionReads::issue(std::size_t slot) {
  Lookup& one = lookups[slot];
  const auto reads = one.reader->reads();
  if (one.issued == 0) {
    DOLMEN_ASSERT_CMP(reads.size(), <, kReadsOfLookup);
    std::size_t bytes = 0;
    for (const cluster::IndexRead& read : reads) bytes += read.bytes;
    if (one.buffer.size() < bytes) one.buffer.resize(bytes);
    one.filled = 0;
    one.has_failed.reset();
  }
  while (one.issued < reads.size()) {
    const cluster::IndexRead& read = reads[one.issued];
    const auto into = base::MutableBytes(one.buffer).subspan(one.filled, read.bytes);
    bool is_asked = false;
    if (led && one.led_in == learned) {
      const Copy& copy = led->lines[read.line == 0 ? 0 : read.line - 1];
      const std::uint64_t offset =
          read.line == 0 ? replication::kMemoryLineBytes + read.offset : read.offset;
      const auto asked =
          endpoint->read(fabric::OpId{slot * kReadsOfLookup + one.issued},
                         {copy.name, fabric::RegionId{copy.said.region}, offset}, into);
      if (!asked && asked.error().code() == Errc::busy) return false;
      is_asked = asked.has_value();
    }
    if (is_asked) {
      ++one.under_way;
    } else {
      one.has_failed.set(one.issued);
    }
    one.filled += read.bytes;
    ++one.issued;
  }
  return true;
}

/// Gives the look-up what was read. Requires: all of it was.
void RegionReads::arrived(Lookup& one) {
  const auto reads = one.reader->reads();
  pieces.clear();
  std::size_t at = 0;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    const auto piece = base::Bytes(one.buffer).subspan(at, reads[i].bytes);
    pieces.push_back(one.has_failed.test(i) ? base::Bytes{} : piece);
    at += reads[i].bytes;
  }
  one.reader->arrived(pieces, times_of(*one.reader, one.led_in));
  one.issued = 0;
}

/// Until no operation is under way that could write into a buffer. Who takes no more of them is cut
/// off as well: what is asked for next fails then, and is not waited for.
Result<void> RegionReads::drain() {
  const auto is_busy = [this] {
    return std::ranges::any_of(lookups, [](const auto& one) { return one.under_way > 0; });
  };
  const auto is_stuck = [](const auto& one) { return one.reader != nullptr && !one.is_read(); };
  if (!is_busy() && std::ranges::none_of(lookups, is_stuck)) return {};
  for (const fabric::NodeId node : nodes) endpoint->disconnect(node);
  while (is_busy()) DOLMEN_CHECK(poll_until(now_ns() + kPauseNs));
  return {};
}

Result<void> RegionReads::read_all(std::span<const std::size_t> wanted, const Begin& begin,
                                   const End& end, std::uint64_t deadline_ns) {
  if (failure) return std::unexpected(*failure);
  const auto read = read_slots(wanted, begin, end, deadline_ns);
  if (!read) return fail_with(read.error());
  return read;
}

/// One look-up until it is over, with as few looks at the clock as can be.
Result<void> RegionReads::follow(Reader& reader, std::uint64_t deadline_ns) {
  /// So often it may go on without one, for as long as something arrives.
  constexpr unsigned kPollsBetween = 64;
  if (lookups.empty()) lookups.resize(1);
  Lookup& one = lookups.front();
  one.reader = &reader;
  one.led_in = learned;
  one.issued = 0;
  while (reader.state() == LookupState::reading) {
    bool is_issued = issue(0);
    std::uint64_t until_ns = 0;
    for (unsigned polls = 1; !is_issued || one.under_way > 0; ++polls) {
      DOLMEN_TRY(const bool was_busy, poll_now());
      if (!is_issued) is_issued = issue(0);
      if (was_busy && polls % kPollsBetween != 0) continue;
      const std::uint64_t at_ns = now_ns();
      if (until_ns == 0) until_ns = std::min(deadline_ns, at_ns + kAttemptNs);
      if (at_ns >= until_ns) {
        // Somebody does not answer: what is under way fails, and others are chosen.
        DOLMEN_CHECK(drain());
        until_ns = 0;
      } else if (!was_busy) {
        DOLMEN_CHECK(endpoint->wait(until_ns));
      }
    }
    arrived(one);
  }
  one.reader = nullptr;
  return {};
}

Result<void> RegionReads::read_slots(std::span<const std::size_t> wanted, const Begin& begin,
                                     const End& end, std::uint64_t deadline_ns) {
  const std::size_t slots = std::min(kLookupsMax, wanted.size());
  if (lookups.size() < slots) lookups.resize(slots);
  const std::span<Lookup> used = std::span(lookups).first(slots);
  for (Lookup& one : used) one.reader = nullptr;
  std::vector<std::size_t> left(wanted.rbegin(), wanted.rend());
  std::map<std::size_t, int> attempts;
  std::uint64_t progress_ns = now_ns();
  for (;;) {
    for (std::size_t slot = 0; slot < slots; ++slot) {
      Lookup& one = used[slot];
      if (one.reader == nullptr && !left.empty()) {
        DOLMEN_TRY(const bool is_known, learn(deadline_ns, now_ns()));
        if (!is_known) {
          left.clear();
          break;
        }
        one.owned = begin(left.back());
        one.reader = one.owned.get();
        one.which = left.back();
        one.led_in = learned;
        one.issued = 0;
        left.pop_back();
      }
      if (one.reader == nullptr) continue;
      if (one.issued < one.reader->reads().size() && !issue(slot)) continue;
      if (one.under_way > 0) continue;
      progress_ns = now_ns();
      arrived(one);
      if (one.reader->state() == LookupState::reading) {
        static_cast<void>(issue(slot));
        continue;
      }
      const std::size_t which = one.which;
      const bool is_over = settle(*one.reader, one.led_in);
      if (is_over) end(which, *one.reader);
      one.reader = nullptr;
      if (!is_over && ++attempts[which] < kAttemptsMax) left.push_back(which);
      if (!left.empty()) --slot;  // the next one, at once
    }
    const auto is_under_way = [](const Lookup& one) { return one.reader != nullptr; };
    if (left.empty() && std::ranges::none_of(used, is_under_way)) return {};
    if (now_ns() >= std::min(deadline_ns, progress_ns + kAttemptNs)) {
      // Somebody does not answer: what is under way fails, and others are chosen.
      DOLMEN_CHECK(drain());
      progress_ns = now_ns();
      if (now_ns() >= deadline_ns) left.clear();
    }
    // Something may have completed while others were begun.
    const auto is_ready = [](const Lookup& one) { return one.reader != nullptr && one.is_read(); };
    if (std::ranges::none_of(used, is_ready)) {
      DOLMEN_CHECK(poll_until(std::min(deadline_ns, now_ns() + kAttemptNs)));
    }
  }
}

}  // namespace dolmen::node
