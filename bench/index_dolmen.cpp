// SPDX-License-Identifier: Apache-2.0
// The index suite's own system: three members, and clients that are threads of this process.
#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <utility>

#include <sys/stat.h>

#include <dolmen/index.hpp>
#include <dolmen/ordered_index.hpp>

#include "bench/fabric.hpp"
#include "bench/index.hpp"
#include "bench/servers.hpp"

namespace dolmen::bench {
namespace {

constexpr std::uint32_t kMembers = 3;
constexpr std::array<std::uint64_t, 1> kShards{1};

std::vector<std::uint64_t> groups_of(std::size_t shards) {
  std::vector<std::uint64_t> groups;
  for (std::size_t i = 1; i <= shards; ++i) groups.push_back(i);
  return groups;
}

constexpr std::chrono::milliseconds kLease(60);
/// Longer than an answer takes, and so short that members who are not asked sleep.
constexpr std::chrono::microseconds kSpin(100);

Index::Bytes bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

class DolmenIndex final : public IndexSystem {
 public:
  DolmenIndex(const Folder& folder, IndexGroupKind kind, const IndexTuning& tuning)
      : members_(folder, kind, "hash", tuning), tuning_(tuning), shards_(groups_of(tuning.shards)) {
    const auto until = std::chrono::steady_clock::now() + kStartPatience;
    auto& first = client(0);
    const std::string value(kIndexValueBytes, 'x');
    std::vector<std::string> keys;
    std::vector<std::pair<Index::Bytes, Index::Bytes>> pairs;
    for (std::uint64_t i = 0; i < kIndexKeys; ++i) keys.push_back(index_key(i));
    for (const std::string& key : keys) pairs.emplace_back(bytes(key), bytes(value));
    for (;;) {
      const auto loaded = first.put_many(pairs, std::chrono::seconds(20));
      if (loaded) break;
      if (std::chrono::steady_clock::now() > until) expect(loaded, "loading");
    }
    for (const std::string& key : keys) get(first, key);  // its hints
  }

  std::vector<double> times_of_reads(std::size_t count) override {
    Index& index = client(0);
    base::Random random(1);
    std::vector<std::string> keys;
    for (int i = 0; i < 1024; ++i) keys.push_back(index_key(random.below(kIndexKeys)));
    std::vector<double> times;
    times.reserve(count);
    const std::uint64_t before = index.counts().by_lease;
    for (std::size_t i = 0; i < count; ++i) {
      const double begin = seconds_now();
      get(index, keys[i % keys.size()]);
      times.push_back(seconds_now() - begin);
    }
    // Else the figure would be of something else.
    if (tuning_.has_lease && index.counts().by_lease - before < count / 2) {
      throw Failure("most reads were not by a lease");
    }
    return times;
  }

  double rate(const IndexMix& mix, double seconds) override {
    return mix.is_threads ? rate_of_threads(mix, seconds) : rate_of_one(mix, seconds);
  }

 private:
  /// Many clients of one thread, as the peers' are: what each of them waits for is under way at
  /// once.
  double rate_of_one(const IndexMix& mix, double seconds) {
    Index& index = client(0);
    base::Random random(1);
    const std::string value(kIndexValueBytes, 'y');
    std::vector<std::size_t> waits_for(mix.clients);
    std::vector<std::size_t> ready;
    std::uint64_t answered = 0;
    const auto next = [&](std::size_t number) {
      const bool is_get = random.below(100) < mix.gets_of_100;
      waits_for[number] = is_get ? mix.batch : 1;
      const auto one = [&, number] {
        if (--waits_for[number] == 0) ready.push_back(number);
      };
      std::vector<std::string> keys;
      for (std::size_t i = 0; i < mix.batch; ++i)
        keys.push_back(index_key(random.below(kIndexKeys)));
      if (!is_get && mix.batch > 1) {
        std::vector<std::pair<Index::Bytes, Index::Bytes>> pairs;
        for (const std::string& key : keys) pairs.emplace_back(bytes(key), bytes(value));
        const auto done = [one](const Result<void>& put) {
          expect(put, "puts");
          one();
        };
        return expect(index.begin_put_many(pairs, done), "puts");
      }
      for (const std::string& key : keys) {
        if (is_get) {
          expect(index.begin_get(bytes(key),
                                 [one](Result<std::optional<Index::Value>> found) {
                                   const auto got = expect(std::move(found), "a get");
                                   if (!got || got->size() != kIndexValueBytes) {
                                     throw Failure("a key is not there");
                                   }
                                   one();
                                 }),
                 "a get");
        } else {
          expect(index.begin_put(bytes(key), bytes(value),
                                 [one](Result<bool> put) {
                                   expect(put, "a put");
                                   one();
                                 }),
                 "a put");
        }
      }
    };
    const double begin = seconds_now();
    double end = begin;
    for (std::size_t i = 0; i < mix.clients; ++i) next(i);
    std::uint64_t counted = 0;
    while (index.under_way() > 0) {
      expect(index.go_on(std::chrono::seconds(10)), "answers");
      const bool is_over = end - begin >= seconds;
      for (const std::size_t number : std::exchange(ready, {})) {
        answered += mix.batch;
        if (!is_over) next(number);
      }
      if (is_over) continue;
      end = seconds_now();
      counted = answered;
    }
    return static_cast<double>(counted) / (end - begin);
  }

  double rate_of_threads(const IndexMix& mix, double seconds) {
    for (std::size_t i = 0; i < mix.clients; ++i) warm(client(i), i);
    std::atomic<std::uint64_t> done{0};
    std::mutex mutex;
    std::optional<Failure> failure;
    const double begin = seconds_now();
    {
      std::vector<std::jthread> threads;
      for (std::size_t i = 0; i < mix.clients; ++i) {
        threads.emplace_back([&, i] {
          try {
            base::Random random(i);
            while (seconds_now() - begin < seconds) {
              work(client(i), mix, random);
              done += mix.batch;
            }
          } catch (const Failure& why) {
            const std::lock_guard lock(mutex);
            failure = why;
          }
        });
      }
    }
    if (failure) throw Failure(*failure);
    return static_cast<double>(done) / (seconds_now() - begin);
  }

  Index& client(std::size_t number) {
    while (clients_.size() <= number) {
      const IndexOptions options{
          .reads = tuning_.has_lease ? IndexReads::lease : IndexReads::linearizable,
          .spin = tuning_.is_polling ? kSpin : kSpin.zero()};
      clients_.push_back(std::make_unique<Index>(
          expect(Index::make(members_.group(), shards_, options), "a client")));
    }
    return *clients_[number];
  }
  /// It is connected, has a session, and knows where keys are.
  void warm(Index& index, std::size_t number) {
    if (warmed_ > number) return;
    warmed_ = number + 1;
    const std::string value(kIndexValueBytes, 'x');
    expect(index.put(bytes(index_key(number)), bytes(value)), "a put");
    get(index, index_key(number));
  }
  static void get(Index& index, const std::string& key) {
    const auto value = expect(index.get(bytes(key)), "a get");
    if (!value || value->size() != kIndexValueBytes) throw Failure("a key is not there");
  }
  static void work(Index& index, const IndexMix& mix, base::Random& random) {
    const std::string value(kIndexValueBytes, 'y');
    const bool is_get = random.below(100) < mix.gets_of_100;
    if (mix.batch == 1) {
      const std::string key = index_key(random.below(kIndexKeys));
      if (is_get) return get(index, key);
      expect(index.put(bytes(key), bytes(value)), "a put");
      return;
    }
    std::vector<std::string> names;
    for (std::size_t i = 0; i < mix.batch; ++i)
      names.push_back(index_key(random.below(kIndexKeys)));
    std::vector<Index::Bytes> keys;
    std::vector<std::pair<Index::Bytes, Index::Bytes>> pairs;
    for (const std::string& name : names) {
      keys.push_back(bytes(name));
      pairs.emplace_back(bytes(name), bytes(value));
    }
    if (!is_get) return expect(index.put_many(pairs), "puts");
    for (const auto& found : expect(index.get_many(keys), "gets")) {
      if (!found) throw Failure("a key is not there");
    }
  }

  IndexMembers members_;
  const IndexTuning tuning_;
  const std::vector<std::uint64_t> shards_;
  std::vector<std::unique_ptr<Index>> clients_;
  std::size_t warmed_ = 0;
};

class DolmenOrdered final : public ReadSystem {
 public:
  DolmenOrdered(const Folder& folder, IndexGroupKind kind)
      : members_(folder, kind, "ordered"),
        index_(expect(OrderedIndex::make(members_.group(), kShards), "a client")) {
    const auto until = std::chrono::steady_clock::now() + kStartPatience;
    const std::string value(kIndexValueBytes, 'x');
    for (std::uint64_t i = 0; i < kIndexKeys;) {
      const std::string key = index_key(i * 7919 % kIndexKeys);  // in no order
      const auto put = index_.put(bytes(key), bytes(value));
      if (put) ++i;
      if (!put && std::chrono::steady_clock::now() > until) expect(put, "loading");
    }
    for (std::uint64_t i = 0; i + kIndexScan <= kIndexKeys; i += kIndexScan) scan(index_key(i));
  }

  std::vector<double> times_of_reads(std::size_t count) override {
    base::Random random(1);
    std::vector<double> times;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string key = index_key(random.below(kIndexKeys - kIndexScan));
      const double begin = seconds_now();
      scan(key);
      times.push_back(seconds_now() - begin);
    }
    return times;
  }

 private:
  void scan(const std::string& from) {
    const auto page = expect(index_.scan({.from = bytes(from)}, kIndexScan), "a scan");
    if (page.entries.size() != kIndexScan) throw Failure("keys are not there");
  }

  IndexMembers members_;
  OrderedIndex index_;
};

}  // namespace

IndexMembers::IndexMembers(const Folder& folder, IndexGroupKind kind, const std::string& table,
                           const IndexTuning& tuning) {
  const bool is_shared = kind == IndexGroupKind::shared_memory;
  const bool is_durable = kind == IndexGroupKind::tcp_durable;
  const std::string name = (is_shared    ? "shm_"
                            : is_durable ? "disk_" + std::to_string(tuning.shards)
                                         : "tcp_") +
                           table + (tuning.has_lease ? "_lease" : "") +
                           (tuning.is_polling ? "_polling" : "") +
                           (tuning.is_clear ? "_clear" : "");
  group_.is_trusted_fabric = tuning.is_clear;
  group_.key_file = folder.below(name + ".key");
  std::ofstream(group_.key_file) << std::string(64, '5');
  ::chmod(group_.key_file.c_str(), 0600);
  const std::vector<std::uint16_t> ports = free_ports(kMembers);
  for (std::uint32_t i = 0; i < kMembers; ++i) {
    group_.members.push_back(is_shared ? "shm:" + shared_.path()
                                       : "127.0.0.1:" + std::to_string(ports[i]));
  }
  for (std::uint32_t member = 1; member <= kMembers; ++member) {
    const std::string directory = folder.below(name + std::to_string(member));
    std::vector<std::string> words{"index-member",
                                   table,
                                   std::to_string(member),
                                   directory,
                                   is_durable ? "durable" : "memory",
                                   tuning.has_lease ? "lease" : "none",
                                   std::to_string(tuning.shards),
                                   tuning.is_polling ? "polling" : "waiting",
                                   tuning.is_clear ? "clear" : "sealed",
                                   group_.key_file};
    for (const std::string& address : group_.members) words.push_back(address);
    members_.push_back(Server::part(words, directory + ".out"));
  }
}

std::unique_ptr<IndexSystem> start_index(const Folder& folder, IndexGroupKind kind,
                                         const IndexTuning& tuning) {
  return std::make_unique<DolmenIndex>(folder, kind, tuning);
}

std::unique_ptr<ReadSystem> start_ordered(const Folder& folder, IndexGroupKind kind) {
  return std::make_unique<DolmenOrdered>(folder, kind);
}

void index_child(const std::vector<std::string>& arguments) {
  die_with_parent();
  if (arguments.size() != 9 + kMembers) throw Failure("wrong arguments");
  const bool is_durable = arguments[3] == "durable";
  const ReplicatedOptions options{
      .group = {.members = {arguments.begin() + 9, arguments.end()},
                .key_file = arguments[8],
                .is_trusted_fabric = arguments[7] == "clear"},
      .member = static_cast<std::uint32_t>(std::stoul(arguments[1])),
      .directory = arguments[2],
      .spin = arguments[6] == "polling" ? kSpin : kSpin.zero(),
      .level = is_durable ? ReplicatedLevel::durable : ReplicatedLevel::replicated,
      .lease = arguments[4] == "lease" ? kLease : std::chrono::milliseconds(0)};
  const std::vector<std::uint64_t> groups = groups_of(std::stoul(arguments[5]));
  expect(Replicated::create(options, groups), "a member");
  if (arguments[0] == "ordered") {
    auto shard = expect(OrderedIndexShard::make({.node_bytes = 8 << 20, .record_bytes = 1 << 20}),
                        "a shard");
    auto member = expect(Replicated::start(options, shard.machine()), "a member");
    return expect(member.run(), "a member");
  }
  std::vector<IndexShard> shards;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    shards.push_back(
        expect(IndexShard::make({.bucket_bytes = 4 << 20, .record_bytes = 64 << 20}), "a shard"));
  }
  std::vector<ReplicatedMachine> machines;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    machines.push_back({.group = groups[i], .machine = &shards[i].machine()});
  }
  auto member = expect(Replicated::start(options, machines), "a member");
  expect(member.run(), "a member");
}

}  // namespace dolmen::bench
