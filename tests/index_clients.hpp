// SPDX-License-Identifier: Apache-2.0
//
// For tests: clients of an index in threads, and whether one table could have answered them so.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/index.hpp>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "sim/linearizability.hpp"
#include "sim/linearizability_models.hpp"

namespace dolmen::members {

inline constexpr std::uint64_t kKeys = 6;

/// Clients that get, put and erase until they are told to stop, and scan where there is an order.
/// No value is 0: that is no key.
template <class Index, std::uint64_t kKeysOfAll>
class IndexClientsOf {
 public:
  using Open = std::function<Index()>;
  IndexClientsOf(const Open& open, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      threads_.emplace_back([this, open, i] { work(open, i); });
    }
  }
  ~IndexClientsOf() { stop(); }
  IndexClientsOf(const IndexClientsOf&) = delete;
  IndexClientsOf& operator=(const IndexClientsOf&) = delete;

  void stop() {
    is_stopping_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  [[nodiscard]] std::uint64_t answered() const { return answered_; }
  [[nodiscard]] std::uint64_t one_sided() const { return one_sided_; }
  [[nodiscard]] std::uint64_t asked() const { return asked_; }
  [[nodiscard]] std::uint64_t by_lease() const { return by_lease_; }
  [[nodiscard]] std::string broken() const { return broken_; }
  /// Empty if all is right. Requires: stop().
  [[nodiscard]] std::string judge() const {
    dolmen::sim::MapModel model;
    const auto judged = dolmen::sim::check_linearizability(model, history_.operations());
    if (judged.verdict == dolmen::sim::Verdict::linearizable) return {};
    return judged.text;
  }
  void wait_for_answers(std::uint64_t more) const {
    const std::uint64_t wanted = answered_ + more;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (answered_ < wanted) {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << "the group stands still";
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 private:
  using RegisterModel = dolmen::sim::RegisterModel;
  using Operation = dolmen::sim::MapModel::Operation;

  std::size_t begins(unsigned client, const Operation& operation) {
    const std::lock_guard lock(mutex_);
    return history_.invoke(client, operation);
  }
  template <class T>
  void ends(std::size_t place, const dolmen::Result<T>& answer, std::optional<std::uint64_t> got) {
    const std::lock_guard lock(mutex_);
    if (!answer) {
      if (answer.error().code() != dolmen::Errc::timed_out) broken_ = answer.error().message();
      return;
    }
    Operation& operation = history_.respond(place);
    if (got) operation.inner.value = *got;
    ++answered_;
  }

  /// As if each key were got by itself, all at the same time.
  void scan(Index& index, unsigned number, std::chrono::seconds patience) {
    std::vector<std::size_t> places;
    for (std::uint64_t key = 0; key < kKeysOfAll; ++key) {
      places.push_back(begins(number, {key, RegisterModel::read()}));
    }
    const auto page = index.scan({}, 1'000, Index::Moment::each, patience);
    std::vector<std::uint64_t> found(kKeysOfAll);
    if (page) {
      for (const auto& entry : page->entries) {
        found.at(dolmen::base::load<std::uint64_t>(entry.key)) =
            dolmen::base::load<std::uint64_t>(entry.value);
      }
      if (!page->is_last) broken_ = "a scan without an end";
    }
    for (std::uint64_t key = 0; key < kKeysOfAll; ++key) ends(places[key], page, found[key]);
  }

  void work(const Open& open, unsigned number) {
    const std::chrono::seconds patience(20);
    dolmen::base::Random random(number);
    auto index = open();
    for (std::uint64_t i = 1; !is_stopping_; ++i) {
      const std::uint64_t key = random.below(kKeysOfAll);
      const auto key_bytes = std::as_bytes(std::span(&key, 1));
      // The first only looks: where memory is mapped it hears of nobody's end but by lines.
      const std::uint64_t what = number == 0 ? i % 7 : random.below(10);
      constexpr bool kHasOrder = requires { typename Index::Page; };
      if (kHasOrder && what < 2) {
        if constexpr (kHasOrder) scan(index, number, patience);
      } else if (what < 7) {
        const std::size_t place = begins(number, {key, RegisterModel::read()});
        const auto got = index.get(key_bytes, patience);
        const bool is_there = got && got->has_value();
        ends(place, got, is_there ? dolmen::base::load<std::uint64_t>(**got) : 0);
      } else if (what < 9) {
        // As long as it is large, so that places in the heap are given to others.
        const std::uint64_t value = i * 16 + number;
        std::vector<std::byte> text(8 + value % 5 * 40);
        dolmen::base::store(dolmen::base::MutableBytes(text), 0, value);
        const std::size_t place = begins(number, {key, RegisterModel::write(value)});
        ends(place, index.put(key_bytes, text, patience), std::nullopt);
      } else {
        const std::size_t place = begins(number, {key, RegisterModel::write(0)});
        ends(place, index.erase(key_bytes, patience), std::nullopt);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
    const dolmen::IndexCounts counts = index.counts();
    one_sided_ += counts.one_sided;
    asked_ += counts.asked;
    by_lease_ += counts.by_lease;
  }

  std::mutex mutex_;
  dolmen::sim::History<Operation> history_;
  std::string broken_;
  std::atomic<std::uint64_t> answered_{0};
  std::atomic<std::uint64_t> one_sided_{0};
  std::atomic<std::uint64_t> asked_{0};
  std::atomic<std::uint64_t> by_lease_{0};
  std::atomic<bool> is_stopping_{false};
  std::vector<std::thread> threads_;
};

using IndexClients = IndexClientsOf<dolmen::Index, kKeys>;

}  // namespace dolmen::members
