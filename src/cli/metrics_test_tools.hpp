// SPDX-License-Identifier: Apache-2.0
//
// A node's figures against docs/metrics.md, and asking for them as Prometheus does. Tests only.
#pragma once

#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <sys/socket.h>

#include "cli/command_test_tools.hpp"
#include "node/metrics_text.hpp"

namespace dolmen::cli::test {

/// What a server says to this, until it ends the connection. The asker's direction is ended at
/// once, as `nc -N` does it.
inline std::string answer_at(const std::string& host, int port, std::string_view request) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<std::uint16_t>(port));
  EXPECT_EQ(::inet_pton(AF_INET, host.c_str(), &where.sin_addr), 1);
  sockaddr bytes{};
  static_assert(sizeof bytes == sizeof where);
  std::memcpy(&bytes, &where, sizeof bytes);
  std::string answer;
  if (::connect(socket, &bytes, sizeof bytes) == 0) {
    EXPECT_EQ(::send(socket, request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    EXPECT_EQ(::shutdown(socket, SHUT_WR), 0);
    std::array<char, 4096> into{};
    for (ssize_t count = 0; (count = ::recv(socket, into.data(), into.size(), 0)) > 0;) {
      answer.append(into.data(), static_cast<std::size_t>(count));
    }
  }
  ::close(socket);
  return answer;
}

/// What "GET /metrics" gives.
inline std::string figures_at(const std::string& host, int port) {
  const std::string answer =
      answer_at(host, port, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  const std::size_t at = answer.find("\r\n\r\n");
  if (at == std::string::npos) return {};
  const std::string text = answer.substr(at + 4);
  EXPECT_NE(answer.find("Content-Length: " + std::to_string(text.size()) + "\r\n"),
            std::string::npos);
  return text;
}

struct DocumentedMetric {
  std::string kind;
  std::set<std::string> labels;
};

/// The names in the list of docs/metrics.md, in its order, and what it says of each.
inline std::vector<std::pair<std::string, DocumentedMetric>> documented_metrics() {
  const std::string text = read_file((fs::path(DOLMEN_SOURCE_DIR) / "docs/metrics.md").string());
  std::vector<std::pair<std::string, DocumentedMetric>> all;
  std::istringstream lines(text);
  static const std::regex kRow(R"(\| `(dolmen_[a-z0-9_]+)` \| (\w+) \|([^|]*)\| .*)");
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (!std::regex_match(line, match, kRow)) continue;
    all.push_back({match[1], {match[2], words_in(match[3])}});
  }
  return all;
}

/// All of the list, in its order, each with its kind, a line of help and the labels that it says.
inline void expect_as_documented(const std::string& text) {
  const auto documented = documented_metrics();
  std::map<std::string, DocumentedMetric> by_name(documented.begin(), documented.end());
  std::vector<std::string> expected;
  for (const auto& [name, its] : documented) {
    expected.push_back("# HELP " + name);
    expected.push_back("# TYPE " + name + " " + its.kind);
  }
  std::vector<std::string> said;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      const std::size_t end = line.find(' ', 7);
      EXPECT_LT(end, line.size() - 5) << "help for people: " << line;
      said.push_back(line.substr(0, end));
    } else if (line.starts_with("#")) {
      said.push_back(line);
    }
  }
  EXPECT_EQ(said, expected);
  const auto samples = node::parse_metrics(text);
  ASSERT_TRUE(samples) << samples.error().message();
  EXPECT_GT(samples->size(), documented.size() / 2);
  for (const node::MetricSample& sample : *samples) {
    std::string name = sample.name;
    std::set<std::string> labels;
    for (const auto& [label, value] : sample.labels) labels.insert(label);
    for (const std::string_view suffix : {"_bucket", "_sum", "_count"}) {
      if (!name.ends_with(suffix)) continue;
      name.erase(name.size() - suffix.size());
      EXPECT_EQ(labels.erase("le"), suffix == "_bucket" ? 1u : 0u) << sample.name;
      break;
    }
    ASSERT_TRUE(by_name.contains(name)) << sample.name;
    EXPECT_EQ(labels, by_name[name].labels) << sample.name;
    EXPECT_GE(sample.value, 0) << sample.name;
  }
}

/// The sum of all samples of this name and with this label.
inline double sum_of(const std::string& text, std::string_view name, std::string_view label,
                     std::string_view value) {
  double sum = 0;
  const auto samples = node::parse_metrics(text);
  if (!samples) return -1;
  for (const node::MetricSample& sample : *samples) {
    if (sample.name == name && sample.label(label) == value) sum += sample.value;
  }
  return sum;
}

}  // namespace dolmen::cli::test
