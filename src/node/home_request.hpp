// SPDX-License-Identifier: Apache-2.0
//
// What clients ask of a space about objects that move, and what they are told
// (docs/formats/homes.md, In a space): functions and queries that every space of a cluster has.
//
// Decoders are bounded: hostile bytes give corrupt. Pure functions; safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "cluster/home_table.hpp"

namespace dolmen::node {

/// Its argument: a HomeRequest; it returns a HomeReply.
inline constexpr std::string_view kHomesFunction = "dolmen.homes";
/// Its argument: the name of an object of the space, or, where no object has that name, an id in 32
/// hexadecimal digits. Publishes it (publish()), and returns its id (encode_ids()).
inline constexpr std::string_view kPublishFunction = "dolmen.publish";
/// Posts parts of objects that leave, as many as may be posted now. Whoever leads calls it.
inline constexpr std::string_view kPartsFunction = "dolmen.parts";
/// Its argument: a HomeQuery.
inline constexpr std::string_view kHomeQuery = "dolmen.home";

struct HomeRequest {
  enum class Kind : std::uint8_t { move = 1, cancel = 2, drain = 3, undrain = 4, close = 5 };
  Kind kind = Kind::move;
  ObjectId object{};               ///< move, cancel
  cluster::GroupNumber group = 0;  ///< move: where to; close
  friend bool operator==(const HomeRequest&, const HomeRequest&) = default;
};
[[nodiscard]] std::vector<std::byte> encode(const HomeRequest& request);
/// Errors: corrupt.
[[nodiscard]] Result<HomeRequest> decode_home_request(base::Bytes bytes);

struct HomeReply {
  cluster::HomeVerdict verdict = cluster::HomeVerdict::applied;
  cluster::MoveNumber move = 0;  ///< that began
  friend bool operator==(const HomeReply&, const HomeReply&) = default;
};
[[nodiscard]] std::vector<std::byte> encode(const HomeReply& reply);
/// Errors: corrupt.
[[nodiscard]] Result<HomeReply> decode_home_reply(base::Bytes bytes);

/// Of one object; of those behind `object`, `limit` at most; or whether nothing moves to `group`.
struct HomeQuery {
  enum class Kind : std::uint8_t { object = 1, list = 2, closed = 3 };
  Kind kind = Kind::object;
  ObjectId object{};
  std::uint32_t limit = 0;         ///< list: 1 … kHomesListed
  cluster::GroupNumber group = 0;  ///< closed
  friend bool operator==(const HomeQuery&, const HomeQuery&) = default;
};
inline constexpr std::uint32_t kHomesListed = 1024;
[[nodiscard]] std::vector<std::byte> encode(const HomeQuery& query);
/// Errors: corrupt.
[[nodiscard]] Result<HomeQuery> decode_home_query(base::Bytes bytes);

/// What a space knows of an object.
struct HomeStatus {
  ObjectId object{};
  std::optional<cluster::HomeState> state{};  ///< nothing: it knows of none
  bool is_registered = false;
  cluster::GroupNumber peer = 0;
  cluster::MoveCounter counter = 0;
  cluster::MoveNumber move = 0;  ///< of a move that is under way
  /// The last move that was refused, as far as it is remembered here, and why.
  cluster::MoveNumber refused = 0;
  cluster::HomeRefusal why = cluster::HomeRefusal::none;
  friend bool operator==(const HomeStatus&, const HomeStatus&) = default;
};
/// The answer to each kind of query: of kind `object` one status; of kind `closed` none.
struct HomeListing {
  bool is_draining = false;
  bool is_drained = false;
  bool is_closed = false;  ///< of kind `closed`
  std::uint64_t rows = 0;  ///< all that it knows of, tombstones included
  std::vector<HomeStatus> objects{};
  friend bool operator==(const HomeListing&, const HomeListing&) = default;
};
/// Requires: at most kHomesListed.
[[nodiscard]] std::vector<std::byte> encode(const HomeListing& listing);
/// Errors: corrupt.
[[nodiscard]] Result<HomeListing> decode_home_listing(base::Bytes bytes);

/// What a call of an object (dolmen.at) is told that was not executed, and never will be.
struct Elsewhere {
  cluster::HomeAnswer answer = cluster::HomeAnswer::not_here;  ///< neither serves nor untold
  cluster::GroupNumber group = 0;  ///< moved: ask that one; frozen: it goes there
  friend bool operator==(const Elsewhere&, const Elsewhere&) = default;
};
[[nodiscard]] std::vector<std::byte> encode(const Elsewhere& elsewhere);
/// Nothing: the bytes are a reply of another kind. Errors: corrupt.
[[nodiscard]] Result<std::optional<Elsewhere>> decode_elsewhere(base::Bytes bytes);

/// For people.
[[nodiscard]] const char* text_of(cluster::HomeRefusal why) noexcept;

}  // namespace dolmen::node
