// SPDX-License-Identifier: Apache-2.0
#include "sim/space_tally.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include <dolmen/hash_map.hpp>
#include <dolmen/vector.hpp>

#include "node/space_effect.hpp"
#include "sys/borrowed_disk.hpp"

namespace dolmen::sim {

/// One of three, in a ring: the number is what all of them have together.
struct TallyShard {
  std::uint64_t total = 0;
  ptr<TallyShard> next;  ///< another object's root
  hash_map<std::uint64_t, std::uint64_t> by_digit;
  vector<std::uint64_t> recent;
};

namespace {

using Shards = std::array<Object<TallyShard>, 3>;

constexpr std::size_t kRecentMax = 40;
constexpr std::uint64_t kSmallBytes = 32u << 10;

Result<Shards> shards_of(Space& space) {
  Shards shards;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    DOLMEN_TRY(shards[i], space.find_or_create<TallyShard>("shard" + std::to_string(i),
                                                           {.capacity = kSmallBytes}));
  }
  return shards;
}

/// What the ring from here says, wrong for ever once its parts contradict each other.
std::uint64_t total_of(const TallyShard& first) {
  std::uint64_t total = 0;
  const TallyShard* shard = &first;
  for (int i = 0; i < 3; ++i, shard = &*shard->next) {
    std::uint64_t by_digit = 0;
    for (const auto& [digit, amount] : shard->by_digit) by_digit += amount;
    if (by_digit != shard->total) return ~std::uint64_t{0};
    total += shard->total;
  }
  return shard == &first ? total : ~std::uint64_t{0};
}

std::vector<std::byte> as_result(std::uint64_t value) {
  std::vector<std::byte> result(sizeof value);
  base::store(base::MutableBytes(result), 0, value);
  return result;
}

Result<void> add_to(Space& space, const Shards& shards, std::uint64_t amount) {
  const std::size_t at = amount % shards.size();
  const auto edit = [&](mut<TallyShard> a, mut<TallyShard> b, mut<TallyShard> c) -> Result<void> {
    a->next = b;
    b->next = c;
    c->next = a;
    a->total += amount;
    a->by_digit[amount % 10] += amount;
    a->recent.push_back(amount);
    if (a->recent.size() > kRecentMax) a->recent.clear();
    // An object of its own that comes with one command and goes with another.
    if (amount % 5 != 0) return {};
    if (const auto old = space.find<TallyShard>("extra")) DOLMEN_CHECK(space.erase(*old));
    DOLMEN_CHECK(space.create<TallyShard>("extra", {.capacity = kSmallBytes}));
    return {};
  };
  return space.transact(shards[at], shards[(at + 1) % 3], shards[(at + 2) % 3], edit);
}

Result<std::vector<std::byte>> total_in(Space& space, const Object<TallyShard>& shard) {
  DOLMEN_TRY(const std::uint64_t total, space.read(everything, [&] {
    const auto first = space.root(shard);
    return first->next ? total_of(*first) : std::uint64_t{0};
  }));
  return as_result(total);
}

Result<std::vector<std::byte>> run_add(Space& space, base::Bytes arguments) {
  const auto amount = base::load<std::uint64_t>(arguments);
  DOLMEN_TRY(const Shards shards, shards_of(space));
  if (amount != 0) {
    DOLMEN_CHECK(add_to(space, shards, amount));
    if (amount % 7 == 0) {
      DOLMEN_CHECK(space.resize(shards[0].id(), kSmallBytes << amount % 3));
    }
  }
  return total_in(space, shards[0]);
}

Result<std::vector<std::byte>> run_look(Space& space, base::Bytes /*arguments*/) {
  const auto first = space.find<TallyShard>("shard0");
  if (!first && first.error().code() == Errc::not_found) return as_result(0);
  if (!first) return std::unexpected(first.error());
  return total_in(space, *first);
}

}  // namespace

Result<std::unique_ptr<SpaceTally>> SpaceTally::open(const sys::Env& env, sys::Disk& disk,
                                                     AccountsJudge* judge) {
  node::SpaceMachineOptions options;
  options.image = {.segment_bytes = 16u << 10, .tail_bytes_max = 64u << 10};
  SpaceFunctions functions;
  functions["add"] = run_add;
  functions["look"] = SpaceFunction::query(run_look);
  add_account_functions(functions);
  add_book_functions(functions);
  DOLMEN_TRY(auto machine,
             node::SpaceMachine::open(env, std::make_unique<sys::BorrowedDisk>(disk),
                                      env.memory->best_driver(), std::move(functions), options));
  return std::unique_ptr<SpaceTally>(new SpaceTally(std::move(machine), judge));
}

std::vector<std::byte> SpaceTally::add(std::uint64_t amount) {
  return node::encode(node::SpaceCall{.function = "add", .arguments = as_result(amount)});
}

std::vector<std::byte> SpaceTally::look() {
  return node::encode(node::SpaceCall{.function = "look", .arguments = {}});
}

std::optional<std::uint64_t> SpaceTally::value_of(base::Bytes result) {
  const auto reply = node::decode_reply(result);
  if (!reply || reply->size() != sizeof(std::uint64_t)) return std::nullopt;
  return base::load<std::uint64_t>(*reply);
}

std::vector<std::byte> SpaceTally::apply_at(std::uint64_t index, Bytes command) {
  std::vector<std::byte> result = machine_->apply_at(index, command);
  if (const auto value = value_of(result)) value_ = *value;
  if (auto answer = account_answer_in(result)) undecided_.emplace_back(index, std::move(*answer));
  return result;
}

Result<void> SpaceTally::decided(std::uint64_t index) {
  for (; !undecided_.empty() && undecided_.front().first <= index; undecided_.pop_front()) {
    if (judge_ == nullptr) continue;
    judge_->decided(undecided_.front().first, undecided_.front().second);
  }
  return machine_->decided(index);
}

Result<Balances> SpaceTally::balances() {
  const AccountCall all{.work = AccountWork::look, .mask = 0xffff};
  DOLMEN_CHECK(machine_->prepare_read());
  DOLMEN_TRY(const auto reply, machine_->read(encode(all, true)));
  const auto answer = account_answer_in(reply);
  Balances balances{};
  if (!answer || answer->balances.size() != balances.size()) {
    return fail(Errc::corrupt, "accounts of a space");
  }
  std::ranges::copy(answer->balances, balances.begin());
  return balances;
}

Result<SpaceBooks> SpaceTally::books() {
  DOLMEN_CHECK(machine_->prepare_read());
  DOLMEN_TRY(const auto reply, machine_->read(look_into_books()));
  return books_in(reply);
}

Result<void> SpaceTally::restore(Bytes state) {
  value_.reset();
  undecided_.clear();
  return machine_->restore(state);
}

void SpaceTally::reset() {
  value_ = 0;
  undecided_.clear();
  machine_->reset();
}

Result<std::vector<std::byte>> SpaceTally::image() {
  return machine_->image().pages(std::size_t{1} << 30);
}

bool is_same_image(base::Bytes one, base::Bytes other) {
  if (std::ranges::equal(one, other)) return true;
  const auto first = node::decode_image(one);
  const auto second = node::decode_image(other);
  const auto is_empty = [](const auto& image) {
    return image && image->head.last_index == 0 && image->objects.empty();
  };
  return is_empty(first) && is_empty(second);
}

}  // namespace dolmen::sim
