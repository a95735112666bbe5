// SPDX-License-Identifier: Apache-2.0
//
// The head of one HTTP/1 request, as far as it is needed to answer "GET /metrics": the method and
// the path. What else it says is skipped. No input or output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.hpp"

namespace dolmen::node {

enum class HttpProgress : std::uint8_t {
  more,       ///< nothing is wrong so far
  done,       ///< the head is complete
  bad,        ///< it is no request of HTTP/1
  too_large,  ///< its head has more than HttpRequestReader::kHeadBytesMax
};

/// Takes a request as it arrives. Cost: in all, a walk over the head.
class HttpRequestReader {
 public:
  static constexpr std::size_t kHeadBytesMax = 8192;

  /// What arrived next. Once it is not `more` any longer, what follows is not looked at.
  HttpProgress take(base::Bytes bytes);
  [[nodiscard]] HttpProgress progress() const noexcept { return progress_; }
  // Requires: done.
  [[nodiscard]] const std::string& method() const noexcept { return method_; }
  /// Without a query.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  [[nodiscard]] HttpProgress end_line();
  [[nodiscard]] bool read_request_line();

  std::string line_;  ///< the one that is not complete
  std::size_t bytes_ = 0;
  std::string method_;
  std::string path_;
  HttpProgress progress_ = HttpProgress::more;
};

}  // namespace dolmen::node
