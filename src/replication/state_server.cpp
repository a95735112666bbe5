// SPDX-License-Identifier: Apache-2.0
#include "replication/state_server.hpp"

#include <algorithm>
#include <utility>

#include "base/hooks.hpp"

namespace dolmen::replication {

namespace {

constexpr std::size_t kAskedMax = 64;
constexpr std::size_t kRefusalsMax = 16;

}  // namespace

void StateServer::refuse(log::ReplicaId asker, const fabric::NodeName& to, std::uint64_t transfer,
                         StateStatus status) {
  if (refusals_.size() >= kRefusalsMax) return;
  refusals_.push_back({.asker = asker, .to = to, .transfer = transfer, .status = status});
}

void StateServer::take(std::uint64_t now_ns, log::ReplicaId asker, const fabric::NodeName& from,
                       const AskState& ask, Asker kind) {
  auto sending = std::ranges::find(sendings_, asker, &Sending::asker);
  if (sending != sendings_.end() && sending->transfer != ask.transfer) {
    if (ask.part != 0) return;  // late, of one that it has given up
    sendings_.erase(sending);
    sending = sendings_.end();
  }
  if (sending == sendings_.end()) {
    if (ask.part != 0) return refuse(asker, from, ask.transfer, StateStatus::gone);
    const std::size_t kept = kind == Asker::client ? 1 : 0;
    if (sendings_.size() + kept >= options_.senders_max ||
        DOLMEN_BUGGIFY("replication.state_busy")) {
      return refuse(asker, from, ask.transfer, StateStatus::busy);
    }
    auto source = machine_.send_state(ask.reference, options_.part_bytes);
    if (!source) return refuse(asker, from, ask.transfer, StateStatus::gone);
    DOLMEN_PROBE("replication.state_sent");
    sendings_.push_back(
        {.asker = asker, .transfer = ask.transfer, .source = std::move(*source), .kind = kind});
    sending = std::prev(sendings_.end());
  }
  sending->to = from;
  sending->heard_ns = now_ns;
  const bool is_known =
      std::ranges::find(sending->asked, ask.part, &Sending::Asked::part) != sending->asked.end();
  if (is_known || sending->asked.size() >= kAskedMax) return;
  sending->asked.push_back(
      {.part = ask.part, .question = {ask.question.begin(), ask.question.end()}});
}

bool StateServer::serve(std::uint64_t now_ns, const Send& send) {
  bool busy = !refusals_.empty();
  for (const Refusal& refusal : std::exchange(refusals_, {})) {
    send(refusal.to, refusal.asker, {.transfer = refusal.transfer, .status = refusal.status});
  }
  std::erase_if(sendings_, [&](const Sending& one) {
    return now_ns >= one.heard_ns + 5 * options_.silence_ns;
  });
  is_waiting_ = false;
  for (auto one = sendings_.begin(); one != sendings_.end();) {
    bool is_over = false;
    std::size_t sent = 0;
    while (!one->asked.empty() && sent < options_.turn_bytes) {
      const auto& [number, question] = one->asked.front();
      const auto part = one->source->share(number, question);
      if (!part) {
        send(one->to, one->asker, {.transfer = one->transfer, .status = StateStatus::gone});
        is_over = true;
        break;
      }
      if (!*part) {
        is_waiting_ = true;
        break;
      }
      sent += 1 + (*part)->size();
      send(one->to, one->asker, {.transfer = one->transfer, .part = number, .bytes = **part});
      one->asked.pop_front();
      // A member goes on with the log behind it. A client ends, and others may wait for its place.
      is_over = (*part)->empty() && one->kind == Asker::client;
      if (is_over) break;
    }
    busy |= sent > 0 || is_over;
    one = is_over ? sendings_.erase(one) : std::next(one);
  }
  return busy;
}

}  // namespace dolmen::replication
