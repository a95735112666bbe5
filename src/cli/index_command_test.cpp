// SPDX-License-Identifier: Apache-2.0
//
// dolmen index, beside a cluster that runs.
#include <algorithm>

#include "cli/up_test_tools.hpp"
#include "sys/linux/memory_room.hpp"

namespace {

using namespace dolmen::cli::test;

class IndexCommand : public UpCluster {};

TEST_F(IndexCommand, AnIndexIsMadeListedAndUsed) {
  begin(up("cluster"));
  ASSERT_TRUE(until([&] { return fs::exists(path("cluster/keys/client-1.key")); }));
  ASSERT_TRUE(has_groups(1)) << read_file(path("up.err"));
  const auto index = [&](const std::string& what, std::vector<std::string> words) {
    words.insert(words.begin(), {"index", what, address()});
    return dolmen(words);
  };
  EXPECT_EQ(index("ls", {"--json"}).json(), Json::array());
  expect_error(index("get", {"people", "ada"}), kFailed, "an index called people");
  const std::vector<std::string> sizes{"people", "--shards",     "2", "--bucket-mib",
                                       "1",      "--record-mib", "1"};
  EXPECT_EQ(index("create", sizes).out, "index people is there\n");
  std::vector<std::string> again = sizes;
  again.emplace_back("--json");
  EXPECT_EQ(without_commit(index("create", again).json(), 1),
            (Json{{"name", "people"}, {"shards", 2}}));
  again[2] = "3";
  expect_error(index("create", again), kFailed, "already_exists");
  expect_error(index("create", {"peo/ple"}), kFailed, "an index's name");
  ASSERT_TRUE(has_groups(3));
  // What no node has memory for is not begun, and the name stays free.
  if (std::uint64_t{30} << 30 > dolmen::sys::linux_env().process->machine_bytes()) {
    const std::vector<std::string> huge{"huge", "--record-mib", "30720"};
    expect_error(index("create", huge), kFailed, "out_of_memory: each shard is a table of");
  }
  // Three nodes of one host share its memory, and so do all shards: each alone would have room.
  const auto room = dolmen::sys::room_in_memory("/dev/shm");
  ASSERT_TRUE(room);
  const std::uint64_t part_mib = std::clamp<std::uint64_t>(*room >> 26, 1, 32'000);
  expect_error(index("create", {"wide", "--shards", "32", "--bucket-mib", "1", "--record-mib",
                                std::to_string(part_mib)}),
               kFailed, host() + " would need ");
  EXPECT_FALSE(dolmen({"status", address()}).out.contains("wide"));
  // Without what is looked at beside it.
  const auto listed = [&] {
    Json rows = index("ls", {"--json"}).json();
    for (Json& row : rows) {
      std::uint64_t keys = 0;
      std::uint64_t used = 0;
      std::uint64_t bytes = 0;
      EXPECT_EQ(row["shards"].size(), row["groups"].size());
      for (std::size_t i = 0; i < row["shards"].size(); ++i) {
        const Json& shard = row["shards"][i];
        EXPECT_EQ(shard["group"], row["groups"][i]);
        EXPECT_GT(shard["table_bytes_used"], 0);
        EXPECT_GE(shard["record_bytes_used"], shard["record_bytes_live"]);
        keys += shard["keys"].get<std::uint64_t>();
        used += shard["table_bytes_used"].get<std::uint64_t>();
        used += shard["record_bytes_used"].get<std::uint64_t>();
        bytes += shard["table_bytes"].get<std::uint64_t>();
        bytes += shard["record_bytes"].get<std::uint64_t>();
      }
      EXPECT_EQ(row["keys"], keys);
      EXPECT_EQ(row["bytes_used"], used);
      EXPECT_EQ(row["bytes"], bytes);
      EXPECT_LT(used, bytes);
      for (const char* const of_all : {"bytes_used", "bytes", "shards"}) row.erase(of_all);
    }
    return rows;
  };
  EXPECT_EQ(
      listed(),
      (Json::array({{{"name", "people"}, {"ordered", false}, {"groups", {2, 3}}, {"keys", 0}}})));
  const std::string table = index("ls", {}).out;
  EXPECT_NE(table.find("people"), std::string::npos);
  EXPECT_NE(table.find("4.0 MiB"), std::string::npos) << table;
  const Json whole = status();
  for (const std::size_t shard : {1u, 2u}) {
    EXPECT_EQ(whole["groups"][shard]["kind"], "index");
    EXPECT_EQ(whole["groups"][shard]["name"], "people/" + std::to_string(shard - 1));
  }
  expect_error(index("get", {"people", "ada"}), kFailed, "the key is not there");
  EXPECT_EQ(index("get", {"people", "ada", "--json"}).json(),
            (Json{{"key", "ada"}, {"value", nullptr}}));
  EXPECT_EQ(without_commit(index("put", {"people", "ada", "1815", "--json"}).json()),
            (Json{{"key", "ada"}, {"created", true}}));
  EXPECT_EQ(index("put", {"people", "ada", "10.12.1815"}).out, "replaced\n");
  EXPECT_EQ(index("get", {"people", "ada"}).out, "10.12.1815\n");
  EXPECT_EQ(index("get", {"people", "ada", "--json"}).json(),
            (Json{{"key", "ada"}, {"value", "10.12.1815"}}));
  EXPECT_EQ(index("erase", {"people", "ada"}).out, "erased\n");
  EXPECT_EQ(without_commit(index("erase", {"people", "ada", "--json"}).json()),
            (Json{{"key", "ada"}, {"erased", false}}));
  expect_error(index("scan", {"people"}), kFailed, "an index without an order");

  // One with an order, of three shards.
  std::vector<std::string> ordered{"names",      "--ordered", "--split",      "g", "--split", "p",
                                   "--node-mib", "1",         "--record-mib", "1", "--json"};
  EXPECT_EQ(without_commit(index("create", ordered).json(), 1),
            (Json{{"name", "names"}, {"shards", 3}}));
  EXPECT_EQ(without_commit(index("create", ordered).json(), 1),
            (Json{{"name", "names"}, {"shards", 3}}));
  ordered[3] = "h";
  expect_error(index("create", ordered), kFailed, "already_exists");
  ordered[3] = "q";
  expect_error(index("create", ordered), kFailed, "splits of an index");
  ASSERT_TRUE(has_groups(6));
  EXPECT_EQ(index("put", {"people", "grace", "1906"}).out, "created\n");
  EXPECT_EQ(
      listed(),
      (Json::array({{{"name", "names"}, {"ordered", true}, {"groups", {4, 5, 6}}, {"keys", 0}},
                    {{"name", "people"}, {"ordered", false}, {"groups", {2, 3}}, {"keys", 1}}})));
  for (const std::string key : {"zuse", "ada", "grace", "kurt"}) {
    EXPECT_EQ(index("put", {"names", key, "of " + key}).out, "created\n");
  }
  EXPECT_EQ(index("put", {"names", "kurt", "a\nb"}).out, "replaced\n");
  EXPECT_EQ(index("get", {"names", "zuse"}).out, "of zuse\n");
  const Outcome all = index("scan", {"names"});
  EXPECT_EQ(all.out, "ada\tof ada\ngrace\tof grace\nkurt\ta\\nb\nzuse\tof zuse\n");
  EXPECT_EQ(all.err, "");
  EXPECT_EQ(index("scan", {"names", "--backward", "--from", "b", "--to", "zuse"}).out,
            "kurt\ta\\nb\ngrace\tof grace\n");
  const Outcome some = index("scan", {"names", "--limit", "1"});
  EXPECT_EQ(some.out, "ada\tof ada\n");
  EXPECT_NE(some.err.find("more entries"), std::string::npos) << some.err;
  EXPECT_EQ(
      index("scan", {"names", "--from", "h", "--limit", "1", "--json"}).json(),
      (Json{{"entries", Json::array({{{"key", "kurt"}, {"value", "a\nb"}}})}, {"is_last", false}}));
  EXPECT_EQ(index("erase", {"names", "kurt"}).out, "erased\n");
  EXPECT_EQ(listed()[0]["keys"], 3);
  EXPECT_EQ(index("scan", {"names", "--from", "h", "--json"}).json(),
            (Json{{"entries", Json::array({{{"key", "zuse"}, {"value", "of zuse"}}})},
                  {"is_last", true}}));
  EXPECT_EQ(terminate(), kOk) << read_file(path("up.err"));
}

TEST_F(IndexCommand, IndexCommandsHaveHelpAndRefuseWhatTheyDoNotKnow) {
  ASSERT_EQ(dolmen({"cluster", "init", "keys"}).exit, kOk);
  const std::string nobody = "dolmen://127.0.0.1:1?identity=" + path("keys/client-1.key");
  for (const std::string what : {"create", "ls", "get", "put", "erase", "scan"}) {
    const Outcome help = dolmen({"index", what, "--help"});
    EXPECT_EQ(help.exit, kOk);
    EXPECT_NE(help.out.find("Example:\n  dolmen index " + what), std::string::npos) << help.out;
    EXPECT_NE(help.out.find("--json"), std::string::npos) << help.out;
    EXPECT_EQ(dolmen({"index", what}).exit, kUsage) << "ADDRESS is required";
    std::vector<std::string> words{"index", what, nobody};
    if (what != "ls") words.emplace_back("people");
    if (what == "get" || what == "put" || what == "erase") words.emplace_back("ada");
    if (what == "put") words.emplace_back("1815");
    words.insert(words.end(), {"--patience", "0.1"});
    expect_error(dolmen(words), kFailed, "no node of the cluster answered at 127.0.0.1:1");
  }
  EXPECT_EQ(dolmen({"index"}).exit, kUsage);
  expect_error(dolmen({"index", "create", nobody, "people", "--shards", "257"}), kUsage,
               "; see dolmen index create --help");
  EXPECT_EQ(dolmen({"index", "create", nobody, "people", "--size", "0"}).exit, kUsage);
  const std::vector<std::vector<std::string>> not_together{{"--split", "k"},
                                                           {"--node-mib", "2"},
                                                           {"--ordered", "--shards", "2"},
                                                           {"--ordered", "--bucket-mib", "2"}};
  for (const auto& options : not_together) {
    std::vector<std::string> words{"index", "create", nobody, "people"};
    words.insert(words.end(), options.begin(), options.end());
    EXPECT_EQ(dolmen(words).exit, kUsage) << options.front();
  }
}

}  // namespace
