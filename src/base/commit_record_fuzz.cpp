// SPDX-License-Identifier: Apache-2.0
//
// Any bytes: the reader never reads outside, and what it accepts is exactly what the writer makes.
#include <algorithm>
#include <cstdint>
#include <span>

#include <dolmen/assert.hpp>

#include "base/commit_record.hpp"

namespace dolmen::base {
namespace {

void copy_section(const CommitSection& section, CommitRecordReader& reader,
                  CommitRecordWriter& writer) {
  switch (section.kind) {
    case ChangeKind::create:
      return writer.create(section.object, section.capacity_log2);
    case ChangeKind::resize:
      return writer.resize(section.object, section.capacity_log2);
    case ChangeKind::erase:
      return writer.erase(section.object);
    case ChangeKind::write:
      break;
  }
  writer.write(section.object);
  CommitRun run;
  std::uint32_t runs = 0;
  for (; reader.next_run(run); ++runs) writer.run(run.offset, run.bytes);
  DOLMEN_ASSERT(reader.failed() || runs == section.run_count);
}

}  // namespace
}  // namespace dolmen::base

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen::base;
  const Bytes payload = std::as_bytes(std::span(data, size));
  CommitRecordReader reader(payload);
  CommitRecordWriter writer;
  CommitSection section;
  while (reader.next_section(section)) copy_section(section, reader, writer);
  if (!reader.failed()) DOLMEN_ASSERT(std::ranges::equal(writer.bytes(), payload));
  return 0;
}
