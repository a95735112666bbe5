// SPDX-License-Identifier: Apache-2.0
//
// Races between systems, and the rows they leave. A race runs its contestants in turn (A B C A B C
// …), a warm-up round first, so that a change of the machine's mood meets all of them alike; the
// median of the counted rounds becomes the row.
//
// Invariants: (1) every figure measured becomes a row, whatever it looks like; (2) dolmen_x in a
// peer's row is how many times better dolmen's median is on that case, and is absent in dolmen's
// own rows; (3) a contestant that fails is named on stderr with the reason, never dropped in
// silence. Thread contract: one thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dolmen/error.hpp>

namespace dolmen::bench {

/// What the command line asked for.
struct Options {
  std::string suite;
  std::string only_case;    ///< empty: every case
  std::string only_system;  ///< empty: every system; for profiling
  std::string directory;    ///< where files go; emptied of them afterwards
  int runs = 5;             ///< counted rounds
  bool json = false;
  bool quick = false;  ///< smaller inputs, said in every row's mode
  bool fifo = false;   ///< measurements of one thread run in the real-time class, said in the mode
};

/// A system cannot do what a case asks. Stays within bench/.
class Failure {
 public:
  explicit Failure(std::string what) : what_(std::move(what)) {}
  [[nodiscard]] const std::string& what() const noexcept { return what_; }

 private:
  std::string what_;
};

/// The value, or the error as a Failure.
template <class T>
T expect(Result<T> result, const char* doing) {
  if (!result) throw Failure(std::string(doing) + ": " + result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

struct Row {
  std::string case_name;
  std::string system;
  std::string mode;  ///< what the system was told
  std::string unit;
  double median = 0;
  double min = 0;
  double max = 0;
  int runs = 0;
  std::optional<double> dolmen_x;
};

/// Rates ("1/s") are better when higher; times, bytes and ratios when lower.
[[nodiscard]] bool higher_is_better(std::string_view unit) noexcept;
/// How many times better `dolmen` is than `peer`.
[[nodiscard]] double times_better(double dolmen, double peer, std::string_view unit) noexcept;
/// Requires: not empty.
[[nodiscard]] double median_of(std::vector<double> values);
/// The value below which `percent` of the values lie. Requires: not empty.
[[nodiscard]] double percentile_of(std::vector<double> values, double percent);

/// What one measurement gives: one value per figure of its case.
using Values = std::vector<double>;

struct Figure {
  std::string case_name;
  std::string unit;
};

struct Contestant {
  std::string system;  ///< "dolmen", "dolmen_…" (a variant of our own), or a peer
  std::string mode;
  std::function<Values()> measure;
};

struct Rounds {
  int factor = 1;       ///< times more than asked for, where one takes milliseconds
  bool warm_up = true;  ///< first a round that does not count
};

class Report {
 public:
  explicit Report(Options options);

  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] bool quick() const noexcept { return options_.quick; }
  /// Whether any of these cases was asked for; setting up for the others would be wasted time.
  [[nodiscard]] bool wants(std::initializer_list<std::string_view> case_names) const;

  /// Runs a race and adds its rows. Figures that were not asked for are measured but left out.
  void race(const std::vector<Figure>& figures, std::vector<Contestant> contestants,
            Rounds rounds = {});
  void race(const std::string& case_name, const std::string& unit,
            std::vector<Contestant> contestants, Rounds rounds = {});
  /// A row measured elsewhere, `values` being its counted runs.
  void add(const std::string& case_name, const std::string& system, const std::string& mode,
           const std::string& unit, const Values& values);

  /// "quick: 64000 nodes; " in quick runs, else nothing: how a mode admits a smaller input.
  [[nodiscard]] std::string scaled(const std::string& what) const;
  /// How a pinned measurement is scheduled, for its mode.
  [[nodiscard]] std::string pinning() const;
  /// The same for one that is not pinned.
  [[nodiscard]] std::string scheduling() const;
  /// Says on stderr what is going on, when the last word was more than a second ago.
  void progress(const std::string& what);
  void note(const std::string& what) const;
  /// A peer that this build does not have.
  void missing(const std::string& system, const std::string& package);
  /// A peer that is a program of its own, which this machine does not have.
  void not_installed(const std::string& system, const std::string& package);
  /// Runs `body`; a Failure of it is noted, and counts if `system` is ours.
  void attempt(const std::string& system, const std::function<void()>& body);

  /// Sorts the rows by case and fills dolmen_x in. Call once, after the suite.
  void compare();
  [[nodiscard]] bool failed() const noexcept { return failed_; }
  [[nodiscard]] const std::vector<Row>& rows() const noexcept { return rows_; }
  [[nodiscard]] nlohmann::ordered_json json() const;
  [[nodiscard]] std::string table() const;

 private:
  Options options_;
  std::vector<Row> rows_;
  double last_word_seconds_ = 0;
  bool failed_ = false;
};

/// Seconds on a clock that only goes forward.
[[nodiscard]] double seconds_now() noexcept;

/// Nanoseconds per operation of `body`, which does `operations` of them.
template <class Body>
[[nodiscard]] double ns_each(std::size_t operations, Body&& body) {
  const double begin = seconds_now();
  body();
  return (seconds_now() - begin) * 1e9 / static_cast<double>(operations);
}

/// Keeps a result alive in the eyes of the optimiser.
template <class T>
inline void keep(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

}  // namespace dolmen::bench
