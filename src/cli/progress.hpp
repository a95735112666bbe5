// SPDX-License-Identifier: Apache-2.0
//
// How far a command is, on standard error, once it has run for a second: a line that overwrites
// itself on a terminal; elsewhere, if asked for, a line per second.
//
// Thread contract: one thread.
#pragma once

#include <cstdint>
#include <string>

#include "sys/clock.hpp"

namespace dolmen::cli {

class ProgressBar {
 public:
  /// `lines`: also where standard error is no terminal.
  ProgressBar(std::string what, bool lines);
  /// In a given world.
  ProgressBar(std::string what, sys::Clock& clock, bool terminal, bool lines);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(std::uint64_t done, std::uint64_t total);
  /// Of a total that is not known.
  void show_bytes(std::uint64_t done);

 private:
  [[nodiscard]] bool due();
  void print(const std::string& how_far) const;

  std::string what_;
  sys::Clock& clock_;
  bool terminal_;
  bool lines_;
  std::uint64_t start_ns_;
  std::uint64_t shown_ns_ = 0;
};

}  // namespace dolmen::cli
