// SPDX-License-Identifier: Apache-2.0
#include "cli/command.hpp"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include <dolmen/cluster.hpp>

namespace dolmen::cli {

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description,
                      const std::string& example, bool& json) {
  CLI::App* command = app.add_subcommand(name, description);
  command->add_flag("--json", json, "one JSON document on standard output");
  command->footer("Example:\n  " + example);
  return command;
}

CLI::App* add_commands(CLI::App& app, const std::string& name, const std::string& description,
                       const std::string& example) {
  CLI::App* const command = app.add_subcommand(name, description);
  command->require_subcommand(1);
  command->footer("Example:\n  " + example);
  return command;
}

void add_cluster_address(CLI::App& command, std::string& address) {
  const CLI::Validator is_address(
      [](std::string& text) {
        // Whom it asks as may be said elsewhere, and is looked at when it asks.
        const bool says_who = text.empty() || text.find("identity=") != std::string::npos;
        const bool has_query = text.find('?') != std::string::npos;
        const std::string whole = says_who ? text : text + (has_query ? "&" : "?") + "identity=me";
        const auto parsed = ClusterAddress::parse(whole);
        if (parsed || text.empty()) return std::string();
        std::string why(parsed.error().context());
        if (why.starts_with(whole)) why.replace(0, whole.size(), text);
        return why;
      },
      "");
  command
      .add_option("ADDRESS", address,
                  "of the cluster: dolmen://HOST:PORT[,HOST:PORT…][?identity=FILE]")
      ->required()
      ->check(is_address);
}

CLI::Validator number_between(double least, double most) {
  const auto short_text = [](double number) {
    std::string text = std::to_string(number);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.ends_with('.')) text.pop_back();
    return text;
  };
  const std::string range = short_text(least) + " to " + short_text(most);
  return {[least, most, range](std::string& text) {
            double number = 0;
            const char* const end = text.data() + text.size();
            const auto [rest, wrong] = std::from_chars(text.data(), end, number);
            const bool is_one = wrong == std::errc{} && rest == end;
            if (is_one && number >= least && number <= most) return std::string();
            return "'" + text + "' is no number from " + range;
          },
          range};
}

CLI::Validator group_size() { return number_between(1, 9); }

void add_progress(CLI::App& command, bool& progress) {
  command.add_flag(
      "--progress", progress,
      "lines on standard error that say how far it is, also where that is no terminal");
}

int failed(std::string_view message) {
  std::fprintf(stderr, "dolmen: %.*s\n", static_cast<int>(message.size()), message.data());
  return kFailed;
}

int failed(const Error& error) {
  (void)failed(error.message());
  return error.code() == Errc::corrupt ? kDamaged : kFailed;
}

std::string as_said(const Error& error) {
  return std::string(error.name()) + ": " + std::string(error.context());
}

int misused(std::string_view message, const std::string& command) {
  (void)failed(std::string(message) + "; see dolmen " + command + (command.empty() ? "" : " ") +
               "--help");
  return kUsage;
}

int not_opened(const std::string& directory, const Error& error) {
  const std::string quoted = "'" + shown(directory) + "'";
  if (directory.starts_with("dolmen://")) {
    return failed(quoted + " is of a cluster, and this wants a directory: `dolmen export` makes " +
                  "one of a cluster's space");
  }
  const bool absent = error.code() == Errc::not_found && error.context().starts_with(directory);
  if (absent) {
    return failed("there is no directory " + quoted + "; `dolmen init` makes a space");
  }
  if (error.code() == Errc::not_a_space && error.context() == directory) {
    return failed(quoted + " holds no space; `dolmen init` makes one");
  }
  if (error.code() == Errc::io_error && error.detail() == ENOTDIR) {
    return failed(quoted + " is a file; a space is a directory");
  }
  if (error.code() == Errc::unfinished) {
    return failed(quoted + " holds a load that was cut short; run `dolmen load` with it again");
  }
  return failed(error);
}

int not_made(const std::string& directory, const Error& error) {
  const std::string quoted = "'" + shown(directory) + "'";
  const bool of_directory = error.context().starts_with(directory);
  if (of_directory && error.code() == Errc::not_found) {
    return failed(quoted + " cannot be made: the directory above it does not exist");
  }
  if (of_directory && error.code() == Errc::already_exists) {
    const bool space = std::filesystem::exists(directory + "/space");
    return failed(quoted + (space ? " holds a space already" : " is not empty") +
                  "; choose a new or an empty directory");
  }
  return not_opened(directory, error);
}

Result<Space> open_to_read(const std::string& directory) {
  return Space::open(directory, {.create = false, .read_only = true, .background = false});
}

Result<ObjectId> find_object(const node::Explorer& explorer, const std::string& directory,
                             const std::string& text) {
  auto found = explorer.find(text);
  if (found || found.error().code() != Errc::not_found) return found;
  return fail(Errc::not_found, interned("object '" + shown(text) + "'; `dolmen ls " +
                                        shown(directory) + " --all` lists them"));
}

Error not_here(const Error& error, const std::string& text) {
  if (error.code() != Errc::not_found) return error;
  return Error(Errc::not_found,
               interned("object '" + shown(text) +
                        "' in this space: it was erased, or lives in another space of the cluster "
                        "(`dolmen object where`)"));
}

void print_json(const Json& json) {
  const std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
}

std::string column(std::string_view text, std::size_t width) {
  std::string cell(text);
  if (cell.size() < width) cell.append(width - cell.size(), ' ');
  return cell + "  ";
}

std::string shown(std::string_view text) {
  // nlohmann's serialiser escapes quotes and control characters, and replaces what is not UTF-8.
  const std::string quoted =
      Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
  return quoted.substr(1, quoted.size() - 2);
}

}  // namespace dolmen::cli
