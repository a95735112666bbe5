// SPDX-License-Identifier: Apache-2.0
#include "node/group_store.hpp"

namespace dolmen::node {

Result<store::Index> GroupStore::append(base::Bytes payload, store::Reserve,
                                        void (*on_index)(void*, store::Index), void* argument) {
  if (payload.size() > record_bytes_max_) {
    return fail(Errc::too_large, "a record of a replicated space", payload.size());
  }
  const base::Lock lock(mutex_);
  if (refuses_) {
    was_refused_ = true;
    return fail(Errc::read_only, "a query of a replicated space");
  }
  records_.emplace_back(payload.begin(), payload.end());
  const store::Index index = last_index() + 1;
  last_index_ = index;
  if (on_index != nullptr) on_index(argument, index);
  return index;
}

Result<store::CheckpointStats> GroupStore::checkpoint(const store::CheckpointRequest& request) {
  if (image_.last_index() < request.as_of) {
    return fail(Errc::unsupported, "a checkpoint of what is not decided");
  }
  DOLMEN_CHECK(image_.wait_durable(request.as_of));
  return image_.checkpoint(request);
}

store::StoreStats GroupStore::stats() {
  store::StoreStats stats = image_.stats();
  stats.last_index = last_index();
  stats.durable_index = last_index();
  return stats;
}

}  // namespace dolmen::node
