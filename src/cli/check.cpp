// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "cli/command.hpp"
#include "cli/demo_screen.hpp"
#include "cli/progress.hpp"
#include "cli/source.hpp"

namespace dolmen::cli {

namespace {

struct CheckOptions {
  Source source;
  bool json = false;
};

int check(const CheckOptions& options) {
  auto space = open_source(options.source);
  if (!space) return not_opened(options.source, space.error());
  auto explorer = node::Explorer::make(*space);
  if (!explorer) return failed(explorer.error());
  const auto objects = explorer->objects();
  if (!objects) return failed(objects.error());
  Json rows = Json::array();
  std::uint64_t found = 0;
  {
    ProgressBar bar("checking objects", options.source.progress);
    for (std::uint64_t i = 0; i < objects->size(); ++i) {
      bar.show(i, objects->size());
      const auto findings = explorer->check((*objects)[i]);
      if (!findings) return failed(findings.error());
      for (const node::Finding& finding : *findings) {
        ++found;
        if (options.json) {
          rows.push_back({{"object", finding.object.to_string()},
                          {"what", finding.what},
                          {"where", finding.where},
                          {"detail", finding.detail}});
        } else {
          std::printf("%s: %s: %s%s%s\n", finding.object.to_string().c_str(), finding.what.c_str(),
                      shown(finding.where).c_str(), finding.where.empty() ? "" : ": ",
                      shown(finding.detail).c_str());
        }
      }
    }
  }
  if (options.json) {
    print_json({{"objects", objects->size()}, {"findings", std::move(rows)}});
  } else {
    std::printf("%s objects checked, %s findings\n", grouped(objects->size()).c_str(),
                grouped(found).c_str());
  }
  return found == 0 ? kOk : kDamaged;
}

Json damage_json(const node::StoredDamage& found) {
  Json row{{"what", found.what}, {"where", found.where}, {"file", nullptr}, {"offset", nullptr},
           {"bytes", nullptr},   {"object", nullptr},    {"page", nullptr}};
  if (!found.file.empty()) {
    row["file"] = found.file;
    row["offset"] = found.offset;
    row["bytes"] = found.bytes;
  }
  if (found.object) {
    row["object"] = found.object->to_string();
    row["page"] = found.page;
  }
  return row;
}

int scrub(const CheckOptions& options) {
  // Of a copy it would say nothing of the disks that the space lies on.
  if (options.source.directory.starts_with("dolmen://")) {
    return misused("'" + shown(options.source.directory) +
                       "' is of a cluster, whose nodes verify what they read; this wants a "
                       "directory (`dolmen export` makes one)",
                   "scrub");
  }
  auto space = open_to_read(options.source.directory);
  if (!space) return not_opened(options.source.directory, space.error());
  Result<node::ScrubSummary> summary = [&] {
    ProgressBar bar("reading and verifying", options.source.progress);
    return node::scrub(*space,
                       [&](std::uint64_t done, std::uint64_t total) { bar.show(done, total); });
  }();
  if (!summary) return failed(summary.error());
  if (options.json) {
    Json damage = Json::array();
    for (const node::StoredDamage& found : summary->damage) damage.push_back(damage_json(found));
    print_json({{"blocks", summary->blocks},
                {"bytes", summary->bytes},
                {"records", summary->records},
                {"damage", std::move(damage)}});
  } else {
    for (const node::StoredDamage& found : summary->damage) {
      std::printf("damaged: %s\n", found.where.c_str());
    }
    std::printf("%s blocks (%s) and %s log records verified, %s damaged\n",
                grouped(summary->blocks).c_str(), size_text(summary->bytes).c_str(),
                grouped(summary->records).c_str(), grouped(summary->damage.size()).c_str());
  }
  return summary->damage.empty() ? kOk : kDamaged;
}

}  // namespace

void add_check(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command =
      add_command(app, "check", "check every object: header, id, heap, pointers, stray addresses",
                  "dolmen check web.dolmen", options->json);
  add_source(*command, options->source);
  command->callback([options, &chosen] { chosen.run = [options] { return check(*options); }; });
}

void add_scrub(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command = add_command(app, "scrub", "read and verify every stored byte in use",
                                  "dolmen scrub web.dolmen", options->json);
  command->add_option("DIR", options->source.directory, "the space")->required();
  add_progress(*command, options->source.progress);
  command->callback([options, &chosen] { chosen.run = [options] { return scrub(*options); }; });
}

}  // namespace dolmen::cli
