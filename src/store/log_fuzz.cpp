// SPDX-License-Identifier: Apache-2.0
//
// Hostile log segments. The input is a script of records, most of which verify, so that the fuzzer
// gets behind the checksums: into gaps, parts, forged indices and payloads that lie. Raw bytes are
// one of its words. Nothing may crash, and what is recovered must be a prefix that the scan can
// give a second time.
#include <cstddef>
#include <cstdint>
#include <vector>

#include <dolmen/assert.hpp>

#include "store/durable_store.hpp"
#include "store/log_format.hpp"
#include "store/log_fuzz_disk.hpp"

using namespace dolmen;
using namespace dolmen::store;

namespace {

constexpr std::uint32_t kSegmentBytes = 16u << 10;
constexpr ObjectId kSpace{1, 2};

struct Script {
  const std::uint8_t* data;
  std::size_t size;
  std::size_t at = 0;
  std::uint32_t next() { return at < size ? data[at++] : 0; }
  [[nodiscard]] bool done() const { return at >= size; }
};

void write_segment(Script& script, const SegmentRef& ref, std::vector<std::byte>& bytes) {
  const base::MutableBytes out(bytes);
  encode_segment_header(kSpace, ref, kSegmentBytes, out.first(kSegmentHeaderBytes));
  if (script.next() % 32 == 31) out[script.next()] ^= std::byte{1};
  const std::uint64_t seed = record_seed(kSpace, ref);
  std::uint32_t position = kSegmentHeaderBytes;
  Index index = ref.first_index;
  for (std::uint32_t records = script.next() % 64; records > 0 && !script.done(); --records) {
    const std::uint32_t word = script.next();
    std::uint32_t length = script.next() % 128;
    if (word % 16 == 1) length *= 64;
    if (position + record_bytes(length) > kSegmentBytes) return;
    const base::MutableBytes record = out.subspan(position, record_bytes(length));
    for (std::uint32_t k = 0; k < length; ++k) {
      record[kRecordHeaderBytes + k] = static_cast<std::byte>(script.next());
    }
    if (word % 8 == 2) index += script.next() % 4;  // a gap
    const Index durable = index - 1 - std::min<Index>(index - 1, script.next() % 4);
    const auto kind = word / 16 % 4;
    encode_record_header({.payload_bytes = length,
                          .kind = static_cast<RecordKind>(kind == 0 ? 1 : kind),
                          .index = index,
                          .durable_index = durable},
                         payload_checksum(record.subspan(kRecordHeaderBytes, length)), seed,
                         record.data());
    if (word % 8 == 3) record[script.next() % record.size()] ^= std::byte{4};
    if (word % 16 == 4) base::store(record, 0, script.next() << 8 | script.next());
    position += static_cast<std::uint32_t>(record.size());
    ++index;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Script script{data, size};
  Root root;
  root.space = kSpace;
  root.generation = 1;
  root.segment_bytes = kSegmentBytes;
  root.checkpoint_index = script.next() % 8;
  root.durable_index = root.checkpoint_index + script.next() % 8;
  root.next_incarnation = 10;
  FuzzDisk disk;
  Index first = 1;
  for (std::uint32_t k = 0; k < 1 + data[0] % 3; ++k) {
    const SegmentRef ref{.file = k, .incarnation = k + 1, .first_index = first};
    if (k == 0 && first > root.checkpoint_index + 1) break;
    root.segments.push_back(ref);
    auto& bytes = disk.files[segment_name(k)];
    bytes.resize(kSegmentBytes - (script.next() == 255 ? 100 : 0));
    if (bytes.size() < kSegmentBytes) continue;
    write_segment(script, ref, bytes);
    first += 1 + script.next() % 16;
  }
  std::vector<std::byte>& space = disk.files[std::string(kRootFile)];
  space.resize(kRootFileBytes);
  for (const unsigned slot : {2u, 3u}) {
    encode_root(root, base::MutableBytes(space).subspan(slot * kRootSlotBytes, kRootSlotBytes));
  }
  const auto once = recover(disk, nullptr);
  const auto twice = recover(disk, nullptr);
  DOLMEN_ASSERT(once.has_value() == twice.has_value());
  if (!once) return 0;
  DOLMEN_ASSERT(once->scan.end == twice->scan.end);
  DOLMEN_ASSERT(once->scan.end >= root.checkpoint_index);
  if (!once->tail) return 0;
  for (const PageKey& key : once->tail->changed_pages()) {
    std::vector<std::byte> page(kPageBytes);
    const TailIndex::Object* const object = once->tail->find(key.object);
    DOLMEN_ASSERT(object != nullptr && !object->erased);
    once->tail->apply(*object, key.page, page);
  }
  return 0;
}
