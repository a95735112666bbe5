// SPDX-License-Identifier: Apache-2.0
//
// The ambient transaction as the object layer's WriteLog.
#pragma once

#include <dolmen/detail/ambient.hpp>

#include "object/heap.hpp"

namespace dolmen::txn {

class TxnLog final : public object::WriteLog {
 public:
  void log(const void* address, std::size_t bytes) override {
    detail::log_write_slow(address, bytes);
  }
};

}  // namespace dolmen::txn
