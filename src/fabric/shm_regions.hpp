// SPDX-License-Identifier: Apache-2.0
//
// Regions in shared memory: this node's own, and those of others as far as this process has mapped
// them. Threads: one per object.
#pragma once

#include <cstdint>
#include <memory>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "fabric/shm_layout.hpp"
#include "sys/shared_memory.hpp"

namespace dolmen::fabric::shm {

class OwnRegion {
 public:
  /// Makes and publishes it. Errors: those of the directory.
  [[nodiscard]] static Result<OwnRegion> make(sys::SharedDirectory& directory,
                                              const RegionCard& card);
  [[nodiscard]] RegionId id() const noexcept { return card_.region; }
  [[nodiscard]] MutableBytes bytes() const noexcept;
  /// Errors: unsupported (it takes rights away), limit (kGrantsMax nodes).
  [[nodiscard]] Result<void> grant(NodeId node, const Rights& rights) noexcept;
  /// The node never comes again: its place in the table is another's.
  void forget(NodeId node) noexcept;
  /// Tells those that have it mapped.
  void close() noexcept;

 private:
  OwnRegion(const RegionCard& card, std::unique_ptr<sys::OwnObject> object) noexcept
      : card_(card), object_(std::move(object)) {}

  RegionCard card_;
  std::unique_ptr<sys::OwnObject> object_;
};

class RemoteRegion {
 public:
  /// Errors: those of the directory, corrupt, version_unsupported.
  [[nodiscard]] static Result<RemoteRegion> open(sys::SharedDirectory& directory,
                                                 const NodeName& owner, RegionId region);
  [[nodiscard]] RegionId id() const noexcept { return card_.region; }
  [[nodiscard]] const NodeName& owner() const noexcept { return card_.owner; }
  [[nodiscard]] MutableBytes bytes() const noexcept;
  /// Whether `self` was granted all of these. What was granted once stays so: looked up at most
  /// once.
  [[nodiscard]] bool allows(NodeId self, const Rights& needed) noexcept;
  /// For a caller of map(), by whom it is kept: writable if `self` may write.
  [[nodiscard]] Result<MutableBytes> hand_out(sys::SharedDirectory& directory, NodeId self);
  [[nodiscard]] bool handed_out() const noexcept { return handed_out_; }
  void take_back() noexcept { handed_out_ = false; }

 private:
  RemoteRegion(const RegionCard& card, std::unique_ptr<sys::SharedObject> object) noexcept
      : card_(card), object_(std::move(object)) {}

  RegionCard card_;
  std::unique_ptr<sys::SharedObject> object_;
  std::unique_ptr<sys::SharedObject> read_only_;  // the same memory, for who may only read
  std::uint32_t rights_ = 0;                      // as seen so far
  bool handed_out_ = false;
};

}  // namespace dolmen::fabric::shm
