// SPDX-License-Identifier: Apache-2.0
//
// Turns stanzas into a graph of Packages, a few hundred in each transaction, and goes on where the
// last commit ended, whatever happened to the program in between.
//
// First all packages are made, then their dependencies are linked: by then every name is known. Of
// alternatives ("a | b") the first that exists counts, as a package of that name or else as the
// first package that provides it. Versions are not compared: an archive is consistent in itself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/space.hpp>

#include "packages/model.hpp"
#include "packages/stanza.hpp"

namespace packages {

class Loader {
 public:
  Loader(dolmen::Space& space, dolmen::Object<Catalogue> catalogue, const Universe& universe)
      : space_(space),
        catalogue_(catalogue),
        universe_(universe),
        batch_(std::clamp<std::size_t>(count() / 100, 10, 250)) {}

  /// Every package counts once when it is made and once when it is linked.
  [[nodiscard]] std::uint64_t total() const { return 2 * count(); }
  /// Packages in one transaction.
  [[nodiscard]] std::size_t batch() const { return batch_; }

  /// One more batch, durable on return. Returns how far the space is now; total() is the end.
  [[nodiscard]] dolmen::Result<std::uint64_t> step() {
    // [demo:step]
    return space_.transact(dolmen::any, [&]() -> std::uint64_t {
      dolmen::mut<Catalogue> debian = space_.edit(catalogue_);
      // Where the last commit ended: the cursor is part of the data.
      const std::size_t made = debian->packages.size();
      if (made < count()) {
        for (std::size_t i = made; i < std::min(made + batch_, count()); ++i) make(debian, i);
      } else {
        const std::size_t end = std::min<std::size_t>(debian->linked + batch_, count());
        for (; debian->linked < end; ++debian->linked) link(debian, debian->linked);
      }
      return debian->packages.size() + debian->linked;
    });  // all of the batch is on the disk now; after a crash before this, none of it
    // [/demo:step]
  }

 private:
  [[nodiscard]] std::size_t count() const { return universe_.stanzas().size(); }

  // [demo:make]
  void make(dolmen::mut<Catalogue> debian, std::size_t number) {
    const Stanza& stanza = universe_.stanzas()[number];
    dolmen::mut<Section> section = section_of(debian, stanza);
    dolmen::mut<Package> package =
        dolmen::make<Package>(section, stanza.name, stanza.version,
                              static_cast<std::uint32_t>(number), stanza.installed_kib);
    section->packages.push_back(package);
    debian->packages.push_back(package);  // a pointer into another object
    debian->by_name.try_emplace(stanza.name, package);
    for_each_part(stanza.provides, ',', [&](std::string_view provided) {
      debian->providers[bare_name(provided)].push_back(package);
    });
  }
  // [/demo:make]

  // [demo:link]
  void link(dolmen::mut<Catalogue> debian, std::size_t number) {
    const Stanza& stanza = universe_.stanzas()[number];
    std::vector<dolmen::ptr<Package>> needed;
    for_each_part(stanza.pre_depends, ',', [&](auto relation) { add(debian, relation, needed); });
    for_each_part(stanza.depends, ',', [&](auto relation) { add(debian, relation, needed); });

    dolmen::mut<Package> package = dolmen::edit(debian->packages.at(number));
    for (const dolmen::ptr<Package>& other : needed) {
      package->depends.push_back(other);
      dolmen::edit(other)->dependents.push_back(package);
    }
    debian->edges += needed.size();
  }
  // [/demo:link]

  /// Finds who meets "a (>= 1) | b" and adds it, once.
  static void add(dolmen::mut<Catalogue> debian, std::string_view relation,
                  std::vector<dolmen::ptr<Package>>& needed) {
    dolmen::ptr<Package> found;
    for_each_part(relation, '|', [&](std::string_view alternative) {
      if (!found) found = named(*debian, bare_name(alternative));
    });
    if (!found) {
      ++debian->unmet;
    } else if (std::ranges::find(needed, found) == needed.end()) {
      needed.push_back(found);
    }
  }

  static dolmen::ptr<Package> named(const Catalogue& debian, std::string_view name) {
    if (const dolmen::ptr<Package>* package = debian.by_name.get(name)) return *package;
    if (const auto* providers = debian.providers.get(name)) return providers->front();
    return nullptr;
  }

  dolmen::mut<Section> section_of(dolmen::mut<Catalogue> debian, const Stanza& stanza) {
    const std::string name = "debian/" + std::string(stanza.section);
    auto object = space_.find<Section>(name);
    if (object) return space_.edit(*object);
    object = space_.create<Section>(name);
    if (!object) throw dolmen::AccessError(object.error());
    dolmen::mut<Section> section = space_.edit(*object);
    section->name = stanza.section;
    debian->sections.push_back(section);
    return section;
  }

  dolmen::Space& space_;
  dolmen::Object<Catalogue> catalogue_;
  const Universe& universe_;
  std::size_t batch_;
};

}  // namespace packages
