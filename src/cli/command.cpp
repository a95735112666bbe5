// SPDX-License-Identifier: Apache-2.0
#include "cli/command.hpp"

#include <cstdio>

#include "sys/linux/child.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description,
                      const std::string& example, bool& json) {
  CLI::App* command = app.add_subcommand(name, description);
  command->add_flag("--json", json, "one JSON document on standard output");
  command->footer("Example:\n  " + example);
  return command;
}

int failed(std::string_view message) {
  std::fprintf(stderr, "dolmen: %.*s\n", static_cast<int>(message.size()), message.data());
  return kFailed;
}

int failed(const Error& error) { return failed(error.message()); }

Result<Space> open_to_read(const std::string& directory) {
  return Space::open(directory, {.create = false, .read_only = true, .background = false});
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

ProgressBar::ProgressBar(std::string what)
    : what_(std::move(what)),
      start_ns_(sys::linux_env().clock->monotonic_ns()),
      terminal_(sys::is_terminal(2)) {}

ProgressBar::~ProgressBar() {
  if (shown_ns_ != 0) std::fputs("\r\x1b[K", stderr);
}

void ProgressBar::show(std::uint64_t done, std::uint64_t total) {
  if (!terminal_ || total == 0) return;
  constexpr std::uint64_t kSecond = 1'000'000'000;
  const std::uint64_t now_ns = sys::linux_env().clock->monotonic_ns();
  if (now_ns - start_ns_ < kSecond || now_ns - shown_ns_ < kSecond / 10) return;
  shown_ns_ = now_ns;
  const double share = static_cast<double>(done) / static_cast<double>(total);
  std::fprintf(stderr, "\r\x1b[K%s: %3.0f %%", what_.c_str(), 100 * share);
  std::fflush(stderr);
}

}  // namespace dolmen::cli
