// SPDX-License-Identifier: Apache-2.0
#include "node/job.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/checksum.hpp"
#include "node/cluster_node.hpp"
#include "sys/linux/linux.hpp"
#include "sys/linux/service.hpp"

namespace dolmen::node {

namespace {

/// What a batch system calls a process's number, and how many there are, and the job.
struct Names {
  const char* rank;
  const char* ranks;
  const char* job;
  const char* step;  ///< several of a job may run at once; null: it has none
};
/// Slurm last: what mpirun starts within its allocation sees its variables as well, and they say
/// nothing of the process.
constexpr std::array<Names, 3> kSystems{{
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMIX_NAMESPACE", nullptr},
    {"PMI_RANK", "PMI_SIZE", "PMI_JOBID", nullptr},
    {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_JOB_ID", "SLURM_STEP_ID"},
}};
constexpr std::uint32_t kRanksMax = 1024;
constexpr std::size_t kFileTextMax = security::kKeyTextMax;
constexpr std::uint64_t kLookNs = 20'000'000;

std::optional<std::uint32_t> number_in(const std::string& text) {
  std::uint32_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, failed] = std::from_chars(text.data(), end, number);
  if (failed != std::errc{} || rest != end) return std::nullopt;
  return number;
}

std::string key_directory(const Job& job) { return job.directory + "/keys"; }
constexpr std::uint32_t kJobFoundersMax = 5;
std::string address_file(const Job& job, std::uint32_t rank) {
  return job.directory + "/address-" + std::to_string(rank);
}

/// Below the ports that systems give to outgoing connections; another one for each job, mostly, and
/// for each of its processes, some of which share a host.
std::uint16_t port_of(const Job& job) {
  constexpr std::uint64_t kFirst = 10'000;
  constexpr std::uint64_t kPorts = 20'000;
  const std::uint64_t sum = base::checksum64(base::as_bytes(job.id), 1);
  return static_cast<std::uint16_t>(kFirst + (sum % kPorts + job.rank) % kPorts);
}

/// The file when somebody has written it.
Result<std::string> wait_for(const std::string& path, sys::Secrecy secrecy,
                             std::uint64_t deadline_ns) {
  sys::Clock& clock = *sys::linux_env().clock;
  for (;;) {
    const auto bytes = sys::read_small_file(path, kFileTextMax, secrecy);
    if (bytes) {
      std::string text;
      for (const std::byte byte : *bytes) text += static_cast<char>(byte);
      return text;
    }
    if (bytes.error().code() != Errc::not_found) return std::unexpected(bytes.error());
    if (clock.monotonic_ns() >= deadline_ns) {
      return fail(Errc::timed_out,
                  interned(path + " is not there: does every process see this directory "
                                  "(DOLMEN_JOB names it), and do all of them start a node?"));
    }
    clock.sleep_ns(kLookNs);
  }
}

/// What the first process says in this file, and said first.
Result<std::string> agreed(const Job& job, const char* name, const std::string& own,
                           std::uint64_t deadline_ns) {
  const std::string path = job.directory + "/" + name;
  if (job.rank == 0) {
    const auto made = sys::write_small_file(path, base::as_bytes(own), sys::Secrecy::open, false);
    if (!made && made.error().code() != Errc::already_exists) return std::unexpected(made.error());
  }
  return wait_for(path, sys::Secrecy::open, deadline_ns);
}

std::uint64_t deadline_in(std::chrono::milliseconds patience) {
  return sys::linux_env().clock->monotonic_ns() +
         static_cast<std::uint64_t>(std::max<std::int64_t>(patience.count(), 0)) * 1'000'000;
}

Result<ClusterAddress> addresses_of(const Job& job, std::uint64_t deadline_ns) {
  // Made with the others, in one step.
  ClusterAddress all{.nodes = {}, .identity_file = key_directory(job) + "/client-1.key"};
  DOLMEN_CHECK(wait_for(key_directory(job) + "/owner.key", sys::Secrecy::secret, deadline_ns));
  for (std::uint32_t rank = 0; rank < job.ranks; ++rank) {
    DOLMEN_TRY(std::string where,
               wait_for(address_file(job, rank), sys::Secrecy::open, deadline_ns));
    all.nodes.push_back(std::move(where));
  }
  return all;
}

/// With which the node joins: the same one after an attempt that was cut short. Empty: it has.
Result<std::string> token_for(const std::string& directory, const ClusterAddress& cluster,
                              const std::string& owner_file, std::chrono::milliseconds patience) {
  DOLMEN_TRY(const auto known, read_node_file(directory));
  if (known && known->number != 0) return std::string();
  const auto former = read_text_file(directory + "/" + kToken, security::kTokenTextMax, true);
  if (former) return *former;
  if (former.error().code() != Errc::not_found) return std::unexpected(former.error());
  DOLMEN_TRY(auto its, Cluster::open(cluster, patience));
  return its.make_token(owner_file, std::chrono::hours(24), patience);
}

}  // namespace

Result<std::optional<Job>> job_of(const Variables& variable) {
  for (const Names& names : kSystems) {
    const std::string rank = variable(names.rank);
    const std::string ranks = variable(names.ranks);
    if (rank.empty() || ranks.empty()) continue;
    const auto number = number_in(rank);
    const auto count = number_in(ranks);
    if (!number || !count || *count == 0 || *count > kRanksMax || *number >= *count) {
      return fail(Errc::invalid_argument, interned(std::string(names.rank) + "=" + rank + ", " +
                                                   names.ranks + "=" + ranks));
    }
    Job job{.rank = *number, .ranks = *count, .id = variable(names.job)};
    if (const std::string lease = variable("DOLMEN_LEASE"); !lease.empty()) {
      const auto lease_ms = number_in(lease);
      if (!lease_ms || *lease_ms > kLeaseMsMax) {
        return fail(Errc::invalid_argument,
                    interned("DOLMEN_LEASE=" + lease + ": milliseconds, at most 10000"));
      }
      job.lease_ms = *lease_ms;
    }
    const std::string step = names.step == nullptr ? std::string() : variable(names.step);
    if (!job.id.empty() && !step.empty()) job.id += "." + step;
    if (job.id.empty()) job.id = variable("SLURM_JOB_ID");
    job.directory = variable("DOLMEN_JOB");
    if (job.id.empty()) job.id = job.directory;
    if (job.id.empty()) {
      // Whoever guesses would go on with what another job left, or meet it.
      return fail(Errc::invalid_argument,
                  interned(std::string(names.rank) + "=" + rank + ", and nothing says of which " +
                           "job: give all of its processes one DOLMEN_JOB=DIRECTORY, a new one " +
                           "for each job, that all of them see"));
    }
    if (job.directory.empty()) {
      std::string word = "dolmen-job-";
      for (const char c : job.id) {
        const bool is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                              (c >= 'A' && c <= 'Z') || c == '.' || c == '-';
        word += is_plain ? c : '_';
      }
      job.directory = word;
    }
    return job;
  }
  return std::nullopt;
}

Result<JobNode> join_job(const Job& job, std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = deadline_in(patience);
  DOLMEN_CHECK(sys::open_directory(job.directory, sys::DirectoryMode::open_or_create));
  if (job.rank == 0) {
    const auto made = make_cluster_keys(key_directory(job), std::min(job.ranks, kJobFoundersMax));
    if (!made && made.error().code() != Errc::already_exists) return std::unexpected(made.error());
  }
  // Of another number of processes it would be another cluster under the same name.
  const std::string ranks = std::to_string(job.ranks);
  DOLMEN_TRY(const std::string known, agreed(job, "ranks", ranks, deadline_ns));
  if (known != ranks) {
    return fail(Errc::invalid_argument,
                interned(job.directory + ": of a job of " + known + " processes, not of " + ranks));
  }
  // Whoever says something else would be heard, if it led first.
  const std::string lease = std::to_string(job.lease_ms);
  DOLMEN_TRY(const std::string known_lease, agreed(job, "lease", lease, deadline_ns));
  if (known_lease != lease) {
    return fail(Errc::invalid_argument,
                interned(job.directory + ": of a job with leases of " + known_lease +
                         " ms, not of " + lease + " (DOLMEN_LEASE)"));
  }
  std::string host = sys::linux_env().process->environment("DOLMEN_HOST");
  if (host.empty()) host = sys::own_host_address();
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  const std::string address = host + ":" + std::to_string(port_of(job));
  DOLMEN_CHECK(sys::write_small_file(address_file(job, job.rank), base::as_bytes(address),
                                     sys::Secrecy::open, true));
  DOLMEN_TRY(ClusterAddress all, addresses_of(job, deadline_ns));

  NodeOptions options{.directory = job.directory + "/node-" + std::to_string(job.rank),
                      .address = address,
                      .name = "rank-" + std::to_string(job.rank)};
  // The first ones found the cluster, and the others join it.
  const std::size_t founders = std::min<std::size_t>(all.nodes.size(), kJobFoundersMax);
  std::vector<std::string> first(all.nodes.begin(),
                                 all.nodes.begin() + static_cast<std::ptrdiff_t>(founders));
  const std::uint64_t now_ns = sys::linux_env().clock->monotonic_ns();
  const std::chrono::milliseconds left(deadline_ns > now_ns ? (deadline_ns - now_ns) / 1'000'000
                                                            : 0);
  if (job.rank < founders) {
    options.founders = std::move(first);
    options.lease = std::chrono::milliseconds(job.lease_ms);
    // Seen from its directory: wherever a later run of the job starts.
    DOLMEN_CHECK(sys::open_directory(options.directory, sys::DirectoryMode::open_or_create));
    options.identity_file = "../keys/node-" + std::to_string(job.rank + 1) + ".key";
  } else {
    DOLMEN_TRY(options.token,
               token_for(options.directory, all, key_directory(job) + "/owner.key", left));
  }
  const auto made = options.token.empty() && options.founders.empty()
                        ? Result<void>()
                        : ClusterNode::create(options, left);
  if (!made && made.error().code() != Errc::already_exists) return std::unexpected(made.error());
  return JobNode{.directory = options.directory, .cluster = std::move(all)};
}

Result<ClusterAddress> cluster_of_job(const Job& job, std::chrono::milliseconds patience) {
  return addresses_of(job, deadline_in(patience));
}

}  // namespace dolmen::node
