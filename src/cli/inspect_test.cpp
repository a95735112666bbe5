// SPDX-License-Identifier: Apache-2.0
//
// What inspect and tree show: values by field name of everything that a struct can hold, limits,
// and graphs with circles.
#include <dolmen/hash_map.hpp>
#include <dolmen/ordered_map.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "cli/command_test_tools.hpp"

namespace {

using namespace dolmen::cli::test;

enum class Colour : std::uint8_t { red = 3, green = 4 };

struct Point {
  double x;
  double y;
};
struct Inner {
  Point at;
  std::uint16_t counts[3];
  Colour colour;
  bool set;
  char code[8];
};
struct Leaf {
  std::int64_t value;
  dolmen::ptr<Leaf> next;
};
struct Everything {
  Inner inner;
  std::int32_t negative;
  float fraction;
  dolmen::string text;
  dolmen::string long_text;
  dolmen::vector<std::uint64_t> numbers;
  dolmen::vector<Point> points;
  dolmen::hash_map<dolmen::string, std::uint64_t> by_name;
  dolmen::ordered_map<std::uint32_t, dolmen::vector<Point>> by_number;
  dolmen::ptr<Leaf> near;
  dolmen::ptr<Leaf> far;
  dolmen::link<Leaf> linked;
  dolmen::ptr<Leaf> nowhere;
};
struct Deep {
  dolmen::vector<dolmen::vector<dolmen::vector<std::uint64_t>>> levels;
};
struct Ring {
  dolmen::ptr<Ring> next;
};

class Inspect : public CliTest {
 protected:
  void SetUp() override {
    dolmen::Space space = writer("web.dolmen");
    const auto all = space.create<Everything>("all").value();
    const auto leaf = space.create<Leaf>("leaf").value();
    all_ = all.id().to_string();
    leaf_ = leaf.id().to_string();
    space
        .transact(all, leaf,
                  [](dolmen::mut<Everything> e, dolmen::mut<Leaf> l) {
                    e->inner.at = {1.5, -2};
                    for (std::uint16_t i = 0; i < 3; ++i) e->inner.counts[i] = i;
                    e->inner.colour = Colour::green;
                    e->inner.set = true;
                    std::memcpy(e->inner.code, "abc", 3);
                    e->negative = -7;
                    e->fraction = 0.25f;
                    e->text = "a \"quoted\"\ttext";
                    e->long_text = std::string(5000, 'x');
                    for (std::uint64_t i = 0; i < 30; ++i) e->numbers.push_back(i);
                    e->points.push_back({3, 4});
                    e->by_name.insert_or_assign("one", 1);
                    e->by_name.insert_or_assign("two", 2);
                    dolmen::vector<Point> some;
                    some.push_back({5, 6});
                    e->by_number.insert_or_assign(9, some);
                    e->near = dolmen::make<Leaf>(e, 11, nullptr);
                    l->value = 12;
                    e->far = l;
                    e->linked = dolmen::link<Leaf>(l);
                  })
        .value();
  }
  [[nodiscard]] Json value(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"inspect", "web.dolmen", "all", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return dolmen(words).json()["value"];
  }
  std::string all_;
  std::string leaf_;
};

TEST_F(Inspect, ShowsValuesByFieldName) {
  const Json v = value();
  EXPECT_EQ(v["inner"], (Json{{"at", {{"x", 1.5}, {"y", -2.0}}},
                              {"counts", {0, 1, 2}},
                              {"colour", 4},
                              {"set", true},
                              {"code", "abc"}}));
  EXPECT_EQ(v["negative"], -7);
  EXPECT_EQ(v["fraction"], 0.25);
  EXPECT_EQ(v["text"], "a \"quoted\"\ttext");
  EXPECT_EQ(v["points"], (Json::array({{{"x", 3.0}, {"y", 4.0}}})));
  EXPECT_EQ(v["by_name"], (Json{{"one", 1}, {"two", 2}}));
  EXPECT_EQ(v["by_number"]["9"], (Json::array({{{"x", 5.0}, {"y", 6.0}}})));
  EXPECT_EQ(v["nowhere"], nullptr);
  EXPECT_EQ(v["near"]["object"], all_);
  EXPECT_EQ(v["far"]["object"], leaf_);
  EXPECT_EQ(v["linked"], v["far"]);
  EXPECT_NE(std::string(v["far"]["type"]).find("Leaf"), std::string::npos);
}

TEST_F(Inspect, FollowsAPointerAsItIsShown) {
  const Json near = value()["near"];
  const Outcome run =
      dolmen({"inspect", "web.dolmen",
              all_ + ":" + std::to_string(near["offset"].get<std::uint64_t>()), "--json"});
  EXPECT_EQ(run.json()["value"]["value"], 11);
  EXPECT_EQ(run.json()["offset"], near["offset"]);
  EXPECT_EQ(dolmen({"inspect", "web.dolmen", leaf_, "--json"}).json()["value"]["value"], 12);
}

TEST_F(Inspect, ShortensWhatIsLongAndSaysHowMuchThereIs) {
  Json v = value();
  EXPECT_EQ(v["numbers"]["total"], 30);
  EXPECT_EQ(v["numbers"]["first"].size(), 20u);
  EXPECT_EQ(v["long_text"]["total"], 5000);
  EXPECT_EQ(v["long_text"]["first"], std::string(4096, 'x'));
  v = value({"--limit", "1"});
  EXPECT_EQ(v["by_name"]["total"], 2);
  EXPECT_EQ(v["by_name"]["first"].size(), 1u);
  EXPECT_EQ(value({"--limit", "100"})["numbers"].size(), 30u);
  expect_error(dolmen({"inspect", "web.dolmen", "all", "--limit", "-1"}), kUsage,
               "'-1' is no number from 0");
  const Outcome text = dolmen({"inspect", "web.dolmen", "all"});
  EXPECT_NE(text.out.find("\xE2\x80\xA6 10 more"), std::string::npos) << text.out;
}

TEST_F(Inspect, LeavesOutWhatLiesBelowTheDepth) {
  const Json v = value({"--depth", "1"});
  EXPECT_EQ(v["negative"], -7);
  EXPECT_EQ(v["text"], "a \"quoted\"\ttext");
  EXPECT_NE(std::string(v["inner"]["omitted"]).find("Inner"), std::string::npos);
  EXPECT_TRUE(v["by_name"].contains("omitted"));
  EXPECT_TRUE(value({"--depth", "2"})["inner"]["at"].contains("omitted"));
  EXPECT_EQ(value({"--depth", "3"})["inner"]["at"]["x"], 1.5);
  {
    dolmen::Space space = writer("web.dolmen");
    const auto deep = space.create<Deep>("deep").value();
    space
        .transact(deep,
                  [](dolmen::mut<Deep> d) {
                    dolmen::vector<std::uint64_t> low;
                    low.push_back(1);
                    dolmen::vector<dolmen::vector<std::uint64_t>> middle;
                    middle.push_back(low);
                    d->levels.push_back(middle);
                  })
        .value();
  }
  const auto shown = [&](const char* depth) {
    return dolmen({"inspect", "web.dolmen", "deep", "--json", "--depth", depth})
        .json()["value"]["levels"];
  };
  EXPECT_EQ(shown("16"), Json::parse("[[[1]]]"));
  EXPECT_TRUE(shown("3")[0][0].contains("omitted"));
}

TEST_F(Inspect, LosesNoEntryOfAMapWhoseKeysReadAlike) {
  {
    dolmen::Space space = writer("web.dolmen");
    const auto all = space.find<Everything>("all").value();
    space
        .transact(all,
                  [](dolmen::mut<Everything> e) {
                    e->by_name.insert_or_assign("\xFF", 3);
                    e->by_name.insert_or_assign("\xFE", 4);
                  })
        .value();
  }
  const Json map = value()["by_name"];
  ASSERT_TRUE(map.is_array()) << map;
  ASSERT_EQ(map.size(), 4u);
  std::uint64_t sum = 0;
  for (const Json& entry : map) sum += entry["value"].get<std::uint64_t>();
  EXPECT_EQ(sum, 1u + 2 + 3 + 4);
}

TEST_F(Inspect, IsSafeToShowOnATerminal) {
  {
    dolmen::Space space = writer("web.dolmen");
    const auto leaf = space.create<Leaf>("\x1b[31m\x07 name").value();
    (void)leaf;
  }
  for (const std::string command : {"ls", "check"}) {
    EXPECT_EQ(dolmen({command, "web.dolmen"}).out.find('\x1b'), std::string::npos) << command;
  }
}

TEST_F(Inspect, TreeEndsInGraphsWithCircles) {
  std::vector<std::string> ids;
  {
    dolmen::Space space = writer("web.dolmen");
    std::vector<dolmen::Object<Ring>> ring;
    for (int i = 0; i < 5; ++i) {
      ring.push_back(space.create<Ring>("ring " + std::to_string(i), {.capacity = 4096}).value());
      ids.push_back(ring.back().id().to_string());
    }
    space
        .transact(dolmen::any,
                  [&] {
                    for (std::size_t i = 0; i < 5; ++i) {
                      space.edit(ring[i])->next = space.root(ring[(i + 1) % 5]);
                    }
                  })
        .value();
  }
  const Json whole = dolmen({"tree", "web.dolmen", "ring 0", "--json"}).json();
  const Json* at = &whole;
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ((*at)["object"], ids[i]);
    ASSERT_EQ((*at)["references"].size(), 1u);
    at = &(*at)["references"][0];
  }
  EXPECT_EQ((*at)["object"], ids[0]);
  EXPECT_EQ((*at)["seen"], true);
  const Json cut = dolmen({"tree", "web.dolmen", "ring 0", "--depth", "2", "--json"}).json();
  EXPECT_EQ(cut["references"][0]["references"][0]["more"], 1);
  const Outcome text = dolmen({"tree", "web.dolmen", "ring 0"});
  EXPECT_EQ(text.exit, kOk);
  EXPECT_NE(text.out.find("(see above)"), std::string::npos) << text.out;
}

}  // namespace
