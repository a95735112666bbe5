// SPDX-License-Identifier: Apache-2.0
// The commits suite's PMDK peer.
#include "bench/commits.hpp"

#if DOLMEN_BENCH_PMDK
#include "bench/pmdk.hpp"

namespace dolmen::bench {
namespace {

class PmdkCommits {
 public:
  PmdkCommits() : pool_("commits", 64u << 20) {
    for (std::uint32_t record = 0; record < kCommitRecords; ++record) {
      records_.push_back(pool_.allocate(sizeof(Value)));
    }
  }

  class Session {
   public:
    explicit Session(PmdkCommits& store) : store_(&store) {}
    void put(std::uint32_t record, const Value& value) {
      void* memory = pmemobj_direct_inline(store_->records_[record]);
      if (pmemobj_tx_begin(store_->pool_.get(), nullptr, TX_PARAM_NONE) != 0) {
        throw Failure("pmemobj_tx_begin failed");
      }
      if (pmemobj_tx_add_range_direct(memory, value.size()) != 0) {
        pmemobj_tx_end();
        throw Failure("pmemobj_tx_add_range failed");
      }
      std::memcpy(memory, value.data(), value.size());
      pmemobj_tx_commit();
      pmemobj_tx_end();
    }

   private:
    PmdkCommits* store_;
  };
  [[nodiscard]] Session session() { return Session(*this); }

 private:
  PmdkPool pool_;
  std::vector<PMEMoid> records_;
};

}  // namespace

void add_commits_pmdk(CommitsWork& work) {
  if (!work.wants_deferred()) return;
  work.compete_deferred("pmdk", std::string(kPmdkMode) + "; undo-logged range, no lock",
                        std::make_shared<PmdkCommits>(), 200'000);
}

}  // namespace dolmen::bench
#else
namespace dolmen::bench {
void add_commits_pmdk(CommitsWork& work) { work.report().missing("pmdk", "libpmemobj-dev"); }
}  // namespace dolmen::bench
#endif
