// SPDX-License-Identifier: Apache-2.0
//
// dolmen log: groups of members that keep a state machine (dolmen/replicated.hpp).
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <dolmen/replicated.hpp>

#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace {

struct LogOptions {
  ReplicatedOptions member;
  std::string key_file;
  std::uint64_t patience_ms = 1000;
  std::uint64_t patience_s = 600;
  std::vector<std::uint64_t> groups;
  std::uint32_t number = 0;  ///< of a member that is added, removed or replaced
  std::string address;
  bool progress = false;
  bool json = false;
};

// Nobody else can read it at any moment: the file is closed to others before it holds anything.
int key(const LogOptions& options) {
  if (std::filesystem::exists(options.key_file)) {
    return failed(Error(Errc::already_exists, interned(options.key_file)));
  }
  std::array<std::byte, 32> random{};
  sys::linux_env().entropy->fill(random);
  std::string digits;
  for (const std::byte byte : random) {
    constexpr const char* kDigits = "0123456789abcdef";
    digits += kDigits[std::to_integer<unsigned>(byte) >> 4];
    digits += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  std::ofstream file(options.key_file);
  std::error_code error;
  std::filesystem::permissions(
      options.key_file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write,
      error);
  file << digits << "\n";
  file.close();
  if (!file || error) return failed(Error(Errc::io_error, interned(options.key_file)));
  if (options.json) {
    print_json({{"key_file", options.key_file}});
  } else {
    std::printf("made the key %s; give it to every member and client, and to nobody else\n",
                options.key_file.c_str());
  }
  return kOk;
}

const char* name_of(ReplicatedLevel level) {
  return level == ReplicatedLevel::replicated ? "replicated" : "durable";
}

const char* transport_of(const std::string& address) {
  return address.starts_with("shm:") ? "shm" : "tcp";
}

int init(const LogOptions& options) {
  const std::vector<std::uint64_t> groups =
      options.groups.empty() ? std::vector<std::uint64_t>{1} : options.groups;
  const auto made = Replicated::create(options.member, groups);
  if (!made) return failed(made.error());
  if (options.json) {
    print_json({{"directory", options.member.directory},
                {"member", options.member.member},
                {"level", name_of(options.member.level)},
                {"groups", groups},
                {"joins", options.member.joins}});
  } else if (options.member.joins) {
    std::printf(
        "made member %u in %s; start it, and then `dolmen log add` or `dolmen log replace` "
        "takes it in\n",
        options.member.member, options.member.directory.c_str());
  } else {
    std::printf("made member %u of %zu (%s) in %s\n", options.member.member,
                options.member.group.members.size(), name_of(options.member.level),
                options.member.directory.c_str());
  }
  return kOk;
}

// Runs until it is told to end. Whoever cares for it starts it again when it fails.
int witness(const LogOptions& options) {
  auto member = Replicated::start_witness(options.member, options.groups);
  if (!member) return failed(member.error());
  static Replicated* running = nullptr;
  running = &*member;
  const auto end = [](int) { running->stop(); };
  std::signal(SIGTERM, end);
  std::signal(SIGINT, end);
  if (!options.json) {
    std::printf("witness %u serves at %s\n", options.member.member,
                options.member.group.members[options.member.member - 1].c_str());
    std::fflush(stdout);
  }
  const auto ended = member->run();
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
  if (!ended) return failed(ended.error());
  if (options.json) print_json({{"member", options.member.member}, {"ended", true}});
  return kOk;
}

Json status_json(const ReplicatedStatus& status, std::uint64_t group) {
  Json row{{"group", group},
           {"member", status.member},
           {"address", status.address},
           {"transport", transport_of(status.address)},
           {"reached", status.is_reached}};
  if (!status.is_reached) return row;
  row["level"] = name_of(status.level);
  row["role"] = status.role;
  row["epoch"] = status.epoch;
  row["leader"] = status.leader;
  row["first_index"] = status.first_index;
  row["last_index"] = status.last_index;
  row["stable_index"] = status.stable_index;
  row["applied_index"] = status.applied_index;
  row["voters"] = status.voters;
  row["learners"] = status.learners;
  row["witnesses"] = status.witnesses;
  Json lags = Json::array();
  for (const auto& [member, entries] : status.lag) {
    lags.push_back({{"member", member}, {"entries", entries}});
  }
  row["lag"] = std::move(lags);
  return row;
}

/// The group's own clients, in the order of their numbers: of those that were asked for, or of all
/// that a member runs.
Result<std::vector<std::uint64_t>> groups_of(const LogOptions& options, ReplicatedClient& client) {
  if (!options.groups.empty()) return options.groups;
  return client.groups(std::chrono::milliseconds(options.patience_ms));
}

void print_statuses(const std::vector<ReplicatedStatus>& statuses, std::uint64_t group) {
  // How far each is behind, and what it is, is what the leader says of it.
  std::map<std::uint32_t, std::string> lag;
  std::vector<std::uint32_t> learners;
  std::vector<std::uint32_t> voters;
  for (const ReplicatedStatus& one : statuses) {
    if (one.role != "leader") continue;
    learners = one.learners;
    voters = one.voters;
    for (const auto& [member, entries] : one.lag) lag[member] = std::to_string(entries);
  }
  for (const ReplicatedStatus& one : statuses) {
    const auto number = [&](std::uint64_t value) {
      return one.is_reached ? std::to_string(value) : std::string("-");
    };
    // Of one that lost its disk, both the lost one and who learns in its place may be there.
    const bool learns = one.role == "follower" && std::ranges::count(learners, one.member) > 0;
    const bool is_none = !voters.empty() && !learns && std::ranges::count(voters, one.member) == 0;
    const std::string role = !one.is_reached ? "no answer"
                             : learns        ? "learner"
                             : is_none       ? "no member"
                                             : one.role;
    const auto behind = lag.find(one.member);
    std::printf("%s%s%s%s%s%s%s%s%s\n", column(std::to_string(group), 5).c_str(),
                column(std::to_string(one.member), 6).c_str(),
                column(shown(one.address), 22).c_str(), column(role, 9).c_str(),
                column(one.is_reached ? name_of(one.level) : "-", 10).c_str(),
                column(number(one.epoch), 6).c_str(), column(number(one.last_index), 10).c_str(),
                column(number(one.stable_index), 10).c_str(),
                behind == lag.end() ? "-" : behind->second.c_str());
  }
}

int status(const LogOptions& options) {
  auto any = ReplicatedClient::make(options.member.group);
  if (!any) return failed(any.error());
  const auto groups = groups_of(options, *any);
  if (!groups && groups.error().code() != Errc::timed_out) return failed(groups.error());
  if (!options.json) {
    std::printf("%s%s%s%s%s%s%s%s%s\n", column("GROUP", 5).c_str(), column("MEMBER", 6).c_str(),
                column("ADDRESS", 22).c_str(), column("ROLE", 9).c_str(),
                column("LEVEL", 10).c_str(), column("EPOCH", 6).c_str(), column("LAST", 10).c_str(),
                column("STABLE", 10).c_str(), "LAG");
  }
  Json rows = Json::array();
  bool are_all_led = true;
  std::size_t reached = 0;
  // Also of a group that nobody answered for: who they would be.
  for (const std::uint64_t group : groups ? *groups : std::vector<std::uint64_t>{1}) {
    auto client = ReplicatedClient::make(options.member.group, group);
    if (!client) return failed(client.error());
    const auto statuses = client->status(std::chrono::milliseconds(options.patience_ms));
    if (!statuses) return failed(statuses.error());
    bool is_led = false;
    for (const ReplicatedStatus& one : *statuses) {
      is_led |= one.role == "leader";
      reached += one.is_reached ? 1 : 0;
      if (options.json) rows.push_back(status_json(one, group));
    }
    if (!options.json) {
      print_statuses(*statuses, group);
      if (!is_led) {
        std::printf("nobody leads group %s: a majority has to be there\n",
                    std::to_string(group).c_str());
      }
    }
    are_all_led &= is_led;
  }
  if (options.json) print_json(rows);
  if (reached == 0) return failed("no member answered; are they running, and is this their key?");
  return are_all_led ? kOk : kFailed;
}

enum class Step : std::uint8_t { add, remove, replace };

/// Each group's members are a matter of its own log: one after the other.
int change(const LogOptions& options, Step step) {
  auto any = ReplicatedClient::make(options.member.group);
  if (!any) return failed(any.error());
  const auto groups = groups_of(options, *any);
  if (!groups) return failed(groups.error());
  const std::chrono::seconds patience(options.patience_s);
  const char* const done = step == Step::add      ? "added"
                           : step == Step::remove ? "removed"
                                                  : "replaced";
  for (const std::uint64_t group : *groups) {
    auto client = ReplicatedClient::make(options.member.group, group);
    if (!client) return failed(client.error());
    std::uint64_t most = 0;
    ProgressBar bar("member " + std::to_string(options.number) + ", group " + std::to_string(group),
                    options.progress);
    const ReplicatedProgressSink show = [&](const ReplicatedProgress& how_far) {
      if (how_far.entries == 0) return;
      most = std::max(most, how_far.entries);
      bar.show(most - how_far.entries, most);
    };
    const auto changed =
        step == Step::add ? client->add_member(options.number, options.address, patience, show)
        : step == Step::remove
            ? client->remove_member(options.number, patience, show)
            : client->replace_member(options.number, options.address, patience, show);
    // Some of its groups may have been done by an attempt before.
    const bool was_so =
        !changed && groups->size() > 1 &&
        changed.error().code() == (step == Step::remove ? Errc::not_found : Errc::already_exists);
    if (!changed && !was_so) return failed(changed.error());
    if (!options.json) {
      std::printf("group %s: %s member %u\n", std::to_string(group).c_str(),
                  was_so ? "already" : done, options.number);
    }
  }
  if (options.json) print_json({{"member", options.number}, {"done", done}, {"groups", *groups}});
  return kOk;
}

void add_group(CLI::App& command, LogOptions& options) {
  command
      .add_option("--members", options.member.group.members,
                  "addresses of member 1, 2, …, like 192.0.2.7:7400; - where there is none. Or for "
                  "each of them shm:DIR, one directory in memory")
      ->required()
      ->delimiter(',');
  command.add_option("--key", options.member.group.key_file,
                     "the group's key file; not used with shm:");
}

void add_level(CLI::App& command, LogOptions& options) {
  command
      .add_option("--level", options.member.level,
                  "durable: on disks; replicated: in memory alone; the same for all members")
      ->transform(one_of(std::map<std::string, ReplicatedLevel>{
          {"durable", ReplicatedLevel::durable}, {"replicated", ReplicatedLevel::replicated}}));
  command
      .add_option("--witness", options.member.group.witnesses,
                  "members that have no state machine; the same for all of them")
      ->delimiter(',');
}

void add_groups(CLI::App& command, LogOptions& options) {
  command.add_option("--groups", options.groups, "numbers of groups; all if not given")
      ->delimiter(',');
}

}  // namespace

void add_log(CLI::App& app, Chosen& chosen) {
  CLI::App* const log = add_commands(
      app, "log", "groups that keep a state machine in a replicated log",
      "dolmen log status --members 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400 --key group.key");

  auto options = std::make_shared<LogOptions>();
  CLI::App* const make_key = add_command(*log, "key", "make a group's key file",
                                         "dolmen log key group.key", options->json);
  make_key->add_option("FILE", options->key_file, "the new file")->required();
  make_key->callback([options, &chosen] { chosen.run = [options] { return key(*options); }; });

  CLI::App* const make_member = add_command(
      *log, "init", "make the directory of a new member, once in its life",
      "dolmen log init data1 --member 1 --members 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400 "
      "--key group.key",
      options->json);
  make_member->add_option("DIR", options->member.directory, "an empty or new directory")
      ->required();
  make_member->add_option("--member", options->member.member, "which of them this is: 1, 2, …")
      ->required();
  add_group(*make_member, *options);
  add_level(*make_member, *options);
  make_member->add_option("--groups", options->groups, "its groups' numbers; 1 if not given")
      ->delimiter(',');
  make_member->add_flag("--joins", options->member.joins,
                        "it joins a group that is there, or takes the place of one that lost its "
                        "disk");
  make_member->callback([options, &chosen] { chosen.run = [options] { return init(*options); }; });

  CLI::App* const serve = add_command(
      *log, "witness", "run a member that has no state machine, until SIGTERM",
      "dolmen log witness data3 --member 3 --members 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400 "
      "--key group.key",
      options->json);
  serve->add_option("DIR", options->member.directory, "what init made, with --witness")->required();
  serve->add_option("--member", options->member.member, "which of them this is: 1, 2, …")
      ->required();
  add_group(*serve, *options);
  add_level(*serve, *options);
  serve->add_option("--groups", options->groups, "replicated: its groups' numbers; 1 if not given")
      ->delimiter(',');
  serve
      ->add_option("--area-bytes", options->member.area_bytes,
                   "replicated: memory of an area; each server has two, and a state may take half")
      ->capture_default_str();
  serve->callback([options, &chosen] { chosen.run = [options] { return witness(*options); }; });

  CLI::App* const show = add_command(
      *log, "status", "roles, epochs and lag of a group's members; 1 if nobody leads",
      "dolmen log status --members 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400 --key group.key",
      options->json);
  add_group(*show, *options);
  show->add_option("--patience-ms", options->patience_ms, "how long to wait for answers")
      ->capture_default_str();
  add_groups(*show, *options);
  show->callback([options, &chosen] { chosen.run = [options] { return status(*options); }; });
  add_log_show(*log, chosen);

  const auto add_change = [&](const char* name, const char* description, const char* words,
                              Step step) {
    CLI::App* const command =
        add_command(*log, name, description,
                    std::string("dolmen log ") + name + " " + words +
                        " --members 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400 --key group.key",
                    options->json);
    command->add_option("MEMBER", options->number, "its number")->required();
    if (step != Step::remove) {
      CLI::Option* const where = command->add_option(
          "ADDRESS", options->address,
          step == Step::add ? "where it runs" : "where it runs now, if that is another place");
      if (step == Step::add) where->required();
    }
    add_group(*command, *options);
    add_groups(*command, *options);
    command->add_option("--patience-s", options->patience_s, "how long it may take, each group")
        ->capture_default_str();
    add_progress(*command, options->progress);
    command->callback([options, step, &chosen] {
      chosen.run = [options, step] { return change(*options, step); };
    });
  };
  add_change("add", "take a new member in: made by `dolmen log init --joins`, and running",
             "4 10.0.0.4:7400", Step::add);
  add_change("remove",
             "take a member out; when this has ended, it may be ended and its disk cleared", "2",
             Step::remove);
  add_change("replace",
             "give the vote of a member that lost its disk to the one that runs in its place, made "
             "by `dolmen log init --joins`",
             "3", Step::replace);
}

}  // namespace dolmen::cli
