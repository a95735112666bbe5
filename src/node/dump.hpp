// SPDX-License-Identifier: Apache-2.0
//
// A space as one stream, and a stream as a space. What dump() wrote, load() reads: both verify
// every object in the same way.
//
// Memory: the stored pages of the largest object, the names, and some 100 MiB.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <dolmen/error.hpp>
#include <dolmen/space.hpp>

#include "node/inspect.hpp"
#include "store/dump_format.hpp"
#include "sys/env.hpp"

namespace dolmen::node {

struct DumpSummary {
  store::DumpHeader from;  ///< the dumped space and its commit
  ObjectId space;          ///< load: the new space
  store::DumpCounts counts;
  std::uint64_t bytes = 0;            ///< of the stream
  std::uint64_t names_elsewhere = 0;  ///< dump: of objects that are not in the space: left out
};

/// Writes every object and name as of the commit that the reader sees, but for names of objects
/// that are not there: in a cluster they have moved to another space. `progress` counts bytes of
/// the space.
/// Requires: `space` was opened read-only (a writer is not disturbed).
/// Errors: corrupt (a page or an object that does not verify: the context names it), closed (a
/// writer reused what is being read; open and dump again), not_found (the space's creation was cut
/// short), limit (a name too long), invalid_argument, io_error, the sink's own.
[[nodiscard]] Result<DumpSummary> dump(Space& space, store::ByteSink& sink,
                                       const Progress& progress = {});

/// How much a load holds in memory before it writes.
struct BatchLimits {
  std::uint64_t bytes = 64u << 20;
  std::size_t objects = 16u << 10;
  /// Larger objects are written from their image instead of being copied into the batch.
  std::uint64_t copy_bytes_max = 8u << 20;
};

using DiskOpener = std::function<Result<std::unique_ptr<sys::Disk>>()>;

/// Makes a space with the stream's objects and names in an empty directory, which is asked for when
/// the stream has turned out to be a dump. Until it returns, and for good if it is killed, the
/// directory cannot be opened; a load that is begun again there starts from nothing. After an error
/// the directory is as it was, but for a lock file.
/// `progress` counts bytes of the stream (its total is 0: unknown); `options` are as for any space.
/// Errors: corrupt and version_unsupported (the context names the place in the stream),
/// already_exists, held, no_space, io_error, the source's and the opener's own.
[[nodiscard]] Result<DumpSummary> load(const sys::Env& env, store::ByteSource& source,
                                       const DiskOpener& open_directory,
                                       const Progress& progress = {},
                                       const store::CreateOptions& options = {},
                                       const BatchLimits& limits = {});

}  // namespace dolmen::node
