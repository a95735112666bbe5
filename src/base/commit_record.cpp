// SPDX-License-Identifier: Apache-2.0
#include "base/commit_record.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

namespace dolmen::base {

namespace {
constexpr std::size_t kFirstBytes = 4096;
}

void CommitRecordWriter::grow(std::size_t bytes) {
  room_.resize(std::max({kFirstBytes, room_.size() * 2, size_ + bytes}));
}

void CommitRecordWriter::begin(ChangeKind kind, const ObjectId& object, unsigned capacity_log2) {
  section_ = size_;
  const MutableBytes out = extend(kSectionHeaderBytes);
  store(out, 0, static_cast<std::uint8_t>(kind));
  store(out, 1, static_cast<std::uint8_t>(capacity_log2));
  store(out, 2, std::uint16_t{0});
  store(out, 4, std::uint32_t{0});
  store(out, 8, object.high);
  store(out, 16, object.low);
  if (kind != ChangeKind::write) section_ = kNone;
}

void CommitRecordWriter::run(std::uint32_t offset, Bytes bytes) {
  DOLMEN_ASSERT(section_ != kNone);
  DOLMEN_ASSERT(bytes.size() <= kMaxObjectBytes && offset <= kMaxObjectBytes - bytes.size());
  const std::size_t padded = (bytes.size() + 7) & ~std::size_t{7};
  const MutableBytes out = extend(kRunHeaderBytes + padded);
  store(out, 0, offset);
  store(out, 4, static_cast<std::uint32_t>(bytes.size()));
  if (padded != bytes.size()) store(out, kRunHeaderBytes + padded - 8, std::uint64_t{0});
  if (!bytes.empty()) std::memcpy(out.data() + kRunHeaderBytes, bytes.data(), bytes.size());
  const MutableBytes section(room_.data() + section_, kSectionHeaderBytes);
  store(section, 4, load<std::uint32_t>(section, 4) + 1);
}

bool CommitRecordReader::next_section(CommitSection& section) noexcept {
  CommitRun skipped;
  while (runs_left_ > 0) {
    if (!next_run(skipped)) return false;
  }
  if (reader_.failed() || reader_.remaining() == 0) return false;
  const auto kind = reader_.get<std::uint8_t>();
  section.kind = static_cast<ChangeKind>(kind);
  section.capacity_log2 = reader_.get<std::uint8_t>();
  const auto zero = reader_.get<std::uint16_t>();
  section.run_count = reader_.get<std::uint32_t>();
  section.object = reader_.get_id();
  const bool sized = section.kind == ChangeKind::create || section.kind == ChangeKind::resize;
  const bool size_ok =
      sized ? section.capacity_log2 >= kMinCapacityLog2 && section.capacity_log2 <= kMaxCapacityLog2
            : section.capacity_log2 == 0;
  if (kind < 1 || kind > 4 || zero != 0 || !size_ok || section.object.is_null() ||
      (section.kind != ChangeKind::write && section.run_count != 0)) {
    reader_.fail();
  }
  if (reader_.failed()) return false;
  runs_left_ = section.run_count;
  return true;
}

bool CommitRecordReader::next_run(CommitRun& run) noexcept {
  if (runs_left_ == 0 || reader_.failed()) return false;
  --runs_left_;
  run.offset = reader_.get<std::uint32_t>();
  const auto length = reader_.get<std::uint32_t>();
  if (length > kMaxObjectBytes || run.offset > kMaxObjectBytes - length) {
    reader_.fail();
    return false;
  }
  run.bytes = reader_.take(length);
  const Bytes padding = reader_.take((8 - length % 8) % 8);
  if (std::ranges::any_of(padding, [](std::byte b) { return b != std::byte{0}; })) reader_.fail();
  return !reader_.failed();
}

}  // namespace dolmen::base
