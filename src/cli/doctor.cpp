// SPDX-License-Identifier: Apache-2.0
//
// What this machine offers to a space, tried where it can be tried, and how to get more of it.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "cli/command.hpp"
#include "cli/demo_screen.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace {

struct Fact {
  std::string what;
  std::string value;
  bool good = true;
  std::string remedy;  ///< one line; empty if there is nothing to gain
};

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

Fact page_faults() {
  switch (sys::linux_env().memory->best_driver()) {
    case sys::FaultDriver::userfaultfd:
      return {"page faults", "userfaultfd (tried)", true, ""};
    case sys::FaultDriver::protection:
      return {"page faults", "protected pages, 64 KiB at a time", false,
              "sudo sysctl vm.unprivileged_userfaultfd=1, and a kernel of 5.7 or newer"};
    default:
      return {"page faults", "none: objects are loaded whole", false,
              "allow SIGSEGV handlers and userfaultfd in this environment"};
  }
}

Fact kernel() {
  const std::string release = first_line("/proc/sys/kernel/osrelease");
  int major = 0;
  int minor = 0;
  if (std::sscanf(release.c_str(), "%d.%d", &major, &minor) != 2) major = 0;
  const bool good = major > 5 || (major == 5 && minor >= 10);
  return {"kernel", release, good, good ? "" : "boot a kernel of 5.10 or newer"};
}

Fact huge_pages() {
  const std::string line = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
  const std::size_t open = line.find('[');
  const std::size_t close = line.find(']');
  const std::string mode = open == std::string::npos || close == std::string::npos
                               ? "not offered"
                               : line.substr(open + 1, close - open - 1);
  const bool good = mode == "always" || mode == "madvise";
  return {"huge pages", mode, good,
          good ? "" : "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"};
}

Fact map_count() {
  const std::string line = first_line("/proc/sys/vm/max_map_count");
  const std::uint64_t count = std::strtoull(line.c_str(), nullptr, 10);
  const bool good = count >= 262'144;
  return {"vm.max_map_count", line, good,
          good ? "" : "sudo sysctl vm.max_map_count=1048576 (programs that map many objects)"};
}

Fact address_space() {
  std::ifstream limits("/proc/self/limits");
  std::string value = "unknown";
  for (std::string line; std::getline(limits, line);) {
    constexpr std::string_view kName = "Max address space";
    if (line.starts_with(kName)) std::istringstream(line.substr(kName.size())) >> value;
  }
  const bool good = value == "unlimited";
  return {"address space", good ? value : value + " bytes", good,
          good ? "" : "ulimit -v unlimited (the arena reserves 32 TiB, it does not use it)"};
}

Fact arena() {
  sys::Memory& memory = *sys::linux_env().memory;
  constexpr std::size_t kBytes = std::size_t{32} << DOLMEN_REGION_SHIFT;
  const std::string value = size_text(kBytes) + " of address space";
  const auto reserved = memory.reserve(kBytes, sys::kPageBytes);
  if (!reserved) {
    return {"arena", value + ": refused", false,
            "ulimit -v unlimited; sudo sysctl vm.overcommit_memory=0"};
  }
  memory.release(*reserved, kBytes);
  return {"arena", value + " (tried)", true, ""};
}

/// How this command, and so most likely the library beside it, was built.
Fact build() {
#ifdef __OPTIMIZE__
  constexpr bool kOptimised = true;
#else
  constexpr bool kOptimised = false;
#endif
  constexpr bool kChecked = DOLMEN_CHECKED != 0;
  const bool good = kOptimised && !kChecked;
  return {
      "build",
      std::string(kOptimised ? "optimised" : "not optimised") +
          (kChecked ? ", every dereference checked" : ", dereferences checked where it is free"),
      good, good ? "" : "for speed: cmake -DCMAKE_BUILD_TYPE=Release -DDOLMEN_CHECKED=OFF"};
}

/// Type of the file system that holds `directory`: the longest mount point in front of it.
Fact file_system(const std::string& directory) {
  std::error_code error;
  const std::string path = std::filesystem::weakly_canonical(directory, error).string() + "/";
  std::ifstream mounts("/proc/self/mountinfo");
  std::string type = "unknown";
  std::size_t longest = 0;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string word;
    std::string mount;
    for (int i = 0; i < 5 && words >> word; ++i) mount = word;
    while (words >> word && word != "-") continue;
    std::string kind;
    words >> kind;
    const std::string prefix = mount == "/" ? mount : mount + "/";
    if (path.starts_with(prefix) && prefix.size() >= longest) {
      longest = prefix.size();
      type = kind;
    }
  }
  const bool in_memory = type == "tmpfs" || type == "ramfs";
  const bool remote = type == "nfs" || type == "nfs4" || type == "cifs" || type == "9p";
  return {"file system", type, !in_memory && !remote,
          in_memory ? "keep spaces elsewhere: this one is lost when the machine stops"
          : remote  ? "keep spaces on a local ext4 or xfs: locks and syncs are weaker here"
                    : ""};
}

Result<Fact> sync_latency(sys::Disk& disk) {
  const sys::Env& env = sys::linux_env();
  const std::string name = "doctor-" + std::to_string(env.process->pid());
  DOLMEN_TRY(const auto file, disk.open(name, sys::OpenMode::create_new));
  const auto measured = [&]() -> Result<std::vector<std::uint64_t>> {
    constexpr std::size_t kBytes = 4096;
    constexpr int kRuns = 33;
    const std::array<std::byte, kBytes> block{};
    DOLMEN_CHECK(file->allocate(0, kBytes * kRuns));
    DOLMEN_CHECK(file->sync());
    std::vector<std::uint64_t> runs_ns;
    for (std::uint64_t i = 0; i < kRuns; ++i) {
      DOLMEN_CHECK(file->write(i * kBytes, block));
      const std::uint64_t begin_ns = env.clock->monotonic_ns();
      DOLMEN_CHECK(file->sync());
      runs_ns.push_back(env.clock->monotonic_ns() - begin_ns);
    }
    std::ranges::sort(runs_ns);
    return runs_ns;
  }();
  const auto removed = disk.remove(name);
  if (!measured) return std::unexpected(measured.error());
  if (!removed) return std::unexpected(removed.error());
  const std::uint64_t median_ns = (*measured)[measured->size() / 2];
  const bool good = median_ns < 5'000'000;
  return Fact{
      "fdatasync",
      duration_text(median_ns) + " (median), " + duration_text(measured->back()) + " (worst)", good,
      good ? "" : "use an SSD with power-loss protection, or commit with Durability::deferred"};
}

Result<std::vector<Fact>> examine(const std::string& directory) {
  DOLMEN_TRY(const auto disk, sys::open_directory(directory, sys::DirectoryMode::open_existing));
  std::vector<Fact> facts{page_faults(),   kernel(), huge_pages(),           map_count(),
                          address_space(), arena(),  file_system(directory), build()};
  DOLMEN_TRY(Fact latency, sync_latency(*disk));
  facts.push_back(std::move(latency));
  DOLMEN_TRY(const std::uint64_t free, disk->free_bytes());
  const bool roomy = free >= std::uint64_t{1} << 30;
  facts.push_back({"free space", size_text(free), roomy,
                   roomy ? "" : "free some: a space keeps log segments of 16 MiB in reserve"});
  return facts;
}

int doctor(const std::string& directory, bool json) {
  const auto facts = examine(directory);
  if (!facts) return not_opened(directory, facts.error());
  Json rows = Json::array();
  for (const Fact& fact : *facts) {
    if (json) {
      rows.push_back({{"what", fact.what},
                      {"value", fact.value},
                      {"good", fact.good},
                      {"remedy", fact.remedy}});
      continue;
    }
    std::printf("%s%s%s\n", column(fact.good ? "ok" : "better:", 7).c_str(),
                column(fact.what, 16).c_str(), fact.value.c_str());
    if (!fact.remedy.empty())
      std::printf("%s%s\n", std::string(27, ' ').c_str(), fact.remedy.c_str());
  }
  if (json) print_json({{"directory", directory}, {"facts", std::move(rows)}});
  return kOk;
}

}  // namespace

void add_doctor(CLI::App& app, Chosen& chosen) {
  struct Options {
    std::string directory = ".";
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "doctor", "what this machine offers, and how to improve it",
                                  "dolmen doctor --dir /var/lib/web", options->json);
  command
      ->add_option("--dir", options->directory, "where spaces are kept (a file is written there)")
      ->capture_default_str();
  command->callback([options, &chosen] {
    chosen.run = [options] { return doctor(options->directory, options->json); };
  });
}

}  // namespace dolmen::cli
