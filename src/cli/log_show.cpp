// SPDX-License-Identifier: Apache-2.0
//
// dolmen log show: what is in the log of a cluster's group (docs/cli.md).
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include <dolmen/cluster.hpp>

#include "cli/command.hpp"
#include "cli/demo_screen.hpp"
#include "node/group_log.hpp"

namespace dolmen::cli {

namespace {

struct LogShowOptions {
  std::string address;
  node::GroupLogQuestion question{.group = {}, .count = 20};
  double patience_s = 10;
  bool json = false;
};

constexpr std::uint64_t kShownEntriesMax = 1'000'000;
constexpr double kShowPatienceMaxS = 1e6;

int show_log(const LogShowOptions& options) {
  const auto address = ClusterAddress::parse(options.address);
  if (!address) return failed(address.error());
  const std::chrono::milliseconds patience(static_cast<std::int64_t>(options.patience_s * 1000));
  const auto log = node::read_group_log(*address, options.question, patience);
  if (!log) return failed(log.error());
  if (options.json) {
    Json entries = Json::array();
    for (const node::GroupLog::Entry& entry : log->entries) {
      entries.push_back({{"index", entry.index},
                         {"epoch", entry.epoch},
                         {"kind", entry.kind},
                         {"decided", entry.index <= log->stable_index},
                         {"bytes", entry.bytes},
                         {"what", entry.what}});
    }
    print_json({{"group", log->group},
                {"member", log->member},
                {"first_index", log->first_index},
                {"last_index", log->last_index},
                {"stable_index", log->stable_index},
                {"entries", std::move(entries)}});
    return kOk;
  }
  if (log->last_index < log->first_index) {
    std::printf("group %u at node %u: no entries, for a snapshot stands for all up to %s\n",
                log->group, log->member, grouped(log->last_index).c_str());
  } else {
    std::printf("group %u at node %u: entries %s to %s, decided up to %s\n", log->group,
                log->member, grouped(log->first_index).c_str(), grouped(log->last_index).c_str(),
                grouped(log->stable_index).c_str());
  }
  std::printf("%s%s%s%s%s\n", column("INDEX", 10).c_str(), column("EPOCH", 6).c_str(),
              column("KIND", 13).c_str(), column("BYTES", 9).c_str(), "WHAT");
  for (const node::GroupLog::Entry& entry : log->entries) {
    const std::string note = entry.index <= log->stable_index ? "" : "(not decided) ";
    std::printf("%s%s%s%s%s%s\n", column(std::to_string(entry.index), 10).c_str(),
                column(std::to_string(entry.epoch), 6).c_str(), column(entry.kind, 13).c_str(),
                column(std::to_string(entry.bytes), 9).c_str(), note.c_str(),
                shown(entry.what).c_str());
  }
  return kOk;
}

}  // namespace

void add_log_show(CLI::App& log, Chosen& chosen) {
  auto options = std::make_shared<LogShowOptions>();
  CLI::App* const command = add_command(
      log, "show", "what is in the log of a cluster's group, as one member has it",
      "dolmen log show 'dolmen://127.0.0.1:7401?identity=keys/client-1.key' web", options->json);
  add_cluster_address(*command, options->address);
  command->add_option("GROUP", options->question.group, "its name or its number; 1 is the root")
      ->required();
  command->add_option("--from", options->question.from,
                      "index of the first entry; the last ones if it is not given");
  command->add_option("--count", options->question.count, "how many entries, at most")
      ->check(CLI::Range(std::uint64_t{1}, kShownEntriesMax))
      ->capture_default_str();
  command->add_option("--member", options->question.member,
                      "the node that is asked; whichever answers if it is not given");
  command->add_option("--patience", options->patience_s, "seconds, in all")
      ->check(number_between(0.0, kShowPatienceMaxS))
      ->capture_default_str();
  command->callback([options, &chosen] { chosen.run = [options] { return show_log(*options); }; });
}

}  // namespace dolmen::cli
