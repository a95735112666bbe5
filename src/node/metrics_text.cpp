// SPDX-License-Identifier: Apache-2.0
#include "node/metrics_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include <dolmen/assert.hpp>

namespace dolmen::node {

namespace {

constexpr std::string_view kHelp = "# HELP ";

void append_label(std::string& text, std::string_view name, std::string_view value) {
  if (!text.empty()) text += ',';
  text += name;
  text += "=\"";
  for (const char c : value) {
    if (c == '\n') {
      text += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  text += '"';
}

std::string number(double value) {
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

std::string seconds(std::uint64_t ns) { return number(static_cast<double>(ns) / 1e9); }

bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// Reads one line. Every step says whether it found what it takes.
class LineReader {
 public:
  explicit LineReader(std::string_view line) : rest_(line) {}

  [[nodiscard]] bool at_end() const noexcept { return rest_.empty(); }
  [[nodiscard]] bool take(char c) noexcept {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void skip_blanks() noexcept {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t')) {
      rest_.remove_prefix(1);
    }
  }
  /// A name; with colons, which those of labels do not have.
  [[nodiscard]] bool take_name(std::string& name, bool has_colons) {
    std::size_t length = 0;
    while (length < rest_.size()) {
      const char c = rest_[length];
      const bool is_part = is_letter(c) || (has_colons && c == ':') || (length > 0 && is_digit(c));
      if (!is_part) break;
      ++length;
    }
    name = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return length > 0;
  }
  /// Between quotes.
  [[nodiscard]] bool take_text(std::string& text) {
    if (!take('"')) return false;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return true;
      if (c != '\\') {
        text += c;
        continue;
      }
      if (take('n')) {
        text += '\n';
      } else if (take('"')) {
        text += '"';
      } else if (take('\\')) {
        text += '\\';
      } else {
        return false;
      }
    }
    return false;
  }
  [[nodiscard]] bool take_number(double& value) {
    std::string_view word = rest_.substr(0, rest_.find_first_of(" \t"));
    rest_.remove_prefix(word.size());
    if (!word.empty() && word.front() == '+') {
      word.remove_prefix(1);
      if (!word.empty() && word.front() == '-') return false;
    }
    const char* const end = word.data() + word.size();
    const auto read = std::from_chars(word.data(), end, value);
    return read.ec == std::errc() && read.ptr == end && !std::isnan(value);
  }

 private:
  std::string_view rest_;
};

bool read_labels(LineReader& in, MetricSample& sample) {
  if (!in.take('{')) return true;
  for (;;) {
    in.skip_blanks();
    if (in.take('}')) return true;
    auto& [name, value] = sample.labels.emplace_back();
    if (sample.labels.size() > kMetricLabelsMax || !in.take_name(name, false)) return false;
    in.skip_blanks();
    if (!in.take('=')) return false;
    in.skip_blanks();
    if (!in.take_text(value)) return false;
    in.skip_blanks();
    if (in.take(',')) continue;
    return in.take('}');
  }
}

bool read_sample(std::string_view line, MetricSample& sample) {
  LineReader in(line);
  if (!in.take_name(sample.name, true)) return false;
  in.skip_blanks();
  if (!read_labels(in, sample)) return false;
  in.skip_blanks();
  if (!in.take_number(sample.value)) return false;
  in.skip_blanks();
  return in.at_end();
}

}  // namespace

const char* text(MetricKind kind) noexcept {
  constexpr std::array<const char*, 3> kNames{"counter", "gauge", "histogram"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string labels_of(std::initializer_list<std::pair<std::string_view, std::string_view>> labels) {
  std::string text;
  for (const auto& [name, value] : labels) append_label(text, name, value);
  return text;
}

void MetricsText::begin(const MetricFamily& family) {
  name_ = family.name;
  text_ += kHelp;
  text_ += name_ + " " + family.help + "\n# TYPE " + name_ + " " + node::text(family.kind) + "\n";
}

void MetricsText::sample(std::string_view suffix, std::string_view labels, std::string_view value) {
  DOLMEN_ASSERT(!name_.empty());
  text_ += name_;
  text_ += suffix;
  if (!labels.empty()) {
    text_ += '{';
    text_ += labels;
    text_ += '}';
  }
  text_ += ' ';
  text_ += value;
  text_ += '\n';
}

void MetricsText::add(std::string_view labels, std::uint64_t value) {
  sample("", labels, std::to_string(value));
}

void MetricsText::add_seconds(std::string_view labels, std::uint64_t ns) {
  sample("", labels, seconds(ns));
}

void MetricsText::add(std::string_view labels, const fabric::Histogram& times) {
  // From a microsecond to half a minute: what is outside is in the first one and in the last.
  constexpr std::size_t kFirst = 9;
  constexpr std::size_t kLast = 34;
  const std::string before = labels.empty() ? "" : std::string(labels) + ",";
  std::uint64_t below = 0;
  for (std::size_t i = 0; i <= kLast; ++i) {
    below += times.buckets()[i];
    if (i < kFirst) continue;
    sample("_bucket", before + "le=\"" + seconds(std::uint64_t{2} << i) + "\"",
           std::to_string(below));
  }
  const std::string all = std::to_string(times.count());
  sample("_bucket", before + "le=\"+Inf\"", all);
  sample("_sum", labels, seconds(times.sum_ns()));
  sample("_count", labels, all);
}

std::string_view first_families(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  // Where a family begins behind the limit, or right at it, is what is before it.
  const std::string begin = "\n" + std::string(kHelp);
  const std::size_t at = text.substr(0, bytes_max + kHelp.size()).rfind(begin);
  return at == std::string_view::npos ? std::string_view() : text.substr(0, at + 1);
}

std::string_view MetricSample::label(std::string_view name) const noexcept {
  const auto found =
      std::ranges::find(labels, name, [](const auto& one) { return std::string_view(one.first); });
  return found == labels.end() ? std::string_view() : std::string_view(found->second);
}

Result<std::vector<MetricSample>> parse_metrics(std::string_view text) {
  std::vector<MetricSample> samples;
  for (std::uint64_t number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::size_t first = line.find_first_not_of(" \t");
    if (first == std::string_view::npos || line[first] == '#') continue;
    MetricSample sample;
    if (!read_sample(line.substr(first), sample)) {
      return fail(Errc::corrupt, "a line of a node's figures", number);
    }
    samples.push_back(std::move(sample));
  }
  return samples;
}

std::string line_of(const MetricSample& sample) {
  std::string labels;
  for (const auto& [name, value] : sample.labels) append_label(labels, name, value);
  if (!labels.empty()) labels = "{" + labels + "}";
  return sample.name + labels + " " + number(sample.value) + "\n";
}

}  // namespace dolmen::node
