// SPDX-License-Identifier: Apache-2.0
#include "bench/log_follower.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "base/checksum.hpp"

namespace dolmen::bench {

namespace {

std::uint64_t checksum_of(const LogFrame& frame) {
  return base::checksum64(base::Bytes(frame.payload), frame.sequence);
}

}  // namespace

std::vector<LogFrame> log_frames(Frames kind, std::uint64_t sequence, std::size_t count) {
  std::vector<LogFrame> frames(count);
  for (LogFrame& frame : frames) {
    frame.sequence = sequence++;
    if (kind == Frames::checked) frame.checksum = checksum_of(frame);
  }
  return frames;
}

LogFile::LogFile(const std::string& path, std::uint64_t bytes)
    : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
  if (fd_ < 0) throw Failure("cannot make " + path);
  const std::vector<char> block(1u << 20, 'x');
  for (std::uint64_t at = 0; at < bytes; at += block.size()) {
    if (::pwrite(fd_, block.data(), block.size(), static_cast<off_t>(at)) !=
        static_cast<ssize_t>(block.size())) {
      throw Failure("cannot write " + path);
    }
  }
  if (::fdatasync(fd_) != 0) throw Failure("cannot sync " + path);
}

LogFile::~LogFile() { ::close(fd_); }

void LogFile::append_durably(const LogFrame* frames, std::size_t count) {
  const std::size_t bytes = count * sizeof(LogFrame);
  if (::pwrite(fd_, frames, bytes, static_cast<off_t>(end_)) != static_cast<ssize_t>(bytes)) {
    throw Failure("pwrite failed");
  }
  if (::fdatasync(fd_) != 0) throw Failure("fdatasync failed");
  end_ += bytes;
}

void log_follower(const std::vector<std::string>& arguments) {
  if (arguments.size() != 2 && arguments.size() != 4) throw Failure("wrong arguments");
  const bool is_checked = arguments[1] == "checked";
  std::unique_ptr<LogFile> file;
  if (arguments.size() == 4) {
    file = std::make_unique<LogFile>(arguments[2], std::stoull(arguments[3]));
  }
  Socket leader = connect_loopback(static_cast<std::uint16_t>(std::stoul(arguments[0])));
  const std::uint64_t ready = 0;
  leader.send(&ready, sizeof(ready));
  std::vector<LogFrame> frames(1024);
  char* const buffer = static_cast<char*>(static_cast<void*>(frames.data()));
  std::size_t held = 0;
  std::uint64_t last = 0;
  for (;;) {
    std::size_t got = 0;
    try {
      got = leader.receive_some(buffer + held, frames.size() * sizeof(LogFrame) - held);
    } catch (const Failure&) {
      continue;  // the leader measures somebody else
    }
    if (got == 0) return;
    held += got;
    const std::size_t count = held / sizeof(LogFrame);
    if (count == 0) continue;
    for (std::size_t i = 0; i < count; ++i) {
      ++last;
      if (is_checked &&
          (frames[i].sequence != last || frames[i].checksum != checksum_of(frames[i]))) {
        throw Failure("a frame is not the next one, or damaged");
      }
    }
    if (file) file->append_durably(frames.data(), count);
    leader.send(&last, sizeof(last));
    held -= count * sizeof(LogFrame);
    std::memmove(buffer, buffer + count * sizeof(LogFrame), held);
  }
}

Followers::Followers(const Folder& folder, const std::string& name, std::size_t count, Frames kind,
                     std::uint64_t file_bytes) {
  const Listener listener;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string path = folder.below(name + "_" + std::to_string(i));
    std::vector<std::string> arguments{"log-follower", std::to_string(listener.port()),
                                       kind == Frames::checked ? "checked" : "bare"};
    if (file_bytes > 0) {
      arguments.push_back(path);
      arguments.push_back(std::to_string(file_bytes));
    }
    Server server = Server::part(arguments, path + ".out");
    all_.push_back({std::move(server), listener.accept()});
    std::uint64_t ready = 1;
    all_.back().socket.receive(&ready, sizeof(ready));
  }
}

void Followers::send(const LogFrame* frames, std::size_t count) {
  for (Follower& follower : all_) follower.socket.send(frames, count * sizeof(LogFrame));
}

void Followers::wait_for(std::size_t count, std::uint64_t sequence) {
  const auto has_answered = [&](const Follower& one) { return one.answered >= sequence; };
  std::vector<pollfd> sockets;
  for (const Follower& follower : all_) sockets.push_back({follower.socket.fd(), POLLIN, 0});
  while (static_cast<std::size_t>(std::count_if(all_.begin(), all_.end(), has_answered)) < count) {
    const std::chrono::milliseconds patience = kAnswerPatience;
    const int ready = ::poll(sockets.data(), sockets.size(), static_cast<int>(patience.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) throw Failure("followers do not answer");
    for (std::size_t i = 0; i < all_.size(); ++i) {
      if (sockets[i].revents == 0) continue;
      Follower& follower = all_[i];
      // Answers may have piled up; the last one counts.
      std::array<char, 4096> buffer{};
      std::memcpy(buffer.data(), follower.partial.data(), follower.partial_bytes);
      const std::size_t got = follower.socket.receive_some(buffer.data() + follower.partial_bytes,
                                                           buffer.size() - follower.partial_bytes);
      if (got == 0) throw Failure("a follower has ended");
      const std::size_t bytes = follower.partial_bytes + got;
      const std::size_t whole = bytes / 8 * 8;
      if (whole > 0) std::memcpy(&follower.answered, buffer.data() + whole - 8, 8);
      follower.partial_bytes = bytes - whole;
      std::memcpy(follower.partial.data(), buffer.data() + whole, follower.partial_bytes);
    }
  }
}

std::uint64_t log_file_bytes(const LogWork& work) {
  return work.report().quick() ? 1u << 20 : 64u << 20;
}

void BatchedLog::next_round(std::size_t count) {
  round(log_frames(kind_, sequence_, count));
  sequence_ += count;
}

std::vector<double> BatchedLog::times_us(std::size_t entries) {
  std::vector<double> times;
  for (std::size_t i = 0; i < entries; ++i) {
    const double begin = seconds_now();
    next_round(1);
    times.push_back((seconds_now() - begin) * 1e6);
  }
  return times;
}

double BatchedLog::rate(double seconds) {
  const double begin = seconds_now();
  std::size_t entries = 0;
  double now = begin;
  for (; now - begin < seconds; now = seconds_now()) {
    next_round(kLogClients);
    entries += kLogClients;
  }
  return static_cast<double>(entries) / (now - begin);
}

}  // namespace dolmen::bench
