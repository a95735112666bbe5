// SPDX-License-Identifier: Apache-2.0
//
// What a space does about objects of its that the directory knows (docs/homes.md).
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/commit_record.hpp"
#include "node/home_request.hpp"
#include "node/space_machine.hpp"
#include "txn/catalog.hpp"
#include "txn/view_core.hpp"

namespace dolmen::node {

void SpaceMachine::use_homes(HomePart::Shards shards, const cluster::HomeLimits& limits) {
  homes_ = std::make_unique<HomePart>(mail_->mailbox().self(), std::move(shards), limits);
}

Result<std::vector<std::byte>> SpaceMachine::publish_named(base::Bytes argument) const {
  std::string text(argument.size(), '\0');
  std::ranges::transform(argument, text.begin(), [](std::byte b) { return static_cast<char>(b); });
  const std::string_view name = text;
  DOLMEN_TRY(const View now, space_->view(ReadOptions{Level::visible}));
  const auto found = now.read([&]() -> Result<std::optional<ObjectId>> {
    const auto catalog = txn::catalog_of(now.core(), name);
    if (!catalog && catalog.error().code() != Errc::not_found) {
      return std::unexpected(catalog.error());
    }
    if (catalog) {
      const auto entry = (*catalog)->by_name.find(name);
      if (entry != (*catalog)->by_name.end()) return entry->second.object;
    }
    return ObjectId::parse(name);
  });
  if (!found) return std::unexpected(found.error());
  DOLMEN_TRY(const std::optional<ObjectId> id, *found);
  if (!id) return fail(Errc::not_found, "an object of that name or id in the space");
  DOLMEN_CHECK(publish(*space_, *id));
  return encode_ids({*id});
}

Result<void> SpaceMachine::judge_homes(Executed& executed, const cluster::MailChange& change) {
  if (!homes_) return {};
  if (!homes_->table().rows().empty() || !executed.homes.empty()) {
    for (const std::vector<std::byte>& record : executed.records) {
      base::CommitRecordReader reader(record);
      base::CommitSection section;
      while (reader.next_section(section)) {
        if (homes_->is_frozen(section.object)) {
          // Not busy: a mail that waited for the move could stand in the way of those that end it.
          return fail(Errc::conflict, "an object that moves to another space");
        }
        if (section.kind == base::ChangeKind::erase) {
          homes_->erase(section.object, executed.homes);
        }
        // Here, for each one is looked for among all of them.
        if (executed.homes.size() > kHomeCommandsMax) {
          return fail(Errc::limit, "published and erased objects of a call", kHomeCommandsMax);
        }
      }
    }
  }
  if (executed.homes.empty()) return {};
  return homes_->judge(executed.homes, change, *mail_);
}

Result<std::vector<std::byte>> SpaceMachine::are_told(base::Bytes arguments) const {
  DOLMEN_TRY(const auto ids, decode_ids(arguments));
  const bool are_all = !homes_ || std::ranges::none_of(ids, [this](const ObjectId& id) {
    return homes_->table().find(id).answer == cluster::HomeAnswer::untold;
  });
  return std::vector<std::byte>{std::byte{static_cast<std::uint8_t>(are_all ? 1 : 0)}};
}

std::optional<Elsewhere> SpaceMachine::elsewhere(const ObjectId& object) const {
  const cluster::HomeFound found = homes_ ? homes_->table().find(object) : cluster::HomeFound{};
  if (found.answer == cluster::HomeAnswer::serves || found.answer == cluster::HomeAnswer::untold) {
    return std::nullopt;
  }
  return Elsewhere{.answer = found.answer, .group = found.group};
}

}  // namespace dolmen::node
