// SPDX-License-Identifier: Apache-2.0
//
// What a client has under way at once.
#include <algorithm>
#include <utility>

#include "node/replicated_client.hpp"

namespace dolmen {

bool ReplicatedClient::Impl::ask_another(std::uint64_t leader) {
  if (ask_who_leads(leader)) return true;
  ask_next();
  return false;
}

void ReplicatedClient::Impl::look_for_right() {
  // All that are under way may come to that at once.
  if (!link_key || now_ns() < right_asked_ns + kPauseNs) return;
  right_asked_ns = now_ns();
  for (const fabric::NodeId node : nodes) ask_map(node);
}

Result<std::size_t> ReplicatedClient::Impl::go_on(std::uint64_t until_ns) {
  for (;;) {
    DOLMEN_CHECK(look_after_roster());
    calls.advance(now_ns());
    const Result<bool> was_busy = endpoint->poll(*this);
    if (const std::size_t count = calls.tell(); count > 0) {
      calls.advance(now_ns());  // what was begun meanwhile
      return count;
    }
    // Behind what is told: also without a connection the patience of each ends.
    if (!was_busy) return std::unexpected(was_busy.error());
    if (calls.under_way() == 0 || now_ns() >= until_ns) return 0;
    if (!*was_busy) DOLMEN_CHECK(endpoint->wait(std::min(until_ns, calls.wakeup_ns())));
  }
}

Result<void> ReplicatedClient::begin_call(std::vector<std::byte> command, CallTold when_done,
                                          std::chrono::milliseconds patience) {
  return impl_->calls.begin_call(
      std::move(command), Impl::deadline_in(patience),
      [impl = impl_.get(), when_done = std::move(when_done)](Result<node::Calls::Outcome> outcome) {
        const auto& [session, sequence] = impl->calls.told_now();
        impl->last_call = {.group = impl->group.low, .session = session, .sequence = sequence};
        if (!outcome) return when_done(std::unexpected(outcome.error()));
        impl->last_commit = {.index = outcome->index, .level = node::level_of(outcome->level)};
        when_done(ReplicatedAnswer{std::move(outcome->result), impl->last_commit});
      });
}

Result<void> ReplicatedClient::begin_read(std::vector<std::byte> query, ReadTold when_done,
                                          ReadLevel level, std::chrono::milliseconds patience) {
  return impl_->calls.begin_read(
      std::move(query), node::level_of(level), Impl::deadline_in(patience),
      [when_done = std::move(when_done)](Result<node::Calls::Outcome> outcome) {
        if (!outcome) return when_done(std::unexpected(outcome.error()));
        when_done(ReplicatedReading{.result = std::move(outcome->result), .index = outcome->index});
      });
}

Result<std::size_t> ReplicatedClient::go_on(std::chrono::milliseconds wait) {
  return impl_->go_on(Impl::deadline_in(wait));
}

std::size_t ReplicatedClient::under_way() const noexcept { return impl_->calls.under_way(); }

}  // namespace dolmen
