// SPDX-License-Identifier: Apache-2.0
#include "sim/log_memory.hpp"

#include <algorithm>
#include <iterator>

#include "base/hooks.hpp"

namespace dolmen::sim {

namespace {
constexpr std::size_t kPieceBytes = 64;
constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kStepMaxNs[] = {2'000, 200'000, 4 * kMs};
}  // namespace

LogMemory::LogMemory(EventQueue& queue, std::size_t nodes, std::uint64_t seed, World world)
    : queue_(queue),
      random_(seed),
      world_(std::move(world)),
      links_(nodes * nodes),
      is_mapped_(chance(2)),
      step_max_ns_(kStepMaxNs[random_.below(std::size(kStepMaxNs))]),
      late_one_in_(chance(2) ? 0 : 2 + random_.below(100)),
      late_max_ns_(1 + random_.below(300 * kMs)),
      lacks_room_(chance(4)) {
  for (std::size_t node = 0; node < nodes; ++node) {
    areas_.push_back(std::make_unique<Area>(*this, node));
  }
}

base::MutableBytes LogMemory::bytes_of(const Lane& lane) {
  return std::as_writable_bytes(std::span(*lane.words)).first(lane.bytes);
}

log::Epoch LogMemory::Area::word() {
  all_.go_on_elsewhere(node_);
  return stored_.value_or(word_);
}

log::Epoch LogMemory::Area::raise(log::Epoch epoch) {
  all_.go_on_elsewhere(node_);
  const log::Epoch former = stored_.value_or(word_);
  if (DOLMEN_PLANTED("log.raise_by_write")) {
    stored_ = epoch;
    all_.queue_.after(all_.random_.below(5 * kMs), [this, epoch] {
      word_ = epoch;
      if (stored_ == epoch) stored_.reset();
    });
    return former;
  }
  word_ = std::max(word_, epoch);
  all_.go_on_elsewhere(node_);
  return former;
}

base::MutableBytes LogMemory::Area::make_lane(log::ReplicaId, log::LaneName name,
                                              std::size_t bytes) {
  if (all_.lacks_room_ && all_.chance(5)) return {};
  Lane lane{.words = std::make_shared<std::vector<std::uint64_t>>(bytes / 8), .bytes = bytes};
  if (DOLMEN_PLANTED("log.lane_in_place")) {
    for (const auto& [former_name, former] : lanes_) {
      if (former.bytes == bytes && former.is_dropped) lane.words = former.words;
    }
  }
  const base::MutableBytes result = bytes_of(lane);
  lanes_.insert_or_assign({name.epoch, name.number}, std::move(lane));
  return result;
}

// Its memory is never anything else in a run, for its writer may be anywhere.
void LogMemory::Area::drop_lane(log::LaneName name) {
  const auto found = lanes_.find({name.epoch, name.number});
  if (found != lanes_.end()) found->second.is_dropped = true;
}

std::vector<base::Bytes> LogMemory::Area::kept_lanes() {
  std::vector<base::Bytes> kept;
  for (const auto& [name, lane] : lanes_) {
    if (!lane.is_dropped) kept.push_back(bytes_of(lane));
  }
  return kept;
}

void LogMemory::lose(std::size_t node) { areas_[node]->is_lost_ = true; }

void LogMemory::forget(std::size_t node) {
  areas_[node]->word_ = 0;
  areas_[node]->lanes_.clear();
}

bool LogMemory::holds(std::size_t node, log::Position where) const {
  for (const auto& [name, lane] : areas_[node]->lanes_) {
    if (lane.is_dropped) continue;
    std::size_t offset = log::kLaneHeaderBytes;
    while (const auto found = log::decode_lane_entry(bytes_of(lane), offset, name.first, 0)) {
      if (found->entry.position() == where) return true;
      offset += found->bytes;
    }
  }
  return false;
}

void LogMemory::calm_down() {
  late_one_in_ = 0;
  step_max_ns_ = std::min(step_max_ns_, kStepMaxNs[1]);
  lacks_room_ = false;
}

void LogMemory::write(Writer writer, std::size_t to, const log::LaneWrite& operation) {
  link(writer.node, to)
      .operations.push_back({.writer = writer,
                             .write = operation,
                             .bytes = {operation.bytes.begin(), operation.bytes.end()}});
  schedule(writer.node, to);
}

void LogMemory::schedule(std::size_t from, std::size_t to) {
  Link& between = link(from, to);
  if (between.is_scheduled || between.operations.empty()) return;
  between.is_scheduled = true;
  std::uint64_t delay_ns = 1 + random_.below(step_max_ns_);
  if (late_one_in_ != 0 && chance(late_one_in_)) delay_ns += random_.below(late_max_ns_);
  std::uint64_t at_ns = queue_.now_ns() + delay_ns;
  if (is_mapped_) {
    at_ns = std::max(at_ns, world_.paused_until_ns(between.operations.front().writer).value_or(0));
  }
  queue_.at(at_ns, [this, from, to] {
    link(from, to).is_scheduled = false;
    step(from, to);
    schedule(from, to);
  });
}

bool LogMemory::step(std::size_t from, std::size_t to) {
  Link& between = link(from, to);
  if (between.operations.empty()) return false;
  Operation& first = between.operations.front();
  Area& area = *areas_[to];
  const auto paused_until_ns = world_.paused_until_ns(first.writer);
  if (is_mapped_ && paused_until_ns.value_or(0) > queue_.now_ns()) return false;
  if (is_mapped_ && !paused_until_ns) {
    between.operations.pop_front();
    return true;
  }
  const auto found = area.lanes_.find({first.write.lane.epoch, first.write.lane.number});
  const bool fails =
      area.is_lost_ || found == area.lanes_.end() || (!is_mapped_ && world_.is_cut(from, to));
  if (!fails && first.landed < first.bytes.size()) {
    const std::size_t bytes = std::min(kPieceBytes, first.bytes.size() - first.landed);
    const base::MutableBytes lane = bytes_of(found->second);
    const std::size_t offset = first.write.offset + first.landed;
    std::ranges::copy(base::Bytes(first.bytes).subspan(first.landed, bytes),
                      lane.subspan(offset, bytes).begin());
    first.landed += bytes;
    return true;
  }
  const Operation done = std::move(first);
  between.operations.pop_front();
  std::optional<log::Epoch> word;
  if (!fails) word = area.word_;
  queue_.after(1 + random_.below(step_max_ns_),
               [this, done, word] { world_.report(done.writer, done.write, word); });
  return true;
}

void LogMemory::go_on_elsewhere(std::size_t node) {
  for (std::size_t from = 0; from < areas_.size(); ++from) {
    if (link(from, node).operations.empty()) continue;
    const std::uint64_t steps = chance(2) ? 0 : random_.below(8);
    for (std::uint64_t i = 0; i < steps && step(from, node); ++i) continue;
  }
}

}  // namespace dolmen::sim
