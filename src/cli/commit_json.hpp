// SPDX-License-Identifier: Apache-2.0
//
// Where a change is, as commands say it with --json: `commit`.
#pragma once

#include <dolmen/replicated.hpp>

#include "cli/command.hpp"

namespace dolmen::cli {

/// Of the last change by a client of a cluster, a group or an index; null: it took none.
template <class Client>
[[nodiscard]] Json commit_of(const Client& client) {
  if (client.last_call().group == 0) return nullptr;
  const ReplicatedCommit commit = client.last_commit();
  const char* const level = commit.level == ReplicatedLevel::durable ? "durable" : "replicated";
  return {{"group", client.last_call().group}, {"index", commit.index}, {"level", level}};
}

}  // namespace dolmen::cli
