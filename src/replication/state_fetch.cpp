// SPDX-License-Identifier: Apache-2.0
#include "replication/state_fetch.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/hooks.hpp"

namespace dolmen::replication {

StateFetch::StateFetch(StateMachine& machine, const StateTransferOptions& options,
                       sys::Entropy& entropy, const log::SnapshotPtr& wanted, base::Bytes reference)
    : machine_(machine), options_(options), entropy_(entropy) {
  want(wanted, reference);
}

void StateFetch::want(const log::SnapshotPtr& wanted, base::Bytes reference) {
  if (latest_.snapshot && wanted->last().index < latest_.snapshot->last().index) return;
  latest_ = {.snapshot = wanted, .reference = {reference.begin(), reference.end()}};
}

log::SnapshotPtr StateFetch::arrived() const {
  if (machine_.has_state(latest_.reference)) return latest_.snapshot;
  return is_done_ ? fetched_.snapshot : nullptr;
}

void StateFetch::begin_again() {
  sink_.reset();
  parts_.clear();
  is_done_ = false;
  is_gone_ = false;
  is_waiting_ = false;
}

void StateFetch::take(std::uint64_t now_ns, log::ReplicaId from, const StatePart& part) {
  if (!sink_ || from != source_ || part.transfer != transfer_) return;
  heard_ns_ = now_ns;
  if (part.status != StateStatus::part) {
    // Who has everything needs the source no more.
    bool has_all = end_ != ~std::uint64_t{0};
    for (std::uint64_t number = next_; has_all && number <= end_; ++number) {
      const auto one = parts_.find(number);
      has_all = one != parts_.end() && one->second.is_here;
    }
    if (has_all) return;
    is_gone_ = true;
    if (part.status == StateStatus::busy) not_before_ns_ = now_ns + options_.silence_ns / 4;
    return;
  }
  const auto asked = parts_.find(part.part);
  if (asked == parts_.end() || asked->second.is_here) return;
  asked->second.is_here = true;
  if (!spare_.empty()) {
    asked->second.bytes = std::move(spare_.back());
    spare_.pop_back();
  }
  asked->second.bytes.assign(part.bytes.begin(), part.bytes.end());
  if (part.bytes.empty()) end_ = std::min(end_, part.part);
}

Result<void> StateFetch::begin(std::uint64_t now_ns, log::ReplicaId leader) {
  begin_again();
  std::array<std::byte, 8> random{};
  entropy_.fill(random);
  transfer_ = base::load<std::uint64_t>(random) | 1;
  source_ = leader;
  fetched_ = latest_;
  heard_ns_ = now_ns;
  next_ = 0;
  end_ = ~std::uint64_t{0};
  DOLMEN_TRY(sink_, machine_.receive_state(fetched_.reference));
  DOLMEN_PROBE("replication.state_begun");
  return {};
}

/// What has arrived, in order; false: nothing.
Result<bool> StateFetch::store_parts() {
  bool busy = false;
  is_waiting_ = false;
  while (!parts_.empty() && parts_.begin()->first == next_ && parts_.begin()->second.is_here) {
    std::vector<std::byte>& bytes = parts_.begin()->second.bytes;
    DOLMEN_TRY(const bool is_taken, sink_->take_over(bytes));
    if (!is_taken) {
      is_waiting_ = true;
      return busy;
    }
    if (bytes.capacity() > 0 && spare_.size() < options_.window) spare_.push_back(std::move(bytes));
    parts_.erase(parts_.begin());
    ++next_;
    busy = true;
  }
  if (next_ <= end_) return busy;
  DOLMEN_TRY(is_done_, sink_->is_done());
  is_waiting_ = !is_done_;
  return busy || is_done_;
}

Result<bool> StateFetch::ask_on(std::uint64_t now_ns, const Ask& ask) {
  bool busy = false;
  // What else it is to be asked for follows from whether it has anything at all.
  const bool is_narrow =
      (next_ == 0 && parts_.size() <= 1) || DOLMEN_BUGGIFY("replication.state_one_part");
  const std::size_t window = is_narrow ? 1 : options_.window;
  for (std::uint64_t number = next_; number < next_ + window && number <= end_; ++number) {
    auto part = parts_.find(number);
    if (part == parts_.end()) {
      DOLMEN_TRY(auto question, sink_->question(number));
      if (!question) {
        // Of what it has it makes the next one, or else of what it was promised.
        if (parts_.empty()) is_waiting_ = true;
        break;
      }
      part = parts_.try_emplace(number).first;
      part->second.question = std::move(*question);
    }
    auto& [asked_ns, is_here, question, bytes] = part->second;
    if (is_here || (asked_ns != 0 && now_ns < asked_ns + options_.resend_ns)) continue;
    asked_ns = now_ns;
    busy = true;
    ask(source_, {.transfer = transfer_,
                  .part = number,
                  .reference = fetched_.reference,
                  .question = question});
  }
  return busy;
}

Result<bool> StateFetch::go_on(std::uint64_t now_ns, log::ReplicaId leader, const Ask& ask) {
  const bool is_silent = !is_waiting_ && now_ns >= heard_ns_ + options_.silence_ns;
  if (is_done_) return false;
  if (!sink_ || is_gone_ || is_silent) {
    if (leader == log::ReplicaId{} || now_ns < not_before_ns_) return false;
    not_before_ns_ = now_ns + options_.resend_ns;
    if (const auto begun = begin(now_ns, leader); !begun) {
      if (begun.error().code() != Errc::corrupt) return std::unexpected(begun.error());
      // What the leader refers to is none: it goes on saying so, and may know better later.
      DOLMEN_PROBE("replication.state_refused");
      not_before_ns_ = now_ns + options_.silence_ns;
      sink_.reset();
      return false;
    }
  }
  const auto stored = store_parts();
  const auto asked = stored ? ask_on(now_ns, ask) : stored;
  if (!asked) {
    if (asked.error().code() != Errc::corrupt) return asked;
    DOLMEN_PROBE("replication.state_refused");
    is_gone_ = true;
    return true;
  }
  if (*stored || is_waiting_) heard_ns_ = now_ns;
  return *stored || *asked;
}

}  // namespace dolmen::replication
