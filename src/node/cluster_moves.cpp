// SPDX-License-Identifier: Apache-2.0
//
// Objects between the spaces of a cluster, as clients move them (docs/homes.md, In a cluster).
// Every step can be done again, by anybody: what is asked of a space that it knows already is
// nothing new. So a client that ends in the middle leaves nothing undone but waiting.
#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dolmen/cluster.hpp>

#include "node/cluster_client.hpp"
#include "node/cluster_home.hpp"
#include "node/home_request.hpp"
#include "node/space_effect.hpp"

namespace dolmen {

namespace {

using cluster::GroupNumber;
using cluster::HomeRefusal;
using cluster::HomeState;
using cluster::HomeVerdict;
using node::HomeListing;
using node::HomeQuery;
using node::HomeReply;
using node::HomeRequest;
using node::HomeStatus;

/// Of a drained space: most objects that leave at once.
constexpr std::size_t kLeavingMax = 32;
/// How often each other space is asked to take an object before it is given up.
constexpr std::size_t kRounds = 8;

/// Whether the same may be asked again.
bool is_passing(const Error& error) {
  return error.code() == Errc::timed_out || error.code() == Errc::busy ||
         error.code() == Errc::connection_lost;
}

Result<HomeReply> ask_space(ReplicatedClient& client, const HomeRequest& request,
                            std::uint64_t deadline_ns) {
  const std::vector<std::byte> arguments = encode(request);
  DOLMEN_TRY(const auto told,
             node::call_until_told(client,
                                   node::encode(node::SpaceCall{.function = node::kHomesFunction,
                                                                .arguments = arguments}),
                                   node::left_until(deadline_ns)));
  return node::decode_home_reply(told);
}

Result<HomeListing> list(ReplicatedClient& client, const HomeQuery& query,
                         std::uint64_t deadline_ns) {
  DOLMEN_TRY(const auto told,
             query_space(client, node::kHomeQuery, encode(query), node::left_until(deadline_ns)));
  DOLMEN_TRY(HomeListing listing, node::decode_home_listing(told));
  const bool is_one = query.kind != HomeQuery::Kind::object || listing.objects.size() == 1;
  if (!is_one) return fail(Errc::corrupt, "what a space knows of an object");
  return listing;
}

Result<HomeStatus> status_of(ReplicatedClient& client, const ObjectId& object,
                             std::uint64_t deadline_ns) {
  DOLMEN_TRY(const HomeListing listing,
             list(client, {.kind = HomeQuery::Kind::object, .object = object}, deadline_ns));
  return listing.objects.front();
}

std::unexpected<Error> refused(HomeRefusal why, GroupNumber to) {
  const char* const text = node::text_of(why);
  switch (why) {
    case HomeRefusal::full:
    case HomeRefusal::no_space:
      return fail(Errc::no_space, text, to);
    case HomeRefusal::exists:
      return fail(Errc::already_exists, text, to);
    case HomeRefusal::type_conflict:
      return fail(Errc::layout_changed, text, to);
    case HomeRefusal::cancelled:
      return fail(Errc::aborted, text, to);
    default:
      return fail(Errc::unsupported, text, to);
  }
}

/// What a space says that does not begin a move; nothing: ask again.
Result<void> verdict_of(const HomeReply& reply, GroupNumber to) {
  switch (reply.verdict) {
    case HomeVerdict::closed:
      return fail(Errc::unsupported, "a space that is to be removed", to);
    case HomeVerdict::invalid:
      return fail(Errc::invalid_argument, "a move that is impossible", to);
    case HomeVerdict::full:
      return fail(Errc::limit, "spaces that are to be removed", to);
    default:
      return {};
  }
}

/// Waits, longer each time.
class Pauses {
 public:
  void wait() {
    sys::linux_env().clock->sleep_ns(pause_ns_);
    pause_ns_ = std::min(pause_ns_ * 3 / 2, kLongestNs);
  }

 private:
  static constexpr std::uint64_t kLongestNs = 20'000'000;
  std::uint64_t pause_ns_ = 1'000'000;
};

}  // namespace

Result<GroupNumber> Cluster::Impl::space_called(GroupNumber number, std::uint64_t deadline_ns) {
  DOLMEN_TRY(const cluster::RootGroup found, group(number, deadline_ns));
  if (found.kind == cluster::GroupKind::space && !found.is_directory()) return number;
  return fail(Errc::invalid_argument, "a group that keeps no space", number);
}

Result<void> Cluster::move(const ObjectId& object, std::uint32_t to,
                           std::chrono::milliseconds patience) {
  if (object.is_null() || to == 0) return fail(Errc::invalid_argument, "no object, or no space");
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  DOLMEN_CHECK(impl_->space_called(to, deadline_ns));
  // The move that this call began: of which space, and which one.
  GroupNumber asked_of = 0;
  cluster::MoveNumber asked = 0;
  const auto step = [&]() -> Result<bool> {
    DOLMEN_TRY(const GroupNumber from, home(object, node::left_until(deadline_ns)));
    DOLMEN_TRY(ReplicatedClient* const client, impl_->client_of(from, deadline_ns));
    DOLMEN_TRY(const HomeStatus status, status_of(*client, object, deadline_ns));
    const bool is_here = status.state == HomeState::here && status.is_registered;
    if (is_here && from == to) {
      impl_->hints.learn(object, to);
      return true;
    }
    if (!is_here) return false;
    if (asked_of == from && asked != 0 && status.refused == asked &&
        status.why != HomeRefusal::damaged) {
      return refused(status.why, to);
    }
    DOLMEN_TRY(const HomeReply reply,
               ask_space(*client, {.object = object, .group = to}, deadline_ns));
    DOLMEN_CHECK(verdict_of(reply, to));
    if (reply.verdict == HomeVerdict::applied) {
      asked_of = from;
      asked = reply.move;
    }
    return false;
  };
  for (Pauses pauses;; pauses.wait()) {
    const auto stepped = step();
    if (!stepped && !is_passing(stepped.error())) return std::unexpected(stepped.error());
    if (stepped && *stepped) return {};
    if (node::now_ns() < deadline_ns) continue;
    if (asked == 0 && !stepped) return std::unexpected(stepped.error());
    return fail(Errc::connection_lost, "the object may be on its way yet", to);
  }
}

Result<void> Cluster::cancel_move(const ObjectId& object, std::chrono::milliseconds patience) {
  if (object.is_null()) return fail(Errc::invalid_argument, "no object");
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  GroupNumber first = 0;
  const auto step = [&]() -> Result<bool> {
    DOLMEN_TRY(const GroupNumber from, home(object, node::left_until(deadline_ns)));
    if (first == 0) first = from;
    if (first != from) return fail(Errc::conflict, "the object was there already", from);
    DOLMEN_TRY(ReplicatedClient* const client, impl_->client_of(from, deadline_ns));
    DOLMEN_TRY(const HomeStatus status, status_of(*client, object, deadline_ns));
    if (status.state == HomeState::here) return true;
    if (status.state != HomeState::leaving) return false;
    DOLMEN_CHECK(
        ask_space(*client, {.kind = HomeRequest::Kind::cancel, .object = object}, deadline_ns));
    return false;
  };
  for (Pauses pauses;; pauses.wait()) {
    const auto stepped = step();
    if (!stepped && !is_passing(stepped.error())) return std::unexpected(stepped.error());
    if (stepped && *stepped) return {};
    if (node::now_ns() >= deadline_ns) {
      return fail(Errc::connection_lost, "who is to have the object was asked, and did not say");
    }
  }
}

namespace {

/// Of one space, as long as it takes.
struct Draining {
  std::vector<GroupNumber> others{};  ///< that can take objects
  std::map<ObjectId, std::size_t> asked{};
  std::size_t next = 0;

  /// What is there begins to leave. True: nothing is there.
  [[nodiscard]] Result<bool> step(ReplicatedClient& client, std::uint64_t deadline_ns) {
    std::size_t leaving = 0;
    ObjectId behind{};
    for (;;) {
      DOLMEN_TRY(
          const HomeListing listing,
          list(client,
               {.kind = HomeQuery::Kind::list, .object = behind, .limit = node::kHomesListed},
               deadline_ns));
      if (listing.is_drained) return true;
      for (const HomeStatus& one : listing.objects) {
        behind = one.object;
        if (one.state == HomeState::leaving) ++leaving;
        if (one.state != HomeState::here || !one.is_registered) continue;
        if (leaving >= kLeavingMax) return false;
        DOLMEN_CHECK(send(client, one, deadline_ns));
        ++leaving;
      }
      if (listing.objects.size() < node::kHomesListed) return false;
    }
  }

  [[nodiscard]] Result<void> send(ReplicatedClient& client, const HomeStatus& one,
                                  std::uint64_t deadline_ns) {
    std::size_t& times = asked[one.object];
    const GroupNumber to = others[next++ % others.size()];
    if (++times > kRounds * others.size()) return refused(one.why, to);
    DOLMEN_TRY(const HomeReply reply,
               ask_space(client, {.object = one.object, .group = to}, deadline_ns));
    // One that is to be removed as well: the next one may take it.
    if (reply.verdict == HomeVerdict::closed) return {};
    return verdict_of(reply, to);
  }
};

}  // namespace

Result<void> Cluster::drain_group(std::uint32_t group, std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  DOLMEN_CHECK(impl_->space_called(group, deadline_ns));
  DOLMEN_CHECK(impl_->refresh(deadline_ns));
  Draining draining;
  for (const auto& [number, one] : impl_->map.groups()) {
    const bool is_space = one.kind == cluster::GroupKind::space && !one.is_directory();
    if (is_space && number != group) draining.others.push_back(number);
  }
  if (draining.others.empty()) {
    return fail(Errc::invalid_argument, "there is no other space that could take its objects");
  }
  const auto until_done = [&](const auto& step) -> Result<void> {
    for (Pauses pauses;; pauses.wait()) {
      const Result<bool> stepped = step();
      if (!stepped && !is_passing(stepped.error())) return std::unexpected(stepped.error());
      if (stepped && *stepped) return {};
      if (node::now_ns() >= deadline_ns) {
        return fail(Errc::timed_out, "it is not drained yet: the same again goes on");
      }
    }
  };
  const auto tell = [&](GroupNumber to, const HomeRequest& request) {
    return until_done([&]() -> Result<bool> {
      DOLMEN_TRY(ReplicatedClient* const client, impl_->client_of(to, deadline_ns));
      DOLMEN_TRY(const HomeReply reply, ask_space(*client, request, deadline_ns));
      DOLMEN_CHECK(verdict_of(reply, group));
      return reply.verdict == HomeVerdict::applied;
    });
  };
  DOLMEN_CHECK(tell(group, {.kind = HomeRequest::Kind::drain}));
  DOLMEN_CHECK(until_done([&]() -> Result<bool> {
    DOLMEN_TRY(ReplicatedClient* const client, impl_->client_of(group, deadline_ns));
    return draining.step(*client, deadline_ns);
  }));
  // From here on nobody sends it anything.
  for (const GroupNumber other : draining.others) {
    DOLMEN_CHECK(tell(other, {.kind = HomeRequest::Kind::close, .group = group}));
    DOLMEN_CHECK(until_done([&]() -> Result<bool> {
      DOLMEN_TRY(ReplicatedClient* const client, impl_->client_of(other, deadline_ns));
      DOLMEN_TRY(const HomeListing listing,
                 list(*client, {.kind = HomeQuery::Kind::closed, .group = group}, deadline_ns));
      return listing.is_closed;
    }));
  }
  return {};
}

Result<void> Cluster::undrain_group(std::uint32_t group, std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  DOLMEN_CHECK(impl_->space_called(group, deadline_ns));
  DOLMEN_CHECK(impl_->refresh(deadline_ns));
  // Who closed it sends it nothing any more, for ever.
  for (const auto& [other, one] : impl_->map.groups()) {
    const bool is_space = one.kind == cluster::GroupKind::space && !one.is_directory();
    if (!is_space || other == group) continue;
    DOLMEN_TRY(ReplicatedClient* const its, impl_->client_of(other, deadline_ns));
    DOLMEN_TRY(const HomeListing listing,
               list(*its, {.kind = HomeQuery::Kind::closed, .group = group}, deadline_ns));
    if (!listing.is_closed) continue;
    return fail(Errc::unsupported,
                "its drain was finished, which is for good: no other space gives it objects",
                group);
  }
  DOLMEN_TRY(ReplicatedClient* const client, impl_->client_of(group, deadline_ns));
  DOLMEN_TRY(const HomeReply reply,
             ask_space(*client, {.kind = HomeRequest::Kind::undrain}, deadline_ns));
  return verdict_of(reply, group);
}

}  // namespace dolmen
