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

/// Opens for looking only, as open_to_read() does. Of a cluster's space: as Space::open() does.
[[nodiscard]] Result<Space> open_source(const Source& source);
/// That nothing was ever made in it, so that there is no copy of it.
[[nodiscard]] bool is_empty_space(const Error& error);
/// Why it could not be opened, and what to do.
int not_opened(const Source& source, const Error& error);

}  // namespace dolmen::cli
