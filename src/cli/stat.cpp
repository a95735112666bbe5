// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "cli/command.hpp"
#include "cli/demo_screen.hpp"
#include "cli/source.hpp"

namespace dolmen::cli {

namespace {

int stat(const Source& source, bool json) {
  auto space = open_source(source);
  if (!space) return not_opened(source, space.error());
  auto explorer = node::Explorer::make(*space);
  if (!explorer) return failed(explorer.error());
  const auto objects = explorer->objects();
  if (!objects) return failed(objects.error());
  const SpaceStats stats = space->stats();
  if (json) {
    print_json({{"space", stats.space_id.to_string()},
                {"objects", objects->size()},
                {"names", explorer->names().size()},
                {"last_index", stats.last_index},
                {"checkpoint_index", stats.checkpoint_index},
                {"log_tail_bytes", stats.log_tail_bytes},
                {"log_disk_bytes", stats.log_disk_bytes},
                {"pages_disk_bytes", stats.pages_disk_bytes},
                {"pages_live_bytes", stats.pages_live_bytes},
                {"version_disk_bytes", stats.version_disk_bytes}});
    return kOk;
  }
  const auto line = [](const char* what, const std::string& value) {
    std::printf("%s%s\n", column(what, 20).c_str(), value.c_str());
  };
  line("space", stats.space_id.to_string());
  line("objects", grouped(objects->size()));
  line("names", grouped(explorer->names().size()));
  line("last commit", grouped(stats.last_index));
  line("last checkpoint", grouped(stats.checkpoint_index));
  line("log since then", size_text(stats.log_tail_bytes));
  line("log on disk", size_text(stats.log_disk_bytes));
  line("pages on disk", size_text(stats.pages_disk_bytes));
  line("pages in use", size_text(stats.pages_live_bytes));
  line("old pages for views", size_text(stats.version_disk_bytes));
  return kOk;
}

}  // namespace

void add_stat(CLI::App& app, Chosen& chosen) {
  struct Options {
    Source source;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "stat", "figures of a space: objects, commits, bytes",
                                  "dolmen stat web.dolmen", options->json);
  add_source(*command, options->source);
  command->callback([options, &chosen] {
    chosen.run = [options] { return stat(options->source, options->json); };
  });
}

}  // namespace dolmen::cli
