// SPDX-License-Identifier: Apache-2.0
// The log suite's libraft peer: canonical's C raft with its libuv backend in three processes.
// Clients are in the leader's process, each with one raft_apply under way; what they measured goes
// to the suite over a connection of its own.
#include "bench/log.hpp"
#include "bench/servers.hpp"

#if DOLMEN_BENCH_LIBRAFT
#include <array>
#include <cstring>

#include <unistd.h>

#include <uv.h>

// Headers of C that do not know of C++.
extern "C" {
#include <raft.h>
#include <raft/uv.h>
}

namespace dolmen::bench {
namespace {

constexpr std::size_t kMembers = 3;

/// What the suite asks a member for. With `entries`: the times of so many of one client, in µs;
/// else the rate of all clients for `seconds`.
struct Wanted {
  std::uint64_t entries = 0;
  double seconds = 0;
};
/// What it answers: so many numbers follow; 0: it does not lead.
struct Answer {
  std::uint64_t numbers = 0;
};

void raft_check(int error, const char* doing) {
  if (error != 0) throw Failure(std::string(doing) + ": " + raft_strerror(error));
}

/// The state machine: it counts.
int apply_entry(raft_fsm* fsm, const raft_buffer*, void** result) {
  ++*static_cast<std::uint64_t*>(fsm->data);
  *result = nullptr;
  return 0;
}
int take_snapshot(raft_fsm* fsm, raft_buffer* buffers[], unsigned* count) {
  *buffers = static_cast<raft_buffer*>(raft_malloc(sizeof(raft_buffer)));
  void* const bytes = raft_malloc(sizeof(std::uint64_t));
  if (*buffers == nullptr || bytes == nullptr) return RAFT_NOMEM;
  std::memcpy(bytes, fsm->data, sizeof(std::uint64_t));
  (*buffers)[0] = {bytes, sizeof(std::uint64_t)};
  *count = 1;
  return 0;
}
int restore_snapshot(raft_fsm* fsm, raft_buffer* buffer) {
  if (buffer->len != sizeof(std::uint64_t)) return RAFT_MALFORMED;
  std::memcpy(fsm->data, buffer->base, sizeof(std::uint64_t));
  raft_free(buffer->base);
  return 0;
}

/// One process. Lives until its suite closes the connection, which ends the process.
class Member {
 public:
  Member(std::size_t self, std::uint16_t suite, const std::vector<std::string>& ports,
         const std::string& folder)
      : suite_(connect_loopback(suite)) {
    raft_check(uv_loop_init(&loop_), "uv_loop_init");
    raft_check(raft_uv_tcp_init(&transport_, &loop_), "raft_uv_tcp_init");
    raft_check(raft_uv_init(&io_, &loop_, folder.c_str(), &transport_), "raft_uv_init");
    fsm_.version = 1;
    fsm_.data = &applied_;
    fsm_.apply = apply_entry;
    fsm_.snapshot = take_snapshot;
    fsm_.restore = restore_snapshot;
    const auto address = [&](std::size_t i) { return "127.0.0.1:" + ports[i]; };
    raft_check(raft_init(&raft_, &io_, &fsm_, self + 1, address(self).c_str()), "raft_init");
    raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (std::size_t i = 0; i < kMembers; ++i) {
      raft_check(raft_configuration_add(&configuration, i + 1, address(i).c_str(), RAFT_VOTER),
                 "raft_configuration_add");
    }
    raft_check(raft_bootstrap(&raft_, &configuration), "raft_bootstrap");
    raft_configuration_close(&configuration);
    raft_set_snapshot_threshold(&raft_, 1u << 30);
    raft_check(raft_start(&raft_), "raft_start");
    for (Client& client : clients_) {
      client.member = this;
      client.apply.data = &client;
    }
    poll_.data = this;
    before_waiting_.data = this;
    uv_poll_init(&loop_, &poll_, suite_.fd());
    uv_poll_start(&poll_, UV_READABLE, [](uv_poll_t* poll, int, int) {
      static_cast<Member*>(poll->data)->guarded([](Member& member) { member.begin(); });
    });
    uv_prepare_init(&loop_, &before_waiting_);
    uv_prepare_start(&before_waiting_, [](uv_prepare_t* prepare) {
      static_cast<Member*>(prepare->data)->guarded([](Member& member) { member.apply_ready(); });
    });
  }
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  void run() {
    uv_run(&loop_, UV_RUN_DEFAULT);
    if (!failure_.empty()) throw Failure(failure_);
  }

 private:
  struct Client {
    Member* member = nullptr;
    struct raft_apply apply{};
    double begun = 0;
  };

  /// No exception passes through the library.
  template <class Body>
  void guarded(Body&& body) {
    try {
      body(*this);
    } catch (const Failure& failure) {
      failure_ = failure.what();
      uv_stop(&loop_);
    }
  }

  void begin() {
    suite_.receive(&wanted_, sizeof(wanted_));
    numbers_.clear();
    answered_ = 0;
    if (raft_state(&raft_) != RAFT_LEADER) return answer();
    begun_ = seconds_now();
    const std::size_t clients = wanted_.entries > 0 ? 1 : kLogClients;
    for (std::size_t i = 0; i < clients; ++i) ready_.push_back(&clients_[i]);
  }

  /// Not from the library's call-backs, inside which it is still at work; in the same turn of the
  /// loop, before it waits.
  void apply_ready() {
    for (Client* const client : ready_) {
      raft_buffer buffer{raft_malloc(kLogEntryBytes), kLogEntryBytes};
      if (buffer.base == nullptr) throw Failure("no memory");
      std::memset(buffer.base, 'x', buffer.len);
      client->begun = seconds_now();
      raft_check(raft_apply(&raft_, &client->apply, &buffer, 1,
                            [](struct raft_apply* apply, int status, void*) {
                              Client& done = *static_cast<Client*>(apply->data);
                              done.member->guarded([&](Member& member) {
                                raft_check(status, "raft_apply");
                                member.applied(done);
                              });
                            }),
                 "raft_apply");
      ++under_way_;
    }
    ready_.clear();
  }

  void applied(Client& client) {
    const double now = seconds_now();
    --under_way_;
    if (wanted_.entries > 0) {
      numbers_.push_back((now - client.begun) * 1e6);
      return numbers_.size() < wanted_.entries ? ready_.push_back(&client) : answer();
    }
    if (numbers_.empty()) {
      ++answered_;
      if (now - begun_ >= wanted_.seconds) {
        numbers_.push_back(static_cast<double>(answered_) / (now - begun_));
      }
    }
    if (numbers_.empty()) {
      ready_.push_back(&client);
    } else if (under_way_ == 0 && ready_.empty()) {
      answer();
    }
  }

  void answer() {
    const Answer head{numbers_.size()};
    suite_.send(&head, sizeof(head));
    suite_.send(numbers_.data(), numbers_.size() * sizeof(double));
  }

  Socket suite_;
  uv_loop_t loop_{};
  raft_uv_transport transport_{};
  raft_io io_{};
  raft_fsm fsm_{};
  std::uint64_t applied_ = 0;
  raft raft_{};
  uv_poll_t poll_{};
  uv_prepare_t before_waiting_{};
  std::array<Client, kLogClients> clients_{};
  std::vector<Client*> ready_;
  std::size_t under_way_ = 0;
  Wanted wanted_;
  double begun_ = 0;
  std::uint64_t answered_ = 0;
  std::vector<double> numbers_;
  std::string failure_;
};

class Libraft final : public LogSystem {
 public:
  explicit Libraft(const LogWork& work) {
    const Listener listener;
    const std::vector<std::uint16_t> ports = free_ports(kMembers);
    for (std::size_t i = 0; i < kMembers; ++i) {
      const Folder& folder = *folders_.emplace_back(
          std::make_unique<Folder>(work.folder().below("libraft_" + std::to_string(i))));
      std::vector<std::string> arguments{"log-libraft", std::to_string(i),
                                         std::to_string(listener.port()), folder.path()};
      for (const std::uint16_t port : ports) arguments.push_back(std::to_string(port));
      servers_.push_back(Server::part(arguments, folder.path() + ".out"));
      members_.push_back(listener.accept());
    }
    servers_.front().wait_until([&] { return !ask({1, 0}).empty(); });
  }

  std::vector<double> times_us(std::size_t entries) override { return ask({entries, 0}); }
  double rate(double seconds) override {
    const std::vector<double> numbers = ask({0, seconds});
    if (numbers.empty()) throw Failure("no member leads");
    return numbers.front();
  }

 private:
  /// From whichever leads; nothing: none does.
  std::vector<double> ask(const Wanted& wanted) {
    for (Socket& member : members_) {
      member.send(&wanted, sizeof(wanted));
      Answer head;
      member.receive(&head, sizeof(head));
      std::vector<double> numbers(head.numbers);
      member.receive(numbers.data(), numbers.size() * sizeof(double));
      if (!numbers.empty()) return numbers;
    }
    return {};
  }

  std::vector<std::unique_ptr<Folder>> folders_;
  std::vector<Server> servers_;
  std::vector<Socket> members_;
};

}  // namespace

void add_log_libraft(LogWork& work) {
  work.compete(
      "libraft",
      "raft 0.15, uv backend (O_DIRECT, O_DSYNC), defaults but no snapshots; clients in the "
      "leader's process, each with one raft_apply under way",
      std::make_shared<Libraft>(work));
}

void libraft_child(const std::vector<std::string>& arguments) {
  if (arguments.size() != 3 + kMembers) throw Failure("wrong arguments");
  Member member(std::stoul(arguments[0]), static_cast<std::uint16_t>(std::stoul(arguments[1])),
                {arguments.begin() + 3, arguments.end()}, arguments[2]);
  member.run();
}

}  // namespace dolmen::bench
#else
namespace dolmen::bench {
void add_log_libraft(LogWork& work) { work.report().missing("libraft", "libraft-dev"); }
void libraft_child(const std::vector<std::string>&) { throw Failure("built without libraft"); }
}  // namespace dolmen::bench
#endif
