// SPDX-License-Identifier: Apache-2.0
//
// dolmen directory and dolmen object: where published objects of a cluster live, and moving them
// (docs/homes.md).
#include <algorithm>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <dolmen/cluster.hpp>

#include "base/bytes.hpp"
#include "cli/command.hpp"
#include "cli/commit_json.hpp"
#include "cli/demo_screen.hpp"
#include "node/home_part.hpp"
#include "node/home_request.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace {

struct ObjectWords {
  std::string address;  ///< of a cluster: dolmen://…
  std::string object;
  std::string space;  ///< its name, or its number
  std::uint32_t size = 3;
  std::uint32_t shards = 0;
  bool is_cancelled = false;
  bool is_undone = false;
  IndexReads reads = IndexReads::linearizable;
  double patience_s = 60;
  bool json = false;
};

/// What is left of the time that several calls may take together.
class ObjectDeadline {
 public:
  explicit ObjectDeadline(const ObjectWords& words)
      : end_ns_(now_ns() +
                // Written so that what is no number is none.
                (words.patience_s > 0 ? static_cast<std::uint64_t>(words.patience_s * 1e9) : 0)) {}
  [[nodiscard]] std::chrono::milliseconds left() const {
    const std::uint64_t now = now_ns();
    return std::chrono::milliseconds(now < end_ns_ ? (end_ns_ - now) / 1'000'000 : 0);
  }

 private:
  static std::uint64_t now_ns() { return sys::linux_env().clock->monotonic_ns(); }
  std::uint64_t end_ns_;
};

Result<ObjectId> id_of(const std::string& text) {
  if (const auto id = ObjectId::parse(text)) return *id;
  return fail(Errc::invalid_argument, interned(text + ": no object's id (32 hexadecimal digits)"));
}

CLI::Validator object_id() {
  return {[](std::string& text) {
            const auto id = id_of(text);
            return id ? std::string() : std::string(id.error().context());
          },
          ""};
}

CLI::Validator power_of_two() {
  return {[](std::string& text) {
            std::uint32_t number = 0;
            const char* const end = text.data() + text.size();
            const auto [rest, wrong] = std::from_chars(text.data(), end, number);
            const bool is_one = wrong == std::errc{} && rest == end && std::has_single_bit(number);
            return is_one ? std::string() : "'" + text + "' is no power of two";
          },
          ""};
}

/// The number and the name of a space that is named, or numbered.
struct SpaceNamed {
  std::uint32_t number = 0;
  std::string name;
};
Result<SpaceNamed> space_of(Cluster& cluster, const std::string& text,
                            const ObjectDeadline& deadline) {
  std::uint32_t number = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_number = wrong == std::errc{} && end == text.data() + text.size();
  DOLMEN_TRY(const ClusterStatus status, cluster.status(deadline.left()));
  for (const ClusterStatus::Group& group : status.groups) {
    if (group.kind != "space") continue;
    if (group.name == text || (is_number && group.number == number)) {
      return SpaceNamed{.number = group.number, .name = group.name};
    }
  }
  return fail(Errc::not_found, interned("a space called " + text));
}

/// With the cluster, and what is left of the time.
template <class Body>
int with_cluster(const ObjectWords& words, const Body& body) {
  const ObjectDeadline deadline(words);
  auto cluster = Cluster::open(words.address, deadline.left());
  if (!cluster) return failed(cluster.error());
  const Result<void> done = body(*cluster, deadline);
  return done ? kOk : failed(done.error());
}

int where_object(const ObjectWords& words) {
  return with_cluster(words, [&](Cluster& cluster, const ObjectDeadline& deadline) -> Result<void> {
    DOLMEN_TRY(const ObjectId id, id_of(words.object));
    DOLMEN_TRY(const std::uint32_t number, cluster.home(id, deadline.left(), words.reads));
    const IndexCounts counts = cluster.home_counts();
    const char* const found = counts.one_sided == 0  ? "message"
                              : counts.by_lease == 0 ? "memory"
                                                     : "lease";
    DOLMEN_TRY(const SpaceNamed space, space_of(cluster, std::to_string(number), deadline));
    if (words.json) {
      print_json({{"object", id.to_string()},
                  {"space", space.name},
                  {"group", space.number},
                  {"found", found}});
    } else {
      std::printf("%s (group %u)\n", shown(space.name).c_str(), space.number);
    }
    return {};
  });
}

int publish_object(const ObjectWords& words) {
  return with_cluster(words, [&](Cluster& cluster, const ObjectDeadline& deadline) -> Result<void> {
    DOLMEN_TRY(const SpaceNamed space, space_of(cluster, words.space, deadline));
    DOLMEN_TRY(ReplicatedClient client, cluster.client(space.name, deadline.left()));
    DOLMEN_TRY(const auto told,
               call_space(client, node::kPublishFunction,
                          base::as_bytes(std::string_view(words.object)), deadline.left()));
    DOLMEN_TRY(const std::vector<ObjectId> ids, node::decode_ids(told));
    const std::string id = ids.empty() ? std::string() : ids.front().to_string();
    if (words.json) {
      print_json({{"object", id},
                  {"space", space.name},
                  {"group", space.number},
                  {"commit", commit_of(client)}});
    } else {
      std::printf("%s\n", id.c_str());
    }
    return {};
  });
}

int create_directory(const ObjectWords& words) {
  return with_cluster(words, [&](Cluster& cluster, const ObjectDeadline& deadline) -> Result<void> {
    DOLMEN_CHECK(
        cluster.create_directory({.shards = words.shards, .size = words.size}, deadline.left()));
    const Json commit = commit_of(cluster);
    std::size_t shards = words.shards;
    if (shards == 0) {
      // As of who knows of it.
      DOLMEN_TRY(const auto there, cluster.directory(deadline.left()));
      shards = there.size();
    }
    if (words.json) {
      print_json({{"shards", shards}, {"size", words.size}, {"commit", commit}});
    } else {
      std::printf("the cluster has a directory, in %zu %s\n", shards,
                  shards == 1 ? "group" : "groups");
    }
    return {};
  });
}

int list_directory(const ObjectWords& words) {
  bool are_all_known = true;
  const int code =
      with_cluster(words, [&](Cluster& cluster, const ObjectDeadline& deadline) -> Result<void> {
        DOLMEN_TRY(const auto shards, cluster.directory(deadline.left() / 2));
        DOLMEN_TRY(const ClusterStatus status, cluster.status(deadline.left()));
        Json rows = Json::array();
        if (!words.json) {
          std::printf("%s%s%s%s%s%s\n", column("SHARD", 7).c_str(), column("GROUP", 7).c_str(),
                      column("LEADER", 8).c_str(), column("OBJECTS", 12).c_str(),
                      column("USED", 12).c_str(), "OF");
        }
        for (std::size_t i = 0; i < shards.size(); ++i) {
          const DirectoryShard& shard = shards[i];
          const auto group =
              std::ranges::find(status.groups, shard.group, &ClusterStatus::Group::number);
          const std::uint32_t leader = group == status.groups.end() ? 0 : group->leader;
          const auto known = [&](std::uint64_t figure) {
            return shard.has_answered ? Json(figure) : Json(nullptr);
          };
          are_all_known = are_all_known && shard.has_answered;
          if (words.json) {
            rows.push_back({{"shard", i},
                            {"group", shard.group},
                            {"leader", leader},
                            {"objects", known(shard.stats.keys)},
                            {"bytes_used", known(shard.stats.table_bytes_used)},
                            {"bytes", known(shard.stats.table_bytes)}});
            continue;
          }
          const bool is_known = shard.has_answered;
          std::printf("%s%s%s%s%s%s\n", column(std::to_string(i), 7).c_str(),
                      column(std::to_string(shard.group), 7).c_str(),
                      column(leader == 0 ? "none" : std::to_string(leader), 8).c_str(),
                      column(is_known ? std::to_string(shard.stats.keys) : "-", 12).c_str(),
                      column(is_known ? size_text(shard.stats.table_bytes_used) : "-", 12).c_str(),
                      is_known ? size_text(shard.stats.table_bytes).c_str() : "-");
        }
        if (words.json) print_json(rows);
        return {};
      });
  if (code != kOk || are_all_known) return code;
  return failed("a shard of the directory did not answer");
}

int move_object(const ObjectWords& words) {
  if (!words.is_cancelled && words.space.empty()) return misused("to which space?", "object move");
  return with_cluster(words, [&](Cluster& cluster, const ObjectDeadline& deadline) -> Result<void> {
    DOLMEN_TRY(const ObjectId id, id_of(words.object));
    if (words.is_cancelled) {
      DOLMEN_CHECK(cluster.cancel_move(id, deadline.left()));
      if (words.json) print_json({{"object", id.to_string()}, {"cancelled", true}});
      if (!words.json) std::printf("it stays where it was\n");
      return {};
    }
    DOLMEN_TRY(const SpaceNamed space, space_of(cluster, words.space, deadline));
    DOLMEN_CHECK(cluster.move(id, space.number, deadline.left()));
    if (words.json) {
      print_json({{"object", id.to_string()}, {"space", space.name}, {"group", space.number}});
    } else {
      std::printf("it lives in %s (group %u) now\n", shown(space.name).c_str(), space.number);
    }
    return {};
  });
}

int drain_space(const ObjectWords& words) {
  return with_cluster(words, [&](Cluster& cluster, const ObjectDeadline& deadline) -> Result<void> {
    DOLMEN_TRY(const SpaceNamed space, space_of(cluster, words.space, deadline));
    const auto done = words.is_undone ? cluster.undrain_group(space.number, deadline.left())
                                      : cluster.drain_group(space.number, deadline.left());
    DOLMEN_CHECK(done);
    if (words.json) {
      print_json({{"space", space.name}, {"group", space.number}, {"drained", !words.is_undone}});
    } else {
      std::printf(words.is_undone ? "%s takes objects again\n" : "no object is in %s any more\n",
                  shown(space.name).c_str());
    }
    return {};
  });
}

}  // namespace

void add_object(CLI::App& app, Chosen& chosen) {
  constexpr double kLongestS = 1e6;
  auto words = std::make_shared<ObjectWords>();
  CLI::App* const object =
      add_commands(app, "object", "where published objects of a cluster live",
                   std::string("dolmen object publish ") + kExampleCluster + " north ledger");
  CLI::App* const directory =
      add_commands(app, "directory", "where a cluster keeps which object lives in which space",
                   std::string("dolmen directory create ") + kExampleCluster);
  const auto add_to = [&](CLI::App* above, const char* name, const char* description,
                          const char* example, int (*run)(const ObjectWords&)) {
    CLI::App* const command = add_command(
        *above, name, description,
        "dolmen " + above->get_name() + " " + name + " " + kExampleCluster + example, words->json);
    add_cluster_address(*command, words->address);
    command->add_option("--patience", words->patience_s, "seconds that it may take")
        ->check(number_between(0.0, kLongestS))
        ->capture_default_str();
    command->callback([words, run, &chosen] { chosen.run = [words, run] { return run(*words); }; });
    return command;
  };
  const auto add_one = [&](const char* name, const char* description, const std::string& example,
                           int (*run)(const ObjectWords&)) {
    return add_to(object, name, description, (" " + example).c_str(), run);
  };
  CLI::App* const create =
      add_to(directory, "create", "let nodes keep the cluster's directory, once in its life",
             " --shards 4", create_directory);
  create->add_option("--size", words->size, "how many nodes keep each of its groups")
      ->capture_default_str();
  create
      ->add_option("--shards", words->shards,
                   "into how many groups ids are spread, for ever: a power of two, at most 256 "
                   "[4, or as many as there are]")
      ->check(CLI::Range(1, 256))
      ->check(power_of_two());
  add_to(directory, "ls", "the shards of the cluster's directory, and how full they are", "",
         list_directory);
  constexpr const char* kId = "the object's id, 32 hexadecimal digits";
  CLI::App* const where = add_one("where", "the space in which an object lives",
                                  "0123456789abcdef0123456789abcdef", where_object);
  where->add_option("OBJECT", words->object, kId)->required()->check(object_id());
  where
      ->add_option("--reads", words->reads,
                   "how the directory is read: the latest, by the leader's lease, or a hint")
      ->transform(
          one_of(std::map<std::string, IndexReads>{{"linearizable", IndexReads::linearizable},
                                                   {"lease", IndexReads::lease},
                                                   {"hint", IndexReads::hint}}));
  CLI::App* const publish =
      add_one("publish", "let an object of a space be found by its id in the whole cluster",
              "north ledger", publish_object);
  publish->add_option("SPACE", words->space, "the space's name, or its number")->required();
  publish->add_option("OBJECT", words->object, "the object's name there, or its id")->required();
  CLI::App* const move = add_one("move", "let an object live in another space",
                                 "0123456789abcdef0123456789abcdef south", move_object);
  move->add_option("OBJECT", words->object, kId)->required()->check(object_id());
  CLI::Option* const to =
      move->add_option("SPACE", words->space, "where to: the space's name, or its number");
  move->add_flag("--cancel", words->is_cancelled, "ask for it back while it is on its way")
      ->excludes(to);
  CLI::App* const drain =
      add_one("drain", "give all published objects of a space to the others, for good", "north",
              drain_space);
  drain->add_option("SPACE", words->space, "the space's name, or its number")->required();
  drain->add_flag("--undo", words->is_undone, "take objects again, where it was not finished");
}

}  // namespace dolmen::cli
