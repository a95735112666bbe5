// SPDX-License-Identifier: Apache-2.0
//
// A small space whose files somebody changed with care: checksums of root slots, nodes of the page
// tree, pages and log records are computed anew, so that what is changed is read. And a program
// that does with such a space whatever can be done. Tests and fuzzers only.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "base/random.hpp"
#include "node/dump.hpp"
#include "node/failing_test_program.hpp"
#include "store/dump_test_stream.hpp"
#include "store/log_format.hpp"
#include "store/page_node.hpp"
#include "store/root.hpp"

namespace dolmen::node {

class HostileSpace {
 public:
  explicit HostileSpace(const sim::SimEnv& world) : world_(world) {
    make();
    const std::vector<std::string> names = disk_.list().value();
    for (const std::string& name : names) {
      const auto file = disk_.open(name, sys::OpenMode::read_only).value();
      std::vector<std::byte> bytes(file->size().value());
      (void)file->read(0, bytes).value();
      files_.emplace(name, std::move(bytes));
    }
    root_ = store::choose_root(files_.at("space")).value().root;
    const store::BlockLoc top(root_.tree.loc);
    collect(top, top.tag());
    for (const store::SegmentRef& segment : root_.segments) collect(segment);
  }

  /// The space after the changes of a script: steps of six bytes (kind of place, which of them,
  /// where in it, how many bytes) and the bytes to put there; or, with kCopy in the first one, of
  /// two bytes: where in the same place to take eight bytes from.
  [[nodiscard]] std::unique_ptr<sim::SimDisk> changed(std::span<const std::uint8_t> script) const {
    auto files = files_;
    std::vector<std::span<const std::uint8_t>> raw;
    while (script.size() > kStepBytes) {
      const std::size_t count = (script[0] & kCopy) != 0 ? 2u : script[5] % 8 + 1u;
      const auto step = script.first(kStepBytes + std::min(count, script.size() - kStepBytes));
      if (kind_of(step) == 0) {
        raw.push_back(step);
      } else {
        change(files, step);
      }
      script = script.subspan(step.size());
    }
    mend(files);
    for (const auto step : raw) change(files, step);
    auto disk = std::make_unique<sim::SimDisk>(disk_.model(), 1);
    for (const auto& [name, bytes] : files) {
      if (bytes == files_.at(name)) continue;
      (void)disk->open(name, sys::OpenMode::read_write).value()->write(0, bytes);
    }
    return disk;
  }
  /// A script that gets further than random bytes would.
  [[nodiscard]] static std::vector<std::uint8_t> script(base::Random& random) {
    std::vector<std::uint8_t> script;
    const auto put = [&](std::uint64_t byte) { script.push_back(static_cast<std::uint8_t>(byte)); };
    // Headers lie in front, and most fields are aligned.
    const auto offset = [&] {
      std::uint64_t at = random.below(random.chance(1, 2) ? 160 : 4096);
      if (random.chance(2, 3)) at -= at % 8;
      return at;
    };
    for (std::uint64_t steps = 1 + random.below(4); steps > 0; --steps) {
      const bool copies = random.chance(1, 3);
      put(random.below(kKinds) | (copies ? kCopy : 0u));
      put(random.below(256));
      put(0);
      const std::uint64_t at = offset();
      put(at);
      put(at >> 8);
      if (copies) {
        const std::uint64_t from = offset();
        put(0);
        put(from);
        put(from >> 8);
      } else if (random.chance(1, 2)) {  // a location
        put(7);
        const std::uint64_t to = offset();
        put(to);
        put(to >> 8);
        for (int i = 2; i < 8; ++i) put(i == 2 && random.chance(1, 4) ? random.below(32) : 0);
      } else {
        const std::uint64_t count = random.below(8);
        put(count);
        for (std::uint64_t i = 0; i <= count; ++i) {
          put(random.chance(1, 4) ? 255 : random.below(256));
        }
      }
    }
    return script;
  }

  /// What happened in use().
  struct Outcome {
    bool opened = false;
    bool clean = false;  ///< check() found nothing, and everything was followed
    bool loaded = false;
  };
  /// Everything that can be done, first as a reader and then as a writer. What check() finds
  /// nothing wrong with is followed to its ends, too.
  Outcome use(sim::SimDisk& disk) const {
    Outcome outcome;
    for (const bool read_only : {true, false}) {
      auto space = open(disk, read_only);
      if (!space) continue;
      outcome.opened = true;
      const bool clean = explore(*space);
      if (read_only) outcome.loaded = dump_and_load(*space);
      read(*space);
      if (clean) walk(*space);
      outcome.clean |= clean;
      if (!read_only) write(*space, clean);
      (void)space->close();
    }
    return outcome;
  }

 private:
  static constexpr unsigned kKinds = 6;  // anything, root, node, page, first page, record
  static constexpr std::size_t kStepBytes = 6;
  static constexpr std::uint8_t kCopy = 0x80;
  static constexpr std::uint64_t kTailBytes = 64u << 10;
  static constexpr std::uint32_t kSegmentBytes = 16u << 10;
  using Files = std::map<std::string, std::vector<std::byte>>;
  struct Place {
    std::string file;
    std::uint64_t offset;
    std::uint64_t bytes;
    std::uint64_t seed = 0;  // of a record
  };

  Result<Space> open(sim::SimDisk& disk, bool read_only) const {
    return open_space(world_.env(), std::make_unique<sys::BorrowedDisk>(disk),
                      {.create = false,
                       .read_only = read_only,
                       .background = false,
                       .log_tail_bytes_max = kTailBytes,
                       .log_segment_bytes = kSegmentBytes},
                      world_.env().memory->best_driver());
  }
  void make() {
    auto made = open_space(
        world_.env(), std::make_unique<sys::BorrowedDisk>(disk_),
        {.background = false, .log_tail_bytes_max = kTailBytes, .log_segment_bytes = kSegmentBytes},
        world_.env().memory->best_driver());
    Space& space = *made;
    a_ = space.create<Desk>("desk a", {.capacity = 32u << 10}).value();
    b_ = space.create<Desk>("desk b", {.capacity = 256u << 10}).value();
    leaf_ = space.create<Leaf>("leaf", {.capacity = 512}).value();
    space
        .transact(a_, b_,
                  [](mut<Desk> a, mut<Desk> b) {
                    fill(*a, 9);
                    fill(*b, 12);
                  })
        .value();
    space.checkpoint().value();
    space.transact(b_, a_, [](mut<Desk> b, mut<Desk> a) { b->other = a; }).value();
    space.transact(a_, [](mut<Desk> a) { fill(*a, 3); }).value();
    (void)space.create<Leaf>("leaf two", {.capacity = 512}).value();
    space.resize(b_.id(), 512u << 10).value();
    space.close().value();
  }

  void collect(store::BlockLoc loc, unsigned level) {
    nodes_.push_back({"pages", loc.offset(), loc.bytes()});
    const store::NodeView view(base::Bytes(files_.at("pages")).subspan(loc.offset(), loc.bytes()));
    for (std::size_t i = 0; i < view.count(); ++i) {
      const store::TreeEntry entry = view.entry(i);
      if (level > 0) {
        collect(entry.loc, level - 1);
        continue;
      }
      const Place page{"pages", entry.loc.offset(), entry.loc.bytes()};
      pages_.push_back(page);
      if (entry.key.page == 0) first_pages_.push_back(page);
    }
  }
  void collect(const store::SegmentRef& segment) {
    const std::string name = store::segment_name(segment.file);
    const base::Bytes bytes(files_.at(name));
    const std::uint64_t seed = store::record_seed(root_.space, segment);
    for (std::uint64_t at = store::kSegmentHeaderBytes;
         at + store::kRecordHeaderBytes <= bytes.size();) {
      const auto header =
          store::plausible_record(bytes.subspan(at), segment.first_index, bytes.size() - at);
      if (!header || !store::verify_record(bytes.subspan(at), *header, seed)) return;
      records_.push_back({name, at, store::record_bytes(header->payload_bytes), seed});
      at += records_.back().bytes;
    }
  }

  void change(Files& files, std::span<const std::uint8_t> step) const {
    const std::size_t which = step[1] + 256u * step[2];
    const std::size_t offset = step[3] + 256u * step[4];
    const std::vector<Place>* const places[kKinds] = {nullptr, nullptr,       &nodes_,
                                                      &pages_, &first_pages_, &records_};
    const unsigned kind = kind_of(step);
    Place place;
    if (kind == 0) {
      const auto& [name, bytes] =
          *std::next(files.begin(), static_cast<std::ptrdiff_t>(which % files.size()));
      place = {name, (which / files.size() * 4096) % std::max<std::size_t>(bytes.size(), 1), 4096};
    } else if (kind == 1) {
      place = {"space", (store::root_pair(root_.generation) + which % 2) * store::kRootSlotBytes,
               store::kRootSlotBytes};
    } else {
      if (places[kind]->empty()) return;
      place = (*places[kind])[which % places[kind]->size()];
    }
    std::vector<std::byte>& bytes = files.at(place.file);
    const auto byte_at = [&](std::size_t at) -> std::byte& {
      return bytes[std::min<std::uint64_t>(place.offset + at % place.bytes, bytes.size() - 1)];
    };
    const auto contents = step.subspan(kStepBytes);
    if (bytes.empty()) return;
    if ((step[0] & kCopy) != 0) {
      const std::size_t from = contents[0] + (contents.size() > 1 ? 256u * contents[1] : 0u);
      for (std::size_t i = 0; i < 8; ++i) byte_at(offset + i) = byte_at(from + i);
    } else {
      for (std::size_t i = 0; i < contents.size(); ++i) {
        byte_at(offset + i) = static_cast<std::byte>(contents[i]);
      }
    }
  }
  static unsigned kind_of(std::span<const std::uint8_t> step) noexcept {
    return (step[0] & ~kCopy) % kKinds;
  }

  /// All checksums, from the leaves to the root slots.
  void mend(Files& files) const {
    std::vector<std::byte>& slots = files.at("space");
    unsigned budget = 1000;  // nodes that lead to each other
    for (unsigned twin = 0; twin < 2; ++twin) {
      const base::MutableBytes slot = base::MutableBytes(slots).subspan(
          (store::root_pair(root_.generation) + twin) * store::kRootSlotBytes,
          store::kRootSlotBytes);
      auto tree = base::load<store::TreeRoot>(slot, 72);
      const store::BlockLoc top(tree.loc);
      tree.checksum = mend(files.at("pages"), top, top.tag(), budget);
      base::store(slot, 72, tree);
      base::store(slot, store::kRootSlotBytes - 8,
                  base::checksum64(slot.first(store::kRootSlotBytes - 8), 0x646F6C6D656E2E31));
    }
    for (const Place& record : records_) {
      const base::MutableBytes bytes =
          base::MutableBytes(files.at(record.file)).subspan(record.offset);
      const auto header = store::plausible_record(bytes, 0, bytes.size());
      if (!header) continue;
      store::encode_record_header(
          *header,
          store::payload_checksum(bytes.subspan(store::kRecordHeaderBytes, header->payload_bytes)),
          record.seed, bytes.data());
    }
  }
  std::uint64_t mend(std::vector<std::byte>& pages, store::BlockLoc loc, unsigned level,
                     unsigned& budget) const {
    if (budget == 0 || loc.bytes() != store::kNodeBytes ||
        loc.offset() + store::kNodeBytes > pages.size()) {
      return 0;
    }
    --budget;
    const base::MutableBytes node = base::MutableBytes(pages).subspan(loc.offset(), loc.bytes());
    if (store::node_defect(node, level) == nullptr) {
      const auto ids = base::load<std::uint16_t>(node, 10);
      const std::size_t count = store::NodeView(node).count();
      for (std::size_t i = 0; i < count; ++i) {
        const store::TreeEntry entry = store::NodeView(node).entry(i);
        if (entry.loc.offset() + entry.loc.bytes() > pages.size()) continue;
        const std::uint64_t sum =
            level > 0 ? mend(pages, entry.loc, level - 1, budget)
                      : base::checksum64(
                            base::Bytes(pages).subspan(entry.loc.offset(), entry.loc.bytes()),
                            store::page_seed(root_.space, entry.key));
        base::store(node, store::kNodeHeaderBytes + store::kNodeIdBytes * ids + 8 * i, sum);
      }
    }
    return base::checksum64(node, store::node_seed(root_.space, level));
  }

  /// What tools do. Gives whether check() finds nothing wrong.
  static bool explore(Space& space) {
    (void)scrub(space, {});
    auto explorer = Explorer::make(space);
    if (!explorer) return false;
    const auto objects = explorer->objects();
    if (!objects) return false;
    bool clean = space.names().has_value();
    for (const ObjectId& id : *objects) {
      (void)explorer->facts(id);
      (void)explorer->references(id);
      (void)explorer->value(id, 0, {.values = 2000});
      (void)explorer->value(id, 4096, {.values = 2000});
      const auto findings = explorer->check(id);
      clean &= findings && findings->empty();
    }
    return clean;
  }
  bool dump_and_load(Space& space) const {
    store::MemorySink sink;
    if (!dump(space, sink)) return false;
    sim::SimDisk disk(1);
    store::MemorySource source(sink.bytes);
    const auto borrow = [&]() -> Result<std::unique_ptr<sys::Disk>> {
      return std::make_unique<sys::BorrowedDisk>(disk);
    };
    store::CreateOptions options;
    options.segment_bytes = kSegmentBytes;
    options.tail_bytes_max = kTailBytes;
    return load(world_.env(), source, borrow, {}, options, {.bytes = 64u << 10}).has_value();
  }
  void read(Space& space) const {
    (void)space.names();
    for (const char* name : {"desk a", "desk b", "leaf", "absent"}) (void)space.find<Desk>(name);
    // Walking in an object trusts its bytes; whoever does not asks check() first.
    const auto look = [](const Desk& desk) { return desk.version; };
    if (const auto view = space.view()) {
      (void)view->find<Leaf>("leaf");
      for (const Object<Desk>& desk : {a_, b_}) {
        (void)view->read([&] { return look(*(*view)[desk]); });
        (void)view->read([&] { return (*view)[link<Desk>()] != nullptr; });
      }
    }
    for (const Object<Desk>& desk : {a_, b_}) {
      (void)space.read(desk, [&](ref<Desk> d) { return look(*d); });
    }
    (void)space.prefault(a_.id());
    (void)space.read(leaf_, [](ref<Leaf> leaf) { return leaf->version; });
  }
  /// Everything that the desks hold and lead to.
  void walk(Space& space) const {
    const auto follow = [](const Desk& desk) {
      std::uint64_t sum = is_filled(desk) ? 1 : 0;
      for (const std::uint64_t number : desk.numbers) sum += number;
      for (const auto& [key, value] : desk.table) sum += key + value;
      for (const auto& [key, value] : desk.sorted) sum += key + value;
      for (auto at = desk.sorted.rbegin(); at != desk.sorted.rend(); ++at) sum += at->first;
      for (const char c : desk.text.view()) sum += static_cast<unsigned char>(c);
      return sum;
    };
    const auto follow_both = [&](const Desk& desk) {
      return follow(desk) + (desk.other ? follow(*desk.other) : 0);
    };
    for (const Object<Desk>& desk : {a_, b_}) {
      if (const auto view = space.view()) {
        (void)view->read([&] { return follow_both(*(*view)[desk]); });
      }
      (void)space.read(everything, [&] { return follow_both(*space.root(desk)); });
    }
  }
  void write(Space& space, bool clean) const {
    for (const Object<Desk>& desk : {a_, b_}) {
      (void)space.transact(desk, [&](mut<Desk> d) { ++d->version; });
      if (!clean) continue;
      (void)space.transact(desk, [&](mut<Desk> d) {
        for (std::uint64_t i = 0; i < kEntries; ++i) {
          d->table.insert_or_assign(1000 + i, i);
          d->sorted.insert_or_assign(1000 + i, i);
          d->table.erase(i * 9);
          d->sorted.erase(i * 9);
        }
        d->text.append("more");
        d->numbers.push_back(1);
      });
      (void)space.transact(desk, [&](mut<Desk> d) { fill(*d, 2); });
    }
    (void)space.transact(a_, [](mut<Desk> a) { a->other = dolmen::make<Desk>(a); });
    (void)space.resize(a_.id(), 64u << 10);
    (void)space.create<Leaf>("leaf three", {.capacity = 512});
    (void)space.set_name(leaf_.id(), "leaf four");
    (void)space.remove_name("leaf two");
    (void)space.erase(leaf_);
    (void)space.checkpoint();
    (void)scrub(space, {});
  }

  const sim::SimEnv& world_;
  sim::SimDisk disk_{1};
  Files files_;
  store::Root root_;
  Object<Desk> a_;
  Object<Desk> b_;
  Object<Leaf> leaf_;
  std::vector<Place> nodes_;
  std::vector<Place> pages_;
  std::vector<Place> first_pages_;
  std::vector<Place> records_;
};

}  // namespace dolmen::node
