// SPDX-License-Identifier: Apache-2.0
// The index suite's peers: servers that speak a protocol of lines over TCP. One thread serves all
// clients, each with a connection of its own that stays open.
#include <array>
#include <cerrno>
#include <charconv>
#include <deque>
#include <string_view>

#include <sys/epoll.h>
#include <unistd.h>

#include "bench/index.hpp"
#include "bench/servers.hpp"

namespace dolmen::bench {
namespace {

class LineServer : public IndexSystem {
 public:
  std::vector<double> times_of_reads(std::size_t count) override {
    connect(1);
    base::Random random(1);
    std::vector<double> times;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string request = get(index_key(random.below(first_keys())));
      const double begin = seconds_now();
      send(clients_[0], request, true, 1);
      while (!receive(clients_[0])) {
      }
      times.push_back(seconds_now() - begin);
    }
    return times;
  }

  double rate(const IndexMix& mix, double seconds) override {
    connect(mix.clients);
    base::Random random(1);
    const int poll = ::epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0) throw Failure("no epoll");
    const auto next = [&](Client& client) {
      const bool is_get = random.below(100) < mix.gets_of_100;
      std::string request;
      for (std::size_t i = 0; i < mix.batch; ++i) {
        const std::string key = index_key(random.below(kIndexKeys));
        request += is_get ? get(key) : put(key);
      }
      if (!is_get) request += after_puts();
      send(client, request, is_get, mix.batch);
    };
    for (std::size_t i = 0; i < mix.clients; ++i) {
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = &clients_[i];
      if (::epoll_ctl(poll, EPOLL_CTL_ADD, clients_[i].socket.fd(), &event) != 0) {
        throw Failure("no epoll");
      }
      next(clients_[i]);
    }
    const double begin = seconds_now();
    double end = begin;
    std::size_t under_way = mix.clients;
    std::size_t answered = 0;
    std::size_t counted = 0;
    while (under_way > 0) {
      std::array<epoll_event, 64> events;
      const std::chrono::milliseconds patience = kAnswerPatience;
      const int ready = ::epoll_wait(poll, events.data(), static_cast<int>(events.size()),
                                     static_cast<int>(patience.count()));
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) throw Failure("no answer");
      for (int i = 0; i < ready; ++i) {
        Client& client = *static_cast<Client*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (!receive(client)) continue;
        answered += mix.batch;
        if (end - begin < seconds) {
          next(client);
        } else {
          --under_way;
        }
      }
      if (end - begin < seconds) {
        end = seconds_now();
        counted = answered;
      }
    }
    ::close(poll);
    return static_cast<double>(counted) / (end - begin);
  }

 protected:
  /// So many a read may begin with.
  [[nodiscard]] virtual std::uint64_t first_keys() const { return kIndexKeys; }
  [[nodiscard]] virtual std::string get(const std::string& key) const = 0;
  [[nodiscard]] virtual std::string put(const std::string& key) const = 0;
  /// What is sent behind a batch of puts.
  [[nodiscard]] virtual std::string after_puts() const { return {}; }
  [[nodiscard]] virtual std::string answer_to_get() const = 0;
  [[nodiscard]] virtual std::string answer_to_put() const = 0;
  /// "?" stands for any digit.
  [[nodiscard]] virtual std::string answer_after_puts() const { return {}; }

  void load() {
    connect(1);
    for (std::uint64_t i = 0; i < kIndexKeys; ++i) {
      send(clients_[0], put(index_key(i)) + after_puts(), false, 1);
      while (!receive(clients_[0])) {
      }
    }
  }

  std::uint16_t port_ = 0;
  std::vector<Server> servers_;

 private:
  struct Client {
    Socket socket;
    std::string expected{};
    std::string received{};
  };
  void connect(std::size_t count) {
    while (clients_.size() < count) clients_.push_back({connect_loopback(port_)});
  }
  void send(Client& client, const std::string& request, bool is_get, std::size_t count) const {
    client.expected.clear();
    client.received.clear();
    for (std::size_t i = 0; i < count; ++i) {
      client.expected += is_get ? answer_to_get() : answer_to_put();
    }
    if (!is_get) client.expected += answer_after_puts();
    client.socket.send(request.data(), request.size());
  }
  /// Every value has the same length and bytes, so that the whole answer is known.
  static bool receive(Client& client) {
    std::array<char, 16384> buffer;
    const std::size_t got = client.socket.receive_some(buffer.data(), buffer.size());
    if (got == 0) throw Failure("the server has closed the connection");
    client.received.append(buffer.data(), got);
    if (client.received.size() < client.expected.size() && !client.received.starts_with("-") &&
        !client.received.starts_with("$-1") && !client.received.starts_with("E")) {
      return false;
    }
    bool is_right = client.received.size() == client.expected.size();
    for (std::size_t i = 0; is_right && i < client.expected.size(); ++i) {
      is_right = client.expected[i] == '?' || client.expected[i] == client.received[i];
    }
    if (!is_right) throw Failure("it answered " + client.received.substr(0, 80));
    return true;
  }

  std::deque<Client> clients_;
};

std::string value() { return std::string(kIndexValueBytes, 'x'); }

class RedisIndex final : public LineServer {
 public:
  enum class Form : std::uint8_t { strings, sorted_set };
  RedisIndex(const Folder& folder, const std::string& program, bool waits_for_replica,
             Form form = Form::strings)
      : waits_(waits_for_replica), is_set_(form == Form::sorted_set) {
    const std::size_t processes = waits_ ? 3 : 1;
    const std::vector<std::uint16_t> ports = free_ports(processes);
    port_ = ports[0];
    for (std::size_t i = 0; i < processes; ++i) {
      std::vector<std::string> words{program,
                                     "--port",
                                     std::to_string(ports[i]),
                                     "--bind",
                                     "127.0.0.1",
                                     "--dir",
                                     folder.path(),
                                     "--save",
                                     "",
                                     "--appendonly",
                                     "no",
                                     "--daemonize",
                                     "no",
                                     "--repl-diskless-sync-delay",
                                     "0"};
      if (i > 0) {
        words.insert(words.end(), {"--replicaof", "127.0.0.1 " + std::to_string(ports[0])});
      }
      servers_.push_back(Server::program(words, folder.below("redis_index") + std::to_string(i)));
    }
    servers_.front().wait_until([&] {
      Socket socket = connect_loopback(port_);
      const std::string request =
          command({"SET", "ready", "?"}) + (waits_ ? command({"WAIT", "2", "1000"}) : "");
      socket.send(request.data(), request.size());
      std::string answer(waits_ ? 9 : 5, ' ');
      socket.receive(answer.data(), answer.size());
      return answer == (waits_ ? "+OK\r\n:2\r\n" : "+OK\r\n");
    });
    load();
  }

 private:
  static std::string command(std::initializer_list<std::string> words) {
    std::string text = "*" + std::to_string(words.size()) + "\r\n";
    for (const std::string& word : words) {
      text += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
    }
    return text;
  }
  std::uint64_t first_keys() const override {
    return is_set_ ? kIndexKeys - kIndexScan : kIndexKeys;
  }
  std::string get(const std::string& key) const override {
    if (!is_set_) return command({"GET", key});
    return command(
        {"ZRANGEBYLEX", "index", "[" + key, "+", "LIMIT", "0", std::to_string(kIndexScan)});
  }
  std::string put(const std::string& key) const override {
    if (!is_set_) return command({"SET", key, value()});
    return command({"ZADD", "index", "0", key + "=" + value()});
  }
  std::string after_puts() const override { return waits_ ? command({"WAIT", "1", "0"}) : ""; }
  std::string answer_to_get() const override {
    if (!is_set_) return "$" + std::to_string(kIndexValueBytes) + "\r\n" + value() + "\r\n";
    const std::string member = "key-" + std::string(8, '?') + '=' + value();
    std::string answer = "*" + std::to_string(kIndexScan) + "\r\n";
    for (std::size_t i = 0; i < kIndexScan; ++i) {
      answer += "$" + std::to_string(member.size()) + "\r\n" + member + "\r\n";
    }
    return answer;
  }
  std::string answer_to_put() const override { return is_set_ ? ":1\r\n" : "+OK\r\n"; }
  std::string answer_after_puts() const override { return waits_ ? ":?\r\n" : ""; }

  const bool waits_;
  const bool is_set_;
};

class Memcached final : public LineServer {
 public:
  Memcached(const Folder& folder, const std::string& program) {
    port_ = free_ports(1)[0];
    servers_.push_back(Server::program({program, "-p", std::to_string(port_), "-l", "127.0.0.1",
                                        "-U", "0", "-m", "256", "-u", "root"},
                                       folder.below("memcached.out")));
    servers_.front().wait_until([&] {
      static_cast<void>(connect_loopback(port_));
      return true;
    });
    load();
  }

 private:
  std::string get(const std::string& key) const override { return "get " + key + "\r\n"; }
  std::string put(const std::string& key) const override {
    return "set " + key + " 0 0 " + std::to_string(kIndexValueBytes) + "\r\n" + value() + "\r\n";
  }
  std::string answer_to_get() const override {
    return "VALUE key-???????? 0 " + std::to_string(kIndexValueBytes) + "\r\n" + value() +
           "\r\nEND\r\n";
  }
  std::string answer_to_put() const override { return "STORED\r\n"; }
};

}  // namespace

std::string index_key(std::uint64_t number) {
  std::string digits = std::to_string(number);
  return "key-" + std::string(8 - digits.size(), '0') + digits;
}

std::unique_ptr<IndexSystem> start_index_redis(const Folder& folder, const std::string& program,
                                               bool waits_for_replica) {
  return std::make_unique<RedisIndex>(folder, program, waits_for_replica);
}

std::unique_ptr<ReadSystem> start_ordered_redis(const Folder& folder, const std::string& program) {
  return std::make_unique<RedisIndex>(folder, program, false, RedisIndex::Form::sorted_set);
}

std::unique_ptr<IndexSystem> start_index_memcached(const Folder& folder,
                                                   const std::string& program) {
  return std::make_unique<Memcached>(folder, program);
}

}  // namespace dolmen::bench
