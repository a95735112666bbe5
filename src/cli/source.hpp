// SPDX-License-Identifier: Apache-2.0
//
// What a command that reads is given: the directory of a space, or a space of a cluster, of which
// it reads a copy (docs/cli.md).
//
// Thread contract: one thread.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include <dolmen/space.hpp>

namespace dolmen::cli {

struct Source {
  std::string directory;  ///< or dolmen://HOST:PORT[,HOST:PORT…]/SPACE[?identity=FILE]
  double patience_s = 30;
  bool progress = false;
};

/// DIR, --patience and --progress.
void add_source(CLI::App& command, Source& source);

/// Opens for looking only, as open_to_read() does. Of a cluster's space: as it is now, copied into
/// a temporary directory, and what is left of this process is a child of it
/// (sys::go_on_in_child()), behind which the directory is removed. Requires: nothing was printed
/// yet. Cost: the size of the space, in the directory and through the network.
[[nodiscard]] Result<Space> open_source(const Source& source);
/// Why it could not be opened, and what to do.
int not_opened(const Source& source, const Error& error);

}  // namespace dolmen::cli
