// SPDX-License-Identifier: Apache-2.0
// The fabric suite's floors: what memory that two processes share, and the loopback interface, take
// by themselves.
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.hpp"
#include "bench/fabric.hpp"

namespace dolmen::bench {
namespace {

constexpr std::size_t kLineBytes = 64;

struct alignas(kLineBytes) Ball {
  std::uint64_t turn = 0;  ///< odd: the other process has it
  std::array<std::byte, kLineBytes - 8> payload{};
};

/// What both processes have mapped.
struct Court {
  Ball ball;
  alignas(kLineBytes) std::uint64_t is_ready = 0;
  alignas(kFabricPageBytes) std::array<std::byte, kFabricRegionBytes> region{};
};

std::atomic_ref<std::uint64_t> word(std::uint64_t& at) { return std::atomic_ref(at); }

/// Waits, but not for ever.
template <class Done>
void spin_until(const Done& done, Spin spin, const char* what) {
  constexpr std::uint64_t kLooksPerClock = 1u << 20;
  const double give_up = seconds_now() + std::chrono::duration<double>(kAnswerPatience).count();
  for (std::uint64_t looks = 1; !done(); ++looks) {
    if (looks % kLooksPerClock == 0 && seconds_now() > give_up) throw Failure(what);
    spin();
  }
}

class MappedCourt {
 public:
  explicit MappedCourt(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) throw Failure("cannot make " + path);
    void* memory = MAP_FAILED;
    if (::ftruncate(fd, sizeof(Court)) == 0) {
      memory = ::mmap(nullptr, sizeof(Court), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    ::close(fd);
    if (memory == MAP_FAILED) throw Failure("cannot map " + path);
    court_ = static_cast<Court*>(memory);
  }
  ~MappedCourt() { ::munmap(court_, sizeof(Court)); }
  MappedCourt(const MappedCourt&) = delete;
  MappedCourt& operator=(const MappedCourt&) = delete;
  Court* operator->() const noexcept { return court_; }

 private:
  Court* court_ = nullptr;
};

std::string court_in(const std::string& folder) { return folder + "/court"; }

class BareMemory final : public Exchange {
 public:
  BareMemory(const FabricStage& stage, FabricWork work)
      : court_(court_in(folder_.path())),
        other_(stage.start("fabric-bare-shm", folder_.path(), work)),
        work_(work),
        spin_(stage.spin()) {
    other_.wait_until([&] { return word(court_->is_ready).load() != 0; });
  }

  void repeat(std::size_t count) override {
    if (work_ == FabricWork::write64) {
      for (std::size_t i = 0; i < count; ++i) {
        std::memcpy(next(kFabricSmallBytes), page_.data(), kFabricSmallBytes);
        std::atomic_thread_fence(std::memory_order_seq_cst);
      }
    } else if (work_ == FabricWork::read4k) {
      for (std::size_t i = 0; i < count; ++i) {
        std::memcpy(page_.data(), next(kFabricPageBytes), kFabricPageBytes);
        keep(page_.data());
      }
    } else {
      for (std::size_t i = 0; i < count; ++i) serve();
    }
  }

 private:
  std::byte* next(std::size_t bytes) {
    const std::size_t at = at_;
    at_ = (at_ + bytes) % kFabricRegionBytes;
    return court_->region.data() + at;
  }
  void serve() {
    Ball& ball = court_->ball;
    std::memcpy(ball.payload.data(), page_.data(), ball.payload.size());
    word(ball.turn).store(++turn_, std::memory_order_release);
    ++turn_;
    spin_until([&] { return word(ball.turn).load(std::memory_order_acquire) == turn_; }, spin_,
               "the other process does not answer");
    std::memcpy(page_.data(), ball.payload.data(), ball.payload.size());
  }

  SharedFolder folder_;
  MappedCourt court_;
  Server other_;
  FabricWork work_;
  Spin spin_;
  std::vector<std::byte> page_ = std::vector<std::byte>(kFabricPageBytes);
  std::size_t at_ = 0;
  std::uint64_t turn_ = 0;
};

void send_all(int fd, base::Bytes bytes, Spin spin) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN || errno == EINTR) {
      spin();
    } else {
      throw Failure(std::string("send: ") + std::strerror(errno));
    }
  }
}

void receive_all(int fd, base::MutableBytes into, Spin spin) {
  while (!into.empty()) {
    const ssize_t got = ::recv(fd, into.data(), into.size(), MSG_DONTWAIT);
    if (got > 0) {
      into = into.subspan(static_cast<std::size_t>(got));
    } else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      spin();
    } else {
      throw Failure("the other process has closed the connection");
    }
  }
}

std::size_t answer_bytes(FabricWork work) {
  return work == FabricWork::read4k ? kFabricPageBytes : kFabricSmallBytes;
}

class BareSocket final : public Exchange {
 public:
  BareSocket(const FabricStage& stage, FabricWork work)
      : other_(stage.start("fabric-bare-tcp", std::to_string(listener_.port()), work)),
        socket_(listener_.accept()),
        page_(answer_bytes(work)),
        spin_(stage.spin()) {}

  void repeat(std::size_t count) override {
    for (std::size_t i = 0; i < count; ++i) {
      send_all(socket_.fd(), base::Bytes(page_).first(kFabricSmallBytes), spin_);
      receive_all(socket_.fd(), page_, spin_);
    }
  }

 private:
  Listener listener_;
  Server other_;
  Socket socket_;
  std::vector<std::byte> page_;
  Spin spin_;
};

}  // namespace

std::unique_ptr<Exchange> bare_over_shm(const FabricStage& stage, FabricWork work) {
  return std::make_unique<BareMemory>(stage, work);
}

std::unique_ptr<Exchange> bare_over_tcp(const FabricStage& stage, FabricWork work) {
  return std::make_unique<BareSocket>(stage, work);
}

void bare_shm_part(const FabricPart& part) {
  const MappedCourt court(court_in(part.where));
  const Spin spin(part.shares_core);
  Ball& ball = court->ball;
  std::array<std::byte, sizeof(ball.payload)> payload{};
  court->region.fill(std::byte{1});
  word(court->is_ready).store(1);
  for (;;) {
    const std::uint64_t turn = word(ball.turn).load(std::memory_order_acquire);
    if (turn % 2 == 0) {
      spin();
      continue;
    }
    std::memcpy(payload.data(), ball.payload.data(), payload.size());
    std::memcpy(ball.payload.data(), payload.data(), payload.size());
    word(ball.turn).store(turn + 1, std::memory_order_release);
  }
}

void bare_tcp_part(const FabricPart& part) {
  const Socket socket = connect_loopback(static_cast<std::uint16_t>(std::stoul(part.where)));
  const Spin spin(part.shares_core);
  std::vector<std::byte> page(answer_bytes(part.work));
  for (;;) {
    receive_all(socket.fd(), base::MutableBytes(page).first(kFabricSmallBytes), spin);
    send_all(socket.fd(), page, spin);
  }
}

}  // namespace dolmen::bench
