// SPDX-License-Identifier: Apache-2.0
//
// A state that is asked for as a member asks, several parts ahead, and sent as a member sends; with
// and without threads that read and write.
#include <deque>
#include <memory>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "log/snapshot.hpp"
#include "node/space_image.hpp"
#include "node/space_transfer.hpp"
#include "replication/state_fetch.hpp"
#include "replication/state_server.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

constexpr ObjectId kSpace{7, 7};
constexpr log::ReplicaId kSource{1};
constexpr log::ReplicaId kAsker{2};

/// An image, and nothing else of a machine.
class ImageMachine final : public StateMachine {
 public:
  explicit ImageMachine(const sys::Env& env) {
    auto opened = SpaceImage::open(env, std::make_unique<sys::BorrowedDisk>(disk_),
                                   {.segment_bytes = 16u << 10, .tail_bytes_max = 64u << 10});
    EXPECT_TRUE(opened);
    image = std::move(*opened);
  }
  std::vector<std::byte> apply(Bytes /*command*/) override { return {}; }
  [[nodiscard]] std::vector<std::byte> snapshot() const override { return {}; }
  Result<void> restore(Bytes /*state*/) override { return {}; }
  void reset() override {}
  [[nodiscard]] bool keeps_state() const override { return true; }
  [[nodiscard]] bool has_state(Bytes /*reference*/) const override { return is_here; }
  Result<std::unique_ptr<StateSource>> send_state(Bytes reference,
                                                  std::size_t part_bytes) override {
    DOLMEN_TRY(const ImageHead head, decode_image_head(reference));
    return image->send(head, part_bytes);
  }
  Result<std::unique_ptr<StateSink>> receive_state(Bytes reference) override {
    ++begun;
    DOLMEN_TRY(const ImageHead head, decode_image_head(reference));
    return image->receive(head);
  }

  bool is_here = false;
  int begun = 0;
  std::unique_ptr<SpaceImage> image;

 private:
  sim::SimDisk disk_{1};
};

void fill(SpaceImage& image, const ImageHead& head, std::uint32_t pages) {
  base::Random random(5);
  ImageWriter out(head);
  out.begin({1, 1}, 30);
  for (std::uint32_t i = 0; i < pages; ++i) {
    for (std::byte& byte : out.page(i, 4096)) byte = static_cast<std::byte>(random() | 1);
  }
  auto sink = image.receive(head);
  ASSERT_TRUE(sink && (*sink)->take(out.finish()) && (*sink)->take({}));
  for (;;) {
    const auto is_done = (*sink)->is_done();
    ASSERT_TRUE(is_done) << is_done.error().message();
    if (*is_done) break;
  }
  ASSERT_TRUE(image.adopt());
}

TEST(SpaceFetch, AskingAheadOfTheEndGetsThere) {
  sim::SimEntropy entropy(1);
  sim::SimProcess process(1);
  const sys::Env alone{.clock = sys::linux_env().clock, .entropy = &entropy, .process = &process};
  for (const bool has_threads : {false, true}) {
    const sys::Env& env = has_threads ? sys::linux_env() : alone;
    for (const std::uint32_t pages : {1u, 40u, 900u}) {
      const ImageHead head{.space = kSpace, .last_index = 40};
      ImageMachine from(env);
      ImageMachine to(env);
      fill(*from.image, head, pages);
      const std::vector<std::byte> reference = ImageWriter(head).finish();
      const auto wanted = log::Snapshot::make({.last = {.origin = 1, .index = 9},
                                               .configuration = {.voters = {kSource, kAsker}}},
                                              reference)
                              .value();
      replication::StateTransferOptions options;
      options.part_bytes = 4096;
      replication::StateServer server(&from, options);
      replication::StateFetch fetch(to, options, entropy, wanted, reference);
      sys::Clock& clock = *sys::linux_env().clock;
      const std::uint64_t end_ns = clock.monotonic_ns() + 30'000'000'000;
      while (!fetch.arrived()) {
        const std::uint64_t now_ns = clock.monotonic_ns();
        ASSERT_LT(now_ns, end_ns) << pages << " pages, begun " << to.begun << " times";
        ASSERT_TRUE(
            fetch.go_on(now_ns, kSource, [&](log::ReplicaId, const replication::AskState& ask) {
              server.take(now_ns, kAsker, {fabric::NodeId{2}, 1}, ask);
            }));
        server.serve(
            now_ns, [&](const fabric::NodeName&, log::ReplicaId,
                        const replication::StatePart& part) { fetch.take(now_ns, kSource, part); });
      }
      EXPECT_EQ(to.begun, 1) << "no part of it came twice";
      ASSERT_TRUE(to.image->adopt());
      constexpr std::size_t kAll = std::size_t{1} << 30;
      EXPECT_EQ(to.image->pages(kAll).value(), from.image->pages(kAll).value());
    }
  }
}

}  // namespace
}  // namespace dolmen::node
