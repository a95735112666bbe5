// SPDX-License-Identifier: Apache-2.0
#include "node/http_request.hpp"

#include <algorithm>

namespace dolmen::node {

HttpProgress HttpRequestReader::take(base::Bytes bytes) {
  for (const std::byte byte : bytes) {
    if (progress_ != HttpProgress::more) break;
    if (++bytes_ > kHeadBytesMax) {
      progress_ = HttpProgress::too_large;
    } else if (const auto c = static_cast<char>(byte); c == '\n') {
      progress_ = end_line();
    } else {
      line_ += c;
    }
  }
  return progress_;
}

HttpProgress HttpRequestReader::end_line() {
  if (line_.ends_with('\r')) line_.pop_back();
  if (!method_.empty()) {
    const bool is_last = line_.empty();
    line_.clear();
    return is_last ? HttpProgress::done : HttpProgress::more;
  }
  const bool is_one = read_request_line();
  line_.clear();
  return is_one ? HttpProgress::more : HttpProgress::bad;
}

/// "GET /metrics?x=y HTTP/1.1"
bool HttpRequestReader::read_request_line() {
  const std::string_view line = line_;
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return false;
  const std::string_view method = line.substr(0, first);
  std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  constexpr std::size_t kMethodMax = 16;
  const bool is_method = !method.empty() && method.size() <= kMethodMax &&
                         std::ranges::all_of(method, [](char c) { return c >= 'A' && c <= 'Z'; });
  const bool is_target = target.starts_with('/') &&
                         std::ranges::all_of(target, [](char c) { return c > ' ' && c < '\x7f'; });
  const bool is_version = version == "HTTP/1.1" || version == "HTTP/1.0";
  if (!is_method || !is_target || !is_version) return false;
  target = target.substr(0, target.find('?'));
  method_ = method;
  path_ = target;
  return true;
}

}  // namespace dolmen::node
