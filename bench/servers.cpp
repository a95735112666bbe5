// SPDX-License-Identifier: Apache-2.0
#include "bench/servers.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/harness.hpp"
#include "bench/machine.hpp"

extern char** environ;

namespace dolmen::bench {
namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

[[noreturn]] void fail_errno(const std::string& what) {
  throw Failure(what + ": " + std::strerror(errno));
}

pid_t spawn(std::vector<std::string> words, const std::string& log_path) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log_path.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  pid_t pid = 0;
  const RealTime real_time;
  const int error =
      posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw Failure(std::string("cannot start a process: ") + std::strerror(error));
  return pid;
}

}  // namespace

Socket::Socket(int fd) : fd_(fd) {
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const timeval patience{kAnswerPatience.count(), 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

Socket::~Socket() {
  if (fd_ >= 0) ::close(fd_);
}

void Socket::send(const void* data, std::size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t sent = ::send(fd_, at, bytes, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) fail_errno("send");
    at += sent;
    bytes -= static_cast<std::size_t>(sent);
  }
}

std::size_t Socket::receive_some(void* data, std::size_t bytes) {
  for (;;) {
    const ssize_t got = ::recv(fd_, data, bytes, 0);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno == EAGAIN || errno == EWOULDBLOCK) throw Failure("no answer");
    if (errno != EINTR) fail_errno("receive");
  }
}

void Socket::receive(void* data, std::size_t bytes) {
  char* at = static_cast<char*>(data);
  while (bytes > 0) {
    const std::size_t got = receive_some(at, bytes);
    if (got == 0) throw Failure("the other process has closed the connection");
    at += got;
    bytes -= got;
  }
}

Listener::Listener() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = loopback(0);
  socklen_t length = sizeof(address);
  void* const any = &address;
  if (fd_ < 0 || ::bind(fd_, static_cast<sockaddr*>(any), length) != 0 || ::listen(fd_, 64) != 0 ||
      ::getsockname(fd_, static_cast<sockaddr*>(any), &length) != 0) {
    if (fd_ >= 0) ::close(fd_);
    fail_errno("cannot listen on loopback");
  }
  port_ = ntohs(address.sin_port);
}

Listener::~Listener() { ::close(fd_); }

Socket Listener::accept() const {
  pollfd wanted{fd_, POLLIN, 0};
  const std::chrono::milliseconds patience = kStartPatience;
  if (::poll(&wanted, 1, static_cast<int>(patience.count())) != 1) {
    throw Failure("a process that was started did not connect");
  }
  const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) fail_errno("accept");
  return Socket(fd);
}

Socket connect_loopback(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail_errno("socket");
  Socket socket(fd);
  const sockaddr_in address = loopback(port);
  const void* const any = &address;
  if (::connect(fd, static_cast<const sockaddr*>(any), sizeof(address)) != 0) fail_errno("connect");
  return socket;
}

std::vector<std::uint16_t> free_ports(std::size_t count) {
  const std::vector<Listener> held(count);
  std::vector<std::uint16_t> ports;
  for (const Listener& one : held) ports.push_back(one.port());
  return ports;
}

std::string find_program(const std::string& name) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/" + name;
    if (!folder.empty() && ::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

Server Server::program(const std::vector<std::string>& words, const std::string& log_path) {
  std::vector<std::string> arguments{"server-run"};
  arguments.insert(arguments.end(), words.begin(), words.end());
  return part(arguments, log_path);
}

Server Server::part(const std::vector<std::string>& arguments, const std::string& log_path) {
  std::vector<std::string> words{"dolmen", "bench", "--child"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return {spawn(std::move(words), log_path), log_path};
}

Server::~Server() {
  if (pid_ == 0) return;
  ::kill(-pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Server::signal(int number) const noexcept {
  if (pid_ != 0) ::kill(pid_, number);
}

void Server::wait_for_end() const {
  siginfo_t ended{};
  while (::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOWAIT) != 0) {
    if (errno != EINTR) fail_errno("a process that is to end");
  }
}

void Server::wait_until(const std::function<bool()>& is_ready) {
  const auto give_up = std::chrono::steady_clock::now() + kStartPatience;
  for (;;) {
    try {
      if (is_ready()) return;
    } catch (const Failure&) {
      // Not yet: it does not listen, or does not know what to say.
    }
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = 0;
      throw Failure("its process ended: " + last_line());
    }
    if (std::chrono::steady_clock::now() > give_up) {
      throw Failure("not ready after " + std::to_string(kStartPatience.count()) +
                    " s: " + last_line());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

std::string Server::last_line() const {
  std::ifstream log(log_path_);
  std::string last = "it said nothing";
  for (std::string line; std::getline(log, line);) {
    if (!line.empty()) last = line;
  }
  return last;
}

void die_with_parent() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() == 1) die();  // it was too late to ask for
}

void run_program(const std::vector<std::string>& words) {
  std::vector<std::string> own = words;
  std::vector<char*> argv;
  for (std::string& word : own) argv.push_back(word.data());
  argv.push_back(nullptr);
  die_with_parent();
  if (!own.empty()) ::execv(argv[0], argv.data());
  throw Failure("cannot run " + (own.empty() ? std::string("nothing") : own[0]));
}

}  // namespace dolmen::bench
