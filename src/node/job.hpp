// SPDX-License-Identifier: Apache-2.0
//
// A program that a batch system started several times, whose processes are the nodes of a cluster
// (docs/cluster.md): Slurm's srun, mpirun of Open MPI and of MPICH. They find each other through a
// directory that all of them see.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <dolmen/cluster.hpp>

namespace dolmen::node {

struct Job {
  std::uint32_t rank = 0;
  std::uint32_t ranks = 1;
  std::string id{};         ///< the same at all of its processes, and of no other job at the time
  std::string directory{};  ///< that all of them see
  std::uint32_t lease_ms = 0;  ///< of the cluster that they begin, as NodeOptions::lease
};

/// The value of an environment variable; empty: it is not set.
using Variables = std::function<std::string(const char* name)>;
/// Nothing: no batch system that is known started this process. Errors: invalid_argument (what it
/// says cannot be, it does not say which job it is, and DOLMEN_JOB does not either, or DOLMEN_LEASE
/// is no number of milliseconds that a lease may have).
[[nodiscard]] Result<std::optional<Job>> job_of(const Variables& variable);

struct JobNode {
  std::string directory{};   ///< of this process's node
  ClusterAddress cluster{};  ///< of all of them
};
/// Makes this process's node, once all of the job's processes have come as far; one that is made is
/// left as it is. Errors: timed_out (some did not come), those of ClusterNode::create(), io_error.
[[nodiscard]] Result<JobNode> join_job(const Job& job, std::chrono::milliseconds patience);
/// Where its nodes are, for a client in one of its processes. Errors: as join_job().
[[nodiscard]] Result<ClusterAddress> cluster_of_job(const Job& job,
                                                    std::chrono::milliseconds patience);

}  // namespace dolmen::node
