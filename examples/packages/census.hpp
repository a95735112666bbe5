// SPDX-License-Identifier: Apache-2.0
//
// Counts a stored universe and finds whatever a half-done load would leave behind: a package that
// is missing in one of the places that must name it, an edge without its way back, a dependency of
// a package that is not linked yet.
#pragma once

#include <cstdint>
#include <string>

#include "packages/model.hpp"

namespace packages {

struct Census {
  std::uint64_t packages = 0;
  std::uint64_t sections = 0;
  std::uint64_t linked = 0;
  std::uint64_t edges = 0;
  std::uint64_t unmet = 0;
  std::string wrong;  ///< the first thing that does not fit; empty if all is well

  /// As Loader::step() counts.
  [[nodiscard]] std::uint64_t progress() const { return packages + linked; }
};

/// Requires: a view of the catalogue, or a section that reaches everything.
[[nodiscard]] inline Census count(const Catalogue& debian) {
  Census census{debian.packages.size(), debian.sections.size(), debian.linked,
                debian.edges,           debian.unmet,           {}};
  const auto expect = [&](bool holds, const std::string& what) {
    if (!holds && census.wrong.empty()) census.wrong = what;
  };
  // Which edges there are, seen from both ends; equal sums mean equal sets.
  const auto edge = [](const Package& from, const Package& to) {
    const std::uint64_t both = (std::uint64_t{from.number} << 32) | to.number;
    return (both + 1) * 0x9E3779B97F4A7C15ull ^ (both >> 7);
  };
  std::uint64_t forward = 0;
  std::uint64_t backward = 0;
  std::uint64_t edges = 0;
  std::uint64_t number = 0;
  for (const dolmen::ptr<Package>& package : debian.packages) {
    const std::string name = package->name.str();
    expect(package->number == number++, name + ": wrong number");
    const dolmen::ptr<Package>* const found = debian.by_name.get(package->name.view());
    expect(found != nullptr && *found == package, name + ": not to be found by its name");
    expect(package->number < debian.linked || package->depends.empty(), name + ": linked early");
    for (const auto& other : package->depends) forward += edge(*package, *other);
    for (const auto& other : package->dependents) backward += edge(*other, *package);
    edges += package->depends.size();
  }
  std::uint64_t in_sections = 0;
  for (const dolmen::ptr<Section>& section : debian.sections) {
    in_sections += section->packages.size();
  }
  expect(edges == debian.edges, "the number of edges differs from the counted one");
  expect(forward == backward, "an edge lacks its way back");
  expect(debian.by_name.size() == debian.packages.size(), "a name without its package");
  expect(in_sections == debian.packages.size(), "a section lacks a package");
  return census;
}

}  // namespace packages
