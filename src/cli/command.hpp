// SPDX-License-Identifier: Apache-2.0
//
// What every command shares: exit codes, messages, and values as JSON or text. docs/cli.md is the
// promise to users.
//
// Thread contract: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <dolmen/space.hpp>

#include "node/inspect.hpp"

namespace dolmen::cli {

using Json = nlohmann::ordered_json;

enum Exit : int { kOk = 0, kFailed = 1, kUsage = 2, kDamaged = 3 };

/// A command's result is decided by what `run` returns; set by the subcommand that was chosen.
struct Chosen {
  std::function<int()> run;
};

/// Each adds its subcommand to the program.
void add_init(CLI::App& app, Chosen& chosen);
void add_cluster(CLI::App& app, Chosen& chosen);
void add_ls(CLI::App& app, Chosen& chosen);
void add_inspect(CLI::App& app, Chosen& chosen);
void add_stat(CLI::App& app, Chosen& chosen);
void add_check(CLI::App& app, Chosen& chosen);
void add_scrub(CLI::App& app, Chosen& chosen);
void add_dump(CLI::App& app, Chosen& chosen);
void add_load(CLI::App& app, Chosen& chosen);
void add_doctor(CLI::App& app, Chosen& chosen);
void add_demo(CLI::App& app, Chosen& chosen);
void add_log(CLI::App& app, Chosen& chosen);
void add_log_show(CLI::App& log, Chosen& chosen);
void add_node(CLI::App& app, Chosen& chosen);
void add_index(CLI::App& app, Chosen& chosen);
void add_object(CLI::App& app, Chosen& chosen);
void add_up(CLI::App& app, Chosen& chosen);
void add_move(CLI::App& app, Chosen& chosen);
void add_top(CLI::App& app, Chosen& chosen);
void add_tree(CLI::App& app, Chosen& chosen);

/// A subcommand with --json and an example under its help.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description,
                      const std::string& example, bool& json);

/// A subcommand that has subcommands of its own, and an example under its help.
CLI::App* add_commands(CLI::App& app, const std::string& name, const std::string& description,
                       const std::string& example);
/// As examples name a cluster: one word for a shell.
inline constexpr const char* kExampleCluster = "'dolmen://127.0.0.1:7401?identity=client-1.key'";

/// The argument ADDRESS, of a cluster. What is none is wrong usage.
void add_cluster_address(CLI::App& command, std::string& address);
/// A number from `least` to `most`: what is no number (nan) is none of them.
[[nodiscard]] CLI::Validator number_between(double least, double most);
/// How many nodes keep a group.
[[nodiscard]] CLI::Validator group_size();
/// One of these words, and in its place what it stands for; of anything else it says which they
/// are.
template <class Value>
[[nodiscard]] CLI::Validator one_of(const std::map<std::string, Value>& words) {
  std::string all;
  for (const auto& [word, value] : words) all += (all.empty() ? "" : ", ") + word;
  return {[words, all](std::string& text) {
            const auto found = words.find(text);
            if (found == words.end()) return "'" + text + "' is none of " + all;
            text = std::to_string(static_cast<int>(found->second));
            return std::string();
          },
          "{" + all + "}"};
}

/// The option --progress.
void add_progress(CLI::App& command, bool& progress);

/// Says "dolmen: …" on standard error and gives kFailed, or kDamaged for stored bytes that do not
/// verify.
int failed(const Error& error);
int failed(std::string_view message);
/// Without what the code says in general, where that is not so: its name and its context.
std::string as_said(const Error& error);
/// What to do about a cluster's node whose directory is damaged. Said behind why.
inline constexpr const char* kDamagedNodeAdvice =
    ": this node's copy is damaged. With a majority of the others running, let another node join "
    "(`dolmen node token`, `dolmen node init --join`) and take this one out (`dolmen node drain`, "
    "`dolmen node remove`)";
/// The same for wrong usage, with where to read about it: of `command`, or of all; kUsage.
int misused(std::string_view message, const std::string& command = "");
/// Why this directory could not be opened, and what to do.
int not_opened(const std::string& directory, const Error& error);
/// The same for a directory that was to become a space.
int not_made(const std::string& directory, const Error& error);

/// Opens for looking only: works while a program is using the space.
[[nodiscard]] Result<Space> open_to_read(const std::string& directory);
/// The object that a user named. Errors: not_found, with where to look as the context.
[[nodiscard]] Result<ObjectId> find_object(const node::Explorer& explorer,
                                           const std::string& directory, const std::string& text);
/// What is said of one that was found by its name or id, and is not there.
[[nodiscard]] Error not_here(const Error& error, const std::string& text);

/// One JSON document and a line end on standard output; bytes that are not UTF-8 are replaced.
void print_json(const Json& json);
/// A column of `width` characters and two spaces.
[[nodiscard]] std::string column(std::string_view text, std::size_t width);
/// `text` with control characters and bytes beyond UTF-8 made harmless for a terminal.
[[nodiscard]] std::string shown(std::string_view text);

/// Values of objects: as JSON, and as indented text.
[[nodiscard]] Json value_json(const node::Value& value);
[[nodiscard]] std::string value_text(const node::Value& value, std::size_t indent = 0);

}  // namespace dolmen::cli
