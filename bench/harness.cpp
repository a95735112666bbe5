// SPDX-License-Identifier: Apache-2.0
#include "bench/harness.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "bench/machine.hpp"

namespace dolmen::bench {
namespace {

bool is_ours(std::string_view system) { return system.starts_with("dolmen"); }

/// Whether one of those that are named, with commas in between, is the one; none: each is.
template <class Is>
bool is_among(std::string_view named, const Is& is) {
  if (named.empty()) return true;
  for (;;) {
    const std::size_t comma = named.find(',');
    if (is(named.substr(0, comma))) return true;
    if (comma == std::string_view::npos) return false;
    named.remove_prefix(comma + 1);
  }
}

/// Six significant digits: more would only pretend.
double rounded(double value) {
  if (value == 0 || !std::isfinite(value)) return value;
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.6g", value);
  return std::strtod(text.data(), nullptr);
}

std::string short_number(double value) {
  std::array<char, 64> text{};
  const double size = std::fabs(value);
  const char* format = size >= 1000 ? "%.0f" : size >= 100 ? "%.1f" : size >= 10 ? "%.2f" : "%.3f";
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string space(text.size() < width ? width - text.size() : 0, ' ');
  return right ? space + text : text + space;
}

}  // namespace

double seconds_now() noexcept {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

bool higher_is_better(std::string_view unit) noexcept { return unit == "1/s"; }

double times_better(double dolmen, double peer, std::string_view unit) noexcept {
  return higher_is_better(unit) ? dolmen / peer : peer / dolmen;
}

double percentile_of(std::vector<double> values, double percent) {
  std::sort(values.begin(), values.end());
  const double position = percent / 100.0 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  const double part = position - static_cast<double>(below);
  return values[below] + (values[above] - values[below]) * part;
}

double median_of(std::vector<double> values) { return percentile_of(std::move(values), 50); }

Report::Report(Options options) : options_(std::move(options)), last_word_seconds_(seconds_now()) {}

bool Report::wants(std::initializer_list<std::string_view> case_names) const {
  std::string_view only = options_.only_case;
  if (only.empty()) return true;
  const bool is_prefix = only.ends_with('*');
  if (is_prefix) only.remove_suffix(1);
  return std::any_of(case_names.begin(), case_names.end(), [&](std::string_view name) {
    return is_prefix ? name.starts_with(only) : name == only;
  });
}

void Report::race(const std::string& case_name, const std::string& unit,
                  std::vector<Contestant> contestants, Rounds rounds) {
  race(std::vector<Figure>{{case_name, unit}}, std::move(contestants), rounds);
}

void Report::race(const std::vector<Figure>& figures, std::vector<Contestant> contestants,
                  Rounds rounds) {
  const int last = options_.runs * rounds.factor;
  if (std::none_of(figures.begin(), figures.end(),
                   [&](const Figure& figure) { return wants({figure.case_name}); })) {
    return;
  }
  std::erase_if(contestants, [&](const Contestant& contestant) {
    return !is_among(options_.only_system,
                     [&](std::string_view one) { return one == contestant.system; });
  });
  std::vector<std::vector<Values>> measured(contestants.size());
  std::vector<bool> out(contestants.size(), false);
  for (int round = rounds.warm_up ? 0 : 1; round <= last; ++round) {
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      if (out[i]) continue;
      progress(figures.front().case_name + ": " +
               (round == 0 ? "warm-up"
                           : "run " + std::to_string(round) + " of " + std::to_string(last)) +
               ", " + contestants[i].system);
      attempt(contestants[i].system, [&] {
        out[i] = true;
        Values values = contestants[i].measure();
        if (values.size() != figures.size()) throw Failure("a figure is missing");
        if (round > 0) measured[i].push_back(std::move(values));
        out[i] = false;
      });
    }
  }
  for (std::size_t figure = 0; figure < figures.size(); ++figure) {
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      if (out[i]) continue;
      Values values;
      for (const Values& run : measured[i]) values.push_back(run[figure]);
      add(figures[figure].case_name, contestants[i].system, contestants[i].mode,
          figures[figure].unit, values);
    }
  }
}

void Report::add(const std::string& case_name, const std::string& system, const std::string& mode,
                 const std::string& unit, const Values& values) {
  if (!wants({case_name}) || values.empty()) return;
  Row row;
  row.case_name = case_name;
  row.system = system;
  row.mode = mode;
  row.unit = unit;
  row.median = median_of(values);
  row.min = *std::min_element(values.begin(), values.end());
  row.max = *std::max_element(values.begin(), values.end());
  row.runs = static_cast<int>(values.size());
  rows_.push_back(std::move(row));
}

std::string Report::scaled(const std::string& what) const {
  return options_.quick ? "quick: " + what + "; " : "";
}

std::string Report::pinning() const { return "pinned to one core; " + scheduling(); }

std::string Report::scheduling() const { return options_.fifo ? "SCHED_FIFO; " : ""; }

void Report::progress(const std::string& what) {
  const double now = seconds_now();
  if (now - last_word_seconds_ < 1.0) return;
  last_word_seconds_ = now;
  std::fprintf(stderr, "%s: %s\n", options_.suite.c_str(), what.c_str());
}

void Report::note(const std::string& what) const {
  std::fprintf(stderr, "%s: note: %s\n", options_.suite.c_str(), what.c_str());
}

void Report::missing(const std::string& system, const std::string& package) {
  note("no rows for " + system + ": this build was made without it (Debian package " + package +
       ")");
}

void Report::not_installed(const std::string& system, const std::string& package) {
  note("no rows for " + system + ": it is not installed (Debian package " + package + ")");
}

void Report::attempt(const std::string& system, const std::function<void()>& body) {
  // Others of a longer name may run in what is begun under a shorter one.
  if (!is_among(options_.only_system,
                [&](std::string_view one) { return one.starts_with(system); })) {
    return;
  }
  const auto report = [&](const std::string& why) {
    note("no rows for " + system + ": " + why);
    if (is_ours(system)) failed_ = true;
  };
  try {
    body();
  } catch (const Failure& failure) {
    report(failure.what());
  } catch (const AccessError& error) {
    report(error.message());
  } catch (const std::exception& error) {
    report(error.what());
  }
}

void Report::compare() {
  // Rows of one case side by side, cases in the order of their first row.
  std::vector<std::string> order;
  for (const Row& row : rows_) {
    if (std::find(order.begin(), order.end(), row.case_name) == order.end()) {
      order.push_back(row.case_name);
    }
  }
  std::stable_sort(rows_.begin(), rows_.end(), [&](const Row& left, const Row& right) {
    return std::find(order.begin(), order.end(), left.case_name) <
           std::find(order.begin(), order.end(), right.case_name);
  });
  for (Row& row : rows_) {
    if (is_ours(row.system)) continue;
    const auto ours = std::find_if(rows_.begin(), rows_.end(), [&](const Row& other) {
      return other.system == "dolmen" && other.case_name == row.case_name;
    });
    if (ours == rows_.end() || ours->median == 0 || row.median == 0) continue;
    row.dolmen_x = times_better(ours->median, row.median, row.unit);
  }
}

nlohmann::ordered_json Report::json() const {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Row& row : rows_) {
    nlohmann::ordered_json line{{"case", row.case_name},
                                {"system", row.system},
                                {"mode", row.mode},
                                {"unit", row.unit},
                                {"median", rounded(row.median)},
                                {"min", rounded(row.min)},
                                {"max", rounded(row.max)},
                                {"runs", row.runs},
                                {"dolmen_x", nullptr}};
    if (row.dolmen_x) line["dolmen_x"] = rounded(*row.dolmen_x);
    rows.push_back(std::move(line));
  }
  return nlohmann::ordered_json{
      {"suite", options_.suite}, {"machine", machine_facts(options_.directory)}, {"rows", rows}};
}

std::string Report::table() const {
  std::vector<std::array<std::string, 9>> lines{
      {"case", "system", "median", "min", "max", "unit", "runs", "dolmen_x", "mode"}};
  for (const Row& row : rows_) {
    lines.push_back({row.case_name, row.system, short_number(row.median), short_number(row.min),
                     short_number(row.max), row.unit, std::to_string(row.runs),
                     row.dolmen_x ? short_number(*row.dolmen_x) : "-", row.mode});
  }
  std::array<std::size_t, 9> widths{};
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  std::string last_case;
  for (std::size_t n = 0; n < lines.size(); ++n) {
    if (n > 0 && lines[n][0] != last_case && n > 1) text += "\n";
    last_case = lines[n][0];
    for (std::size_t i = 0; i + 1 < lines[n].size(); ++i) {
      const bool right = i == 2 || i == 3 || i == 4 || i == 6 || i == 7;
      text += padded(lines[n][i], widths[i], right) + "  ";
    }
    text += lines[n].back() + "\n";
  }
  return text;
}

}  // namespace dolmen::bench
