// SPDX-License-Identifier: Apache-2.0
#include "node/metrics_server.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace dolmen::node {

namespace {

constexpr std::uint64_t kListenerTag = 0;
constexpr std::size_t kReadBytes = 4096;

std::shared_ptr<const std::string> line(const char* words) {
  return std::make_shared<const std::string>(std::string(words) + "\n");
}

}  // namespace

Result<std::unique_ptr<MetricsServer>> MetricsServer::make(const MetricsServerOptions& options,
                                                           sys::Network& network, sys::Clock& clock,
                                                           std::function<void()> on_wanted) {
  DOLMEN_TRY(auto listener, network.listen(options.listen));
  DOLMEN_TRY(auto poller, network.make_poller());
  DOLMEN_CHECK(poller->add(*listener, kListenerTag));
  std::unique_ptr<MetricsServer> server(new MetricsServer(options, clock, std::move(on_wanted),
                                                          std::move(poller), std::move(listener)));
  server->is_listening_ = true;
  return server;
}

MetricsServer::~MetricsServer() {
  while (!connections_.empty()) end(connections_.begin()->first);
  if (is_listening_) poller_->remove(*listener_);
}

void MetricsServer::run() {
  while (!is_stopping_.load(std::memory_order_relaxed)) {
    if (!turn() && !wait()) return;
  }
}

void MetricsServer::stop() noexcept {
  is_stopping_ = true;
  poller_->wake();
}

void MetricsServer::give(std::string text) {
  auto shared = std::make_shared<const std::string>(std::move(text));
  {
    const base::Lock lock(mutex_);
    text_ = std::move(shared);
    ++serial_;
  }
  poller_->wake();
}

bool MetricsServer::turn() {
  const std::uint64_t now_ns = clock_.monotonic_ns();
  bool busy = accept_some(now_ns);
  for (auto it = connections_.begin(); it != connections_.end();) {
    const std::uint64_t tag = it->first;
    Connection& connection = it->second;
    ++it;
    busy |= serve(now_ns, tag, connection);
    if (now_ns >= connection.since_ns + options_.connection_ns) connection.is_over = true;
    if (connection.is_over) end(tag);
  }
  return busy;
}

Result<void> MetricsServer::wait() {
  std::uint64_t until_ns = is_listening_ ? ~std::uint64_t{0} : accept_at_ns_;
  for (const auto& [tag, connection] : connections_) {
    until_ns = std::min(until_ns, connection.since_ns + options_.connection_ns);
    if (connection.phase == Phase::asking) {
      until_ns = std::min(until_ns, connection.asked_ns + options_.text_ns);
    } else if (connection.has_ended) {
      until_ns = std::min(until_ns, clock_.monotonic_ns() + options_.half_closed_ns);
    }
  }
  std::array<sys::Poller::Event, 32> events{};
  DOLMEN_CHECK(poller_->wait(events, until_ns));
  return {};
}

bool MetricsServer::accept_some(std::uint64_t now_ns) {
  if (!is_listening_) {
    if (now_ns < accept_at_ns_ || !poller_->add(*listener_, kListenerTag)) return false;
    is_listening_ = true;
  }
  auto socket = listener_->accept();
  if (!socket) {
    // No descriptors are left: it would be reported as ready for ever.
    poller_->remove(*listener_);
    is_listening_ = false;
    accept_at_ns_ = now_ns + options_.accept_ns;
    return false;
  }
  if (!*socket) return false;
  if (connections_.size() >= options_.connections_max) end(connections_.begin()->first);
  const std::uint64_t tag = next_tag_++;
  Connection connection{.socket = std::move(*socket), .since_ns = now_ns};
  if (!poller_->add(*connection.socket, tag, false)) return true;
  connections_.emplace(tag, std::move(connection));
  return true;
}

bool MetricsServer::serve(std::uint64_t now_ns, std::uint64_t tag, Connection& connection) {
  bool busy = read(now_ns, connection);
  if (connection.is_over) return true;
  if (connection.phase == Phase::asking) busy |= give_text(now_ns, connection);
  if (connection.phase == Phase::writing) busy |= write(connection);
  if (!connection.is_over) want_writable(tag, connection);
  return busy;
}

/// Also what is not looked at any more: a peer that ended is gone.
bool MetricsServer::read(std::uint64_t now_ns, Connection& connection) {
  if (connection.has_ended) return false;
  std::array<std::byte, kReadBytes> into{};
  const auto got = connection.socket->read(into);
  if (!got) {
    connection.is_over = true;
    return true;
  }
  if (got->bytes > 0 && connection.phase == Phase::reading) {
    if (connection.request.take(base::Bytes(into).first(got->bytes)) != HttpProgress::more) {
      decide(now_ns, connection);
    }
  }
  connection.read_in_all += got->bytes;
  if (connection.read_in_all > options_.read_bytes_max) connection.is_over = true;
  if (got->ended) hear_end(connection);
  return got->bytes > 0 || got->ended || connection.is_over;
}

/// Half of a connection may be closed by who still reads its answer. It would be reported as ready
/// for ever.
void MetricsServer::hear_end(Connection& connection) {
  connection.has_ended = true;
  connection.is_over |= connection.phase == Phase::reading || connection.phase == Phase::draining;
  poller_->remove(*connection.socket);
}

void MetricsServer::decide(std::uint64_t now_ns, Connection& connection) {
  const HttpRequestReader& request = connection.request;
  if (request.progress() == HttpProgress::too_large) {
    return answer(connection, "431 Request Header Fields Too Large", line("too large"));
  }
  if (request.progress() != HttpProgress::done) {
    return answer(connection, "400 Bad Request", line("no request"));
  }
  if (request.method() != "GET" && request.method() != "HEAD") {
    return answer(connection, "405 Method Not Allowed", line("GET it"), "Allow: GET, HEAD\r\n");
  }
  if (request.path() != "/metrics") {
    return answer(connection, "404 Not Found", line("there is /metrics"));
  }
  connection.phase = Phase::asking;
  connection.asked_ns = now_ns;
  {
    const base::Lock lock(mutex_);
    connection.asked_serial = serial_;
  }
  is_wanted_ = true;
  on_wanted_();
}

bool MetricsServer::give_text(std::uint64_t now_ns, Connection& connection) {
  std::shared_ptr<const std::string> text;
  {
    const base::Lock lock(mutex_);
    if (serial_ > connection.asked_serial) text = text_;
  }
  if (text == nullptr) {
    if (now_ns < connection.asked_ns + options_.text_ns) return false;
    answer(connection, "503 Service Unavailable", line("the node does not answer"));
    return true;
  }
  answer(connection, "200 OK", std::move(text));
  return true;
}

void MetricsServer::answer(Connection& connection, const char* status,
                           std::shared_ptr<const std::string> body, const char* more) {
  connection.phase = Phase::writing;
  connection.head = std::string("HTTP/1.1 ") + status +
                    "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                    "Content-Length: " +
                    std::to_string(body->size()) + "\r\n" + more + "Connection: close\r\n\r\n";
  const HttpRequestReader& request = connection.request;
  const bool is_head = request.progress() == HttpProgress::done && request.method() == "HEAD";
  if (!is_head) connection.body = std::move(body);
}

/// Behind the answer the peer ends the connection, or else time does: what it sent and nobody read
/// would have the system throw away what it has not read yet.
bool MetricsServer::write(Connection& connection) {
  const std::size_t all = connection.head.size() + (connection.body ? connection.body->size() : 0);
  bool busy = false;
  while (connection.written < all) {
    const bool is_head = connection.written < connection.head.size();
    const std::string& from = is_head ? connection.head : *connection.body;
    const std::size_t at = connection.written - (is_head ? 0 : connection.head.size());
    const auto count = connection.socket->write(base::as_bytes(std::string_view(from).substr(at)));
    if (!count) connection.is_over = true;
    if (!count || *count == 0) return busy || !count;
    connection.written += *count;
    busy = true;
  }
  connection.phase = Phase::draining;
  connection.is_over |= connection.has_ended;
  return true;
}

void MetricsServer::want_writable(std::uint64_t tag, Connection& connection) {
  const bool wants = connection.phase == Phase::writing;
  if (connection.has_ended || wants == connection.is_writable_wanted) return;
  connection.is_writable_wanted = wants;
  if (!poller_->change(*connection.socket, tag, wants)) connection.is_over = true;
}

void MetricsServer::end(std::uint64_t tag) {
  const auto found = connections_.find(tag);
  if (!found->second.has_ended) poller_->remove(*found->second.socket);
  connections_.erase(found);
}

}  // namespace dolmen::node
