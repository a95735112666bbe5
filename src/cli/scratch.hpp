// SPDX-License-Identifier: Apache-2.0
//
// A temporary directory of a command's own.
//
// Thread contract: one thread.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace dolmen::cli {

/// A fresh directory where TMPDIR says (or /tmp), removed with all that is in it unless keep() was
/// called. `path()` is empty if none could be made.
class Scratch {
 public:
  explicit Scratch(const std::string& prefix) {
    std::error_code none;
    const std::filesystem::path parent = std::filesystem::temp_directory_path(none);
    if (none) return;
    std::string pattern = (parent / (prefix + "-XXXXXX")).string();
    if (const char* made = ::mkdtemp(pattern.data())) path_ = made;
  }
  ~Scratch() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  void keep() { path_.clear(); }

 private:
  std::string path_;
};

}  // namespace dolmen::cli
