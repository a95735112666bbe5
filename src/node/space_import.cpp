// SPDX-License-Identifier: Apache-2.0
#include "node/space_import.hpp"

#include <utility>

#include "base/commit_record.hpp"

namespace dolmen::node {

namespace {

constexpr std::uint32_t kImportMagic = 0x4D494C44;  // "DLIM"
constexpr std::uint32_t kHeadMagic = 0x44484C44;    // "DLHD"
constexpr std::uint16_t kImportVersion = 1;

std::unexpected<Error> no_import() { return fail(Errc::corrupt, "a part of an import"); }

void put_state(base::ByteWriter& out, std::uint8_t step, const ImportState& state) {
  out.put(kImportMagic);
  out.put(kImportVersion);
  out.put(step);
  out.put(state.cursor.capacity_log2);
  out.put_id(state.source.space);
  out.put(state.source.last_index);
  out.put_id(state.cursor.object);
  out.put(state.cursor.page);
  out.put(std::uint32_t{0});
}

struct Read {
  std::uint8_t step = 0;
  ImportState state;
};

Result<Read> read_state(base::ByteReader& in) {
  const auto magic = in.get<std::uint32_t>();
  const auto version = in.get<std::uint16_t>();
  if (in.failed() || magic != kImportMagic) return no_import();
  if (version != kImportVersion) return fail(Errc::version_unsupported, "an import", version);
  Read read;
  read.step = in.get<std::uint8_t>();
  read.state.cursor.capacity_log2 = in.get<std::uint8_t>();
  read.state.source.space = in.get_id();
  read.state.source.last_index = in.get<std::uint64_t>();
  read.state.cursor.object = in.get_id();
  read.state.cursor.page = in.get<std::uint32_t>();
  const bool is_spare_used = in.get<std::uint32_t>() != 0;
  const ImportCursor& cursor = read.state.cursor;
  if (in.failed() || is_spare_used || read.state.source.space.is_null()) return no_import();
  if (cursor.object.is_null()) {
    if (cursor != ImportCursor{}) return no_import();
    return read;
  }
  if (cursor.capacity_log2 < base::kMinCapacityLog2 ||
      cursor.capacity_log2 > base::kMaxCapacityLog2) {
    return no_import();
  }
  return read;
}

/// The marker as it is now; all of it, so that nothing of an earlier one is left.
void write_marker(base::CommitRecordWriter& record, const ImportState& state) {
  record.write(kImportMarker);
  record.run(0, encode(state));
}

std::vector<std::byte> bytes_of(const base::CommitRecordWriter& record) {
  return {record.bytes().begin(), record.bytes().end()};
}

}  // namespace

std::vector<std::byte> encode(const ImportCall& call) {
  base::ByteWriter out;
  put_state(out, static_cast<std::uint8_t>(call.step), call.at);
  out.put_bytes(call.pages);
  return out.release();
}

Result<ImportCall> decode_import_call(base::Bytes bytes) {
  base::ByteReader in(bytes);
  DOLMEN_TRY(const Read read, read_state(in));
  ImportCall call{.step = static_cast<ImportStep>(read.step), .at = read.state};
  const bool is_part = call.step == ImportStep::part;
  if (!is_part && call.step != ImportStep::begin && call.step != ImportStep::finish) {
    return no_import();
  }
  if (is_part != (in.remaining() > 0)) return no_import();
  call.pages = in.take(in.remaining());
  return call;
}

std::vector<std::byte> encode(const ImportState& state) {
  base::ByteWriter out;
  put_state(out, 0, state);
  return out.release();
}

Result<ImportState> decode_import_state(base::Bytes bytes) {
  base::ByteReader in(bytes);
  DOLMEN_TRY(const Read read, read_state(in));
  if (read.step != 0) return no_import();
  // The rest of the marker's page.
  while (in.remaining() > 0) {
    if (in.get<std::uint8_t>() != 0) return no_import();
  }
  return read.state;
}

Result<ImportedPart> record_of(const ImportState& at, base::Bytes pages, std::size_t bytes_max) {
  DOLMEN_TRY(const DecodedImage image, decode_image(pages));
  if (image.head.space != at.source.space || image.head.last_index != at.source.last_index) {
    return fail(Errc::corrupt, "a part of another import");
  }
  base::CommitRecordWriter record;
  ImportCursor cursor = at.cursor;
  for (const ImageObject& object : image.objects) {
    if (object.id == kImportMarker) return fail(Errc::corrupt, "an import's own object in it");
    const bool goes_on = object.id == cursor.object;
    const bool is_same = goes_on && object.capacity_log2 == cursor.capacity_log2;
    if (object.id < cursor.object || (goes_on && !is_same)) {
      return fail(Errc::corrupt, "a part of an import out of order");
    }
    if (!goes_on) {
      record.create(object.id, object.capacity_log2);
      cursor = {.object = object.id, .capacity_log2 = object.capacity_log2};
    }
    if (!object.pages.empty()) record.write(object.id);
    for (const ImageObject::Page& page : object.pages) {
      if (page.number < cursor.page) {
        return fail(Errc::corrupt, "a part of an import out of order");
      }
      const std::uint32_t offset =
          page.number * static_cast<std::uint32_t>(page.bytes.size());  // within kMaxObjectBytes
      record.run(offset, page.bytes);
      cursor.page = page.number + 1;
    }
  }
  write_marker(record, {.source = at.source, .cursor = cursor});
  if (record.size() > bytes_max) {
    return fail(Errc::too_large, "a part of an import", record.size());
  }
  return ImportedPart{.record = bytes_of(record), .cursor = cursor};
}

std::vector<std::byte> first_record(const ImportState& state) {
  base::CommitRecordWriter record;
  record.create(kImportMarker, kMarkerCapacityLog2);
  write_marker(record, state);
  return bytes_of(record);
}

std::vector<std::byte> last_record() {
  base::CommitRecordWriter record;
  record.erase(kImportMarker);
  return bytes_of(record);
}

std::vector<std::byte> encode(const SpaceHead& head) {
  base::ByteWriter out;
  out.put(kHeadMagic);
  out.put(kImportVersion);
  out.put(std::uint16_t{0});
  out.put_id(head.head.space);
  out.put(head.head.last_index);
  out.put(head.bytes);
  return out.release();
}

Result<SpaceHead> decode_space_head(base::Bytes bytes) {
  base::ByteReader in(bytes);
  const auto magic = in.get<std::uint32_t>();
  const auto version = in.get<std::uint16_t>();
  const bool is_spare_used = in.get<std::uint16_t>() != 0;
  SpaceHead head;
  head.head.space = in.get_id();
  head.head.last_index = in.get<std::uint64_t>();
  head.bytes = in.get<std::uint64_t>();
  const bool is_one = !head.head.space.is_null() || head.head.last_index == 0;
  if (in.failed() || magic != kHeadMagic || version != kImportVersion || is_spare_used || !is_one ||
      in.remaining() != 0) {
    return fail(Errc::corrupt, "what a space says of itself");
  }
  return head;
}

}  // namespace dolmen::node
