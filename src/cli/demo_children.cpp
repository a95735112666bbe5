// SPDX-License-Identifier: Apache-2.0
//
// The parts of the demo that run in processes of their own. They report in lines of words and
// numbers on standard output, each written when what it says has happened.
#include <cstdio>
#include <fstream>
#include <sstream>

#include "cli/demo_steps.hpp"
#include "packages/load.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {
namespace {

using packages::Catalogue;
using packages::Package;

void report(const char* what, std::uint64_t number) {
  std::printf("%s %llu\n", what, static_cast<unsigned long long>(number));
  std::fflush(stdout);
}

Result<void> load(const DemoOptions& options) {
  const packages::Universe universe(packages::read_file(options.input));
  DOLMEN_TRY(Space space, Space::open(options.directory));
  DOLMEN_TRY(const auto debian, space.find_or_create<Catalogue>("debian"));
  packages::Loader loader(space, debian, universe);
  report("batch", loader.batch());
  report("total", loader.total());
  std::uint64_t done = 0;
  while (done < loader.total()) {
    DOLMEN_TRY(done, loader.step());
    report("done", done);  // durable
  }
  DOLMEN_CHECK(space.checkpoint());  // whoever opens it next has no log to look through
  return space.close();
}

struct Usage {
  std::uint64_t read_bytes = 0;    // by system calls
  std::uint64_t device_bytes = 0;  // of those, not from the page cache
  std::uint64_t faults = 0;        // of pages of memory
};

/// As the kernel counts for this process.
Usage usage() {
  Usage result;
  std::ifstream io("/proc/self/io");
  std::string word;
  for (std::uint64_t number = 0; io >> word >> number;) {
    if (word == "rchar:") result.read_bytes = number;
    if (word == "read_bytes:") result.device_bytes = number;
  }
  std::ifstream stat("/proc/self/stat");
  std::getline(stat, word, ')');
  std::istringstream rest(std::string(std::istreambuf_iterator<char>(stat), {}));
  for (int field = 3; field < 10 && rest >> word; ++field) continue;
  std::uint64_t minor = 0;
  std::uint64_t of_children = 0;
  std::uint64_t major = 0;
  rest >> minor >> of_children >> major;
  result.faults = minor + major;
  return result;
}

Result<void> open(const DemoOptions& options) {
  sys::Clock& clock = *sys::linux_env().clock;
  const std::string& directory = options.directory;
  const std::string& name = options.input;
  const Usage before = usage();
  const std::uint64_t start_ns = clock.monotonic_ns();
  // [demo:open]
  DOLMEN_TRY(Space space, Space::open(directory));
  DOLMEN_TRY(const auto debian, space.find<Catalogue>("debian"));
  DOLMEN_TRY(const View view, space.view());
  const ptr<Package>* package = view[debian]->by_name.get(name);
  // [/demo:open]
  if (package == nullptr) return fail(Errc::not_found, interned(name));
  const std::string version((*package)->version);
  const std::uint64_t end_ns = clock.monotonic_ns();
  const Usage after = usage();
  report("first_value_ns", end_ns - start_ns);
  report("read_bytes", after.read_bytes - before.read_bytes);
  report("device_bytes", after.device_bytes - before.device_bytes);
  report("faults", after.faults - before.faults);
  std::printf("version %s\n", version.c_str());
  return {};
}

}  // namespace

int run_demo_child(const DemoOptions& options) {
  Result<void> done = fail(Errc::invalid_argument, "--child");
  try {
    if (options.child == "load") done = load(options);
    if (options.child == "open") done = open(options);
    if (options.child.starts_with("node") && options.child.size() == 5) {
      done = run_demo_node(options, static_cast<std::uint32_t>(options.child[4] - '0'));
    }
  } catch (const AccessError& error) {
    done = std::unexpected(error.error());
  }
  if (!done) std::fprintf(stderr, "dolmen demo: %s\n", done.error().message().c_str());
  return done ? 0 : 1;
}

}  // namespace dolmen::cli
