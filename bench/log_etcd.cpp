// SPDX-License-Identifier: Apache-2.0
// The log suite's etcd peer: three members on loopback, and its v3 API as a light client speaks it:
// JSON over HTTP connections that stay open.
#include <charconv>

#include <nlohmann/json.hpp>

#include "bench/log_requests.hpp"

namespace dolmen::bench {
namespace {

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  std::uint32_t bits = 0;
  unsigned held = 0;
  for (const char byte : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(byte);
    for (held += 8; held >= 6; held -= 6) text += kDigits[bits >> (held - 6) & 63];
  }
  if (held > 0) text += kDigits[bits << (6 - held) & 63];
  while (text.size() % 4 != 0) text += '=';
  return text;
}

std::string post(const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

/// Where the body begins and ends; {0, 0}: not whole yet.
std::pair<std::size_t, std::size_t> body_of(std::string_view answer) {
  constexpr std::string_view kLength = "\r\nContent-Length: ";
  const std::size_t head = answer.find("\r\n\r\n");
  if (head == answer.npos) return {0, 0};
  if (!answer.starts_with("HTTP/1.1 200 ")) {
    throw Failure("it answered " + std::string(answer.substr(0, answer.find('\r'))));
  }
  const std::size_t field = answer.substr(0, head).find(kLength);
  if (field == answer.npos) throw Failure("an answer without its length");
  std::size_t bytes = 0;
  std::from_chars(answer.data() + field + kLength.size(), answer.data() + head, bytes);
  const std::size_t end = head + 4 + bytes;
  return answer.size() < end ? std::pair<std::size_t, std::size_t>{0, 0} : std::pair{head + 4, end};
}

bool leads(std::uint16_t port) {
  Socket socket = connect_loopback(port);
  const std::string request = post("/v3/maintenance/status", "{}");
  socket.send(request.data(), request.size());
  std::string answer;
  std::array<char, 4096> buffer;
  std::pair<std::size_t, std::size_t> body{0, 0};
  while (body.second == 0) {
    const std::size_t got = socket.receive_some(buffer.data(), buffer.size());
    if (got == 0) return false;
    answer.append(buffer.data(), got);
    body = body_of(answer);
  }
  const auto status = nlohmann::json::parse(answer.substr(body.first, body.second - body.first));
  return status.contains("leader") && status["leader"] == status["header"]["member_id"];
}

class Etcd final : public RequestLog {
 public:
  Etcd(const LogWork& work, const std::string& program, bool reads) {
    const std::vector<std::uint16_t> ports = free_ports(6);
    const auto url = [&](std::size_t i) { return "http://127.0.0.1:" + std::to_string(ports[i]); };
    std::string members;
    for (std::size_t i = 0; i < 3; ++i) {
      members += (i > 0 ? ",m" : "m") + std::to_string(i) + "=" + url(3 + i);
    }
    for (std::size_t i = 0; i < 3; ++i) {
      const std::string name = "m" + std::to_string(i);
      const std::string folder = work.folder().below((reads ? "etcd_reads_" : "etcd_") + name);
      servers_.push_back(Server::program({program,    "--name",
                                          name,       "--data-dir",
                                          folder,     "--listen-client-urls",
                                          url(i),     "--advertise-client-urls",
                                          url(i),     "--listen-peer-urls",
                                          url(3 + i), "--initial-advertise-peer-urls",
                                          url(3 + i), "--initial-cluster",
                                          members,    "--initial-cluster-state",
                                          "new",      "--log-level",
                                          "error",    "--logger",
                                          "zap"},
                                         folder + ".out"));
    }
    std::uint16_t leader = 0;
    servers_.front().wait_until([&] {
      for (std::size_t i = 0; i < 3 && leader == 0; ++i) leader = leads(ports[i]) ? ports[i] : 0;
      return leader != 0;
    });
    connect(leader);
    if (!reads) return;
    (void)times_us(1);  // there is something to get
    reads_ = true;
    connect(leader);
  }

 private:
  [[nodiscard]] std::string request(std::size_t client) const override {
    if (reads_) {
      return post("/v3/kv/range",
                  "{\"key\":\"" + base64("client" + std::to_string(client)) + "\"}");
    }
    return post("/v3/kv/put", "{\"key\":\"" + base64("client" + std::to_string(client)) +
                                  "\",\"value\":\"" + base64(std::string(kLogEntryBytes, 'x')) +
                                  "\"}");
  }
  [[nodiscard]] std::size_t answer_bytes(std::string_view received) const override {
    return body_of(received).second;
  }

  std::vector<Server> servers_;
  bool reads_ = false;
};

}  // namespace

std::shared_ptr<LogSystem> start_etcd(const LogWork& work, bool reads) {
  const std::string program = find_program("etcd");
  if (!program.empty()) return std::make_shared<Etcd>(work, program, reads);
  work.report().not_installed("etcd", "etcd-server");
  return nullptr;
}

void add_log_etcd(LogWork& work) {
  auto etcd = start_etcd(work);
  if (!etcd) return;
  work.compete(
      "etcd",
      "three members, defaults; clients outside, each with an HTTP connection to the leader "
      "that stays open: POST /v3/kv/put (JSON), a key per client",
      std::move(etcd));
}

}  // namespace dolmen::bench
