// SPDX-License-Identifier: Apache-2.0
#include "replication/executor.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "store/golden_file.hpp"

namespace dolmen::replication {
namespace {

/// Remembers every command, and answers with its number and text.
class Diary final : public StateMachine {
 public:
  std::vector<std::byte> apply(Bytes command) override {
    text_ += as_text(command) + "\n";
    const std::string result = std::to_string(++count_) + " " + as_text(command);
    const base::Bytes bytes = base::as_bytes(result);
    return {bytes.begin(), bytes.end()};
  }
  std::vector<std::byte> snapshot() const override {
    const base::Bytes bytes = base::as_bytes(text_);
    return {bytes.begin(), bytes.end()};
  }
  Result<void> restore(Bytes state) override {
    if (!state.empty() && state.back() != std::byte{'\n'}) return fail(Errc::corrupt, "a diary");
    text_ = as_text(state);
    count_ = static_cast<std::uint64_t>(std::ranges::count(text_, '\n'));
    return {};
  }
  void reset() override { *this = Diary(); }
  const std::string& text() const { return text_; }

  static std::string as_text(Bytes bytes) {
    std::string text;
    for (const std::byte byte : bytes) text += static_cast<char>(byte);
    return text;
  }

 private:
  std::string text_;
  std::uint64_t count_ = 0;
};

std::string result_of(const Executor::Outcome& outcome) { return Diary::as_text(outcome.result); }

/// An executor and the log that it is fed.
struct History {
  Diary diary;
  Executor executor{diary};

  Executor::Outcome add(std::vector<std::byte> payload,
                        log::EntryKind kind = log::EntryKind::command) {
    return executor.execute({.origin = 1,
                             .index = executor.executed() + 1,
                             .kind = kind,
                             .payload = std::move(payload)});
  }
  std::uint64_t open(Holder holder = 0) {
    const Executor::Outcome outcome = add(encode_command(0, 0, {}, holder));
    EXPECT_EQ(outcome.status, ReplyStatus::done);
    return outcome.value;
  }
  Executor::Outcome say(std::uint64_t session, std::uint64_t sequence, std::string_view text,
                        Holder holder = 0) {
    return add(encode_command(session, sequence, base::as_bytes(text), holder));
  }
  Executor::Outcome ask(std::uint64_t session, std::uint64_t sequence, Holder holder = 0) {
    return add(encode_question(session, sequence, holder));
  }
  [[nodiscard]] log::SnapshotPtr snapshot() const { return made_of(executor.snapshot().value()); }
  [[nodiscard]] log::SnapshotPtr made_of(const std::vector<std::byte>& state) const {
    const log::SnapshotPlace place{.last = {.origin = 1, .index = executor.executed()},
                                   .configuration = {.voters = {log::ReplicaId{1}}}};
    return log::Snapshot::make(place, state).value();
  }
};

TEST(Executor, ACommandOfASessionIsExecutedOnceHoweverOftenItIsInTheLog) {
  History run;
  const std::uint64_t session = run.open();
  EXPECT_EQ(session, 1u) << "the index of the entry";
  EXPECT_FALSE(run.executor.has_run(session, 1));
  EXPECT_EQ(result_of(run.say(session, 1, "a")), "1 a");
  EXPECT_TRUE(run.executor.has_run(session, 1));
  for (int i = 0; i < 3; ++i) {
    const Executor::Outcome again = run.say(session, 1, "a");
    EXPECT_EQ(again.status, ReplyStatus::done);
    EXPECT_EQ(result_of(again), "1 a");
  }
  const log::Entry alone{.origin = 1,
                         .index = run.executor.executed() + 1,
                         .kind = log::EntryKind::command,
                         .payload = encode_command(session, 2, base::as_bytes("alone"))};
  EXPECT_TRUE(run.executor.execute(alone, false).result.empty()) << "nobody waits for it here";
  EXPECT_EQ(result_of(run.say(session, 2, "alone")), "2 alone") << "and somebody may yet ask";
  EXPECT_EQ(result_of(run.say(session, 5, "b")), "3 b") << "numbers may be left out";
  EXPECT_EQ(run.say(session, 1, "a").status, ReplyStatus::expired) << "its result is gone";
  EXPECT_EQ(run.say(session, 4, "c").status, ReplyStatus::expired);
  EXPECT_EQ(result_of(run.say(session, 5, "b")), "3 b");
  EXPECT_EQ(run.diary.text(), "a\nalone\nb\n");
}

TEST(Executor, SessionsDoNotKnowOfEachOther) {
  History run;
  const std::uint64_t first = run.open();
  const std::uint64_t second = run.open();
  ASSERT_NE(first, second);
  EXPECT_EQ(result_of(run.say(first, 1, "a")), "1 a");
  EXPECT_EQ(result_of(run.say(second, 1, "a")), "2 a");
  EXPECT_EQ(result_of(run.say(first, 1, "a")), "1 a");
  EXPECT_EQ(run.say(77, 1, "a").status, ReplyStatus::expired) << "there is none";
  EXPECT_EQ(result_of(run.say(kNoSession, 1, "x")), "3 x");
  EXPECT_EQ(result_of(run.say(kNoSession, 1, "x")), "4 x") << "without a session nobody counts";
}

// Of a command and the question what became of it, the first one in the log decides, for ever.
TEST(Executor, WhatIsAskedAboutIsExecutedBeforeOrNever) {
  History run;
  const std::uint64_t session = run.open();
  EXPECT_EQ(result_of(run.say(session, 1, "a")), "1 a");
  for (int i = 0; i < 2; ++i) {
    const Executor::Outcome told = run.ask(session, 1);
    EXPECT_EQ(told.status, ReplyStatus::done);
    EXPECT_EQ(result_of(told), "1 a");
  }
  EXPECT_EQ(run.ask(session, 2).status, ReplyStatus::aborted);
  EXPECT_TRUE(run.executor.has_run(session, 2));
  // Also behind a snapshot.
  History other;
  ASSERT_TRUE(other.executor.restore(run.snapshot().get()));
  EXPECT_EQ(other.executor.snapshot().value(), run.executor.snapshot().value());
  for (History* const one : {&run, &other}) {
    EXPECT_EQ(one->say(session, 2, "b").status, ReplyStatus::aborted);
    EXPECT_EQ(one->ask(session, 2).status, ReplyStatus::aborted);
    const Executor::Outcome of_earlier = one->ask(session, 1);
    EXPECT_EQ(of_earlier.status, ReplyStatus::expired) << "its result is gone";
    EXPECT_EQ(of_earlier.value, kLaterCommand);
    EXPECT_EQ(result_of(one->say(session, 3, "c")), "2 c") << "the session goes on";
    EXPECT_EQ(one->ask(session, 2).status, ReplyStatus::expired);
    EXPECT_EQ(one->diary.text(), "a\nc\n");
  }
  const Executor::Outcome of_nobody = run.ask(77, 1);
  EXPECT_EQ(of_nobody.status, ReplyStatus::expired);
  EXPECT_EQ(of_nobody.value, 0u);
}

TEST(Executor, AQuestionIsItsHoldersAndIsOneOrNothing) {
  History run;
  const std::uint64_t session = run.open(7);
  for (const Holder holder : {Holder{0}, Holder{8}}) {
    EXPECT_EQ(run.ask(session, 1, holder).status, ReplyStatus::no_right);
  }
  EXPECT_EQ(result_of(run.say(session, 1, "a", 7)), "1 a");
  for (const std::uint64_t none :
       {std::uint64_t{0}, kQuestionSession, kAddressSession, kNoSession}) {
    EXPECT_EQ(run.ask(none, 1, 7).status, ReplyStatus::refused);
  }
  EXPECT_EQ(run.ask(session, 0, 7).status, ReplyStatus::refused);
  const std::vector<std::byte> right = encode_question(session, 2, 7);
  for (std::size_t length = 0; length < right.size() + 2; ++length) {
    std::vector<std::byte> other = right;
    other.resize(length);
    if (length == right.size()) continue;
    EXPECT_EQ(run.add(other).status, ReplyStatus::refused) << length;
  }
  EXPECT_EQ(result_of(run.say(session, 2, "b", 7)), "2 b") << "nothing was given up";
  EXPECT_EQ(encode_question(700, 3, 9), store::read_golden("member_question_v1.bin"));
}

// By guessing numbers, which are easily guessed: also after a snapshot, and while it is being used.
TEST(Executor, ASessionBelongsToWhoeverOpenedIt) {
  History run;
  const std::uint64_t session = run.open(7);
  const std::uint64_t of_nobody = run.open();
  EXPECT_EQ(result_of(run.say(session, 1, "a", 7)), "1 a");
  for (const Holder holder : {Holder{0}, Holder{8}}) {
    for (const std::uint64_t sequence : {1u, 2u, 100u}) {
      const Executor::Outcome stolen = run.say(session, sequence, "x", holder);
      EXPECT_EQ(stolen.status, ReplyStatus::no_right);
      EXPECT_TRUE(stolen.result.empty());
    }
  }
  EXPECT_EQ(run.say(of_nobody, 1, "x", 7).status, ReplyStatus::no_right);
  EXPECT_EQ(result_of(run.say(session, 2, "b", 7)), "2 b") << "and nobody was in between";
  History other;
  ASSERT_TRUE(other.executor.restore(run.snapshot().get()));
  EXPECT_EQ(other.say(session, 2, "b", 8).status, ReplyStatus::no_right);
  EXPECT_EQ(result_of(other.say(session, 2, "b", 7)), "2 b");
  EXPECT_EQ(run.diary.text(), "a\nb\n");
}

// Whoever opens many has them take each other's places, and nobody else's.
TEST(Executor, OneClientsSessionsLeaveOthersTheirs) {
  History run;
  const std::uint64_t others = run.open(8);
  const std::uint64_t first = run.open(7);
  for (std::size_t i = 0; i < kSessionsMax + 10; ++i) (void)run.open(7);
  EXPECT_EQ(run.say(first, 1, "a", 7).status, ReplyStatus::expired);
  EXPECT_EQ(result_of(run.say(others, 1, "a", 8)), "1 a");
  History other;
  ASSERT_TRUE(other.executor.restore(run.snapshot().get()));
  (void)run.open(7);
  (void)other.open(7);
  EXPECT_EQ(run.executor.snapshot().value(), other.executor.snapshot().value());
}

TEST(Executor, WhatIsNoCommandDoesNothing) {
  History run;
  const std::uint64_t session = run.open();
  EXPECT_EQ(run.add({}, log::EntryKind::opening).status, ReplyStatus::done);
  EXPECT_EQ(run.add({}, log::EntryKind::settled).status, ReplyStatus::done);
  for (std::size_t length = 0; length < kCommandHeadBytes; ++length) {
    EXPECT_EQ(run.add(std::vector<std::byte>(length)).status, ReplyStatus::refused) << length;
  }
  EXPECT_EQ(run.say(session, 0, "a").status, ReplyStatus::refused) << "no sequence begins with 0";
  EXPECT_EQ(run.say(kNoSession, 0, "a").status, ReplyStatus::refused);
  EXPECT_EQ(run.diary.text(), "");
  EXPECT_EQ(run.executor.executed(), 29u);
}

TEST(Executor, TheQuietestSessionGivesWayAndIsTold) {
  History run;
  for (std::size_t i = 0; i < kSessionsMax; ++i) (void)run.open();
  EXPECT_EQ(result_of(run.say(1, 1, "a")), "1 a");
  const std::uint64_t one_more = run.open();
  EXPECT_EQ(run.say(2, 1, "b").status, ReplyStatus::expired) << "the quietest one";
  EXPECT_EQ(result_of(run.say(1, 1, "a")), "1 a");
  EXPECT_EQ(result_of(run.say(one_more, 1, "c")), "2 c");
  EXPECT_EQ(result_of(run.say(3, 1, "d")), "3 d");
  (void)run.open();
  EXPECT_EQ(run.say(4, 1, "e").status, ReplyStatus::expired);
  EXPECT_EQ(result_of(run.say(3, 1, "d")), "3 d");
  // All of that is in the snapshot, the order of use too.
  History other;
  ASSERT_TRUE(other.executor.restore(run.snapshot().get()));
  for (History* const each : {&run, &other}) {
    (void)each->open();
    EXPECT_EQ(each->say(5, 1, "f").status, ReplyStatus::expired);
    EXPECT_EQ(each->say(6, 1, "g").status, ReplyStatus::done);
  }
  EXPECT_EQ(run.executor.snapshot().value(), other.executor.snapshot().value());
}

TEST(Executor, ASnapshotHoldsTheStateAndTheSessions) {
  History run;
  const std::uint64_t session = run.open();
  const std::uint64_t quiet = run.open();
  (void)run.say(session, 1, "a");
  (void)run.say(session, 2, "b");
  History other;
  ASSERT_TRUE(other.executor.restore(run.snapshot().get()));
  EXPECT_EQ(other.executor.executed(), run.executor.executed());
  EXPECT_EQ(other.executor.snapshot().value(), run.executor.snapshot().value());
  const Executor::Outcome again = other.say(session, 2, "b");
  EXPECT_EQ(again.status, ReplyStatus::done);
  EXPECT_EQ(result_of(again), "2 b");
  EXPECT_EQ(other.say(session, 1, "a").status, ReplyStatus::expired);
  EXPECT_EQ(result_of(other.say(quiet, 1, "c")), "3 c");
  EXPECT_EQ(other.diary.text(), "a\nb\nc\n");
  ASSERT_TRUE(other.executor.restore(nullptr));
  EXPECT_EQ(other.executor.executed(), 0u);
  EXPECT_EQ(other.executor.snapshot().value(), History().executor.snapshot().value());
}

TEST(Executor, TheSameEntriesGiveTheSameBytesWhereverASnapshotWasBetween) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    base::Random random(seed);
    History one;
    History other;
    std::vector<std::uint64_t> sessions{99'999};
    for (int step = 0; step < 200; ++step) {
      const std::uint64_t what = random.below(20);
      if (what == 0) {
        sessions.push_back(one.open());
        (void)other.open();
      } else if (what == 1) {
        std::vector<std::byte> bytes(random.below(40));
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
        (void)one.add(bytes);
        (void)other.add(bytes);
      } else if (what == 2) {
        const log::SnapshotPtr snapshot = other.snapshot();
        other.diary.reset();
        ASSERT_TRUE(other.executor.restore(snapshot.get()));
      } else {
        const std::uint64_t session = sessions[random.below(sessions.size())];
        const std::uint64_t sequence = random.below(12);
        const std::string text(random.below(30), 'x');
        const Executor::Outcome a = one.say(session, sequence, text);
        const Executor::Outcome b = other.say(session, sequence, text);
        ASSERT_EQ(a.status, b.status);
        ASSERT_EQ(a.result, b.result);
      }
      ASSERT_EQ(one.executor.snapshot().value(), other.executor.snapshot().value())
          << "seed " << seed;
    }
  }
}

TEST(Executor, AddressesAreStateAndNoCommands) {
  History run;
  const auto tell = [&](std::uint64_t node, const std::string& text) {
    return run.add(encode_command(kAddressSession, node, base::as_bytes(text)));
  };
  EXPECT_TRUE(tell(3, "there").result.empty());
  (void)tell(1, "here");
  (void)tell(3, "elsewhere");
  (void)tell(2, std::string(kAddressBytesMax, 'x'));
  (void)tell(4, std::string(kAddressBytesMax + 1, 'x'));
  EXPECT_EQ(tell(0, "nobody").status, ReplyStatus::refused);
  const Addresses known{{fabric::NodeId{1}, "here"},
                        {fabric::NodeId{2}, std::string(kAddressBytesMax, 'x')},
                        {fabric::NodeId{3}, "elsewhere"}};
  EXPECT_EQ(run.executor.addresses(), known);
  EXPECT_EQ(run.diary.text(), "");
  const auto snapshot = run.snapshot();
  (void)tell(2, "");
  EXPECT_EQ(run.executor.addresses().size(), 2u) << "forgotten";
  ASSERT_TRUE(run.executor.restore(snapshot.get()));
  EXPECT_EQ(run.executor.addresses(), known);
  EXPECT_EQ(run.snapshot()->bytes().size(), snapshot->bytes().size());
  for (std::uint64_t node = 10; node < 10 + 2 * kAddressesMax; ++node) (void)tell(node, "x");
  EXPECT_EQ(run.executor.addresses().size(), kAddressesMax);
  ASSERT_TRUE(run.executor.restore(run.snapshot().get()));
  ASSERT_TRUE(run.executor.restore(nullptr));
  EXPECT_TRUE(run.executor.addresses().empty());
}

class HostileState : public testing::Test {
 protected:
  HostileState() {
    first_ = run_.open();
    second_ = run_.open();
    (void)run_.say(first_, 7, "a");
    right_ = run_.executor.snapshot().value();
  }
  [[nodiscard]] Errc error_of(const std::vector<std::byte>& state) const {
    History other;
    const auto restored = other.executor.restore(run_.made_of(state).get());
    return restored ? Errc{} : restored.error().code();
  }
  [[nodiscard]] Errc with(std::size_t offset, std::uint64_t value) const {
    std::vector<std::byte> state = right_;
    base::store(base::MutableBytes(state), offset, value);
    return error_of(state);
  }
  History run_;
  std::uint64_t first_ = 0;
  std::uint64_t second_ = 0;
  std::vector<std::byte> right_;
};

// The count; the first session (number, sequence, used, holder, length and 3 bytes of result); the
// second.
constexpr std::size_t kFirst = 8;
constexpr std::size_t kSecond = kFirst + 40 + 3;
constexpr std::size_t kMachine = kSecond + 40;

TEST_F(HostileState, WhatIsCutShortIsRefused) {
  ASSERT_EQ(right_.size(), kMachine + 2);
  ASSERT_EQ(error_of(right_), Errc{});
  for (std::size_t length = 0; length < right_.size(); ++length) {
    if (length == kMachine) continue;  // the machine's own state, before any command
    EXPECT_EQ(error_of({right_.begin(), right_.begin() + static_cast<std::ptrdiff_t>(length)}),
              Errc::corrupt)
        << length;
  }
}

TEST_F(HostileState, ImpossibleFieldsAreRefused) {
  EXPECT_EQ(with(0, 3), Errc::corrupt) << "more sessions than there are";
  EXPECT_EQ(with(0, kSessionsMax + 1), Errc::corrupt);
  EXPECT_EQ(with(0, ~std::uint64_t{0}), Errc::corrupt);
  EXPECT_EQ(with(0, (std::uint64_t{1} << 32) | 2), Errc::corrupt) << "an address that is not there";
  EXPECT_EQ(with(kFirst, 0), Errc::corrupt) << "no number";
  EXPECT_EQ(with(kFirst, second_), Errc::corrupt) << "the same number twice";
  EXPECT_EQ(with(kFirst, 3), Errc::corrupt) << "out of order";
  EXPECT_EQ(with(kSecond, 3), Errc::corrupt) << "opened after it was last used";
  EXPECT_EQ(with(kSecond, kNoSession), Errc::corrupt);
  EXPECT_EQ(with(kFirst + 16, 4), Errc::corrupt) << "used behind the end";
  EXPECT_EQ(with(kFirst + 16, second_), Errc::corrupt) << "two used at once";
  EXPECT_EQ(with(kFirst + 8, 0), Errc::corrupt) << "a result of no command";
  EXPECT_EQ(with(kFirst + 32, 4), Errc::corrupt) << "a longer result";
  EXPECT_EQ(with(kFirst + 32, ~std::uint64_t{0}), Errc::corrupt);
  EXPECT_EQ(with(kSecond + 32, std::uint64_t{1} << 62), Errc::corrupt);
  EXPECT_EQ(with(kSecond + 32, ~std::uint64_t{0}), Errc::corrupt) << "no command was given up";
}

TEST_F(HostileState, AnyChangeIsRefusedOrUnderstoodExactly) {
  base::Random random(5);
  int understood = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::vector<std::byte> state = right_;
    for (std::uint64_t n = 1 + random.below(3); n > 0; --n) {
      state[random.below(state.size())] = static_cast<std::byte>(random.below(6));
    }
    History other;
    const auto restored = other.executor.restore(run_.made_of(state).get());
    if (!restored) {
      ASSERT_EQ(restored.error().code(), Errc::corrupt);
      ASSERT_EQ(other.executor.snapshot().value(), History().executor.snapshot().value());
      continue;
    }
    ++understood;
    ASSERT_EQ(other.executor.snapshot().value(), state);
  }
  EXPECT_GT(understood, 1'000);
}

}  // namespace
}  // namespace dolmen::replication
