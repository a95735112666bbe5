// SPDX-License-Identifier: Apache-2.0
// The log suite's Redis peer: a master and two replicas, every one syncing its append-only file
// before it answers, and WAIT for one of the replicas: two of three, as the others.
#include "bench/log_requests.hpp"

namespace dolmen::bench {
namespace {

std::string command(const std::vector<std::string>& words) {
  std::string text = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& word : words) {
    text += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  }
  return text;
}

class Redis final : public RequestLog {
 public:
  Redis(const LogWork& work, const std::string& program, const std::string& name, bool is_durable) {
    const std::vector<std::uint16_t> ports = free_ports(3);
    for (std::size_t i = 0; i < 3; ++i) {
      const Folder& folder = *folders_.emplace_back(
          std::make_unique<Folder>(work.folder().below(name + std::to_string(i))));
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
                                     is_durable ? "yes" : "no",
                                     "--appendfsync",
                                     "always",
                                     "--daemonize",
                                     "no",
                                     "--auto-aof-rewrite-percentage",
                                     "0",
                                     "--repl-diskless-sync-delay",
                                     "0"};
      if (i > 0)
        words.insert(words.end(), {"--replicaof", "127.0.0.1 " + std::to_string(ports[0])});
      servers_.push_back(Server::program(words, folder.path() + ".out"));
    }
    servers_.front().wait_until([&] {
      Socket socket = connect_loopback(ports[0]);
      const std::string request = command({"SET", "ready", "?"}) + command({"WAIT", "2", "1000"});
      socket.send(request.data(), request.size());
      std::string answer(9, ' ');
      socket.receive(answer.data(), answer.size());
      return answer == "+OK\r\n:2\r\n";
    });
    connect(ports[0]);
  }

 private:
  [[nodiscard]] std::string request(std::size_t client) const override {
    return command({"SET", "client" + std::to_string(client), std::string(kLogEntryBytes, 'x')}) +
           command({"WAIT", "1", "0"});
  }
  [[nodiscard]] std::size_t answer_bytes(std::string_view received) const override {
    constexpr std::string_view kAny = "+OK\r\n:?\r\n";
    if (received.size() < kAny.size()) return 0;
    if (received.substr(0, 6) != kAny.substr(0, 6) || received[6] < '1' || received[6] > '2') {
      throw Failure("it answered " + std::string(received));
    }
    return kAny.size();
  }

  std::vector<std::unique_ptr<Folder>> folders_;
  std::vector<Server> servers_;
};

}  // namespace

void add_log_redis(LogWork& work) {
  const std::string program = find_program("redis-server");
  if (program.empty()) return work.report().not_installed("redis_wait", "redis-server");
  work.compete(
      "redis_wait",
      "a master and two replicas, appendfsync always; clients outside, each with a connection "
      "to the master that stays open: SET and WAIT 1 in one write, a key per client",
      std::make_shared<Redis>(work, program, "redis_", true));
}

std::shared_ptr<LogSystem> start_redis_in_memory(const LogWork& work) {
  const std::string program = find_program("redis-server");
  if (!program.empty()) {
    return std::make_shared<Redis>(work, program, "redis_memory_", false);
  }
  work.report().not_installed("redis_wait", "redis-server");
  return nullptr;
}

}  // namespace dolmen::bench
