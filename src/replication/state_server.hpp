// SPDX-License-Identifier: Apache-2.0
//
// Of one replica whose machine keeps its state: gives it to members that lack it, a part for each
// question. Who asks looks after what gets lost.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include <dolmen/state_machine.hpp>

#include "fabric/fabric.hpp"
#include "log/message.hpp"
#include "replication/state_message.hpp"

namespace dolmen::replication {

struct StateTransferOptions {
  /// Of one part, about; at most 3/4 of kStatePartBytesMax.
  std::size_t part_bytes = 256u << 10;
  /// Parts that are asked for before the first of them is there; at most 32.
  std::size_t window = 16;
  /// What is not answered is asked for again after this.
  std::uint64_t resend_ns = 100'000'000;
  /// Who was not heard of for so long is given up: by who asks, and 5 times that by who is asked.
  std::uint64_t silence_ns = 2'000'000'000;
  /// While a thread reads or writes, it is looked at this often.
  std::uint64_t poll_ns = 200'000;
  /// Members that are sent a state at the same time; others wait.
  std::size_t senders_max = 2;
  /// Sent in one turn, about: a connection keeps memory for so much.
  std::size_t turn_bytes = 512u << 10;
};

class StateServer {
 public:
  /// `machine` outlives it.
  StateServer(StateMachine* machine, const StateTransferOptions& options)
      : machine_(*machine), options_(options) {}

  using Send =
      std::function<void(const fabric::NodeName& to, log::ReplicaId asker, const StatePart& part)>;
  /// A client makes a copy for itself: one place is kept for members, who are fewer without it.
  enum class Asker : std::uint8_t { member, client };
  void take(std::uint64_t now_ns, log::ReplicaId asker, const fabric::NodeName& from,
            const AskState& ask, Asker kind = Asker::member);
  /// Answers what can be answered now; false: nothing.
  bool serve(std::uint64_t now_ns, const Send& send);
  /// Somebody is being sent a state, or needs what follows on it.
  [[nodiscard]] bool is_sending() const noexcept { return !sendings_.empty(); }
  /// A part is asked for that is not ready.
  [[nodiscard]] bool is_waiting() const noexcept { return is_waiting_; }

 private:
  struct Sending {
    log::ReplicaId asker{};
    fabric::NodeName to{};
    std::uint64_t transfer = 0;
    std::uint64_t heard_ns = 0;
    std::unique_ptr<StateSource> source;
    struct Asked {
      std::uint64_t part = 0;
      std::vector<std::byte> question{};
    };
    std::deque<Asked> asked{};
    Asker kind = Asker::member;
  };
  struct Refusal {
    log::ReplicaId asker{};
    fabric::NodeName to{};
    std::uint64_t transfer = 0;
    StateStatus status = StateStatus::gone;
  };
  void refuse(log::ReplicaId asker, const fabric::NodeName& to, std::uint64_t transfer,
              StateStatus status);

  StateMachine& machine_;
  const StateTransferOptions options_;
  std::vector<Sending> sendings_;
  std::vector<Refusal> refusals_;
  bool is_waiting_ = false;
};

}  // namespace dolmen::replication
