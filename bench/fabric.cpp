// SPDX-License-Identifier: Apache-2.0
// The fabric suite: its races and its processes.
#include "bench/fabric.hpp"

#include <filesystem>
#include <system_error>
#include <utility>

#include <sched.h>
#include <stdlib.h>

#include "bench/machine.hpp"
#include "bench/suites.hpp"

namespace dolmen::bench {
namespace {

using MakeExchange = std::unique_ptr<Exchange> (*)(const FabricStage&, FabricWork);

struct System {
  std::string name;
  std::string told;
  MakeExchange make;
};

struct Case {
  std::string name;
  std::string unit;
  FabricWork work;
  std::size_t operations;  ///< of one measurement
  std::size_t per_time;    ///< done between two looks at the clock, which takes 20 ns itself
  System ours;
  System floor;
};

std::vector<Case> all_cases() {
  const std::string shm = "shared memory, ";
  const std::string tcp = "tcp over loopback, ";
  return {
      {"write64_shm",
       "ns",
       FabricWork::write64,
       640'000,
       32,
       {"dolmen", shm + "Endpoint::write(placed) until poll() reports it", dolmen_over_shm},
       {"bare_write", shm + "64 bytes stored, then a full fence", bare_over_shm}},
      {"read4k_shm",
       "ns",
       FabricWork::read4k,
       320'000,
       32,
       {"dolmen", shm + "Endpoint::read until poll() reports it", dolmen_over_shm},
       {"bare_read", shm + "4 KiB copied", bare_over_shm}},
      {"rtt64_shm",
       "ns",
       FabricWork::rtt64,
       200'000,
       1,
       {"dolmen", shm + "a message there and one back", dolmen_over_shm},
       {"bare_rtt", shm + "one cache line there and back: 56 bytes and whose turn it is",
        bare_over_shm}},
      {"rtt64_tcp",
       "us",
       FabricWork::rtt64,
       20'000,
       1,
       {"dolmen", tcp + "encrypted, a message there and one back", dolmen_over_tcp},
       {"bare_rtt", tcp + "TCP_NODELAY, sockets that do not block, not encrypted", bare_over_tcp}},
      {"read4k_tcp",
       "us",
       FabricWork::read4k,
       20'000,
       1,
       {"dolmen", tcp + "encrypted, Endpoint::read until poll() reports it", dolmen_over_tcp},
       {"bare_rtt",
        tcp + "64 bytes there, 4 KiB back; TCP_NODELAY, sockets that do not block, not encrypted",
        bare_over_tcp}},
  };
}

Values measure(const FabricStage& stage, const Case& what, MakeExchange make,
               std::size_t operations) {
  const Pinned pinned(stage.own_core());
  const std::unique_ptr<Exchange> exchange = make(stage, what.work);
  exchange->repeat(operations / 10);
  std::vector<double> times(operations / what.per_time);
  const double units = what.unit == "us" ? 1e6 : 1e9;
  for (double& time : times) {
    const double begin = seconds_now();
    exchange->repeat(what.per_time);
    time = (seconds_now() - begin) * units / static_cast<double>(what.per_time);
  }
  return {median_of(times), percentile_of(times, 99)};
}

}  // namespace

void Spin::operator()() const noexcept {
  if (shares_core_) sched_yield();
}

FabricStage::FabricStage(std::string outputs)
    : outputs_(std::move(outputs)), cores_(allowed_cores()) {}

std::string FabricStage::told() const {
  return shares_core() ? "two processes pinned to the one core there is, yielding it; "
                       : "two processes, each pinned to a core of its own and polling; ";
}

Server FabricStage::start(const std::string& part, const std::string& where,
                          FabricWork work) const {
  return Server::part({part, where, std::to_string(static_cast<int>(work)),
                       std::to_string(cores_.front()), shares_core() ? "1" : "0"},
                      outputs_ + "/" + part);
}

FabricPart::FabricPart(const std::vector<std::string>& arguments) {
  if (arguments.size() != 4) throw Failure("wrong arguments");
  where = arguments[0];
  work = static_cast<FabricWork>(std::stoi(arguments[1]));
  core = std::stoi(arguments[2]);
  shares_core = arguments[3] == "1";
}

SharedFolder::SharedFolder() : path_("/dev/shm/dolmen-bench-XXXXXX") {
  if (::mkdtemp(path_.data()) == nullptr) throw Failure("cannot make a folder in /dev/shm");
}

SharedFolder::~SharedFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

void fabric_suite(Report& report) {
  const Folder folder(report.options().directory + "/fabric");
  const FabricStage stage(folder.path());
  for (const Case& one : all_cases()) {
    const std::size_t operations = report.quick() ? 64 * one.per_time : one.operations;
    std::vector<Contestant> contestants;
    for (const System& system : {one.ours, one.floor}) {
      const std::string mode = report.scaled(std::to_string(operations) + " of them") +
                               report.scheduling() + stage.told() + system.told;
      contestants.push_back({system.name, mode, [&stage, &one, operations, make = system.make] {
                               return measure(stage, one, make, operations);
                             }});
    }
    report.race({{one.name, one.unit}, {one.name + "_p99", one.unit}}, std::move(contestants));
  }
}

void fabric_child(std::span<const std::string> arguments) {
  die_with_parent();
  const FabricPart part({arguments.begin() + 1, arguments.end()});
  const Pinned pinned(part.core);
  if (arguments[0] == "fabric-shm") return dolmen_shm_part(part);
  if (arguments[0] == "fabric-tcp") return dolmen_tcp_part(part);
  if (arguments[0] == "fabric-bare-shm") return bare_shm_part(part);
  if (arguments[0] == "fabric-bare-tcp") return bare_tcp_part(part);
  throw Failure("unknown part");
}

}  // namespace dolmen::bench
