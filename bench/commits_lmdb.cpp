// SPDX-License-Identifier: Apache-2.0
// The commits suite's LMDB peer.
#include "bench/commits.hpp"

#if DOLMEN_BENCH_LMDB
#include "bench/lmdb.hpp"

namespace dolmen::bench {
namespace {

class LmdbCommits {
 public:
  LmdbCommits(const std::string& path, unsigned flags)
      : folder_(path), environment_(folder_.path(), flags, 256u << 20) {
    environment_.write([&](MDB_txn* transaction) {
      for (std::uint32_t record = 0; record < kCommitRecords; ++record) {
        put(transaction, record, value_of(record, 0));
      }
    });
  }

  class Session {
   public:
    explicit Session(LmdbCommits& store) : store_(&store) {}
    void put(std::uint32_t record, const Value& value) {
      store_->environment_.write(
          [&](MDB_txn* transaction) { store_->put(transaction, record, value); });
    }

   private:
    LmdbCommits* store_;
  };
  [[nodiscard]] Session session() { return Session(*this); }

 private:
  void put(MDB_txn* transaction, std::uint32_t record, const Value& value) const {
    environment_.put(transaction, lmdb_bytes(&record, sizeof(record)),
                     lmdb_bytes(value.data(), value.size()));
  }

  Folder folder_;
  LmdbEnvironment environment_;
};

}  // namespace

void add_commits_lmdb(CommitsWork& work) {
  if (work.wants_deferred()) {
    work.compete_deferred("lmdb", "NOSYNC, WRITEMAP",
                          std::make_shared<LmdbCommits>(work.folder().below("commits_lmdb_nosync"),
                                                        MDB_NOSYNC | MDB_WRITEMAP),
                          20'000);
  }
  if (work.wants_durable()) {
    const auto store = std::make_shared<LmdbCommits>(work.folder().below("commits_lmdb"), 0);
    work.compete_durable("lmdb", "default flags: synced on commit", store);
    if (!work.wants_disturbed()) return;
    work.compete_disturbed("lmdb", "default flags; LMDB has no checkpoint, nothing else runs",
                           [store, &work] {
                             const Pinned pinned;
                             return work.timed(*store, work.report().quick() ? 50 : 500);
                           });
  }
}

}  // namespace dolmen::bench
#else
namespace dolmen::bench {
void add_commits_lmdb(CommitsWork& work) { work.report().missing("lmdb", "liblmdb-dev"); }
}  // namespace dolmen::bench
#endif
