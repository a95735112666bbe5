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

std::optional<base::MutableBytes> LogMemory::place_of(Area& area, const Operation& operation) {
  const log::LaneWrite& write = operation.write;
  if (write.is_raise || write.area) {
    auto& own = area.of_servers_[operation.writer.node];
    for (auto& words : own) words.resize(area_bytes_ / 8);
    return std::as_writable_bytes(std::span(own[write.area.value_or(0)]));
  }
  const auto found = area.lanes_.find({write.lane.epoch, write.lane.number});
  if (found == area.lanes_.end()) return std::nullopt;
  return bytes_of(found->second);
}

std::vector<log::AreaView> LogMemory::areas_of(std::size_t node, std::size_t reader) {
  std::vector<log::AreaView> views;
  for (const auto& [server, areas] : areas_[node]->of_servers_) {
    for (std::uint32_t i = 0; i < areas.size(); ++i) {
      views.push_back({.own = server == reader ? std::optional(i) : std::nullopt,
                       .bytes = std::as_bytes(std::span(areas[i]))});
    }
  }
  return views;
}

void LogMemory::lose(std::size_t node) { areas_[node]->is_lost_ = true; }

void LogMemory::forget(std::size_t node) {
  areas_[node]->word_ = 0;
  areas_[node]->lanes_.clear();
  areas_[node]->of_servers_.clear();
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
  for (const auto& [server, areas] : areas_[node]->of_servers_) {
    for (const auto& words : areas) {
      const auto found = log::read_area(std::as_bytes(std::span(words)));
      if (!found || found->end().index < where.index) continue;
      const log::Index covered = found->snapshot ? found->snapshot->last().index : 0;
      if (where.index <= covered) return true;
      if (found->entries[where.index - covered - 1].position() == where) return true;
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
                             .bytes = {operation.content().begin(), operation.content().end()}});
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
  const auto place = place_of(area, first);
  const bool fails =
      area.is_lost_ || area.is_away_ || !place || (!is_mapped_ && world_.is_cut(from, to));
  if (!fails && first.landed < first.bytes.size()) {
    // What is large is in fewer pieces than it could be.
    const std::size_t piece_bytes =
        std::max(kPieceBytes, first.bytes.size() / 32 / kPieceBytes * kPieceBytes);
    const std::size_t bytes = std::min(piece_bytes, first.bytes.size() - first.landed);
    const base::MutableBytes lane = *place;
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
  if (!fails && done.write.is_raise) area.word_ = std::max(area.word_, done.write.lane.epoch);
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
