// SPDX-License-Identifier: Apache-2.0
#include "node/places.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "cluster/root.hpp"
#include "node/replicated_group.hpp"

namespace dolmen::node {

Result<std::vector<std::string>> places_of(sys::Network& network, const std::string& text) {
  DOLMEN_TRY(const sys::NetworkAddress where, address(text));
  // What no name has is nobody asked for.
  if (!cluster::is_word(text, cluster::kNodeAddressBytesMax)) {
    return fail(Errc::invalid_argument,
                "an address: at most 255 characters, none of them blank or a control character");
  }
  DOLMEN_TRY(const auto hosts, network.resolve(where.host));
  std::vector<std::string> places;
  for (const std::string& host : hosts) {
    const bool is_v6 = host.find(':') != std::string::npos;
    places.push_back(host == where.host
                         ? text
                         : (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(where.port));
  }
  return places;
}

Result<std::string> place_of(sys::Network& network, const std::string& text) {
  DOLMEN_TRY(auto places, places_of(network, text));
  return std::move(places.front());
}

Result<std::vector<std::string>> place_of_each(sys::Network& network,
                                               const std::vector<std::string>& texts) {
  std::vector<std::string> all;
  for (const std::string& text : texts) {
    DOLMEN_TRY(auto place, place_of(network, text));
    all.push_back(std::move(place));
  }
  return all;
}

Result<std::vector<std::string>> seeds_of(sys::Network& network,
                                          const std::vector<std::string>& texts) {
  std::vector<std::string> all;
  std::optional<Error> first;
  for (const std::string& text : texts) {
    const auto places = places_of(network, text);
    if (!places && places.error().code() != Errc::not_found) {
      return std::unexpected(places.error());
    }
    if (!places && !first) first = places.error();
    if (!places) continue;
    for (const std::string& place : *places) {
      if (std::ranges::find(all, place) == all.end()) all.push_back(place);
    }
  }
  if (all.empty() && first) return std::unexpected(*first);
  return all;
}

}  // namespace dolmen::node
