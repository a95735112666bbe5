// SPDX-License-Identifier: Apache-2.0
//
// The Debian package universe as a graph of pointers that outlives its program: what `dolmen demo`
// runs, without the theatre.
//
//   packages load SPACE [FILE]      FILE: output of `apt-cache dumpavail`; default: run it
//   packages ask SPACE [PACKAGE]    what would break without PACKAGE (libc6)?
//   packages all SPACE [FILE]       both, and the longest chain and the heaviest closures
//
// Kill `load` whenever you like and start it again: it goes on where its last commit ended.
#include <cstdio>
#include <string>

#include <dolmen/space.hpp>

#include "packages/census.hpp"
#include "packages/graph.hpp"
#include "packages/load.hpp"
#include "packages/model.hpp"
#include "packages/stanza.hpp"

namespace {

using packages::Catalogue;
using packages::Package;

dolmen::Result<void> load(dolmen::Space& space, const std::string& file) {
  const packages::Universe universe(file.empty() ? packages::read_dumpavail()
                                                 : packages::read_file(file));
  if (universe.stanzas().empty()) {
    return dolmen::fail(dolmen::Errc::not_found, "no package descriptions; try `apt-get update`");
  }
  DOLMEN_TRY(const auto debian, space.find_or_create<Catalogue>("debian"));
  packages::Loader loader(space, debian, universe);
  for (std::uint64_t done = 0, before = 0; done < loader.total(); before = done) {
    DOLMEN_TRY(done, loader.step());
    if (done / 20000 != before / 20000) {
      std::printf("%llu of %llu\n", static_cast<unsigned long long>(done),
                  static_cast<unsigned long long>(loader.total()));
    }
  }
  return {};
}

void print(const char* what, const packages::Closure& closure) {
  std::printf("%s: %llu packages, %llu MiB\n", what, static_cast<unsigned long long>(closure.count),
              static_cast<unsigned long long>(closure.kib / 1024));
}

dolmen::Result<void> ask(dolmen::Space& space, const std::string& name, bool everything) {
  DOLMEN_TRY(const auto debian, space.find<Catalogue>("debian"));
  DOLMEN_TRY(const dolmen::View view, space.view());
  DOLMEN_TRY(const bool found, view.read([&] {
    const Catalogue& all = *view[debian];
    const auto* const package = all.by_name.get(name);
    if (package == nullptr) return false;
    const std::size_t count = all.packages.size();
    packages::Walker<Package> walker(count);
    print(("needs " + name).c_str(), walker.closure(**package, &Package::dependents));
    print(("needed by " + name).c_str(), walker.closure(**package, &Package::depends));
    if (!everything) return true;
    const packages::Census census = packages::count(all);
    std::printf("packages %llu, edges %llu, unmet %llu, sections %llu%s%s\n",
                static_cast<unsigned long long>(census.packages),
                static_cast<unsigned long long>(census.edges),
                static_cast<unsigned long long>(census.unmet),
                static_cast<unsigned long long>(census.sections),
                census.wrong.empty() ? "" : "; wrong: ", census.wrong.c_str());
    const auto chains = packages::ChainFinder<Package>::find(all.packages, count);
    std::printf("longest chain: %zu\n", chains.longest.size());
    std::printf("cycles: %zu, the largest of %zu packages\n", chains.cycles, chains.largest_cycle);
    for (const auto& heavy : packages::heaviest<Package>(all.packages, count, 5).top) {
      print(("closure of " + heavy.package->name.str()).c_str(), heavy.closure);
    }
    return census.wrong.empty();
  }));
  if (!found) return dolmen::fail(dolmen::Errc::not_found, dolmen::interned(name));
  return {};
}

dolmen::Result<void> run(const std::string& verb, const std::string& directory,
                         const std::string& word) {
  DOLMEN_TRY(auto space, dolmen::Space::open(directory));
  if (verb != "ask") DOLMEN_CHECK(load(space, word));
  if (verb != "load") {
    DOLMEN_CHECK(ask(space, verb == "ask" && !word.empty() ? word : "libc6", verb == "all"));
  }
  return space.close();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (argc < 3 || argc > 4 || (verb != "load" && verb != "ask" && verb != "all")) {
    std::fprintf(stderr, "usage: packages load|ask|all SPACE [FILE|PACKAGE]\n");
    return 2;
  }
  const auto done = run(verb, argv[2], argc > 3 ? argv[3] : "");
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return done ? 0 : 1;
}
