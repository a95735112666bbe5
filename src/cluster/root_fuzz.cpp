// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as the state of a root group, and as commands. What is understood is exactly what is
// encoded; no command breaks what decode_root() checks; two that execute the same have the same
// state; the planner asks only for what is not refused. The input: the length of the state, 4
// bytes, the state, and commands with their lengths, 2 bytes each, in front.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "cluster/root.hpp"
#include "cluster/root_planner.hpp"

namespace {

using namespace dolmen;

void execute(cluster::RootState& state, base::ByteReader in) {
  if (state.version() > ~log::Index{0} / 2) return;
  log::Index index = state.version();
  while (in.remaining() >= 2) {
    const std::size_t length = in.get<std::uint16_t>();
    const base::Bytes bytes = in.take(std::min(length, in.remaining()));
    if (const auto reply = cluster::decode_root_reply(bytes)) {
      DOLMEN_ASSERT(std::ranges::equal(cluster::encode(*reply), bytes));
    }
    const auto command = cluster::decode_root_command(bytes);
    if (!command) continue;
    DOLMEN_ASSERT(std::ranges::equal(cluster::encode(*command), bytes));
    const cluster::RootState before = state;
    const cluster::RootReply reply = state.apply(++index, *command);
    DOLMEN_ASSERT((reply.status == cluster::RootStatus::done) == !(state == before));
    DOLMEN_ASSERT(!cluster::text(reply.status).empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::ByteReader in(std::as_bytes(std::span(data, size)));
  const auto length = in.get<std::uint32_t>();
  const base::Bytes bytes = in.take(std::min<std::size_t>(length, in.remaining()));
  cluster::RootState state;
  if (auto decoded = cluster::decode_root(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(cluster::encode_root(*decoded), bytes));
    state = *std::move(decoded);
  }
  cluster::RootState other = state;
  execute(state, in);
  execute(other, in);
  const std::vector<std::byte> after = cluster::encode_root(state);
  DOLMEN_ASSERT(cluster::encode_root(other) == after);
  const auto restored = cluster::decode_root(after);
  DOLMEN_ASSERT(restored.has_value() && *restored == state);
  if (const auto change = cluster::plan(state)) {
    DOLMEN_ASSERT(state.judge(*change).status == cluster::RootStatus::done);
  }
  return 0;
}
