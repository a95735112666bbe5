// SPDX-License-Identifier: Apache-2.0
//
// dolmen import and export: a space between a directory and a cluster.
#include <cstdio>
#include <filesystem>
#include <string>

#include <dolmen/cluster.hpp>

#include "cli/command.hpp"
#include "cli/commit_json.hpp"
#include "cli/demo_screen.hpp"
#include "cli/progress.hpp"
#include "node/space_copy.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace {

struct MoveOptions {
  std::string directory;
  std::string address;  ///< of a cluster: dolmen://…
  std::string name;
  std::uint32_t size = 3;
  double patience_s = 30;
  bool json = false;
  bool progress = false;
};

constexpr double kMovePatienceMaxS = 1e6;

std::chrono::milliseconds patience_of(const MoveOptions& options) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(options.patience_s * 1000));
}

int not_imported(const MoveOptions& options, const Error& error) {
  const std::string name = "'" + shown(options.name) + "'";
  const std::string again = " Until it is complete nobody sees it; the same command goes on.";
  switch (error.code()) {
    case Errc::already_exists:
      return failed(name + " in the cluster: " + std::string(error.context()) +
                    "; choose another name");
    case Errc::held:
      return failed(std::string(error.message()) +
                    ": end the program that has the space open, and try again");
    case Errc::timed_out:
    case Errc::busy:
    case Errc::connection_lost:
      return failed(error.message() + ": the cluster may have a part of " + name + "." + again);
    default:
      return not_opened(options.directory, error);
  }
}

int import_it(const MoveOptions& options) {
  // Before a group is made for nothing.
  if (!std::filesystem::exists(std::filesystem::path(options.directory) / "space")) {
    const auto space = open_to_read(options.directory);
    if (!space) return not_opened(options.directory, space.error());
  }
  auto cluster = Cluster::open(options.address, patience_of(options));
  if (!cluster) return failed(cluster.error());
  const auto number = cluster->create_space(options.name, options.size, patience_of(options));
  if (!number) return failed(number.error());
  auto client = cluster->client(options.name, patience_of(options));
  if (!client) return failed(client.error());
  ProgressBar bar("importing", options.progress);
  const auto done =
      node::import_space(sys::linux_env(), options.directory, *client, patience_of(options),
                         [&](std::uint64_t part, std::uint64_t whole) { bar.show(part, whole); });
  if (!done) return not_imported(options, done.error());
  if (options.json) {
    print_json({{"group", *number},
                {"name", options.name},
                {"space", done->space.to_string()},
                {"from_commit", done->commit},
                {"objects", done->objects},
                {"bytes", done->bytes},
                {"resumed", done->goes_on},
                {"commit", commit_of(*client)}});
  } else {
    std::printf("space %s is group %u: %llu objects, %s\n", shown(options.name).c_str(), *number,
                static_cast<unsigned long long>(done->objects), size_text(done->bytes).c_str());
  }
  return kOk;
}

int not_exported(const MoveOptions& options, const Error& error) {
  const bool of_directory = error.context() == options.directory;
  if (of_directory) return not_made(options.directory, error);
  switch (error.code()) {
    case Errc::unfinished:
      return failed(as_said(error) + ": `dolmen import` of it has not ended; repeat that first");
    case Errc::timed_out:
    case Errc::no_space:
    case Errc::io_error:
      return failed(error.message() + ": there is no space in '" + shown(options.directory) +
                    "'; the same command begins again");
    default:
      return failed(error);
  }
}

int export_it(const MoveOptions& options) {
  auto cluster = Cluster::open(options.address, patience_of(options));
  if (!cluster) return failed(cluster.error());
  auto client = cluster->client(options.name, patience_of(options));
  if (!client) return failed(client.error());
  ProgressBar bar("exporting", options.progress);
  const auto done =
      node::export_space(sys::linux_env(), *client, options.directory, patience_of(options),
                         [&](std::uint64_t part, std::uint64_t whole) { bar.show(part, whole); });
  if (!done) return not_exported(options, done.error());
  if (options.json) {
    print_json({{"directory", options.directory},
                {"name", options.name},
                {"space", done->space.to_string()},
                {"commit", done->commit},
                {"objects", done->objects},
                {"bytes", done->bytes}});
  } else {
    std::printf("made %s as of commit %llu: %llu objects, %s\n", shown(options.directory).c_str(),
                static_cast<unsigned long long>(done->commit),
                static_cast<unsigned long long>(done->objects), size_text(done->bytes).c_str());
  }
  return kOk;
}

}  // namespace

void add_move(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<MoveOptions>();
  const auto add = [&](const char* name, const char* description, const char* example,
                       int (*run)(const MoveOptions&)) {
    CLI::App* const command = add_command(app, name, description, example, options->json);
    command->add_option("--patience", options->patience_s, "seconds without any answer")
        ->check(number_between(0.0, kMovePatienceMaxS))
        ->capture_default_str();
    add_progress(*command, options->progress);
    command->callback([options, run, &chosen] { chosen.run = [=] { return run(*options); }; });
    return command;
  };
  CLI::App* const in =
      add("import", "let a cluster keep the space of a directory",
          "dolmen import web.dolmen 'dolmen://127.0.0.1:7401?identity=keys/client-1.key' web",
          import_it);
  in->add_option("DIR", options->directory, "the space; no program has it open")->required();
  add_cluster_address(*in, options->address);
  in->add_option("NAME", options->name, "its name in the cluster")->required();
  in->add_option("--size", options->size, "how many nodes keep it")
      ->check(group_size())
      ->capture_default_str();
  CLI::App* const out =
      add("export", "make a directory of a cluster's space, as it is now",
          "dolmen export 'dolmen://127.0.0.1:7401?identity=keys/client-1.key' web copy.dolmen",
          export_it);
  add_cluster_address(*out, options->address);
  out->add_option("NAME", options->name, "the space's name")->required();
  out->add_option("DIR", options->directory, "a new or an empty directory")->required();
}

}  // namespace dolmen::cli
