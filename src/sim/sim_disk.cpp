// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_disk.hpp"

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "sim/sim_disk_core.hpp"

namespace dolmen::sim {
namespace {

class SimFile final : public sys::File {
 public:
  SimFile(std::shared_ptr<SimDiskCore> core, InodeId inode, std::string name, bool writable)
      : core_(std::move(core)), inode_(inode), name_(std::move(name)), writable_(writable) {}
  ~SimFile() override { core_->close(inode_); }
  SimFile(const SimFile&) = delete;
  SimFile& operator=(const SimFile&) = delete;

  Result<std::size_t> read(std::uint64_t offset, base::MutableBytes out) noexcept override {
    return core_->read(inode_, name_, offset, out);
  }
  Result<void> write(std::uint64_t offset, base::Bytes bytes) override {
    DOLMEN_CHECK(require_writable());
    return core_->write(inode_, name_, offset, bytes);
  }
  Result<void> sync() override { return core_->sync(inode_, name_); }
  Result<std::uint64_t> size() override { return core_->size(inode_, name_); }
  Result<void> resize(std::uint64_t bytes) override {
    DOLMEN_CHECK(require_writable());
    return core_->resize(inode_, name_, bytes);
  }
  Result<void> allocate(std::uint64_t offset, std::uint64_t bytes) override {
    DOLMEN_CHECK(require_writable());
    return core_->allocate(inode_, name_, offset, bytes);
  }
  Result<void> punch(std::uint64_t offset, std::uint64_t bytes) override {
    DOLMEN_CHECK(require_writable());
    return core_->punch(inode_, name_, offset, bytes);
  }
  Result<std::uint64_t> allocated_bytes() override { return core_->allocated_bytes(inode_, name_); }

 private:
  [[nodiscard]] Result<void> require_writable() const {
    return writable_ ? Result<void>() : fail(Errc::read_only, interned(name_));
  }

  const std::shared_ptr<SimDiskCore> core_;
  const InodeId inode_;
  const std::string name_;
  const bool writable_;
};

class SimLock final : public sys::FileLock {
 public:
  SimLock(std::shared_ptr<SimDiskCore> core, std::string name, sys::LockMode mode)
      : core_(std::move(core)), name_(std::move(name)), mode_(mode) {}
  ~SimLock() override { core_->unlock(name_, mode_); }
  SimLock(const SimLock&) = delete;
  SimLock& operator=(const SimLock&) = delete;

 private:
  const std::shared_ptr<SimDiskCore> core_;
  const std::string name_;
  const sys::LockMode mode_;
};

}  // namespace

SimDisk::SimDisk(std::uint64_t seed, std::string name)
    : SimDisk(DiskModel(), seed, std::move(name)) {}
SimDisk::SimDisk(DiskModel model, std::uint64_t seed, std::string name)
    : core_(std::make_shared<SimDiskCore>(std::move(model), seed, std::move(name))) {}
SimDisk::~SimDisk() = default;

Result<std::unique_ptr<sys::File>> SimDisk::open(std::string_view name, sys::OpenMode mode) {
  DOLMEN_TRY(const InodeId inode, core_->open(name, mode));
  return std::make_unique<SimFile>(core_, inode, std::string(name),
                                   mode != sys::OpenMode::read_only);
}
Result<std::vector<std::string>> SimDisk::list() { return core_->list(); }
Result<void> SimDisk::remove(std::string_view name) { return core_->remove(name); }
Result<void> SimDisk::rename(std::string_view from, std::string_view to) {
  return core_->rename(from, to);
}
Result<void> SimDisk::sync_directory() { return core_->sync_directory(); }
Result<std::uint64_t> SimDisk::free_bytes() { return core_->free_bytes(); }
Result<std::unique_ptr<sys::FileLock>> SimDisk::try_lock(std::string_view name, sys::LockMode mode,
                                                         std::string_view owner,
                                                         std::string* holder) {
  DOLMEN_CHECK(core_->lock(name, mode, owner, holder));
  return std::make_unique<SimLock>(core_, std::string(name), mode);
}
std::string SimDisk::describe() const { return core_->disk_name; }

DiskModel SimDisk::model() const {
  const base::Lock lock(core_->mutex);
  return core_->model;
}

std::unique_ptr<SimDisk> SimDisk::crash(const CrashPlan& plan, std::uint64_t seed) const {
  const base::Lock lock(core_->mutex);
  return std::make_unique<SimDisk>(core_->model.crash(plan), seed, core_->disk_name);
}

void SimDisk::power_off() {
  const base::Lock lock(core_->mutex);
  core_->power_off_at = 0;
}

void SimDisk::power_off_at(std::uint64_t op_count) {
  const base::Lock lock(core_->mutex);
  core_->power_off_at = op_count;
}

std::uint64_t SimDisk::op_count() const {
  const base::Lock lock(core_->mutex);
  return core_->op_count;
}

std::uint64_t SimDisk::trace_hash() const {
  const base::Lock lock(core_->mutex);
  return core_->trace_hash;
}

void SimDisk::record() {
  const base::Lock lock(core_->mutex);
  core_->history = DiskHistory{core_->model, core_->op_count, {}};
}

DiskHistory SimDisk::history() const {
  const base::Lock lock(core_->mutex);
  DOLMEN_ASSERT(core_->history.has_value());
  return *core_->history;
}

void SimDisk::inject(const DiskFault& fault) {
  const base::Lock lock(core_->mutex);
  core_->faults.add(fault);
}

void SimDisk::set_fault_rates(const DiskFaultRates& rates) {
  const base::Lock lock(core_->mutex);
  core_->faults.set_rates(rates);
}

void SimDisk::clear_faults() {
  const base::Lock lock(core_->mutex);
  core_->faults.clear();
}

std::uint64_t SimDisk::fallible_calls() const {
  const base::Lock lock(core_->mutex);
  return core_->faults.calls();
}

void SimDisk::set_capacity_bytes(std::uint64_t bytes) {
  const base::Lock lock(core_->mutex);
  core_->capacity_sectors = bytes / kSectorBytes;
}

std::uint64_t SimDisk::used_bytes() const {
  const base::Lock lock(core_->mutex);
  return core_->model.allocated_sectors() * kSectorBytes;
}

void SimDisk::flip_bit(std::string_view name, std::uint64_t offset, unsigned bit) {
  const base::Lock lock(core_->mutex);
  const InodeId inode = core_->model.find(name);
  DOLMEN_ASSERT(inode != 0 && bit < 8 && offset < core_->model.size(inode));
  core_->apply({.kind = OpKind::flip_bit,
                .inode = inode,
                .offset = offset,
                .bytes = bit,
                .name = std::string(name)});
}

void SimDisk::set_latency(sys::Clock& clock, const DiskLatency& latency) {
  const base::Lock lock(core_->mutex);
  core_->clock = &clock;
  core_->latency = latency;
}

}  // namespace dolmen::sim
