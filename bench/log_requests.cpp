// SPDX-License-Identifier: Apache-2.0
#include "bench/log_requests.hpp"

#include <array>
#include <cerrno>

#include <sys/epoll.h>
#include <unistd.h>

namespace dolmen::bench {

void RequestLog::connect(std::uint16_t port) {
  clients_.clear();
  for (std::size_t i = 0; i < kLogClients; ++i) {
    clients_.push_back({connect_loopback(port), request(i), {}});
  }
}

void RequestLog::send(Client& client) {
  client.received.clear();
  client.socket.send(client.request.data(), client.request.size());
}

bool RequestLog::receive(Client& client) {
  std::array<char, 4096> buffer;
  const std::size_t got = client.socket.receive_some(buffer.data(), buffer.size());
  if (got == 0) throw Failure("the server has closed the connection");
  client.received.append(buffer.data(), got);
  const std::size_t whole = answer_bytes(client.received);
  if (whole != 0 && whole != client.received.size()) throw Failure("more than was asked for");
  return whole != 0;
}

std::vector<double> RequestLog::times_us(std::size_t entries) {
  std::vector<double> times;
  Client& client = clients_.front();
  for (std::size_t i = 0; i < entries; ++i) {
    const double begin = seconds_now();
    send(client);
    while (!receive(client)) {
    }
    times.push_back((seconds_now() - begin) * 1e6);
  }
  return times;
}

double RequestLog::rate(double seconds) {
  struct Poll {
    Poll() : fd(::epoll_create1(EPOLL_CLOEXEC)) {
      if (fd < 0) throw Failure("no epoll");
    }
    ~Poll() { ::close(fd); }
    int fd;
  };
  const Poll poll;
  for (Client& client : clients_) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &client;
    if (::epoll_ctl(poll.fd, EPOLL_CTL_ADD, client.socket.fd(), &event) != 0) {
      throw Failure("no epoll");
    }
  }
  const double begin = seconds_now();
  for (Client& client : clients_) send(client);
  std::size_t under_way = clients_.size();
  std::size_t answered = 0;
  std::size_t counted = 0;
  double end = begin;
  while (under_way > 0) {
    std::array<epoll_event, kLogClients> events;
    const std::chrono::milliseconds patience = kAnswerPatience;
    const int ready = ::epoll_wait(poll.fd, events.data(), static_cast<int>(events.size()),
                                   static_cast<int>(patience.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) throw Failure("no answer");
    for (int i = 0; i < ready; ++i) {
      Client& client = *static_cast<Client*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (!receive(client)) continue;
      ++answered;
      if (end - begin < seconds) {
        send(client);
      } else {
        --under_way;
      }
    }
    // What is answered after the time is up only empties the connections.
    if (end - begin < seconds) {
      end = seconds_now();
      counted = answered;
    }
  }
  return static_cast<double>(counted) / (end - begin);
}

}  // namespace dolmen::bench
