// SPDX-License-Identifier: Apache-2.0
//
// A tally whose group also moves money to others by mail (docs/mail.md), and publishes objects that
// are nothing but ids (docs/homes.md): the state machine of simulated nodes. Its mail is
// node/mail_part.hpp and its homes are node/home_part.hpp, as a space's are.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <dolmen/state_machine.hpp>

#include "base/bytes.hpp"
#include "node/home_part.hpp"
#include "node/mail_part.hpp"

namespace dolmen::sim {

/// A group of this name keeps a real space (space_books.hpp); if there is one, banks send it money,
/// as calls of this function.
inline constexpr const char* kSpaceGroup = "s";
inline constexpr const char* kCameFunction = "came";

/// Commands are those of Tally. Some of them, as their amount says, also send as much money as
/// there never was to another group, which may send it on: what all groups have together is
/// nothing. What was sent and what came is in the books, so that a judge sees what is missing, or
/// there twice, or in another order. Others publish an object, where there is a directory, erase
/// one, write to one, which is counted in it and beside it, or move one to another group. What a
/// leader saw when it executed ahead is in its command: if that is not what comes out, the number
/// is wrong for ever.
class MailBank final : public StateMachine {
 public:
  /// What a mail says.
  struct Money {
    std::uint64_t id = 0;
    std::int64_t amount = 0;
    std::uint64_t hops = 0;    ///< how often it is sent on
    std::uint64_t sender = 0;  ///< a group, to a space; of others the mail says it
  };
  [[nodiscard]] static std::vector<std::byte> bytes_of(const Money& money, std::size_t padding);
  /// Errors: corrupt.
  [[nodiscard]] static Result<Money> money_in(base::Bytes bytes);
  /// Of another group: the ids of transfers, in their order.
  struct Book {
    std::vector<std::uint64_t> sent{};
    std::vector<std::uint64_t> came{};
    friend bool operator==(const Book&, const Book&) = default;
  };

  MailBank(cluster::GroupId self, node::MailPart::Find find, node::HomePart::Shards shards,
           const cluster::MailLimits& limits, bool moves_objects)
      : mail_(self, std::move(find), limits),
        homes_(self, std::move(shards)),
        moves_objects_(moves_objects) {}

  std::vector<std::byte> apply(Bytes command) override;
  std::vector<std::byte> apply_at(std::uint64_t index, Bytes command) override;
  Result<std::vector<std::byte>> effect_of(Bytes request) override;
  Result<void> decided(std::uint64_t index) override {
    mail_.settle(index);
    homes_.settle(index);
    return {};
  }
  [[nodiscard]] bool executes_ahead() const override { return true; }
  Result<std::vector<std::byte>> read(Bytes query) const override;
  [[nodiscard]] std::vector<std::byte> snapshot() const override;
  Result<void> restore(Bytes state) override;
  void reset() override;

  [[nodiscard]] node::MailPart& mail() noexcept { return mail_; }
  [[nodiscard]] const cluster::Mailbox& mail_state() const noexcept { return mail_.mailbox(); }
  [[nodiscard]] const cluster::HomeTable& homes() const noexcept { return homes_.table(); }
  [[nodiscard]] const node::HomePart& home_part() const noexcept { return homes_; }
  /// How often each object that is here was written; it says so itself.
  [[nodiscard]] const std::map<ObjectId, std::uint64_t>& objects() const noexcept {
    return state_.objects;
  }
  /// … how often here.
  [[nodiscard]] const std::map<ObjectId, std::uint64_t>& written() const noexcept {
    return state_.written;
  }
  /// That were published, those that were erased since among them.
  [[nodiscard]] const std::set<ObjectId>& published() const noexcept { return state_.published; }
  [[nodiscard]] const std::set<ObjectId>& erased() const noexcept { return state_.erased; }
  [[nodiscard]] std::uint64_t value() const noexcept { return state_.value; }
  [[nodiscard]] std::int64_t balance() const noexcept { return state_.balance; }
  [[nodiscard]] const std::map<cluster::GroupId, Book>& books() const noexcept {
    return state_.books;
  }
  /// Of everything, the mail among it.
  [[nodiscard]] std::uint64_t state_hash() const;

 private:
  struct State {
    std::uint64_t value = 0;
    std::uint64_t transfers = 0;  ///< that began here
    std::int64_t balance = 0;
    std::map<cluster::GroupId, Book> books{};
    std::set<ObjectId> published{};
    std::set<ObjectId> erased{};
    std::map<ObjectId, std::uint64_t> objects{};
    std::map<ObjectId, std::uint64_t> written{};
    std::map<ObjectId, std::vector<std::byte>> aside{};  ///< parts of objects that arrive
  };
  [[nodiscard]] std::vector<std::byte> encode_state() const;
  void post(cluster::MailChange& change, std::uint64_t choice, std::int64_t amount,
            std::uint64_t hops, std::uint64_t id) const;
  void book(const cluster::MailChange& change);
  /// What an amount does to objects.
  struct Objects {
    std::vector<cluster::HomeCommand> commands{};
    ObjectId written{};  ///< null: none
  };
  [[nodiscard]] Objects objects_of(std::uint64_t amount) const;
  [[nodiscard]] std::vector<cluster::HomeCommand> move_of(std::uint64_t choice,
                                                          const ObjectId& id) const;
  [[nodiscard]] Result<std::vector<cluster::HomeCommand>> parts() const;
  void keep(const std::vector<node::HomeDone>& done);

  node::MailPart mail_;
  node::HomePart homes_;
  const bool moves_objects_;
  State state_;
};

}  // namespace dolmen::sim
