// SPDX-License-Identifier: Apache-2.0
//
// Spaces between a directory and a cluster, as clients move them: all objects with their ids and
// bytes, as of one moment (docs/cluster.md).
//
// Threads: one, and one that reads or writes.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>
#include <dolmen/replicated.hpp>

#include "node/inspect.hpp"
#include "sys/disk.hpp"
#include "sys/env.hpp"

namespace dolmen::node {

/// What an export of a space says (not_found) in which nothing was ever made.
inline constexpr const char* kNothingYet = "anything in that space yet";

struct CopySummary {
  ObjectId space;             ///< which the copy is, too
  std::uint64_t commit = 0;   ///< the last one in it, by the count of where it comes from
  std::uint64_t objects = 0;  ///< the space's own included
  std::uint64_t bytes = 0;    ///< that were sent by this call
  bool goes_on = false;       ///< with what an earlier call had begun
};

/// Makes the space in `directory` the one of the client's group, which has none. Until it is
/// complete, calls and queries of it say unfinished; what was cut short goes on when the same
/// directory, unchanged, is imported again. The directory is locked meanwhile and stays as it is.
/// `patience`: for each part. Errors: not_a_space, not_found, held, corrupt (a damaged page: the
/// part of the space that was sent stays, invisible), already_exists (the group's space is in use,
/// or another one is being imported there), those of ReplicatedClient::call().
[[nodiscard]] Result<CopySummary> import_space(const sys::Env& env, const std::string& directory,
                                               ReplicatedClient& client,
                                               std::chrono::milliseconds patience,
                                               const Progress& progress = {});

/// Makes an embedded space of the group's, in a directory that is not there or holds nothing (or
/// what an export that was cut short left): everything that anybody was answered before. Until it
/// returns there is no space in it. `patience`: without any answer. Errors: already_exists,
/// not_found (nothing was ever put into the group's space), unfinished (it is being imported),
/// busy (another copy is being made), no_space, io_error, timed_out.
[[nodiscard]] Result<CopySummary> export_space(const sys::Env& env, ReplicatedClient& client,
                                               const std::string& directory,
                                               std::chrono::milliseconds patience,
                                               const Progress& progress = {});
/// The same on an empty disk, which is the caller's.
[[nodiscard]] Result<CopySummary> export_space(const sys::Env& env, ReplicatedClient& client,
                                               sys::Disk& disk, std::chrono::milliseconds patience,
                                               const Progress& progress = {});

}  // namespace dolmen::node
