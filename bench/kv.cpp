// SPDX-License-Identifier: Apache-2.0
// The kv suite: the work of its cases, and dolmen's own stores.
#include "bench/kv.hpp"

#include <algorithm>

#include <dolmen/hash_map.hpp>
#include <dolmen/ordered_map.hpp>
#include <dolmen/space.hpp>

#include "bench/suites.hpp"

namespace dolmen::bench {

KvWork::KvWork(Report& report, const Folder& folder)
    : report_(&report),
      folder_(&folder),
      load_order_(shuffled_records(report.quick() ? 20'000 : 1'000'000, 1)) {
  const bool quick = report.quick();
  base::Random random(2);
  const auto draw = [&](std::vector<std::uint32_t>& into, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      into.push_back(static_cast<std::uint32_t>(random.below(records())));
    }
  };
  draw(lookups_, quick ? 10'000 : 200'000);
  draw(seeks_, quick ? 500 : 10'000);
  draw(puts_, quick ? 1'000 : 20'000);
  // A scan counts 100 records in every system: seek only where as many follow.
  std::vector<Key> last;
  for (const std::uint32_t record : load_order_) last.push_back(key_of(record));
  const auto border = last.end() - kScanRecords;
  std::nth_element(last.begin(), border, last.end());
  std::erase_if(seeks_, [&](std::uint32_t record) { return key_of(record) > *border; });
}

bool KvWork::wants(KvCase which) const {
  return report_->wants({kKvCases[static_cast<std::size_t>(which)]});
}

bool KvWork::wants_filled() const {
  return wants(KvCase::get) || wants(KvCase::get_in_one_section) || wants(KvCase::scan100) ||
         wants(KvCase::put_deferred);
}

std::string KvWork::mode(const std::string& told) const {
  return report_->scaled(std::to_string(records()) + " records") + report_->pinning() + told;
}

void KvWork::compete(KvCase which, const std::string& system, const std::string& told,
                     std::function<double()> measure) {
  contestants_[static_cast<std::size_t>(which)].push_back(
      {system, mode(told), [measure]() -> Values {
         const Pinned pinned;
         return {measure()};
       }});
}

void KvWork::agree(KvCase which, std::uint64_t sum) {
  const auto [known, first] = sums_.try_emplace(which, sum);
  if (!first && known->second != sum) throw Failure("its answers differ from the first system's");
}

void KvWork::race() {
  for (std::size_t i = 0; i < kKvCases.size(); ++i) {
    const auto which = static_cast<KvCase>(i);
    const bool gets = which == KvCase::get || which == KvCase::get_in_one_section;
    report_->race(kKvCases[i], gets ? "ns" : "us", std::move(contestants_[i]));
  }
}

namespace {

template <class Map>
struct Shelf {
  Map records;
};

template <class Map>
class DolmenStore {
 public:
  explicit DolmenStore(const std::string& path)
      : space_(expect(Space::open(path), "open")),
        shelf_(expect(space_.create<Shelf<Map>>("shelf", {.capacity = 1u << 30}), "create")) {}

  std::uint64_t get(const Key& key) {
    return expect(space_.read(shelf_, [&](ref<Shelf<Map>> shelf) { return find(*shelf, key); }),
                  "get");
  }
  template <class Body>
  void read_together(Body&& body) {
    expect(space_.read(shelf_,
                       [&](ref<Shelf<Map>> shelf) {
                         body([&](const Key& key) { return find(*shelf, key); });
                       }),
           "get");
  }
  std::uint64_t scan(const Key& key, std::size_t count) {
    return expect(space_.read(shelf_,
                              [&](ref<Shelf<Map>> shelf) {
                                std::uint64_t sum = 0;
                                auto it = shelf->records.lower_bound(key);
                                for (std::size_t i = 0; i < count; ++i, ++it) {
                                  sum += digest(it->second.data());
                                }
                                return sum;
                              }),
                  "scan");
  }
  void put(const Key& key, const Value& value) {
    expect(space_.transact(
               kDeferred, shelf_,
               [&](mut<Shelf<Map>> shelf) { shelf->records.insert_or_assign(key, value); }),
           "put");
  }
  template <class Body>
  void put_together(Body&& body) {
    expect(space_.transact(kDeferred, shelf_,
                           [&](mut<Shelf<Map>> shelf) {
                             body([&](const Key& key, const Value& value) {
                               shelf->records.insert_or_assign(key, value);
                             });
                           }),
           "load");
  }
  void settle() { expect(space_.checkpoint(), "checkpoint"); }

 private:
  static constexpr TransactOptions kDeferred{.durability = Durability::deferred};

  static std::uint64_t find(const Shelf<Map>& shelf, const Key& key) {
    return digest(shelf.records.find(key)->second.data());
  }

  Space space_;
  Object<Shelf<Map>> shelf_;
};

template <class Map>
void add_dolmen(KvWork& work, const std::string& system, const std::string& map) {
  using Store = DolmenStore<Map>;
  const std::string name = "kv_" + system + "_" + map;
  if (work.wants_filled()) {
    const auto store = std::make_shared<Store>(work.folder().below(name));
    work.fill(*store);
    store->settle();
    if constexpr (requires(Map& m, Key k) { m.lower_bound(k); }) {
      work.compete_scan100("dolmen", map + "; read(object)", store);
    }
    work.compete_get(system, map + "; read(object)", store);
    work.compete_get_in_one_section(system, map + "; read(object)", store);
    work.compete_put_deferred(system, map + "; deferred", store);
  }
  work.compete_load(
      system, map + "; deferred",
      [&work, name] { return std::make_unique<Store>(work.folder().below(name + "_load")); },
      [&work, name] { work.folder().remove(name + "_load"); });
}

}  // namespace

void add_kv_dolmen(KvWork& work) {
  Report& report = work.report();
  report.attempt("dolmen", [&] { add_dolmen<hash_map<Key, Value>>(work, "dolmen", "hash_map"); });
  // scan100 counts as dolmen's, whichever map does it.
  const bool scans = report.options().only_case == "scan100";
  report.attempt(scans ? "dolmen" : "dolmen_ordered", [&] {
    add_dolmen<ordered_map<Key, Value>>(work, "dolmen_ordered", "ordered_map");
  });
}

void kv_suite(Report& report) {
  const Folder folder(report.options().directory + "/kv");
  KvWork work(report, folder);
  add_kv_dolmen(work);
  report.attempt("lmdb", [&] { add_kv_lmdb(work); });
  report.attempt("sqlite", [&] { add_kv_sqlite(work); });
  report.attempt("std", [&] { add_kv_std(work); });
  work.race();
}

}  // namespace dolmen::bench
