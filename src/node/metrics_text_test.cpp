// SPDX-License-Identifier: Apache-2.0
#include "node/metrics_text.hpp"

#include <limits>

#include <gtest/gtest.h>

#include "node/http_request.hpp"

namespace dolmen::node {
namespace {

constexpr MetricFamily kCalls{"dolmen_calls_total", MetricKind::counter, "What was asked for."};
constexpr MetricFamily kTimes{"dolmen_call_seconds", MetricKind::histogram, "How long."};

TEST(MetricsText, IsWhatPrometheusReads) {
  MetricsText text;
  text.begin(kCalls);
  text.add(labels_of({{"group", "2"}, {"name", "a\"b\\c\nd"}}), 18'446'744'073'709'551'615u);
  text.add("", 0);
  EXPECT_EQ(text.text(),
            "# HELP dolmen_calls_total What was asked for.\n"
            "# TYPE dolmen_calls_total counter\n"
            "dolmen_calls_total{group=\"2\",name=\"a\\\"b\\\\c\\nd\"} 18446744073709551615\n"
            "dolmen_calls_total 0\n");
}

// Buckets hold everything below them, and the last one everything.
TEST(MetricsText, AHistogramGrowsWithItsBounds) {
  fabric::Histogram times;
  for (const std::uint64_t ns : {100u, 1'500u, 1'500u, 3'000'000u}) times.add(ns);
  times.add(200'000'000'000);
  MetricsText text;
  text.begin(kTimes);
  text.add(labels_of({{"a", "b"}}), times);
  const auto samples = parse_metrics(text.text());
  ASSERT_TRUE(samples);
  double before = 0;
  std::map<std::string, double, std::less<>> buckets;
  for (const MetricSample& sample : *samples) {
    EXPECT_EQ(sample.label("a"), "b");
    if (sample.name != "dolmen_call_seconds_bucket") continue;
    EXPECT_GE(sample.value, before);
    before = sample.value;
    buckets[std::string(sample.label("le"))] = sample.value;
  }
  EXPECT_EQ(buckets.at("1.024e-06"), 1);
  EXPECT_EQ(buckets.at("2.048e-06"), 3);
  EXPECT_EQ(buckets.at("0.004194304"), 4);
  EXPECT_EQ(buckets.at("34.359738368"), 4);
  EXPECT_EQ(buckets.at("+Inf"), 5);
  const MetricSample& sum = (*samples)[samples->size() - 2];
  EXPECT_EQ(sum.name, "dolmen_call_seconds_sum");
  EXPECT_DOUBLE_EQ(sum.value, 200.0030031);
  EXPECT_EQ(samples->back(), (MetricSample{"dolmen_call_seconds_count", {{"a", "b"}}, 5}));
}

TEST(MetricsText, WhatIsTooLongIsCutBetweenFamilies) {
  MetricsText text;
  text.begin(kCalls);
  text.add("", 1);
  const std::string first = text.text();
  text.begin(kTimes);
  text.add("", fabric::Histogram{});
  const std::string& all = text.text();
  EXPECT_EQ(first_families(all, all.size()), all);
  EXPECT_EQ(first_families(all, all.size() - 1), first);
  EXPECT_EQ(first_families(all, first.size() + 1), first);
  EXPECT_EQ(first_families(all, first.size()), first);
  EXPECT_EQ(first_families(all, first.size() - 1), "");
}

TEST(MetricsText, ReadsWhatOthersMayWrite) {
  const auto samples = parse_metrics(
      "\n  # a comment\n"
      "a:b_1 1e3\n"
      "\tc{ x = \"1\" , y=\"\\\"\\\\\\n\", } +Inf \n"
      "d{}\t-0.5");
  ASSERT_TRUE(samples);
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  EXPECT_EQ(*samples, (std::vector<MetricSample>{{"a:b_1", {}, 1000},
                                                 {"c", {{"x", "1"}, {"y", "\"\\\n"}}, kInfinite},
                                                 {"d", {}, -0.5}}));
  EXPECT_EQ((*samples)[1].label("y"), "\"\\\n");
  EXPECT_EQ((*samples)[1].label("z"), "");
  for (const MetricSample& sample : *samples) {
    EXPECT_EQ(parse_metrics(line_of(sample)).value(), std::vector{sample});
  }
  EXPECT_TRUE(parse_metrics("").value().empty());
}

TEST(MetricsText, WhatIsNoneIsRefusedWithItsLine) {
  std::string many = "a{";
  for (std::size_t i = 0; i <= kMetricLabelsMax; ++i) many += "x=\"\",";
  for (const std::string& line :
       {std::string("1a 1"), std::string("a"), std::string("a "), std::string("a nan"),
        std::string("a +-1"), std::string("a 1 2"), std::string("a 1x"), std::string("a{ 1"),
        std::string("a{x} 1"), std::string("a{x=1} 1"), std::string("a{x=\"1} 1"),
        std::string("a{x=\"\\t\"} 1"), std::string("a{x=\"1\" y=\"2\"} 1"),
        std::string("a{x:y=\"1\"} 1"), std::string("{} 1"), many + "} 1"}) {
    const auto read = parse_metrics("ok 1\n" + line + "\nok 2\n");
    ASSERT_FALSE(read) << line;
    EXPECT_EQ(read.error().code(), Errc::corrupt);
    EXPECT_EQ(read.error().detail(), 2u);
  }
}

HttpProgress told(HttpRequestReader& reader, std::string_view text) {
  return reader.take(base::as_bytes(text));
}

TEST(HttpRequest, IsReadHoweverItArrives) {
  const std::string request =
      "GET /metrics?x=/y HTTP/1.1\r\nHost: localhost\r\nX: GET / HTTP/1.1\r\n\r\nbody";
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, request.size()}) {
    HttpRequestReader reader;
    for (std::size_t at = 0; at < request.size(); at += piece) {
      (void)told(reader, std::string_view(request).substr(at, piece));
    }
    ASSERT_EQ(reader.progress(), HttpProgress::done);
    EXPECT_EQ(reader.method(), "GET");
    EXPECT_EQ(reader.path(), "/metrics");
  }
  HttpRequestReader bare;
  EXPECT_EQ(told(bare, "HEAD / HTTP/1.0\n"), HttpProgress::more);
  EXPECT_EQ(told(bare, "\n"), HttpProgress::done);
  EXPECT_EQ(bare.method(), "HEAD");
}

TEST(HttpRequest, WhatIsNoneIsRefusedAtItsFirstLine) {
  for (const std::string_view line :
       {"", "GET /metrics", "get / HTTP/1.1", "GET / HTTP/2", "GET metrics HTTP/1.1",
        "GET /a b HTTP/1.1", "GET /\x7f HTTP/1.1", "GET /\x01 HTTP/1.1", " / HTTP/1.1",
        "ABCDEFGHIJKLMNOPQ / HTTP/1.1", "GET  HTTP/1.1", "\x16\x03\x01"}) {
    HttpRequestReader reader;
    EXPECT_EQ(told(reader, std::string(line) + "\r\n"), HttpProgress::bad) << line;
    EXPECT_EQ(told(reader, "GET / HTTP/1.1\r\n\r\n"), HttpProgress::bad) << "and stays so";
  }
}

TEST(HttpRequest, AHeadHasABound) {
  const std::string line = "GET / HTTP/1.1\r\nX: ";
  HttpRequestReader whole;
  const std::string fits(HttpRequestReader::kHeadBytesMax - line.size() - 4, 'x');
  EXPECT_EQ(told(whole, line + fits + "\r\n\r\n"), HttpProgress::done);
  HttpRequestReader larger;
  EXPECT_EQ(told(larger, line + fits + "x\r\n\r\n"), HttpProgress::too_large);
  HttpRequestReader endless;
  EXPECT_EQ(told(endless, std::string(HttpRequestReader::kHeadBytesMax, 'x')), HttpProgress::more);
  EXPECT_EQ(told(endless, "x"), HttpProgress::too_large);
}

}  // namespace
}  // namespace dolmen::node
