// SPDX-License-Identifier: Apache-2.0
//
// dolmen index: the indexes that a cluster keeps (dolmen/index.hpp, docs/index.md), and those of
// them that have an order (dolmen/ordered_index.hpp, docs/ordered-index.md).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <dolmen/cluster.hpp>

#include "cli/command.hpp"
#include "cli/commit_json.hpp"
#include "cli/demo_screen.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace {

struct IndexWords {
  std::string address;  ///< of a cluster: dolmen://…
  std::string name;
  std::string key;
  std::string value;
  std::uint32_t shards = 1;
  std::uint32_t size = 3;
  std::uint64_t bucket_mib = 16;
  std::uint64_t record_mib = 64;
  bool is_ordered = false;
  std::uint64_t node_mib = 64;
  std::vector<std::string> splits;
  std::string from;
  std::optional<std::string> to;
  std::uint64_t limit = 100;
  bool is_backward = false;
  double patience_s = 10;
  bool json = false;
};

std::uint64_t clock_ns() { return sys::linux_env().clock->monotonic_ns(); }

/// What several calls may take together.
class Deadline {
 public:
  explicit Deadline(const IndexWords& words)
      // Written so that what is no number is none.
      : end_ns_(clock_ns() +
                (words.patience_s > 0 ? static_cast<std::uint64_t>(words.patience_s * 1e9) : 0)) {}
  [[nodiscard]] std::chrono::milliseconds left() const {
    const std::uint64_t now = clock_ns();
    return std::chrono::milliseconds(now < end_ns_ ? (end_ns_ - now) / 1'000'000 : 0);
  }

 private:
  std::uint64_t end_ns_;
};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string string_of(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += static_cast<char>(byte);
  return text;
}

Result<void> make_index(Cluster& cluster, const IndexWords& words, const Deadline& deadline) {
  if (!words.is_ordered) {
    return cluster.create_index(
        words.name, words.shards, words.size,
        {.bucket_bytes = words.bucket_mib << 20, .record_bytes = words.record_mib << 20},
        deadline.left());
  }
  std::vector<OrderedIndex::Value> splits;
  for (const std::string& split : words.splits) {
    const auto bytes = bytes_of(split);
    splits.emplace_back(bytes.begin(), bytes.end());
  }
  return cluster.create_ordered_index(
      words.name, splits, words.size,
      {.node_bytes = words.node_mib << 20, .record_bytes = words.record_mib << 20},
      deadline.left());
}

int create_index(const IndexWords& words) {
  const Deadline deadline(words);
  auto cluster = Cluster::open(words.address, deadline.left());
  if (!cluster) return failed(cluster.error());
  const auto made = make_index(*cluster, words, deadline);
  if (!made) return failed(made.error());
  if (words.json) {
    const std::size_t shards = words.is_ordered ? words.splits.size() + 1 : words.shards;
    print_json({{"name", words.name}, {"shards", shards}, {"commit", commit_of(*cluster)}});
  } else {
    std::printf("index %s is there\n", words.name.c_str());
  }
  return kOk;
}

Result<IndexStats> stats_of(Cluster& cluster, const std::string& name, bool is_ordered,
                            std::chrono::milliseconds patience) {
  if (!is_ordered) {
    DOLMEN_TRY(Index index, cluster.index(name, {}, patience));
    return index.stats(patience);
  }
  DOLMEN_TRY(OrderedIndex index, cluster.ordered_index(name, {}, patience));
  return index.stats(patience);
}

int list_indexes(const IndexWords& words) {
  const Deadline deadline(words);
  auto cluster = Cluster::open(words.address, deadline.left());
  if (!cluster) return failed(cluster.error());
  const auto status = cluster->status(deadline.left());
  if (!status) return failed(status.error());
  // Shards are called "name/0", "name/1", …
  struct Found {
    bool is_ordered = false;
    std::vector<std::uint32_t> groups{};
  };
  std::map<std::string, Found> found;
  for (const ClusterStatus::Group& group : status->groups) {
    const std::size_t mark = group.name.find('/');
    if (group.kind != "index" || mark == std::string::npos) continue;
    Found& one = found[group.name.substr(0, mark)];
    one.is_ordered = group.is_ordered;
    one.groups.push_back(group.number);
  }
  std::optional<Error> unknown;  // of the first one that does not say how full it is
  Json rows = Json::array();
  if (!words.json) {
    std::printf("%s%s%s%s%s%s\n", column("NAME", 24).c_str(), column("SHARDS", 8).c_str(),
                column("ORDER", 8).c_str(), column("KEYS", 14).c_str(), column("USED", 12).c_str(),
                "OF");
  }
  std::size_t left = found.size();
  for (const auto& [name, one] : found) {
    // However many do not answer, the others have their part of what is left.
    const auto stats =
        stats_of(*cluster, name, one.is_ordered, deadline.left() / static_cast<int>(left--));
    if (!stats && !unknown) unknown = stats.error();
    std::uint64_t used = 0;
    std::uint64_t bytes = 0;
    Json shards = Json::array();
    for (std::size_t i = 0; stats && i < stats->shards.size(); ++i) {
      const IndexShardStats& shard = stats->shards[i];
      used += shard.table_bytes_used + shard.record_bytes_used;
      bytes += shard.table_bytes + shard.record_bytes;
      shards.push_back({{"group", shard.group},
                        {"keys", shard.keys},
                        {"table_bytes_used", shard.table_bytes_used},
                        {"table_bytes", shard.table_bytes},
                        {"record_bytes_live", shard.record_bytes_live},
                        {"record_bytes_used", shard.record_bytes_used},
                        {"record_bytes", shard.record_bytes}});
    }
    if (words.json) {
      const auto known = [&](std::uint64_t figure) { return stats ? Json(figure) : Json(nullptr); };
      rows.push_back({{"name", name},
                      {"ordered", one.is_ordered},
                      {"groups", one.groups},
                      {"keys", known(stats ? stats->keys() : 0)},
                      {"bytes_used", known(used)},
                      {"bytes", known(bytes)},
                      {"shards", shards}});
      continue;
    }
    const std::string keys = stats ? std::to_string(stats->keys()) : "-";
    std::printf("%s%s%s%s%s%s\n", column(shown(name), 24).c_str(),
                column(std::to_string(one.groups.size()), 8).c_str(),
                column(one.is_ordered ? "ordered" : "none", 8).c_str(), column(keys, 14).c_str(),
                column(stats ? size_text(used) : "-", 12).c_str(),
                stats ? size_text(bytes).c_str() : "-");
  }
  if (words.json) print_json(rows);
  return unknown ? failed(*unknown) : kOk;
}

/// With the index, of either kind, and what is left of the time.
template <class Body>
int with_index(const IndexWords& words, const Body& body) {
  const Deadline deadline(words);
  auto cluster = Cluster::open(words.address, deadline.left());
  if (!cluster) return failed(cluster.error());
  auto index = cluster->index(words.name, {}, deadline.left());
  if (index) return body(*index, deadline);
  if (index.error().code() != Errc::wrong_type) return failed(index.error());
  auto ordered = cluster->ordered_index(words.name, {}, deadline.left());
  if (!ordered) return failed(ordered.error());
  return body(*ordered, deadline);
}

int get_key(const IndexWords& words) {
  return with_index(words, [&](auto& index, const Deadline& deadline) -> int {
    const auto got = index.get(bytes_of(words.key), deadline.left());
    if (!got) return failed(got.error());
    if (!*got && !words.json) return failed("the key is not there");
    const std::string value = *got ? string_of(**got) : std::string();
    if (words.json) {
      print_json({{"key", words.key}, {"value", *got ? Json(value) : Json(nullptr)}});
    } else {
      // As it is: it may be a program that reads it.
      std::fwrite(value.data(), 1, value.size(), stdout);
      std::fputc('\n', stdout);
    }
    return kOk;
  });
}

int put_key(const IndexWords& words) {
  return with_index(words, [&](auto& index, const Deadline& deadline) -> int {
    const auto made = index.put(bytes_of(words.key), bytes_of(words.value), deadline.left());
    if (!made) return failed(made.error());
    if (words.json) {
      print_json({{"key", words.key}, {"created", *made}, {"commit", commit_of(index)}});
    } else {
      std::printf("%s\n", *made ? "created" : "replaced");
    }
    return kOk;
  });
}

int erase_key(const IndexWords& words) {
  return with_index(words, [&](auto& index, const Deadline& deadline) -> int {
    const auto erased = index.erase(bytes_of(words.key), deadline.left());
    if (!erased) return failed(erased.error());
    if (words.json) {
      print_json({{"key", words.key}, {"erased", *erased}, {"commit", commit_of(index)}});
    } else {
      std::printf("%s\n", *erased ? "erased" : "it was not there");
    }
    return kOk;
  });
}

int scan_index(const IndexWords& words) {
  const Deadline deadline(words);
  auto cluster = Cluster::open(words.address, deadline.left());
  if (!cluster) return failed(cluster.error());
  auto index = cluster->ordered_index(words.name, {}, deadline.left());
  if (!index) return failed(index.error());
  std::string from = words.from;
  std::optional<std::string> to = words.to;
  Json entries = Json::array();
  std::uint64_t left = words.limit;
  for (bool is_last = false;;) {
    OrderedIndex::Range range{.from = bytes_of(from), .is_backward = words.is_backward};
    if (to) range.to = bytes_of(*to);
    const auto page = index->scan(range, left, OrderedIndex::Moment::each, deadline.left());
    if (!page) return failed(page.error());
    for (const OrderedIndex::Entry& entry : page->entries) {
      const std::string key = string_of(entry.key);
      const std::string value = string_of(entry.value);
      if (words.json) {
        entries.push_back({{"key", key}, {"value", value}});
      } else {
        std::printf("%s\t%s\n", shown(key).c_str(), shown(value).c_str());
      }
    }
    left -= page->entries.size();
    is_last = page->is_last;
    if (is_last || left == 0) {
      if (words.json) {
        print_json({{"entries", std::move(entries)}, {"is_last", is_last}});
      } else if (!is_last) {
        std::fprintf(stderr, "dolmen: there are more entries than --limit\n");
      }
      return kOk;
    }
    const std::string last = string_of(page->entries.back().key);
    if (words.is_backward) {
      to = last;
    } else {
      from = last + '\0';
    }
  }
}

}  // namespace

void add_index(CLI::App& app, Chosen& chosen) {
  constexpr double kLongestS = 1e6;
  auto words = std::make_shared<IndexWords>();
  CLI::App* const index =
      add_commands(app, "index", "indexes that a cluster keeps",
                   std::string("dolmen index create ") + kExampleCluster + " people --shards 4");
  const auto add_one = [&](const char* name, const char* description, const char* example,
                           int (*run)(const IndexWords&)) {
    CLI::App* const command = add_command(
        *index, name, description,
        std::string("dolmen index ") + name + " " + kExampleCluster + example, words->json);
    add_cluster_address(*command, words->address);
    command->add_option("--patience", words->patience_s, "seconds that it may take")
        ->check(number_between(0.0, kLongestS))
        ->capture_default_str();
    command->callback([words, run, &chosen] { chosen.run = [words, run] { return run(*words); }; });
    return command;
  };
  const auto add_key = [&](CLI::App* command) {
    command->add_option("NAME", words->name, "the index's name")->required();
    command->add_option("KEY", words->key, "the key, as text")->required();
    return command;
  };
  constexpr std::uint64_t kMostMib = 32u << 10;
  CLI::App* const create =
      add_one("create", "let nodes of a cluster keep an index", " people --shards 4", create_index);
  create->add_option("NAME", words->name, "the index's name")->required();
  CLI::Option* const ordered =
      create->add_flag("--ordered", words->is_ordered, "keys are in the order of their bytes");
  create->add_option("--shards", words->shards, "into how many groups its keys are spread")
      ->check(CLI::Range(1, 256))
      ->excludes(ordered)
      ->capture_default_str();
  create
      ->add_option("--split", words->splits,
                   "first key of the next shard of an ordered one; as often as there are splits")
      ->allow_extra_args(false)
      ->needs(ordered);
  create->add_option("--size", words->size, "how many nodes keep each")
      ->check(group_size())
      ->capture_default_str();
  create->add_option("--bucket-mib", words->bucket_mib, "memory of each for finding keys, in MiB")
      ->check(CLI::Range(std::uint64_t{1}, kMostMib))
      ->excludes(ordered)
      ->capture_default_str();
  create
      ->add_option("--node-mib", words->node_mib,
                   "… of an ordered one: for keys and values of up to 256 bytes, in MiB")
      ->check(CLI::Range(std::uint64_t{1}, kMostMib))
      ->needs(ordered)
      ->capture_default_str();
  create->add_option("--record-mib", words->record_mib, "… for keys and values")
      ->check(CLI::Range(std::uint64_t{1}, kMostMib))
      ->capture_default_str();
  (void)add_one("ls", "the indexes of a cluster, and how full they are", "", list_indexes);
  (void)add_key(add_one("get", "the value of a key", " people ada", get_key));
  CLI::App* const put = add_key(add_one("put", "give a key a value", " people ada 1815", put_key));
  put->add_option("VALUE", words->value, "the value, as text")->required();
  (void)add_key(add_one("erase", "take a key away", " people ada", erase_key));
  CLI::App* const scan = add_one("scan", "keys and values of a range of an ordered index",
                                 " names --from ada --limit 10", scan_index);
  scan->add_option("NAME", words->name, "the index's name")->required();
  scan->add_option("--from", words->from, "the first key that is meant");
  scan->add_option("--to", words->to, "the first one that is not");
  scan->add_option("--limit", words->limit, "at most so many")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40))
      ->capture_default_str();
  scan->add_flag("--backward", words->is_backward, "the last ones first");
}

}  // namespace dolmen::cli
