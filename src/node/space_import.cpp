// SPDX-License-Identifier: Apache-2.0
#include "node/space_import.hpp"

#include <utility>

#include "base/commit_record.hpp"

namespace dolmen::node {

namespace {

constexpr std::uint32_t kImportMagic = 0x4D494C44;  // "DLIM"
constexpr std::uint32_t kHeadMagic = 0x44484C44;    // "DLHD"
constexpr std::uint16_t kImportVersion = 1;
constexpr std::size_t kImportStateBytes = 56;
static_assert(sizeof(ObjectId) == 16);

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
  if (in.failed() || is_spare_used) return no_import();
  read.state.is_given_up = read.step == static_cast<std::uint8_t>(ImportStep::give_up);
  // Who gives one up need not know whose it is.
  if (read.state.source.space.is_null() && !read.state.is_given_up) return no_import();
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
  if (call.step < ImportStep::begin || call.step > ImportStep::give_up) return no_import();
  if (is_part != (in.remaining() > 0)) return no_import();
  call.pages = in.take(in.remaining());
  return call;
}

std::vector<std::byte> encode(const ImportState& state) {
  base::ByteWriter out;
  put_state(out, state.is_given_up ? static_cast<std::uint8_t>(ImportStep::give_up) : 0, state);
  return out.release();
}

Result<ImportState> decode_import_state(base::Bytes bytes) {
  base::ByteReader in(bytes);
  DOLMEN_TRY(const Read read, read_state(in));
  if ((read.step != 0 && !read.state.is_given_up) || read.state.source.space.is_null()) {
    return no_import();
  }
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
  // In front, where whoever looks at the log sees it.
  base::CommitRecordWriter marker;
  write_marker(marker, {.source = at.source, .cursor = cursor});
  const std::size_t bytes = marker.size() + record.size();
  if (bytes > bytes_max) return fail(Errc::too_large, "a part of an import", bytes);
  ImportedPart part{.record = bytes_of(marker), .cursor = cursor};
  const base::Bytes pages_of_it = record.bytes();
  part.record.insert(part.record.end(), pages_of_it.begin(), pages_of_it.end());
  return part;
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

std::vector<std::byte> record_that_erases(const ImportState& state,
                                          const std::vector<ObjectId>& objects) {
  base::CommitRecordWriter record;
  write_marker(record, state);
  for (const ObjectId& object : objects) record.erase(object);
  return bytes_of(record);
}

std::optional<ImportNews> import_news_in(base::Bytes record_head) {
  base::ByteReader in(record_head);
  const auto section = [&]() -> std::optional<base::ChangeKind> {
    const auto kind = in.get<std::uint8_t>();
    (void)in.take(base::kSectionHeaderBytes - 1 - sizeof(ObjectId));
    if (in.get_id() != kImportMarker || in.failed()) return std::nullopt;
    return static_cast<base::ChangeKind>(kind);
  };
  auto kind = section();
  if (kind == base::ChangeKind::erase) return ImportNews{.kind = ImportNews::Kind::finished};
  const bool is_first = kind == base::ChangeKind::create;
  if (is_first) kind = section();
  if (kind != base::ChangeKind::write) return std::nullopt;
  (void)in.take(base::kRunHeaderBytes);
  const auto state = decode_import_state(in.take(kImportStateBytes));
  if (in.failed() || !state) return std::nullopt;
  return ImportNews{.kind = is_first             ? ImportNews::Kind::begun
                            : state->is_given_up ? ImportNews::Kind::given_up
                                                 : ImportNews::Kind::part,
                    .state = *state};
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
