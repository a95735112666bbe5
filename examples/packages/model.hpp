// SPDX-License-Identifier: Apache-2.0
//
// The package universe as it is stored: ordinary structures that point to each other. Packages lie
// in the object of their archive section, so that most edges lead from one object into another.
#pragma once

#include <cstdint>

#include <dolmen/hash_map.hpp>
#include <dolmen/ptr.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

namespace packages {

// [demo:model]
struct Package {
  dolmen::string name;
  dolmen::string version;
  std::uint32_t number = 0;  // its place in Catalogue::packages
  std::uint32_t installed_kib = 0;
  dolmen::vector<dolmen::ptr<Package>> depends;     // what it needs
  dolmen::vector<dolmen::ptr<Package>> dependents;  // what needs it
};

struct Section {  // one object each: "debian/libs", "debian/python", …
  dolmen::string name;
  dolmen::vector<dolmen::ptr<Package>> packages;
};

struct Catalogue {  // the object "debian"
  dolmen::hash_map<dolmen::string, dolmen::ptr<Package>> by_name;
  dolmen::hash_map<dolmen::string, dolmen::vector<dolmen::ptr<Package>>> providers;
  dolmen::vector<dolmen::ptr<Package>> packages;
  dolmen::vector<dolmen::ptr<Section>> sections;
  std::uint64_t linked = 0;  // the first so many packages have their dependencies
  std::uint64_t edges = 0;
  std::uint64_t unmet = 0;  // dependencies that nothing in the input meets
};
// [/demo:model]

}  // namespace packages
