// SPDX-License-Identifier: Apache-2.0
//
// Clients of a server that answers requests over TCP: each on a connection of its own that stays
// open, with one request under way. One thread serves all of them, so that the clients cost little.
//
// Thread contract: one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bench/log.hpp"
#include "bench/servers.hpp"

namespace dolmen::bench {

class RequestLog : public LogSystem {
 public:
  [[nodiscard]] std::vector<double> times_us(std::size_t entries) override;
  [[nodiscard]] double rate(double seconds) override;

 protected:
  /// What one client sends for each entry.
  [[nodiscard]] virtual std::string request(std::size_t client) const = 0;
  /// The bytes that a whole good answer takes at the front; 0: it is not whole yet. Throws Failure.
  [[nodiscard]] virtual std::size_t answer_bytes(std::string_view received) const = 0;
  /// Connects the clients, when the server is ready; again: with other requests.
  void connect(std::uint16_t port);

 private:
  struct Client {
    Socket socket;
    std::string request;
    std::string received;
  };
  void send(Client& client);
  /// Reads once; true: the answer is there.
  bool receive(Client& client);

  std::vector<Client> clients_;
};

}  // namespace dolmen::bench
