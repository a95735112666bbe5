// SPDX-License-Identifier: Apache-2.0
#include "node/metrics_server.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sim/sim_streams.hpp"

namespace dolmen::node {
namespace {

constexpr std::uint64_t kStepNs = 1'000'000;

/// The server on one host, and clients on another, in virtual time.
class MetricsServerTest : public ::testing::Test {
 protected:
  /// Whoever asks.
  class Client {
   public:
    Client(sys::Network& network, const sys::NetworkAddress& where)
        : socket_(network.connect(where).value()) {}
    /// Sent as far as there is room.
    void say(std::string_view text) { unsent_ += text; }
    void step() {
      if (!socket_) return;
      const auto connected = socket_->connected();
      if (!connected) return close();
      if (!*connected) return;
      if (!unsent_.empty()) {
        const auto sent = socket_->write(base::as_bytes(unsent_));
        if (!sent) return close();
        unsent_.erase(0, *sent);
      }
      std::array<std::byte, 4096> into{};
      while (reads && socket_) {
        const auto got = socket_->read(into);
        if (!got || got->ended) return close();
        if (got->bytes == 0) return;
        heard.append(reinterpret_cast<const char*>(into.data()), got->bytes);
      }
    }
    void close() {
      is_over = true;
      socket_.reset();
    }
    /// Behind the head.
    [[nodiscard]] std::string body() const {
      const std::size_t at = heard.find("\r\n\r\n");
      return at == std::string::npos ? "" : heard.substr(at + 4);
    }

    std::string heard;
    bool reads = true;
    bool is_over = false;

   private:
    std::unique_ptr<sys::Socket> socket_;
    std::string unsent_;
  };

  MetricsServerTest() {
    server_ =
        MetricsServer::make({.listen = {"10.0.0.1", 0}}, streams_.host("10.0.0.1"), clock_, [this] {
          ++wanted_;
        }).value();
  }
  Client& client() {
    clients_.push_back(std::make_unique<Client>(streams_.host("10.0.0.2"), server_->address()));
    return *clients_.back();
  }
  Client& asking(std::string_view request = "GET /metrics HTTP/1.1\r\n\r\n") {
    Client& one = client();
    one.say(request);
    return one;
  }
  void step() {
    clock_.advance_ns(kStepNs);
    while (server_->turn()) {
    }
    ASSERT_TRUE(server_->wait());
    if (answers_ && server_->is_wanted()) server_->give(text_);
    for (const auto& one : clients_) one->step();
  }
  template <class Done>
  [[nodiscard]] bool until(const Done& done, std::uint64_t patience_ns = 1'000'000'000) {
    for (std::uint64_t past_ns = 0; past_ns < patience_ns; past_ns += kStepNs) {
      if (done()) return true;
      step();
    }
    return done();
  }
  [[nodiscard]] std::string answer_to(std::string_view request) {
    Client& one = asking(request);
    const auto is_whole = [&] { return one.heard.find("\r\n\r\n") != std::string::npos; };
    EXPECT_TRUE(until(is_whole)) << request;
    for (int i = 0; i < 20; ++i) step();
    one.close();
    return one.heard.substr(0, one.heard.find("\r\n"));
  }

  sim::SimClock clock_;
  sim::StreamWorld streams_{clock_, 1};
  std::unique_ptr<MetricsServer> server_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::string text_ = "dolmen_x 1\n";
  bool answers_ = true;
  int wanted_ = 0;
};

TEST_F(MetricsServerTest, GivesWhatTheNodeSays) {
  Client& first = asking();
  ASSERT_TRUE(until([&] { return first.body() == text_; })) << first.heard;
  EXPECT_TRUE(
      first.heard.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
  EXPECT_NE(first.heard.find("Content-Length: 11\r\n"), std::string::npos);
  EXPECT_FALSE(first.is_over) << "it ends when its client has";
  EXPECT_EQ(wanted_, 1);
  first.close();
  ASSERT_TRUE(until([&] { return server_->connections() == 0; }));

  // Each text is made after it was asked for, and for all who wait.
  text_ = "dolmen_x 2\n";
  Client& second = asking();
  Client& third = asking();
  ASSERT_TRUE(until([&] { return second.body() == text_ && third.body() == text_; }));
}

TEST_F(MetricsServerTest, ALargeTextArrivesInWhateverPieces) {
  text_.assign(600'000, 'x');
  streams_.set_faults({.piece_max = 1000, .window = 5000});
  Client& one = client();
  for (const char c : std::string("GET /metrics HTTP/1.0\n\n")) {
    one.say(std::string(1, c));
    step();
  }
  ASSERT_TRUE(until([&] { return one.body() == text_; }, 9'000'000'000)) << one.heard.size();
}

TEST_F(MetricsServerTest, SaysWhatItDoesNotHave) {
  EXPECT_EQ(answer_to("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
  EXPECT_EQ(answer_to("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"),
            "HTTP/1.1 405 Method Not Allowed");
  EXPECT_EQ(answer_to("hello\r\n"), "HTTP/1.1 400 Bad Request");
  EXPECT_EQ(answer_to("GET /metrics HTTP/1.1\r\nX: " + std::string(9000, 'x')),
            "HTTP/1.1 431 Request Header Fields Too Large");
  EXPECT_EQ(wanted_, 0) << "the node was not asked";
  EXPECT_EQ(answer_to("HEAD /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK");
  EXPECT_EQ(clients_.back()->body(), "");
}

TEST_F(MetricsServerTest, ANodeThatSaysNothingIsUnavailable) {
  answers_ = false;
  Client& one = asking();
  ASSERT_TRUE(until([&] { return !one.heard.empty(); }, 4'000'000'000));
  EXPECT_TRUE(one.heard.starts_with("HTTP/1.1 503 ")) << one.heard;
}

TEST_F(MetricsServerTest, WhoIsSlowHoldsUpNobody) {
  std::vector<Client*> slow;
  for (int i = 0; i < 40; ++i) {
    slow.push_back(&client());
    slow.back()->say("GET /metr");
    for (int k = 0; k < 3; ++k) step();
    EXPECT_LE(server_->connections(), 16u);
  }
  EXPECT_EQ(std::ranges::count_if(slow, [](const Client* one) { return one->is_over; }), 24);
  Client& one = asking();
  ASSERT_TRUE(until([&] { return one.body() == text_; }));
  one.close();
  // Who does not go on, and who does not read, ends in time.
  text_.assign(3'000'000, 'x');
  Client& deaf = asking();
  deaf.reads = false;
  ASSERT_TRUE(until([&] { return server_->connections() == 0; }, 11'000'000'000));
}

TEST_F(MetricsServerTest, WhoTalksForEverIsNotListenedTo) {
  Client& one = asking();
  ASSERT_TRUE(until([&] { return one.body() == text_; }));
  one.say(std::string(1 << 20, 'x'));
  ASSERT_TRUE(until([&] { return one.is_over; })) << "long before its time";
}

// Connections that break at any byte, come in crowds and say anything.
TEST_F(MetricsServerTest, OutlivesWhateverClientsDo) {
  base::Random random(7);
  streams_.set_faults({.piece_max = 40, .window = 600, .reset_ppm = 2'000});
  text_.assign(2'000, 'y');
  std::size_t answered = 0;
  for (int round = 0; round < 400; ++round) {
    if (random.below(3) == 0) {
      constexpr std::array<std::string_view, 4> kWords{"GET /metrics HTTP/1.1\r\n\r\n", "GET ",
                                                       "\r\n\r\n", "HEAD /metrics HTTP/1.0\n\n"};
      asking(kWords[random.below(kWords.size())]).reads = random.below(4) != 0;
    }
    for (std::uint64_t i = random.below(20); i > 0; --i) step();
    if (random.below(4) == 0 && !clients_.empty()) {
      clients_[random.below(clients_.size())]->close();
    }
    EXPECT_LE(server_->connections(), 16u);
    answered += std::erase_if(
        clients_, [&](const auto& one) { return one->is_over && one->body() == text_; });
  }
  EXPECT_GT(streams_.resets(), 0u);
  EXPECT_GT(answered, 0u);
  streams_.set_faults({});
  Client& last = asking();
  ASSERT_TRUE(until([&] { return last.body() == text_; }));
  ASSERT_TRUE(until([&] { return server_->connections() == 0; }, 11'000'000'000));
}

}  // namespace
}  // namespace dolmen::node
