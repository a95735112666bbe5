// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_disk_core.hpp"

#include <algorithm>
#include <cerrno>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "sys/file_name.hpp"

namespace dolmen::sim {
namespace {

constexpr std::uint64_t kFileBytesMax = std::uint64_t{64} << 30;

std::uint64_t round_down(std::uint64_t offset) noexcept {
  return offset / kSectorBytes * kSectorBytes;
}
std::uint64_t round_up(std::uint64_t offset) noexcept {
  return round_down(offset + kSectorBytes - 1);
}

std::unexpected<Error> failed(Errc code, std::string_view name, const char* why,
                              std::uint64_t detail = 0) {
  return fail(code, interned(std::string(name) + ": " + why), detail);
}

}  // namespace

SimDiskCore::SimDiskCore(DiskModel disk_model, std::uint64_t seed, std::string name)
    : disk_name(std::move(name)),
      model(std::move(disk_model)),
      faults(base::mix_seed(seed, 1)),
      random_(base::mix_seed(seed, 2)) {}

Result<void> SimDiskCore::power(std::string_view name) const {
  if (op_count >= power_off_at) return failed(Errc::io_error, name, "the power is off", EIO);
  return {};
}

Result<void> SimDiskCore::begin(FaultOn on, std::string_view name, std::uint64_t latency_ns,
                                std::optional<DiskFault>* write_fault) {
  DOLMEN_CHECK(power(name));
  if (clock != nullptr && latency_ns != 0) {
    clock->sleep_ns(random_.between(latency_ns / 2, latency_ns));
  }
  const std::optional<DiskFault> fault = faults.next(on, name);
  if (!fault) return {};
  trace(on, 0, static_cast<std::uint64_t>(fault->effect), static_cast<std::uint64_t>(fault->code),
        base::checksum64(base::as_bytes(name), 0));
  if (write_fault != nullptr) *write_fault = fault;
  if (fault->effect != FaultEffect::fail) return {};
  return failed(fault->code, name, "simulated fault", fault->code == Errc::no_space ? ENOSPC : EIO);
}

void SimDiskCore::trace(FaultOn on, InodeId inode, std::uint64_t offset, std::uint64_t bytes,
                        std::uint64_t contents) {
  for (const std::uint64_t value :
       {static_cast<std::uint64_t>(on), inode, offset, bytes, contents}) {
    trace_hash = base::mix_seed(trace_hash, value);
  }
}

void SimDiskCore::apply(DiskOp op) {
  trace_hash = base::mix_seed(trace_hash, static_cast<std::uint64_t>(op.kind));
  trace(FaultOn::any, op.inode, op.offset, op.bytes,
        op.data ? base::checksum64(*op.data, op.size) : op.size);
  trace_hash = base::checksum64(base::as_bytes(op.to),
                                base::checksum64(base::as_bytes(op.name), trace_hash));
  const auto shared = std::make_shared<const DiskOp>(std::move(op));
  model.apply(shared);
  if (history) history->ops.push_back(shared);
  ++op_count;
}

std::uint64_t SimDiskCore::free_sectors() const noexcept {
  const std::uint64_t used = model.allocated_sectors();
  return used < capacity_sectors ? capacity_sectors - used : 0;
}

Result<InodeId> SimDiskCore::create(std::string_view name) {
  DOLMEN_CHECK(begin(FaultOn::create, name, latency.write_ns));
  const InodeId inode = model.next_inode();
  apply({.kind = OpKind::create, .inode = inode, .name = std::string(name)});
  return inode;
}

Result<InodeId> SimDiskCore::open(std::string_view name, sys::OpenMode mode) {
  const base::Lock lock(mutex);
  DOLMEN_CHECK(power(name));
  if (!sys::is_valid_file_name(name)) return fail(Errc::invalid_argument, interned(name));
  InodeId inode = model.find(name);
  if (inode != 0 && mode == sys::OpenMode::create_new) {
    return failed(Errc::already_exists, name, "it exists", EEXIST);
  }
  if (inode == 0) {
    if (mode == sys::OpenMode::read_only || mode == sys::OpenMode::read_write) {
      return failed(Errc::not_found, name, "no such file", ENOENT);
    }
    DOLMEN_TRY(inode, create(name));
  }
  ++open_counts_[inode];
  return inode;
}

void SimDiskCore::close(InodeId inode) {
  const base::Lock lock(mutex);
  if (--open_counts_.at(inode) > 0) return;
  open_counts_.erase(inode);
  forget_unreachable();
}

void SimDiskCore::forget_unreachable() {
  // A recorded history replays every operation of a file, so there all files stay.
  if (history) return;
  model.forget_unreachable(open_counts_);
}

Result<std::vector<std::string>> SimDiskCore::list() {
  const base::Lock lock(mutex);
  DOLMEN_CHECK(power(disk_name));
  std::vector<std::string> names;
  for (const auto& [name, inode] : model.names()) names.push_back(name);
  return names;
}

Result<void> SimDiskCore::remove(std::string_view name) {
  const base::Lock lock(mutex);
  if (!sys::is_valid_file_name(name)) return fail(Errc::invalid_argument, interned(name));
  DOLMEN_CHECK(begin(FaultOn::remove, name, latency.write_ns));
  const InodeId inode = model.find(name);
  if (inode == 0) return failed(Errc::not_found, name, "no such file", ENOENT);
  apply({.kind = OpKind::remove, .inode = inode, .name = std::string(name)});
  return {};
}

Result<void> SimDiskCore::rename(std::string_view from, std::string_view to) {
  const base::Lock lock(mutex);
  for (const std::string_view name : {from, to}) {
    if (!sys::is_valid_file_name(name)) return fail(Errc::invalid_argument, interned(name));
  }
  DOLMEN_CHECK(begin(FaultOn::rename, from, latency.write_ns));
  const InodeId inode = model.find(from);
  if (inode == 0) return failed(Errc::not_found, from, "no such file", ENOENT);
  if (from == to) return {};
  apply({.kind = OpKind::rename, .inode = inode, .name = std::string(from), .to = std::string(to)});
  return {};
}

Result<void> SimDiskCore::sync_directory() {
  const base::Lock lock(mutex);
  DOLMEN_CHECK(power(disk_name));
  if (auto begun = begin(FaultOn::sync_directory, disk_name, latency.sync_ns); !begun) {
    apply({.kind = OpKind::sync_directory_failed, .seed = random_()});
    return begun;
  }
  apply({.kind = OpKind::sync_directory});
  forget_unreachable();
  return {};
}

Result<std::uint64_t> SimDiskCore::free_bytes() {
  const base::Lock lock(mutex);
  DOLMEN_CHECK(power(disk_name));
  return free_sectors() * kSectorBytes;
}

Result<std::size_t> SimDiskCore::read(InodeId inode, const std::string& name, std::uint64_t offset,
                                      base::MutableBytes out) {
  const base::Lock lock(mutex);
  DOLMEN_CHECK(begin(FaultOn::read, name, latency.read_ns));
  const std::uint64_t end = model.size(inode);
  const std::size_t count = offset < end ? std::min<std::uint64_t>(out.size(), end - offset) : 0;
  model.contents(inode).read(offset, out.first(count));
  trace(FaultOn::read, inode, offset, count, base::checksum64(out.first(count), 0));
  return count;
}

void SimDiskCore::write_sectors(InodeId inode, const std::string& name, std::uint64_t offset,
                                base::Bytes bytes) {
  if (bytes.empty()) return;
  const std::uint64_t first = round_down(offset);
  const std::uint64_t end = round_up(offset + bytes.size());
  auto data = std::make_shared<std::vector<std::byte>>(end - first);
  // Only the first and the last sector can hold something else beside the new bytes.
  const SparseBytes& contents = model.contents(inode);
  const base::MutableBytes sectors(*data);
  contents.read(first, sectors.first(kSectorBytes));
  contents.read(end - kSectorBytes, sectors.last(kSectorBytes));
  std::memcpy(data->data() + (offset - first), bytes.data(), bytes.size());
  apply({.kind = OpKind::write,
         .inode = inode,
         .offset = first,
         .bytes = end - first,
         .size = std::max(model.size(inode), offset + bytes.size()),
         .name = name,
         .data = std::move(data)});
}

Result<void> SimDiskCore::write(InodeId inode, const std::string& name, std::uint64_t offset,
                                base::Bytes bytes) {
  const base::Lock lock(mutex);
  std::optional<DiskFault> fault;
  auto begun = begin(FaultOn::write, name, latency.write_ns, &fault);
  if (!fault && !begun) return begun;
  if (bytes.size() > kFileBytesMax || offset > kFileBytesMax - bytes.size()) {
    return failed(Errc::io_error, name, "the file is too large", EFBIG);
  }
  std::size_t accepted = bytes.size();
  if (!begun) accepted = random_.below(bytes.size() + 1);  // any part may be written
  if (fault && fault->effect == FaultEffect::lose) return {};
  if (fault && fault->effect == FaultEffect::misdirect) offset += fault->shift;

  const std::uint64_t room = free_sectors();
  const bool fits = model.contents(inode).unallocated_sectors(offset, accepted) <= room;
  while (accepted > 0 && model.contents(inode).unallocated_sectors(offset, accepted) > room) {
    const std::size_t last = (offset + accepted) % kSectorBytes;
    accepted -= std::min(accepted, last != 0 ? last : kSectorBytes);
  }
  write_sectors(inode, name, offset, bytes.first(accepted));
  if (!begun) return begun;
  if (!fits) return failed(Errc::no_space, name, "the simulated disk is full", ENOSPC);
  return {};
}

Result<void> SimDiskCore::sync(InodeId inode, const std::string& name) {
  const base::Lock lock(mutex);
  DOLMEN_CHECK(power(name));
  if (auto begun = begin(FaultOn::sync, name, latency.sync_ns); !begun) {
    apply({.kind = OpKind::sync_failed, .inode = inode, .seed = random_(), .name = name});
    return begun;
  }
  apply({.kind = OpKind::sync, .inode = inode, .name = name});
  return {};
}

Result<std::uint64_t> SimDiskCore::size(InodeId inode, const std::string& name) {
  const base::Lock lock(mutex);
  DOLMEN_CHECK(power(name));
  return model.size(inode);
}

Result<void> SimDiskCore::resize(InodeId inode, const std::string& name, std::uint64_t bytes) {
  const base::Lock lock(mutex);
  DOLMEN_CHECK(begin(FaultOn::resize, name, latency.write_ns));
  if (bytes > kFileBytesMax) return failed(Errc::io_error, name, "the file is too large", EFBIG);
  apply({.kind = OpKind::resize, .inode = inode, .size = bytes, .name = name});
  return {};
}

Result<void> SimDiskCore::allocate(InodeId inode, const std::string& name, std::uint64_t offset,
                                   std::uint64_t bytes) {
  const base::Lock lock(mutex);
  DOLMEN_CHECK(begin(FaultOn::allocate, name, latency.write_ns));
  if (bytes == 0) return {};
  if (bytes > kFileBytesMax || offset > kFileBytesMax - bytes) {
    return failed(Errc::io_error, name, "the file is too large", EFBIG);
  }
  if (model.contents(inode).unallocated_sectors(offset, bytes) > free_sectors()) {
    return failed(Errc::no_space, name, "the simulated disk is full", ENOSPC);
  }
  apply({.kind = OpKind::allocate,
         .inode = inode,
         .offset = offset,
         .bytes = bytes,
         .size = std::max(model.size(inode), offset + bytes),
         .name = name});
  return {};
}

Result<void> SimDiskCore::punch(InodeId inode, const std::string& name, std::uint64_t offset,
                                std::uint64_t bytes) {
  const base::Lock lock(mutex);
  DOLMEN_CHECK(begin(FaultOn::punch, name, latency.write_ns));
  const std::uint64_t end = model.size(inode);
  if (bytes == 0 || offset >= end) return {};
  apply({.kind = OpKind::punch,
         .inode = inode,
         .offset = offset,
         .bytes = std::min(bytes, end - offset),
         .name = name});
  return {};
}

Result<std::uint64_t> SimDiskCore::allocated_bytes(InodeId inode, const std::string& name) {
  const base::Lock lock(mutex);
  DOLMEN_CHECK(power(name));
  return model.contents(inode).allocated_sectors() * kSectorBytes;
}

Result<void> SimDiskCore::lock(std::string_view name, sys::LockMode mode, std::string_view owner,
                               std::string* holder) {
  const base::Lock guarded(mutex);
  if (!sys::is_valid_file_name(name)) return fail(Errc::invalid_argument, interned(name));
  DOLMEN_CHECK(power(name));
  if (model.find(name) == 0) DOLMEN_CHECK(create(name));
  Lock& lock = locks_[std::string(name)];
  const bool exclusive = mode == sys::LockMode::exclusive;
  if (lock.exclusive || (exclusive && lock.shared > 0)) {
    if (holder != nullptr) *holder = lock.owner;
    return fail(Errc::held, interned(name));
  }
  lock.exclusive = exclusive;
  lock.shared += exclusive ? 0 : 1;
  lock.owner = exclusive ? std::string(owner) : std::string();
  return {};
}

void SimDiskCore::unlock(const std::string& name, sys::LockMode mode) {
  const base::Lock guarded(mutex);
  Lock& lock = locks_.at(name);
  if (mode == sys::LockMode::exclusive) {
    lock = {};
  } else {
    --lock.shared;
  }
}

}  // namespace dolmen::sim
