// SPDX-License-Identifier: Apache-2.0
#include "node/space_effect.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include <dolmen/assert.hpp>

#include "base/commit_record.hpp"
#include "base/copy.hpp"
#include "store/store.hpp"

namespace dolmen::node {

namespace {

constexpr std::uint16_t kVersion = 1;
constexpr std::uint16_t kMailVersion = 2;   ///< of effects with mail
constexpr std::uint16_t kHomesVersion = 3;  ///< … and of effects and states with homes of objects
constexpr std::size_t kImageHeadBytes = 32;
constexpr std::size_t kContextMax = 1000;
enum class Kind : std::uint16_t {
  call = 1,
  effect = 2,
  reply = 3,
  image = 4,
  state = 6,
  untold = 7
};  // 5: space_post.cpp

std::unexpected<Error> damaged(const char* what) { return fail(Errc::corrupt, what); }

void put_head(base::ByteWriter& out, Kind kind, std::uint16_t version = kVersion) {
  out.put(version);
  out.put(static_cast<std::uint16_t>(kind));
}

[[nodiscard]] bool has_head(base::ByteReader& in, Kind kind, std::uint16_t its = kVersion) {
  const auto version = in.get<std::uint16_t>();
  const auto found = in.get<std::uint16_t>();
  return !in.failed() && version == its && found == static_cast<std::uint16_t>(kind);
}

[[nodiscard]] bool is_known(std::uint16_t code) {
  return std::ranges::any_of(kErrorTable, [code](const ErrorRow& row) {
    return static_cast<std::uint16_t>(row.code) == code;
  });
}

}  // namespace

std::vector<std::byte> encode(const SpaceCall& call) {
  DOLMEN_ASSERT_CMP(call.function.size(), <=, kFunctionNameMax);
  base::ByteWriter out;
  put_head(out, Kind::call);
  out.put_string(call.function);
  out.put_bytes(call.arguments);
  return out.release();
}

Result<SpaceCall> decode_space_call(base::Bytes bytes) {
  base::ByteReader in(bytes);
  SpaceCall call;
  if (!has_head(in, Kind::call)) return damaged("a call of a replicated space");
  call.function = in.get_string();
  call.arguments = in.take(in.remaining());
  if (in.failed() || call.function.size() > kFunctionNameMax) {
    return damaged("a call of a replicated space");
  }
  return call;
}

std::vector<std::byte> encode(const SpaceEffect& effect) {
  base::ByteWriter out;
  const bool has_homes = !effect.homes.empty();
  const bool has_mail = has_homes || !effect.mail.empty();
  put_head(out, Kind::effect, has_homes ? kHomesVersion : has_mail ? kMailVersion : kVersion);
  out.put(static_cast<std::uint32_t>(effect.records.size()));
  out.put_id(effect.space);
  if (has_mail) {
    out.put(static_cast<std::uint32_t>(effect.mail.size()));
    out.put_bytes(effect.mail);
  }
  if (has_homes) {
    out.put(static_cast<std::uint32_t>(effect.homes.size()));
    out.put_bytes(effect.homes);
  }
  for (const base::Bytes record : effect.records) {
    out.put(static_cast<std::uint32_t>(record.size()));
    out.put_bytes(record);
  }
  out.put_bytes(effect.reply);
  return out.release();
}

Result<SpaceEffect> decode_space_effect(base::Bytes bytes) {
  base::ByteReader in(bytes);
  const auto version = bytes.size() >= 2 ? base::load<std::uint16_t>(bytes) : std::uint16_t{0};
  const bool has_homes = version == kHomesVersion;
  const bool has_mail = has_homes || version == kMailVersion;
  if (!has_head(in, Kind::effect, has_mail ? version : kVersion)) {
    return damaged("an effect on a replicated space");
  }
  SpaceEffect effect;
  const auto count = in.get<std::uint32_t>();
  effect.space = in.get_id();
  if (has_mail) {
    effect.mail = in.take(in.get<std::uint32_t>());
    if (effect.mail.empty() && !has_homes) in.fail();
  }
  if (has_homes) {
    effect.homes = in.take(in.get<std::uint32_t>());
    if (effect.homes.empty()) in.fail();
  }
  for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
    const base::Bytes record = in.take(in.get<std::uint32_t>());
    // A record that changes nothing is never made.
    if (record.empty()) in.fail();
    effect.records.push_back(record);
  }
  effect.reply = in.take(in.remaining());
  if (in.failed() || (!effect.space.is_null() && effect.records.empty())) {
    return damaged("an effect on a replicated space");
  }
  return effect;
}

std::vector<std::byte> encode(const SpaceState& state) {
  const bool has_homes = !state.homes.empty();
  if (state.mail.empty() && !has_homes) return {state.head.begin(), state.head.end()};
  base::ByteWriter out;
  put_head(out, Kind::state, has_homes ? kHomesVersion : kVersion);
  out.put(static_cast<std::uint32_t>(state.head.size()));
  out.put_bytes(state.head);
  if (has_homes) {
    out.put(static_cast<std::uint32_t>(state.homes.size()));
    out.put_bytes(state.homes);
  }
  out.put_bytes(state.mail);
  return out.release();
}

Result<SpaceState> decode_space_state(base::Bytes bytes) {
  base::ByteReader in(bytes);
  base::ByteReader again(bytes);
  const bool has_homes = has_head(again, Kind::state, kHomesVersion);
  if (!has_head(in, Kind::state) && !has_homes) return SpaceState{.head = bytes, .mail = {}};
  SpaceState state;
  state.head = in.take(in.get<std::uint32_t>());
  if (has_homes) {
    state.homes = in.take(in.get<std::uint32_t>());
    if (state.homes.empty()) in.fail();
  }
  state.mail = in.take(in.remaining());
  if (in.failed() || (state.mail.empty() && !has_homes)) {
    return damaged("the state of a replicated space");
  }
  return state;
}

std::vector<std::byte> encode_reply(const Result<std::vector<std::byte>>& result) {
  base::ByteWriter out;
  put_head(out, Kind::reply);
  out.put(result ? std::uint16_t{0} : static_cast<std::uint16_t>(result.error().code()));
  if (result) {
    out.put_bytes(*result);
    return out.release();
  }
  out.put(result.error().detail());
  out.put_string(result.error().context().substr(0, kContextMax));
  return out.release();
}

Result<std::vector<std::byte>> decode_reply(base::Bytes bytes) {
  base::ByteReader in(bytes);
  if (!has_head(in, Kind::reply)) return damaged("a reply of a replicated space");
  const auto code = in.get<std::uint16_t>();
  if (!in.failed() && code == 0) {
    const base::Bytes result = in.take(in.remaining());
    return std::vector<std::byte>(result.begin(), result.end());
  }
  const auto detail = in.get<std::uint64_t>();
  const std::string context(in.get_string());
  if (!in.finished() || !is_known(code) || context.size() > kContextMax)
    return damaged("a reply of a replicated space");
  return fail(static_cast<Errc>(code), interned(context), detail);
}

std::vector<std::byte> encode(const UntoldReply& reply) {
  base::ByteWriter out;
  put_head(out, Kind::untold);
  out.put(static_cast<std::uint32_t>(reply.objects.size()));
  for (const ObjectId& id : reply.objects) out.put_id(id);
  out.put_bytes(reply.reply);
  return out.release();
}

Result<UntoldReply> decode_untold_reply(base::Bytes bytes) {
  base::ByteReader in(bytes);
  if (!has_head(in, Kind::untold)) return UntoldReply{.objects = {}, .reply = bytes};
  UntoldReply reply;
  const auto count = in.get<std::uint32_t>();
  if (count == 0 || count > in.remaining() / sizeof(ObjectId)) in.fail();
  for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
    reply.objects.push_back(in.get_id());
    if (reply.objects.back().is_null()) in.fail();
  }
  reply.reply = in.take(in.remaining());
  if (in.failed()) return damaged("a reply of a replicated space");
  return reply;
}

// --- images --------------------------------------------------------------------------------------

bool is_zero(base::Bytes bytes) noexcept {
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

ImageWriter::ImageWriter(const ImageHead& head, std::size_t room) {
  base::ByteWriter out;
  out.reserve(room);
  put_head(out, Kind::image);
  out.put(std::uint32_t{0});
  out.put_id(head.space);
  out.put(head.last_index);
  DOLMEN_ASSERT_CMP(out.size(), ==, kImageHeadBytes);
  bytes_ = out.release();
}

void ImageWriter::begin(const ObjectId& id, std::uint8_t capacity_log2) {
  base::ByteWriter out;
  out.put_id(id);
  out.put(static_cast<std::uint32_t>(capacity_log2));
  out.put(std::uint32_t{0});
  count_at_ = bytes_.size() + out.size() - sizeof(std::uint32_t);
  bytes_.insert(bytes_.end(), out.bytes().begin(), out.bytes().end());
}

base::MutableBytes ImageWriter::page(std::uint32_t number, std::size_t bytes) {
  const std::size_t at = bytes_.size();
  last_page_bytes_ = 2 * sizeof(std::uint32_t) + bytes;
  bytes_.resize(at + last_page_bytes_);
  base::store(base::MutableBytes(bytes_), at, number);
  const auto count = base::load<std::uint32_t>(bytes_, count_at_);
  base::store(base::MutableBytes(bytes_), count_at_, count + 1);
  return base::MutableBytes(bytes_).last(bytes);
}

void ImageWriter::take_back() {
  bytes_.resize(bytes_.size() - last_page_bytes_);
  const auto count = base::load<std::uint32_t>(bytes_, count_at_);
  base::store(base::MutableBytes(bytes_), count_at_, count - 1);
}

base::MutableBytes ImageWriter::pages(std::span<const std::uint32_t> numbers, std::size_t bytes) {
  DOLMEN_ASSERT(!numbers.empty());
  last_page_bytes_ = stride(bytes);
  last_pages_at_ = bytes_.size();
  bytes_.resize(last_pages_at_ + numbers.size() * last_page_bytes_);
  const base::MutableBytes all = base::MutableBytes(bytes_).subspan(last_pages_at_);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    base::store(all, i * last_page_bytes_, std::uint64_t{numbers[i]});
  }
  const auto count = base::load<std::uint32_t>(bytes_, count_at_);
  base::store(base::MutableBytes(bytes_), count_at_,
              static_cast<std::uint32_t>(count + numbers.size()));
  return all.subspan(last_page_bytes_ - bytes);
}

void ImageWriter::drop_zeros() {
  const base::MutableBytes all = base::MutableBytes(bytes_).subspan(last_pages_at_);
  const std::size_t each = last_page_bytes_;
  std::size_t kept = 0;
  for (std::size_t at = 0; at < all.size(); at += each) {
    if (is_zero(all.subspan(at, each).subspan(stride(0)))) continue;
    if (kept != at) base::copy_bytes(all.subspan(at, each), all.subspan(kept, each));
    kept += each;
  }
  const auto dropped = static_cast<std::uint32_t>((all.size() - kept) / each);
  bytes_.resize(last_pages_at_ + kept);
  const auto count = base::load<std::uint32_t>(bytes_, count_at_);
  base::store(base::MutableBytes(bytes_), count_at_, count - dropped);
}

std::vector<std::byte> ImageWriter::finish() { return std::move(bytes_); }

Result<ImageHead> decode_image_head(base::Bytes bytes) {
  base::ByteReader in(bytes);
  ImageHead head;
  if (!has_head(in, Kind::image) || in.get<std::uint32_t>() != 0) {
    return damaged("an image of a replicated space");
  }
  head.space = in.get_id();
  head.last_index = in.get<std::uint64_t>();
  if (in.failed() || (head.space.is_null() && (head.last_index != 0 || in.remaining() != 0))) {
    return damaged("an image of a replicated space");
  }
  return head;
}

Result<DecodedImage> decode_image(base::Bytes bytes) {
  DecodedImage image;
  DOLMEN_TRY(image.head, decode_image_head(bytes));
  base::ByteReader in(bytes.subspan(kImageHeadBytes));
  while (!in.failed() && in.remaining() > 0) {
    ImageObject object;
    object.id = in.get_id();
    const auto capacity_log2 = in.get<std::uint32_t>();
    const auto count = in.get<std::uint32_t>();
    const bool ascends = image.objects.empty() || image.objects.back().id < object.id;
    if (in.failed() || object.id.is_null() || !ascends || capacity_log2 < base::kMinCapacityLog2 ||
        capacity_log2 > base::kMaxCapacityLog2) {
      return damaged("an image of a replicated space");
    }
    object.capacity_log2 = static_cast<std::uint8_t>(capacity_log2);
    const std::uint32_t page_bytes = store::page_bytes(capacity_log2);
    const std::uint32_t limit = (1u << capacity_log2) / page_bytes;
    for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
      const auto number = in.get<std::uint32_t>();
      if (in.get<std::uint32_t>() != 0) in.fail();
      const base::Bytes page = in.take(page_bytes);
      const bool follows = object.pages.empty() || object.pages.back().number < number;
      if (!follows || number >= limit) in.fail();
      object.pages.push_back({.number = number, .bytes = page});
    }
    image.objects.push_back(std::move(object));
  }
  if (in.failed()) return damaged("an image of a replicated space");
  return image;
}

}  // namespace dolmen::node
