// SPDX-License-Identifier: Apache-2.0
//
// The suites, and the parts of them that run in a process of their own.
//
// Thread contract: one suite at a time.
#pragma once

#include <span>
#include <string>

#include "bench/harness.hpp"

namespace dolmen::bench {

/// Each measures its cases into `report`, in files below report.options().directory.
void pointers_suite(Report& report);
void kv_suite(Report& report);
void commits_suite(Report& report);
void open_suite(Report& report);
void footprint_suite(Report& report);
void log_suite(Report& report);
void fabric_suite(Report& report);
void sim_suite(Report& report);
void failover_suite(Report& report);
void cluster_suite(Report& report);
void index_suite(Report& report);

/// Parts behind `bench --child <name> <arguments>`; each prints its figures on stdout. Throw
/// Failure.
void open_child(std::span<const std::string> arguments);
void footprint_child(std::span<const std::string> arguments);
void log_child(std::span<const std::string> arguments);
void fabric_child(std::span<const std::string> arguments);
void failover_child(std::span<const std::string> arguments);
void recover_child(std::span<const std::string> arguments);

/// A case of the cluster suite.
class Folder;
void recover_case(Report& report, const Folder& folder);

}  // namespace dolmen::bench
