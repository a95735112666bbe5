// SPDX-License-Identifier: Apache-2.0
//
// Running the dolmen command as a user does, on directories of one's own. Tests only.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <dolmen/space.hpp>

namespace dolmen::cli::test {

namespace fs = std::filesystem;
using Json = nlohmann::json;

struct Outcome {
  int exit = -1;    ///< exit code
  int signal = 0;   ///< or what ended it
  std::string out;  ///< standard output
  std::string err;  ///< standard error

  [[nodiscard]] Json json() const {
    const Json document = Json::parse(out, nullptr, false);
    EXPECT_FALSE(document.is_discarded()) << out << err;
    return document;
  }
};

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline std::string documentation() {
  return read_file((fs::path(DOLMEN_SOURCE_DIR) / "docs/cli.md").string());
}

/// The cells of the table rows below a heading of docs/cli.md.
inline std::vector<std::vector<std::string>> table_below(const std::string& heading) {
  const std::string text = documentation();
  std::size_t at = text.find(heading + "\n");
  EXPECT_NE(at, std::string::npos) << heading;
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(text.substr(at + heading.size() + 1));
  for (std::string line; std::getline(lines, line) && !line.starts_with("#");) {
    if (!line.starts_with("| ") || line.starts_with("| ---")) continue;
    std::vector<std::string> cells;
    std::istringstream parts(line.substr(1));
    for (std::string cell; std::getline(parts, cell, '|');) cells.push_back(cell);
    rows.push_back(std::move(cells));
  }
  return rows;
}

/// The words between backticks that begin with a letter.
inline std::set<std::string> words_in(const std::string& cell) {
  std::set<std::string> words;
  static const std::regex kWord("`([a-z][a-z_0-9]*)[^`]*`");
  for (auto it = std::sregex_iterator(cell.begin(), cell.end(), kWord);
       it != std::sregex_iterator(); ++it) {
    words.insert((*it)[1]);
  }
  return words;
}

inline void keys_of(const Json& json, std::set<std::string>& keys) {
  if (json.is_array()) {
    for (const Json& item : json) keys_of(item, keys);
  }
  if (!json.is_object()) return;
  for (const auto& [key, value] : json.items()) {
    keys.insert(key);
    if (key != "value") keys_of(value, keys);
  }
}

/// A word of a shell's command line.
inline std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

class CliTest : public testing::Test {
 protected:
  CliTest() {
    std::string pattern = (fs::temp_directory_path() / "dolmen-cli-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
  }
  ~CliTest() override { fs::remove_all(root_); }

  [[nodiscard]] std::string path(const std::string& name) const { return root_ + "/" + name; }

  /// A line for the shell; `dolmen` stands for the command, "$D" for its path.
  [[nodiscard]] Outcome shell(const std::string& line) const {
    const std::string out = path("stdout");
    const std::string err = path("stderr");
    // Braces, so that a redirection in the line itself wins.
    const std::string whole = "cd " + quoted(root_) + " && D=" + quoted(DOLMEN_COMMAND) +
                              " && dolmen() { \"$D\" \"$@\"; } && { " + line + "; } >" +
                              quoted(out) + " 2>" + quoted(err);
    const int status = std::system(whole.c_str());
    Outcome run;
    run.out = read_file(out);
    run.err = read_file(err);
    if (WIFEXITED(status)) {
      run.exit = WEXITSTATUS(status);
    } else {
      run.signal = WTERMSIG(status);
    }
    return run;
  }
  [[nodiscard]] Outcome dolmen(const std::vector<std::string>& words) const {
    std::string line = "dolmen";
    for (const std::string& word : words) line += " " + quoted(word);
    return shell(line);
  }

  [[nodiscard]] dolmen::Space writer(const std::string& name) const {
    auto space = dolmen::Space::open(path(name));
    EXPECT_TRUE(space) << space.error().message();
    return std::move(*space);
  }

  /// An error as docs/cli.md promises it: this exit code, nothing on standard output, one line that
  /// says these words on standard error.
  static void expect_error(const Outcome& run, int exit, const std::string& words) {
    EXPECT_EQ(run.exit, exit) << run.out << run.err;
    EXPECT_EQ(run.out, "");
    EXPECT_TRUE(run.err.starts_with("dolmen: ")) << run.err;
    EXPECT_TRUE(run.err.ends_with("\n")) << run.err;
    EXPECT_NE(run.err.find(words), std::string::npos) << run.err << "instead of " << words;
  }

  std::string root_;
};

/// What a command says that changed something, without where that is: in group `group`, 0: in any.
inline Json without_commit(Json json, std::uint64_t group = 0) {
  const Json commit = json["commit"];
  EXPECT_GT(commit.value("index", 0u), 0u) << json;
  EXPECT_EQ(commit.value("level", ""), "durable") << json;
  EXPECT_TRUE(group == 0 || commit.value("group", std::uint64_t{0}) == group) << json;
  json.erase("commit");
  return json;
}

/// The exit codes of docs/cli.md.
enum Exit { kOk = 0, kFailed = 1, kUsage = 2, kDamaged = 3 };

}  // namespace dolmen::cli::test
