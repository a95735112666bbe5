// SPDX-License-Identifier: Apache-2.0
//
// A space that the members of a replica group keep the same: objects, pointers and containers as in
// space.hpp, which survive the loss of a machine. docs/replicated-space.md shows a whole program.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/replicated.hpp>
#include <dolmen/space.hpp>
#include <dolmen/state_machine.hpp>

namespace dolmen {

/// A transaction that clients call by name. It runs in the memory of whoever leads the group, alone
/// and once; what it commits, in any number of transactions, is one entry of the group's log, and
/// what it returns is told when a majority has that durably. It may look at anything, and must keep
/// nothing of the space (views, references, addresses). An error or an exception is the caller's
/// result; what was committed before it stays.
class SpaceFunction {
 public:
  using Body =
      std::function<Result<std::vector<std::byte>>(Space& space, std::span<const std::byte>)>;
  SpaceFunction() = default;
  template <class Callable>
    requires std::convertible_to<Callable, Body> && (!std::same_as<Callable, SpaceFunction>)
  SpaceFunction(Callable body) : body_(std::move(body)) {}

  /// One that changes nothing: query_space() runs it without an entry in the group's log. What it
  /// tries to change is refused with read_only, and stays as it was.
  [[nodiscard]] static SpaceFunction query(Body body) {
    SpaceFunction function(std::move(body));
    function.is_query_ = true;
    return function;
  }

  [[nodiscard]] const Body& body() const noexcept { return body_; }
  [[nodiscard]] bool is_query() const noexcept { return is_query_; }

 private:
  Body body_;
  bool is_query_ = false;
};
/// By name; up to 255 bytes, and not beginning with "dolmen.".
using SpaceFunctions = std::map<std::string, SpaceFunction, std::less<>>;

/// Beside what post() is given.
struct PostOptions {
  /// A function of the space that posts: called there, once, with what came of it (post_result()).
  /// Empty: nobody is told, and an error over there is nobody's.
  std::string_view on_result{};
  /// For that function.
  std::span<const std::byte> context{};
};

/// Called by a function of a space in a cluster (cluster.hpp): has `function` of another space run
/// there, exactly once, in the order of the posts from here to there. It is in one entry of the
/// log with what the caller commits and returns: decided with it, or not at all; and run only after
/// that. It runs on its own, as when a client calls it, and may post in turn. docs/mail.md.
///
/// Threads: that of the function, outside of transactions, views and reads: behind the transaction
/// that it tells of. If one fails, the whole call does nothing, and its caller gets the error.
/// Errors: invalid_argument (outside of a function of `space`, inside of a transaction, a name of
/// more than 255 bytes, the own group, a group that keeps no space), not_found (no group of that
/// name, as far as this node knows: it may be new), busy (mails of 64 MiB wait for their groups),
/// too_large (1 MiB - 4 KiB with names and context; 3 MiB in one call), limit (1000 in one call),
/// read_only (a query), unsupported (a space in no cluster).
[[nodiscard]] Result<void> post(Space& space, std::string_view group, std::string_view function,
                                std::span<const std::byte> arguments = {},
                                const PostOptions& options = {});
/// … of the group with this number.
[[nodiscard]] Result<void> post(Space& space, std::uint32_t group, std::string_view function,
                                std::span<const std::byte> arguments = {},
                                const PostOptions& options = {});

/// Called by a function of a space in a cluster that has a directory: from then on this object of
/// the space is found in all of the cluster by its id (Cluster::home(), Cluster::call()), until it
/// is erased. In one entry with the rest of the call, like a post(); who called the function hears
/// of it when the directory has logged it. Again: nothing. docs/homes.md.
///
/// Threads, and when it fails: as post(). Errors: invalid_argument (outside of a function of
/// `space`, inside of a transaction, no object), not_found (the space has no such object),
/// unsupported (a space in no cluster; a cluster without a directory, as far as this node knows),
/// limit (1000 in one call, a million in a space), busy (an object of this id was erased a moment
/// ago; the directory is not reached), read_only (a query).
[[nodiscard]] Result<void> publish(Space& space, const ObjectId& object);

/// What came of a post().
struct PostResult {
  std::vector<std::byte> context;
  /// Of the function over there. Its errors: its own; not_found (there is none of that name),
  /// aborted (it threw), too_large (its records, or what it returned), those of its posts.
  Result<std::vector<std::byte>> result;
};
/// Of the arguments of a function that `on_result` names. Errors: corrupt (a client called it).
[[nodiscard]] Result<PostResult> post_result(std::span<const std::byte> arguments);

namespace node {
class SpaceMachine;
}

/// One member's copy. Give machine() to Replicated::start(), on every member with the same
/// functions: whoever leads runs them. Threads: run() of the member uses it; the rest before and
/// after.
class ReplicatedSpace {
 public:
  /// `directory` is this copy's alone, and made if it is not there. With the member's own it
  /// belongs together: both are of one member of one group, and are made and cleared together.
  /// Between runs it is a space like any other for `dolmen inspect`, which may lack what the
  /// member's log holds. Errors: held, corrupt, already_exists (files that are no space's),
  /// version_unsupported, io_error, forked, invalid_argument (a name of more than 255 bytes or
  /// that is reserved, a function that is none, read_only). Of the options count
  /// max_transaction_bytes, view_memory_bytes, guard_stores and log_tail_bytes_max.
  [[nodiscard]] static Result<ReplicatedSpace> open(const std::string& directory,
                                                    SpaceFunctions functions,
                                                    const SpaceOptions& options = {});
  ReplicatedSpace(ReplicatedSpace&&) noexcept;
  ReplicatedSpace& operator=(ReplicatedSpace&&) noexcept;
  ~ReplicatedSpace();

  /// Good as long as this is.
  [[nodiscard]] StateMachine& machine() noexcept;

 private:
  explicit ReplicatedSpace(std::unique_ptr<node::SpaceMachine> machine) noexcept;
  std::unique_ptr<node::SpaceMachine> machine_;
};

/// Runs a function of the group's space; what it returned. Errors: the function's own; not_found
/// (there is none of that name); aborted (it threw something that is no dolmen error); too_large
/// (its records and its reply take more than 8 MiB); those of ReplicatedClient::call().
[[nodiscard]] Result<std::vector<std::byte>> call_space(
    ReplicatedClient& client, std::string_view function, std::span<const std::byte> arguments = {},
    std::chrono::milliseconds patience = std::chrono::seconds(10));

/// What became of a call_space(), as ReplicatedClient::outcome(): with what the function returned,
/// or its error. Errors: those, and corrupt (the call was of something else).
[[nodiscard]] Result<CallOutcome> space_outcome(
    ReplicatedClient& client, const CallId& call,
    std::chrono::milliseconds patience = std::chrono::seconds(10));

/// Runs a function that was made by SpaceFunction::query(), in the space of whoever leads: it sees
/// what every call did that was answered before this one began. Errors: the function's own;
/// read_only (it tried to change something, or is no query: nothing happened); not_found, aborted,
/// as of call_space(); those of ReplicatedClient::read().
/// `level`: linearizable, or by a lease of whoever leads, which is the same without a round of
/// questions to the others.
[[nodiscard]] Result<std::vector<std::byte>> query_space(
    ReplicatedClient& client, std::string_view function, std::span<const std::byte> arguments = {},
    std::chrono::milliseconds patience = std::chrono::seconds(10),
    ReadLevel level = ReadLevel::linearizable);

}  // namespace dolmen
