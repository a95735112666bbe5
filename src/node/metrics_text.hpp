// SPDX-License-Identifier: Apache-2.0
//
// Figures as text: Prometheus' exposition format, version 0.0.4, as far as docs/metrics.md needs
// it. Values and pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dolmen/error.hpp>

#include "fabric/metered.hpp"

namespace dolmen::node {

enum class MetricKind : std::uint8_t { counter, gauge, histogram };
[[nodiscard]] const char* text(MetricKind kind) noexcept;

/// What all samples of one name share. Histograms are of seconds.
struct MetricFamily {
  const char* name;
  MetricKind kind;
  const char* help;  ///< one line without backslashes
};

/// `a="b",c="d"`: what stands between the braces of a sample. Names are given by the program.
[[nodiscard]] std::string labels_of(
    std::initializer_list<std::pair<std::string_view, std::string_view>> labels);

class MetricsText {
 public:
  /// What is added from now on is of it. A family is begun once.
  void begin(const MetricFamily& family);
  /// Requires: a family that is no histogram was begun.
  void add(std::string_view labels, std::uint64_t value);
  void add_seconds(std::string_view labels, std::uint64_t ns);
  /// Requires: a histogram was begun.
  void add(std::string_view labels, const fabric::Histogram& times);
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  void sample(std::string_view suffix, std::string_view labels, std::string_view value);

  std::string name_;
  std::string text_;
};

/// Most of a text that is sent in one message.
inline constexpr std::size_t kMetricsMessageMax = std::size_t{8} << 20;
/// As much of `text` as whole families of it fit into `bytes_max`.
[[nodiscard]] std::string_view first_families(std::string_view text, std::size_t bytes_max);

/// One line of such a text.
struct MetricSample {
  std::string name;
  std::vector<std::pair<std::string, std::string>> labels{};  ///< in the order of the line
  double value = 0;                                           ///< a number, or infinite
  /// Empty: it has no such label.
  [[nodiscard]] std::string_view label(std::string_view name) const noexcept;
  friend bool operator==(const MetricSample&, const MetricSample&) = default;
};
inline constexpr std::size_t kMetricLabelsMax = 16;

/// What anybody sent: all samples, in order. Comments are skipped. Errors: corrupt (with the line).
/// Cost: a walk over the text.
[[nodiscard]] Result<std::vector<MetricSample>> parse_metrics(std::string_view text);
/// The line that says it, with its end.
[[nodiscard]] std::string line_of(const MetricSample& sample);

}  // namespace dolmen::node
