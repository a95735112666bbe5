// SPDX-License-Identifier: Apache-2.0
//
// What a space does about its group's mail.
#include <utility>

#include "base/hooks.hpp"
#include "node/space_machine.hpp"
#include "node/space_post.hpp"

namespace dolmen::node {

void SpaceMachine::use_mail(const cluster::GroupId& self, MailPart::Find find,
                            const cluster::MailLimits& limits) {
  mail_ = std::make_unique<MailPart>(self, std::move(find), limits);
}

StateMachine::Bytes SpaceMachine::reference_in(Bytes state) const {
  const auto parts = decode_space_state(state);
  return parts ? parts->head : state;
}

std::vector<std::byte> SpaceMachine::state_of(std::vector<std::byte> head) const {
  if (!mail_) return head;
  const std::vector<std::byte> mail = mail_->snapshot();
  const std::vector<std::byte> homes = homes_ ? homes_->snapshot() : std::vector<std::byte>();
  return encode(SpaceState{.head = head, .mail = mail, .homes = homes});
}

std::vector<std::byte> SpaceMachine::effect_without_records(
    const cluster::MailChange& change, const Result<std::vector<std::byte>>& result) {
  return make_effect({.result = result, .records = {}}, change);
}

Result<void> SpaceMachine::apply_mail(std::uint64_t index, const SpaceEffect& effect) {
  if (effect.mail.empty() && effect.homes.empty()) return {};
  if (!mail_) return fail(Errc::unsupported, "mail of a space in no cluster");
  cluster::MailChange change;
  if (!effect.mail.empty()) {
    DOLMEN_TRY(change, cluster::decode_mail_change(effect.mail));
  }
  if (!effect.homes.empty()) {
    if (!homes_) return fail(Errc::unsupported, "objects of a space in no cluster");
    return homes_->apply(index, effect.homes, std::move(change), *mail_);
  }
  if (mail_->apply(index, std::move(change)) == cluster::MailVerdict::applied) return {};
  return fail(Errc::conflict, "a mail whose time has gone");
}

// A mail is consumed whatever became of its function, but for one thing: while there is no room for
// what it brings about it stays where it came from.
Result<std::vector<std::byte>> SpaceMachine::effect_of_mail(Bytes request) {
  leave_behind();
  DOLMEN_TRY(cluster::MailChange change, mail_->take(request));
  if (!change.received) return effect_without_records(change, std::vector<std::byte>{});
  if (homes_ && cluster::is_home_mail(change.received->bytes)) return effect_of_home_mail(change);
  const auto letter = decode_space_letter(change.received->bytes);
  // Of a later version, or of nobody: all that can be done is to let the next one pass.
  if (!letter) return effect_without_records(change, std::unexpected(letter.error()));
  // Whatever is in the way, an import among it: the mail comes again.
  if (!have_space()) return fail(Errc::busy, "a space that is not open");

  const auto answer = [&](const Result<std::vector<std::byte>>& result) -> Result<void> {
    if (letter->on_result.empty()) return {};
    std::vector<std::byte> reply = encode_reply(result);
    if (reply.size() + letter->context.size() > kPostBytesMax) {
      reply = encode_reply(fail(Errc::too_large, "what a posted function returned", reply.size()));
    }
    change.posted.push_back({.to = change.received->from,
                             .bytes = encode(SpaceLetter{.is_result = true,
                                                         .function = letter->on_result,
                                                         .on_result = {},
                                                         .context = letter->context,
                                                         .body = reply})});
    if (mail_->mailbox().judge(change) == cluster::MailVerdict::applied) return {};
    return fail(Errc::busy, "a group whose mails are not taken");
  };
  // What a function that hears of a result is given is the letter: context and reply.
  const SpaceCall call{
      .function = letter->function,
      .arguments = letter->is_result ? Bytes(change.received->bytes) : Bytes(letter->body)};
  DOLMEN_TRY(const Executed executed, execute(call, change));
  Result<void> answered = executed.is_refused
                              ? fail(Errc::busy, "a group whose mails are not taken")
                              : answer(executed.result);
  // Together with what it published.
  if (answered && !executed.homes.empty()) {
    answered = homes_->judge(executed.homes, change, *mail_);
  }
  if (!answered) {
    if (!executed.records.empty()) forget_space();
    return std::unexpected(answered.error());
  }
  std::vector<std::byte> effect = make_effect(executed, change);
  if (effect.size() > kEffectBytesMax) {
    leave_behind();
    const std::unexpected<Error> error =
        fail(Errc::too_large, "an effect on a replicated space", effect.size());
    change.posted.clear();
    DOLMEN_CHECK(answer(error));
    return effect_without_records(change, error);
  }
  if (!executed.result) DOLMEN_PROBE("space_machine.mail_failed");
  // The function may have closed it.
  if (space_ && !space_->sync()) forget_space();
  return effect;
}

}  // namespace dolmen::node
