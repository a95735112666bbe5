// SPDX-License-Identifier: Apache-2.0
//
// Every invariant of a heap's structures: what a corrupt object is told apart by before it is
// worked on.
#include <algorithm>
#include <bit>
#include <vector>

#include "object/heap_core.hpp"

namespace dolmen::object {
namespace {

using core::Bin;
using core::CompactRun;
using core::HeapState;
using core::kPageShift;
using core::PageDescriptor;
using core::PageKind;
using core::ReadCore;
using core::RunRef;

class Verifier {
 public:
  explicit Verifier(const ReadCore& heap) : heap_(heap) {}

  Result<void> run() {
    DOLMEN_CHECK(compact());
    if (!heap_.has_pages()) return {};
    DOLMEN_CHECK(table());
    DOLMEN_CHECK(runs());
    DOLMEN_CHECK(extents());
    return bins();
  }

 private:
  static Result<void> broken(const char* what, std::uint64_t offset) {
    return fail(Errc::corrupt, what, offset);
  }

  Result<void> compact() {
    std::uint32_t last = 0;
    std::uint32_t bad = 0;
    bool after_gap = false;
    const bool is_sound =
        heap_.each_compact([&](std::uint32_t at, const CompactRun& run, std::uint32_t) {
          last = at;
          if (after_gap && run.type == 0) bad = at;
          after_gap = run.type == 0;
          return bad == 0;
        });
    if (!is_sound) return broken("compact area", last);
    if (bad != 0) return broken("compact area: two gaps in a row", bad);
    return {};
  }

  Result<void> table() {
    const std::uint32_t end = heap_.table_end();
    if (end % 8 != 0 || end > heap_.page_count() * layout::kPage ||
        end < sizeof(ObjectHeader) + 8 * heap_.page_count()) {
      return broken("page table", end);
    }
    const std::uint32_t origin_page = heap_.geometry().origin >> kPageShift;
    if (heap_.top() <= origin_page || heap_.top() > heap_.end_page()) {
      return broken("page table: top", heap_.top());
    }
    if (heap_.page(0).kind != PageKind::fixed || heap_.page(origin_page).kind != PageKind::fixed) {
      return broken("page table: fixed pages", origin_page);
    }
    const std::uint32_t low = heap_.state(offsetof(HeapState, low_pages));
    if (low != 0 && low != origin_page) return broken("page table: pages held back", low);
    return {};
  }

  // Every page below top belongs to exactly one run or extent, and counts agree with bitmaps.
  Result<void> runs() {
    std::uint64_t bad = 0;
    bool is_sound = heap_.each_run([&](const RunRef& ref) {
      for (std::uint32_t i = 1; i < ref.pages; ++i) {
        const PageDescriptor d = heap_.page((ref.offset >> kPageShift) + i);
        if (d.kind != PageKind::run_interior || d.length != i) bad = ref.offset;
      }
      std::uint32_t used = 0;
      const std::uint32_t words = layout::bitmap_words(ref.run.capacity);
      for (std::uint32_t w = 0; w < words; ++w) {
        std::uint64_t bits = heap_.word_at(ref, w);
        if (w + 1 == words && ref.run.capacity % 64 != 0) {
          const std::uint64_t beyond = ~std::uint64_t{0} << (ref.run.capacity % 64);
          if ((bits & beyond) != beyond) bad = ref.offset;
          bits &= ~beyond;
        }
        if (w < ref.run.hint && bits != ~std::uint64_t{0} && ref.run.capacity >= 64 * (w + 1)) {
          bad = ref.offset;
        }
        used += static_cast<std::uint32_t>(std::popcount(bits));
      }
      if ((ref.run.flags & layout::kLarge) == 0) {
        if (used != ref.run.used) bad = ref.offset;
        if (((ref.run.flags & layout::kInBin) != 0) != (ref.run.used < ref.run.capacity)) {
          bad = ref.offset;
        }
        ++small_runs_;
        if (ref.run.used < ref.run.capacity) ++listed_runs_;
      }
      return bad == 0;
    });
    if (bad != 0) return broken("run", bad);
    if (!is_sound) return broken("page table", heap_.top());
    return {};
  }

  Result<void> extents() {
    std::uint32_t by_page = 0;
    bool after_free = false;
    const std::uint32_t end = heap_.top();
    for (std::uint32_t p = 0; p < end;) {
      const PageDescriptor d = heap_.page(p);
      const bool is_free = d.kind == PageKind::free_first;
      if (is_free) {
        ++by_page;
        if (after_free || p + d.length == end) return broken("free extents not joined", p);
        for (std::uint32_t i = 1; i + 1 < d.length; ++i) {
          if (heap_.page(p + i).kind != PageKind::none) return broken("free extent", p);
        }
        const PageDescriptor last = heap_.page(p + d.length - 1);
        if (d.length > 1 && (last.kind != PageKind::free_last || last.length != d.length)) {
          return broken("free extent", p);
        }
      }
      after_free = is_free;
      p += d.kind == PageKind::free_first || d.kind == PageKind::run_first ? d.length : 1;
    }
    std::uint32_t by_list = 0;
    for (unsigned bin = 0; bin < layout::kExtentBins; ++bin) {
      std::uint32_t previous = 0;
      std::uint32_t at = heap_.state(offsetof(HeapState, extents) + 4 * bin);
      while (at != 0) {
        const PageDescriptor d = heap_.page(at);
        if (d.kind != PageKind::free_first || d.previous != previous || at >= end ||
            static_cast<unsigned>(std::bit_width(d.length)) != bin + 1 || ++by_list > by_page) {
          return broken("list of free extents", at);
        }
        previous = at;
        at = d.next;
      }
    }
    if (by_list != by_page) return broken("list of free extents", by_list);
    return {};
  }

  Result<void> bins() {
    std::uint32_t table = 0;
    const std::uint32_t slots = heap_.bin_slots(table);
    if (slots == 0) return broken("table of bins", table);
    std::uint32_t entries = 0;
    std::uint64_t runs = 0;
    std::uint32_t listed = 0;
    for (std::uint32_t i = 0; i < slots; ++i) {
      const std::uint32_t at = table + i * static_cast<std::uint32_t>(sizeof(Bin));
      const Bin bin = heap_.bin(at);
      if (bin.type == 0) continue;
      ++entries;
      runs += bin.runs;
      std::uint32_t previous = 0;
      for (std::uint32_t run = bin.first; run != 0;) {
        const auto ref = heap_.small_run(run);
        if (!ref || ref->run.previous != previous || heap_.find_bin(core::key_of(ref->run)) != at ||
            ++listed > listed_runs_) {
          return broken("list of a bin", run);
        }
        previous = run;
        run = ref->run.next;
      }
    }
    if (entries != heap_.state(offsetof(HeapState, bins_used)) || runs != small_runs_ ||
        listed != listed_runs_) {
      return broken("table of bins", table);
    }
    return {};
  }

  const ReadCore& heap_;
  std::uint64_t small_runs_ = 0;
  std::uint32_t listed_runs_ = 0;
};

}  // namespace

Result<void> HeapReader::verify() const {
  const ReadCore heap(core::ObjectBytes(base_, capacity_), capacity_log2_);
  if (!heap.geometry().is_sound) return fail(Errc::corrupt, "object header");
  return Verifier(heap).run();
}

}  // namespace dolmen::object
