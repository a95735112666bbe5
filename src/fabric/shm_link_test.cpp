// SPDX-License-Identifier: Apache-2.0
//
// Rings and connections whose other side writes what it likes.
#include "fabric/shm_link.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/shm_memory.hpp"
#include "fabric/shm_ring.hpp"
#include "sys/linux/shared_scratch.hpp"

namespace dolmen::fabric::shm {
namespace {

constexpr std::size_t kLinkBytes = kHeaderBytes + 2 * kRingBytesMin;
const LinkCard kCard{.dialer = {.node = NodeId{1}, .incarnation = 1},
                     .acceptor = {.node = NodeId{2}, .incarnation = 1},
                     .number = 1,
                     .ring_bytes = kRingBytesMin};
constexpr LinkLimits kLimits{
    .message_bytes_out = 10'000, .message_bytes_in = 10'000, .queue_bytes = 10'000};

class ShmLink : public testing::Test {
 protected:
  void SetUp() override {
    dialer.reset();
    dialer = Link::dial(*directory, kCard, kLimits).value();
    acceptor = Link::open(*directory, kCard, kLimits).value();
    raw = directory->open(link_object(kCard), sys::SharedAccess::read_write, 1, kLinkBytes).value();
    ring = raw->memory().subspan(kLinkRingsAt, kRingWordsBytes);
    data = raw->memory().subspan(kHeaderBytes, kRingBytesMin);
  }
  /// What the acceptor says to what is in the dialer's ring.
  Errc received() {
    std::size_t looked = 0;
    const auto message = acceptor->receive(looked);
    return message ? Errc{} : message.error().code();
  }
  void set_tail(std::uint64_t tail) { word_at<std::uint64_t>(ring, kRingTailAt).store(tail); }
  void set_head(std::uint64_t head) { word_at<std::uint64_t>(ring, kRingHeadAt).store(head); }

  sys::test::SharedScratch scratch;
  std::unique_ptr<sys::SharedDirectory> directory = scratch.open();
  std::unique_ptr<Link> dialer;
  std::unique_ptr<Link> acceptor;
  std::unique_ptr<sys::SharedObject> raw;
  MutableBytes ring;
  MutableBytes data;
};

TEST_F(ShmLink, CarriesNothingThatWasNotPublished) {
  std::size_t looked = 0;
  EXPECT_FALSE(acceptor->readable());
  base::store(data, 0,
              std::uint64_t{8} | std::uint64_t{1} << 32);  // a writer that died before the tail
  EXPECT_EQ(acceptor->receive(looked).value(), std::nullopt);
  EXPECT_FALSE(acceptor->accepted());
  acceptor->accept();
  EXPECT_TRUE(dialer->accepted());
  EXPECT_EQ(dialer->closed_by_peer(), std::nullopt);
  acceptor->close(Errc::superseded);
  EXPECT_EQ(dialer->closed_by_peer(), Errc::superseded);
  word_at<std::uint32_t>(raw->memory(), kLinkAcceptorClosedAt).store(999'999);
  EXPECT_EQ(dialer->closed_by_peer(), Errc::corrupt) << "no reason that exists";
}

TEST_F(ShmLink, PositionsOfAWriterThatDoNotFitAreCorrupt) {
  for (const std::uint64_t tail :
       {std::uint64_t{4}, std::uint64_t{kRingBytesMin + 8}, ~std::uint64_t{7}, ~std::uint64_t{0}}) {
    set_tail(tail);
    EXPECT_TRUE(acceptor->readable());
    EXPECT_EQ(received(), Errc::corrupt) << tail;
  }
}

TEST_F(ShmLink, FramesThatDoNotFitAreCorrupt) {
  for (const std::uint64_t word :
       {std::uint64_t{9}, std::uint64_t{0xFFFFFFFF}, std::uint64_t{2} << 32, ~std::uint64_t{0}}) {
    SetUp();
    base::store(data, 0, word);
    set_tail(16);
    EXPECT_EQ(received(), Errc::corrupt) << word;
  }
}

TEST_F(ShmLink, AMessageThatNeverEndsIsCorruptBeforeItTakesMoreThanWasAgreed) {
  const std::string piece(1000, 'x');
  const Bytes part = base::as_bytes(piece);
  RingWriter writer(ring, data);
  Errc code{};
  int pieces = 0;
  for (; code == Errc{} && pieces < 100; ++pieces) {
    ASSERT_GE(writer.room(kRingBytesMin).value(), 1008u);
    writer.put({.bytes = 1000, .last = false}, std::span(&part, 1), 0);
    code = received();
    (void)acceptor->release();
  }
  EXPECT_EQ(code, Errc::corrupt);
  EXPECT_EQ(pieces, 11);
}

TEST_F(ShmLink, PositionsOfAReaderThatDoNotFitAreCorrupt) {
  const std::string text(3000, 'x');
  const Bytes part = base::as_bytes(text);
  ASSERT_TRUE(dialer->send(std::span(&part, 1)).value());
  for (const std::uint64_t head : {std::uint64_t{4}, std::uint64_t{8192}, ~std::uint64_t{7}}) {
    set_head(head);
    EXPECT_EQ(dialer->send(std::span(&part, 1)).error().code(), Errc::corrupt) << head;
  }
  set_head(0);
  ASSERT_TRUE(dialer->send(std::span(&part, 1)));
  EXPECT_TRUE(dialer->has_queued());
  EXPECT_FALSE(dialer->can_flush(true));
  std::size_t looked = 0;
  EXPECT_EQ(acceptor->receive(looked).value()->size(), 3000u);
  EXPECT_TRUE(acceptor->release()) << "the writer waits for room";
  EXPECT_FALSE(acceptor->release()) << "told once";
  const auto head = word_at<std::uint64_t>(ring, kRingHeadAt).load();
  set_head(4);
  EXPECT_TRUE(dialer->can_flush(false)) << "flush() has something to say";
  EXPECT_EQ(dialer->flush().error().code(), Errc::corrupt);
  set_head(head);
  EXPECT_TRUE(dialer->flush().value());
}

TEST_F(ShmLink, ARingThatIsFullToTheLastByteTakesNoEmptyMessage) {
  const std::string text(kRingBytesMin / 4 - kFrameHeadBytes, 'x');
  const Bytes part = base::as_bytes(text);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(dialer->send(std::span(&part, 1)).value());
  EXPECT_FALSE(dialer->has_queued());
  ASSERT_FALSE(dialer->send({}).value());
  EXPECT_TRUE(dialer->has_queued());
  std::size_t looked = 0;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(acceptor->receive(looked).value()->size(), text.size());
  (void)acceptor->release();
  EXPECT_TRUE(dialer->flush().value());
  EXPECT_FALSE(dialer->has_queued());
  EXPECT_EQ(acceptor->receive(looked).value()->size(), 0u);
  EXPECT_EQ(acceptor->receive(looked).value(), std::nullopt);
}

TEST_F(ShmLink, IsOpenedOnlyIfItIsWhatItsNameSays) {
  LinkCard other = kCard;
  other.number = 2;
  EXPECT_EQ(Link::open(*directory, other, kLimits).error().code(), Errc::not_found);
  auto object = directory->create(kLinkBytes).value();
  write_card(object->memory(), kCard);
  ASSERT_TRUE(object->publish(link_object(other)));
  EXPECT_EQ(Link::open(*directory, other, kLimits).error().code(), Errc::corrupt);
  other.ring_bytes = 2 * kRingBytesMin;  // more than there is
  std::ranges::fill(object->memory(), std::byte{});
  write_card(object->memory(), other);
  EXPECT_EQ(Link::open(*directory, other, kLimits).error().code(), Errc::corrupt);
}

TEST(ShmMemory, CopiesAnyPartOfTheMemoryAndNothingElse) {
  std::vector<std::byte> source(64);
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::byte>(i + 1);
  for (std::size_t at = 0; at < 24; ++at) {
    for (std::size_t bytes = 0; bytes <= 40; ++bytes) {
      alignas(8) std::array<std::byte, 64> shared{};
      copy_to_shared(shared.data() + at, Bytes(source).first(bytes));
      EXPECT_TRUE(
          std::ranges::equal(std::span(shared).subspan(at, bytes), std::span(source).first(bytes)));
      EXPECT_EQ(std::ranges::count(shared, std::byte{}), 64 - static_cast<std::ptrdiff_t>(bytes));
      std::vector<std::byte> back(bytes);
      copy_from_shared(back, shared.data() + at);
      EXPECT_TRUE(std::ranges::equal(back, std::span(source).first(bytes)));
    }
  }
}

}  // namespace
}  // namespace dolmen::fabric::shm
