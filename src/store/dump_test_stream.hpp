// SPDX-License-Identifier: Apache-2.0
//
// Streams in memory, for tests and fuzzers of dumps.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "store/dump_format.hpp"

namespace dolmen::store {

class MemorySink final : public ByteSink {
 public:
  std::vector<std::byte> bytes;
  Result<void> write(base::Bytes more) override {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return {};
  }
};

/// Gives at most `step` bytes at a time, as a pipe may.
class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(base::Bytes bytes, std::size_t step = 4096) : bytes_(bytes), step_(step) {}
  Result<std::size_t> read(base::MutableBytes out) override {
    const std::size_t count = std::min({out.size(), step_, bytes_.size()});
    if (count != 0) std::memcpy(out.data(), bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
    return count;
  }

 private:
  base::Bytes bytes_;
  std::size_t step_;
};

}  // namespace dolmen::store
