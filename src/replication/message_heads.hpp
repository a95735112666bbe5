// SPDX-License-Identifier: Apache-2.0
//
// The heads of the messages that there are most of, without memory of their own: what follows a
// head (a command, a query, a result) is sent from where it lies. The bytes are those of encode()
// in envelope.hpp, which envelope_test.cpp compares. Values; pure functions.
#pragma once

#include <array>
#include <cstddef>

#include "base/bytes.hpp"
#include "replication/envelope.hpp"

namespace dolmen::replication {

namespace detail {
/// Whole words, in this order.
template <class... Words>
[[nodiscard]] std::array<std::byte, sizeof...(Words) * 8> words(Words... words) noexcept {
  std::array<std::byte, sizeof...(Words) * 8> bytes{};
  std::size_t at = 0;
  const auto put = [&](std::uint64_t word) {
    base::store(base::MutableBytes(bytes), at, word);
    at += 8;
  };
  (put(static_cast<std::uint64_t>(words)), ...);
  return bytes;
}
}  // namespace detail

/// In front of request.command.
[[nodiscard]] inline auto head_of(const Request& request) noexcept {
  return detail::words(request.number, request.session, request.sequence);
}
/// In front of request.query.
[[nodiscard]] inline auto head_of(const ReadRequest& request) noexcept {
  return detail::words(request.number, request.level);
}
/// In front of reply.result.
[[nodiscard]] inline auto head_of(const Reply& reply) noexcept {
  return detail::words(reply.number, reply.status, reply.value, reply.index, reply.level);
}
/// In front of the body.
[[nodiscard]] inline auto head_of(const Envelope& envelope) noexcept {
  return detail::words(
      std::uint64_t{kEnvelopeMagic} | std::uint64_t{kEnvelopeVersion} << 32 |
          static_cast<std::uint64_t>(envelope.kind) << 48,
      envelope.group.high, envelope.group.low, envelope.from, envelope.to,
      std::uint64_t{envelope.shown.index} | std::uint64_t{envelope.shown.generation} << 32);
}

}  // namespace dolmen::replication
