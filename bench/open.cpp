// SPDX-License-Identifier: Apache-2.0
// The open suite: a process is killed with SIGKILL while its store holds a full log tail, another
// opens the store and reads one value. Every opening happens in a new process, which is killed in
// its turn, so that the next one finds the same tail again.
#include <array>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dolmen/hash_map.hpp>
#include <dolmen/space.hpp>

#include "base/random.hpp"
#include "bench/machine.hpp"
#include "bench/open_peers.hpp"
#include "bench/suites.hpp"

namespace dolmen::bench {
namespace {

struct Shard {
  hash_map<std::uint64_t, OpenValue> records;
};

constexpr std::uint64_t kRecordsPerShard = std::uint64_t{1} << 19;
constexpr std::uint64_t kBatch = 1000;
constexpr TransactOptions kDeferred{.durability = Durability::deferred};

/// Small inputs get a small tail: the same shape, sooner.
SpaceOptions options_for(std::uint64_t records, bool background) {
  SpaceOptions options;
  options.background = background;
  if (records < kOpenSmallRecords) {
    options.log_tail_bytes_max = 4u << 20;
    options.log_segment_bytes = 1u << 20;
  }
  return options;
}

std::string shard_name(std::uint64_t record) {
  return "shard" + std::to_string(record / kRecordsPerShard);
}

void build(const std::string& path, std::uint64_t records) {
  Space space = expect(Space::open(path, options_for(records, true)), "open");
  for (std::uint64_t begin = 0; begin < records; begin += kBatch) {
    const auto shard =
        expect(space.find_or_create<Shard>(shard_name(begin), {.capacity = 1u << 30}), "create");
    expect(space.transact(kDeferred, shard,
                          [&](mut<Shard> s) {
                            for (std::uint64_t i = begin; i < std::min(begin + kBatch, records);
                                 ++i) {
                              s->records.insert_or_assign(i, open_value(i, 0));
                            }
                          }),
           "fill");
  }
  expect(space.checkpoint(), "checkpoint");
  expect(space.close(), "close");
}

/// Overwrites records until one more batch would make the tail longer than the space lets it grow.
void fill_tail(const std::string& path, std::uint64_t records) {
  const SpaceOptions options = options_for(records, false);
  Space space = expect(Space::open(path, options), "open");
  base::Random random(space.stats().last_index);
  const std::uint64_t enough = options.log_tail_bytes_max - (options.log_tail_bytes_max >> 6);
  for (std::uint64_t version = 1; space.stats().log_tail_bytes < enough; ++version) {
    const std::uint64_t first = random.below(records);
    const auto shard = expect(space.find<Shard>(shard_name(first)), "find");
    expect(space.transact(kDeferred, shard,
                          [&](mut<Shard> s) {
                            for (std::uint64_t i = 0; i < 64; ++i) {
                              const std::uint64_t record =
                                  first / kRecordsPerShard * kRecordsPerShard +
                                  random.below(std::min(records, kRecordsPerShard));
                              if (record >= records) continue;
                              s->records.insert_or_assign(record, open_value(record, version));
                            }
                          }),
           "overwrite");
  }
  expect(space.sync(), "sync");
  die();
}

OpenOutcome open_and_read(const std::string& path, std::uint64_t record, std::uint64_t records) {
  OpenOutcome outcome;
  const double begin = seconds_now();
  Space space = expect(Space::open(path, options_for(records, true)), "open");
  const auto shard = expect(space.find<Shard>(shard_name(record)), "find");
  const OpenValue value = expect(
      space.read(shard, [&](ref<Shard> s) { return s->records.find(record)->second; }), "read");
  outcome.ms = (seconds_now() - begin) * 1e3;
  if (!is_value_of(value.data(), record)) throw Failure("the value read is not the one written");
  outcome.tail_bytes = space.stats().log_tail_bytes;
  outcome.tail_bytes_max = options_for(records, true).log_tail_bytes_max;
  return outcome;
}

std::uint64_t number(const std::string& text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

OpenOutcome opened(const std::string& system, const std::string& path, std::uint64_t records) {
  static base::Random random(7);
  const RealTime real_time;
  const ChildOutcome child = run_child(
      {"open-read", system, path, std::to_string(records), std::to_string(random.below(records))});
  OpenOutcome outcome;
  if (std::sscanf(child.output.c_str(), "%lf %" SCNu64 " %" SCNu64, &outcome.ms,
                  &outcome.tail_bytes, &outcome.tail_bytes_max) != 3) {
    throw Failure("open-read said nothing");
  }
  return outcome;
}

void race_size(Report& report, const Folder& folder, const std::string& name,
               std::uint64_t records) {
  const std::string cold = name + "_cold";
  if (!report.wants({name, cold})) return;
  const std::string count = std::to_string(records);
  const std::string size =
      report.scaled(std::to_string(records >> 10) + " MiB") + report.scheduling();
  std::vector<Contestant> warm_race;
  std::vector<Contestant> cold_race;
  const auto add = [&](const std::string& system, const std::string& told) {
    const std::string path = folder.below(name + "_" + system);
    report.attempt(system, [&] {
      report.progress(name + ": building, " + system);
      run_child({"open-build", system, path, count});
      run_child({"open-tail", system, path, count});
      for (const bool drop : {false, true}) {
        const auto measure = [=]() -> Values {
          for (int tries = 0; tries < 3; ++tries) {
            if (drop) drop_caches(path);
            const OpenOutcome outcome = opened(system, path, records);
            if (outcome.tail_bytes >= outcome.tail_bytes_max / 10 * 9) return {outcome.ms};
            run_child({"open-tail", system, path, count});  // a checkpoint got in between
          }
          throw Failure("the log tail does not stay full");
        };
        const std::string cache = drop ? "; posix_fadvise(DONTNEED) on every file before each run"
                                       : "; files in the page cache";
        (drop ? cold_race : warm_race).push_back({system, size + told + cache, measure});
      }
      warm_caches(path);
    });
  };
  add("dolmen", "killed with its log tail full (" +
                    std::to_string(options_for(records, true).log_tail_bytes_max >> 20) +
                    " MiB); open, find by name, get");
#if DOLMEN_BENCH_LMDB
  add("lmdb", "killed after its last commit (LMDB has no log); mdb_env_open, get");
#else
  report.missing("lmdb", "liblmdb-dev");
#endif
  report.race(name, "ms", std::move(warm_race));
  report.race(cold, "ms", std::move(cold_race));
  folder.remove(name + "_dolmen");
  folder.remove(name + "_lmdb");
}

}  // namespace

void open_child(std::span<const std::string> arguments) {
  if (arguments.size() < 4) throw Failure("too few arguments");
  const std::string& part = arguments[0];
  const bool ours = arguments[1] == "dolmen";
  const std::string& path = arguments[2];
  const std::uint64_t records = number(arguments[3]);
  if (part == "open-build") {
    ours ? build(path, records) : build_lmdb(path, records);
  } else if (part == "open-tail") {
    ours ? fill_tail(path, records) : touch_lmdb(path, records);
  } else if (part == "open-read" && arguments.size() > 4) {
    const std::uint64_t record = number(arguments[4]);
    const OpenOutcome outcome =
        ours ? open_and_read(path, record, records) : open_and_read_lmdb(path, record, records);
    std::printf("%f %" PRIu64 " %" PRIu64 "\n", outcome.ms, outcome.tail_bytes,
                outcome.tail_bytes_max);
    std::fflush(stdout);
    die();
  } else {
    throw Failure("unknown part");
  }
}

void open_suite(Report& report) {
  const Folder folder(report.options().directory + "/open");
  // Records of 1,000 bytes and what their places take: about 1 KiB each.
  race_size(report, folder, "reopen_64m", report.quick() ? 1u << 13 : 1u << 16);
  race_size(report, folder, "reopen_4g", report.quick() ? 1u << 15 : 1u << 22);
}

}  // namespace dolmen::bench
