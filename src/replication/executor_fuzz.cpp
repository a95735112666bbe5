// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as what members execute: the state in another's snapshot, and the commands of a log.
// What restore() accepts is exactly what snapshot() gives, before and behind any commands; and two
// that executed the same have the same state. The input: the length of the state, 4 bytes, the
// state, and commands with their lengths, 2 bytes each, in front.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "replication/executor.hpp"

namespace {

using namespace dolmen;

constexpr log::Index kLast = 1000;

/// Its state is all its commands.
class Diary final : public StateMachine {
 public:
  std::vector<std::byte> apply(Bytes command) override {
    state_.insert(state_.end(), command.begin(), command.end());
    return {command.begin(), command.begin() + static_cast<std::ptrdiff_t>(command.size() / 2)};
  }
  std::vector<std::byte> snapshot() const override { return state_; }
  Result<void> restore(Bytes state) override {
    state_.assign(state.begin(), state.end());
    return {};
  }
  void reset() override { state_.clear(); }

 private:
  std::vector<std::byte> state_;
};

log::SnapshotPtr snapshot_of(base::Bytes state, log::Index last) {
  const log::SnapshotPlace place{.last = {.origin = 1, .index = last},
                                 .configuration = {.voters = {log::ReplicaId{1}}}};
  auto made = log::Snapshot::make(place, state);
  return made ? std::move(*made) : nullptr;
}

void execute(replication::Executor& executor, base::ByteReader in) {
  while (in.remaining() >= 2) {
    const std::size_t length = in.get<std::uint16_t>();
    const base::Bytes payload = in.take(std::min(length, in.remaining()));
    const log::Entry entry{
        .origin = 1, .index = executor.executed() + 1, .payload = {payload.begin(), payload.end()}};
    if (const auto told = replication::address_in(entry)) {
      DOLMEN_ASSERT_CMP(told->second.size(), <=, replication::kAddressBytesMax);
    }
    (void)executor.execute(entry);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::ByteReader in(std::as_bytes(std::span(data, size)));
  const auto length = in.get<std::uint32_t>();
  const base::Bytes state = in.take(std::min<std::size_t>(length, in.remaining()));
  Diary diary;
  replication::Executor executor(diary);
  const log::SnapshotPtr first = snapshot_of(state, kLast);
  if (first && executor.restore(first.get())) {
    DOLMEN_ASSERT(std::ranges::equal(executor.snapshot().value(), state));
  } else {
    DOLMEN_ASSERT(executor.restore(nullptr).has_value());
  }
  execute(executor, in);
  const std::vector<std::byte> before = executor.snapshot().value();
  Diary other_diary;
  replication::Executor other(other_diary);
  const log::SnapshotPtr second = snapshot_of(before, std::max<log::Index>(executor.executed(), 1));
  if (!second) return 0;
  DOLMEN_ASSERT(other.restore(second.get()).has_value());
  DOLMEN_ASSERT(other.snapshot().value() == before);
  if (executor.executed() == 0) return 0;
  execute(executor, in);
  execute(other, in);
  DOLMEN_ASSERT(executor.snapshot().value() == other.snapshot().value());
  return 0;
}
