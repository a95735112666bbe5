// SPDX-License-Identifier: Apache-2.0
//
// Bytes between sockets and channels, and the end of connections.
#include <algorithm>
#include <array>
#include <utility>

#include <dolmen/assert.hpp>

#include "fabric/tcp_endpoint.hpp"

namespace dolmen::fabric {
namespace {

/// Connections that are read without asking the poller: what such a read costs, the poller costs,
/// too.
constexpr std::size_t kHotMax = 4;
/// After so many polls in vain a connection is left to the poller.
constexpr unsigned kQuietPollsMax = 20'000;
/// … and after so many since it was last written to or heard from, it is read at every eighth poll:
/// members that say something now and then cost the answer to who asks all the time little.
constexpr unsigned kBriskPolls = 64;
constexpr unsigned kReadEvery = 8;
/// How often more one poll reads each brisk connection, of an endpoint that spins.
constexpr unsigned kReadsOfSpin = 8;
/// After so many of those that brought bytes without a wait in between, the poller looks after the
/// connection no more until there is one: what arrives would be told to it each time.
constexpr unsigned kReadsUnwatched = 16;
/// How often the poller is asked while hot connections are quiet, and while they are not.
constexpr unsigned kAskEvery = 16;
constexpr std::size_t kEventsAtOnce = 32;

}  // namespace

Result<bool> TcpEndpoint::poll(Sink& sink) {
  bool did_something = false;
  if (!completed_.empty()) {
    completing_.swap(completed_);
    for (const OpId op : completing_) sink.on_completed(op, 0);
    completing_.clear();
    did_something = true;
  }
  flush_listed();
  const std::uint64_t now_ns = world_.clock->monotonic_ns();
  if (now_ns >= due_ns_) run_timers(now_ns, sink);
  did_something |= poll_hot(sink);
  const bool is_turn = ++polls_ % kAskEvery == 0 || hot_.empty() || blocked_ > 0;
  if (ask_system_ || (is_turn && (!did_something || polls_ % (kAskEvery * 4) == 0))) {
    ask_system_ = false;
    DOLMEN_TRY(const bool did_more, poll_system(now_ns, sink));
    did_something |= did_more;
  }
  flush_listed();
  did_something |= settle(now_ns, sink);
  if (did_something) busy_ns_ = now_ns;
  return did_something;
}

Result<void> TcpEndpoint::wait(std::uint64_t until_ns) {
  flush_listed();
  if (std::exchange(woken_, false) || any_failed_ || !completed_.empty()) return {};
  // The caller's loop is the spinning: it comes back by way of poll(), which reads at once.
  const std::uint64_t spin_ns = options_.wait.spin_ns;
  if (spin_ns != 0 && world_.clock->monotonic_ns() - busy_ns_ < spin_ns) return {};
  for (TcpConnection* const connection : hot_) watch_again(*connection);
  if (any_failed_) return {};
  std::array<sys::Poller::Event, 1> event{};
  DOLMEN_CHECK(poller_->wait(event, std::min(until_ns, std::max<std::uint64_t>(due_ns_, 1))));
  ask_system_ = true;
  return {};
}

bool TcpEndpoint::poll_hot(Sink& sink) {
  bool did_something = false;
  for (TcpConnection* const connection : hot_) {
    const unsigned quiet = ++connection->quiet_polls;
    if (quiet > kBriskPolls && quiet % kReadEvery != 0) continue;
    if (read_hot(*connection, sink)) {
      did_something = true;
    } else if (quiet > kQuietPollsMax) {
      cool(*connection);
    }
  }
  // Who spins does so here: the caller's whole turn between two reads would come on top of what
  // each answer takes.
  const unsigned more = options_.wait.spin_ns != 0 ? kReadsOfSpin : 0;
  for (unsigned i = 0; i < more && !did_something && listed_.empty(); ++i) {
    for (TcpConnection* const connection : hot_) {
      if (connection->quiet_polls <= kBriskPolls) did_something |= read_hot(*connection, sink);
    }
  }
  std::erase_if(hot_, [](const TcpConnection* connection) { return !connection->is_hot; });
  return did_something;
}

/// What is answered at once leaves before anybody else is read: whoever asks waits for nothing
/// else.
bool TcpEndpoint::read_hot(TcpConnection& connection, Sink& sink) {
  if (!read_from(connection, sink)) return false;
  connection.quiet_polls = 0;
  if (connection.is_listed && !connection.is_blocked && !connection.failure) flush(connection);
  const bool is_spinning = options_.wait.spin_ns != 0 && connection.is_hot;
  if (is_spinning && ++connection.reads_awake >= kReadsUnwatched && connection.is_watched &&
      !connection.is_blocked) {
    poller_->remove(*connection.socket);
    connection.is_watched = false;
  }
  return true;
}

void TcpEndpoint::watch_again(TcpConnection& connection) {
  connection.reads_awake = 0;
  if (connection.is_watched) return;
  connection.is_watched = true;
  const auto added = poller_->add(*connection.socket, connection.number, connection.is_blocked);
  if (!added) fail_connection(connection, added.error());
}

/// It is left to the poller.
void TcpEndpoint::cool(TcpConnection& connection) {
  connection.is_hot = false;
  watch_again(connection);
}

void TcpEndpoint::warm(TcpConnection& connection) {
  connection.quiet_polls = 0;
  if (connection.is_hot) return;
  if (hot_.size() == kHotMax) {
    const auto coldest = std::ranges::max_element(hot_, {}, &TcpConnection::quiet_polls);
    if ((*coldest)->quiet_polls < kAskEvery) return;
    cool(**coldest);
    hot_.erase(coldest);
  }
  connection.is_hot = true;
  hot_.push_back(&connection);
}

Result<bool> TcpEndpoint::poll_system(std::uint64_t now_ns, Sink& sink) {
  std::array<sys::Poller::Event, kEventsAtOnce> events{};
  DOLMEN_TRY(const sys::Poller::Ready ready, poller_->wait(events, 0));
  woken_ = woken_ || ready.woken;
  if (ready.events == events.size()) ask_system_ = true;
  bool did_something = false;
  for (const sys::Poller::Event& event : std::span(events).first(ready.events)) {
    if (event.tag == kBellTag) continue;
    const auto found = connections_.find(event.tag);
    if (found == connections_.end()) {
      accept_some(now_ns, sink);
      did_something = true;
      continue;
    }
    TcpConnection& connection = *found->second;
    if (connection.failure) continue;
    if (connection.phase == TcpConnection::Phase::connecting) {
      const Result<bool> is_connected = connection.socket->connected();
      if (!is_connected) {
        fail_connection(connection, is_connected.error());
      } else if (*is_connected) {
        connection.phase = TcpConnection::Phase::greeting;
        connection.is_blocked = true;  // the poller asks for writable, which flush() ends
        ++blocked_;
        flush(connection);
      }
      did_something = true;
      continue;
    }
    if (event.writable && connection.is_blocked) flush(connection);
    if (event.readable && read_from(connection, sink)) {
      did_something = true;
      if (connection.phase == TcpConnection::Phase::open && !connection.failure) warm(connection);
    }
  }
  return did_something;
}

bool TcpEndpoint::read_from(TcpConnection& connection, Sink& sink) {
  if (connection.failure) return false;
  const Result<sys::Socket::Read> read = connection.socket->read(connection.channel.room());
  if (!read) {
    fail_connection(connection, read.error());
    return true;
  }
  if (read->bytes > 0) {
    connection.channel.received(read->bytes);
    process(connection, sink);
  }
  if (read->ended && !connection.failure) {
    fail_connection(connection,
                    Error(Errc::connection_lost, "the other side ended the connection"));
  }
  return read->bytes > 0 || read->ended;
}

void TcpEndpoint::process(TcpConnection& connection, Sink& sink) {
  while (!connection.failure) {
    const Result<TcpChannel::What> what = connection.channel.next();
    if (!what) {
      fail_connection(connection, what.error());
      return;
    }
    switch (*what) {
      case TcpChannel::What::nothing:
        // A handshake with keys of their own goes to and fro before there is anything to report.
        if (connection.phase == TcpConnection::Phase::greeting && connection.channel.queued() > 0) {
          list(connection);
        }
        return;
      case TcpChannel::What::greeted: {
        const Errc refused =
            connection.channel.agrees() ? judge(connection.channel.peer()) : Errc::unsupported;
        connection.channel.answer(refused);
        list(connection);
        if (refused != Errc{}) fail_connection(connection, Error(refused, "a node that connects"));
        break;
      }
      case TcpChannel::What::opened:
        open(connection, sink);
        break;
      case TcpChannel::What::unit:
        serve(connection, sink);
        break;
    }
  }
}

void TcpEndpoint::list(TcpConnection& connection) {
  if (connection.is_listed) return;
  connection.is_listed = true;
  listed_.push_back(&connection);
}

void TcpEndpoint::flush_listed() {
  for (TcpConnection* const connection : listed_) {
    connection->is_listed = false;
    if (!connection->is_blocked && !connection->failure) flush(*connection);
  }
  listed_.clear();
}

void TcpEndpoint::flush(TcpConnection& connection) {
  TcpChannel& channel = connection.channel;
  bool is_blocked = false;
  while (!is_blocked && channel.queued() > 0) {
    const Bytes bytes = channel.to_write();
    const Result<std::size_t> count = connection.socket->write(bytes);
    if (!count) {
      fail_connection(connection, count.error());
      return;
    }
    is_blocked = *count < bytes.size();
    channel.written(*count);
    connection.quiet_polls = 0;  // an answer is likely
  }
  if (is_blocked == connection.is_blocked) return;
  connection.is_blocked = is_blocked;
  blocked_ += is_blocked ? 1 : -1;
  if (!connection.is_watched) return watch_again(connection);
  const auto changed = poller_->change(*connection.socket, connection.number, is_blocked);
  if (!changed) fail_connection(connection, changed.error());
}

void TcpEndpoint::fail_connection(TcpConnection& connection, const Error& why) noexcept {
  if (connection.failure) return;
  connection.failure = why;
  any_failed_ = true;
}

/// Says what became of it; the connection itself is left to settle().
void TcpEndpoint::report(TcpConnection& connection, Sink& sink) {
  const Error why = *connection.failure;
  const bool was_open = connection.phase == TcpConnection::Phase::open;
  const NodeId meant =
      connection.dialled ? connection.channel.target() : connection.channel.peer().node;
  const auto found = peers_.find(was_open ? connection.channel.peer().node : meant);
  if (found != peers_.end()) {
    if (found->second.connection == &connection) found->second.connection = nullptr;
    if (connection.dialled && !was_open) found->second.is_dialling = false;
  }
  if (connection.dialled && meant == NodeId::nobody && peers_.contains(meant)) {
    peers_[meant].is_dialling = false;
  }
  connection.is_reported = true;
  if (!was_open) {
    sink.on_refused(meant, why);
    return;
  }
  const Error unknown(Errc::connection_lost, "with the operation under way", why.detail());
  while (!connection.pending.empty()) {
    sink.on_completed(connection.pending.pop().op, std::unexpected(unknown));
  }
  sink.on_lost(connection.channel.peer(), why);
}

bool TcpEndpoint::settle(std::uint64_t now_ns, Sink& sink) {
  if (!any_failed_) return false;
  // What is reported may end further ones: they come at the next poll().
  any_failed_ = false;
  std::vector<std::unique_ptr<TcpConnection>> ended;
  for (auto it = connections_.begin(); it != connections_.end();) {
    TcpConnection& connection = *it->second;
    if (!connection.failure) {
      ++it;
      continue;
    }
    if (connection.is_watched) poller_->remove(*connection.socket);
    if (connection.is_blocked) --blocked_;
    std::erase(hot_, &connection);
    std::erase(listed_, &connection);
    ended.push_back(std::move(it->second));
    it = connections_.erase(it);
  }
  for (const auto& connection : ended) {
    // A refusal, and why. If the system does not take it at once, the peer sees the end alone.
    if (connection->phase != TcpConnection::Phase::connecting && !connection->is_blocked) {
      const Bytes last = connection->channel.to_write();
      if (!last.empty()) (void)connection->socket->write(last);
    }
  }
  for (const auto& connection : ended) {
    const bool was_open = connection->phase == TcpConnection::Phase::open;
    const bool meant_anybody =
        connection->dialled && connection->channel.target() == NodeId::nobody;
    const NodeId node = was_open || !connection->dialled ? connection->channel.peer().node
                                                         : connection->channel.target();
    if (!connection->is_reported) report(*connection, sink);
    if (const auto anybody = peers_.find(NodeId::nobody);
        meant_anybody && was_open && anybody != peers_.end()) {
      schedule_dial(NodeId::nobody, anybody->second, now_ns);
      if (!anybody->second.address) peers_.erase(anybody);
    }
    const auto found = peers_.find(node);
    if (found == peers_.end()) continue;
    Peer& peer = found->second;
    if (!peer.address && peer.connection == nullptr && !peer.is_dialling) {
      peers_.erase(found);
    } else if (connection->dialled || connection->phase == TcpConnection::Phase::open) {
      schedule_dial(node, peer, now_ns);
    }
  }
  return true;
}

}  // namespace dolmen::fabric
