// SPDX-License-Identifier: Apache-2.0
#include "cli/demo.hpp"

#include <array>
#include <bit>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "cli/command.hpp"
#include "cli/demo_steps.hpp"
#include "cli/scratch.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {
namespace {

namespace fs = std::filesystem;

volatile std::sig_atomic_t interruption = 0;  // the signal

extern "C" void on_interrupt(int signal) { interruption = signal; }

std::uint64_t seed(const sys::Env& env) {
  std::array<std::byte, 8> bytes{};
  env.entropy->fill(bytes);
  return std::bit_cast<std::uint64_t>(bytes);
}

}  // namespace

Demo::Demo(const DemoOptions& options, const Paths& paths, const sys::Env& env, Screen& screen)
    : options_(options),
      paths_(paths),
      env_(env),
      screen_(screen),
      random_(seed(env)),
      program_(fs::read_symlink("/proc/self/exe").string()) {}

Result<void> Demo::run() {
  const std::uint64_t start_ns = now_ns();
  for (const auto step : {&Demo::gather, &Demo::load_and_kill, &Demo::resume, &Demo::reopen,
                          &Demo::ask, &Demo::compare, &Demo::write_beside_view, &Demo::replicate}) {
    DOLMEN_CHECK((this->*step)());
    if (interrupted()) return fail(Errc::aborted, "interrupted");
  }
  figures_["seconds"] = static_cast<double>(now_ns() - start_ns) / 1e9;
  return {};
}

void Demo::check(const std::string& what, bool held) {
  all_held_ = all_held_ && held;
  figures_["checks"].push_back({{"what", what}, {"held", held}});
  screen_.check(what, held);
}

bool interrupted() noexcept { return interruption != 0; }

int run_demo(const DemoOptions& options) {
  if (!options.child.empty()) return run_demo_child(options);
  const sys::Env& env = sys::linux_env();
  Scratch scratch("dolmen-demo");
  if (scratch.path().empty())
    return failed("no temporary directory can be made; TMPDIR says where");
  Demo::Paths paths{.space = options.directory, .input = scratch.path() + "/packages.txt"};
  if (paths.space.empty()) paths.space = scratch.path() + "/space";
  paths.space = fs::absolute(paths.space).lexically_normal().string();
  std::error_code missing;
  if (!options.directory.empty() && fs::exists(paths.space, missing) &&
      !fs::is_empty(paths.space, missing)) {
    return failed("'" + shown(paths.space) +
                  "' is not empty; name a directory that does not exist yet");
  }
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  Screen screen(options.json, *env.clock);
  screen.title("dolmen demo: the Debian package universe as C++ objects with pointers");
  Demo demo(options, paths, env, screen);
  const auto done = demo.run();
  if (interrupted()) {
    (void)failed("interrupted");
    return 128 + interruption;  // as a shell says it of a program that the signal ended
  }
  if (!done) return failed(done.error().message());
  const bool keep = options.keep || !options.directory.empty();
  if (options.json) {
    std::puts(demo.figures().dump(2).c_str());
  } else {
    std::puts("");
    screen.title(demo.all_checks_held() ? "All checks held." : "A check FAILED, see above.");
    if (keep) {
      screen.say("The space is in " + paths.space + ". Look at it, and delete it:");
      screen.say("  dolmen ls " + paths.space);
      screen.say("  dolmen inspect " + paths.space + " debian/libs");
      screen.say("  rm -r " + (options.directory.empty() ? scratch.path() : paths.space));
    } else {
      screen.say(
          "The space was removed. `dolmen demo --keep` leaves it behind, to look at it with "
          "`dolmen ls` and `dolmen inspect`. The program: examples/packages.cpp.");
    }
  }
  if (keep) {
    std::error_code ignored;
    fs::remove(paths.input, ignored);
    if (options.directory.empty()) scratch.keep();
  }
  return demo.all_checks_held() ? kOk : kFailed;
}

}  // namespace dolmen::cli
