// SPDX-License-Identifier: Apache-2.0
// The footprint suite: what a byte of payload takes in memory and on disk. Every figure comes from
// a process of its own, which says what it uses more than before it had the data.
#include <algorithm>
#include <array>
#include <cstdio>
#include <sstream>

#include <dolmen/hash_map.hpp>
#include <dolmen/ordered_map.hpp>
#include <dolmen/space.hpp>

#include "bench/footprint_peers.hpp"
#include "bench/machine.hpp"
#include "bench/suites.hpp"

namespace dolmen::bench {
namespace {

constexpr TransactOptions kDeferred{.durability = Durability::deferred};
constexpr std::size_t kBatch = 1000;

/// What is counted does not depend on what ran before.
constexpr Rounds kCold{.warm_up = false};

/// What the files of a space hold, in bytes allocated on the disk.
struct Disk {
  double data = 0;     ///< everything but the two below
  double log = 0;      ///< log segments: in use, pre-written, in reserve
  double reserve = 0;  ///< free blocks of the page file
};

Disk disk_of(const Space& space, const std::string& path) {
  const SpaceStats stats = space.stats();
  Disk disk;
  disk.log = static_cast<double>(stats.log_disk_bytes);
  disk.reserve =
      static_cast<double>(stats.pages_disk_bytes) - static_cast<double>(stats.pages_live_bytes);
  disk.data = static_cast<double>(disk_bytes(path)) - disk.log - disk.reserve;
  return disk;
}

template <class Map>
struct Shelf {
  Map records;
};

template <class Map>
void load_records(const std::string& path, std::size_t count) {
  const std::vector<std::uint32_t> order = shuffled_records(count, 1);
  const MemoryGrowth growth;
  Space space = expect(Space::open(path), "open");
  const auto shelf = expect(space.create<Shelf<Map>>("shelf", {.capacity = 1u << 30}), "create");
  for (std::size_t begin = 0; begin < count; begin += kBatch) {
    expect(space.transact(kDeferred, shelf,
                          [&](mut<Shelf<Map>> s) {
                            for (std::size_t i = begin; i < std::min(begin + kBatch, count); ++i) {
                              s->records.insert_or_assign(key_of(order[i]), value_of(order[i], 0));
                            }
                          }),
           "load");
  }
  expect(space.checkpoint(), "checkpoint");
  const double memory = growth.bytes();
  const Disk disk = disk_of(space, path);
  std::printf("%f %f %f %f\n", memory, disk.data, disk.log, disk.reserve);
  expect(space.close(), "close");
}

template <class Map>
void read_records(const std::string& path, std::size_t count) {
  const MemoryGrowth growth;
  Space space = expect(Space::open(path), "open");
  const auto shelf = expect(space.find<Shelf<Map>>("shelf"), "find");
  const std::uint64_t sum =
      expect(space.read(shelf,
                        [&](ref<Shelf<Map>> s) {
                          std::uint64_t all = 0;
                          for (std::size_t i = 0; i < count; ++i) {
                            all += digest(s->records.find(key_of(i))->second.data());
                          }
                          return all;
                        }),
             "read");
  keep(sum);
  std::printf("%f\n", growth.bytes());
}

struct Small {
  ptr<Small> other;
  std::array<std::byte, 256> payload{};
};

/// Object ids in a file beside the space, for the processes that come after.
std::string ids_file(const std::string& path) { return path + ".ids"; }

void make_objects(const std::string& path, std::size_t count) {
  Space space = expect(Space::open(path), "open");
  std::vector<ObjectId> ids;
  while (ids.size() < count) {
    std::vector<ObjectId> batch;
    expect(space.transact(kDeferred, any,
                          [&] {
                            batch.clear();
                            for (std::size_t i = 0; i < kBatch; ++i) {
                              const auto made =
                                  expect(space.create<Small>({.capacity = 512}), "create");
                              const mut<Small> small = space.edit(made);
                              small->payload.fill(static_cast<std::byte>(i | 1));
                              const std::vector<ObjectId>& before = i == 0 ? ids : batch;
                              if (!before.empty()) {
                                small->other = space.edit(Object<Small>(before.back()));
                              }
                              batch.push_back(made.id());
                            }
                          }),
           "create");
    ids.insert(ids.end(), batch.begin(), batch.end());
  }
  expect(space.checkpoint(), "checkpoint");
  const Disk disk = disk_of(space, path);
  std::printf("%f %f %f\n", disk.data, disk.log, disk.reserve);
  expect(space.close(), "close");
  write_ids(ids_file(path), ids);
}

void touch_objects(const std::string& path, std::size_t count) {
  const std::vector<ObjectId> ids = read_ids(ids_file(path), count);
  const MemoryGrowth growth;
  Space space = expect(Space::open(path), "open");
  // One object proves that the space is open for use; the others stay untouched.
  const auto payload = [&](const ObjectId& id) {
    const ref<Small> small = space.root(Object<Small>(id));
    if (!small->other) return std::to_integer<std::uint64_t>(small->payload[0]);
    return std::to_integer<std::uint64_t>(small->other->payload[255]);
  };
  keep(expect(space.read(everything, [&] { return payload(ids[count / 2]); }), "read"));
  const double untouched = growth.bytes();
  for (std::size_t begin = 0; begin < ids.size(); begin += kBatch) {
    keep(expect(space.read(everything,
                           [&] {
                             std::uint64_t sum = 0;
                             for (std::size_t i = begin; i < begin + kBatch; ++i) {
                               sum += payload(ids[i]);
                             }
                             return sum;
                           }),
                "read"));
  }
  std::printf("%f %f\n", untouched, growth.bytes());
}

/// The numbers that a part of ours printed, each over `divisor`.
Values child_numbers(const std::vector<std::string>& arguments, std::size_t count, double divisor) {
  const RealTime real_time;
  std::istringstream words(run_child(arguments).output);
  Values values;
  for (double value = 0; words >> value;) values.push_back(value / divisor);
  if (values.size() != count) throw Failure(arguments.front() + " said something else");
  return values;
}

void records_case(Report& report, const Folder& folder) {
  const std::size_t count = report.quick() ? 20'000 : 1'000'000;
  const auto payload = static_cast<double>(count * kRecordBytes);
  const std::string records = std::to_string(count);
  const std::string size = report.scaled(records + " records");
  const auto loads = [&](const std::string& kind, std::size_t figures) {
    return [&folder, kind, records, figures, payload]() -> Values {
      const std::string path = folder.below("records_" + kind);
      folder.remove("records_" + kind);
      return child_numbers({"footprint-load", kind, path, records}, figures, payload);
    };
  };
  const auto reads = [&](const std::string& kind) {
    return [&folder, kind, records, payload]() -> Values {
      return child_numbers({"footprint-read", kind, folder.below("records_" + kind), records}, 1,
                           payload);
    };
  };
  const std::string unit = "bytes/byte";
  const std::vector<Figure> with_parts{{"records_1m_mem", unit},
                                       {"records_1m_disk", unit},
                                       {"records_1m_disk_log", unit},
                                       {"records_1m_disk_reserve", unit}};
  report.race(
      with_parts,
      {{"dolmen", size + "hash_map; loaded in this process, checkpointed", loads("hash", 4)},
       {"dolmen_ordered", size + "ordered_map; loaded in this process, checkpointed",
        loads("ordered", 4)}},
      kCold);
#if DOLMEN_BENCH_LMDB
  report.race({{"records_1m_mem", unit}, {"records_1m_disk", unit}},
              {{"lmdb", size + "loaded in this process, synced; memory: mapped page cache",
                loads("lmdb", 2)}},
              kCold);
#else
  report.missing("lmdb", "liblmdb-dev");
#endif
  report.race("records_1m_mem", unit,
              {{"std_unordered_map", size + "in memory only", loads("std", 1)}}, kCold);
  std::vector<Contestant> reopened{
      {"dolmen", size + "hash_map; reopened, every record read", reads("hash")},
      {"dolmen_ordered", size + "ordered_map; reopened, every record read", reads("ordered")}};
#if DOLMEN_BENCH_LMDB
  reopened.push_back(
      {"lmdb", size + "reopened, every record read; mapped page cache", reads("lmdb")});
#endif
  report.race("records_1m_mem_reopened", unit, std::move(reopened), kCold);
}

void objects_case(Report& report, const Folder& folder) {
  if (!report.wants({"million_objects_disk", "million_objects_disk_log",
                     "million_objects_disk_reserve", "million_objects_mem",
                     "million_objects_mem_untouched"})) {
    return;
  }
  const std::size_t count = report.quick() ? 10'000 : 1'000'000;
  const std::string objects = std::to_string(count);
  const std::string path = folder.below("objects");
  const std::string mode = report.scaled(objects + " objects") +
                           "256 B payload and a foreign pointer each, capacity 512 B; ";
  const std::string unit = "bytes";
  report.race({{"million_objects_disk", unit},
               {"million_objects_disk_log", unit},
               {"million_objects_disk_reserve", unit}},
              {{"dolmen", mode + "per object, after a checkpoint",
                [&]() -> Values {
                  folder.remove("objects");
                  return child_numbers({"footprint-make", "objects", path, objects}, 3,
                                       static_cast<double>(count));
                }}},
              kCold);
  report.race({{"million_objects_mem_untouched", unit}, {"million_objects_mem", unit}},
              {{"dolmen", mode + "per object, reopened; untouched: one read; else all read",
                [&]() -> Values {
                  return child_numbers({"footprint-touch", "objects", path, objects}, 2,
                                       static_cast<double>(count));
                }}},
              kCold);
}

}  // namespace

void footprint_child(std::span<const std::string> arguments) {
  if (arguments.size() < 4) throw Failure("too few arguments");
  const std::string& part = arguments[0];
  const std::string& kind = arguments[1];
  const std::string& path = arguments[2];
  const std::size_t count = std::stoull(arguments[3]);
  const bool load = part == "footprint-load";
  using Hash = hash_map<Key, Value>;
  using Ordered = ordered_map<Key, Value>;
  if (part == "footprint-make") {
    make_objects(path, count);
  } else if (part == "footprint-touch") {
    touch_objects(path, count);
  } else if (kind == "hash") {
    load ? load_records<Hash>(path, count) : read_records<Hash>(path, count);
  } else if (kind == "ordered") {
    load ? load_records<Ordered>(path, count) : read_records<Ordered>(path, count);
  } else if (kind == "lmdb") {
    load ? load_records_lmdb(path, count) : read_records_lmdb(path, count);
  } else if (kind == "std") {
    load_records_std(count);
  } else {
    throw Failure("unknown part");
  }
}

void footprint_suite(Report& report) {
  const Folder folder(report.options().directory + "/footprint");
  records_case(report, folder);
  objects_case(report, folder);
}

}  // namespace dolmen::bench
