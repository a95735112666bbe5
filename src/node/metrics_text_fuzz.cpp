// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a node's figures, and as a request for them. What is understood means the same when
// it is written again, a text is never cut within a family, and a request is one or none however it
// arrives.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <dolmen/assert.hpp>

#include "node/http_request.hpp"
#include "node/metrics_text.hpp"

namespace {

using namespace dolmen;

void expect_one_request(std::string_view bytes) {
  node::HttpRequestReader at_once;
  const auto whole = at_once.take(std::as_bytes(std::span(bytes)));
  node::HttpRequestReader in_pieces;
  auto told = node::HttpProgress::more;
  for (std::size_t i = 0; i < bytes.size() && told == node::HttpProgress::more; ++i) {
    told = in_pieces.take(std::as_bytes(std::span(bytes.substr(i, 1))));
  }
  DOLMEN_ASSERT(whole == told);
  if (told != node::HttpProgress::done) return;
  DOLMEN_ASSERT(at_once.method() == in_pieces.method() && at_once.path() == in_pieces.path());
  DOLMEN_ASSERT(!at_once.method().empty() && at_once.path().starts_with('/'));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(data, data + size);
  expect_one_request(text);
  const std::string_view first = node::first_families(text, size / 2);
  DOLMEN_ASSERT(text.starts_with(first));
  DOLMEN_ASSERT(first.size() <= size / 2);
  const auto samples = node::parse_metrics(text);
  if (!samples) return 0;
  std::string again;
  for (const node::MetricSample& sample : *samples) again += node::line_of(sample);
  const auto same = node::parse_metrics(again);
  DOLMEN_ASSERT(same.has_value() && *same == *samples);
  return 0;
}
