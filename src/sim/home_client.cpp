// SPDX-License-Identifier: Apache-2.0
#include "sim/home_client.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "node/directory_machine.hpp"

namespace dolmen::sim {

using replication::EnvelopeKind;

HomeClient::HomeClient(SimFabric& fabric, SimEndpointOptions endpoint, ClusterClient::Place place,
                       const cluster::IndexGeometry& geometry, HomeOracle& oracle,
                       std::uint64_t seed)
    : fabric_(fabric),
      place_(std::move(place)),
      geometry_(geometry),
      hints_(geometry),
      oracle_(oracle),
      random_(seed),
      endpoint_(fabric.make(endpoint)) {}

std::uint64_t HomeClient::turn() {
  const auto polled = endpoint_->poll(*this);
  if (!polled) violation_ = polled.error().message();
  const std::uint64_t now_ns = fabric_.now_ns();
  if (doing_ == Doing::learning) {
    led_ = node::choose_copies(copies_);
    if (led_) {
      lease_.begin(led_->epoch.epoch);
      look_up();
    } else if (now_ns >= patience_end_ns_) {
      ends();
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
  if (doing_ == Doing::nothing) {
    if (is_resting_) return ~std::uint64_t{0};
    if (now_ns < not_before_ns_) return not_before_ns_;
    begin();
  }
  // What completed at once is looked at at once.
  if (doing_ == Doing::reading && under_way_ == 0) return now_ns + 1;
  return doing_ == Doing::nothing ? not_before_ns_ : patience_end_ns_;
}

void HomeClient::begin() {
  const auto id = oracle_.pick(random_);
  if (!id) return ends();
  id_ = *id;
  if (led_) {
    look_up();
  } else {
    learn();
  }
}

void HomeClient::learn() {
  copies_.clear();
  for (const fabric::NodeId node : place_.members) {
    if (const auto to = endpoint_->connected(node)) send(*to, EnvelopeKind::ask_memory, {});
  }
  doing_ = Doing::learning;
  patience_end_ns_ = fabric_.now_ns() + random_.between(kMs, 30 * kMs);
}

void HomeClient::look_up() {
  before_ = oracle_.told(id_);
  const std::uint64_t now_ns = clock_ns();
  if (place_.has_lease) {
    if (const auto ask = lease_.ask(now_ns)) {
      send(led_->lines.front().name, EnvelopeKind::ask_lease, encode(*ask));
    }
  }
  const bool is_by_lease = place_.has_lease && now_ns < lease_.until_ns();
  lookup_.emplace(geometry_, node::kDirectoryEpoch, hints_, id_,
                  is_by_lease ? cluster::ReadLevel::lease : cluster::ReadLevel::epoch,
                  is_by_lease ? cluster::LedEpoch{} : led_->epoch);
  issue();
}

void HomeClient::issue() {
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

void HomeClient::arrived() {
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
  const LookupState state = lookup_->arrived(pieces, times);
  if (state == LookupState::reading) return issue();
  if (state == LookupState::deposed) {
    led_.reset();
    return learn();
  }
  if (state == LookupState::found || state == LookupState::absent) {
    std::optional<cluster::DirectoryEntry> entry;
    if (state == LookupState::found) entry = cluster::entry_of(lookup_->home());
    ++answered_;
    if (is_by_lease) ++read_by_lease_;
    if (std::string why = oracle_.judge(id_, before_, entry); !why.empty()) {
      violation_ = std::move(why);
    }
  }
  ends();
}

void HomeClient::ends() {
  doing_ = Doing::nothing;
  not_before_ns_ = fabric_.now_ns() + 1 + random_.below(5 * kMs);  // it thinks
}

void HomeClient::send(const fabric::NodeName& to, EnvelopeKind kind, base::Bytes body) {
  const std::vector<std::byte> head = encode(
      replication::Envelope{.kind = kind,
                            .group = place_.group,
                            .shown = place_.shown ? place_.shown() : replication::Capability{}});
  const std::array<base::Bytes, 2> parts{head, body};
  (void)endpoint_->send(to, parts);
}

void HomeClient::on_lost(const fabric::NodeName& peer, const Error& /*why*/) {
  copies_.erase(peer.node);
  if (led_ && std::ranges::any_of(led_->lines, [&](const auto& one) { return one.name == peer; })) {
    led_.reset();
  }
}

void HomeClient::on_completed(fabric::OpId op, const Result<std::uint64_t>& former) {
  has_failed_[static_cast<std::size_t>(op)] = !former;
  --under_way_;
}

void HomeClient::on_message(const fabric::NodeName& from, base::Bytes message) {
  const auto opened = replication::decode_envelope(message);
  if (!opened) {
    violation_ = opened.error().message();
  } else if (opened->envelope.kind == EnvelopeKind::memory) {
    const auto said = replication::decode_memory_reply(opened->body);
    if (!said) violation_ = said.error().message();
    if (said) copies_[from.node] = {from, opened->envelope.from, *said};
  } else if (opened->envelope.kind == EnvelopeKind::lease) {
    const auto told = replication::decode_lease_told(opened->body);
    if (!told) violation_ = told.error().message();
    if (told && led_ && from == led_->lines.front().name) lease_.told(clock_ns(), *told);
  }
}

}  // namespace dolmen::sim
