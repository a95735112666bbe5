// SPDX-License-Identifier: Apache-2.0
//
// Damaged spaces: the commands name the place and end with exit code 3, and none of them crashes.
#include <cstring>
#include <functional>

#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "cli/command_test_tools.hpp"

namespace {

using namespace dolmen::cli::test;

constexpr std::uint64_t kMark = 0x1122334455667788;

struct Numbers {
  dolmen::vector<std::uint64_t> numbers;
};

struct Device {
  std::uint64_t handle;
};

class Damage : public CliTest {
 protected:
  /// "numbers" in the checkpoint, and one more commit in the log.
  void SetUp() override {
    dolmen::Space space = writer("web.dolmen");
    const auto numbers = space.create<Numbers>("numbers").value();
    id_ = numbers.id().to_string();
    space.transact(numbers, [](dolmen::mut<Numbers> n) { n->numbers.resize(20'000, kMark); })
        .value();
    ASSERT_TRUE(space.checkpoint());
    space.transact(numbers, [](dolmen::mut<Numbers> n) { n->numbers.resize(20'001, ~kMark); })
        .value();
    ASSERT_TRUE(space.close());
  }
  [[nodiscard]] std::size_t find(const std::string& file, std::uint64_t word,
                                 std::size_t from = 0) const {
    char bytes[8];
    std::memcpy(bytes, &word, 8);
    return read_file(path("web.dolmen/" + file)).find(std::string(bytes, 8), from);
  }
  void flip(const std::string& file, std::size_t at) const {
    std::fstream stream(path("web.dolmen/" + file),
                        std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(at));
    const int byte = stream.get();
    ASSERT_NE(byte, EOF) << file;
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(static_cast<char>(byte ^ 0x10));
  }
  /// The segment that holds the last commit.
  [[nodiscard]] std::pair<std::string, std::size_t> last_commit() const {
    for (const auto& entry : fs::directory_iterator(path("web.dolmen/log"))) {
      const std::string file = "log/" + entry.path().filename().string();
      const std::size_t at = find(file, ~kMark);
      if (at != std::string::npos) return {file, at};
    }
    return {};
  }
  std::string id_;
};

TEST_F(Damage, ASoundSpaceHasNone) {
  for (const std::string command : {"check", "scrub"}) {
    EXPECT_EQ(dolmen({command, "web.dolmen"}).exit, kOk);
  }
  EXPECT_EQ(dolmen({"check", "web.dolmen", "--json"}).json()["findings"], Json::array());
  EXPECT_EQ(dolmen({"scrub", "web.dolmen", "--json"}).json()["damage"], Json::array());
}

TEST_F(Damage, OfAPageIsNamedWithObjectPageAndBlock) {
  const std::size_t at = find("pages", kMark, read_file(path("web.dolmen/pages")).size() / 2);
  ASSERT_NE(at, std::string::npos);
  flip("pages", at);
  const Outcome scrub = dolmen({"scrub", "web.dolmen"});
  EXPECT_EQ(scrub.exit, kDamaged);
  EXPECT_NE(scrub.out.find("damaged: "), std::string::npos) << scrub.out;
  EXPECT_NE(scrub.out.find("of object " + id_), std::string::npos) << scrub.out;
  const Json report = dolmen({"scrub", "web.dolmen", "--json"}).json();
  ASSERT_EQ(report["damage"].size(), 1u);
  const Json& damage = report["damage"][0];
  EXPECT_EQ(damage["what"], "page");
  EXPECT_EQ(damage["file"], "pages");
  EXPECT_EQ(damage["bytes"], 4096);
  EXPECT_EQ(damage["offset"], at / 4096 * 4096) << "the page that the flipped byte is in";
  EXPECT_EQ(damage["object"], id_);
  EXPECT_GT(damage["page"], 0);
  const std::string where = damage["where"];
  EXPECT_NE(scrub.out.find("damaged: " + where + "\n"), std::string::npos) << scrub.out;
  EXPECT_NE(where.find("page " + damage["page"].dump() + " of object " + id_), std::string::npos);
  EXPECT_NE(where.find("byte " + damage["offset"].dump() + " of pages"), std::string::npos);
  EXPECT_NE(where.find("block "), std::string::npos);

  const Outcome check = dolmen({"check", "web.dolmen", "--json"});
  EXPECT_EQ(check.exit, kDamaged);
  const Json findings = check.json()["findings"];
  ASSERT_FALSE(findings.empty());
  EXPECT_EQ(findings[0]["object"], id_);
  EXPECT_EQ(findings[0]["what"], "unreadable");

  expect_error(dolmen({"inspect", "web.dolmen", "numbers", "--limit", "100000"}), kDamaged, id_);
  expect_error(dolmen({"dump", "web.dolmen", "web.dump"}), kDamaged, id_);
  EXPECT_FALSE(fs::exists(path("web.dump")));
  for (const auto& entry : fs::directory_iterator(root_)) {
    EXPECT_FALSE(entry.path().filename().string().starts_with("web.dump")) << entry.path();
  }
}

TEST_F(Damage, AnAddressInAnObjectIsNamedByCheckWithItsField) {
  {
    dolmen::Space space = writer("web.dolmen");
    const auto device = space.create<Device>("device").value();
    space
        .transact(device,
                  [&](dolmen::mut<Device> d) { d->handle = reinterpret_cast<std::uintptr_t>(&d); })
        .value();
    ASSERT_TRUE(space.close());
  }
  const Outcome check = dolmen({"check", "web.dolmen"});
  EXPECT_EQ(check.exit, kDamaged) << check.err;
  EXPECT_NE(check.out.find("absolute address"), std::string::npos) << check.out;
  EXPECT_NE(check.out.find("Device.handle at offset"), std::string::npos) << check.out;
  const Json findings = dolmen({"check", "web.dolmen", "--json"}).json()["findings"];
  ASSERT_EQ(findings.size(), 1u) << findings;
  EXPECT_EQ(findings[0]["what"], "absolute address");
  EXPECT_EQ(dolmen({"scrub", "web.dolmen"}).exit, kOk) << "the bytes are as they were written";
}

TEST_F(Damage, OfTheLogIsNamedWithSegmentAndByte) {
  const auto [file, at] = last_commit();
  ASSERT_FALSE(file.empty());
  flip(file, at);
  const std::string segment = "log segment " + std::to_string(std::stoul(file.substr(4)));
  for (const std::string command : {"check", "scrub", "ls", "stat", "dump"}) {
    expect_error(dolmen({command, "web.dolmen"}), kDamaged, segment);
  }
}

TEST_F(Damage, OfOneRootSlotIsSurvivedAndNamedByScrub) {
  for (int slot = 0; slot < 4; ++slot) {
    flip("space", static_cast<std::size_t>(slot) * 4096 + 100);
    const Outcome scrub = dolmen({"scrub", "web.dolmen"});
    EXPECT_EQ(scrub.exit, kDamaged) << slot;
    EXPECT_NE(scrub.out.find("damaged: space: root slot " + std::to_string(slot)),
              std::string::npos)
        << scrub.out << scrub.err;
    const Json damage = dolmen({"scrub", "web.dolmen", "--json"}).json()["damage"];
    ASSERT_EQ(damage.size(), 1u) << damage;
    EXPECT_EQ(damage[0]["what"], "root slot");
    EXPECT_EQ(damage[0]["file"], "space");
    EXPECT_EQ(damage[0]["offset"], slot * 4096);
    EXPECT_EQ(damage[0]["object"], nullptr);
    EXPECT_EQ(dolmen({"ls", "web.dolmen"}).exit, kOk) << slot;
    flip("space", static_cast<std::size_t>(slot) * 4096 + 100);
  }
  EXPECT_EQ(dolmen({"scrub", "web.dolmen"}).exit, kOk);
}

TEST_F(Damage, OfTheRootIsAnError) {
  for (std::size_t slot = 0; slot < 4; ++slot) flip("space", slot * 4096 + 100);
  for (const std::string command : {"check", "scrub", "ls", "stat", "dump"}) {
    expect_error(dolmen({command, "web.dolmen"}), kDamaged, "root slot");
  }
}

TEST_F(Damage, OfAnyKindNeverCrashesACommand) {
  // Cut files, and bytes changed all over them.
  fs::copy(path("web.dolmen"), path("kept"), fs::copy_options::recursive);
  const auto spoilt = [&](const std::string& file, const std::function<void()>& spoil) {
    fs::remove_all(path("web.dolmen"));
    fs::copy(path("kept"), path("web.dolmen"), fs::copy_options::recursive);
    spoil();
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"ls", "web.dolmen", "--all"},
          std::vector<std::string>{"check", "web.dolmen"},
          std::vector<std::string>{"scrub", "web.dolmen"},
          std::vector<std::string>{"dump", "web.dolmen", "/dev/null"}}) {
      const Outcome run = dolmen(words);
      EXPECT_EQ(run.signal, 0) << file << words[0] << run.err;
      EXPECT_TRUE(run.exit == kOk || run.exit == kFailed || run.exit == kDamaged)
          << file << words[0] << run.exit;
      if (run.exit != kOk) {
        EXPECT_NE(run.err + run.out, "");
      }
    }
  };
  for (const std::string file : {"space", "pages"}) {
    const std::size_t size = fs::file_size(path("kept/" + file));
    spoilt(file, [&] { fs::resize_file(path("web.dolmen/" + file), 0); });
    spoilt(file, [&] { fs::resize_file(path("web.dolmen/" + file), size / 2); });
    spoilt(file, [&] { fs::remove(path("web.dolmen/" + file)); });
    for (std::size_t at = 8; at < size; at += size / 3) spoilt(file, [&] { flip(file, at); });
  }
  spoilt("log", [&] { fs::remove_all(path("web.dolmen/log")); });
}

}  // namespace
