// SPDX-License-Identifier: Apache-2.0
//
// A client of one shard of an index, of either kind: finds out who leads its group, and reads that
// member's memory, with the lines of a majority (docs/index.md, As a service). Where memory is
// mapped it does so by loads, else by one-sided reads, of many look-ups at once.
//
// What stays true: no read begins before its look-up does; a buffer is kept as long as an operation
// may write into it. Threads: one at a time.
#pragma once

#include <bitset>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <dolmen/index.hpp>

#include "cluster/region_reader.hpp"
#include "node/index_copies.hpp"
#include "node/region_lease.hpp"
#include "node/replicated_client.hpp"

namespace dolmen::node {

struct RegionReads : ClientOf::Impl {
  /// Most look-ups under way.
  static constexpr std::size_t kLookupsMax = 64;
  /// Look-ups of one thing in vain; then it is asked for by message.
  static constexpr int kAttemptsMax = 4;
  /// So long it tries to find out who leads before keys are asked for by message, and then for so
  /// long.
  static constexpr std::uint64_t kLearnNs = 50'000'000;
  static constexpr std::uint64_t kAskNs = 200'000'000;

  RegionReads(const IndexOptions& its_options, IndexCounts& its_counts)
      : options(its_options), counts(&its_counts) {}
  ~RegionReads() override;

  using Reader = cluster::RegionReader;
  /// What is looked for, in order: each a look-up that begins now, of whoever is known to lead.
  using Begin = std::function<std::unique_ptr<Reader>(std::size_t which)>;
  /// It is over, and said something, or that it is to be asked for by message.
  using End = std::function<void(std::size_t which, Reader& reader)>;
  /// What does not end is to be asked for by message. Errors: the endpoint's.
  [[nodiscard]] Result<void> read_all(std::span<const std::size_t> wanted, const Begin& begin,
                                      const End& end, std::uint64_t deadline_ns);
  /// The same for one, without memory of its own: `begin` starts a look-up and gives it, and it
  /// stays where it is until this returns. `now_ns`: the clock, as it was a moment before.
  template <class BeginOne, class EndOne>
  [[nodiscard]] Result<void> read_one(const BeginOne& begin, const EndOne& end,
                                      std::uint64_t now_ns, std::uint64_t deadline_ns) {
    if (failure) return std::unexpected(*failure);
    for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
      Result<bool> is_known = learn(deadline_ns, attempt == 0 ? now_ns : ClientOf::Impl::now_ns());
      if (!is_known) return fail_with(is_known.error());
      if (!*is_known) break;
      Reader& reader = begin();
      const std::uint64_t led_in = learned;
      if (const auto followed = follow(reader, deadline_ns); !followed) {
        return fail_with(followed.error());
      }
      if (!settle(reader, led_in)) continue;
      end(reader);
      break;
    }
    return {};
  }
  /// Of who is known to lead, where its memory is mapped and no lease counts: without a look at the
  /// clock, and in the first attempt. False: nothing came of it. `begin`: as of load_one().
  template <class BeginOne, class EndOne>
  [[nodiscard]] bool load_at_once(const BeginOne& begin, const EndOne& end) {
    if (failure || options.reads == IndexReads::lease || !is_mapped()) return false;
    auto&& reader = begin();
    load(reader);
    if (!settle(reader, learned)) return false;
    end(reader);
    return true;
  }
  /// As read_one(), where memory is mapped: `begin` gives the look-up itself, or where it is.
  template <class BeginOne, class EndOne>
  [[nodiscard]] Result<void> load_one(const BeginOne& begin, const EndOne& end,
                                      std::uint64_t deadline_ns) {
    if (failure) return std::unexpected(*failure);
    for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
      DOLMEN_TRY(const bool is_known, learn(deadline_ns, now_ns()));
      if (!is_known || led->mapped.empty()) break;
      auto&& reader = begin();
      load(reader);
      if (!settle(reader, learned)) continue;
      end(reader);
      break;
    }
    return {};
  }
  /// How what could not be read is asked for by message.
  [[nodiscard]] ReadLevel asking_level() const {
    return options.reads == IndexReads::lease ? ReadLevel::lease : ReadLevel::linearizable;
  }
  /// Whether whoever leads now is read by load_one(), and not by read_all(). Errors: the
  /// endpoint's.
  [[nodiscard]] Result<bool> is_loaded(std::uint64_t deadline_ns) {
    if (failure) return std::unexpected(*failure);
    if (!endpoint->traits().mapped) return false;
    DOLMEN_TRY(const bool is_known, learn(deadline_ns, now_ns()));
    return is_known && is_mapped();
  }
  [[nodiscard]] bool is_mapped() const { return led && !led->mapped.empty(); }

  void on_lost(const fabric::NodeName& peer, const Error& why) override;
  void on_completed(fabric::OpId op, const Result<std::uint64_t>& former) override;
  void on_message(const fabric::NodeName& from, base::Bytes message) override;

 protected:
  using Copy = IndexCopy;
  struct Led : IndexLed {
    std::vector<base::MutableBytes> mapped{};  ///< where memory is
  };

  /// Looks what the region of a leader that was found is, by fetch(). False: nothing that could be
  /// read. Errors: the endpoint's.
  [[nodiscard]] virtual Result<bool> learn_region(std::uint64_t region_bytes,
                                                  std::uint64_t deadline_ns) = 0;
  /// Of the leader's region, by whatever the fabric has. Nothing: it failed.
  [[nodiscard]] Result<std::optional<std::vector<std::byte>>> fetch(std::uint64_t offset,
                                                                    std::size_t bytes,
                                                                    std::uint64_t deadline_ns);
  IndexOptions options;
  IndexCounts* counts;

  [[nodiscard]] bool is_led() const { return led.has_value(); }
  /// How a look-up of now reads.
  [[nodiscard]] cluster::ReadLevel level() const {
    if (options.reads == IndexReads::hint) return cluster::ReadLevel::hint;
    return is_by_lease ? cluster::ReadLevel::lease : cluster::ReadLevel::epoch;
  }
  [[nodiscard]] cluster::LedEpoch led_epoch() const {
    return level() == cluster::ReadLevel::epoch ? led->epoch : cluster::LedEpoch{};
  }

 private:
  /// Most reads of one look-up at once.
  static constexpr std::size_t kReadsOfLookup = 256;
  /// A place for one; kept for its memory.
  struct Lookup {
    Reader* reader = nullptr;         ///< null: there is none
    std::unique_ptr<Reader> owned{};  ///< the same, of read_all()
    std::size_t which = 0;            ///< of those wanted
    std::uint64_t led_in = 0;         ///< whom it reads: as `learned` was
    std::vector<std::byte> buffer{};  ///< what its reads bring, one behind the other
    std::size_t filled = 0;           ///< … by those that were issued
    std::bitset<kReadsOfLookup> has_failed{};
    std::size_t issued = 0;  ///< of its reads
    std::size_t under_way = 0;

    [[nodiscard]] bool is_read() const {
      return under_way == 0 && issued == reader->reads().size();
    }
  };

  /// Whether look-ups of now can count on a lease; asks for one in time. Errors: the endpoint's.
  [[nodiscard]] Result<void> look_after_lease(std::uint64_t begin_ns);
  /// Of reads that were completed just now. Requires: called after that.
  [[nodiscard]] cluster::ReadTimes times_of(const Reader& reader, std::uint64_t led_in) const;
  /// False: nobody whose memory could be read is known now.
  [[nodiscard]] Result<bool> learn(std::uint64_t deadline_ns, std::uint64_t now_ns);
  [[nodiscard]] Result<bool> use(Led chosen, std::uint64_t deadline_ns);
  [[nodiscard]] bool map(Led& chosen);
  void unmap(Led& chosen);
  void let_go();
  void load(Reader& reader);
  [[nodiscard]] Result<void> read_slots(std::span<const std::size_t> wanted, const Begin& begin,
                                        const End& end, std::uint64_t deadline_ns);
  [[nodiscard]] bool settle(const Reader& reader, std::uint64_t led_in);
  [[nodiscard]] Result<void> follow(Reader& reader, std::uint64_t deadline_ns);
  [[nodiscard]] bool issue(std::size_t slot);
  void arrived(Lookup& one);
  [[nodiscard]] Result<void> drain();
  [[nodiscard]] std::unexpected<Error> fail_with(const Error& why) {
    // The endpoint is of no more use, and what it may write into stays as it is.
    failure = why;
    return std::unexpected(why);
  }

  std::map<fabric::NodeId, Copy> copies;
  std::optional<Led> led;
  RegionLease lease;  ///< of `led`
  bool is_by_lease = false;
  std::uint64_t learned = 0;  ///< how often `led` became another
  std::uint64_t ask_until_ns = 0;
  std::vector<Lookup> lookups;
  std::optional<Result<void>> fetched;  ///< of a fetch
  std::vector<std::byte> fetch_into;
  std::optional<Error> failure;   ///< of the endpoint, which may write into buffers still
  std::vector<std::byte> loaded;  ///< kept for its memory
  std::vector<base::Bytes> pieces;
};

}  // namespace dolmen::node
