// SPDX-License-Identifier: Apache-2.0
//
// Objects that a space gives to another one, and takes from others (docs/homes.md, In a cluster):
// what its leader makes of what clients ask and of mail. Both change the image by records that are
// not the open space's; so it is closed, and opened again on what it is then.
#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "base/commit_record.hpp"
#include "base/hooks.hpp"
#include "node/space_machine.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {

using cluster::HomeCommand;
using cluster::HomeRefusal;

namespace {

/// Calls wait so long at most for the image to be all that was executed.
constexpr std::uint64_t kRestNs = 20'000'000;
/// What a disk has to have left beside what arrives.
constexpr std::uint64_t kRoomLeft = 64u << 20;
/// Beside what runs hold.
constexpr std::size_t kCellInRecord = base::kRunHeaderBytes + 2 * base::kSectionHeaderBytes;

}  // namespace

struct SpaceMachine::Arriving {
  std::vector<PageCell> cells{};               ///< of the object
  std::vector<std::vector<PageCell>> types{};  ///< that are not here yet: of each, its cells
  std::optional<std::uint8_t> known{};         ///< its class, if pages of it are here
};

Result<void> SpaceMachine::come_to_rest() {
  leave_behind();
  forget_space();
  if (!waiting_.empty()) {
    rest_until_ns_ = env_.clock->monotonic_ns() + kRestNs;
    return fail(Errc::busy, "a space that is being closed");
  }
  rest_until_ns_ = 0;
  auto known = look_for_import();
  if (known && import_) return fail(Errc::unfinished, "a space that is being imported");
  if (known && position_ != 0) known = image_->settle();
  if (known) return {};
  failure_ = known.error();
  return fail(Errc::busy, "a space that cannot be read");
}

Result<std::vector<std::byte>> SpaceMachine::effect_of_homes(base::Bytes arguments) {
  leave_behind();
  const auto request = decode_home_request(arguments);
  if (!request) return effect_without_records({}, std::unexpected(request.error()));
  if (!homes_) {
    return effect_without_records({}, fail(Errc::unsupported, "homes of a space in no cluster"));
  }
  Executed executed{.result = std::vector<std::byte>{}, .records = {}};
  cluster::home::Move move{.id = request->object,
                           .to = request->group,
                           .object_bytes = kCellBytes,
                           .part_bytes = kObjectPartBytes};
  HomeReply reply = homes_->plan(*request, move, executed.homes);
  if (request->kind == HomeRequest::Kind::move && !executed.homes.empty()) {
    executed.homes.clear();
    if (const auto rests = come_to_rest(); !rests) {
      if (rests.error().code() == Errc::busy) return std::unexpected(rests.error());
      return effect_without_records({}, std::unexpected(rests.error()));
    }
    auto parts = ObjectParts::make(image_->store(), *env_.memory, request->object);
    if (!parts) return effect_without_records({}, std::unexpected(parts.error()));
    move.object_bytes = parts->bytes();
    move.hash = parts->hash();
    reply = homes_->plan(*request, move, executed.homes);
    leaving_.insert_or_assign(request->object, std::move(*parts));
  }
  if (!executed.homes.empty()) DOLMEN_CHECK(homes_->judge(executed.homes, {}, *mail_));
  executed.result = encode(reply);
  return make_effect(executed, {});
}

Result<const ObjectParts*> SpaceMachine::parts_of(const ObjectId& object) {
  const cluster::HomeRow& row = homes_->table().rows().at(object);
  const auto is_frozen_one = [&](const ObjectParts& parts) {
    return parts.bytes() == row.object_bytes && parts.hash() == row.hash;
  };
  const auto found = leaving_.find(object);
  if (found != leaving_.end()) {
    if (is_frozen_one(found->second)) return &found->second;
    // Of a move before, of which another member led the next one.
    DOLMEN_PROBE("space_machine.former_parts");
    leaving_.erase(found);
  }
  // The image shows what was executed up to when it was opened, which may be before the object was
  // frozen by another leader.
  if (!come_to_rest()) return fail(Errc::busy, "a space that is being closed");
  DOLMEN_TRY(auto parts, ObjectParts::make(image_->store(), *env_.memory, object));
  if (is_frozen_one(parts)) return &leaving_.emplace(object, std::move(parts)).first->second;
  return fail(Errc::corrupt, "an object that moves is not what it was");
}

Result<std::vector<std::byte>> SpaceMachine::effect_of_parts() {
  leave_behind();
  if (!homes_ || !homes_->wants_parts()) {
    return effect_without_records({}, std::vector<std::byte>{});
  }
  if (failure_) return fail(Errc::busy, "a space that cannot be read");
  std::erase_if(leaving_, [this](const auto& one) { return !homes_->is_frozen(one.first); });
  ObjectId failed{};
  auto commands = homes_->post_parts([&](const ObjectId& id, std::uint64_t offset,
                                         std::size_t bytes) -> Result<std::vector<std::byte>> {
    failed = id;
    DOLMEN_TRY(const ObjectParts* const parts, parts_of(id));
    return parts->read(image_->store(), offset, bytes);
  });
  if (!commands && commands.error().code() == Errc::busy) {
    return std::unexpected(commands.error());
  }
  // One that cannot be read stays here, as it is.
  if (!commands) {
    DOLMEN_PROBE("space_machine.unreadable_asked_back");
    commands = std::vector<HomeCommand>{cluster::home::CancelMove{failed}};
  }
  Executed executed{.result = std::vector<std::byte>{}, .records = {}, .homes = *commands};
  DOLMEN_CHECK(homes_->fit(executed.homes, *mail_));
  return make_effect(executed, {});
}

Result<HomeRefusal> SpaceMachine::look_at(const cluster::home::Part& part, Arriving& arriving) {
  const auto found = image_->store().find(part.id);
  if (!found) return std::unexpected(found.error());
  if (part.number == 1) {
    // Also one that is not in the image yet.
    const auto there = space_->core().home(part.id);
    if (there) return HomeRefusal::exists;
    if (there.error().code() != Errc::not_found) return std::unexpected(there.error());
    if (part.object_bytes > kMovedBytesMax) return HomeRefusal::no_space;
    const auto left = image_->free_bytes();
    if (left && *left < part.object_bytes + kRoomLeft) return HomeRefusal::no_space;
  } else if (*found) {
    arriving.known = (*found)->capacity_log2;
  }
  const auto cells = decode_cells(part.bytes);
  if (!cells || cells->empty()) return HomeRefusal::damaged;
  std::optional<std::uint8_t> capacity_log2 = arriving.known;
  std::size_t bytes = 0;
  for (const PageCell& cell : *cells) {
    bytes += cell.bytes.size() + kCellInRecord;
    if (cell.object == part.id) {
      if (capacity_log2 && *capacity_log2 != cell.capacity_log2) return HomeRefusal::damaged;
      capacity_log2 = cell.capacity_log2;
      arriving.cells.push_back(cell);
      continue;
    }
    // Descriptions come first.
    if (!arriving.cells.empty()) return HomeRefusal::damaged;
    if (arriving.types.empty() || arriving.types.back().front().object != cell.object) {
      const bool is_again = std::ranges::any_of(
          arriving.types,
          [&](const std::vector<PageCell>& type) { return type.front().object == cell.object; });
      if (is_again) return HomeRefusal::damaged;
      arriving.types.emplace_back();
    }
    arriving.types.back().push_back(cell);
  }
  if (bytes > image_->record_bytes_max()) return HomeRefusal::no_space;
  return look_at_types(arriving);
}

Result<HomeRefusal> SpaceMachine::look_at_types(Arriving& arriving) {
  std::vector<std::vector<PageCell>> lacking;
  for (std::vector<PageCell>& cells : arriving.types) {
    const auto type = verify_type(*env_.memory, cells);
    if (!type) {
      if (type.error().code() == Errc::out_of_memory) return std::unexpected(type.error());
      return HomeRefusal::damaged;
    }
    const auto here = space_->core().home(cells.front().object);
    if (!here) {
      if (here.error().code() != Errc::not_found) return std::unexpected(here.error());
      lacking.push_back(std::move(cells));
      continue;
    }
    space_->core().load_all(**here);
    const auto its = type_in((*here)->base, (*here)->capacity_log2());
    if (!its) return std::unexpected(its.error());
    if (its->identity != type->identity) return HomeRefusal::type_conflict;
  }
  arriving.types = std::move(lacking);
  return HomeRefusal::none;
}

Result<std::vector<std::byte>> SpaceMachine::record_for(const std::vector<HomeDone>& done,
                                                        const Arriving& arriving) {
  base::CommitRecordWriter record;
  const auto write = [&](std::span<const PageCell> cells) {
    record.write(cells.front().object);
    for (const PageCell& cell : cells) {
      record.run(cell.page * static_cast<std::uint32_t>(cell.bytes.size()), cell.bytes);
    }
  };
  for (const HomeDone& each : done) {
    switch (each.kind) {
      case cluster::HomeBytes::Kind::put_aside:
        for (const std::vector<PageCell>& type : arriving.types) {
          record.create(type.front().object, type.front().capacity_log2);
          write(type);
        }
        if (arriving.cells.empty()) break;
        if (!arriving.known) record.create(each.id, arriving.cells.front().capacity_log2);
        write(arriving.cells);
        break;
      case cluster::HomeBytes::Kind::publish:
        break;
      case cluster::HomeBytes::Kind::drop:
      case cluster::HomeBytes::Kind::erase: {
        DOLMEN_TRY(const auto there, image_->store().find(each.id));
        if (there) record.erase(each.id);
        break;
      }
    }
  }
  return std::vector<std::byte>(record.bytes().begin(), record.bytes().end());
}

Result<std::vector<std::byte>> SpaceMachine::effect_of_home_mail(
    const cluster::MailChange& change) {
  const auto mail = HomePart::mail_in(change);
  Executed taken{.result = std::vector<std::byte>{}, .records = {}};
  // Of a later version: all that can be done is to let the next one pass.
  if (!mail) return effect_without_records(change, std::vector<std::byte>{});
  const auto* const part = std::get_if<cluster::home::Part>(&*mail);
  taken.homes = homes_->taking(*mail, HomeRefusal::none);
  DOLMEN_TRY(auto done, homes_->done_by(taken.homes, change));
  if (part == nullptr && done.empty()) {
    DOLMEN_CHECK(homes_->judge(taken.homes, change, *mail_));
    return make_effect(taken, change);
  }
  // Whatever is in the way, an import among it: the mail comes again.
  if (!have_space()) return fail(Errc::busy, "a space that is not open");
  const auto cannot = [this](const Error& error) {
    if (error.code() != Errc::out_of_memory) failure_ = error;
    return fail(Errc::busy, "a space that cannot be read");
  };
  Arriving arriving;
  // What is refused anyway is not looked at.
  if (part != nullptr && !done.empty()) {
    const auto looked = look_at(*part, arriving);
    if (!looked) return cannot(looked.error());
    taken.homes = homes_->taking(*mail, *looked);
    DOLMEN_TRY(done, homes_->done_by(taken.homes, change));
  }
  auto record = record_for(done, arriving);
  if (!record) return cannot(record.error());
  if (!record->empty()) {
    // A space that is new begins with what opening it made.
    taken.records = store_->take_records();
    forget_space();
    taken.records.push_back(std::move(*record));
  }
  DOLMEN_CHECK(homes_->judge(taken.homes, change, *mail_));
  return make_effect(taken, change);
}

}  // namespace dolmen::node
