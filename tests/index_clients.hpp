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
#include <utility>
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
  /// Of an index that does many at once one more thread is `at_once` further clients.
  IndexClientsOf(const Open& open, unsigned count, unsigned at_once = 0) {
    for (unsigned i = 0; i < count; ++i) {
      threads_.emplace_back([this, open, i] { work(open, i); });
    }
    if constexpr (requires(Index index) { index.under_way(); }) {
      if (at_once > 0) {
        threads_.emplace_back([this, open, count, at_once] { work_at_once(open, count, at_once); });
      }
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
    count(index);
  }

  void work_at_once(const Open& open, unsigned first, unsigned count_of_clients) {
    const std::chrono::seconds patience(20);
    dolmen::base::Random random(first);
    auto index = open();
    std::uint64_t begun = 0;
    std::vector<unsigned> idle;
    for (unsigned i = 0; i < count_of_clients; ++i) idle.push_back(first + i);
    const auto told = [&](std::size_t place, unsigned client) {
      return [this, &idle, place, client](const dolmen::Result<bool>& answer) {
        ends(place, answer, std::nullopt);
        idle.push_back(client);
      };
    };
    const auto begin = [&](unsigned client) -> dolmen::Result<void> {
      const std::uint64_t key = random.below(kKeysOfAll);
      const auto key_bytes = std::as_bytes(std::span(&key, 1));
      const std::uint64_t what = random.below(10);
      if (what < 6) {
        const std::size_t place = begins(client, {key, RegisterModel::read()});
        return index.begin_get(
            key_bytes,
            [this, &idle, place, client](dolmen::Result<std::optional<typename Index::Value>> got) {
              const bool is_there = got && got->has_value();
              ends(place, got, is_there ? dolmen::base::load<std::uint64_t>(**got) : 0);
              idle.push_back(client);
            },
            patience);
      }
      const std::uint64_t value = what < 9 ? ++begun * 16 + first : 0;
      const auto value_bytes = std::as_bytes(std::span(&value, 1));
      if (what == 8) {
        const std::uint64_t other = (key + 1) % kKeysOfAll;
        const std::size_t places[] = {begins(client, {key, RegisterModel::write(value)}),
                                      begins(client, {other, RegisterModel::write(value)})};
        const std::pair<typename Index::Bytes, typename Index::Bytes> both[] = {
            {key_bytes, value_bytes}, {std::as_bytes(std::span(&other, 1)), value_bytes}};
        return index.begin_put_many(
            both,
            [this, &idle, one = places[0], two = places[1],
             client](const dolmen::Result<void>& answer) {
              ends(one, answer, std::nullopt);
              ends(two, answer, std::nullopt);
              idle.push_back(client);
            },
            patience);
      }
      const std::size_t place = begins(client, {key, RegisterModel::write(value)});
      if (value == 0) return index.begin_erase(key_bytes, told(place, client), patience);
      return index.begin_put(key_bytes, value_bytes, told(place, client), patience);
    };
    while (!is_stopping_ || index.under_way() > 0) {
      for (const unsigned client : std::exchange(idle, {})) {
        const auto is_begun = is_stopping_ ? dolmen::Result<void>() : begin(client);
        if (!is_begun) set_broken(is_begun.error());
      }
      const auto told_of = index.go_on(std::chrono::seconds(1));
      if (!told_of) return set_broken(told_of.error());
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
  }

  void set_broken(const dolmen::Error& why) {
    const std::lock_guard lock(mutex_);
    broken_ = why.message();
  }
  void count(const Index& index) {
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
