// SPDX-License-Identifier: Apache-2.0
//
// Processes that a suite measures from outside, and plain TCP to them over loopback. Whatever a
// suite starts here ends with it: killed with its process group when the Server goes away, and by
// the kernel if this process dies first.
//
// Everything throws Failure. Thread contract: one thread per object.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace dolmen::bench {

/// How long a system may take to be ready.
inline constexpr std::chrono::seconds kStartPatience{60};
/// How long an answer may take before a system counts as hanging.
inline constexpr std::chrono::seconds kAnswerPatience{20};

/// A connected TCP socket, sending at once (TCP_NODELAY). Calls give up after kAnswerPatience.
class Socket {
 public:
  explicit Socket(int fd);
  ~Socket();
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  [[nodiscard]] int fd() const noexcept { return fd_; }
  void send(const void* data, std::size_t bytes);
  /// At least one byte, at most `bytes`; 0: the other side has closed.
  [[nodiscard]] std::size_t receive_some(void* data, std::size_t bytes);
  void receive(void* data, std::size_t bytes);

 private:
  int fd_;
};

/// A port of 127.0.0.1 that the system has chosen.
class Listener {
 public:
  Listener();
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] Socket accept() const;

 private:
  int fd_;
  std::uint16_t port_ = 0;
};

[[nodiscard]] Socket connect_loopback(std::uint16_t port);
/// Ports that nobody listened on when they were asked for, all different.
[[nodiscard]] std::vector<std::uint16_t> free_ports(std::size_t count);
/// The path of an installed program; empty: there is none.
[[nodiscard]] std::string find_program(const std::string& name);

/// A child process in a group of its own; stdout and stderr go to `log_path`.
class Server {
 public:
  /// Another program.
  static Server program(const std::vector<std::string>& words, const std::string& log_path);
  /// This program, as `bench --child <arguments>`; the part must call die_with_parent() first.
  static Server part(const std::vector<std::string>& arguments, const std::string& log_path);
  ~Server();
  Server(Server&& other) noexcept
      : pid_(std::exchange(other.pid_, 0)), log_path_(std::move(other.log_path_)) {}
  Server& operator=(Server&&) = delete;

  /// Sends it to the process.
  void signal(int number) const noexcept;
  /// Until the process has ended; it is reaped when the Server goes away.
  void wait_for_end() const;
  /// Tries again and again until `is_ready` gives true, or throws a Failure with the last line that
  /// the server wrote: it ended, or kStartPatience is over. A Failure of is_ready means: not yet.
  void wait_until(const std::function<bool()>& is_ready);

 private:
  Server(pid_t pid, std::string log_path) : pid_(pid), log_path_(std::move(log_path)) {}
  [[nodiscard]] std::string last_line() const;

  pid_t pid_;
  std::string log_path_;
};

/// In a child: it ends when the process that started it does.
void die_with_parent();
/// `bench --child server-run <program> <arguments>`: becomes that program.
[[noreturn]] void run_program(const std::vector<std::string>& words);

}  // namespace dolmen::bench
