// SPDX-License-Identifier: Apache-2.0
//
// What a replicated space puts into its group's log, asks of it, and tells: calls, effects, replies
// and whole images, as bytes. docs/formats/replicated-space.md has the tables.
//
// Decoders are bounded: hostile bytes give corrupt, never a read outside. What they give points
// into the bytes that they were given. Pure functions; safe from any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "log/message.hpp"
#include "replication/executor.hpp"

namespace dolmen::node {

/// What an effect may take, with its records and its reply: more would not get into the log.
inline constexpr std::size_t kEffectBytesMax =
    log::kPayloadBytesMax - replication::kCommandHeadBytes;
inline constexpr std::size_t kFunctionNameMax = 255;

/// What a client asks for.
struct SpaceCall {
  std::string_view function;
  base::Bytes arguments;
};
/// Requires: function.size() <= kFunctionNameMax.
[[nodiscard]] std::vector<std::byte> encode(const SpaceCall& call);
[[nodiscard]] Result<SpaceCall> decode_space_call(base::Bytes bytes);

/// What a function did: its commit records, in their order, and its reply.
struct SpaceEffect {
  /// Of the space that these are the first records of; null: they are not.
  ObjectId space;
  std::vector<base::Bytes> records;
  base::Bytes reply;
  /// What it does to the group's mail: cluster::encode(MailChange); empty: nothing.
  base::Bytes mail{};
  /// … and to its homes of objects: encode_home_commands(); empty: nothing.
  base::Bytes homes{};
};
[[nodiscard]] std::vector<std::byte> encode(const SpaceEffect& effect);
[[nodiscard]] Result<SpaceEffect> decode_space_effect(base::Bytes bytes);

/// A snapshot of a space that exchanges mail: what says which state the image has, and the mail,
/// and the homes of objects. Without mail and homes it is the head alone.
struct SpaceState {
  base::Bytes head;
  base::Bytes mail;
  base::Bytes homes{};
};
[[nodiscard]] std::vector<std::byte> encode(const SpaceState& state);
/// Errors: corrupt. What is no such state is a head alone, which is not looked into.
[[nodiscard]] Result<SpaceState> decode_space_state(base::Bytes bytes);

/// What a caller is told: the function's result, or its error.
[[nodiscard]] std::vector<std::byte> encode_reply(const Result<std::vector<std::byte>>& result);
/// Errors: the function's own; corrupt.
[[nodiscard]] Result<std::vector<std::byte>> decode_reply(base::Bytes bytes);

/// What a caller is told who must not hear of it before the directory has logged these objects.
struct UntoldReply {
  std::vector<ObjectId> objects;  ///< none: it may be told now
  base::Bytes reply;              ///< encode_reply()
};
/// Requires: there are objects.
[[nodiscard]] std::vector<std::byte> encode(const UntoldReply& reply);
/// What is no such reply is one that may be told, which is not looked into. Errors: corrupt.
[[nodiscard]] Result<UntoldReply> decode_untold_reply(base::Bytes bytes);

/// A whole image: what a member that lacks too much is sent. Objects by ascending id, pages of each
/// by ascending number; a page that is not there is zeros.
struct ImageObject {
  ObjectId id;
  std::uint8_t capacity_log2 = 0;
  struct Page {
    std::uint32_t number = 0;
    base::Bytes bytes;  ///< store::page_bytes() of the object's class
  };
  std::vector<Page> pages;
};
struct ImageHead {
  ObjectId space;                ///< null: there is none yet, and nothing follows
  std::uint64_t last_index = 0;  ///< of the records that it holds
};

/// Writes one; each object's pages follow its begin().
class ImageWriter {
 public:
  /// `room`: about so many bytes will be written.
  explicit ImageWriter(const ImageHead& head, std::size_t room = 0);
  void begin(const ObjectId& id, std::uint8_t capacity_log2);
  /// Room for the page's bytes, to be filled before the next call. `take_back` undoes the last one.
  [[nodiscard]] base::MutableBytes page(std::uint32_t number, std::size_t bytes);
  void take_back();
  /// What each page takes, with its number in front.
  [[nodiscard]] static constexpr std::size_t stride(std::size_t page_bytes) noexcept {
    return 2 * sizeof(std::uint32_t) + page_bytes;
  }
  /// page() for each of them, stride() apart from the first one's bytes on. `drop_zeros` takes
  /// those of them back that are zeros. Requires: there are pages.
  [[nodiscard]] base::MutableBytes pages(std::span<const std::uint32_t> numbers, std::size_t bytes);
  void drop_zeros();
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] std::vector<std::byte> finish();

 private:
  std::vector<std::byte> bytes_;
  std::size_t count_at_ = 0;  ///< where the number of pages of the present object stands
  std::size_t last_page_bytes_ = 0;
  std::size_t last_pages_at_ = 0;  ///< … of pages(), up to the end
};

[[nodiscard]] bool is_zero(base::Bytes bytes) noexcept;

struct DecodedImage {
  ImageHead head;
  std::vector<ImageObject> objects;
};
[[nodiscard]] Result<ImageHead> decode_image_head(base::Bytes bytes);
[[nodiscard]] Result<DecodedImage> decode_image(base::Bytes bytes);

}  // namespace dolmen::node
