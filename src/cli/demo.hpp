// SPDX-License-Identifier: Apache-2.0
//
// `dolmen demo`: the machine's own package universe as a pointer graph; its loader is killed and
// resumed, another process reopens the space and asks; at last a cluster of three nodes keeps it,
// and the one that leads is killed. Every figure shown is measured in the run; every line of code
// shown is cut from the source that ran (examples/packages/).
//
// Thread contract: run_demo() is called once, from the program's first thread.
#pragma once

#include <string>

namespace dolmen::cli {

struct DemoOptions {
  std::string directory;  ///< where the space goes; empty: a fresh temporary directory
  std::string input;      ///< a file in the format of `apt-cache dumpavail`; empty: that command
  std::string child;      ///< hidden option --child: the part of the demo that this process plays
  bool json = false;      ///< one object with all figures on stdout, nothing else
  bool quick = false;     ///< three sections of the archive only, fewer rounds
  bool keep = false;      ///< leave the temporary directory behind; implied by `directory`
};

/// The exit code: 0 if every check of the demo held, 1 if one failed or it could not run, 128 and
/// the signal's number if it was interrupted.
[[nodiscard]] int run_demo(const DemoOptions& options);

}  // namespace dolmen::cli
