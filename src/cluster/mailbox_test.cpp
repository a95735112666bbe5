// SPDX-License-Identifier: Apache-2.0
#include "cluster/mailbox.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/mail_fixture.hpp"

namespace dolmen::cluster {
namespace {

MailChange post(std::uint64_t to, std::string_view text) {
  return {.posted = {{group(to), bytes(text)}}};
}
MailChange receive(std::uint64_t from, MailSequence sequence, std::vector<Letter> posted = {}) {
  return {.received = {{.from = group(from), .sequence = sequence, .bytes = bytes("mail")}},
          .posted = std::move(posted)};
}
MailChange acknowledge(std::uint64_t by, MailSequence up_to) {
  return {.acknowledged = {{group(by), up_to}}};
}

class MailboxTest : public testing::Test {
 protected:
  MailVerdict apply(const MailChange& change) { return mailbox_.apply(++index_, change); }
  const Mailbox::Channel& channel(std::uint64_t peer) const {
    return mailbox_.channels().at(group(peer));
  }
  /// Everything so far is stable, and comes back from a snapshot.
  void renew() {
    mailbox_.settle(index_);
    const std::vector<std::byte> state = mailbox_.snapshot();
    Mailbox other(group(1));
    ASSERT_TRUE(other.restore(state));
    EXPECT_EQ(other.snapshot(), state);
    EXPECT_EQ(other.bytes(), mailbox_.bytes());
    mailbox_ = std::move(other);
  }
  /// A few channels, everything in them.
  void fill() {
    apply(post(2, "one"));
    apply(post(2, "two"));
    apply(post(3, "three"));
    apply(receive(2, 1));
    apply(receive(4, 1, {{group(2), bytes("four")}}));
    apply(acknowledge(2, 1));
  }

  Mailbox mailbox_{group(1)};
  log::Index index_ = 0;
};

TEST_F(MailboxTest, MailsGetTheirPlacesPerChannel) {
  fill();
  EXPECT_EQ(channel(2).posted, 3u);
  EXPECT_EQ(channel(2).acknowledged, 1u);
  ASSERT_EQ(channel(2).unacknowledged.size(), 2u);
  EXPECT_EQ(channel(2).unacknowledged.front(), bytes("two"));
  EXPECT_EQ(channel(2).unacknowledged.back(), bytes("four"));
  EXPECT_EQ(channel(3).posted, 1u);
  EXPECT_EQ(channel(4).consumed, 1u);
}

TEST_F(MailboxTest, AMailIsConsumedOnceAndInOrder) {
  EXPECT_EQ(apply(receive(2, 2)), MailVerdict::gap);
  EXPECT_TRUE(mailbox_.channels().empty());
  EXPECT_EQ(apply(receive(2, 1)), MailVerdict::applied);
  EXPECT_EQ(apply(receive(2, 1)), MailVerdict::duplicate);
  EXPECT_EQ(apply(receive(2, 3)), MailVerdict::gap);
  EXPECT_EQ(apply(receive(2, 2)), MailVerdict::applied);
  EXPECT_EQ(apply(receive(3, 1)), MailVerdict::applied)
      << "channels have nothing to do with others";
  EXPECT_EQ(channel(2).consumed, 2u);
}

TEST_F(MailboxTest, WhatADuplicateWouldPostIsNotPostedAgain) {
  const MailChange forward = receive(2, 1, {{group(3), bytes("further on")}});
  EXPECT_EQ(apply(forward), MailVerdict::applied);
  EXPECT_EQ(apply(forward), MailVerdict::duplicate);
  EXPECT_EQ(channel(3).posted, 1u);
}

TEST_F(MailboxTest, WhatIsAcknowledgedIsForgotten) {
  fill();
  const std::size_t before = mailbox_.bytes();
  EXPECT_EQ(apply(acknowledge(2, 2)), MailVerdict::applied);
  EXPECT_LT(mailbox_.bytes(), before);
  EXPECT_EQ(apply(acknowledge(2, 1)), MailVerdict::applied) << "which is old and does nothing";
  EXPECT_EQ(channel(2).acknowledged, 2u);
  EXPECT_EQ(apply(acknowledge(2, 4)), MailVerdict::refused) << "never posted";
  EXPECT_EQ(apply(acknowledge(5, 1)), MailVerdict::refused) << "never heard of";
  EXPECT_EQ(apply(acknowledge(2, 3)), MailVerdict::applied);
  EXPECT_EQ(apply(acknowledge(3, 1)), MailVerdict::applied);
  EXPECT_EQ(mailbox_.bytes(), 0u);
}

TEST_F(MailboxTest, WhatIsImpossibleIsRefusedAsAWhole) {
  MailChange change = receive(2, 1, {{group(3), bytes("a")}, {group(1), bytes("to itself")}});
  EXPECT_EQ(apply(change), MailVerdict::refused);
  change.posted.back() = {group(3), std::vector<std::byte>(kMailBytesMax + 1)};
  EXPECT_EQ(apply(change), MailVerdict::refused);
  change.posted.pop_back();
  change.acknowledged = {{group(3), 1}};
  EXPECT_EQ(apply(change), MailVerdict::refused) << "of what it posts itself";
  EXPECT_EQ(apply(receive(1, 1)), MailVerdict::refused) << "from itself";
  EXPECT_TRUE(mailbox_.channels().empty());
}

TEST_F(MailboxTest, WhatIsFullStillTakesMailAndItsConsequences) {
  mailbox_ = Mailbox(group(1), {.post_bytes = 100, .forward_bytes = 150});
  EXPECT_EQ(apply(post(2, "12345678")), MailVerdict::applied);
  EXPECT_EQ(apply(post(2, "12345678")), MailVerdict::applied);
  EXPECT_EQ(apply(post(2, "12345678")), MailVerdict::full);
  EXPECT_EQ(apply(receive(2, 1)), MailVerdict::applied);
  const MailChange forward = receive(2, 2, {{group(3), bytes("12345678")}});
  EXPECT_EQ(apply(forward), MailVerdict::applied);
  const MailChange more = receive(2, 3, {{group(3), bytes("12345678")}});
  EXPECT_EQ(mailbox_.judge(more), MailVerdict::full);
  EXPECT_EQ(apply(more), MailVerdict::full);
  EXPECT_EQ(channel(2).consumed, 2u) << "it was not consumed, and is sent again";
  EXPECT_EQ(apply(acknowledge(2, 1)), MailVerdict::applied);
  EXPECT_EQ(apply(more), MailVerdict::applied);
}

TEST_F(MailboxTest, ThereIsAnEndToThePeers) {
  for (std::uint64_t peer = 2; peer < kMailPeersMax + 2; ++peer) {
    ASSERT_EQ(apply(receive(peer, 1)), MailVerdict::applied);
  }
  EXPECT_EQ(apply(receive(kMailPeersMax + 2, 1)), MailVerdict::full);
  EXPECT_EQ(apply(post(kMailPeersMax + 2, "x")), MailVerdict::full);
  EXPECT_EQ(apply(post(2, "x")), MailVerdict::applied);
  renew();
}

TEST_F(MailboxTest, OnlyWhatIsSettledIsStable) {
  apply(post(2, "one"));
  apply(receive(2, 1));
  mailbox_.settle(1);
  EXPECT_EQ(channel(2).stable_posted, 1u);
  EXPECT_EQ(channel(2).stable_consumed, 0u);
  mailbox_.settle(2);
  EXPECT_EQ(channel(2).stable_consumed, 1u);
}

TEST_F(MailboxTest, EveryEntryCanBeUndone) {
  fill();
  std::vector<std::vector<std::byte>> states;
  Mailbox replay(group(1));
  const MailChange changes[] = {post(2, "one"),
                                post(2, "two"),
                                post(3, "three"),
                                receive(2, 1),
                                receive(4, 1, {{group(2), bytes("four")}}),
                                acknowledge(2, 1)};
  states.push_back(replay.snapshot());
  for (log::Index i = 0; i < std::size(changes); ++i) {
    replay.apply(i + 1, changes[i]);
    replay.settle(i + 1);
    states.push_back(replay.snapshot());
  }
  for (log::Index kept = 0; kept <= index_; ++kept) {
    Mailbox cut = mailbox_;
    cut.undo(kept + 1);
    cut.settle(kept);
    EXPECT_EQ(cut.snapshot(), states[kept]) << kept;
    for (log::Index i = kept; i < index_; ++i) cut.apply(i + 1, changes[i]);
    cut.settle(index_);
    EXPECT_EQ(cut.snapshot(), states.back()) << kept;
  }
}

TEST_F(MailboxTest, ASnapshotHoldsOnlyWhatIsSettled) {
  fill();
  mailbox_.settle(index_);
  const std::vector<std::byte> before = mailbox_.snapshot();
  apply(post(5, "not stable"));
  apply(acknowledge(2, 3));
  apply(receive(2, 2));
  EXPECT_EQ(mailbox_.snapshot(), before);
  mailbox_.settle(index_);
  EXPECT_NE(mailbox_.snapshot(), before);
}

TEST_F(MailboxTest, GoesOnFromASnapshot) {
  fill();
  apply(acknowledge(3, 1));
  renew();
  EXPECT_EQ(apply(receive(2, 1)), MailVerdict::duplicate);
  EXPECT_EQ(apply(receive(2, 2)), MailVerdict::applied);
  EXPECT_EQ(apply(post(3, "behind an empty outbox")), MailVerdict::applied);
  EXPECT_EQ(channel(3).posted, 2u);
  EXPECT_EQ(channel(2).stable_posted, 3u);
}

TEST_F(MailboxTest, IsTheGoldenFile) {
  fill();
  mailbox_.settle(index_);
  EXPECT_EQ(mailbox_.snapshot(), golden("mailbox_v1.bin"));
}

TEST_F(MailboxTest, ADamagedSnapshotChangesNothing) {
  fill();
  mailbox_.settle(index_);
  const std::vector<std::byte> state = mailbox_.snapshot();
  const auto error_of = [&](const std::vector<std::byte>& damaged) {
    const auto done = mailbox_.restore(damaged);
    EXPECT_EQ(mailbox_.snapshot(), state);
    return done ? Errc{} : done.error().code();
  };
  for (std::size_t length = 0; length < state.size(); ++length) {
    EXPECT_EQ(error_of({state.begin(), state.begin() + static_cast<std::ptrdiff_t>(length)}),
              Errc::corrupt);
  }
  struct Edit {
    const char* what;
    std::size_t offset;
    std::uint64_t value;
    std::size_t bytes;
    Errc expected = Errc::corrupt;
  };
  // The first channel, of group 2, begins at 32: id, posted, acknowledged, consumed, mails.
  const Edit edits[] = {
      {"another magic", 0, 1, 4},
      {"a newer version", 4, 2, 2, Errc::version_unsupported},
      {"a spare field", 6, 1, 2},
      {"another group's", 16, 2, 8},
      {"more channels than there are", 24, 4, 4},
      {"far more", 24, 0xFFFF'FFFF, 4},
      {"fewer", 24, 2, 4},
      {"a spare field", 28, 1, 4},
      {"a channel of nobody", 40, 0, 8},
      {"a channel of itself", 40, 1, 8},
      {"channels in another order", 40, 9, 8},
      {"mails behind the last", 48, kMailSequenceMax + 1, 8},
      {"acknowledged and not posted", 56, 4, 8},
      {"consumed behind the last", 64, kMailSequenceMax + 1, 8},
      {"a mail less than that", 72, 1, 8},
      {"a mail longer than all", 80, 0xFFFF'FFFF, 4},
  };
  for (const Edit& edit : edits) {
    std::vector<std::byte> changed = state;
    for (std::size_t i = 0; i < edit.bytes; ++i) {
      changed[edit.offset + i] = static_cast<std::byte>(edit.value >> (8 * i));
    }
    EXPECT_EQ(error_of(changed), edit.expected) << edit.what;
  }
}

}  // namespace
}  // namespace dolmen::cluster
