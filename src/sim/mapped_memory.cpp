// SPDX-License-Identifier: Apache-2.0
#include "sim/mapped_memory.hpp"

#include <algorithm>

namespace dolmen::sim {

using fabric::NodeId;
using fabric::NodeName;
using fabric::RegionId;
using fabric::Rights;

MappedEndpoint::MappedEndpoint(std::unique_ptr<fabric::Endpoint> inner, MappedMemory& memory)
    : Decorated(std::move(inner)), memory_(memory), traits_(Decorated::inner().traits()) {
  traits_.mapped = true;
  traits_.revocable = false;
}

MappedEndpoint::~MappedEndpoint() {
  std::erase_if(memory_.regions_, [&](const auto& each) { return each.first.first == self(); });
}

Result<base::MutableBytes> MappedEndpoint::make_region(RegionId region, std::size_t bytes) {
  if (bytes == 0) return fail(Errc::invalid_argument, "a region without bytes");
  const auto [place, is_new] = memory_.regions_.try_emplace({self(), region});
  if (!is_new) return fail(Errc::already_exists, "a region", static_cast<std::uint32_t>(region));
  constexpr std::size_t kLineBytes = sizeof(MappedMemory::Line);
  place->second = std::make_shared<MappedMemory::Region>();
  place->second->lines.resize((bytes + kLineBytes - 1) / kLineBytes);
  place->second->bytes = bytes;
  return place->second->memory();
}

Result<void> MappedEndpoint::close_region(RegionId /*region*/) {
  return fail(Errc::unsupported, "closing a region that others may have mapped");
}

Result<void> MappedEndpoint::grant(RegionId region, NodeId node, Rights rights) {
  const auto found = memory_.regions_.find({self(), region});
  if (found == memory_.regions_.end()) return fail(Errc::not_found, "a region");
  Rights& now = found->second->rights[node];
  if ((now.read && !rights.read) || (now.write && !rights.write)) {
    return fail(Errc::unsupported, "taking away rights to memory that is mapped");
  }
  now = rights;
  return {};
}

Result<void> MappedEndpoint::revoke(RegionId /*region*/, NodeId /*node*/) {
  return fail(Errc::unsupported, "taking away rights to memory that is mapped");
}

Result<base::MutableBytes> MappedEndpoint::map(const NodeName& target, RegionId region) {
  if (connected(target.node) != target) return fail(Errc::not_connected, "the owner of a region");
  const auto found = memory_.regions_.find({target, region});
  if (found == memory_.regions_.end()) return fail(Errc::not_found, "a region");
  const Rights& rights = found->second->rights[self().node];
  if (!rights.read) return fail(Errc::no_right, "the region's grant");
  mapped_[found->first] = found->second;
  return found->second->memory();
}

void MappedEndpoint::unmap(const fabric::NodeName& target, fabric::RegionId region) noexcept {
  mapped_.erase({target, region});
}

}  // namespace dolmen::sim
