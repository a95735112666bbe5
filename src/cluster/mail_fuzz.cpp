// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a change of mail and as a message between groups, also with a checksum that fits
// them: what the decoders accept is exactly what the encoders make. What is understood is then told
// to a courier, which proposes nothing that its own log would not understand.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "cluster/courier.hpp"
#include "cluster/mail.hpp"
#include "cluster/mailbox.hpp"

namespace {

using namespace dolmen;

/// To a group that has posted two mails to each of two others.
void tell(cluster::MailMessage message) {
  cluster::Mailbox mailbox({0, 1});
  log::Index index = 0;
  for (const std::uint64_t peer : {2, 2, 3, 3}) {
    mailbox.apply(++index, {.posted = {{{0, peer}, {}}}});
  }
  mailbox.settle(index);
  cluster::Courier courier(mailbox, {}, 1);
  message.to = mailbox.self();
  for (std::uint64_t now_ns = 2; now_ns < 1'000'000'000; now_ns *= 10) {
    courier.receive(now_ns, message);
    for (cluster::MailChange& change : courier.take_output().proposals) {
      const auto again = cluster::decode_mail_change(cluster::encode(change));
      DOLMEN_ASSERT(again.has_value() && *again == change);
      const cluster::MailVerdict verdict = mailbox.apply(++index, std::move(change));
      DOLMEN_ASSERT(verdict == cluster::MailVerdict::applied);
    }
    mailbox.settle(index);
    courier.changed(now_ns);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const base::Bytes bytes = std::as_bytes(std::span(data, size));
  if (const auto change = cluster::decode_mail_change(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(cluster::encode(*change), bytes));
    DOLMEN_ASSERT_CMP(cluster::encoded_bytes(*change), ==, size);
  }
  (void)cluster::decode_mail_message(bytes);
  if (size < cluster::kMailMessageTailBytes) return 0;
  std::vector<std::byte> sealed(bytes.begin(), bytes.end());
  const std::size_t end = size - cluster::kMailMessageTailBytes;
  const base::Bytes body = base::Bytes(sealed).first(end);
  base::store(base::MutableBytes(sealed), end, base::checksum64(body, cluster::kMailMessageMagic));
  if (const auto message = cluster::decode_mail_message(sealed)) {
    DOLMEN_ASSERT(std::ranges::equal(cluster::encode(*message), sealed));
    tell(*message);
  }
  return 0;
}
