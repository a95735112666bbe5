// SPDX-License-Identifier: Apache-2.0
#include "store/reader_pins.hpp"

#include <cerrno>
#include <string>

namespace dolmen::store {

namespace {

constexpr unsigned kPinsMax = 64;
constexpr std::string_view kPrefix = "readers/";

std::string pin_name(unsigned pin) {
  std::string name(kPrefix);
  name += static_cast<char>('0' + pin / 10);
  name += static_cast<char>('0' + pin % 10);
  return name;
}

bool may_not_write(const Error& error) {
  return error.code() == Errc::read_only || error.detail() == EACCES || error.detail() == EPERM;
}

}  // namespace

Result<std::unique_ptr<sys::FileLock>> take_reader_pin(sys::Disk& disk, std::string_view owner) {
  for (unsigned pin = 0; pin < kPinsMax; ++pin) {
    const std::string name = pin_name(pin);
    auto lock = disk.try_lock(name, sys::LockMode::exclusive, owner, nullptr);
    if (!lock && lock.error().code() == Errc::not_found) {
      // The folder is not there yet: making a file makes it.
      const auto made = disk.open(name, sys::OpenMode::create_or_open);
      if (!made && may_not_write(made.error())) return nullptr;
      lock = disk.try_lock(name, sys::LockMode::exclusive, owner, nullptr);
    }
    if (lock) return lock;
    if (may_not_write(lock.error())) return nullptr;
    if (lock.error().code() != Errc::held) return lock;
  }
  return fail(Errc::limit, "readers of this space", kPinsMax);
}

bool any_reader_pin(sys::Disk& disk) {
  const auto names = disk.list();
  if (!names) return true;
  for (const std::string& name : *names) {
    if (!name.starts_with(kPrefix)) continue;
    if (!disk.try_lock(name, sys::LockMode::shared, {}, nullptr)) return true;
  }
  return false;
}

}  // namespace dolmen::store
