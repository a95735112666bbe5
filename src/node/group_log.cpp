// SPDX-License-Identifier: Apache-2.0
#include "node/group_log.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>
#include <variant>

#include "base/bytes.hpp"
#include "cluster/home.hpp"
#include "cluster/root.hpp"
#include "log/configuration.hpp"
#include "node/cluster_client.hpp"
#include "node/cluster_identity.hpp"
#include "node/cluster_map.hpp"
#include "node/places.hpp"
#include "node/replicated_client.hpp"
#include "node/replicated_group.hpp"
#include "node/shard_machine.hpp"
#include "node/space_effect.hpp"
#include "node/space_import.hpp"
#include "replication/entries_message.hpp"
#include "replication/executor.hpp"

namespace dolmen::node {

namespace {

using replication::EntriesTold;
using replication::EnvelopeKind;

constexpr std::array<const char*, std::variant_size_v<cluster::RootCommand>> kRootCommands{
    "init",          "add node",     "set address",  "node lost",    "node back",
    "set life",      "drain",        "undrain",      "remove node",  "create group",
    "set size",      "begin change", "end change",   "assign shard", "add client",
    "revoke client", "join",         "create index", "release name", "create directory"};
// A name for each kind, or what is shown of the last ones would be nothing at all.
static_assert(kRootCommands.back() != nullptr);

std::string text_in(base::Bytes bytes) {
  std::string text(bytes.size(), '\0');
  std::ranges::transform(bytes, text.begin(), [](std::byte b) { return static_cast<char>(b); });
  return text;
}

std::string nodes_in(const std::vector<log::ReplicaId>& replicas) {
  std::string text;
  for (const log::ReplicaId id : replicas) {
    text += (text.empty() ? "" : ",") + std::to_string(member_of(id));
  }
  return text;
}

std::string configuration_in(base::Bytes payload) {
  const auto decoded = log::decode_configuration(payload);
  if (!decoded) return {};
  std::string text = "voters " + nodes_in(decoded->voters);
  if (!decoded->learners.empty()) text += ", learners " + nodes_in(decoded->learners);
  return text;
}

std::string group_text(const ObjectId& group) {
  const bool is_of_cluster = group == group_of(group.low);
  return is_of_cluster ? "group " + std::to_string(group.low) : "group " + group.to_string();
}

/// What a mail that arrived is for, as far as its first bytes show it.
std::string mail_in(base::Bytes head) {
  constexpr std::uint16_t kLetter = 5;
  if (cluster::is_home_mail(head)) return "homes of objects";
  base::ByteReader in(head);
  (void)in.get<std::uint16_t>();
  if (in.get<std::uint16_t>() != kLetter) return {};
  const bool is_result = in.get<std::uint16_t>() != 0;
  const std::string_view function = in.get_string();
  if (in.failed()) return {};
  return (is_result ? "result for " : "call of ") + std::string(function);
}

/// docs/formats/mail.md: a change, of which the first bytes are here.
std::string mail_change_in(base::Bytes head) {
  constexpr std::uint16_t kReceived = 1;
  base::ByteReader in(head);
  (void)in.get<std::uint16_t>();
  const auto flags = in.get<std::uint16_t>();
  const auto acknowledged = in.get<std::uint32_t>();
  const auto posted = in.get<std::uint32_t>();
  if (in.failed()) return {};
  std::string text;
  const auto add = [&](const std::string& what) { text += (text.empty() ? "" : ", ") + what; };
  if ((flags & kReceived) != 0) {
    const ObjectId from = in.get_id();
    const auto number = in.get<std::uint64_t>();
    const auto bytes = in.get<std::uint32_t>();
    if (in.failed()) return {};
    const std::string what = mail_in(in.take(std::min<std::size_t>(bytes, in.remaining())));
    add("received " + std::to_string(number) + " of " + group_text(from));
    if (!what.empty()) text += " (" + what + ")";
  }
  if (acknowledged != 0) add("acknowledged by " + std::to_string(acknowledged));
  if (posted != 0) add("posted " + std::to_string(posted));
  return text;
}

std::string import_in(base::Bytes record_head) {
  const auto news = import_news_in(record_head);
  if (!news) return {};
  const auto& [source, cursor, is_given_up] = news->state;
  switch (news->kind) {
    case ImportNews::Kind::begun:
      return "import begins: of space " + source.space.to_string() + " as of record " +
             std::to_string(source.last_index);
    case ImportNews::Kind::part:
      return "import: up to object " + cursor.object.to_string() + ", page " +
             std::to_string(cursor.page);
    case ImportNews::Kind::finished:
      return "import ends";
    case ImportNews::Kind::given_up:
      return cursor == ImportCursor{} ? "import given up, all is erased" : "import given up";
  }
  return {};
}

/// Its head has the figures, whatever the rest is; docs/formats/replicated-space.md.
std::string effect_in(base::Bytes head) {
  constexpr std::uint16_t kEffect = 2;
  constexpr std::uint16_t kWithHomes = 3;
  base::ByteReader in(head);
  const auto version = in.get<std::uint16_t>();
  const auto kind = in.get<std::uint16_t>();
  const auto records = in.get<std::uint32_t>();
  const ObjectId space = in.get_id();
  if (in.failed() || kind != kEffect || version == 0 || version > kWithHomes) return {};
  std::string text = std::to_string(records) + (records == 1 ? " record" : " records");
  if (!space.is_null()) text += ", the first of space " + space.to_string();
  bool is_cut = false;
  const auto take = [&](bool is_there) {
    const std::size_t bytes = is_there ? in.get<std::uint32_t>() : 0;
    is_cut |= bytes > in.remaining();
    return in.take(std::min(bytes, in.remaining()));
  };
  if (const base::Bytes mail = take(version > 1); !mail.empty()) {
    const std::string what = mail_change_in(mail);
    text += what.empty() ? ", mail" : ", mail: " + what;
  }
  if (version == kWithHomes) text += ", homes";
  (void)take(version == kWithHomes && !is_cut);
  if (records == 0 || is_cut) return text;
  const std::string what = import_in(take(true));
  return what.empty() ? text : text + ", " + what;
}

std::string index_in(base::Bytes command) {
  const auto request = decode_index_request(command);
  if (!request || request->changes.empty()) return {};
  using Kind = cluster::IndexCommand::Kind;
  const cluster::IndexCommand& first = request->changes.front();
  if (first.kind != Kind::put && first.kind != Kind::erase) return {};
  std::string text = (first.kind == Kind::put ? "put " : "erase ") + text_in(first.key);
  const std::size_t more = request->changes.size() - 1;
  return more == 0 ? text : text + " and " + std::to_string(more) + " more";
}

std::string command_in(cluster::GroupKind kind, base::Bytes command, bool is_whole) {
  if (kind == cluster::GroupKind::space) return effect_in(command);
  if (!is_whole) return {};
  if (kind == cluster::GroupKind::index) return index_in(command);
  const auto decoded = cluster::decode_root_command(command);
  return decoded ? kRootCommands.at(decoded->index()) : "";
}

GroupLog::Entry told(cluster::GroupKind group, std::uint64_t index, const EntriesTold::One& one) {
  GroupLog::Entry entry{
      .index = index, .epoch = one.origin, .kind = "command", .bytes = one.bytes, .what = {}};
  const bool is_whole = one.head.size() == one.bytes;
  switch (one.kind) {
    case log::EntryKind::opening:
      entry.kind = "opening";
      return entry;
    case log::EntryKind::settled:
      entry.kind = "settled";
      return entry;
    case log::EntryKind::configuration:
      entry.kind = "configuration";
      if (is_whole) entry.what = configuration_in(one.head);
      return entry;
    case log::EntryKind::command:
      break;
  }
  base::ByteReader in(one.head);
  const auto session = in.get<std::uint64_t>();
  const auto sequence = in.get<std::uint64_t>();
  const auto holder = in.get<replication::Holder>();
  if (in.failed()) return entry;
  const base::Bytes command = in.take(in.remaining());
  if (session == 0) {
    entry.kind = "session";
    if (holder != 0) entry.what = "of client " + std::to_string(holder);
  } else if (session == replication::kAddressSession) {
    entry.kind = "address";
    entry.what = "node " + std::to_string(sequence) + ": " + text_in(command);
  } else if (session == replication::kQuestionSession) {
    entry.kind = "question";
    base::ByteReader asked(command);
    entry.what = "session " + std::to_string(asked.get<std::uint64_t>()) + ", " +
                 std::to_string(sequence) + ": what became of it";
  } else {
    const std::string what = command_in(group, command, is_whole);
    entry.what = session == replication::kNoSession
                     ? "of a node"
                     : "session " + std::to_string(session) + ", " + std::to_string(sequence);
    if (!what.empty()) entry.what += ": " + what;
  }
  return entry;
}

cluster::GroupNumber number_of(const cluster::RootState& map, std::string_view group) {
  if (const cluster::GroupNumber named = group.empty() ? 0 : map.group_named(group); named != 0) {
    return named;
  }
  cluster::GroupNumber number = 0;
  const char* const end = group.data() + group.size();
  const auto [at, error] = std::from_chars(group.data(), end, number);
  return error == std::errc() && at == end && map.group(number) != nullptr ? number : 0;
}

/// One answer of whoever is asked.
class LogReader {
 public:
  LogReader(ReplicatedClient& client, cluster::GroupKind kind, std::uint64_t deadline_ns)
      : impl_(ClientOf::inside(client)), kind_(kind), deadline_ns_(deadline_ns) {
    impl_.on_entries = [this](fabric::NodeId from, const EntriesTold& told) { take(from, told); };
  }
  ~LogReader() { impl_.on_entries = {}; }
  LogReader(const LogReader&) = delete;
  LogReader& operator=(const LogReader&) = delete;

  /// Entries from `from` on are added to `log`; its figures are those of this answer.
  Result<void> ask(std::uint32_t member, std::uint64_t from, std::uint32_t count, GroupLog& log) {
    log_ = &log;
    is_answered_ = false;
    while (node::now_ns() < deadline_ns_) {
      DOLMEN_CHECK(impl_.look_after_roster());
      const auto found = std::ranges::find(impl_.nodes, fabric::NodeId{member});
      if (member != 0 && found != impl_.nodes.end()) {
        impl_.target = static_cast<std::size_t>(found - impl_.nodes.begin());
      } else if (member != 0) {
        return fail(Errc::not_found, "a member of that number in the group", member);
      }
      const std::vector<std::byte> body =
          encode(replication::AskEntries{.number = ++number_, .from = from, .count = count});
      DOLMEN_TRY(const bool is_told, impl_.ask(EnvelopeKind::ask_entries, body, deadline_ns_,
                                               [this] { return is_answered_; }));
      if (is_told) return {};
      if (member == 0) impl_.ask_next();
      DOLMEN_CHECK(impl_.pause(deadline_ns_));
    }
    if (impl_.refusal) return std::unexpected(*impl_.refusal);
    return fail(Errc::timed_out, "no member of the group that keeps its log answered");
  }

 private:
  void take(fabric::NodeId from, const EntriesTold& told) {
    if (is_answered_ || told.number != number_) return;
    is_answered_ = true;
    log_->member = static_cast<std::uint32_t>(from);
    log_->first_index = told.base + 1;
    log_->last_index = told.end;
    log_->stable_index = told.stable;
    for (std::size_t i = 0; i < told.entries.size(); ++i) {
      log_->entries.push_back(node::told(kind_, told.first + i, told.entries[i]));
    }
  }

  ClientOf::Impl& impl_;
  const cluster::GroupKind kind_;
  const std::uint64_t deadline_ns_;
  std::uint64_t number_ = 0;
  bool is_answered_ = false;
  GroupLog* log_ = nullptr;
};

}  // namespace

Result<GroupLog> read_group_log(const ClusterAddress& address, const GroupLogQuestion& question,
                                std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = deadline_in(patience);
  DOLMEN_TRY(security::LinkSelf self, identity_of(address));
  DOLMEN_TRY(const auto seeds, seeds_of(*sys::linux_env().network, address.nodes));
  DOLMEN_TRY(const cluster::RootState map, fetch_map(seeds, self, deadline_ns));
  self.trust = trust_of(map, *self.key, now_s());
  const cluster::GroupNumber number = number_of(map, question.group);
  if (number == 0) {
    return fail(Errc::not_found, interned("a group of this name or number: " + question.group));
  }
  DOLMEN_TRY(ReplicatedClient client, ClientOf::make(plan_of(map, number, self), number));
  LogReader reader(client, map.group(number)->kind, deadline_ns);
  GroupLog log{.group = number, .entries = {}};
  std::uint64_t from = question.from;
  std::uint32_t member = question.member;
  while (log.entries.size() < question.count) {
    const std::uint64_t wanted = question.count - log.entries.size();
    const auto count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, replication::kEntriesToldMax));
    // The last ones, of which there may be more than one answer holds.
    if (from == 0 && wanted > count) {
      DOLMEN_CHECK(reader.ask(member, 0, 1, log));
      from = log.last_index >= wanted ? log.last_index - wanted + 1 : 1;
      log.entries.clear();
    }
    const std::size_t before = log.entries.size();
    DOLMEN_CHECK(reader.ask(member, from, count, log));
    member = log.member;
    if (log.entries.size() == before) break;
    from = log.entries.back().index + 1;
    if (from > log.last_index) break;
  }
  return log;
}

}  // namespace dolmen::node
