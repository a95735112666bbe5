// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <map>
#include <set>

#include "cli/command.hpp"
#include "cli/demo_screen.hpp"
#include "cli/progress.hpp"
#include "cli/source.hpp"

namespace dolmen::cli {

namespace {

struct LsOptions {
  Source source;
  bool all = false;
  bool json = false;
};

void print_heading() {
  std::printf("%s%s%s%s\n", column("OBJECT", 32).c_str(), column("CAPACITY", 9).c_str(),
              column("NAME", 20).c_str(), "TYPE");
}

int ls(const LsOptions& options) {
  auto space = open_source(options.source);
  if (!space && is_empty_space(space.error())) {
    if (options.json) print_json(Json::array());
    if (!options.json) print_heading();
    return kOk;
  }
  if (!space) return not_opened(options.source, space.error());
  auto explorer = node::Explorer::make(*space);
  if (!explorer) return failed(explorer.error());
  std::vector<std::pair<std::string, ObjectId>> listed;
  std::set<ObjectId> named;
  for (const NameEntry& entry : explorer->names()) {
    listed.emplace_back(entry.name, entry.object);
    named.insert(entry.object);
  }
  if (options.all) {
    const auto objects = explorer->objects();
    if (!objects) return failed(objects.error());
    for (const ObjectId& id : *objects) {
      if (!named.contains(id)) listed.emplace_back("", id);
    }
  }
  int exit = kOk;
  Json rows = Json::array();
  ProgressBar bar("listing", options.source.progress);
  std::uint64_t done = 0;
  if (!options.json) print_heading();
  for (const auto& [name, id] : listed) {
    bar.show(++done, listed.size());
    const auto facts = explorer->facts(id);
    // Names stay behind when an object moves to another space of its cluster.
    if (!facts && facts.error().code() == Errc::not_found && !name.empty()) {
      if (options.json) {
        rows.push_back({{"name", name}, {"object", id.to_string()}, {"elsewhere", true}});
      } else {
        std::printf("%s%s%s%s\n", column(id.to_string(), 32).c_str(), column("-", 9).c_str(),
                    column(shown(name), 20).c_str(), "(in another space)");
      }
      continue;
    }
    if (!facts) {
      exit = failed(facts.error());
      continue;
    }
    if (options.json) {
      Json row{{"name", nullptr},
               {"object", id.to_string()},
               {"type", facts->type},
               {"capacity", facts->capacity},
               {"allocated", facts->allocated_bytes},
               {"allocations", facts->allocations},
               {"references", facts->foreign},
               {"internal", facts->internal}};
      if (!name.empty()) row["name"] = name;
      rows.push_back(std::move(row));
    } else {
      std::printf("%s%s%s%s\n", column(id.to_string(), 32).c_str(),
                  column(size_text(facts->capacity), 9).c_str(),
                  column(name.empty() ? "-" : shown(name), 20).c_str(), shown(facts->type).c_str());
    }
  }
  if (options.json) print_json(rows);
  return exit;
}

}  // namespace

void add_ls(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<LsOptions>();
  CLI::App* command = add_command(app, "ls", "list objects with names, types and capacities",
                                  "dolmen ls web.dolmen --all", options->json);
  add_source(*command, options->source);
  command->add_flag("--all", options->all, "objects without a name too");
  command->callback([options, &chosen] { chosen.run = [options] { return ls(*options); }; });
}

}  // namespace dolmen::cli
