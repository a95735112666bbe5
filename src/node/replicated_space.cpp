// SPDX-License-Identifier: Apache-2.0
#include <dolmen/replicated_space.hpp>

#include "node/cluster_home.hpp"
#include "node/open_space.hpp"
#include "node/space_effect.hpp"
#include "node/space_machine.hpp"
#include "sys/linux/linux.hpp"
#include "txn/space_core.hpp"

namespace dolmen {

Result<ReplicatedSpace> ReplicatedSpace::open(const std::string& directory,
                                              SpaceFunctions functions,
                                              const SpaceOptions& options) {
  if (detail::SpaceCore::has_lost_arena()) return fail(Errc::forked, "open");
  if (options.read_only) return fail(Errc::invalid_argument, "a replicated space: read_only");
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(const SpaceOptions prepared, node::prepare_process(env, options));
  DOLMEN_TRY(auto disk, sys::open_directory(directory, sys::DirectoryMode::open_or_create));
  node::SpaceMachineOptions machine_options;
  machine_options.image.tail_bytes_max = options.log_tail_bytes_max;
  machine_options.space = prepared;
  DOLMEN_TRY(auto machine, node::SpaceMachine::open(env, std::move(disk), env.memory->best_driver(),
                                                    std::move(functions), machine_options));
  return ReplicatedSpace(std::move(machine));
}

ReplicatedSpace::ReplicatedSpace(std::unique_ptr<node::SpaceMachine> machine) noexcept
    : machine_(std::move(machine)) {}
ReplicatedSpace::ReplicatedSpace(ReplicatedSpace&&) noexcept = default;
ReplicatedSpace& ReplicatedSpace::operator=(ReplicatedSpace&&) noexcept = default;
ReplicatedSpace::~ReplicatedSpace() = default;

StateMachine& ReplicatedSpace::machine() noexcept { return *machine_; }

Result<std::vector<std::byte>> call_space(ReplicatedClient& client, std::string_view function,
                                          std::span<const std::byte> arguments,
                                          std::chrono::milliseconds patience) {
  if (function.size() > node::kFunctionNameMax) {
    return fail(Errc::invalid_argument, "a function's name", function.size());
  }
  return node::call_until_told(client, node::encode({.function = function, .arguments = arguments}),
                               patience);
}

Result<std::vector<std::byte>> query_space(ReplicatedClient& client, std::string_view function,
                                           std::span<const std::byte> arguments,
                                           std::chrono::milliseconds patience, ReadLevel level) {
  if (function.size() > node::kFunctionNameMax) {
    return fail(Errc::invalid_argument, "a function's name", function.size());
  }
  DOLMEN_TRY(
      const ReplicatedReading reading,
      client.read(node::encode({.function = function, .arguments = arguments}), level, patience));
  return node::decode_reply(reading.result);
}

}  // namespace dolmen
