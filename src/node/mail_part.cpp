// SPDX-License-Identifier: Apache-2.0
#include "node/mail_part.hpp"

#include <utility>

#include "base/hooks.hpp"

namespace dolmen::node {

namespace {

constexpr std::uint64_t kRequestMagic = 0x5145524C494D4C44;  // "DLMILREQ"
constexpr std::size_t kRequestBytes = 16;

}  // namespace

MailPart::MailPart(cluster::GroupId self, Find find, const cluster::MailLimits& limits)
    : find_(std::move(find)), limits_(limits), mailbox_(self, limits) {}

cluster::MailVerdict MailPart::apply(log::Index index, cluster::MailChange change) {
  ++changes_;
  return mailbox_.apply(index, std::move(change));
}

void MailPart::settle(log::Index index) {
  ++changes_;
  mailbox_.settle(index);
}

void MailPart::reset() {
  mailbox_ = cluster::Mailbox(mailbox_.self(), limits_);
  kept_.clear();
  ++life_;
}

std::vector<std::byte> MailPart::snapshot() const {
  if (DOLMEN_PLANTED("mail.not_in_snapshot")) return {};
  return mailbox_.channels().empty() ? std::vector<std::byte>() : mailbox_.snapshot();
}

Result<void> MailPart::restore(base::Bytes snapshot) {
  reset();
  return snapshot.empty() ? Result<void>() : mailbox_.restore(snapshot);
}

std::vector<std::byte> MailPart::keep(cluster::MailChange proposal) {
  std::vector<std::byte> request(kRequestBytes);
  base::store(base::MutableBytes(request), 0, kRequestMagic);
  base::store(base::MutableBytes(request), 8, ++last_request_);
  kept_.emplace(last_request_, std::move(proposal));
  return request;
}

bool MailPart::is_request(base::Bytes request) noexcept {
  return request.size() == kRequestBytes && base::load<std::uint64_t>(request) == kRequestMagic;
}

Result<cluster::MailChange> MailPart::take(base::Bytes request) {
  const auto kept =
      is_request(request) ? kept_.find(base::load<std::uint64_t>(request, 8)) : kept_.end();
  if (kept == kept_.end()) return fail(Errc::not_found, "a mail that arrived");
  cluster::MailChange change = std::move(kept->second);
  kept_.erase(kept);
  if (mailbox_.judge(change) != cluster::MailVerdict::applied) {
    return fail(Errc::conflict, "a mail whose time has gone");
  }
  return change;
}

void MailPart::forget(base::Bytes request) {
  if (is_request(request)) kept_.erase(base::load<std::uint64_t>(request, 8));
}

}  // namespace dolmen::node
