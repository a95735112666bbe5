// SPDX-License-Identifier: Apache-2.0
//
// The second half of the demo: questions in a view, the same walk over raw pointers, a writer
// beside the view.
#include <algorithm>
#include <atomic>
#include <set>

#include "cli/demo_steps.hpp"

namespace dolmen::cli {
namespace {

constexpr std::size_t kTop = 5;

/// ns per hop.
double per_hop(std::uint64_t duration_ns, std::uint64_t hops) {
  return hops == 0 ? 0 : static_cast<double>(duration_ns) / static_cast<double>(hops);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

std::string kib_text(std::uint64_t kib) { return size_text(kib * 1024); }

/// "a > b > … > z", with what belongs together on one line.
template <class P>
std::string chain_text(const packages::Chains<P>& chains) {
  std::string text;
  for (const auto& link : chains.longest) {
    if (!text.empty()) text += " > ";
    text += std::string(std::string_view(link.package->name));
    if (link.cycle > 1) text += " (+" + std::to_string(link.cycle - 1) + ")";
  }
  return text;
}

/// How many edges lead into another object than the one they lie in.
std::uint64_t foreign_edges(const packages::Catalogue& debian) {
  std::uint64_t count = 0;
  for (const ptr<packages::Package>& package : debian.packages) {
    const ObjectId here = link<packages::Package>(package).object();
    for (const auto& other : package->depends) {
      count += link<packages::Package>(other).object() == here ? 0 : 1;
    }
  }
  return count;
}

/// The package that most others depend on.
const packages::Package* most_needed(const packages::Catalogue& debian) {
  const packages::Package* best = nullptr;
  for (const ptr<packages::Package>& package : debian.packages) {
    if (best == nullptr || package->dependents.size() > best->dependents.size()) {
      best = package.get();
    }
  }
  return best;
}

}  // namespace

Result<void> Demo::ask() {
  screen_.heading(3, "Ask, in a view: the state of one commit, held as long as you like");
  DOLMEN_TRY(space_, Space::open(paths_.space));
  DOLMEN_TRY(debian_, space_->find<packages::Catalogue>("debian"));
  DOLMEN_TRY(view_, space_->view());
  DOLMEN_TRY(const packages::Census census, view_->read([&] {
    const packages::Catalogue& debian = *(*view_)[debian_];
    if (subject_ != "libc6") subject_ = most_needed(debian)->name.str();
    return packages::count(debian);
  }));
  DOLMEN_TRY(const std::uint64_t foreign,
             view_->read([&] { return foreign_edges(*(*view_)[debian_]); }));
  const SpaceStats stats = space_->stats();
  figures_["space"] = {
      {"packages", census.packages},          {"edges", census.edges},
      {"edges_into_another_object", foreign}, {"unmet", census.unmet},
      {"objects", census.sections + 1},       {"pages_bytes", stats.pages_disk_bytes},
      {"log_bytes", stats.log_disk_bytes}};
  check("the whole graph fits together: " + grouped(census.packages) + " packages, " +
            grouped(census.edges) + " edges, " + grouped(census.sections + 1) + " objects",
        census.wrong.empty() && census.progress() == total_);
  return view_->read([&] {
    const packages::Catalogue& debian = *(*view_)[debian_];
    ask_closure(debian);
    ask_chain(debian);
    ask_heaviest(debian);
  });
}

void Demo::ask_closure(const packages::Catalogue& debian) {
  screen_.paragraph("What would break if " + subject_ +
                    " went away? All that needs it, and all that needs those:");
  screen_.code("closure");
  const Package& subject = **debian.by_name.get(subject_);
  packages::Walker<Package> walker(debian.packages.size());
  const std::uint64_t start_ns = now_ns();
  broken_ = walker.closure(subject, &Package::dependents);
  const std::uint64_t took_ns = now_ns() - start_ns;
  const auto others = broken_.count - 1;
  figures_["answers"]["broken"] = {
      {"without", subject_},  {"directly", subject.dependents.size()},
      {"count", others},      {"kib", broken_.kib - subject.installed_kib},
      {"hops", broken_.hops}, {"ms", static_cast<double>(took_ns) / 1e6}};
  screen_.figure("would break", grouped(others) + " of " + grouped(debian.packages.size()) +
                                    " packages, " + grouped(subject.dependents.size()) +
                                    " of them directly");
  screen_.figure("their installed size", kib_text(broken_.kib - subject.installed_kib));
  screen_.figure("answered in",
                 duration_text(took_ns) + ", " + grouped(broken_.hops) + " pointers followed");
}

void Demo::ask_chain(const packages::Catalogue& debian) {
  const std::uint64_t start_ns = now_ns();
  chains_ = packages::ChainFinder<Package>::find(debian.packages, debian.packages.size());
  const std::uint64_t took_ns = now_ns() - start_ns;
  auto& figures = figures_["answers"]["chain"];
  figures = {{"length", chains_.longest.size()},
             {"cycles", chains_.cycles},
             {"largest_cycle", chains_.largest_cycle},
             {"hops", chains_.hops},
             {"ms", static_cast<double>(took_ns) / 1e6}};
  for (const auto& step : chains_.longest) figures["names"].push_back(step.package->name.str());
  screen_.paragraph("The longest chain of dependencies. " + grouped(chains_.cycles) +
                    " groups of packages need each other in a circle (the largest has " +
                    grouped(chains_.largest_cycle) +
                    "); a circle counts as one step, so that the longest chain exists:");
  screen_.say(chain_text(chains_));
  screen_.figure("steps", grouped(chains_.longest.size()) + " ((+n): n more in its circle)");
  screen_.figure("answered in",
                 duration_text(took_ns) + ", " + grouped(chains_.hops) + " pointers followed");
}

void Demo::ask_heaviest(const packages::Catalogue& debian) {
  screen_.paragraph(
      "The heaviest packages, with all that they bring along: the closure of every one.");
  screen_.code("heaviest");
  const std::uint64_t start_ns = now_ns();
  heaviest_ = packages::heaviest<Package>(debian.packages, debian.packages.size(), kTop);
  heaviest_ns_ = now_ns() - start_ns;
  for (const auto& heavy : heaviest_.top) {
    const std::string name = heavy.package->name.str();
    figures_["answers"]["heaviest"].push_back(
        {{"name", name}, {"count", heavy.closure.count}, {"kib", heavy.closure.kib}});
    screen_.figure(
        name, kib_text(heavy.closure.kib) + " in " + grouped(heavy.closure.count) + " packages");
  }
  figures_["answers"]["all_closures"] = {{"count", heaviest_.all.count},
                                         {"kib", heaviest_.all.kib},
                                         {"hops", heaviest_.all.hops},
                                         {"ms", static_cast<double>(heaviest_ns_) / 1e6}};
  screen_.figure("answered in", duration_text(heaviest_ns_) + ", " + grouped(heaviest_.all.hops) +
                                    " pointers followed");
}

Result<void> Demo::compare() {
  screen_.heading(4, "What a pointer costs");
  return view_->read([&] {
    const packages::Catalogue& debian = *(*view_)[debian_];
    race(debian, packages::RawGraph(debian));
  });
}

void Demo::race(const packages::Catalogue& debian, const packages::RawGraph& raw) {
  const std::size_t count = debian.packages.size();
  screen_.say(
      "The same walk, by the same template, over a copy of the graph in plain C++: the same "
      "packages in the same order, edges that are raw pointers (examples/packages/raw_graph.hpp).");
  // The answers first.
  packages::Walker<RawPackage> walker(count);
  const RawPackage& subject = *raw.packages()[(*debian.by_name.get(subject_))->number];
  const auto chains = packages::ChainFinder<RawPackage>::find(raw.packages(), count);
  const auto heaviest = packages::heaviest<RawPackage>(raw.packages(), count, kTop);
  bool equal = walker.closure(subject, &RawPackage::dependents) == broken_ &&
               chain_text(chains) == chain_text(chains_) && chains.cycles == chains_.cycles &&
               heaviest.all == heaviest_.all;
  for (std::size_t i = 0; i < heaviest_.top.size(); ++i) {
    equal = equal && heaviest.top[i].package->number == heaviest_.top[i].package->number &&
            heaviest.top[i].closure == heaviest_.top[i].closure;
  }
  check("both graphs give the same answers", equal);

  // Every n-th closure, so that one walk takes about a quarter of a second.
  const std::size_t step = std::clamp<std::size_t>(heaviest_ns_ / 250'000'000, 1, count);
  const std::size_t rounds = options_.quick ? 3 : 7;
  std::vector<double> dolmen_ns;
  std::vector<double> raw_ns;
  std::uint64_t hops = 0;
  bool same_hops = true;
  for (std::size_t round = 0; round < rounds; ++round) {
    screen_.progress("rounds", round, rounds);
    const std::uint64_t start_ns = now_ns();
    const auto with_dolmen = packages::heaviest<Package>(debian.packages, count, 1, step).all;
    const std::uint64_t middle_ns = now_ns();
    const auto with_raw = packages::heaviest<RawPackage>(raw.packages(), count, 1, step).all;
    const std::uint64_t end_ns = now_ns();
    hops = with_dolmen.hops;
    same_hops = same_hops && with_dolmen == with_raw;
    dolmen_ns.push_back(per_hop(middle_ns - start_ns, hops));
    raw_ns.push_back(per_hop(end_ns - middle_ns, hops));
  }
  screen_.end_progress();
  check("both walks followed the same pointers in every round", same_hops);
  const double ratio = median(raw_ns) > 0 ? median(dolmen_ns) / median(raw_ns) : 0;
  const std::uint64_t edges = figures_["space"]["edges"];
  const std::uint64_t foreign = figures_["space"]["edges_into_another_object"];
  figures_["hops"] = {{"dolmen_ns", median(dolmen_ns)},
                      {"raw_ns", median(raw_ns)},
                      {"ratio", ratio},
                      {"rounds", rounds},
                      {"hops_per_round", hops},
                      {"dolmen_ns_rounds", dolmen_ns},
                      {"raw_ns_rounds", raw_ns}};
  const double share =
      edges == 0 ? 0 : 100 * static_cast<double>(foreign) / static_cast<double>(edges);
  screen_.figure("one hop along a raw pointer", decimal(median(raw_ns), 2) + " ns");
  screen_.figure("one hop along a dolmen::ptr", decimal(median(dolmen_ns), 2) + " ns");
  screen_.figure("ratio", decimal(ratio, 2));
  screen_.say("Medians of " + std::to_string(rounds) + " rounds each, alternating, " +
              grouped(hops) +
              " hops per round; a hop includes the look whether the package was "
              "seen before. " +
              decimal(share, 0) + " % of the edges lead into another object.");
}

Result<void> Demo::write_beside_view() {
  screen_.heading(5, "Write while the view is held");
  screen_.say("A second thread gives every package that needs " + subject_ +
              " directly 1 MiB more, and takes it away again, in one transaction each over all "
              "sections; the view of step 3 is asked meanwhile.");
  screen_.code("write");
  Space& space = *space_;
  const auto subject = [&](const packages::Catalogue& debian) -> const Package& {
    return **debian.by_name.get(subject_);
  };
  const auto grow = [&](std::uint32_t kib) {
    // [demo:write]
    return space.transact(any, [&]() -> std::size_t {
      const auto& dependents = subject(*space.root(debian_)).dependents;
      for (const ptr<Package>& package : dependents) edit(package)->installed_kib += kib;
      return dependents.size();
    });
    // [/demo:write]
  };
  constexpr std::uint32_t kMore_kib = 1024;
  const int commits_wanted = options_.quick ? 3 : 11;  // odd: the last one adds
  std::atomic<int> commits = 0;
  std::atomic<bool> ended = false;
  Result<std::size_t> changed = std::size_t{0};
  std::uint64_t writing_ns = 0;
  std::uint64_t answers = 0;
  std::uint64_t wrong = 0;
  {
    DOLMEN_TRY(const auto writer, env_.process->start_thread("demo writer", [&] {
      const std::uint64_t start_ns = now_ns();
      while (changed && commits < commits_wanted) {
        changed = grow(commits % 2 == 0 ? kMore_kib : 0u - kMore_kib);
        if (changed) ++commits;
      }
      writing_ns = now_ns() - start_ns;
      ended = true;
    }));
    DOLMEN_CHECK(view_->read([&] {
      const packages::Catalogue& debian = *(*view_)[debian_];
      packages::Walker<Package> walker(debian.packages.size());
      do {
        ++answers;
        wrong += walker.closure(subject(debian), &Package::dependents) == broken_ ? 0 : 1;
      } while (!ended);
    }));
  }
  if (!changed) return std::unexpected(changed.error());
  DOLMEN_TRY(const std::uint64_t fresh_kib, [&]() -> Result<std::uint64_t> {
    DOLMEN_TRY(const View fresh, space.view());
    return fresh.read([&] {
      const packages::Catalogue& debian = *fresh[debian_];
      packages::Walker<Package> walker(debian.packages.size());
      return walker.closure(subject(debian), &Package::dependents).kib;
    });
  }());
  DOLMEN_TRY(const std::size_t restored, grow(0u - kMore_kib));
  figures_["beside"] = {{"commits", commits.load()},
                        {"packages_per_commit", restored},
                        {"commit_ms", static_cast<double>(writing_ns) / 1e6 / commits},
                        {"answers", answers},
                        {"answers_wrong", wrong},
                        {"held_view_kib", broken_.kib},
                        {"fresh_view_kib", fresh_kib}};
  screen_.figure("commits",
                 std::to_string(commits) + " of " + grouped(*changed) + " changed packages each, " +
                     duration_text(writing_ns / static_cast<unsigned>(commits)) + " per commit");
  screen_.figure("answers from the held view meanwhile", grouped(answers));
  screen_.figure("it still says", kib_text(broken_.kib));
  screen_.figure("a new view says", kib_text(fresh_kib));
  check("the held view gave the same answer every time", wrong == 0);
  check("a new view shows the change, in all objects at once",
        fresh_kib == broken_.kib + *changed * kMore_kib);
  view_.reset();
  return space.close();
}

}  // namespace dolmen::cli
