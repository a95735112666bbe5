// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as the mail of a group, and as the changes of its log. What restore() accepts is
// exactly what snapshot() gives; two that execute the same have the same state; and what is undone
// leaves no trace. The input: the length of the state, 4 bytes, the state, and changes with their
// lengths, 2 bytes each, in front.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "cluster/mailbox.hpp"

namespace {

using namespace dolmen;

constexpr cluster::GroupId kSelf{0, 1};
constexpr cluster::MailLimits kLimits{.post_bytes = 400, .forward_bytes = 800};

log::Index execute(cluster::Mailbox& mailbox, base::ByteReader in, log::Index index) {
  while (in.remaining() >= 2) {
    const std::size_t length = in.get<std::uint16_t>();
    auto change = cluster::decode_mail_change(in.take(std::min(length, in.remaining())));
    ++index;
    if (!change) continue;
    const std::size_t before = mailbox.bytes();
    const cluster::MailVerdict judged = mailbox.judge(*change);
    const cluster::MailVerdict verdict = mailbox.apply(index, std::move(*change));
    DOLMEN_ASSERT(verdict == judged);
    if (verdict != cluster::MailVerdict::applied) DOLMEN_ASSERT_CMP(mailbox.bytes(), ==, before);
  }
  return index;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::ByteReader in(std::as_bytes(std::span(data, size)));
  const auto length = in.get<std::uint32_t>();
  const base::Bytes state = in.take(std::min<std::size_t>(length, in.remaining()));
  cluster::Mailbox mailbox(kSelf, kLimits);
  const std::vector<std::byte> empty = mailbox.snapshot();
  if (mailbox.restore(state)) {
    DOLMEN_ASSERT(std::ranges::equal(mailbox.snapshot(), state));
  } else {
    DOLMEN_ASSERT(mailbox.snapshot() == empty);
  }
  const std::vector<std::byte> before = mailbox.snapshot();
  const log::Index end = execute(mailbox, in, 0);
  DOLMEN_ASSERT(mailbox.snapshot() == before);
  cluster::Mailbox undone = mailbox;
  undone.undo(1);
  undone.settle(end);
  DOLMEN_ASSERT(undone.snapshot() == before);
  mailbox.settle(end);
  const std::vector<std::byte> after = mailbox.snapshot();
  cluster::Mailbox other(kSelf, kLimits);
  DOLMEN_ASSERT(other.restore(before).has_value());
  other.settle(execute(other, in, 0));
  DOLMEN_ASSERT(other.snapshot() == after);
  DOLMEN_ASSERT(other.restore(after).has_value());
  DOLMEN_ASSERT(other.snapshot() == after);
  DOLMEN_ASSERT_CMP(other.bytes(), ==, mailbox.bytes());
  return 0;
}
