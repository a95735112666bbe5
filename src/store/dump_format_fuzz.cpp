// SPDX-License-Identifier: Apache-2.0
//
// Hostile dumps. The input is taken as it is, or (first byte odd) with the checksums of header and
// frames made right, so that the fuzzer gets behind them. What is read to its end must be the very
// bytes that a writer makes of it; and a small input must not make the reader work long or keep
// much.
#include <cstdint>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "store/dump_test_stream.hpp"

using namespace dolmen;
using namespace dolmen::store;

namespace {

void make_checksums_right(std::vector<std::byte>& bytes) {
  if (bytes.size() < kDumpHeaderBytes) return;
  base::store(bytes, 0, std::uint64_t{0x31504D444D4C4F44});
  base::store(bytes, 56, base::checksum64(base::Bytes(bytes).first(56), 0x64756D7020312E30));
  std::uint64_t chain = 0x64756D7020312E31;
  for (std::size_t at = kDumpHeaderBytes; bytes.size() - at >= kDumpFrameBytes;) {
    const std::size_t covered = 8 + std::size_t{base::load<std::uint32_t>(bytes, at + 4)};
    if (covered > bytes.size() - at - 8) return;
    chain = base::checksum64(base::Bytes(bytes).subspan(at, covered), chain);
    base::store(bytes, at + covered, chain);
    at += covered + 8;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data + 1, size - 1));
  std::vector<std::byte> bytes(input.begin(), input.end());
  if (data[0] % 2 == 1) make_checksums_right(bytes);

  MemorySource source(bytes, 1 + data[0] * 16u);
  DumpReader reader(source);
  MemorySink sink;
  DumpWriter writer(sink);
  const auto header = reader.begin();
  if (!header) return 0;
  DOLMEN_ASSERT(writer.begin(*header).has_value());
  for (;;) {
    const auto item = reader.next();
    if (!item) return 0;
    DOLMEN_ASSERT(reader.bytes() <= bytes.size());
    switch (item->kind) {
      case DumpItem::Kind::object:
        DOLMEN_ASSERT(writer.object(item->object).has_value());
        break;
      case DumpItem::Kind::pages:
        DOLMEN_ASSERT(writer.pages(item->first_page, item->contents).has_value());
        break;
      case DumpItem::Kind::name:
        DOLMEN_ASSERT(writer.name(item->name, item->object.object).has_value());
        break;
      case DumpItem::Kind::end:
        DOLMEN_ASSERT(writer.end().has_value());
        DOLMEN_ASSERT(sink.bytes == bytes);
        return 0;
    }
  }
}
