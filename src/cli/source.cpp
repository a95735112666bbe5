// SPDX-License-Identifier: Apache-2.0
#include "cli/source.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include <dolmen/cluster.hpp>

#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "cli/scratch.hpp"
#include "node/space_copy.hpp"
#include "sys/linux/linux.hpp"
#include "sys/linux/stand_by.hpp"

namespace dolmen::cli {

namespace {

constexpr std::string_view kClusterScheme = "dolmen://";
constexpr double kSourcePatienceMaxS = 1e6;

struct SpaceOfCluster {
  std::string address;
  std::string name;  ///< may hold '/' and '?', as names do
};

SpaceOfCluster split(const std::string& text) {
  const std::size_t hosts_end = text.find('/', kClusterScheme.size());
  const std::size_t query = std::min(text.rfind("?identity="), text.size());
  if (hosts_end == std::string::npos || hosts_end > query) return {.address = text, .name = {}};
  return {.address = text.substr(0, hosts_end) + text.substr(query),
          .name = text.substr(hosts_end + 1, query - hosts_end - 1)};
}

/// What could be meant instead.
Result<std::string> spaces_of(Cluster& cluster, std::chrono::milliseconds patience) {
  DOLMEN_TRY(const ClusterStatus status, cluster.status(patience));
  std::string names;
  for (const ClusterStatus::Group& group : status.groups) {
    if (group.kind == "space") names += (names.empty() ? "" : ", ") + shown(group.name);
  }
  return names.empty() ? "the cluster keeps no space yet" : "the cluster keeps " + names;
}

Result<void> copy(const Source& source, const std::string& to) {
  const std::chrono::milliseconds patience(static_cast<std::int64_t>(source.patience_s * 1000));
  const SpaceOfCluster from = split(source.directory);
  DOLMEN_TRY(Cluster cluster, Cluster::open(from.address, patience));
  if (from.name.empty()) {
    DOLMEN_TRY(const std::string names, spaces_of(cluster, patience));
    return fail(Errc::invalid_argument,
                interned("which space? (" + names + "; dolmen://HOST:PORT/SPACE names one)"));
  }
  auto client = cluster.client(from.name, patience);
  if (!client && client.error().code() == Errc::not_found) {
    DOLMEN_TRY(const std::string names, spaces_of(cluster, patience));
    return fail(Errc::not_found, interned("a space called " + shown(from.name) + "; " + names));
  }
  if (!client) return std::unexpected(client.error());
  DOLMEN_TRY(const ClusterStatus status, cluster.status(patience));
  for (const ClusterStatus::Group& group : status.groups) {
    if (group.name != from.name || group.kind == "space") continue;
    DOLMEN_TRY(const std::string names, spaces_of(cluster, patience));
    return fail(Errc::invalid_argument, interned(shown(from.name) + " is no space, but of kind " +
                                                 group.kind + "; " + names));
  }
  ProgressBar bar("copying from the cluster", source.progress);
  DOLMEN_CHECK(
      node::export_space(sys::linux_env(), *client, to, patience,
                         [&](std::uint64_t part, std::uint64_t whole) { bar.show(part, whole); }));
  return {};
}

bool is_of_cluster(const Source& source) { return source.directory.starts_with(kClusterScheme); }

}  // namespace

void add_source(CLI::App& command, Source& source) {
  command
      .add_option("DIR", source.directory,
                  "the space: its directory, or dolmen://HOST:PORT/SPACE[?identity=FILE], of which "
                  "a copy is made first, as large as the space, where TMPDIR says; it is removed "
                  "afterwards")
      ->required();
  command.add_option("--patience", source.patience_s, "seconds without any answer of a cluster")
      ->check(CLI::Range(0.0, kSourcePatienceMaxS))
      ->capture_default_str();
  add_progress(command, source.progress);
}

Result<Space> open_source(const Source& source) {
  if (!is_of_cluster(source)) return open_to_read(source.directory);
  std::optional<Scratch> scratch;
  DOLMEN_CHECK(sys::go_on_in_child(
      [&]() -> Result<void> {
        scratch.emplace("dolmen-copy");
        if (!scratch->path().empty()) return {};
        return fail(Errc::io_error, "no temporary directory can be made; TMPDIR says where");
      },
      [&] { scratch.reset(); }));
  const std::string to = scratch->path() + "/space";
  scratch->keep();  // who waits for this process removes it
  DOLMEN_CHECK(copy(source, to));
  return open_to_read(to);
}

int not_opened(const Source& source, const Error& error) {
  if (!is_of_cluster(source)) return not_opened(source.directory, error);
  const std::string space = "'" + shown(split(source.directory).name) + "'";
  switch (error.code()) {
    case Errc::no_space:
      return failed(error.message() + ": TMPDIR says where the copy of " + space + " is made");
    case Errc::unfinished:
      return failed(error.message() + ": `dolmen import` of " + space +
                    " has not ended; repeat that first");
    case Errc::busy:
      return failed(error.message() + ": somebody else copies " + space + "; try again later");
    default:
      return failed(error);
  }
}

}  // namespace dolmen::cli
