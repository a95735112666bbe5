// SPDX-License-Identifier: Apache-2.0
//
// For tests: network name spaces, between which links can be cut one way or both.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

#include <unistd.h>

namespace dolmen::members {

inline bool run(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

/// Numbered from 1, on one bridge with whoever is in none. Needs root and iproute2.
class Namespaces {
 public:
  explicit Namespaces(std::uint32_t count)
      : count_(count), tag_(std::to_string(::getpid() % 10'000)) {
    is_made_ = run("ip link add dob" + tag_ + " type bridge") &&
               run("ip addr add " + host(254) + "/24 dev dob" + tag_) &&
               run("ip link set dob" + tag_ + " up");
    for (std::uint32_t i = 1; is_made_ && i <= count_; ++i) {
      const std::string outer = "dov" + tag_ + "_" + std::to_string(i);
      is_made_ = run("ip netns add " + name(i)) &&
                 run("ip link add " + outer + " type veth peer name eth0 netns " + name(i)) &&
                 run("ip link set " + outer + " master dob" + tag_ + " up") &&
                 in(i, "ip addr add " + host(i) + "/24 dev eth0") && in(i, "ip link set eth0 up") &&
                 in(i, "ip link set lo up");
    }
  }
  ~Namespaces() {
    for (std::uint32_t i = 1; i <= count_; ++i) run("ip netns del " + name(i));
    run("ip link del dob" + tag_);
  }
  Namespaces(const Namespaces&) = delete;
  Namespaces& operator=(const Namespaces&) = delete;

  [[nodiscard]] bool is_made() const { return is_made_; }
  [[nodiscard]] std::string name(std::uint32_t member) const {
    return "don" + tag_ + "_" + std::to_string(member);
  }
  [[nodiscard]] static std::string host(std::uint32_t number) {
    // Another test may have its own at the same time.
    const auto pid = static_cast<std::uint32_t>(::getpid());
    return "10." + std::to_string(100 + (pid >> 8) % 100) + "." + std::to_string(pid & 0xff) + "." +
           std::to_string(number);
  }
  /// What `from` sends to `to` is dropped; from then on, or no more.
  void cut(std::uint32_t from, std::uint32_t to, bool is_cut) const {
    const std::string action = is_cut ? "replace" : "del";
    in(from, "ip route " + action + " blackhole " + host(to) + "/32");
  }
  void heal() const {
    for (std::uint32_t from = 1; from <= count_; ++from) {
      for (std::uint32_t to = 1; to <= count_; ++to) {
        if (from != to) cut(from, to, false);
      }
    }
  }

 private:
  bool in(std::uint32_t member, const std::string& command) const {
    return run("ip netns exec " + name(member) + " " + command);
  }
  const std::uint32_t count_;
  const std::string tag_;
  bool is_made_ = false;
};

}  // namespace dolmen::members
