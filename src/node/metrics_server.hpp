// SPDX-License-Identifier: Apache-2.0
//
// Gives a node's figures to whoever asks by HTTP (docs/metrics.md): "GET /metrics", one request per
// connection. It has a thread of its own, so that who is slow holds up nobody but himself; the text
// is made by the node's thread, between two turns, when somebody has asked.
//
// Everything is bounded: connections, what a request may have, and how long each takes. Of too many
// connections the oldest ends.
//
// Threads: turn() and wait() one, the server's; is_wanted() and give() another, the node's; stop()
// any.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <dolmen/error.hpp>

#include "base/mutex.hpp"
#include "node/http_request.hpp"
#include "sys/clock.hpp"
#include "sys/network.hpp"

namespace dolmen::node {

struct MetricsServerOptions {
  sys::NetworkAddress listen{};
  std::size_t connections_max = 16;
  /// A connection ends after this, whatever it does.
  std::uint64_t connection_ns = 10'000'000'000;
  /// A node that gives no text for so long is said to be unavailable.
  std::uint64_t text_ns = 3'000'000'000;
  /// Until descriptors are looked for again, after there were none.
  std::uint64_t accept_ns = 100'000'000;
  /// Who sends more than this is not listened to.
  std::size_t read_bytes_max = 64u << 10;
  /// Of a peer that ended its direction, how often it is looked whether it takes more.
  std::uint64_t half_closed_ns = 10'000'000;
};

class MetricsServer {
 public:
  /// Listens. `network` and `clock` outlive it. `on_wanted` is called by the server's thread when a
  /// text is wanted, to wake the node's. Errors: those of listening.
  [[nodiscard]] static Result<std::unique_ptr<MetricsServer>> make(
      const MetricsServerOptions& options, sys::Network& network, sys::Clock& clock,
      std::function<void()> on_wanted);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  [[nodiscard]] const sys::NetworkAddress& address() const noexcept { return listener_->address(); }
  /// Of the server's thread.
  [[nodiscard]] std::size_t connections() const noexcept { return connections_.size(); }

  /// Does what can be done now; false: there was nothing.
  [[nodiscard]] bool turn();
  /// Until a turn may have something to do. Errors: io_error: it is of no more use.
  [[nodiscard]] Result<void> wait();
  /// Turns and waits until stop(), or until that fails.
  void run();
  void stop() noexcept;

  /// Whether somebody waits for a text; asking says so once for each time.
  [[nodiscard]] bool is_wanted() noexcept {
    return is_wanted_.load(std::memory_order_relaxed) && is_wanted_.exchange(false);
  }
  void give(std::string text);

 private:
  enum class Phase : std::uint8_t { reading, asking, writing, draining };
  struct Connection {
    std::unique_ptr<sys::Socket> socket;
    Phase phase = Phase::reading;
    HttpRequestReader request{};
    std::uint64_t since_ns = 0;
    std::uint64_t asked_ns = 0;
    std::uint64_t asked_serial = 0;             ///< the text that was there then
    std::string head{};                         ///< of the answer
    std::shared_ptr<const std::string> body{};  ///< null: it has none
    std::size_t written = 0;
    std::size_t read_in_all = 0;
    bool is_writable_wanted = false;
    bool has_ended = false;  ///< the peer's direction: the poller looks after it no more
    bool is_over = false;
  };

  MetricsServer(const MetricsServerOptions& options, sys::Clock& clock,
                std::function<void()> on_wanted, std::unique_ptr<sys::Poller> poller,
                std::unique_ptr<sys::Listener> listener)
      : options_(options),
        clock_(clock),
        on_wanted_(std::move(on_wanted)),
        poller_(std::move(poller)),
        listener_(std::move(listener)) {}

  [[nodiscard]] bool accept_some(std::uint64_t now_ns);
  [[nodiscard]] bool serve(std::uint64_t now_ns, std::uint64_t tag, Connection& connection);
  [[nodiscard]] bool read(std::uint64_t now_ns, Connection& connection);
  void hear_end(Connection& connection);
  void decide(std::uint64_t now_ns, Connection& connection);
  void answer(Connection& connection, const char* status, std::shared_ptr<const std::string> body,
              const char* more = "");
  [[nodiscard]] bool give_text(std::uint64_t now_ns, Connection& connection);
  [[nodiscard]] bool write(Connection& connection);
  void want_writable(std::uint64_t tag, Connection& connection);
  void end(std::uint64_t tag);

  const MetricsServerOptions options_;
  sys::Clock& clock_;
  const std::function<void()> on_wanted_;
  const std::unique_ptr<sys::Poller> poller_;
  const std::unique_ptr<sys::Listener> listener_;
  std::map<std::uint64_t, Connection> connections_;  ///< by when they came
  std::uint64_t next_tag_ = 1;
  bool is_listening_ = false;  ///< the poller looks after the listener
  std::uint64_t accept_at_ns_ = 0;

  std::atomic<bool> is_wanted_{false};
  std::atomic<bool> is_stopping_{false};
  base::Mutex mutex_;
  std::shared_ptr<const std::string> text_ DOLMEN_GUARDED_BY(mutex_);
  std::uint64_t serial_ DOLMEN_GUARDED_BY(mutex_) = 0;
};

}  // namespace dolmen::node
