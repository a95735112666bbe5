// SPDX-License-Identifier: Apache-2.0
#include "sim/index_client.hpp"

#include <algorithm>
#include <array>

#include "node/index_machine.hpp"

namespace dolmen::sim {

using replication::EnvelopeKind;
using replication::ReplyStatus;

IndexClient::IndexClient(SimFabric& fabric, SimEndpointOptions endpoint, ClusterClient::Place place,
                         const cluster::IndexShape& shape, IndexHistory& history,
                         std::uint64_t seed)
    : fabric_(fabric),
      place_(std::move(place)),
      table_(shape.table),
      geometry_(shape.geometry()),
      tree_(shape.ordered_geometry()),
      history_(history),
      random_(seed),
      remembers_(random_.chance(1, 2)),
      endpoint_(fabric.make(endpoint)) {
  if (geometry_) hints_.emplace(*geometry_);
  if (tree_) tree_hints_.emplace(*tree_);
}

std::vector<std::byte> IndexClient::key_of(cluster::TableKind table, std::uint64_t key) {
  std::vector<std::byte> bytes(8);
  base::store(base::MutableBytes(bytes), 0, key);
  // In the order of their numbers, which are small. Some are longer than a node has of them.
  if (table == cluster::TableKind::ordered) {
    bytes.resize(cluster::kKeyInlineBytes - 60 + key % 4 * 30, std::byte{'k'});
  }
  return bytes;
}

std::uint64_t IndexClient::number_in(base::Bytes value) {
  return value.size() < 8 ? 0 : base::load<std::uint64_t>(value);
}

std::uint64_t IndexClient::turn() {
  const auto polled = endpoint_->poll(*this);
  if (!polled) violation_ = polled.error().message();
  const std::uint64_t now_ns = fabric_.now_ns();
  if (doing_ == Doing::learning) {
    led_ = node::choose_copies(copies_);
    if (led_) {
      // Half of them remember where records were, of some of the keys.
      if (remembers_ && hints_) hints_->places().remember(keys_of(table_) - 1);
      lease_.begin(led_->epoch.epoch);
      look_up();
    } else if (now_ns >= patience_end_ns_) {
      ask();
    }
  }
  if (doing_ == Doing::reading) {
    if (under_way_ == 0) {
      arrived();
    } else if (now_ns >= patience_end_ns_) {
      // It fails then.
      for (const fabric::NodeId node : place_.members) endpoint_->disconnect(node);
      patience_end_ns_ = now_ns + kMs;
    }
  }
  if (doing_ == Doing::asking && now_ns >= patience_end_ns_) look_elsewhere();
  if (doing_ == Doing::nothing) {
    if (now_ns < not_before_ns_) return not_before_ns_;
    if (operations_.empty() && session_ != 0) {
      if (is_resting_) return ~std::uint64_t{0};
      begin();
    } else {
      ask();
    }
  }
  // What completed at once is looked at at once.
  if (doing_ == Doing::reading && under_way_ == 0) return now_ns + 1;
  return doing_ == Doing::nothing ? not_before_ns_ : patience_end_ns_;
}

void IndexClient::begin() {
  key_ = random_.below(keys_of(table_));
  keys_end_ = 0;
  const std::vector<std::byte> key = key_of(table_, key_);
  const std::uint64_t what = random_.below(10);
  is_get_ = what < 6;
  attempts_ = 0;
  if (is_get_) {
    if (is_ordered() && random_.chance(1, 2)) {
      keys_end_ = random_.between(key_ + 1, keys_of(table_));
    }
    for (std::uint64_t one = key_; one < std::max(keys_end_, key_ + 1); ++one) {
      operations_.push_back(history_.invoke(place_.number, {one, RegisterModel::read()}));
    }
    node::IndexRequest request{.asked = key};
    if (keys_end_ != 0) request = {.scan = {{.range = range(), .limit = kScanLimit}}};
    command_ = node::encode(request);
    ++sequence_;
    if (what == 0) return ask();
    return led_ ? look_up() : learn();
  }
  std::uint64_t value = 0;
  node::IndexRequest request;
  if (what < 9) {
    // As long as it is large, so that places in the heap are given to others.
    value = ++values_ * 16 + place_.number;
    std::vector<std::byte> bytes(8 + value % 5 * 40);
    base::store(base::MutableBytes(bytes), 0, value);
    request.changes = {cluster::IndexCommand::put(key, bytes)};
  } else {
    request.changes = {cluster::IndexCommand::erase(key)};
  }
  command_ = node::encode(request);
  operations_ = {history_.invoke(place_.number, {key_, RegisterModel::write(value)})};
  ++sequence_;
  ask();
}

cluster::OrderedRange IndexClient::range() const {
  return {.from = key_of(table_, key_), .to = key_of(table_, keys_end_)};
}

bool IndexClient::send(const fabric::NodeName& to, EnvelopeKind kind, base::Bytes body) {
  const std::vector<std::byte> head =
      encode(replication::Envelope{.kind = kind, .group = place_.group, .shown = shown()});
  const std::array<base::Bytes, 2> parts{head, body};
  return endpoint_->send(to, parts).has_value();
}

// --- in memory -----------------------------------------------------------------------------------

void IndexClient::learn() {
  copies_.clear();
  for (const fabric::NodeId node : place_.members) {
    if (const auto to = endpoint_->connected(node)) (void)send(*to, EnvelopeKind::ask_memory, {});
  }
  doing_ = Doing::learning;
  patience_end_ns_ = fabric_.now_ns() + random_.between(kMs, 30 * kMs);
}

void IndexClient::look_up() {
  if (++attempts_ > kAttemptsMax) return ask();
  const bool is_by_lease = look_after_lease();
  const auto level = is_by_lease ? cluster::ReadLevel::lease : cluster::ReadLevel::epoch;
  const cluster::LedEpoch led = is_by_lease ? cluster::LedEpoch{} : led_->epoch;
  const std::vector<std::byte> key = key_of(table_, key_);
  if (keys_end_ != 0) {
    lookup_ =
        std::make_unique<cluster::OrderedScan>(*tree_, node::kIndexEpoch, *tree_hints_, range(),
                                               kScanLimit, node::kPageBytesMax, level, led);
  } else if (is_ordered()) {
    lookup_ = std::make_unique<cluster::OrderedLookup>(*tree_, node::kIndexEpoch, *tree_hints_, key,
                                                       level, led);
  } else {
    lookup_ = std::make_unique<cluster::IndexLookup>(*geometry_, node::kIndexEpoch, *hints_, key,
                                                     level, led);
  }
  issue();
}

bool IndexClient::look_after_lease() {
  if (!place_.has_lease) return false;
  const std::uint64_t now_ns = clock_ns();
  if (const auto ask = lease_.ask(now_ns)) {
    (void)send(led_->lines.front().name, EnvelopeKind::ask_lease, encode(*ask));
  }
  return now_ns < lease_.until_ns();
}

void IndexClient::issue() {
  doing_ = Doing::reading;
  patience_end_ns_ = fabric_.now_ns() + random_.between(20 * kMs, 300 * kMs);
  const auto reads = lookup_->reads();
  buffers_.assign(reads.size(), {});
  has_failed_.assign(reads.size(), true);
  for (std::size_t i = 0; i < reads.size(); ++i) {
    const cluster::IndexRead& read = reads[i];
    buffers_[i].resize(read.bytes);
    if (!led_) continue;
    const node::IndexCopy& copy = led_->lines[read.line == 0 ? 0 : read.line - 1];
    const std::uint64_t offset =
        read.line == 0 ? replication::kMemoryLineBytes + read.offset : read.offset;
    const fabric::Place from{copy.name, fabric::RegionId{copy.said.region}, offset};
    if (endpoint_->read(fabric::OpId{i}, from, buffers_[i])) ++under_way_;
  }
}

void IndexClient::arrived() {
  using cluster::LookupState;
  std::vector<base::Bytes> pieces;
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    pieces.push_back(has_failed_[i] ? base::Bytes{} : base::Bytes(buffers_[i]));
  }
  cluster::ReadTimes times;
  const bool is_by_lease = lookup_->level() == cluster::ReadLevel::lease;
  if (is_by_lease && led_) {
    times = {.completed_ns = clock_ns(), .lease_until_ns = lease_.until_ns()};
  }
  const cluster::LookupState state = lookup_->arrived(pieces, times);
  const bool is_answer =
      state == cluster::LookupState::found || state == cluster::LookupState::absent;
  if (is_answer && is_by_lease) ++read_by_lease_;
  switch (state) {
    case LookupState::reading:
      return issue();
    case LookupState::found:
      ++read_afar_;
      if (keys_end_ != 0) {
        ++scanned_;
        return ends(static_cast<cluster::OrderedScan&>(*lookup_).page());
      }
      if (is_ordered()) {
        return ends(number_in(static_cast<cluster::OrderedLookup&>(*lookup_).value()));
      }
      if (lookup_->round_trips() == 1) ++read_in_one_;
      return ends(number_in(static_cast<cluster::IndexLookup&>(*lookup_).value()));
    case LookupState::absent:
      ++read_afar_;
      return ends(0);
    case LookupState::deposed:
      led_.reset();
      return attempts_ < kAttemptsMax ? learn() : ask();
    case LookupState::ask:
    case LookupState::wrong_epoch:
      return ask();
  }
}

void IndexClient::on_completed(fabric::OpId op, const Result<std::uint64_t>& former) {
  has_failed_[static_cast<std::size_t>(op)] = !former;
  --under_way_;
}

void IndexClient::on_lost(const fabric::NodeName& peer, const Error& /*why*/) {
  copies_.erase(peer.node);
  if (led_ && std::ranges::any_of(led_->lines, [&](const auto& one) { return one.name == peer; })) {
    led_.reset();
  }
}

// --- by message ----------------------------------------------------------------------------------

void IndexClient::ask() {
  const auto to = endpoint_->connected(place_.members[member_]);
  const bool is_opening = session_ == 0;
  const replication::Request request{.number = ++asked_,
                                     .session = session_,
                                     .sequence = is_opening ? 0 : sequence_,
                                     .command = is_opening ? base::Bytes{} : base::Bytes(command_)};
  if (!to || !send(*to, EnvelopeKind::request, encode(request))) return look_elsewhere();
  doing_ = Doing::asking;
  patience_end_ns_ = fabric_.now_ns() + random_.between(20 * kMs, 300 * kMs);
}

void IndexClient::look_elsewhere() {
  doing_ = Doing::nothing;
  member_ = random_.below(place_.members.size());
  not_before_ns_ = fabric_.now_ns() + 1 + random_.below(10 * kMs);
}

void IndexClient::take(const replication::Reply& reply) {
  switch (reply.status) {
    case ReplyStatus::done:
      if (session_ == 0) {
        session_ = reply.value;
        doing_ = Doing::nothing;
        return;
      }
      if (keys_end_ != 0) {
        const auto page = node::decode_index_page(reply.result);
        if (!page) violation_ = page.error().message();
        return ends(page ? *page : cluster::OrderedPage{.is_last = true});
      }
      if (is_get_) {
        const auto value = node::decode_index_value(reply.result);
        if (!value) violation_ = value.error().message();
        return ends(value && *value ? number_in(**value) : 0);
      } else {
        const auto outcomes = node::decode_index_outcomes(reply.result, 1);
        if (!outcomes) violation_ = outcomes.error().message();
        if (outcomes && outcomes->front() == cluster::IndexOutcome::no_space) {
          violation_ = "a table that has room is full";
        }
        return ends(std::nullopt);
      }
    case ReplyStatus::not_leader:
      look_elsewhere();
      for (std::size_t i = 0; i < place_.members.size(); ++i) {
        if (static_cast<std::uint64_t>(place_.members[i]) == reply.value) member_ = i;
      }
      return;
    case ReplyStatus::busy:
    case ReplyStatus::lost:
    case ReplyStatus::stale:
      return look_elsewhere();
    case ReplyStatus::no_right:
    case ReplyStatus::expired:
    case ReplyStatus::refused:
    case ReplyStatus::aborted:
      violation_ = "a session that is in use stays, and nothing is refused here";
  }
}

void IndexClient::ends(std::optional<std::uint64_t> read) {
  MapModel::Operation& operation = history_.respond(operations_.front());
  if (read) operation.inner.value = *read;
  rests();
}

/// What is not in it was not there. Each key for itself: no moment had to be the same.
void IndexClient::ends(const cluster::OrderedPage& page) {
  std::map<std::vector<std::byte>, std::uint64_t> found;
  for (const cluster::OrderedEntry& entry : page.entries) {
    if (!found.empty() && entry.key <= found.rbegin()->first) violation_ = "a scan without order";
    found.emplace(entry.key, number_in(entry.value));
  }
  if (!page.is_last) violation_ = "a scan that ended before its end";
  for (std::size_t i = 0; i < operations_.size(); ++i) {
    const auto one = found.extract(key_of(table_, key_ + i));
    history_.respond(operations_[i]).inner.value = one.empty() ? 0 : one.mapped();
  }
  if (!found.empty()) violation_ = "a scan found what nobody put into its range";
  rests();
}

void IndexClient::rests() {
  operations_.clear();
  ++answered_;
  doing_ = Doing::nothing;
  not_before_ns_ = fabric_.now_ns() + random_.below(5 * kMs);  // it thinks
}

void IndexClient::on_message(const fabric::NodeName& from, base::Bytes message) {
  const auto opened = replication::decode_envelope(message);
  if (!opened) {
    violation_ = opened.error().message();
  } else if (opened->envelope.kind == EnvelopeKind::denied) {
    const auto denied = replication::decode_denied(opened->body);
    if (!denied || denied->why != replication::Right::stale) violation_ = "the right is there";
  } else if (opened->envelope.kind == EnvelopeKind::memory) {
    const auto said = replication::decode_memory_reply(opened->body);
    if (!said) violation_ = said.error().message();
    if (said) copies_[from.node] = {from, opened->envelope.from, *said};
  } else if (opened->envelope.kind == EnvelopeKind::lease) {
    const auto told = replication::decode_lease_told(opened->body);
    if (!told) violation_ = told.error().message();
    if (told && led_ && from == led_->lines.front().name) lease_.told(clock_ns(), *told);
  } else if (const auto reply = replication::decode_reply(opened->body); !reply) {
    violation_ = reply.error().message();
  } else if (doing_ == Doing::asking && reply->number == asked_) {
    take(*reply);
  }
}

}  // namespace dolmen::sim
