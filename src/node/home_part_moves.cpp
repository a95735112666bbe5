// SPDX-License-Identifier: Apache-2.0
//
// What a HomePart does about objects that move: who may see and write them, and what clients and
// leaders ask for becomes commands.
#include <algorithm>
#include <utility>

#include "base/hooks.hpp"
#include "node/home_part.hpp"
#include "node/space_effect.hpp"

namespace dolmen::node {

using cluster::HomeCommand;
using cluster::HomeRow;
using cluster::HomeState;
using cluster::HomeVerdict;

namespace {

/// Of one entry, beside whatever else it holds.
constexpr std::size_t kPostedPartsMax = 8;

}  // namespace

const std::vector<std::byte>& parts_request() {
  static const std::vector<std::byte> request =
      encode(SpaceCall{.function = kPartsFunction, .arguments = {}});
  return request;
}

bool HomePart::is_frozen(const ObjectId& id) const {
  const auto found = table_.rows().find(id);
  if (found == table_.rows().end() || DOLMEN_PLANTED("homes.frozen_written")) return false;
  return found->second.state == HomeState::leaving;
}

bool HomePart::is_hidden(const ObjectId& id) const {
  const auto found = table_.rows().find(id);
  if (found == table_.rows().end()) return false;
  if (found->second.state == HomeState::arriving) return true;
  if (found->second.state != HomeState::leaving) return false;
  return !table_.find(id).is_current;
}

std::optional<cluster::HomeMail> HomePart::mail_in(const cluster::MailChange& change) {
  if (!change.received || !cluster::is_home_mail(change.received->bytes)) return std::nullopt;
  auto decoded = cluster::decode_home_mail(change.received->bytes);
  if (!decoded) return std::nullopt;
  return std::move(*decoded);
}

std::vector<HomeCommand> HomePart::taking(const cluster::HomeMail& mail,
                                          cluster::HomeRefusal refuse) const {
  std::vector<HomeCommand> commands;
  // Whom to tell of it when it is here.
  if (std::holds_alternative<cluster::home::Part>(mail) && table_.shards().empty()) {
    std::vector<cluster::GroupNumber> shards = shards_();
    if (!shards.empty() && std::ranges::find(shards, cluster::GroupNumber{0}) == shards.end()) {
      commands.emplace_back(cluster::home::SetShards{std::move(shards)});
    }
  }
  commands.emplace_back(cluster::home::Take{refuse});
  return commands;
}

Result<std::vector<HomeDone>> HomePart::done_by(const std::vector<HomeCommand>& commands,
                                                cluster::MailChange change) {
  const std::uint64_t hidings = hidings_;
  std::vector<HomeDone> done;
  const bool is_done = carry_out(~log::Index{0}, commands, change, &done);
  table_.undo(~log::Index{0});
  hidings_ = hidings;
  if (!is_done) return fail(Errc::busy, "homes of objects");
  return done;
}

HomeReply HomePart::plan(const HomeRequest& request, const cluster::home::Move& move,
                         std::vector<HomeCommand>& commands) const {
  const HomeCommand command = [&]() -> HomeCommand {
    switch (request.kind) {
      case HomeRequest::Kind::move:
        return move;
      case HomeRequest::Kind::cancel:
        return cluster::home::CancelMove{request.object};
      case HomeRequest::Kind::drain:
        return cluster::home::Drain{true};
      case HomeRequest::Kind::undrain:
        return cluster::home::Drain{false};
      case HomeRequest::Kind::close:
        break;
    }
    return cluster::home::Close{request.group};
  }();
  const cluster::HomePlan plan = table_.plan(command);
  HomeReply reply{.verdict = plan.verdict};
  if (plan.verdict != HomeVerdict::applied) return reply;
  for (const auto& [id, row] : plan.rows) {
    if (row) reply.move = row->move;
  }
  commands.push_back(command);
  return reply;
}

Result<std::vector<HomeCommand>> HomePart::post_parts(const ReadPart& read) const {
  std::vector<HomeCommand> commands;
  for (const cluster::HomePartWanted& wanted : table_.parts_wanted()) {
    if (commands.size() == kPostedPartsMax) break;
    if (!commands.empty() && DOLMEN_BUGGIFY("node.parts_few")) break;
    DOLMEN_TRY(auto bytes, read(wanted.id, wanted.offset, wanted.bytes));
    commands.emplace_back(cluster::home::PostPart{
        .id = wanted.id, .number = wanted.number, .bytes = std::move(bytes)});
  }
  return commands;
}

void HomePart::remember_refusal(const cluster::HomeMail& mail) {
  const auto* const refused = std::get_if<cluster::home::Refused>(&mail);
  if (refused == nullptr) return;
  refusals_.emplace_back(refused->id, *refused);
  if (refusals_.size() > kRefusalsKept) refusals_.pop_front();
}

HomeStatus HomePart::status_of(const ObjectId& id, const HomeRow* row) const {
  HomeStatus status{.object = id};
  if (row != nullptr) {
    status.state = row->state;
    status.is_registered = row->is_registered;
    status.peer = row->peer;
    status.counter = row->counter;
    status.move = row->move;
  }
  for (const auto& [object, refused] : refusals_) {
    if (object != id) continue;
    status.refused = refused.move;
    status.why = refused.why;
  }
  return status;
}

HomeListing HomePart::answer(const HomeQuery& query) const {
  HomeListing listing{.is_draining = table_.is_draining(),
                      .is_drained = table_.is_drained(),
                      .is_closed = query.group != 0 && table_.has_closed(query.group),
                      .rows = table_.rows().size()};
  if (query.kind == HomeQuery::Kind::object) {
    const auto found = table_.rows().find(query.object);
    const HomeRow* const row = found == table_.rows().end() ? nullptr : &found->second;
    listing.objects.push_back(status_of(query.object, row));
  } else if (query.kind == HomeQuery::Kind::list) {
    for (auto each = table_.rows().upper_bound(query.object);
         each != table_.rows().end() && listing.objects.size() < query.limit; ++each) {
      listing.objects.push_back(status_of(each->first, &each->second));
    }
  }
  return listing;
}

}  // namespace dolmen::node
