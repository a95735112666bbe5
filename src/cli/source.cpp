// SPDX-License-Identifier: Apache-2.0
#include "cli/source.hpp"

#include <chrono>
#include <cstdint>

#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "node/open_space.hpp"
#include "node/space_copy.hpp"
#include "node/space_of_cluster.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace {

constexpr double kSourcePatienceMaxS = 1e6;

}  // namespace

void add_source(CLI::App& command, Source& source) {
  command
      .add_option("DIR", source.directory,
                  "the space: its directory, or dolmen://HOST:PORT/SPACE[?identity=FILE], of which "
                  "a copy is made first, as large as the space, where TMPDIR says; it goes with "
                  "the command")
      ->required();
  command.add_option("--patience", source.patience_s, "seconds without any answer of a cluster")
      ->check(number_between(0.0, kSourcePatienceMaxS))
      ->capture_default_str();
  add_progress(command, source.progress);
}

Result<Space> open_source(const Source& source) {
  if (!node::is_of_cluster(source.directory)) return open_to_read(source.directory);
  const std::chrono::milliseconds patience(static_cast<std::int64_t>(source.patience_s * 1000));
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(
      const SpaceOptions options,
      node::prepare_process(
          env, {.create = false, .read_only = true, .patience = patience, .background = false}));
  ProgressBar bar("copying from the cluster", source.progress);
  return node::open_space_of_cluster(
      env, source.directory, options,
      [&](std::uint64_t part, std::uint64_t whole) { bar.show(part, whole); });
}

bool is_empty_space(const Error& error) {
  return error.code() == Errc::not_found && error.context() == node::kNothingYet;
}

int not_opened(const Source& source, const Error& error) {
  if (!node::is_of_cluster(source.directory)) return not_opened(source.directory, error);
  const std::string space = "'" + shown(node::space_address(source.directory).name) + "'";
  switch (error.code()) {
    case Errc::no_space:
      return failed(error.message() + ": TMPDIR says where the copy of " + space + " is made");
    case Errc::unfinished:
      return failed(as_said(error) + ": `dolmen import` of " + space +
                    " has not ended; repeat that first");
    case Errc::busy:
      return failed(error.message() + ": somebody else copies " + space + "; try again later");
    default:
      (void)failed(shown(error.message()));  // spaces of the cluster are named in it
      return error.code() == Errc::corrupt ? kDamaged : kFailed;
  }
}

}  // namespace dolmen::cli
