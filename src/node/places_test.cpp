// SPDX-License-Identifier: Apache-2.0
#include "node/places.hpp"

#include <map>

#include <gtest/gtest.h>

namespace dolmen::node {
namespace {

using Texts = std::vector<std::string>;

/// Knows a few names, and no way to anybody.
class NamesOnly final : public sys::Network {
 public:
  Result<Texts> resolve(const std::string& host) override {
    ++asked;
    const auto found = known.find(host);
    if (found == known.end()) return fail(Errc::not_found, interned("a host called " + host));
    return found->second;
  }
  Result<std::unique_ptr<sys::Listener>> listen(const sys::NetworkAddress&) override {
    return fail(Errc::unsupported);
  }
  Result<std::unique_ptr<sys::Socket>> connect(const sys::NetworkAddress&) override {
    return fail(Errc::unsupported);
  }
  Result<std::unique_ptr<sys::Poller>> make_poller() override { return fail(Errc::unsupported); }

  std::map<std::string, Texts> known{{"192.0.2.7", {"192.0.2.7"}},
                                     {"2001:db8::7", {"2001:db8::7"}},
                                     {"north", {"192.0.2.8", "2001:db8::8"}},
                                     {"south", {"192.0.2.9"}}};
  int asked = 0;
};

TEST(Places, NumbersStayAsTheyAreAndNamesBecomeNumbers) {
  NamesOnly network;
  EXPECT_EQ(places_of(network, "192.0.2.7:7400").value(), Texts{"192.0.2.7:7400"});
  EXPECT_EQ(places_of(network, "[2001:db8::7]:1").value(), Texts{"[2001:db8::7]:1"});
  EXPECT_EQ(places_of(network, "2001:db8::7:1").value(), Texts{"2001:db8::7:1"});
  EXPECT_EQ(places_of(network, "north:7400").value(),
            (Texts{"192.0.2.8:7400", "[2001:db8::8]:7400"}));
  EXPECT_EQ(place_of(network, "north:7400").value(), "192.0.2.8:7400");
  EXPECT_EQ(place_of_each(network, {"south:1", "192.0.2.7:2"}).value(),
            (Texts{"192.0.2.9:1", "192.0.2.7:2"}));
  EXPECT_EQ(place_of_each(network, {"south:1", "west:2"}).error().code(), Errc::not_found);
}

TEST(Places, WhatIsNoAddressIsNotLookedUp) {
  NamesOnly network;
  for (const std::string wrong :
       {"north", "north:", "north:0", ":7400", "north:70000", "no th:1"}) {
    EXPECT_EQ(places_of(network, wrong).error().code(), Errc::invalid_argument) << wrong;
  }
  EXPECT_EQ(network.asked, 0);
}

TEST(Places, ASeedThatIsNotKnownIsLeftOutWhileOthersAre) {
  NamesOnly network;
  EXPECT_EQ(seeds_of(network, {"west:1", "south:1", "192.0.2.9:1", "north:1"}).value(),
            (Texts{"192.0.2.9:1", "192.0.2.8:1", "[2001:db8::8]:1"}));
  const auto none = seeds_of(network, {"west:1", "east:1"});
  EXPECT_EQ(none.error().code(), Errc::not_found);
  EXPECT_EQ(none.error().context(), "a host called west");
  EXPECT_EQ(seeds_of(network, {"south:1", "north"}).error().code(), Errc::invalid_argument);
  EXPECT_TRUE(seeds_of(network, {}).value().empty());
}

}  // namespace
}  // namespace dolmen::node
