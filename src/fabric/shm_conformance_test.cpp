// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <memory>

#include "fabric/conformance.hpp"
#include "fabric/shm.hpp"
#include "sys/linux/linux.hpp"
#include "sys/linux/shared_scratch.hpp"

namespace dolmen::fabric {

/// Endpoints of one process that share a scratch directory.
class ShmDirectory final : public World {
 public:
  std::unique_ptr<Endpoint> make(const NodeName& name) override {
    ShmOptions options;
    options.self = name;
    options.ring_bytes = 32 << 10;  // some messages of the suite are longer
    auto opened = open_shm(sys::linux_env(), scratch_.open(), options);
    EXPECT_TRUE(opened) << opened.error().message();
    return opened ? std::move(*opened) : nullptr;
  }
  std::uint64_t now_ns() override { return sys::linux_env().clock->monotonic_ns(); }
  [[nodiscard]] bool is_real_time() const override { return true; }

 private:
  sys::test::SharedScratch scratch_;
};

INSTANTIATE_TEST_SUITE_P(Shm, FabricConformance, testing::Values(world<ShmDirectory>("Directory")),
                         world_name);

}  // namespace dolmen::fabric
