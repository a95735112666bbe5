// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_streams.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <optional>
#include <span>

#include <dolmen/assert.hpp>

namespace dolmen::sim {
namespace {

std::unexpected<Error> reset() {
  return fail(Errc::connection_lost, "simulated reset", ECONNRESET);
}

}  // namespace

/// One direction of a connection.
struct StreamWorld::Pipe {
  struct Piece {
    std::uint64_t at_ns;
    std::vector<std::byte> bytes;
    std::size_t read = 0;
  };
  std::string from;
  std::string to;
  std::deque<Piece> pieces;
  std::size_t held = 0;       ///< written and not read
  std::uint64_t last_ns = 0;  ///< nothing overtakes what was written before
  std::optional<std::uint64_t> ends_ns;
  std::optional<std::uint64_t> reset_ns;  ///< the reader finds the connection reset
};

/// A connection: out of the dialling host, and back.
struct StreamWorld::Wire {
  std::array<Pipe, 2> pipes;
  std::uint64_t connected_ns = 0;
  bool is_refused = false;
};

struct StreamWorld::Listening {
  struct Caller {
    std::uint64_t at_ns;
    std::shared_ptr<Wire> wire;
  };
  std::deque<Caller> callers;
};

class StreamWorld::Stream final : public sys::Socket {
 public:
  Stream(StreamWorld& world, std::shared_ptr<Wire> wire, std::size_t side)
      : world_(world), wire_(std::move(wire)), side_(side) {}
  ~Stream() override {
    Pipe& in = wire_->pipes[1 - side_];
    Pipe& out = wire_->pipes[side_];
    const std::uint64_t at_ns = world_.arrival_ns(out.from, out.to);
    if (in.held > 0 && !out.reset_ns) out.reset_ns = at_ns;  // it will never be read
    if (!out.ends_ns) out.ends_ns = std::max(at_ns, out.last_ns);
    in.pieces.clear();
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Result<bool> connected() override {
    if (world_.now_ns() < wire_->connected_ns) return false;
    if (wire_->is_refused) {
      return fail(Errc::connection_lost, "simulated host refuses", ECONNREFUSED);
    }
    return true;
  }

  Result<Read> read(base::MutableBytes into) override {
    Pipe& in = wire_->pipes[1 - side_];
    const std::uint64_t now_ns = world_.now_ns();
    if (in.reset_ns && *in.reset_ns <= now_ns) return reset();
    if (in.pieces.empty()) return Read{.ended = in.ends_ns && *in.ends_ns <= now_ns};
    Pipe::Piece& piece = in.pieces.front();
    if (piece.at_ns > now_ns || into.empty()) return Read{};
    const base::Bytes left = base::Bytes(piece.bytes).subspan(piece.read);
    const std::size_t count = world_.piece(std::min(into.size(), left.size()));
    std::copy_n(left.begin(), count, into.begin());
    in.held -= count;
    piece.read += count;
    if (count == left.size()) in.pieces.pop_front();
    return Read{.bytes = count};
  }

  Result<std::size_t> write(base::Bytes bytes) override {
    Pipe& out = wire_->pipes[side_];
    const Pipe& in = wire_->pipes[1 - side_];
    if (in.reset_ns && *in.reset_ns <= world_.now_ns()) return reset();
    if (peer_closed() && in.ends_ns && *in.ends_ns <= world_.now_ns()) {
      return fail(Errc::connection_lost, "simulated end", EPIPE);
    }
    if (world_.random_.below(1'000'000) < world_.faults_.reset_ppm) {
      ++world_.resets_;
      for (Pipe& pipe : wire_->pipes) pipe.reset_ns = world_.arrival_ns(pipe.from, pipe.to);
      wire_->pipes[1 - side_].reset_ns = world_.now_ns();
      return reset();
    }
    const std::size_t room = world_.faults_.window - std::min(world_.faults_.window, out.held);
    if (bytes.empty() || room == 0) return std::size_t{0};
    const std::size_t count = world_.piece(std::min(bytes.size(), room));
    out.last_ns = std::max(out.last_ns, world_.arrival_ns(out.from, out.to));
    const base::Bytes taken = bytes.first(count);
    out.pieces.push_back({.at_ns = out.last_ns, .bytes = {taken.begin(), taken.end()}});
    out.held += count;
    return count;
  }

  [[nodiscard]] bool is_readable() const {
    const Pipe& in = wire_->pipes[1 - side_];
    const std::uint64_t now_ns = world_.now_ns();
    if (now_ns < wire_->connected_ns) return false;
    if (wire_->is_refused || (in.reset_ns && *in.reset_ns <= now_ns)) return true;
    if (!in.pieces.empty()) return in.pieces.front().at_ns <= now_ns;
    return in.ends_ns && *in.ends_ns <= now_ns;
  }
  [[nodiscard]] bool is_writable() const {
    if (world_.now_ns() < wire_->connected_ns) return false;
    return wire_->is_refused || wire_->pipes[side_].held < world_.faults_.window || is_readable();
  }

 private:
  [[nodiscard]] bool peer_closed() const { return wire_->pipes[1 - side_].ends_ns.has_value(); }

  StreamWorld& world_;
  const std::shared_ptr<Wire> wire_;
  const std::size_t side_;
};

class StreamWorld::Door final : public sys::Listener {
 public:
  Door(StreamWorld& world, sys::NetworkAddress address, std::shared_ptr<Listening> listening)
      : world_(world), address_(std::move(address)), listening_(std::move(listening)) {}
  ~Door() override {
    // Who was connected by the system and never accepted is reset.
    for (const Listening::Caller& caller : listening_->callers) {
      Pipe& out = caller.wire->pipes[1];
      out.reset_ns = world_.arrival_ns(out.from, out.to);
    }
    world_.listening_.erase(address_);
  }
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  [[nodiscard]] const sys::NetworkAddress& address() const noexcept override { return address_; }
  Result<std::unique_ptr<sys::Socket>> accept() override {
    const auto ready = find();
    if (ready == listening_->callers.end()) return std::unique_ptr<sys::Socket>();
    auto wire = ready->wire;
    listening_->callers.erase(ready);
    return std::make_unique<Stream>(world_, std::move(wire), 1);
  }
  [[nodiscard]] bool is_readable() { return find() != listening_->callers.end(); }

 private:
  [[nodiscard]] std::deque<Listening::Caller>::iterator find() {
    return std::ranges::find_if(listening_->callers, [&](const Listening::Caller& caller) {
      return caller.at_ns <= world_.now_ns();
    });
  }

  StreamWorld& world_;
  const sys::NetworkAddress address_;
  const std::shared_ptr<Listening> listening_;
};

class StreamWorld::Watch final : public sys::Poller {
 public:
  Result<void> add(sys::Socket& socket, std::uint64_t tag, bool writable) override {
    DOLMEN_ASSERT(streams_.emplace(&socket, Wanted{tag, writable}).second);
    return {};
  }
  Result<void> add(sys::Listener& listener, std::uint64_t tag) override {
    DOLMEN_ASSERT(doors_.emplace(&listener, tag).second);
    return {};
  }
  Result<void> change(sys::Socket& socket, std::uint64_t tag, bool writable) override {
    streams_.at(&socket) = {tag, writable};
    return {};
  }
  void remove(sys::Socket& socket) noexcept override {
    DOLMEN_ASSERT_CMP(streams_.erase(&socket), ==, 1u);
  }
  void remove(sys::Listener& listener) noexcept override {
    DOLMEN_ASSERT_CMP(doors_.erase(&listener), ==, 1u);
  }
  Result<Ready> wait(std::span<Event> events, std::uint64_t) override {
    std::vector<Event> found;
    for (const auto& [socket, wanted] : streams_) {
      const auto& stream = static_cast<const Stream&>(*socket);
      const Event event{.tag = wanted.tag,
                        .readable = stream.is_readable(),
                        .writable = wanted.writable && stream.is_writable()};
      if (event.readable || event.writable) found.push_back(event);
    }
    for (const auto& [listener, tag] : doors_) {
      if (static_cast<Door&>(*listener).is_readable()) found.push_back({tag, true, false});
    }
    // By tag and not by where a socket lies in memory; whoever was left out has its turn next.
    std::ranges::sort(found, {}, &Event::tag);
    const auto after = std::ranges::upper_bound(found, last_tag_, {}, &Event::tag);
    std::ranges::rotate(found, after);
    const std::size_t count = std::min(events.size(), found.size());
    std::copy_n(found.begin(), count, events.begin());
    if (count > 0) last_tag_ = events[count - 1].tag;
    return Ready{.events = count, .woken = std::exchange(woken_, false)};
  }
  void wake() noexcept override { woken_ = true; }

 private:
  struct Wanted {
    std::uint64_t tag;
    bool writable;
  };
  std::map<sys::Socket*, Wanted> streams_;
  std::map<sys::Listener*, std::uint64_t> doors_;
  std::uint64_t last_tag_ = 0;
  bool woken_ = false;
};

class StreamWorld::Host final : public sys::Network {
 public:
  Host(StreamWorld& world, std::string address) : world_(world), address_(std::move(address)) {}

  /// Hosts here have no other names.
  Result<std::vector<std::string>> resolve(const std::string& host) override {
    if (world_.hosts_.contains(host)) return std::vector{host};
    return fail(Errc::not_found, interned(host + ": no simulated host"));
  }

  Result<std::unique_ptr<sys::Listener>> listen(const sys::NetworkAddress& address) override {
    if (address.host != address_) return fail(Errc::io_error, "not an address of this host");
    sys::NetworkAddress actual = address;
    if (actual.port == 0) actual.port = world_.next_port_++;
    if (world_.listening_.contains(actual)) return fail(Errc::already_exists, "simulated port");
    auto listening = std::make_shared<Listening>();
    world_.listening_.emplace(actual, listening);
    return std::make_unique<Door>(world_, actual, std::move(listening));
  }

  Result<std::unique_ptr<sys::Socket>> connect(const sys::NetworkAddress& address) override {
    auto wire = std::make_shared<Wire>();
    wire->pipes[0].from = wire->pipes[1].to = address_;
    wire->pipes[0].to = wire->pipes[1].from = address.host;
    const std::uint64_t there_ns = world_.arrival_ns(address_, address.host);
    // The answer to what arrives there: another way through the network, later.
    const std::uint64_t back_ns = world_.arrival_ns(address.host, address_);
    wire->connected_ns = there_ns + (back_ns - world_.now_ns());
    const auto found = world_.listening_.find(address);
    if (found == world_.listening_.end()) {
      wire->is_refused = true;
    } else {
      found->second->callers.push_back({there_ns, wire});
    }
    return std::make_unique<Stream>(world_, std::move(wire), 0);
  }

  Result<std::unique_ptr<sys::Poller>> make_poller() override { return std::make_unique<Watch>(); }

 private:
  StreamWorld& world_;
  const std::string address_;
};

StreamWorld::StreamWorld(SimClock& clock, std::uint64_t seed) : clock_(clock), random_(seed) {}
StreamWorld::~StreamWorld() { DOLMEN_ASSERT(listening_.empty()); }

sys::Network& StreamWorld::host(const std::string& address) {
  auto& host = hosts_[address];
  if (!host) host = std::make_unique<Host>(*this, address);
  return *host;
}

void StreamWorld::cut(const std::string& from, const std::string& to, std::uint64_t length_ns) {
  std::uint64_t& until_ns = cuts_[{from, to}];
  until_ns = std::max(until_ns, now_ns() + length_ns);
}

std::uint64_t StreamWorld::arrival_ns(const std::string& from, const std::string& to) {
  const auto found = cuts_.find({from, to});
  const std::uint64_t leaves_ns =
      found == cuts_.end() ? now_ns() : std::max(now_ns(), found->second);
  return leaves_ns + random_.between(faults_.delay_min_ns, faults_.delay_max_ns);
}

std::size_t StreamWorld::piece(std::size_t bytes) {
  const std::size_t most = std::min(bytes, faults_.piece_max);
  // Whole ones as well as cut ones, so that both cases are common.
  return random_.chance(1, 2) ? most : random_.between(1, most);
}

}  // namespace dolmen::sim
