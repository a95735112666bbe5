// SPDX-License-Identifier: Apache-2.0
//
// dolmen index: the indexes that a cluster keeps (dolmen/index.hpp, docs/index.md).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <dolmen/cluster.hpp>

#include "cli/command.hpp"
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
  double patience_s = 10;
  bool json = false;
};

std::uint64_t clock_ns() { return sys::linux_env().clock->monotonic_ns(); }

/// What several calls may take together.
class Deadline {
 public:
  explicit Deadline(const IndexWords& words)
      // Written so that what is no number is none.
      : end_ns_(clock_ns() + (words.patience_s > 0
                                  ? static_cast<std::uint64_t>(words.patience_s * 1e9)
                                  : 0)) {}
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

int create_index(const IndexWords& words) {
  const Deadline deadline(words);
  auto cluster = Cluster::open(words.address, deadline.left());
  if (!cluster) return failed(cluster.error());
  const auto made = cluster->create_index(words.name, words.shards, words.size,
                                          {.bucket_bytes = words.bucket_mib << 20,
                                           .record_bytes = words.record_mib << 20},
                                          deadline.left());
  if (!made) return failed(made.error());
  if (words.json) {
    print_json({{"name", words.name}, {"shards", words.shards}});
  } else {
    std::printf("index %s is there\n", words.name.c_str());
  }
  return kOk;
}

int list_indexes(const IndexWords& words) {
  const Deadline deadline(words);
  auto cluster = Cluster::open(words.address, deadline.left());
  if (!cluster) return failed(cluster.error());
  const auto status = cluster->status(deadline.left());
  if (!status) return failed(status.error());
  // Shards are called "name/0", "name/1", …
  std::map<std::string, std::vector<std::uint32_t>> found;
  for (const ClusterStatus::Group& group : status->groups) {
    const std::size_t mark = group.name.find('/');
    if (group.kind != "index" || mark == std::string::npos) continue;
    found[group.name.substr(0, mark)].push_back(group.number);
  }
  if (words.json) {
    Json rows = Json::array();
    for (const auto& [name, groups] : found) rows.push_back({{"name", name}, {"groups", groups}});
    print_json(rows);
    return kOk;
  }
  std::printf("%s%s\n", column("NAME", 24).c_str(), "SHARDS");
  for (const auto& [name, groups] : found) {
    std::printf("%s%zu\n", column(shown(name), 24).c_str(), groups.size());
  }
  return kOk;
}

/// With the index, and what is left of the time.
template <class Body>
int with_index(const IndexWords& words, const Body& body) {
  const Deadline deadline(words);
  auto cluster = Cluster::open(words.address, deadline.left());
  if (!cluster) return failed(cluster.error());
  auto index = cluster->index(words.name, {}, deadline.left());
  if (!index) return failed(index.error());
  return body(*index, deadline);
}

int get_key(const IndexWords& words) {
  return with_index(words, [&](Index& index, const Deadline& deadline) -> int {
    const auto got = index.get(bytes_of(words.key), deadline.left());
    if (!got) return failed(got.error());
    if (!*got && !words.json) return failed("the key is not there");
    std::string value;
    if (*got) {
      for (const std::byte byte : **got) value += static_cast<char>(byte);
    }
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
  return with_index(words, [&](Index& index, const Deadline& deadline) -> int {
    const auto made = index.put(bytes_of(words.key), bytes_of(words.value), deadline.left());
    if (!made) return failed(made.error());
    if (words.json) {
      print_json({{"key", words.key}, {"created", *made}});
    } else {
      std::printf("%s\n", *made ? "created" : "replaced");
    }
    return kOk;
  });
}

int erase_key(const IndexWords& words) {
  return with_index(words, [&](Index& index, const Deadline& deadline) -> int {
    const auto erased = index.erase(bytes_of(words.key), deadline.left());
    if (!erased) return failed(erased.error());
    if (words.json) {
      print_json({{"key", words.key}, {"erased", *erased}});
    } else {
      std::printf("%s\n", *erased ? "erased" : "it was not there");
    }
    return kOk;
  });
}

}  // namespace

void add_index(CLI::App& app, Chosen& chosen) {
  constexpr double kLongestS = 1e6;
  auto words = std::make_shared<IndexWords>();
  CLI::App* const index = app.add_subcommand("index", "indexes that a cluster keeps");
  index->require_subcommand(1);
  const auto add_one = [&](const char* name, const char* description, const char* example,
                           int (*run)(const IndexWords&)) {
    CLI::App* const command = add_command(
        *index, name, description,
        std::string("dolmen index ") + name + " dolmen://127.0.0.1:7401?key=key" + example,
        words->json);
    command
        ->add_option("ADDRESS", words->address,
                     "of the cluster: dolmen://HOST:PORT[,HOST:PORT…][?key=FILE]")
        ->required();
    command->add_option("--patience", words->patience_s, "seconds that it may take")
        ->check(CLI::Range(0.0, kLongestS))
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
  CLI::App* const create = add_one("create", "let nodes of a cluster keep an index",
                                   " people --shards 4", create_index);
  create->add_option("NAME", words->name, "the index's name")->required();
  create->add_option("--shards", words->shards, "into how many groups its keys are spread")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  create->add_option("--size", words->size, "how many nodes keep each")->capture_default_str();
  create->add_option("--bucket-mib", words->bucket_mib, "memory of each for finding keys, in MiB")
      ->check(CLI::Range(std::uint64_t{1}, kMostMib))
      ->capture_default_str();
  create->add_option("--record-mib", words->record_mib, "… for keys and values")
      ->check(CLI::Range(std::uint64_t{1}, kMostMib))
      ->capture_default_str();
  (void)add_one("ls", "the indexes of a cluster", "", list_indexes);
  (void)add_key(add_one("get", "the value of a key", " people ada", get_key));
  CLI::App* const put =
      add_key(add_one("put", "give a key a value", " people ada 1815", put_key));
  put->add_option("VALUE", words->value, "the value, as text")->required();
  (void)add_key(add_one("erase", "take a key away", " people ada", erase_key));
}

}  // namespace dolmen::cli
