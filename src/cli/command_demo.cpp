// SPDX-License-Identifier: Apache-2.0
#include "cli/command.hpp"
#include "cli/demo.hpp"

namespace dolmen::cli {

void add_demo(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<DemoOptions>();
  CLI::App* command =
      add_command(app, "demo", "the machine's packages as a graph that survives kill -9",
                  "dolmen demo --quick", options->json);
  command->add_option("--dir", options->directory, "keep the space there (default: a fresh one)");
  command->add_option("--input", options->input, "a file as `apt-cache dumpavail` prints it");
  command->add_flag("--quick", options->quick, "three sections of the archive only, fewer rounds");
  command->add_flag("--keep", options->keep, "leave the temporary directory behind");
  command->add_option("--child", options->child)->group("");
  command->callback([options, &chosen] { chosen.run = [options] { return run_demo(*options); }; });
}

}  // namespace dolmen::cli
