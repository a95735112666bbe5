// SPDX-License-Identifier: Apache-2.0
#include "txn/store_guard.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "base/mutex.hpp"
#include "base/print.hpp"
#include "txn/space_core.hpp"

namespace dolmen::txn {

Result<void> StoreGuard::open(HomeObject& object, std::uint32_t number) {
  std::byte* const address = object.page_address(number);
  if (!memory_.protect(address, store::kPageBytes, true)) {
    return fail(Errc::limit,
                "open pages of one transaction under the store guard; raise the "
                "kernel's vm.max_map_count");
  }
  Page& page = pages_[address];
  page.bytes = object.page_bytes();
  for (const UndoLine* line = object.page(number).undo.load(std::memory_order_relaxed);
       line != nullptr; line = line->next.load(std::memory_order_relaxed)) {
    page.before[line->line] = line->bytes;
  }
  return {};
}

const std::byte* StoreGuard::first_stray(const Page& page, const std::byte* address,
                                         std::size_t begin, std::size_t end) {
  for (std::size_t at = begin; at < end; ++at) {
    if (page.announced[at]) continue;
    const std::byte* const line = page.before[at / kLineBytes];
    if (address[at] != (line == nullptr ? std::byte{0} : line[at % kLineBytes]))
      return address + at;
  }
  return nullptr;
}

const std::byte* StoreGuard::announce(const HomeObject& object, std::uint32_t number,
                                      std::size_t begin, std::size_t end) {
  const std::byte* const address = object.page_address(number);
  Page& page = pages_.at(address);
  const std::byte* const stray = first_stray(page, address, begin, end);
  for (std::size_t at = begin; at < end; ++at) page.announced.set(at);
  return stray;
}

const std::byte* StoreGuard::find_stray() const {
  const std::byte* found = nullptr;
  for (const auto& [address, page] : pages_) {
    const std::byte* const stray = first_stray(page, address, 0, page.bytes);
    if (stray != nullptr && (found == nullptr || stray < found)) found = stray;
  }
  return found;
}

void StoreGuard::close() {
  // By ascending address: each page joins the closed ones before it, and no mapping is split.
  std::vector<const std::byte*> addresses;
  addresses.reserve(pages_.size());
  for (const auto& [address, page] : pages_) addresses.push_back(address);
  std::ranges::sort(addresses);
  for (const std::byte* address : addresses) {
    (void)memory_.protect(const_cast<std::byte*>(address), store::kPageBytes, false);
  }
  pages_.clear();
}

}  // namespace dolmen::txn

namespace dolmen::detail {

namespace {

/// What the storing thread is doing, for who reads the last words.
std::string activity(const Mapping& mapping) {
  if (mapping.kind == 2) return "a view cannot be written";
  const Section* const section = current_section();
  if (section == nullptr) return "outside every section";
  if (section->transaction == nullptr) return "in a read section";
  return "the running transaction does not hold the object";
}

class StrayStores final : public sys::StoreHandler {
 public:
  [[nodiscard]] bool on_store(std::uintptr_t address) noexcept override {
    if (!in_arena(address)) return false;
    const Mapping& mapping = mapping_of(address);
    if (mapping.kind == 0) return false;
    if (!static_cast<const SpaceCore*>(mapping.space)->options().guard_stores) return false;
    const auto* const place = reinterpret_cast<const std::byte*>(address);
    const Section* const section = current_section();
    if (mapping.kind == 1 && section != nullptr && section->transaction != nullptr) {
      auto& object = *static_cast<txn::HomeObject*>(mapping.record);
      if (section->transaction->holds(object)) {
        return section->transaction->take_stray_store(object, place);
      }
    }
    try {
      const std::string text = stray_store(place).message() + " (" + activity(mapping) + ")";
      base::print_last_words(text.c_str());
    } catch (...) {
      base::print_last_words("unlogged_store");
    }
    return false;
  }
};

struct InstalledGuard {
  base::Mutex mutex;
  bool installed DOLMEN_GUARDED_BY(mutex) = false;
  StrayStores handler;
};

InstalledGuard& installed_guard() {
  static InstalledGuard guard;
  return guard;
}

}  // namespace

Result<void> install_store_guard(sys::Memory& memory) {
  InstalledGuard& guard = installed_guard();
  const base::Lock lock(guard.mutex);
  if (guard.installed) return {};
  DOLMEN_CHECK(memory.install_store_handler(&guard.handler));
  guard.installed = true;
  return {};
}

Error stray_store(const void* address) noexcept {
  const char* const place = describe_place(address);
  const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(address) - base_of(address);
  try {
    return Error(
        Errc::unlogged_store,
        interned(std::string(place) + ", page " + std::to_string(offset / store::kPageBytes)),
        offset);
  } catch (...) {
    return Error(Errc::unlogged_store, place, offset);
  }
}

}  // namespace dolmen::detail
