// SPDX-License-Identifier: Apache-2.0
#include "node/home_request.hpp"

#include <dolmen/assert.hpp>

namespace dolmen::node {

using cluster::GroupNumber;
using cluster::HomeAnswer;
using cluster::HomeRefusal;
using cluster::HomeState;
using cluster::HomeVerdict;

namespace {

constexpr std::uint16_t kHomeRequestVersion = 1;
constexpr std::uint16_t kElsewhereKind = 8;  // beside those of space_effect.cpp
constexpr std::size_t kStatusBytes = 51;

std::unexpected<Error> damaged_home_request() {
  return fail(Errc::corrupt, "what is asked or told about homes of objects");
}

bool is_known(HomeRefusal why) { return why <= HomeRefusal::type_conflict; }

}  // namespace

std::vector<std::byte> encode(const HomeRequest& request) {
  base::ByteWriter out;
  out.put(kHomeRequestVersion);
  out.put(static_cast<std::uint8_t>(request.kind));
  out.put_id(request.object);
  out.put(request.group);
  return out.release();
}

Result<HomeRequest> decode_home_request(base::Bytes bytes) {
  base::ByteReader in(bytes);
  if (in.get<std::uint16_t>() != kHomeRequestVersion) in.fail();
  HomeRequest request;
  request.kind = static_cast<HomeRequest::Kind>(in.get<std::uint8_t>());
  request.object = in.get_id();
  request.group = in.get<GroupNumber>();
  using Kind = HomeRequest::Kind;
  const bool has_object = request.kind == Kind::move || request.kind == Kind::cancel;
  const bool has_group = request.kind == Kind::move || request.kind == Kind::close;
  if (request.kind < Kind::move || request.kind > Kind::close ||
      has_object == request.object.is_null() || has_group != (request.group != 0)) {
    in.fail();
  }
  if (!in.finished()) return damaged_home_request();
  return request;
}

std::vector<std::byte> encode(const HomeReply& reply) {
  base::ByteWriter out;
  out.put(static_cast<std::uint8_t>(reply.verdict));
  out.put(reply.move);
  return out.release();
}

Result<HomeReply> decode_home_reply(base::Bytes bytes) {
  base::ByteReader in(bytes);
  HomeReply reply;
  reply.verdict = static_cast<HomeVerdict>(in.get<std::uint8_t>());
  reply.move = in.get<cluster::MoveNumber>();
  if (reply.verdict < HomeVerdict::applied || reply.verdict > HomeVerdict::invalid) in.fail();
  if (!in.finished()) return damaged_home_request();
  return reply;
}

std::vector<std::byte> encode(const HomeQuery& query) {
  base::ByteWriter out;
  out.put(kHomeRequestVersion);
  out.put(static_cast<std::uint8_t>(query.kind));
  out.put_id(query.object);
  out.put(query.limit);
  out.put(query.group);
  return out.release();
}

Result<HomeQuery> decode_home_query(base::Bytes bytes) {
  base::ByteReader in(bytes);
  if (in.get<std::uint16_t>() != kHomeRequestVersion) in.fail();
  HomeQuery query;
  query.kind = static_cast<HomeQuery::Kind>(in.get<std::uint8_t>());
  query.object = in.get_id();
  query.limit = in.get<std::uint32_t>();
  query.group = in.get<GroupNumber>();
  using Kind = HomeQuery::Kind;
  const bool is_list = query.kind == Kind::list;
  if (query.kind < Kind::object || query.kind > Kind::closed ||
      (query.kind == Kind::object && query.object.is_null()) || is_list != (query.limit != 0) ||
      query.limit > kHomesListed || (query.kind == Kind::closed) != (query.group != 0)) {
    in.fail();
  }
  if (!in.finished()) return damaged_home_request();
  return query;
}

std::vector<std::byte> encode(const HomeListing& listing) {
  DOLMEN_ASSERT_CMP(listing.objects.size(), <=, kHomesListed);
  base::ByteWriter out;
  out.put(static_cast<std::uint8_t>((listing.is_draining ? 1 : 0) | (listing.is_drained ? 2 : 0) |
                                    (listing.is_closed ? 4 : 0)));
  out.put(listing.rows);
  out.put(static_cast<std::uint32_t>(listing.objects.size()));
  for (const HomeStatus& one : listing.objects) {
    out.put_id(one.object);
    out.put(static_cast<std::uint8_t>(one.state ? static_cast<std::uint8_t>(*one.state) : 0));
    out.put(static_cast<std::uint8_t>(one.is_registered ? 1 : 0));
    out.put(one.peer);
    out.put(one.counter);
    out.put(one.move);
    out.put(one.refused);
    out.put(static_cast<std::uint8_t>(one.why));
    out.put(std::uint32_t{0});
  }
  return out.release();
}

Result<HomeListing> decode_home_listing(base::Bytes bytes) {
  base::ByteReader in(bytes);
  HomeListing listing;
  const auto flags = in.get<std::uint8_t>();
  listing.is_draining = (flags & 1) != 0;
  listing.is_drained = (flags & 2) != 0;
  listing.is_closed = (flags & 4) != 0;
  listing.rows = in.get<std::uint64_t>();
  const auto count = in.get<std::uint32_t>();
  if (flags > 7 || count > kHomesListed || count > in.remaining() / kStatusBytes) in.fail();
  for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
    HomeStatus& one = listing.objects.emplace_back();
    one.object = in.get_id();
    const auto state = in.get<std::uint8_t>();
    if (state != 0) one.state = static_cast<HomeState>(state);
    const auto is_registered = in.get<std::uint8_t>();
    one.is_registered = is_registered == 1;
    one.peer = in.get<GroupNumber>();
    one.counter = in.get<cluster::MoveCounter>();
    one.move = in.get<cluster::MoveNumber>();
    one.refused = in.get<cluster::MoveNumber>();
    one.why = static_cast<HomeRefusal>(in.get<std::uint8_t>());
    const auto spare = in.get<std::uint32_t>();
    if (one.object.is_null() || state > static_cast<std::uint8_t>(HomeState::erased) ||
        is_registered > 1 || !is_known(one.why) || spare != 0) {
      in.fail();
    }
  }
  if (!in.finished()) return damaged_home_request();
  return listing;
}

std::vector<std::byte> encode(const Elsewhere& elsewhere) {
  base::ByteWriter out;
  out.put(kHomeRequestVersion);
  out.put(kElsewhereKind);
  out.put(static_cast<std::uint8_t>(elsewhere.answer));
  out.put(elsewhere.group);
  return out.release();
}

Result<std::optional<Elsewhere>> decode_elsewhere(base::Bytes bytes) {
  base::ByteReader in(bytes);
  const auto version = in.get<std::uint16_t>();
  const auto kind = in.get<std::uint16_t>();
  if (in.failed() || version != kHomeRequestVersion || kind != kElsewhereKind) return std::nullopt;
  Elsewhere elsewhere;
  elsewhere.answer = static_cast<HomeAnswer>(in.get<std::uint8_t>());
  elsewhere.group = in.get<GroupNumber>();
  const bool has_group =
      elsewhere.answer == HomeAnswer::frozen || elsewhere.answer == HomeAnswer::moved;
  if (elsewhere.answer < HomeAnswer::frozen || elsewhere.answer > HomeAnswer::not_here ||
      has_group != (elsewhere.group != 0)) {
    in.fail();
  }
  if (!in.finished()) return damaged_home_request();
  return elsewhere;
}

const char* text_of(HomeRefusal why) noexcept {
  switch (why) {
    case HomeRefusal::none:
      return "it is not said why";
    case HomeRefusal::draining:
      return "that space gives its objects away and takes none";
    case HomeRefusal::full:
      return "that space has as many objects as it may, or as many that arrive";
    case HomeRefusal::no_space:
      return "that space has no room for it";
    case HomeRefusal::damaged:
      return "what arrived there is not what was sent";
    case HomeRefusal::cancelled:
      return "it was asked back";
    case HomeRefusal::exists:
      return "that space has an object of this id";
    case HomeRefusal::type_conflict:
      return "that space has another type where one of the object's is described";
  }
  return "of a later version";
}

}  // namespace dolmen::node
