// SPDX-License-Identifier: Apache-2.0
//
// Write logging and memory for containers and make().
#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include <dolmen/assert.hpp>

#include "object/heap.hpp"
#include "txn/space_core.hpp"
#include "txn/txn_log.hpp"
#include "txn/types.hpp"

namespace dolmen::detail {

using txn::HomeObject;
using txn::Transaction;

namespace {

constexpr std::size_t kCacheLine = 64;  // what is made of whole lines begins at one

/// The ambient transaction, once `object` is among what it may write.
Transaction& writable(HomeObject* object, const void* address) {
  Section* section = current_section();
  if (section == nullptr) throw_error(Errc::no_transaction, describe_place(address));
  if (object == nullptr) throw_error(Errc::read_only, "a view cannot be written");
  if (section->transaction == nullptr) throw_error(Errc::no_transaction, describe_place(address));
  if (section->core != object->mapping().space) {
    throw_error(Errc::wrong_space, describe_place(address));
  }
  if (!section->transaction->holds(*object)) {
    section->core->require_in_scope(*section, *object, address);
  }
  if (object->erased.load(std::memory_order_relaxed) != 0) {
    throw_error(Errc::deleted, describe_place(address));
  }
  return *section->transaction;
}

}  // namespace

void log_write_slow(const void* address, std::size_t bytes) {
  HomeObject* object = home_of(address);
  Section* section = current_section();
  Transaction& transaction = section != nullptr && section->transaction != nullptr &&
                                     object != nullptr && section->transaction->holds(*object)
                                 ? *section->transaction
                                 : writable(object, address);
  if (!transaction.log(*object, address, bytes)) throw AccessError(transaction.refusal());
}

void open_for_edit(const void* address, std::size_t bytes) {
  if (!in_arena(address)) return;
  log_write_slow(address, bytes);
}

void* allocate(const void* near, const TypeInfo& (*type)(), std::size_t element_bytes,
               std::size_t count) {
  if (!in_arena(near)) {
    const std::size_t bytes = count * element_bytes;
    if (bytes % kCacheLine != 0) {
      void* memory = std::calloc(count, element_bytes);
      if (memory == nullptr) throw std::bad_alloc();
      return memory;
    }
    void* memory = std::aligned_alloc(kCacheLine, bytes);
    if (memory == nullptr) throw std::bad_alloc();
    return std::memset(memory, 0, bytes);
  }
  HomeObject* object = home_of(near);
  Transaction& transaction = writable(object, near);
  const TypeInfo& info = type();
  const std::uint32_t tag = txn::register_type(info);
  if (transaction.types.empty() || transaction.types.back() != &info) {
    if (std::find(transaction.types.begin(), transaction.types.end(), &info) ==
        transaction.types.end()) {
      transaction.types.push_back(&info);
    } else {
      std::iter_swap(std::find(transaction.types.begin(), transaction.types.end(), &info),
                     transaction.types.end() - 1);
    }
  }
  txn::TxnLog log;
  object::Heap heap(object->base, object->capacity_log2(), log);
  const auto offset = heap.allocate(tag, static_cast<std::uint32_t>(element_bytes), count);
  if (!offset) {
    throw_error(offset.error().code(),
                interned("object " + object->id().to_string() + " of " +
                         std::to_string(std::size_t{1} << object->capacity_log2()) + " bytes"),
                element_bytes * count);
  }
  if (*offset >= SpaceCore::kHugeFrom && !object->huge) [[unlikely]]
    current_section()->core->advise_huge(*object);
  return object->base + *offset;
}

void deallocate(void* memory, std::size_t bytes) noexcept(false) {
  (void)bytes;
  if (memory == nullptr) return;
  if (!in_arena(memory)) {
    std::free(memory);
    return;
  }
  HomeObject* object = home_of(memory);
  (void)writable(object, memory);
  txn::TxnLog log;
  object::Heap heap(object->base, object->capacity_log2(), log);
  const auto offset = static_cast<std::byte*>(memory) - object->base;
  const auto freed = heap.deallocate(static_cast<std::uint64_t>(offset));
  if (!freed) throw_error(freed.error().code(), describe_place(memory));
}

std::size_t allocation_bytes(const void* near, std::size_t bytes) noexcept {
  return in_arena(near) ? static_cast<std::size_t>(object::allocation_bytes(bytes)) : bytes;
}

}  // namespace dolmen::detail
