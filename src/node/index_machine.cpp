// SPDX-License-Identifier: Apache-2.0
#include "node/index_machine.hpp"

#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "sys/linux/linux.hpp"

namespace dolmen::node {

namespace {

using cluster::IndexCommand;
using cluster::IndexKind;
using cluster::IndexOutcome;

constexpr std::uint8_t kAsks = 1;
constexpr std::uint8_t kChanges = 2;

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "a request to an index"); }

}  // namespace

std::vector<std::byte> encode(const IndexRequest& request) {
  base::ByteWriter out;
  if (request.asked) {
    out.put(kAsks);
    out.put_bytes(*request.asked);
    return out.release();
  }
  DOLMEN_ASSERT_CMP(request.changes.size(), <=, kIndexChangesMax);
  out.put(kChanges);
  out.put(request.release);
  for (const IndexCommand& change : request.changes) {
    const auto bytes = encode_index_command(change, IndexKind::records);
    out.put(static_cast<std::uint32_t>(bytes.size()));
    out.put_bytes(bytes);
  }
  return out.release();
}

Result<IndexRequest> decode_index_request(base::Bytes bytes) {
  base::ByteReader in(bytes);
  const auto kind = in.get<std::uint8_t>();
  IndexRequest request;
  if (kind == kAsks) {
    const base::Bytes key = in.take(in.remaining());
    if (in.failed() || !cluster::is_possible_record(key.size(), 0)) return damaged();
    request.asked.emplace(key.begin(), key.end());
    return request;
  }
  if (kind != kChanges) return damaged();
  request.release = in.get<log::Index>();
  while (!in.failed() && in.remaining() > 0) {
    if (request.changes.size() == kIndexChangesMax) return damaged();
    const base::Bytes one = in.take(in.get<std::uint32_t>());
    if (in.failed()) return damaged();
    auto change = cluster::decode_index_command(one, IndexKind::records);
    if (!change) return damaged();
    if (change->kind != IndexCommand::Kind::put && change->kind != IndexCommand::Kind::erase) {
      return damaged();
    }
    request.changes.push_back(std::move(*change));
  }
  if (in.failed()) return damaged();
  return request;
}

Result<std::optional<std::vector<std::byte>>> decode_index_value(base::Bytes reply) {
  if (reply.empty() || reply[0] > std::byte{1}) return damaged();
  const bool is_there = reply[0] == std::byte{1};
  if (!is_there && reply.size() > 1) return damaged();
  if (!is_there) return std::nullopt;
  return std::vector<std::byte>(reply.begin() + 1, reply.end());
}

Result<std::vector<IndexOutcome>> decode_index_outcomes(base::Bytes reply, std::size_t count) {
  if (reply.size() != count) return damaged();
  std::vector<IndexOutcome> outcomes;
  for (const std::byte one : reply) {
    if (one >= std::byte{static_cast<std::uint8_t>(IndexOutcome::done)}) return damaged();
    outcomes.push_back(static_cast<IndexOutcome>(one));
  }
  return outcomes;
}

Result<cluster::IndexGeometry> IndexMachine::geometry_of(const IndexShardOptions& options) {
  const auto geometry =
      cluster::geometry_for(options.bucket_bytes, options.record_bytes, options.seed);
  if (geometry && options.grace.count() >= 0) return *geometry;
  // Which of the two it is: with the least of the other.
  if (cluster::geometry_for(options.bucket_bytes, 0, 0) && options.grace.count() >= 0) {
    return fail(Errc::invalid_argument, "record_bytes of an index", options.record_bytes);
  }
  return fail(Errc::invalid_argument, "bucket_bytes of an index", options.bucket_bytes);
}

std::size_t IndexMachine::memory_bytes() const { return geometry_.region_bytes(); }

void IndexMachine::use_memory(std::span<std::byte> memory) {
  DOLMEN_ASSERT(memory.size() == memory_bytes());
  memory_ = memory;
  index_.reset();
  is_used_ = false;
}

/// As the table wants it. What others may have seen becomes nothing, word by word.
void IndexMachine::clear() {
  if (memory_.empty()) {
    own_.resize(memory_bytes() / 8);
    memory_ = std::as_writable_bytes(std::span(own_));
  }
  if (is_used_) cluster::IndexMemory(memory_, geometry_).clear(0, memory_.size());
  is_used_ = true;
}

void IndexMachine::reset() {
  clear();
  auto made = cluster::HashIndex::make(memory_, geometry_, kIndexEpoch);
  DOLMEN_ASSERT(made && "the geometry was looked at");
  index_.emplace(std::move(*made));
  marked_ = 0;
}

std::vector<std::byte> IndexMachine::snapshot() const { return index_->snapshot(); }

Result<void> IndexMachine::restore(Bytes state) {
  if (!index_) reset();
  marked_ = 0;
  return index_->restore(state);
}

/// The table counts what it applies itself, in the same order on all members.
IndexOutcome IndexMachine::apply(const IndexCommand& command) {
  return index_->apply(index_->applied() + 1, command);
}

std::vector<std::byte> IndexMachine::apply(Bytes command) {
  const auto request = decode_index_request(command);
  if (!request) return {};  // by all members alike
  std::vector<std::byte> reply;
  if (request->asked) {
    const auto value = index_->find(*request->asked);
    reply.push_back(value ? std::byte{1} : std::byte{0});
    if (value) reply.insert(reply.end(), value->begin(), value->end());
    return reply;
  }
  if (request->release > 0) (void)apply(IndexCommand::release(request->release));
  for (const IndexCommand& change : request->changes) {
    reply.push_back(std::byte{static_cast<std::uint8_t>(apply(change))});
  }
  return reply;
}

Result<std::vector<std::byte>> IndexMachine::effect_of(Bytes request) {
  DOLMEN_TRY(IndexRequest made, decode_index_request(request));
  if (made.release != 0) return fail(Errc::invalid_argument, "a client's release");
  // Whoever leads lets memory be used again that nobody leads to since a grace or longer.
  const std::uint64_t now_ns = clock_.monotonic_ns();
  if (!made.asked && now_ns >= marked_ns_ + grace_ns_) {
    made.release = std::exchange(marked_, index_->applied());
    marked_ns_ = now_ns;
    if (made.release != 0) return encode(made);
  }
  return std::vector<std::byte>(request.begin(), request.end());
}

}  // namespace dolmen::node

namespace dolmen {

Result<IndexShard> IndexShard::make(const IndexShardOptions& options) {
  DOLMEN_TRY(const auto geometry, node::IndexMachine::geometry_of(options));
  const auto grace_ns = static_cast<std::uint64_t>(options.grace.count()) * 1'000'000;
  return IndexShard(
      std::make_unique<node::IndexMachine>(*sys::linux_env().clock, geometry, grace_ns));
}

IndexShard::IndexShard(std::unique_ptr<node::IndexMachine> machine) noexcept
    : machine_(std::move(machine)) {}
IndexShard::IndexShard(IndexShard&&) noexcept = default;
IndexShard& IndexShard::operator=(IndexShard&&) noexcept = default;
IndexShard::~IndexShard() = default;

StateMachine& IndexShard::machine() noexcept { return *machine_; }

}  // namespace dolmen
