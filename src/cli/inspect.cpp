// SPDX-License-Identifier: Apache-2.0
#include <cctype>
#include <charconv>
#include <cstdio>

#include "cli/command.hpp"
#include "cli/demo_screen.hpp"
#include "cli/source.hpp"

namespace dolmen::cli {

namespace {

struct InspectOptions {
  Source source;
  std::string object;
  node::ValueLimits limits;
  bool json = false;
};

/// "ID:OFFSET", as pointers are shown, in its two parts; a name may contain colons too.
bool split_offset(const std::string& text, std::string& object, std::uint64_t& offset) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || !ObjectId::parse(text.substr(0, colon))) return false;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data() + colon + 1, end, offset);
  if (error != std::errc() || at != end) return false;
  object = text.substr(0, colon);
  return true;
}

int inspect(const InspectOptions& options) {
  auto space = open_source(options.source);
  if (!space) return not_opened(options.source, space.error());
  auto explorer = node::Explorer::make(*space);
  if (!explorer) return failed(explorer.error());
  std::string object = options.object;
  std::uint64_t offset = 0;
  (void)split_offset(options.object, object, offset);
  const auto id = find_object(*explorer, options.source.directory, object);
  if (!id) return failed(id.error());
  const auto facts = explorer->facts(*id);
  if (!facts) return failed(not_here(facts.error(), object));
  const auto value = explorer->value(*id, offset, options.limits);
  if (!value) return failed(value.error());
  if (options.json) {
    Json json{{"object", id->to_string()}, {"capacity", facts->capacity}};
    if (offset == 0) {
      json["type"] = facts->type;
    } else {
      json["offset"] = offset;
    }
    json["value"] = value_json(*value);
    print_json(json);
    return kOk;
  }
  const std::string title =
      offset == 0 ? shown(facts->type) : "allocation at offset " + std::to_string(offset);
  std::printf("%s  object %s  %s, %s allocated, %llu references\n%s\n", title.c_str(),
              id->to_string().c_str(), size_text(facts->capacity).c_str(),
              size_text(facts->allocated_bytes).c_str(),
              static_cast<unsigned long long>(facts->foreign), value_text(*value).c_str());
  return kOk;
}

}  // namespace

void add_inspect(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = add_command(app, "inspect", "show an object's values by field name",
                                  "dolmen inspect web.dolmen crawl --limit 5", options->json);
  add_source(*command, options->source);
  command->add_option("OBJECT", options->object, "a name, an id, or ID:OFFSET as pointers show it")
      ->required();
  command
      ->add_option("--limit", options->limits.elements,
                   "elements shown of each array, vector or map")
      ->check(number_between(0, 1e15))
      ->capture_default_str();
  command
      ->add_option("--depth", options->limits.depth,
                   "levels of structs and containers shown inside each other")
      ->check(CLI::Range(1u, node::kValueDepthMax))
      ->capture_default_str();
  command->callback([options, &chosen] { chosen.run = [options] { return inspect(*options); }; });
}

}  // namespace dolmen::cli
