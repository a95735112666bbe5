// SPDX-License-Identifier: Apache-2.0
//
// A space as a replicated state machine. docs/replicated-space.md says how it works.
//
// Invariants:
//   1. The image holds decided records only; position() - image.last_index() records wait.
//   2. While the space is open, it is the image, the waiting records, and the records of the one
//      effect that is not applied yet: whatever else is applied closes it.
//   3. The space is opened on an image for which nothing waits, and never while something is
//      imported (space_import.hpp).
//
// Threads: one (the member's).
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dolmen/replicated_space.hpp>
#include <dolmen/space.hpp>
#include <dolmen/state_machine.hpp>

#include "node/group_store.hpp"
#include "node/home_part.hpp"
#include "node/mail_part.hpp"
#include "node/object_parts.hpp"
#include "node/space_effect.hpp"
#include "node/space_image.hpp"
#include "node/space_import.hpp"
#include "sys/memory.hpp"

namespace dolmen::node {

struct SpaceMachineOptions {
  SpaceImageOptions image{};
  SpaceOptions space{};
};

class SpaceMachine final : public StateMachine {
 public:
  /// `env` outlives it. Errors: as SpaceImage::open().
  [[nodiscard]] static Result<std::unique_ptr<SpaceMachine>> open(
      const sys::Env& env, std::unique_ptr<sys::Disk> disk, sys::FaultDriver driver,
      SpaceFunctions functions, const SpaceMachineOptions& options);
  ~SpaceMachine() override;

  /// Before anything else is called: the group is one of a cluster, and exchanges mail with others.
  void use_mail(const cluster::GroupId& self, MailPart::Find find,
                const cluster::MailLimits& limits = {});
  /// Null: it does not.
  [[nodiscard]] MailPart* mail() noexcept { return mail_.get(); }
  /// Likewise, behind use_mail(): its objects may be in the cluster's directory.
  void use_homes(HomePart::Shards shards, const cluster::HomeLimits& limits = {});
  /// Null: they may not.
  [[nodiscard]] const HomePart* homes() const noexcept { return homes_.get(); }

  Result<std::vector<std::byte>> effect_of(Bytes request) override;
  std::vector<std::byte> apply_at(std::uint64_t index, Bytes command) override;
  std::vector<std::byte> apply(Bytes command) override;
  Result<void> decided(std::uint64_t index) override;
  [[nodiscard]] bool executes_ahead() const override { return true; }
  [[nodiscard]] bool keeps_state() const override { return true; }
  [[nodiscard]] Bytes reference_in(Bytes state) const override;
  [[nodiscard]] bool has_state(Bytes reference) const override;
  Result<std::unique_ptr<StateSource>> send_state(Bytes reference, std::size_t part_bytes) override;
  Result<std::unique_ptr<StateSink>> receive_state(Bytes reference) override;
  [[nodiscard]] bool waits_for_decided() const override { return space_ == nullptr; }
  Result<void> prepare_read() override;
  Result<std::vector<std::byte>> read(Bytes query) const override;
  Result<std::vector<std::byte>> try_snapshot() override;
  [[nodiscard]] std::vector<std::byte> snapshot() const override;
  Result<void> restore(Bytes state) override;
  void reset() override;

  /// How many records the space has had, decided or not.
  [[nodiscard]] store::Index position() const noexcept { return position_; }
  [[nodiscard]] SpaceImage& image() noexcept { return *image_; }
  /// Syncs the image and ends. Errors: store_failed.
  [[nodiscard]] Result<void> close();

 private:
  struct Waiting {
    std::uint64_t index = 0;  ///< of the effect's entry
    ObjectId space;           ///< null: not its first record
    std::vector<std::byte> record;
  };

  SpaceMachine(const sys::Env& env, sys::FaultDriver driver, SpaceFunctions functions,
               const SpaceMachineOptions& options);
  // An import (space_machine_import.cpp).
  [[nodiscard]] Result<std::vector<std::byte>> import_effect(base::Bytes arguments);
  [[nodiscard]] Result<std::vector<std::byte>> import_step(const ImportCall& call,
                                                           std::vector<std::byte>& record);
  [[nodiscard]] Result<void> finish_import(const ImportState& at);
  [[nodiscard]] Result<std::vector<std::byte>> give_up_import(std::vector<std::byte>& record);
  /// Knows whether something is imported. Requires: nothing waits. Errors: of the image.
  [[nodiscard]] Result<void> look_for_import();
  [[nodiscard]] SpaceHead told_head() const;

  /// It is there, and is what was applied. Errors: busy; unfinished (something is imported).
  [[nodiscard]] Result<void> have_space();
  [[nodiscard]] std::unexpected<Error> image_failed();
  [[nodiscard]] Result<void> open_space();
  void forget_space() const noexcept;
  void leave_behind() noexcept;
  [[nodiscard]] Result<std::vector<std::byte>> run(const SpaceCall& call, bool is_query) const;
  /// What kPublishFunction is.
  [[nodiscard]] Result<std::vector<std::byte>> publish_named(base::Bytes argument) const;
  struct Executed {
    Result<std::vector<std::byte>> result;
    std::vector<std::vector<std::byte>> records;
    bool is_refused = false;  ///< there is no room for what it posts
    std::vector<cluster::HomeCommand> homes{};
    std::vector<ObjectId> untold{};  ///< of which nobody hears before the directory has logged them
    std::optional<Elsewhere> elsewhere{};  ///< what a call is told that was not executed
  };

  // Mail: space_machine_mail.cpp.
  /// Runs the function that a mail asks for; the effect consumes it.
  [[nodiscard]] Result<std::vector<std::byte>> effect_of_mail(Bytes request);
  /// The effect of a mail about homes of objects.
  [[nodiscard]] Result<std::vector<std::byte>> effect_of_home_mail(
      const cluster::MailChange& change);
  /// What becomes of homes by what the function published, and by what it erased.
  [[nodiscard]] Result<void> judge_homes(Executed& executed, const cluster::MailChange& change);
  /// Of kToldQuery.
  [[nodiscard]] Result<std::vector<std::byte>> are_told(base::Bytes arguments) const;
  /// Where an object is, if it is not here.
  [[nodiscard]] std::optional<Elsewhere> elsewhere(const ObjectId& object) const;

  // Objects that move: space_machine_moves.cpp.
  /// Of kHomesFunction.
  [[nodiscard]] Result<std::vector<std::byte>> effect_of_homes(base::Bytes arguments);
  /// Of kPartsFunction.
  [[nodiscard]] Result<std::vector<std::byte>> effect_of_parts();
  /// The space is closed, and the image is all that was executed. Errors: busy; unfinished.
  [[nodiscard]] Result<void> come_to_rest();
  [[nodiscard]] Result<const ObjectParts*> parts_of(const ObjectId& object);
  /// Why what arrived is not taken, as whoever leads sees it. Requires: the space is open.
  struct Arriving;
  [[nodiscard]] Result<cluster::HomeRefusal> look_at(const cluster::home::Part& part,
                                                     Arriving& arriving);
  [[nodiscard]] Result<cluster::HomeRefusal> look_at_types(Arriving& arriving);
  /// What the entry changes in the image. Requires: the space is open.
  [[nodiscard]] Result<std::vector<std::byte>> record_for(const std::vector<HomeDone>& done,
                                                          const Arriving& arriving);
  /// The effect that nobody's records are in.
  std::vector<std::byte> effect_without_records(const cluster::MailChange& change,
                                                const Result<std::vector<std::byte>>& result);
  [[nodiscard]] std::vector<std::byte> state_of(std::vector<std::byte> head) const;
  /// Runs it in the open space, and makes an effect of what it did; `change` is its mail, to which
  /// what it posts is added. It may be too large; if a post failed it holds no records.
  [[nodiscard]] Result<Executed> execute(const SpaceCall& call, cluster::MailChange& change);
  [[nodiscard]] std::vector<std::byte> make_effect(const Executed& executed,
                                                   const cluster::MailChange& change);
  /// Of the entry at `index`; nothing else in it is to happen if it says an error.
  [[nodiscard]] Result<void> apply_mail(std::uint64_t index, const SpaceEffect& effect);
  [[nodiscard]] Result<void> put(const Waiting& waiting);
  [[nodiscard]] Result<void> checkpoint();
  [[nodiscard]] bool is_checkpoint_due();
  /// Whether the image has these records; whether what was received has.
  [[nodiscard]] bool holds(const ImageHead& head) const;
  [[nodiscard]] bool has_received(const ImageHead& head) const;

  const sys::Env& env_;
  const sys::FaultDriver driver_;
  const SpaceFunctions functions_;
  const SpaceMachineOptions options_;
  std::unique_ptr<SpaceImage> image_;
  std::unique_ptr<MailPart> mail_;   ///< null: the space is in no cluster
  std::unique_ptr<HomePart> homes_;  ///< likewise
  store::Index position_ = 0;
  std::deque<Waiting> waiting_;
  std::uint64_t retry_at_bytes_ = 0;  ///< of the image's log: after a checkpoint without room
  bool is_room_due_ = false;  ///< what a checkpoint frees is not to wait for a log that grows
  /// Until then the space is not opened: somebody waits for the image to be all that was executed.
  std::uint64_t rest_until_ns_ = 0;
  std::map<ObjectId, ObjectParts> leaving_{};  ///< as far as this leader posted parts of them
  // Made from the image, and again when it is needed: to drop it changes nothing.
  mutable GroupStore* store_ = nullptr;  ///< of the space
  mutable std::unique_ptr<Space> space_;
  mutable bool knows_import_ = false;
  mutable std::optional<ImportState> import_{};  ///< that is under way, if that is known
  std::optional<Error> failure_;                 ///< of the image: the member has to end
  std::optional<std::vector<std::byte>> made_;   ///< the last effect, until it is applied
};

}  // namespace dolmen::node
