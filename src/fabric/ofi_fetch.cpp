// SPDX-License-Identifier: Apache-2.0
//
// Long reads and writes: the side that needs the bytes reads them from the other side's memory, by
// the fabric, into memory of its own, and the target copies them in one step as it does with short
// ones. So a fence is a fence, whatever the fabric makes of registrations that have ended: it can
// read what is there no more, which the checksum tells, but it can write nothing.
#include <algorithm>
#include <array>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/copy.hpp"
#include "fabric/ofi_endpoint.hpp"

namespace dolmen::fabric {
namespace {

/// Shorter ones are sent: eight pieces.
constexpr std::size_t kShownMin = 64u << 10;

}  // namespace

bool OfiEndpoint::shows(std::size_t bytes) const noexcept {
  return bytes >= kShownMin && bytes <= port_->limits().read_bytes_max;
}

bool OfiEndpoint::show_write(Peer& peer, const UnitHeader& header, const RequestHead& head,
                             Bytes body) {
  auto registered = port_->show(body);
  if (!registered) return false;
  const OfiShown shown{.start = (*registered)->start(),
                       .key = (*registered)->key(),
                       .checksum = shown_checksum(body, peer.stream.its_token(), header.number)};
  peer.shown[header.number] = std::move(*registered);
  RequestHead whole = head;
  whole.count = static_cast<std::uint32_t>(body.size());
  (void)append(peer, {.kind = kOfiShownWrite, .number = header.number},
               std::array<Bytes, 2>{encode(whole), encode(shown)});
  return true;
}

bool OfiEndpoint::show_read(Peer& peer, std::uint16_t number, Bytes region) {
  if (peer.lent_bytes + region.size() > kTcpReadBytesMax || peer.lent.contains(number)) {
    fail_peer(peer, Error(Errc::corrupt, "a node asks for more than it may at once"));
    return true;
  }
  Lent lent{.bytes = {region.begin(), region.end()}, .registered = nullptr};
  auto registered = port_->show(lent.bytes);
  if (!registered) return false;
  const auto shown =
      encode(OfiShown{.start = (*registered)->start(),
                      .key = (*registered)->key(),
                      .checksum = shown_checksum(lent.bytes, peer.stream.its_token(), number)});
  lent.registered = std::move(*registered);
  peer.lent_bytes += region.size();
  peer.lent.emplace(number, std::move(lent));
  const Bytes body(shown);
  (void)append(peer, {.kind = kOfiShownRead, .number = number}, std::span(&body, 1));
  return true;
}

void OfiEndpoint::give_back(Peer& peer, std::uint16_t number) {
  const auto found = peer.lent.find(number);
  if (found == peer.lent.end()) {
    fail_peer(peer, Error(Errc::corrupt, "the end of nothing"));
    return;
  }
  peer.lent_bytes -= found->second.bytes.size();
  peer.lent.erase(found);
}

void OfiEndpoint::serve_shown_write(Peer& peer, const OfiStream::Unit& unit) {
  // With a count, as reads have it.
  const auto head = decode_request_head(UnitKind::read, unit.body);
  if (!head || head->count == 0 || head->count > port_->limits().read_bytes_max) {
    fail_peer(peer, Error(Errc::corrupt, "bytes from another node"));
    return;
  }
  const Status status = answer_status(
      regions_.check(peer.name.node, head->region, head->offset, head->count, &Rights::write));
  if (status != Status::ok) {
    answer(peer, unit.header.number, status, {});
    return;
  }
  auto fetch = std::make_unique<Fetch>();
  fetch->request = unit.header;
  fetch->head = *head;
  fetch->shown = decode_ofi_shown(unit.body.subspan(kRequestHeadBytes));
  peer.is_writing = true;
  begin_fetch(peer, std::move(fetch), head->count);
}

void OfiEndpoint::fetch_read(Peer& peer, const OfiStream::Unit& unit) {
  const bool is_due = !peer.pending.empty() && peer.pending.front().number == unit.header.number &&
                      peer.pending.front().kind == UnitKind::read &&
                      !peer.pending.front().into.empty();
  if (!is_due) {
    fail_peer(peer, Error(Errc::corrupt, "an answer to nothing"));
    return;
  }
  const PendingOperations::Operation operation = peer.pending.pop();
  auto fetch = std::make_unique<Fetch>();
  fetch->request = unit.header;
  fetch->shown = decode_ofi_shown(unit.body);
  fetch->op = operation.op;
  fetch->into = operation.into;
  peer.fetching_bytes += operation.into.size();
  begin_fetch(peer, std::move(fetch), operation.into.size());
}

void OfiEndpoint::begin_fetch(Peer& peer, std::unique_ptr<Fetch> fetch, std::size_t bytes) {
  fetch->peer = peer.number;
  fetch->bytes.resize(bytes);
  Fetch& begun = *(fetches_[next_fetch_++] = std::move(fetch));
  auto registered = port_->register_memory(begun.bytes);
  if (!registered) {
    fail_peer(peer, registered.error());
    return;
  }
  begun.registered = std::move(*registered);
  ++peer.unposted;
}

Result<bool> OfiEndpoint::post_fetches(Peer& peer) {
  bool did_something = false;
  for (const auto& [number, fetch] : fetches_) {
    if (peer.unposted == 0) break;
    if (fetch->peer != peer.number || fetch->is_posted || fetch->is_there) continue;
    const Result<void> posted =
        port_->read(*peer.stream.peer(), kFetch | number, fetch->bytes, *fetch->registered,
                    fetch->shown.start, fetch->shown.key);
    if (!posted) {
      if (posted.error().code() == Errc::busy) break;
      return std::unexpected(posted.error());
    }
    fetch->is_posted = true;
    --peer.unposted;
    did_something = true;
  }
  return did_something;
}

void OfiEndpoint::fetched(std::uint64_t number, bool is_failed) {
  const auto found = fetches_.find(number);
  DOLMEN_ASSERT(found != fetches_.end());
  Fetch& fetch = *found->second;
  const auto peer = by_number_.find(fetch.peer);
  if (peer == by_number_.end()) {
    orphaned_bytes_ -= fetch.bytes.size();
    fetches_.erase(found);
    return;
  }
  fetch.is_there = true;
  if (is_failed) {
    fail_peer(*peer->second, Error(Errc::connection_lost, "the other node's memory is not there"));
  }
}

bool OfiEndpoint::apply_fetched(Peer& peer, Sink& sink) {
  bool did_something = false;
  for (auto it = fetches_.begin(); it != fetches_.end() && !peer.failure;) {
    if (it->second->peer != peer.number || !it->second->is_there) {
      ++it;
      continue;
    }
    const std::unique_ptr<Fetch> fetch = std::move(it->second);
    it = fetches_.erase(it);
    apply(peer, *fetch, sink);
    did_something = true;
  }
  return did_something;
}

void OfiEndpoint::apply(Peer& peer, Fetch& fetch, Sink& sink) {
  const std::uint16_t number = fetch.request.number;
  const bool is_sound = shown_checksum(fetch.bytes, peer.token, number) == fetch.shown.checksum;
  if (!is_sound) {
    fail_peer(peer, Error(Errc::connection_lost, "the other node's memory was given away"));
  }
  if (fetch.request.kind == kOfiShownWrite) {
    peer.is_writing = false;
    if (!is_sound) return;
    const auto done =
        regions_.write(peer.name.node, fetch.head.region, fetch.head.offset, fetch.bytes);
    answer(peer, number, answer_status(done), {});
    return;
  }
  peer.fetching_bytes -= fetch.bytes.size();
  if (!is_sound) {
    sink.on_completed(fetch.op, fail(Errc::connection_lost, "with the operation under way"));
    return;
  }
  base::copy_bytes(fetch.bytes, fetch.into);
  (void)append(peer, {.kind = kOfiTaken, .number = number}, {});
  sink.on_completed(fetch.op, 0);
}

/// The peer is lost. What the fabric is at yet keeps its memory until it ends.
void OfiEndpoint::end_fetches(Peer& peer, Sink& sink) {
  for (auto it = fetches_.begin(); it != fetches_.end();) {
    Fetch& fetch = *it->second;
    if (fetch.peer != peer.number) {
      ++it;
      continue;
    }
    if (fetch.request.kind == kOfiShownRead) {
      sink.on_completed(fetch.op, fail(Errc::connection_lost, "with the operation under way"));
    }
    if (fetch.is_posted && !fetch.is_there) {
      orphaned_bytes_ += fetch.bytes.size();
      ++it;
    } else {
      it = fetches_.erase(it);
    }
  }
}

}  // namespace dolmen::fabric
