// SPDX-License-Identifier: Apache-2.0
//
// Inside of node_world.hpp: a client that asks one group for what it may not have. It either has no
// right, and shows one; or has it, and uses the session of somebody else. Whatever it is given is a
// violation.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "fabric/fabric.hpp"
#include "replication/envelope.hpp"
#include "sim/sim_fabric.hpp"
#include "sim/tally.hpp"

namespace dolmen::sim {

class Intruder final : private fabric::Sink {
 public:
  struct Session {
    std::uint64_t number = 0;  ///< 0: none yet
    std::uint64_t sequence = 0;
  };
  struct Place {
    replication::GroupId group;
    std::vector<fabric::NodeId> members;
    std::function<replication::Capability()> shown{};
    std::function<Session()> victim{};  ///< empty: it opens sessions, reads, and asks for memory
  };

  Intruder(SimFabric& fabric, SimEndpointOptions endpoint, Place place, std::uint64_t seed)
      : fabric_(fabric),
        place_(std::move(place)),
        random_(seed),
        endpoint_(fabric.make(std::move(endpoint))) {}

  /// Does what is to be done now; the time of the next turn, if nothing arrives before.
  std::uint64_t turn() {
    const auto polled = endpoint_->poll(*this);
    if (!polled) violation_ = polled.error().message();
    const std::uint64_t now_ns = fabric_.now_ns();
    if (is_resting_) return ~std::uint64_t{0};
    if (now_ns < next_ns_) return next_ns_;
    next_ns_ = now_ns + 1 + random_.below(40'000'000);
    const auto to = endpoint_->connected(place_.members[random_.below(place_.members.size())]);
    if (to) ask(*to);
    return next_ns_;
  }
  void rest() { is_resting_ = true; }
  [[nodiscard]] bool is_done() const { return is_resting_; }
  [[nodiscard]] const std::string& violation() const { return violation_; }
  [[nodiscard]] std::uint64_t answered() const { return 0; }
  /// How often it was told that it may not.
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

 private:
  using Kind = replication::EnvelopeKind;

  void ask(const fabric::NodeName& to) {
    ++number_;
    if (place_.victim) {
      const Session session = place_.victim();
      if (session.number == 0) return;
      const std::vector<std::byte> command = Tally::add(1, 0);
      // The next one of the session, one that it had, or one far ahead.
      const std::uint64_t sequence = session.sequence + random_.below(3);
      replication::Request request{.number = number_,
                                   .session = session.number,
                                   .sequence = std::max<std::uint64_t>(sequence, 1)};
      // What became of it is nobody else's to ask either: that would give up what is under way.
      const bool is_question = random_.chance(1, 3);
      if (!is_question) request.command = command;
      return send(to, is_question ? Kind::ask_outcome : Kind::request, encode(request));
    }
    switch (random_.below(3)) {
      case 0:
        return send(to, Kind::request, encode(replication::Request{.number = number_}));
      case 1:
        return send(to, Kind::read_request,
                    encode(replication::ReadRequest{
                        .number = number_,
                        .level = random_.chance(1, 2) ? replication::ReadLevel::stale
                                                      : replication::ReadLevel::linearizable}));
      default:
        return send(to, Kind::ask_memory, {});
    }
  }
  void send(const fabric::NodeName& to, Kind kind, base::Bytes body) {
    const std::vector<std::byte> head =
        encode(replication::Envelope{.kind = kind, .group = place_.group, .shown = place_.shown()});
    const std::array<base::Bytes, 2> parts{head, body};
    (void)endpoint_->send(to, parts);
  }

  void on_connected(const fabric::NodeName& /*peer*/) override {}
  void on_lost(const fabric::NodeName& /*peer*/, const Error& /*why*/) override {}
  void on_refused(fabric::NodeId /*who*/, const Error& /*why*/) override {}
  void on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& /*former*/) override {}
  void on_message(const fabric::NodeName& /*from*/, base::Bytes message) override {
    const auto opened = replication::decode_envelope(message);
    if (!opened) {
      violation_ = opened.error().message();
    } else if (opened->envelope.kind == Kind::denied) {
      ++refused_;
    } else if (opened->envelope.kind == Kind::memory) {
      violation_ = "a client without the right is shown a group's memory";
    } else if (const auto reply = replication::decode_reply(opened->body); !reply) {
      violation_ = reply.error().message();
    } else if (reply->status == replication::ReplyStatus::done ||
               reply->status == replication::ReplyStatus::aborted) {
      violation_ = place_.victim ? "a client was answered in another's session"
                                 : "a client without the right was answered";
    } else if (reply->status == replication::ReplyStatus::no_right) {
      ++refused_;
    }
  }

  SimFabric& fabric_;
  const Place place_;
  base::Random random_;
  std::unique_ptr<fabric::Endpoint> endpoint_;
  std::string violation_;
  std::uint64_t number_ = 0;
  std::uint64_t next_ns_ = 0;
  std::uint64_t refused_ = 0;
  bool is_resting_ = false;
};

}  // namespace dolmen::sim
