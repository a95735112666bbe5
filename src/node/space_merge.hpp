// SPDX-License-Identifier: Apache-2.0
//
// How an image is received by who has an older one of the same space: it asks for lists of the
// pages, takes those that are the same from the image that is there, and asks for the others.
//
//   list -> compare with the old image -> ask for what differs -> write beside it -> next list
//
// Invariants:
//   1. What is staged is exactly what the lists say: a page of the old image goes there only if its
//      bytes hash to what is listed, one that is received only if its bytes do.
//   2. It is whole only if what was written sums up to what the source says of all lists.
//   3. Lists are compared, fetched and written one at a time each: 48 MiB of pages at most.
//
// Threads: as StateSink; one compares and one writes, where there are threads.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include <dolmen/state_machine.hpp>

#include "node/page_list.hpp"
#include "node/space_transfer.hpp"
#include "store/store.hpp"
#include "sys/env.hpp"

namespace dolmen::node {

class SpaceMerge final : public ImageSink {
 public:
  /// As StagedSpace; `disk` has the older image, which others may go on writing.
  SpaceMerge(const sys::Env& env, sys::Disk& disk, const ImageHead& wanted,
             const store::CreateOptions& options);
  ~SpaceMerge() override;
  Result<bool> take(base::Bytes part) override;
  Result<bool> is_done() override;
  Result<std::optional<std::vector<std::byte>>> question(std::uint64_t number) override;
  [[nodiscard]] StatePages pages() const override { return pages_; }
  [[nodiscard]] std::optional<ImageHead> done() const override { return staged_.done(); }

 private:
  /// One list on its way.
  struct Merging {
    PageList list;
    ObjectId after;   ///< the last object of the lists before, which may go on here
    PageBatch batch;  ///< all pages of the list, in its order
    std::unique_ptr<std::byte[]> kept;      ///< the bytes of those that were here
    std::vector<base::Checksum128> hashes;  ///< of them
    std::vector<std::size_t> missing;       ///< of them, those that are asked for
    std::size_t asked = 0;                  ///< of missing
    std::size_t received = 0;               ///< likewise
    bool is_compared = false;
  };
  struct Expected {
    PageQuestion::What what = PageQuestion::What::end;
    std::size_t count = 0;  ///< of pages
  };

  /// What can be begun or ended now.
  [[nodiscard]] Result<void> advance();
  [[nodiscard]] Result<bool> step();
  [[nodiscard]] Result<void> take_list(base::Bytes part);
  [[nodiscard]] Result<void> take_pages(base::Bytes part, std::size_t count);
  [[nodiscard]] std::vector<std::byte> ask(const PageQuestion& question);
  // Of the thread that compares.
  [[nodiscard]] Result<void> compare(Merging& merging);
  void open_old();
  void keep_gone(Merging& merging);
  // Of the thread that writes.
  [[nodiscard]] Result<void> write(Merging& merging);

  const sys::Env& env_;
  sys::Disk& disk_;
  std::uint64_t seed_ = 0;
  StagedSpace staged_;
  std::deque<Expected> expected_;
  std::uint64_t lists_asked_ = 0;
  bool is_list_asked_ = false;  ///< … and not here
  bool is_end_asked_ = false;
  bool is_ended_ = false;
  bool is_whole_ = false;
  std::optional<ListSum> said_;  ///< of all lists: the last one is here
  // Of the last list that is here.
  ObjectId last_;
  std::uint8_t last_capacity_log2_ = 0;
  std::optional<std::uint32_t> last_page_;
  StatePages pages_;

  std::unique_ptr<Merging> listed_;
  std::unique_ptr<Merging> comparing_;
  std::unique_ptr<Merging> fetching_;
  std::unique_ptr<Merging> writing_;
  bool is_old_opened_ = false;
  std::unique_ptr<store::Store> old_;  ///< of the thread that compares; null: of no use
  ListSum sum_;                        ///< of the thread that writes: what it wrote
  Worker comparer_;
  Worker writer_;
};

}  // namespace dolmen::node
