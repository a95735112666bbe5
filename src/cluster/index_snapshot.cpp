// SPDX-License-Identifier: Apache-2.0
#include "cluster/index_snapshot.hpp"

#include "base/checksum.hpp"

namespace dolmen::cluster {

std::vector<std::byte> seal_index_snapshot(IndexSnapshotKind kind,
                                           std::initializer_list<base::Bytes> pieces) {
  base::ByteWriter out;
  out.put(kind.magic);
  out.put(kind.version);
  for (const base::Bytes piece : pieces) out.put_bytes(piece);
  out.put(base::checksum64(out.bytes(), kind.magic));
  return out.release();
}

Result<base::Bytes> open_index_snapshot(IndexSnapshotKind kind, base::Bytes snapshot) {
  constexpr std::size_t kFront = 8;
  constexpr std::size_t kChecksum = 8;
  const auto bad = [] { return fail(Errc::corrupt, "the snapshot of an index"); };
  if (snapshot.size() < kFront + kChecksum) return bad();
  const base::Bytes body = snapshot.first(snapshot.size() - kChecksum);
  if (base::load<std::uint32_t>(body) != kind.magic ||
      base::load<std::uint64_t>(snapshot, body.size()) != base::checksum64(body, kind.magic)) {
    return bad();
  }
  const auto version = base::load<std::uint32_t>(body, 4);
  if (version != kind.version) {
    return fail(Errc::version_unsupported, "the snapshot of an index", version);
  }
  return body.subspan(kFront);
}

}  // namespace dolmen::cluster
