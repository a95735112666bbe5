// SPDX-License-Identifier: Apache-2.0
#include "node/space_post.hpp"

#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>
#include <dolmen/detail/ambient.hpp>

#include "base/hooks.hpp"
#include "node/space_effect.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {

namespace {

constexpr std::uint16_t kLetterVersion = 1;
constexpr std::uint16_t kLetterKind = 5;

thread_local PostBox* running_box = nullptr;

std::unexpected<Error> damaged_letter() { return fail(Errc::corrupt, "a mail between spaces"); }

}  // namespace

std::vector<std::byte> encode(const SpaceLetter& letter) {
  DOLMEN_ASSERT_CMP(letter.function.size(), <=, kFunctionNameMax);
  DOLMEN_ASSERT_CMP(letter.on_result.size(), <=, kFunctionNameMax);
  base::ByteWriter out;
  out.put(kLetterVersion);
  out.put(kLetterKind);
  out.put(static_cast<std::uint16_t>(letter.is_result ? 1 : 0));
  out.put_string(letter.function);
  out.put_string(letter.on_result);
  out.put(static_cast<std::uint32_t>(letter.context.size()));
  out.put_bytes(letter.context);
  out.put_bytes(letter.body);
  return out.release();
}

Result<SpaceLetter> decode_space_letter(base::Bytes bytes) {
  base::ByteReader in(bytes);
  SpaceLetter letter;
  const bool is_known =
      in.get<std::uint16_t>() == kLetterVersion && in.get<std::uint16_t>() == kLetterKind;
  const auto flags = in.get<std::uint16_t>();
  letter.is_result = flags == 1;
  letter.function = in.get_string();
  letter.on_result = in.get_string();
  letter.context = in.take(in.get<std::uint32_t>());
  letter.body = in.take(in.remaining());
  if (in.failed() || !is_known || flags > 1) return damaged_letter();
  if (letter.function.size() > kFunctionNameMax || letter.on_result.size() > kFunctionNameMax) {
    return damaged_letter();
  }
  if (letter.is_result && !letter.on_result.empty()) return damaged_letter();
  // What is told of it has to fit a mail again; else it could never be consumed.
  if (!letter.on_result.empty() &&
      letter.on_result.size() + letter.context.size() > kPostBytesMax) {
    return damaged_letter();
  }
  return letter;
}

PostBox::PostBox(const Space& space, const MailPart* mail, const HomePart* homes, bool is_query,
                 cluster::MailChange& change)
    : space_(space),
      mail_(mail),
      homes_(homes),
      is_query_(is_query),
      change_(change),
      outer_(std::exchange(running_box, this)) {}

PostBox::~PostBox() { running_box = outer_; }

Result<void> PostBox::post(const Space& space, std::string_view group, std::uint64_t number,
                           std::string_view function, base::Bytes arguments,
                           const PostOptions& options) {
  PostBox* const box = running_box;
  if (box == nullptr || &box->space_ != &space) {
    return fail(Errc::invalid_argument,
                "post() belongs into a function of that replicated space, on its own thread");
  }
  // What comes behind one that failed would only take memory.
  if (box->failure_) return std::unexpected(*box->failure_);
  auto taken = box->take(group, number, function, arguments, options);
  if (!taken) box->failure_ = taken.error();
  return taken;
}

Result<void> PostBox::publish(const Space& space, const ObjectId& object) {
  PostBox* const box = running_box;
  if (box == nullptr || &box->space_ != &space) {
    return fail(Errc::invalid_argument,
                "publish() belongs into a function of that replicated space, on its own thread");
  }
  auto taken = box->take(object);
  if (!taken && !box->failure_) box->failure_ = taken.error();
  return taken;
}

Result<void> PostBox::take(const ObjectId& object) {
  if (is_query_) return fail(Errc::read_only, "a query that publishes");
  if (homes_ == nullptr) return fail(Errc::unsupported, "publish(): this space is in no cluster");
  if (detail::ambient.kind != detail::SectionKind::none) {
    return fail(Errc::invalid_argument, "publish() inside of a transaction: call it behind it");
  }
  if (object.is_null()) return fail(Errc::invalid_argument, "publish() of no object");
  // The directory would lead to it for ever.
  if (const auto there = space_.core().home(object); !there) {
    return std::unexpected(there.error());
  }
  DOLMEN_TRY(const bool is_untold, homes_->publish(object, published_));
  if (!is_untold || std::ranges::find(untold_, object) != untold_.end()) return {};
  if (untold_.size() >= kHomeCommandsMax / 2) {
    return fail(Errc::limit, "publish(): objects of a call", untold_.size());
  }
  untold_.push_back(object);
  return {};
}

Result<void> PostBox::take(std::string_view group, std::uint64_t number, std::string_view function,
                           base::Bytes arguments, const PostOptions& options) {
  if (is_query_) return fail(Errc::read_only, "a query that posts");
  if (mail_ == nullptr) return fail(Errc::unsupported, "post(): this space is in no cluster");
  // It could be undone, and what is posted not.
  if (detail::ambient.kind != detail::SectionKind::none) {
    return fail(Errc::invalid_argument, "post() inside of a transaction: call it behind it");
  }
  if (function.size() > kFunctionNameMax || options.on_result.size() > kFunctionNameMax) {
    return fail(Errc::invalid_argument, "post(): a function's name: 255 bytes at most");
  }
  const std::size_t bytes = function.size() + options.on_result.size() + options.context.size();
  if (bytes + arguments.size() > kPostBytesMax) {
    return fail(Errc::too_large, "post(): a mail", bytes + arguments.size());
  }
  if (change_.posted.size() >= kPostsMax) return fail(Errc::limit, "posts of a call", kPostsMax);
  DOLMEN_TRY(const cluster::GroupId to, mail_->find(group, number));
  if (to == mail_->mailbox().self()) {
    return fail(Errc::invalid_argument, "post() to the own group", to.low);
  }
  change_.posted.push_back({.to = to,
                            .bytes = encode(SpaceLetter{.function = function,
                                                        .on_result = options.on_result,
                                                        .context = options.context,
                                                        .body = arguments})});
  bytes_ += change_.posted.back().bytes.size();
  if (bytes_ > kPostedBytesMax) return fail(Errc::too_large, "posts of a call", bytes_);
  const bool is_full = DOLMEN_BUGGIFY("node.post_refused");
  switch (is_full ? cluster::MailVerdict::full : mail_->mailbox().judge(change_)) {
    case cluster::MailVerdict::applied:
      return {};
    case cluster::MailVerdict::full:
      return fail(Errc::busy, "post(): too many mails were not taken yet",
                  mail_->mailbox().bytes());
    default:
      return fail(Errc::limit, "post(): no further mail");
  }
}

}  // namespace dolmen::node

namespace dolmen {

Result<void> post(Space& space, std::string_view group, std::string_view function,
                  std::span<const std::byte> arguments, const PostOptions& options) {
  return node::PostBox::post(space, group, 0, function, arguments, options);
}

Result<void> post(Space& space, std::uint32_t group, std::string_view function,
                  std::span<const std::byte> arguments, const PostOptions& options) {
  if (group == 0) return fail(Errc::invalid_argument, "post(): group 0");
  return node::PostBox::post(space, {}, group, function, arguments, options);
}

Result<void> publish(Space& space, const ObjectId& object) {
  return node::PostBox::publish(space, object);
}

Result<PostResult> post_result(std::span<const std::byte> arguments) {
  DOLMEN_TRY(const node::SpaceLetter letter, node::decode_space_letter(arguments));
  if (!letter.is_result) return fail(Errc::corrupt, "what came of a post()");
  return PostResult{.context = {letter.context.begin(), letter.context.end()},
                    .result = node::decode_reply(letter.body)};
}

}  // namespace dolmen
