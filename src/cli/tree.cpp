// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <set>

#include "cli/command.hpp"
#include "cli/source.hpp"

namespace dolmen::cli {

namespace {

struct TreeOptions {
  Source source;
  std::string object;
  unsigned depth = 8;
  bool json = false;
};

class Tree {
 public:
  Tree(node::Explorer& explorer, unsigned depth_max) : explorer_(explorer), depth_max_(depth_max) {}

  /// Each object's references are followed once, where it is met first.
  Result<Json> walk(const ObjectId& id, unsigned depth, bool print) {
    DOLMEN_TRY(const node::ObjectFacts facts, explorer_.facts(id));
    const bool again = !seen_.insert(id).second;
    Json json{{"object", id.to_string()}, {"type", facts.type}};
    if (again) json["seen"] = true;
    if (print) {
      std::printf("%s%s  %s%s\n", std::string(2 * depth, ' ').c_str(), id.to_string().c_str(),
                  shown(facts.type).c_str(), again ? "  (see above)" : "");
    }
    if (again || facts.foreign == 0) return json;
    if (depth == depth_max_) {
      json["more"] = facts.foreign;
      if (print) {
        std::printf("%s… %u more; raise --depth\n", std::string(2 * depth + 2, ' ').c_str(),
                    facts.foreign);
      }
      return json;
    }
    DOLMEN_TRY(const auto targets, explorer_.references(id));
    json["references"] = Json::array();
    for (const ObjectId& target : targets) {
      auto child = walk(target, depth + 1, print);
      if (!child && child.error().code() == Errc::not_found) {
        if (print) {
          std::printf("%s%s  (not here)\n", std::string(2 * depth + 2, ' ').c_str(),
                      target.to_string().c_str());
        }
        child = Json{{"object", target.to_string()}, {"deleted", true}};
      }
      if (!child) return child;
      json["references"].push_back(std::move(*child));
    }
    return json;
  }

 private:
  node::Explorer& explorer_;
  unsigned depth_max_;
  std::set<ObjectId> seen_;
};

int tree(const TreeOptions& options) {
  auto space = open_source(options.source);
  if (!space) return not_opened(options.source, space.error());
  auto explorer = node::Explorer::make(*space);
  if (!explorer) return failed(explorer.error());
  const auto id = find_object(*explorer, options.source.directory, options.object);
  if (!id) return failed(id.error());
  const auto json = Tree(*explorer, options.depth).walk(*id, 0, !options.json);
  if (!json) return failed(not_here(json.error(), options.object));
  if (options.json) print_json(*json);
  return kOk;
}

}  // namespace

void add_tree(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<TreeOptions>();
  CLI::App* command = add_command(app, "tree", "the objects that an object reaches",
                                  "dolmen tree web.dolmen crawl --depth 2", options->json);
  add_source(*command, options->source);
  command->add_option("OBJECT", options->object, "a name or an id")->required();
  command->add_option("--depth", options->depth, "levels below the object")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command->callback([options, &chosen] { chosen.run = [options] { return tree(*options); }; });
}

}  // namespace dolmen::cli
