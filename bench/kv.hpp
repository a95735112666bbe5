// SPDX-License-Identifier: Apache-2.0
//
// The kv suite's work, the same for every system, and the loops that do it. A system is a class
// with
//
//     get(const Key&) → digest of its value, in a read section or transaction of its own
//     read_together(body)          one section around many find(key) → digest
//     scan(const Key&, n) → sum of the digests of n records from the key on
//     put(const Key&, const Value&)                  one transaction
//     put_together(body)           one transaction around many add(key, value)
//
// of which it has those of the cases that it takes part in. Every answer is compared with the other
// systems'.
//
// Thread contract: one thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/harness.hpp"
#include "bench/machine.hpp"
#include "bench/records.hpp"

namespace dolmen::bench {

enum class KvCase : std::uint8_t { get, get_in_one_section, scan100, put_deferred, load };
inline constexpr std::array<const char*, 5> kKvCases{"get", "get_in_one_section", "scan100",
                                                     "put_deferred", "load"};
inline constexpr std::size_t kScanRecords = 100;
inline constexpr std::size_t kLoadBatch = 1000;

class KvWork {
 public:
  KvWork(Report& report, const Folder& folder);

  [[nodiscard]] Report& report() const noexcept { return *report_; }
  [[nodiscard]] const Folder& folder() const noexcept { return *folder_; }
  [[nodiscard]] std::size_t records() const noexcept { return load_order_.size(); }
  [[nodiscard]] std::uint64_t data_bytes() const noexcept { return records() * kRecordBytes; }
  [[nodiscard]] bool wants(KvCase which) const;
  /// Any case that needs a store filled beforehand.
  [[nodiscard]] bool wants_filled() const;

  /// "pinned to one core", the size if it is not the full one.
  [[nodiscard]] std::string mode(const std::string& told) const;
  void compete(KvCase which, const std::string& system, const std::string& told,
               std::function<double()> measure);
  void race();

  template <class Store>
  void fill(Store& store) {
    report_->progress("filling a store");
    const auto batch = [&](std::size_t begin, std::size_t end) {
      store.put_together([&](auto&& add) {
        for (std::size_t i = begin; i < end; ++i) {
          add(key_of(load_order_[i]), value_of(load_order_[i], 0));
        }
      });
    };
    for (std::size_t begin = 0; begin < records(); begin += kLoadBatch) {
      batch(begin, std::min(begin + kLoadBatch, records()));
    }
  }

  template <class Store>
  void compete_get(const std::string& system, const std::string& told,
                   std::shared_ptr<Store> store) {
    compete(KvCase::get, system, told + "; one section or transaction per get", [this, store] {
      std::uint64_t sum = 0;
      const double ns = ns_each(lookups_.size(), [&] {
        for (const std::uint32_t record : lookups_) sum += store->get(key_of(record));
      });
      agree(KvCase::get, sum);
      return ns;
    });
  }

  template <class Store>
  void compete_get_in_one_section(const std::string& system, const std::string& told,
                                  std::shared_ptr<Store> store) {
    compete(KvCase::get_in_one_section, system, told + "; one section around all gets",
            [this, store] {
              std::uint64_t sum = 0;
              const double ns = ns_each(lookups_.size(), [&] {
                store->read_together([&](auto&& find) {
                  for (const std::uint32_t record : lookups_) sum += find(key_of(record));
                });
              });
              agree(KvCase::get_in_one_section, sum);
              return ns;
            });
  }

  template <class Store>
  void compete_scan100(const std::string& system, const std::string& told,
                       std::shared_ptr<Store> store) {
    compete(KvCase::scan100, system, told + "; one section per seek and 100 records",
            [this, store] {
              std::uint64_t sum = 0;
              const double ns = ns_each(seeks_.size(), [&] {
                for (const std::uint32_t record : seeks_) {
                  sum += store->scan(key_of(record), kScanRecords);
                }
              });
              agree(KvCase::scan100, sum);
              return ns / 1000;
            });
  }

  /// Overwrites values of a filled store.
  template <class Store>
  void compete_put_deferred(const std::string& system, const std::string& told,
                            std::shared_ptr<Store> store) {
    const auto version = std::make_shared<std::uint64_t>(0);
    compete(KvCase::put_deferred, system, told + "; one transaction per put", [=, this] {
      std::vector<Value> values;
      ++*version;
      for (const std::uint32_t record : puts_) values.push_back(value_of(record, *version));
      return ns_each(puts_.size(),
                     [&] {
                       for (std::size_t i = 0; i < puts_.size(); ++i) {
                         store->put(key_of(puts_[i]), values[i]);
                       }
                     }) /
             1000;
    });
  }

  /// `make()` gives an empty store, `drop()` removes it; neither is measured.
  template <class Make, class Drop>
  void compete_load(const std::string& system, const std::string& told, Make make, Drop drop) {
    compete(KvCase::load, system, told + "; random order, transactions of 1000 puts",
            [this, make, drop] {
              auto store = make();
              const double ns = ns_each(records(), [&] { fill(*store); });
              store.reset();
              drop();
              return ns / 1000;
            });
  }

 private:
  void agree(KvCase which, std::uint64_t sum);

  Report* report_;
  const Folder* folder_;
  std::vector<std::uint32_t> load_order_;
  std::vector<std::uint32_t> lookups_;
  std::vector<std::uint32_t> seeks_;
  std::vector<std::uint32_t> puts_;
  std::array<std::vector<Contestant>, kKvCases.size()> contestants_;
  std::map<KvCase, std::uint64_t> sums_;
};

/// Each adds its system to the cases that it knows, or says why it cannot.
void add_kv_dolmen(KvWork& work);
void add_kv_lmdb(KvWork& work);
void add_kv_sqlite(KvWork& work);
void add_kv_std(KvWork& work);

}  // namespace dolmen::bench
