// SPDX-License-Identifier: Apache-2.0
#include "bench/machine.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dolmen/detail/arena.hpp>

#include "bench/harness.hpp"

extern char** environ;

namespace dolmen::bench {
namespace {

namespace fs = std::filesystem;

/// The text behind `key` and a colon on its own line of a file in /proc.
std::string field_of(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t colon = line.find(':');
    const std::size_t begin =
        colon == line.npos ? line.npos : line.find_first_not_of(" \t", colon + 1);
    return begin == line.npos ? "" : line.substr(begin);
  }
  return "";
}

std::uint64_t kilobytes_of(const char* path, const std::string& key) {
  return std::strtoull(field_of(path, key).c_str(), nullptr, 10) * 1024;
}

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// The chosen word of "always [madvise] never".
std::string chosen(const std::string& words) {
  const std::size_t begin = words.find('[');
  const std::size_t end = words.find(']');
  return begin == words.npos || end == words.npos ? words
                                                  : words.substr(begin + 1, end - begin - 1);
}

template <class Visit>
void each_file(const std::string& path, Visit&& visit) {
  std::error_code error;
  if (fs::is_regular_file(path, error)) return visit(path);
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    if (it->is_regular_file(error)) visit(it->path().string());
  }
}

}  // namespace

std::string filesystem_of(const std::string& directory) {
  std::error_code error;
  const std::string path = fs::weakly_canonical(directory, error).string();
  std::ifstream mounts("/proc/self/mounts");
  std::string best_type;
  std::size_t best_length = 0;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string device, point, type;
    words >> device >> point >> type;
    const bool inside = point == "/" || path == point || path.starts_with(point + "/");
    if (inside && point.size() >= best_length) {
      best_length = point.size();
      best_type = type;
    }
  }
  return best_type;
}

nlohmann::ordered_json machine_facts(const std::string& directory) {
  utsname kernel{};
  uname(&kernel);
  return {{"cpu", field_of("/proc/cpuinfo", "model name")},
          {"cores", std::thread::hardware_concurrency()},
          {"memory_bytes", kilobytes_of("/proc/meminfo", "MemTotal")},
          {"kernel", std::string(kernel.sysname) + " " + kernel.release},
          {"filesystem", filesystem_of(directory)},
          {"huge_pages", chosen(first_line("/sys/kernel/mm/transparent_hugepage/enabled"))},
          {"compiler", __VERSION__},
          {"dolmen", DOLMEN_BENCH_VERSION},
          {"checked", DOLMEN_CHECKED != 0}};
}

namespace {

bool real_time_allowed = false;

void set_class(bool real_time) {
  sched_param parameters{};
  parameters.sched_priority = real_time ? 10 : 0;
  sched_setscheduler(0, real_time ? SCHED_FIFO : SCHED_OTHER, &parameters);
}

}  // namespace

bool RealTime::allow(bool on) {
  sched_param parameters{};
  parameters.sched_priority = 10;
  real_time_allowed = on && sched_setscheduler(0, SCHED_FIFO, &parameters) == 0;
  set_class(false);
  return real_time_allowed == on;
}

RealTime::RealTime() {
  if (real_time_allowed) set_class(true);
}

RealTime::~RealTime() {
  if (real_time_allowed) set_class(false);
}

double machine_load() { return std::strtod(first_line("/proc/loadavg").c_str(), nullptr); }

std::vector<int> allowed_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof(allowed), &allowed);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(static_cast<std::size_t>(core), &allowed)) cores.push_back(core);
  }
  if (cores.empty()) cores.push_back(0);
  return cores;
}

// The last core: interrupts tend to go to the first.
Pinned::Pinned() : Pinned(allowed_cores().back()) {}

Pinned::Pinned(int core) {
  sched_getaffinity(0, sizeof(before_), &before_);
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(core), &one);
  sched_setaffinity(0, sizeof(one), &one);
}

Pinned::~Pinned() { sched_setaffinity(0, sizeof(before_), &before_); }

std::uint64_t memory_bytes() { return kilobytes_of("/proc/self/smaps_rollup", "Pss:"); }
std::uint64_t anonymous_bytes() { return kilobytes_of("/proc/self/smaps_rollup", "Pss_Anon:"); }

std::uint64_t disk_bytes(const std::string& path) {
  std::uint64_t bytes = 0;
  each_file(path, [&](const std::string& file) {
    struct stat status{};
    if (::stat(file.c_str(), &status) == 0)
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  });
  return bytes;
}

void drop_caches(const std::string& path) {
  each_file(path, [](const std::string& file) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  });
}

void warm_caches(const std::string& path) {
  std::vector<char> buffer(1u << 20);
  each_file(path, [&](const std::string& file) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    while (::read(fd, buffer.data(), buffer.size()) > 0) {
    }
    ::close(fd);
  });
}

Folder::Folder(const std::string& path) : path_(path) {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) throw Failure("cannot make " + path_ + ": " + error.message());
}

Folder::~Folder() {
  std::error_code error;
  fs::remove_all(path_, error);
}

void Folder::remove(const std::string& name) const {
  std::error_code error;
  fs::remove_all(below(name), error);
}

ChildOutcome run_child(const std::vector<std::string>& arguments) {
  std::vector<std::string> words{"dolmen", "bench", "--child"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw Failure("no pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (error != 0) {
    ::close(ends[0]);
    throw Failure(std::string("cannot start a process: ") + std::strerror(error));
  }
  ChildOutcome outcome;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; (got = ::read(ends[0], buffer.data(), buffer.size())) != 0;) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    outcome.output.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
    throw Failure("the process for " + arguments.front() + " gave up (its reason is above)");
  }
  return outcome;
}

void die() {
  ::kill(::getpid(), SIGKILL);
  _exit(1);
}

}  // namespace dolmen::bench
