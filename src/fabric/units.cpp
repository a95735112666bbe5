// SPDX-License-Identifier: Apache-2.0
#include "fabric/units.hpp"

#include <algorithm>

#include "base/copy.hpp"

namespace dolmen::fabric {

Status answer_status(const Result<void>& outcome) noexcept {
  if (outcome) return Status::ok;
  switch (outcome.error().code()) {
    case Errc::no_right:
      return Status::no_right;
    case Errc::out_of_bounds:
      return Status::out_of_bounds;
    default:
      return Status::not_found;
  }
}

namespace {

/// Of a status that is not ok.
Errc code_of(Status status) noexcept {
  switch (status) {
    case Status::no_right:
      return Errc::no_right;
    case Status::out_of_bounds:
      return Errc::out_of_bounds;
    default:
      return Errc::not_found;
  }
}

}  // namespace

Result<Served> serve(Regions& regions, NodeId node, const UnitHeader& header, Bytes unit) {
  DOLMEN_TRY(const RequestHead head, decode_request_head(header.kind, unit));
  const Bytes body = unit.subspan(kRequestHeadBytes);
  const auto word = [&](std::size_t i) { return base::load<std::uint64_t>(body, i * 8); };
  const auto failed = [](const Error& why) {
    return Served{.status = answer_status(std::unexpected(why))};
  };
  switch (header.kind) {
    case UnitKind::write: {
      const auto done = regions.write(node, head.region, head.offset, body);
      return Served{.status = answer_status(done), .is_answered = header.detail != 0};
    }
    case UnitKind::read: {
      const auto bytes = regions.read(node, head.region, head.offset, head.count);
      return bytes ? Served{.region = *bytes} : failed(bytes.error());
    }
    case UnitKind::swap:
    case UnitKind::fetch_add: {
      const auto former =
          header.kind == UnitKind::swap
              ? regions.compare_and_swap(node, head.region, head.offset, word(0), word(1))
              : regions.fetch_add(node, head.region, head.offset, word(0));
      return former ? Served{.former = *former, .has_former = true} : failed(former.error());
    }
    default:
      DOLMEN_UNREACHABLE("no request");
  }
}

Result<Completed> complete(PendingOperations& pending, const UnitHeader& header, Bytes body) {
  const auto status = static_cast<Status>(header.detail);
  if (pending.empty() || pending.front().number != header.number) {
    return fail(Errc::corrupt, "an answer to nothing");
  }
  const UnitKind kind = pending.front().kind;
  const std::size_t expected = status != Status::ok      ? 0
                               : kind == UnitKind::read  ? pending.front().into.size()
                               : kind == UnitKind::write ? 0
                                                         : 8;
  if (body.size() != expected) return fail(Errc::corrupt, "an answer of another length");
  const PendingOperations::Operation operation = pending.pop();
  if (status != Status::ok) {
    return Completed{.op = operation.op, .former = fail(code_of(status), "at the target")};
  }
  if (kind == UnitKind::read) {
    base::copy_bytes(body, operation.into);
    return Completed{.op = operation.op, .former = 0};
  }
  return Completed{.op = operation.op,
                   .former = expected == 0 ? 0 : base::load<std::uint64_t>(body)};
}

}  // namespace dolmen::fabric
