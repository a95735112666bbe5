// SPDX-License-Identifier: Apache-2.0
// The fabric suite's rows of dolmen: an endpoint in each of the two processes.
#include <array>
#include <optional>
#include <utility>

#include "bench/fabric.hpp"
#include "fabric/shm.hpp"
#include "fabric/tcp_endpoint.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::bench {
namespace {

constexpr fabric::NodeName kAsking{fabric::NodeId{1}, 1};
constexpr fabric::NodeName kAsked{fabric::NodeId{2}, 1};
constexpr fabric::RegionId kRegion{1};
constexpr fabric::WaitPolicy kPolling{.spin_ns = ~std::uint64_t{0}};

std::unique_ptr<fabric::Endpoint> open_over_shm(const std::string& path,
                                                const fabric::NodeName& self) {
  auto directory = expect(sys::open_shared_directory(path), "the shared directory");
  return expect(
      fabric::open_shm(sys::linux_env(), std::move(directory), {.self = self, .wait = kPolling}),
      "an endpoint");
}

std::unique_ptr<fabric::TcpEndpoint> open_over_tcp(const fabric::NodeName& self,
                                                   std::optional<sys::NetworkAddress> listen,
                                                   std::vector<fabric::TcpPeer> peers) {
  std::array<std::byte, 32> key{};
  key.fill(std::byte{0x5a});  // nobody else dials in the second that this lasts
  const sys::Env& env = sys::linux_env();
  return expect(fabric::TcpEndpoint::make(
                    {.self = self,
                     .key = fabric::Secret(key),
                     .listen = std::move(listen),
                     .peers = std::move(peers),
                     .wait = kPolling},
                    {.network = env.network, .clock = env.clock, .entropy = env.entropy}),
                "an endpoint");
}

class Heard final : public fabric::Sink {
 public:
  void on_connected(const fabric::NodeName&) override { is_connected = true; }
  void on_lost(const fabric::NodeName&, const Error& why) override { failure = why.message(); }
  void on_refused(fabric::NodeId, const Error& why) override { failure = why.message(); }
  void on_message(const fabric::NodeName&, fabric::Bytes message) override {
    if (message.size() == kFabricSmallBytes) ++answers;
  }
  void on_completed(fabric::OpId, const Result<std::uint64_t>& former) override {
    ++answers;
    if (!former) failure = former.error().message();
  }

  bool is_connected = false;
  std::size_t answers = 0;
  std::string failure;
};

class Asking final : public Exchange {
 public:
  Asking(std::unique_ptr<SharedFolder> folder, std::unique_ptr<fabric::Endpoint> endpoint,
         Server other, FabricWork work, Spin spin)
      : folder_(std::move(folder)),
        other_(std::move(other)),
        endpoint_(std::move(endpoint)),
        work_(work),
        spin_(spin) {
    other_.wait_until([&] {
      for (int i = 0; i < 1000 && !heard_.is_connected; ++i) poll();
      return heard_.is_connected;
    });
  }

  void repeat(std::size_t count) override {
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t answers = heard_.answers;
      ask();
      for (poll(); heard_.answers == answers; poll()) spin_();
    }
  }

 private:
  void ask() {
    const fabric::Bytes small = fabric::Bytes(page_).first(kFabricSmallBytes);
    if (work_ == FabricWork::rtt64) return expect(endpoint_->send(kAsked, small), "send");
    const fabric::Place place{kAsked, kRegion, at_};
    if (work_ == FabricWork::write64) {
      expect(endpoint_->write(fabric::OpId{1}, place, small, fabric::Level::placed), "write");
      at_ = (at_ + kFabricSmallBytes) % kFabricRegionBytes;
    } else {
      expect(endpoint_->read(fabric::OpId{1}, place, page_), "read");
      at_ = (at_ + kFabricPageBytes) % kFabricRegionBytes;
    }
  }
  void poll() {
    expect(endpoint_->poll(heard_), "poll");
    if (!heard_.failure.empty()) throw Failure(heard_.failure);
  }

  std::unique_ptr<SharedFolder> folder_;
  Server other_;
  std::unique_ptr<fabric::Endpoint> endpoint_;
  FabricWork work_;
  Spin spin_;
  Heard heard_;
  std::vector<std::byte> page_ = std::vector<std::byte>(kFabricPageBytes);
  std::size_t at_ = 0;
};

class Echo final : public fabric::Sink {
 public:
  explicit Echo(fabric::Endpoint& endpoint) : endpoint_(&endpoint) {}
  void on_connected(const fabric::NodeName&) override {}
  void on_lost(const fabric::NodeName&, const Error&) override { is_over = true; }
  void on_refused(fabric::NodeId, const Error&) override {}
  void on_message(const fabric::NodeName& from, fabric::Bytes message) override {
    expect(endpoint_->send(from, message), "an answer");
  }
  void on_completed(fabric::OpId, const Result<std::uint64_t>&) override {}

  bool is_over = false;

 private:
  fabric::Endpoint* endpoint_;
};

/// Serves until the other side is gone.
void answer(fabric::Endpoint& endpoint, Spin spin) {
  expect(endpoint.make_region(kRegion, kFabricRegionBytes), "a region");
  expect(endpoint.grant(kRegion, kAsking.node, {.read = true, .write = true}), "a grant");
  Echo echo(endpoint);
  while (!echo.is_over) {
    expect(endpoint.poll(echo), "poll");
    spin();
  }
}

}  // namespace

std::unique_ptr<Exchange> dolmen_over_shm(const FabricStage& stage, FabricWork work) {
  auto folder = std::make_unique<SharedFolder>();
  auto endpoint = open_over_shm(folder->path(), kAsking);
  Server other = stage.start("fabric-shm", folder->path(), work);
  return std::make_unique<Asking>(std::move(folder), std::move(endpoint), std::move(other), work,
                                  stage.spin());
}

std::unique_ptr<Exchange> dolmen_over_tcp(const FabricStage& stage, FabricWork work) {
  auto endpoint = open_over_tcp(kAsking, sys::NetworkAddress{"127.0.0.1", 0}, {});
  Server other = stage.start("fabric-tcp", std::to_string(endpoint->address()->port), work);
  return std::make_unique<Asking>(nullptr, std::move(endpoint), std::move(other), work,
                                  stage.spin());
}

void dolmen_shm_part(const FabricPart& part) {
  answer(*open_over_shm(part.where, kAsked), Spin(part.shares_core));
}

void dolmen_tcp_part(const FabricPart& part) {
  const sys::NetworkAddress where{"127.0.0.1", static_cast<std::uint16_t>(std::stoul(part.where))};
  answer(*open_over_tcp(kAsked, std::nullopt, {{kAsking.node, where}}), Spin(part.shares_core));
}

}  // namespace dolmen::bench
