// SPDX-License-Identifier: Apache-2.0
#include "node/space_machine.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "node/open_space.hpp"
#include "node/space_post.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {

SpaceMachine::SpaceMachine(const sys::Env& env, sys::FaultDriver driver, SpaceFunctions functions,
                           const SpaceMachineOptions& options)
    : env_(env), driver_(driver), functions_(std::move(functions)), options_(options) {}

SpaceMachine::~SpaceMachine() { forget_space(); }

Result<std::unique_ptr<SpaceMachine>> SpaceMachine::open(const sys::Env& env,
                                                         std::unique_ptr<sys::Disk> disk,
                                                         sys::FaultDriver driver,
                                                         SpaceFunctions functions,
                                                         const SpaceMachineOptions& options) {
  for (const auto& [name, function] : functions) {
    if (name.size() > kFunctionNameMax || !function.body() || name.starts_with(kReservedPrefix)) {
      return fail(Errc::invalid_argument, "a function of a replicated space", name.size());
    }
  }
  std::unique_ptr<SpaceMachine> machine(
      new SpaceMachine(env, driver, std::move(functions), options));
  DOLMEN_TRY(machine->image_, SpaceImage::open(env, std::move(disk), options.image));
  return machine;
}

Result<void> SpaceMachine::open_space() {
  DOLMEN_ASSERT(waiting_.empty());
  if (position_ == 0) {
    if (image_->last_index() != 0) {
      return fail(Errc::already_exists, "a space of which the group's log knows nothing");
    }
    // The first one to lead gives the space its identity, with the first effect.
    DOLMEN_CHECK(image_->create({}));
  }
  DOLMEN_ASSERT_CMP(image_->last_index(), ==, position_);
  if (!DOLMEN_PLANTED("space.old_pages")) DOLMEN_CHECK(image_->settle());
  GroupStore::Hides hides;
  if (homes_) hides = [this](const ObjectId& id) { return homes_->is_hidden(id); };
  auto store =
      std::make_unique<GroupStore>(image_->store(), image_->record_bytes_max(), std::move(hides));
  GroupStore* const records = store.get();
  SpaceOptions options = options_.space;
  options.background = false;
  DOLMEN_TRY(Space space, node::open_space(env_, std::move(store), options, driver_));
  space_ = std::make_unique<Space>(std::move(space));
  store_ = records;
  DOLMEN_PROBE("space_machine.opened");
  return {};
}

void SpaceMachine::forget_space() const noexcept {
  space_.reset();
  store_ = nullptr;
  knows_import_ = false;
  import_.reset();
}

Result<std::vector<std::byte>> SpaceMachine::run(const SpaceCall& call, bool is_query) const {
  if (call.function == kPublishFunction && !is_query) return publish_named(call.arguments);
  const auto found = functions_.find(call.function);
  if (found == functions_.end()) {
    return fail(Errc::not_found, "a function of that name");  // which a client knows, and chose
  }
  if (is_query && !found->second.is_query()) {
    return fail(Errc::read_only, "a function that is no query");
  }
  try {
    return found->second.body()(*space_, call.arguments);
  } catch (const AccessError& access) {
    return std::unexpected(access.error());
  } catch (const std::exception& exception) {
    return fail(Errc::aborted, interned(exception.what()));
  } catch (...) {
    return fail(Errc::aborted, "an exception");
  }
}

Result<void> SpaceMachine::have_space() {
  leave_behind();
  if (space_ && DOLMEN_BUGGIFY("node.space_closed")) forget_space();
  if (!image_->space().is_null() && image_->store().failed()) return image_failed();
  if (space_) return {};
  if (!waiting_.empty() || env_.clock->monotonic_ns() < rest_until_ns_) {
    return fail(Errc::busy, "a space that is being opened");
  }
  auto opened = look_for_import();
  if (opened && import_) return fail(Errc::unfinished, "a space that is being imported");
  if (opened) opened = open_space();
  if (!opened) {
    // Another member's image may be better; this one ends with its next turn.
    failure_ = opened.error();
    return fail(Errc::busy, "a space that cannot be opened");
  }
  return {};
}

/// This machine ends with its next turn; another member's image may be better.
std::unexpected<Error> SpaceMachine::image_failed() {
  failure_ = Error(Errc::store_failed, "the image of a replicated space");
  forget_space();
  return fail(Errc::busy, "a space whose image failed");
}

Result<void> SpaceMachine::prepare_read() {
  const auto there = have_space();
  // read() says so: it is an answer.
  if (!there && there.error().code() == Errc::unfinished) return {};
  return there;
}

Result<std::vector<std::byte>> SpaceMachine::read(Bytes query) const {
  if (import_) return encode_reply(fail(Errc::unfinished, "a space that is being imported"));
  // It is open where the group is led.
  if (!space_) return fail(Errc::busy, "a space that is not open");
  // It holds an effect that is in nobody's log yet, and may never be.
  if (made_) return fail(Errc::busy, "a space that is being changed");
  DOLMEN_TRY(const SpaceCall call, decode_space_call(query));
  if (call.function == kHeadQuery) return encode_reply(encode(told_head()));
  if (call.function == kToldQuery) return encode_reply(are_told(call.arguments));
  if (call.function == kHomeQuery) {
    const auto asked = decode_home_query(call.arguments);
    if (!asked) return encode_reply(std::unexpected(asked.error()));
    if (!homes_) return encode_reply(fail(Errc::unsupported, "homes of a space in no cluster"));
    return encode_reply(encode(homes_->answer(*asked)));
  }
  store_->refuse_records(true);
  cluster::MailChange nothing;
  PostBox box(*space_, mail_.get(), homes_.get(), true, nothing);
  Result<std::vector<std::byte>> result = run(call, true);
  store_->refuse_records(false);
  if (store_->was_refused() || box.failure()) {
    result = fail(Errc::read_only, "a query that changes something");
  }
  // The function may have closed it.
  if (!space_->sync()) forget_space();
  // What it returned is of this disk, and no answer; see have_space().
  if (image_->store().failed()) return fail(Errc::busy, "a space whose image failed");
  return encode_reply(result);
}

Result<SpaceMachine::Executed> SpaceMachine::execute(const SpaceCall& call,
                                                     cluster::MailChange& change) {
  PostBox box(*space_, mail_.get(), homes_.get(), false, change);
  Executed executed{.result = run(call, false), .records = {}};
  if (image_->store().failed()) {
    return image_failed();  // what it returned is of this disk, and no result of the function
  }
  executed.records = store_->take_records();
  executed.homes = box.homes();
  executed.untold = box.untold();
  const Result<void> posted =
      box.failure() ? std::unexpected(*box.failure()) : judge_homes(executed, change);
  if (!posted) {
    // What it committed before is not to happen without what it could not post.
    executed.result = std::unexpected(posted.error());
    executed.is_refused = posted.error().code() == Errc::busy;
    change.posted.clear();
    executed.homes.clear();
    executed.untold.clear();
    if (!executed.records.empty()) forget_space();
    executed.records.clear();
  }
  return executed;
}

std::vector<std::byte> SpaceMachine::make_effect(const Executed& executed,
                                                 const cluster::MailChange& change) {
  std::vector<std::byte> reply = encode_reply(executed.result);
  if (executed.elsewhere) reply = encode(*executed.elsewhere);
  if (!executed.untold.empty() && !change.received) {
    reply = encode(UntoldReply{.objects = executed.untold, .reply = reply});
  }
  const std::vector<std::byte> homes = encode_home_commands(executed.homes);
  const bool has_mail = change.received || !change.posted.empty() || !change.acknowledged.empty();
  const std::vector<std::byte> mail = has_mail ? cluster::encode(change) : std::vector<std::byte>();
  SpaceEffect effect{.space = {},
                     .records = {executed.records.begin(), executed.records.end()},
                     .reply = reply,
                     .mail = mail,
                     .homes = homes};
  if (position_ == 0 && !executed.records.empty()) effect.space = image_->space();
  made_ = encode(effect);
  return *made_;
}

Result<std::vector<std::byte>> SpaceMachine::effect_of(Bytes request) {
  if (mail_ && MailPart::is_request(request)) return effect_of_mail(request);
  DOLMEN_TRY(SpaceCall call, decode_space_call(request));
  if (call.function == kImportFunction) return import_effect(call.arguments);
  if (call.function == kHomesFunction) return effect_of_homes(call.arguments);
  if (call.function == kPartsFunction) return effect_of_parts();
  if (const auto there = have_space(); !there) {
    if (there.error().code() != Errc::unfinished) return std::unexpected(there.error());
    // Told like a function's own error: whether to come again is the caller's business.
    return effect_without_records({}, std::unexpected(there.error()));
  }
  if (call.function == kAtFunction) {
    const auto at = decode_at_object(call.arguments);
    if (!at) return effect_without_records({}, std::unexpected(at.error()));
    // That it is not executed here is decided as well: so it never will be.
    if (const auto other = elsewhere(at->object)) {
      return make_effect({.result = std::vector<std::byte>{}, .records = {}, .elsewhere = other},
                         {});
    }
    const auto inside = decode_space_call(at->call);
    if (!inside) return effect_without_records({}, std::unexpected(inside.error()));
    call = *inside;
  }
  cluster::MailChange change;
  DOLMEN_TRY(const Executed executed, execute(call, change));
  std::vector<std::byte> effect = make_effect(executed, change);
  if (effect.size() > kEffectBytesMax) {
    leave_behind();
    return effect_without_records(
        {}, fail(Errc::too_large, "an effect on a replicated space", effect.size()));
  }
  // The function may have closed it.
  if (space_ && !space_->sync()) forget_space();
  return effect;
}

/// What was made last did not get into the log, and the space is not to be what it is.
void SpaceMachine::leave_behind() noexcept {
  if (!made_) return;
  made_.reset();
  forget_space();
}

std::vector<std::byte> SpaceMachine::apply(Bytes) {
  DOLMEN_ASSERT(false && "apply_at() is called instead");
  return {};
}

std::vector<std::byte> SpaceMachine::apply_at(std::uint64_t index, Bytes command) {
  const bool stays = DOLMEN_PLANTED("space.stays_open");
  const bool is_own = made_ && std::ranges::equal(*made_, command);
  if (is_own || stays) made_.reset();
  leave_behind();
  const auto effect = decode_space_effect(command);
  // All members refuse it alike.
  if (!effect) return encode_reply(std::unexpected(effect.error()));
  const std::uint64_t hidings = homes_ ? homes_->hidings() : 0;
  const auto mailed = apply_mail(index, *effect);
  // What it has mapped may not be for it to see any more.
  if (homes_ && homes_->hidings() != hidings) forget_space();
  if (!mailed) {
    if (!effect->records.empty()) forget_space();
    return encode_reply(std::unexpected(mailed.error()));
  }
  if (!is_own && !effect->records.empty() && !stays) forget_space();
  ObjectId space = effect->space;
  if (!space.is_null() && image_->last_index() != 0 && image_->space() != space) {
    failure_ = Error(Errc::corrupt, "a member's image is of another space");
  }
  const std::uint64_t before = position_;
  for (base::Bytes record : effect->records) {
    ++position_;
    const bool is_new = position_ > image_->last_index() + waiting_.size();
    // The image has the first of them since before it was started again: as if it had all.
    const bool is_begun = waiting_.empty() && image_->last_index() > before;
    if (is_new && is_begun && DOLMEN_PLANTED("space.effect_half")) record = effect->records[0];
    if (is_new || DOLMEN_PLANTED("space.record_twice")) {
      waiting_.push_back(
          {.index = index, .space = space, .record = {record.begin(), record.end()}});
    }
    space = {};
  }
  return {effect->reply.begin(), effect->reply.end()};
}

Result<void> SpaceMachine::put(const Waiting& waiting) {
  if (!waiting.space.is_null() && image_->last_index() == 0 && image_->space() != waiting.space) {
    // It may have been made for a space that nobody decided for.
    DOLMEN_ASSERT(!space_);
    DOLMEN_CHECK(image_->create(waiting.space));
  }
  if (image_->space().is_null()) return fail(Errc::corrupt, "a replicated space has no beginning");
  return image_->append(waiting.record);
}

Result<void> SpaceMachine::decided(std::uint64_t index) {
  if (failure_) return std::unexpected(*failure_);
  if (mail_) mail_->settle(index);
  if (homes_) homes_->settle(index);
  const bool is_early = DOLMEN_PLANTED("space.image_ahead");
  while (!waiting_.empty() && (waiting_.front().index <= index || is_early)) {
    DOLMEN_CHECK(put(waiting_.front()));
    const auto news = import_news_in(waiting_.front().record);
    is_room_due_ |=
        news && news->kind == ImportNews::Kind::given_up && news->state.cursor == ImportCursor{};
    waiting_.pop_front();
    // A member that starts has a whole log of them, for which the image's may have no room.
    if (!space_ && is_checkpoint_due()) DOLMEN_CHECK(checkpoint());
  }
  return waiting_.empty() && !made_ && is_checkpoint_due() ? checkpoint() : Result<void>();
}

bool SpaceMachine::is_checkpoint_due() {
  if (image_->space().is_null()) return false;
  const bool is_early = DOLMEN_BUGGIFY("node.image_checkpoint_early");
  if (!is_early && !is_room_due_ && !image_->store().checkpoint_due()) return false;
  const std::uint64_t early_bytes = is_early ? options_.image.tail_bytes_max / 4 : 0;
  return image_->store().stats().log_tail_bytes >= std::max(retry_at_bytes_, early_bytes);
}

/// Requires: nothing waits, or the space is not open.
Result<void> SpaceMachine::checkpoint() {
  const auto written = space_ ? space_->checkpoint() : image_->checkpoint();
  retry_at_bytes_ = 0;
  is_room_due_ = false;
  // The log stays longer then, which is all that is lost by it. Not with every turn anew.
  if (!written && written.error().code() == Errc::no_space) {
    retry_at_bytes_ = image_->store().stats().log_tail_bytes + options_.image.tail_bytes_max / 8;
    return {};
  }
  return written;
}

Result<std::vector<std::byte>> SpaceMachine::try_snapshot() {
  DOLMEN_ASSERT(waiting_.empty());
  leave_behind();
  // The log that it stands for is cut soon; so is the image's.
  // Whom the first record will belong to is not decided before it.
  if (position_ == 0) return state_of(ImageWriter({}).finish());
  // Started again, it takes in what its image has had already: that is no state of this position.
  if (image_->last_index() != position_) return fail(Errc::busy, "an image that is ahead");
  DOLMEN_CHECK(checkpoint());
  DOLMEN_CHECK(image_->sync());
  return state_of(ImageWriter({.space = image_->space(), .last_index = position_}).finish());
}

bool SpaceMachine::holds(const ImageHead& head) const {
  if (head.last_index == 0) return true;
  return image_->space() == head.space && image_->last_index() >= head.last_index;
}

bool SpaceMachine::has_received(const ImageHead& head) const {
  const auto received = image_->received();
  return received && received->space == head.space && received->last_index >= head.last_index;
}

bool SpaceMachine::has_state(Bytes reference) const {
  const auto head = decode_image_head(reference);
  return head && (holds(*head) || has_received(*head));
}

Result<std::unique_ptr<StateSource>> SpaceMachine::send_state(Bytes reference,
                                                              std::size_t part_bytes) {
  DOLMEN_TRY(const ImageHead head, decode_image_head(reference));
  auto source = image_->send(head, part_bytes);
  // This member ends with its next turn; who asked is only told that it is not here.
  if (!source && source.error().code() == Errc::store_failed) failure_ = source.error();
  return source;
}

Result<std::unique_ptr<StateSink>> SpaceMachine::receive_state(Bytes reference) {
  DOLMEN_TRY(const ImageHead head, decode_image_head(reference));
  return image_->receive(head);
}

std::vector<std::byte> SpaceMachine::snapshot() const {
  DOLMEN_ASSERT(false && "try_snapshot() is called instead");
  return {};
}

Result<void> SpaceMachine::restore(Bytes state) {
  DOLMEN_TRY(const SpaceState parts, decode_space_state(state));
  DOLMEN_TRY(const ImageHead head, decode_image_head(parts.head));
  reset();
  if (!parts.mail.empty()) {
    if (!mail_) return fail(Errc::corrupt, "the state of a space that exchanges mail");
    DOLMEN_CHECK(mail_->restore(parts.mail));
  }
  if (!parts.homes.empty()) {
    if (!homes_) return fail(Errc::corrupt, "the state of a space with a directory");
    DOLMEN_CHECK(homes_->restore(parts.homes));
  }
  // What the image has beyond it was decided as well, and is not taken in again.
  if (head.last_index == 0) return {};
  if (image_->last_index() != 0 && image_->space() != head.space) {
    return fail(Errc::corrupt, "a member's image is of another space");
  }
  if (!holds(head) && has_received(head)) {
    if (!DOLMEN_PLANTED("space.not_loaded")) DOLMEN_CHECK(image_->adopt());
  } else if (!holds(head)) {
    // Who has the log but not this: nothing brings it back but a new member in its place.
    return fail(Errc::corrupt,
                "the image of a replicated space is older than its log: remove the member's "
                "directories and replace it",
                image_->last_index());
  } else if (!DOLMEN_PLANTED("space.held_not_synced")) {
    // The entries behind it go out of the log: nothing else brings them back after a crash.
    DOLMEN_CHECK(image_->sync());
  }
  position_ = head.last_index;
  return {};
}

void SpaceMachine::reset() {
  forget_space();
  made_.reset();
  waiting_.clear();
  retry_at_bytes_ = 0;
  rest_until_ns_ = 0;
  leaving_.clear();
  position_ = 0;
  if (mail_) mail_->reset();
  if (homes_) homes_->reset();
}

Result<void> SpaceMachine::close() {
  forget_space();
  return image_->close();
}

}  // namespace dolmen::node
