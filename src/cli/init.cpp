// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "cli/command.hpp"

namespace dolmen::cli {

namespace {

int init(const std::string& directory, bool json) {
  // Space::open() alone would open what is there.
  const auto existing = open_to_read(directory);
  if (existing) return not_made(directory, Error(Errc::already_exists, interned(directory)));
  if (existing.error().code() != Errc::not_a_space && existing.error().code() != Errc::not_found) {
    return not_opened(directory, existing.error());
  }
  auto space = Space::open(directory, {.background = false});
  if (!space) return not_made(directory, space.error());
  const ObjectId id = space->stats().space_id;
  if (const auto closed = space->close(); !closed) return failed(closed.error());
  if (json) {
    print_json({{"directory", directory}, {"space", id.to_string()}});
  } else {
    std::printf("made space %s in %s\n", id.to_string().c_str(), directory.c_str());
  }
  return kOk;
}

}  // namespace

void add_init(CLI::App& app, Chosen& chosen) {
  struct Options {
    std::string directory;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      app, "init", "make an empty space in a directory (keys of a cluster: `dolmen cluster init`)",
      "dolmen init web.dolmen", options->json);
  command->add_option("DIR", options->directory, "directory of the new space")->required();
  command->callback([options, &chosen] {
    chosen.run = [options] { return init(options->directory, options->json); };
  });
}

}  // namespace dolmen::cli
