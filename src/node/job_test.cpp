// SPDX-License-Identifier: Apache-2.0
#include "node/job.hpp"

#include <chrono>
#include <filesystem>
#include <map>
#include <string>

#include <unistd.h>

#include <gtest/gtest.h>

#include "node/cluster_node.hpp"

namespace dolmen::node {
namespace {

Result<std::optional<Job>> find(std::map<std::string, std::string> variables) {
  return job_of([its = std::move(variables)](const char* name) {
    const auto found = its.find(name);
    return found == its.end() ? std::string() : found->second;
  });
}

std::optional<Job> job(std::map<std::string, std::string> variables) {
  auto found = find(std::move(variables));
  EXPECT_TRUE(found) << found.error().message();
  return found ? *found : std::nullopt;
}

TEST(JobOfABatchSystem, IsFoundUnderEachOfThem) {
  EXPECT_FALSE(job({}));
  EXPECT_FALSE(job({{"SLURM_PROCID", "1"}})) << "a shell within an allocation is no process of one";
  const auto slurm = job({{"SLURM_PROCID", "3"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "812"}});
  ASSERT_TRUE(slurm);
  EXPECT_EQ(slurm->rank, 3u);
  EXPECT_EQ(slurm->ranks, 4u);
  EXPECT_EQ(slurm->directory, "dolmen-job-812");
  const auto open_mpi = job({{"OMPI_COMM_WORLD_RANK", "0"},
                             {"OMPI_COMM_WORLD_SIZE", "2"},
                             {"PMIX_NAMESPACE", "prterun-host-7@1"}});
  ASSERT_TRUE(open_mpi);
  EXPECT_EQ(open_mpi->directory, "dolmen-job-prterun-host-7_1") << "no path";
  const auto step = job({{"SLURM_PROCID", "0"},
                         {"SLURM_NTASKS", "4"},
                         {"SLURM_JOB_ID", "812"},
                         {"SLURM_STEP_ID", "3"}});
  ASSERT_TRUE(step);
  EXPECT_EQ(step->directory, "dolmen-job-812.3") << "two steps of a job may run at once";
  const auto mpich = job({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"DOLMEN_JOB", "/scratch/me"}});
  ASSERT_TRUE(mpich);
  EXPECT_EQ(mpich->directory, "/scratch/me");
}

TEST(JobOfABatchSystem, HasTheLeasesThatItsEnvironmentSays) {
  const auto with = [](const char* lease) {
    return find(
        {{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"PMI_JOBID", "j"}, {"DOLMEN_LEASE", lease}});
  };
  EXPECT_EQ(job({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"PMI_JOBID", "j"}})->lease_ms, 0u);
  EXPECT_EQ(with("60").value()->lease_ms, 60u);
  EXPECT_EQ(with("0").value()->lease_ms, 0u);
  EXPECT_EQ(with("10000").value()->lease_ms, 10'000u);
  for (const char* const wrong : {"10001", "-1", "60ms", "x", " 60", "0.5"}) {
    const auto found = with(wrong);
    ASSERT_FALSE(found) << wrong;
    EXPECT_EQ(found.error().code(), Errc::invalid_argument);
    EXPECT_NE(found.error().message().find("DOLMEN_LEASE"), std::string::npos);
  }
}

// The first process's word is what all of the job go by, and what a later run of it is held to.
TEST(JobOfABatchSystem, WhoSaysAnotherLeaseIsNotOfIt) {
  const std::string root =
      std::filesystem::temp_directory_path() / ("dolmen-job-test-" + std::to_string(::getpid()));
  std::filesystem::remove_all(root);
  Job job{.rank = 0, .ranks = 1, .id = "1", .directory = root, .lease_ms = 60};
  constexpr std::chrono::seconds kPatience(30);
  const auto made = join_job(job, kPatience);
  ASSERT_TRUE(made) << made.error().message();
  const auto file = read_node_file(made->directory);
  ASSERT_TRUE(file && *file);
  EXPECT_EQ((*file)->lease_ms, 60u);
  EXPECT_TRUE(join_job(job, kPatience)) << "again";
  for (const std::uint32_t other : {0u, 61u}) {
    job.lease_ms = other;
    const auto again = join_job(job, kPatience);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code(), Errc::invalid_argument);
    EXPECT_NE(again.error().message().find("leases of 60 ms"), std::string::npos)
        << again.error().message();
  }
  std::filesystem::remove_all(root);
}

TEST(JobOfABatchSystem, MpirunWithinAnAllocationOfSlurmIsWhatCounts) {
  // What it starts beside itself has the variables of the allocation's first process.
  const std::map<std::string, std::string> slurm{
      {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "9"}, {"SLURM_JOB_ID", "812"}};
  auto open_mpi = slurm;
  open_mpi.insert({{"OMPI_COMM_WORLD_RANK", "2"},
                   {"OMPI_COMM_WORLD_SIZE", "3"},
                   {"PMIX_NAMESPACE", "193724417"}});
  const auto second = job(open_mpi);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->rank, 2u);
  EXPECT_EQ(second->ranks, 3u);
  EXPECT_EQ(second->directory, "dolmen-job-193724417");
  auto mpich = slurm;
  mpich.insert({{"PMI_RANK", "1"}, {"PMI_SIZE", "3"}});
  const auto third = job(mpich);
  ASSERT_TRUE(third);
  EXPECT_EQ(third->rank, 1u);
  EXPECT_EQ(third->directory, "dolmen-job-812") << "it says nothing of its own";
}

TEST(JobOfABatchSystem, WithoutAnIdItAsksForADirectory) {
  for (const std::string system : {"PMI", "OMPI_COMM_WORLD"}) {
    const auto found = find({{system + "_RANK", "1"}, {system + "_SIZE", "2"}});
    ASSERT_FALSE(found) << system;
    EXPECT_EQ(found.error().code(), Errc::invalid_argument);
    EXPECT_NE(found.error().message().find("DOLMEN_JOB=DIRECTORY"), std::string::npos)
        << found.error().message();
  }
}

TEST(JobOfABatchSystem, WhatCannotBeIsAnError) {
  const std::pair<const char*, const char*> kWrong[] = {
      {"4", "4"}, {"-1", "4"}, {"x", "4"}, {"0", "0"}, {"0", "many"}, {"0", "5000000000"}};
  for (const auto& [rank, ranks] : kWrong) {
    const auto found = find({{"PMI_RANK", rank}, {"PMI_SIZE", ranks}, {"PMI_JOBID", "1"}});
    ASSERT_FALSE(found) << rank << " of " << ranks;
    EXPECT_EQ(found.error().code(), Errc::invalid_argument);
  }
}

}  // namespace
}  // namespace dolmen::node
