// SPDX-License-Identifier: Apache-2.0
//
// What functions of replicated spaces post to each other: the bytes of a mail between spaces
// (docs/formats/replicated-space.md), and the function that is running, to which post() belongs.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/replicated_space.hpp>

#include "base/bytes.hpp"
#include "node/home_part.hpp"
#include "node/mail_part.hpp"

namespace dolmen::node {

/// A mail between spaces, as of Mailbox. What is decoded refers to the bytes.
struct SpaceLetter {
  bool is_result = false;        ///< `body` is an encoded reply, and nobody wants another one
  std::string_view function{};   ///< to be run there
  std::string_view on_result{};  ///< at who sent it, with the result; empty: none
  base::Bytes context{};         ///< of who sent it, for on_result
  base::Bytes body{};            ///< the arguments
};
/// Requires: names of at most kFunctionNameMax.
[[nodiscard]] std::vector<std::byte> encode(const SpaceLetter& letter);
/// Errors: corrupt.
[[nodiscard]] Result<SpaceLetter> decode_space_letter(base::Bytes bytes);

/// Of names, arguments and context of one post(): what comes back, an error at least, fits a mail.
inline constexpr std::size_t kPostBytesMax = cluster::kMailBytesMax - 4096;
/// Of one function.
inline constexpr std::size_t kPostsMax = 1000;
inline constexpr std::size_t kPostedBytesMax = 3u << 20;

/// What the function that runs on this thread posts; while it is there post() works.
class PostBox {
 public:
  /// `space`: the one that the function has. `mail`, `homes`: null: there are no other groups.
  /// `change`: what the entry does to the mail beside it. A query posts and publishes nothing. All
  /// outlive it.
  PostBox(const Space& space, const MailPart* mail, const HomePart* homes, bool is_query,
          cluster::MailChange& change);
  ~PostBox();
  PostBox(const PostBox&) = delete;
  PostBox& operator=(const PostBox&) = delete;

  [[nodiscard]] static Result<void> post(const Space& space, std::string_view group,
                                         std::uint64_t number, std::string_view function,
                                         base::Bytes arguments, const PostOptions& options);
  [[nodiscard]] static Result<void> publish(const Space& space, const ObjectId& object);
  /// What it published.
  [[nodiscard]] const std::vector<cluster::HomeCommand>& homes() const noexcept {
    return published_;
  }
  /// Of what it published, what the directory has not logged yet: also what an earlier call did.
  [[nodiscard]] const std::vector<ObjectId>& untold() const noexcept { return untold_; }
  /// Of the first post or publish that failed: then the function is to have done nothing.
  [[nodiscard]] const std::optional<Error>& failure() const noexcept { return failure_; }

 private:
  [[nodiscard]] Result<void> take(const ObjectId& object);
  [[nodiscard]] Result<void> take(std::string_view group, std::uint64_t number,
                                  std::string_view function, base::Bytes arguments,
                                  const PostOptions& options);

  const Space& space_;
  const MailPart* const mail_;
  const HomePart* const homes_;
  const bool is_query_;
  cluster::MailChange& change_;
  PostBox* const outer_;
  std::size_t bytes_ = 0;
  std::vector<cluster::HomeCommand> published_{};
  std::vector<ObjectId> untold_{};
  std::optional<Error> failure_{};
};

}  // namespace dolmen::node
