// SPDX-License-Identifier: Apache-2.0
//
// dolmen log: groups of members that keep a state machine (dolmen/replicated.hpp).
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
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace {

struct Options {
  ReplicatedOptions member;
  std::string key_file;
  std::uint64_t patience_ms = 1000;
  bool json = false;
};

// Nobody else can read it at any moment: the file is closed to others before it holds anything.
int key(const Options& options) {
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

int init(const Options& options) {
  if (const auto made = Replicated::create(options.member); !made) return failed(made.error());
  if (options.json) {
    print_json({{"directory", options.member.directory},
                {"member", options.member.member},
                {"level", name_of(options.member.level)}});
  } else {
    std::printf("made member %u of %zu (%s) in %s\n", options.member.member,
                options.member.group.members.size(), name_of(options.member.level),
                options.member.directory.c_str());
  }
  return kOk;
}

// Runs until it is told to end. Whoever cares for it starts it again when it fails.
int witness(const Options& options) {
  auto member = Replicated::start_witness(options.member);
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

Json status_json(const ReplicatedStatus& status, const std::string& address) {
  Json row{{"member", status.member}, {"address", address}, {"reached", status.is_reached}};
  row["transport"] = transport_of(address);
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

int status(const Options& options) {
  auto client = ReplicatedClient::make(options.member.group);
  if (!client) return failed(client.error());
  const auto statuses = client->status(std::chrono::milliseconds(options.patience_ms));
  if (!statuses) return failed(statuses.error());
  Json rows = Json::array();
  bool is_led = false;
  std::size_t reached = 0;
  if (!options.json) {
    std::printf("%s%s%s%s%s%s%s%s\n", column("MEMBER", 6).c_str(), column("ADDRESS", 22).c_str(),
                column("ROLE", 9).c_str(), column("LEVEL", 10).c_str(), column("EPOCH", 6).c_str(),
                column("LAST", 10).c_str(), column("STABLE", 10).c_str(), "LAG");
  }
  // How far each is behind is what the leader says of it.
  std::vector<std::string> lag(statuses->size() + 1, "-");
  for (const ReplicatedStatus& one : *statuses) {
    if (one.role != "leader") continue;
    for (const auto& [member, entries] : one.lag) {
      if (member < lag.size()) lag[member] = std::to_string(entries);
    }
  }
  for (const ReplicatedStatus& one : *statuses) {
    const std::string& address = options.member.group.members[one.member - 1];
    is_led |= one.role == "leader";
    reached += one.is_reached ? 1 : 0;
    if (options.json) {
      rows.push_back(status_json(one, address));
      continue;
    }
    const auto number = [&](std::uint64_t value) {
      return one.is_reached ? std::to_string(value) : std::string("-");
    };
    std::printf("%s%s%s%s%s%s%s%s\n", column(std::to_string(one.member), 6).c_str(),
                column(address, 22).c_str(),
                column(one.is_reached ? one.role : "no answer", 9).c_str(),
                column(one.is_reached ? name_of(one.level) : "-", 10).c_str(),
                column(number(one.epoch), 6).c_str(), column(number(one.last_index), 10).c_str(),
                column(number(one.stable_index), 10).c_str(), lag[one.member].c_str());
  }
  if (options.json) print_json(rows);
  if (reached == 0) return failed("no member answered; are they running, and is this their key?");
  if (!is_led && !options.json) std::printf("nobody leads: a majority has to be there\n");
  return is_led ? kOk : kFailed;
}

void add_group(CLI::App& command, Options& options) {
  command
      .add_option(
          "--members", options.member.group.members,
          "addresses of member 1, 2, …, like 192.0.2.7:7400; the same everywhere. Or for each "
          "of them shm:DIR, one directory in memory")
      ->required()
      ->delimiter(',');
  command.add_option("--key", options.member.group.key_file,
                     "the group's key file; not used with shm:");
}

}  // namespace

void add_log(CLI::App& app, Chosen& chosen) {
  CLI::App* const log =
      app.add_subcommand("log", "groups that keep a state machine in a replicated log");
  log->require_subcommand(1);

  auto options = std::make_shared<Options>();
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
  make_member
      ->add_option("--level", options->member.level,
                   "durable: on disks; replicated: in memory alone, the same for all members")
      ->transform(CLI::CheckedTransformer(std::map<std::string, ReplicatedLevel>{
          {"durable", ReplicatedLevel::durable}, {"replicated", ReplicatedLevel::replicated}}));
      ->add_option("--witness", options->member.group.witnesses,
                   "members that have no state machine; the same for all of them")
      ->delimiter(',');
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
  serve->callback([options, &chosen] { chosen.run = [options] { return witness(*options); }; });

  CLI::App* const show = add_command(
      *log, "status", "roles, epochs and lag of a group's members; 1 if nobody leads",
      "dolmen log status --members 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400 --key group.key",
      options->json);
  add_group(*show, *options);
  show->add_option("--patience-ms", options->patience_ms, "how long to wait for answers")
      ->capture_default_str();
  show->callback([options, &chosen] { chosen.run = [options] { return status(*options); }; });
}

}  // namespace dolmen::cli
