// SPDX-License-Identifier: Apache-2.0
//
// Pieces that come and go, and what waits for them.
#include <algorithm>
#include <array>
#include <utility>

#include <dolmen/assert.hpp>

#include "fabric/ofi_endpoint.hpp"

namespace dolmen::fabric {
namespace {

constexpr std::size_t kEndedAtOnce = 64;
constexpr int kRounds = 16;
constexpr int kUnitsAtOnce = 256;
/// How long wait() sleeps where the fabric cannot wake it, or still looks for a peer.
constexpr std::uint64_t kSliceNs = 500'000;

}  // namespace

Result<bool> OfiEndpoint::drain() {
  bool did_something = false;
  for (int i = 0; i < kRounds; ++i) {
    std::array<sys::OfiDone, kEndedAtOnce> ended;
    DOLMEN_TRY(const std::size_t count, port_->poll(ended));
    for (const sys::OfiDone& one : std::span(ended).first(count)) {
      if ((one.tag & kReceive) != 0) {
        arrived(static_cast<OfiBuffers::Number>(one.tag & ~kReceive), one);
      } else if ((one.tag & kFetch) != 0) {
        fetched(one.tag & ~kFetch, one.is_failed);
      } else {
        sent(static_cast<OfiBuffers::Number>(one.tag), one.is_failed);
      }
    }
    did_something |= count > 0;
    post_receives();
    if (count < ended.size()) break;
  }
  return did_something;
}

void OfiEndpoint::sent(OfiBuffers::Number slot, bool is_failed) {
  slots_.give(slot);
  const auto found = by_number_.find(owners_[slot]);
  if (found == by_number_.end()) {
    DOLMEN_ASSERT(orphaned_bytes_ >= kOfiPieceBytes);
    orphaned_bytes_ -= kOfiPieceBytes;
    return;
  }
  Peer& peer = *found->second;
  peer.stream.sent();
  if (is_failed) {
    fail_peer(peer, Error(Errc::connection_lost, "a message did not reach the other node"));
  }
}

void OfiEndpoint::arrived(OfiBuffers::Number buffer, const sys::OfiDone& done) {
  const Bytes piece = Bytes(buffers_.bytes(buffer)).first(std::min(done.bytes, kOfiPieceBytes));
  const auto head = done.is_failed ? fail(Errc::corrupt) : decode_ofi_piece(piece);
  const auto found = head ? by_token_.find(head->token) : by_token_.end();
  // What nobody here waits for, from a life that is gone or from nowhere, is dropped.
  if (found == by_token_.end() || found->second->failure) {
    idle_.push_back(buffer);
    return;
  }
  Peer& peer = *found->second;
  const auto taken = peer.stream.arrived(buffer, *head, piece.subspan(kOfiPieceHeadBytes));
  if (!taken) fail_peer(peer, taken.error());
}

/// As many as the fabric takes; the others follow.
void OfiEndpoint::post_receives() {
  while (!idle_.empty()) {
    const OfiBuffers::Number buffer = idle_.back();
    if (!port_->post_receive(kReceive | buffer, buffers_.bytes(buffer), buffers_.memory(buffer))) {
      return;
    }
    idle_.pop_back();
  }
}

bool OfiEndpoint::complete_local(Sink& sink) {
  completing_.swap(completed_);
  const bool did_something = !completing_.empty();
  for (const OpId op : completing_) sink.on_completed(op, 0);
  completing_.clear();
  return did_something;
}

bool OfiEndpoint::progress(Peer& peer, Sink& sink) {
  bool did_something = false;
  if (peer.hello && tcp_->send(peer.name, *peer.hello)) {
    peer.hello.reset();
    did_something = true;
  }
  if (!peer.is_open && peer.stream.is_greeted()) {
    peer.is_open = true;
    did_something = true;
    sink.on_connected(peer.name);
  }
  did_something |= apply_fetched(peer, sink);
  for (int i = 0; peer.is_open && i < kUnitsAtOnce && !peer.failure && !peer.is_writing; ++i) {
    const auto unit = peer.stream.next();
    if (!unit) {
      fail_peer(peer, unit.error());
      return true;
    }
    if (!*unit) break;
    did_something = true;
    process(peer, **unit, sink);
  }
  if (peer.failure) return true;
  post_receives();
  const Result<bool> pumped = peer.stream.pump();
  const Result<bool> posted = pumped ? post_fetches(peer) : pumped;
  if (!posted) {
    fail_peer(peer, Error(Errc::connection_lost, "a message could not be sent"));
    return true;
  }
  return did_something || *pumped || *posted;
}

void OfiEndpoint::process(Peer& peer, const OfiStream::Unit& unit, Sink& sink) {
  const UnitKind kind = unit.header.kind;
  if (kind == kOfiShownWrite) return serve_shown_write(peer, unit);
  if (kind == kOfiShownRead) return fetch_read(peer, unit);
  if (kind == kOfiTaken) return give_back(peer, unit.header.number);
  switch (kind) {
    case UnitKind::message:
      sink.on_message(peer.name, unit.body);
      return;
    case UnitKind::done: {
      const Result<Completed> completed = complete(peer.pending, unit.header, unit.body);
      peer.shown.erase(unit.header.number);
      if (completed) {
        sink.on_completed(completed->op, completed->former);
      } else {
        fail_peer(peer, completed.error());
      }
      return;
    }
    default:
      serve(peer, unit);
  }
}

Result<void> OfiEndpoint::wait(std::uint64_t until_ns) {
  post_receives();
  bool is_waking = port_->bell() != nullptr;
  for (const auto& [node, peer] : peers_) {
    if (peer->failure) return tcp_->wait(0);
    if (const auto pumped = peer->stream.pump(); !pumped) {
      fail_peer(*peer, Error(Errc::connection_lost, "a message could not be sent"));
      return tcp_->wait(0);
    }
    is_waking = is_waking && peer->is_open && !peer->stream.is_stalled() && peer->unposted == 0;
  }
  // The caller's loop is the spinning, as with tcp.
  const std::uint64_t now_ns = world_.clock->monotonic_ns();
  const bool is_spinning = wait_.spin_ns != 0 && now_ns - busy_ns_ < wait_.spin_ns;
  if (is_spinning || !completed_.empty()) return tcp_->wait(0);
  if (port_->bell() != nullptr && !port_->arm()) return tcp_->wait(0);
  return tcp_->wait(is_waking ? until_ns : std::min(until_ns, now_ns + kSliceNs));
}

}  // namespace dolmen::fabric
