// SPDX-License-Identifier: Apache-2.0
//
// A replicated space that is imported: what its leader makes of the parts.
#include <algorithm>
#include <array>
#include <utility>

#include "base/commit_record.hpp"
#include "base/hooks.hpp"
#include "node/space_machine.hpp"

namespace dolmen::node {

/// Requires: nothing waits.
Result<void> SpaceMachine::look_for_import() {
  if (knows_import_) return {};
  import_.reset();
  // This member ends with its next turn; what was tried in vain may have closed the image.
  if (failure_) return std::unexpected(*failure_);
  if (position_ == 0 && image_->last_index() != 0) {
    return fail(Errc::already_exists, "a space of which the group's log knows nothing");
  }
  if (position_ != 0) {
    if (!DOLMEN_PLANTED("space.old_pages")) DOLMEN_CHECK(image_->settle());
    DOLMEN_TRY(const auto marker, image_->store().find(kImportMarker));
    if (marker && !DOLMEN_PLANTED("import.opened_early")) {
      if (marker->capacity_log2 != kMarkerCapacityLog2) {
        return fail(Errc::corrupt, "the marker of an import");
      }
      std::array<std::byte, std::size_t{1} << kMarkerCapacityLog2> page{};
      DOLMEN_CHECK(image_->store().read_page({kImportMarker, 0}, page));
      DOLMEN_TRY(import_, decode_import_state(page));
    }
  }
  knows_import_ = true;
  return {};
}

SpaceHead SpaceMachine::told_head() const {
  SpaceHead told;
  if (position_ == 0) return told;  // whose it is comes with the first record
  const store::StoreStats stats = image_->store().stats();
  told.head = {.space = image_->space(), .last_index = position_};
  told.bytes = stats.pages_live_bytes + stats.log_tail_bytes;
  return told;
}

/// Would the next who leads be able to open it? What nobody can open, nobody gets in.
Result<void> SpaceMachine::finish_import(const ImportState& at) {
  if (at.cursor != import_->cursor) return {};
  DOLMEN_CHECK(image_->settle());
  const ImportState kept = *import_;
  const auto opened = open_space();
  forget_space();
  knows_import_ = true;
  import_ = kept;
  return opened;
}

/// Erases what is here of it, as much as one record should. The marker stays: nobody opens the
/// space, and nobody goes on with the import.
Result<std::vector<std::byte>> SpaceMachine::give_up_import(std::vector<std::byte>& record) {
  const bool is_over = import_->is_given_up && import_->cursor == ImportCursor{};
  if (is_over) return encode(*import_);
  DOLMEN_CHECK(image_->settle());
  constexpr std::size_t kMarkerRoom = 256;
  const std::size_t most = std::min(
      kErasedAtOnceMax, (image_->record_bytes_max() - kMarkerRoom) / base::kSectionHeaderBytes);
  std::vector<ObjectId> here;
  DOLMEN_CHECK(image_->store().for_each_object([&](const store::ObjectInfo& info) {
    if (info.object != kImportMarker) here.push_back(info.object);
    return here.size() <= most;
  }));
  const bool is_rest = here.size() <= most;
  here.resize(std::min(here.size(), most));
  import_->is_given_up = true;
  if (is_rest) import_->cursor = {};
  record = record_that_erases(*import_, here);
  return encode(*import_);
}

/// What is told; and the record that makes it so, if there is to be one.
Result<std::vector<std::byte>> SpaceMachine::import_step(const ImportCall& call,
                                                         std::vector<std::byte>& record) {
  if (call.step == ImportStep::begin && !import_) {
    if (position_ != 0) return fail(Errc::already_exists, "a space that is in use");
    const ImportState begun{.source = call.at.source, .cursor = {}};
    record = first_record(begun);
    import_ = begun;
    return encode(begun);
  }
  if (!import_) return fail(Errc::not_found, "an import");
  if (call.step == ImportStep::give_up) return give_up_import(record);
  if (import_->is_given_up) return fail(Errc::already_exists, "an import that was given up");
  if (import_->source != call.at.source) {
    return fail(Errc::already_exists, "another space, or another moment of it, is imported there",
                import_->source.last_index);
  }
  // What was asked for twice, or of what this leader knows less or more: it says how far it is.
  if (call.step == ImportStep::begin || call.at.cursor != import_->cursor) return encode(*import_);
  if (call.step == ImportStep::finish) {
    DOLMEN_CHECK(finish_import(call.at));
    record = last_record();
    return encode(*std::exchange(import_, std::nullopt));
  }
  const std::size_t room = std::min(image_->record_bytes_max(), kEffectBytesMax - 1024);
  DOLMEN_TRY(ImportedPart part, record_of(*import_, call.pages, room));
  record = std::move(part.record);
  import_->cursor = part.cursor;
  return encode(*import_);
}

Result<std::vector<std::byte>> SpaceMachine::import_effect(base::Bytes arguments) {
  leave_behind();
  std::vector<std::byte> record;
  const auto step = [&]() -> Result<std::vector<std::byte>> {
    DOLMEN_TRY(const ImportCall call, decode_import_call(arguments));
    // One that is open is not imported, and is not shut for who asks in vain.
    if (space_ && position_ != 0) {
      if (call.step != ImportStep::begin) return fail(Errc::not_found, "an import");
      return fail(Errc::already_exists, "a space that is in use");
    }
    return import_step(call, record);
  };
  if (!space_ || position_ == 0) {
    if (space_) forget_space();
    if (!waiting_.empty()) return fail(Errc::busy, "a space that is being imported");
    if (const auto known = look_for_import(); !known) {
      failure_ = known.error();
      return fail(Errc::busy, "a space that cannot be read");
    }
  }
  const std::vector<std::byte> reply = encode_reply(step());
  if (image_->last_index() != 0 && image_->store().failed()) return image_failed();
  SpaceEffect effect{.space = {}, .records = {}, .reply = reply};
  if (!record.empty()) effect.records.emplace_back(record);
  if (position_ == 0 && import_) effect.space = import_->source.space;
  made_ = encode(effect);
  return *made_;
}

}  // namespace dolmen::node
