// SPDX-License-Identifier: Apache-2.0
//
// The same graph in plain C++, to compare with: same packages, same order, raw pointers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "packages/model.hpp"

namespace packages {

struct RawPackage {
  std::string name;
  std::string version;
  std::uint32_t number = 0;
  std::uint32_t installed_kib = 0;
  std::vector<const RawPackage*> depends;
  std::vector<const RawPackage*> dependents;
};

class RawGraph {
 public:
  /// Requires: a view of the catalogue, or a section that reaches everything.
  explicit RawGraph(const Catalogue& debian) {
    packages_.reserve(debian.packages.size());
    for (const dolmen::ptr<Package>& package : debian.packages) {
      packages_.push_back(std::make_unique<RawPackage>());
      RawPackage& copy = *packages_.back();
      copy.name = package->name.str();
      copy.version = package->version.str();
      copy.number = package->number;
      copy.installed_kib = package->installed_kib;
    }
    for (const dolmen::ptr<Package>& package : debian.packages) {
      RawPackage& from = *packages_[package->number];
      for (const dolmen::ptr<Package>& other : package->depends) {
        RawPackage& to = *packages_[other->number];
        from.depends.push_back(&to);
        to.dependents.push_back(&from);
      }
    }
  }
  [[nodiscard]] const std::vector<std::unique_ptr<RawPackage>>& packages() const {
    return packages_;
  }

 private:
  std::vector<std::unique_ptr<RawPackage>> packages_;
};

}  // namespace packages
