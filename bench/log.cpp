// SPDX-License-Identifier: Apache-2.0
// The log suite: its races and its processes.
#include "bench/log.hpp"

#include "bench/log_follower.hpp"
#include "bench/servers.hpp"
#include "bench/suites.hpp"

namespace dolmen::bench {

void LogWork::compete_one(const std::string& system, const std::string& told,
                          std::shared_ptr<LogSystem> log) {
  const std::size_t entries = report_->quick() ? 50 : 500;
  one_.push_back({system, report_->scaled("50 entries") + report_->scheduling() + told,
                  [entries, log = std::move(log)]() -> Values {
                    const RealTime real_time;
                    const std::vector<double> times = log->times_us(entries);
                    if (times.empty()) throw Failure("it was told of no entry");
                    return {median_of(times), percentile_of(times, 99)};
                  }});
}

void LogWork::compete_many(const std::string& system, const std::string& told,
                           std::shared_ptr<LogSystem> log) {
  const double seconds = report_->quick() ? 0.1 : 1.0;
  many_.push_back({system, report_->scaled("0.1 s") + report_->scheduling() + told,
                   [seconds, log = std::move(log)]() -> Values {
                     const RealTime real_time;
                     return {log->rate(seconds)};
                   }});
}

void LogWork::race() {
  report_->race({{"durable_tcp_1c", "us"}, {"durable_tcp_1c_p99", "us"}}, std::move(one_));
  report_->race("durable_tcp_64c", "1/s", std::move(many_));
}

void log_suite(Report& report) {
  const Folder folder(report.options().directory + "/log");
  LogWork work(report, folder);
  memory_cases(work);  // before the others run
  if (!work.wants_one() && !work.wants_many()) return;
  report.attempt("bare_rtt", [&] { add_log_floors(work); });
  report.attempt("dolmen", [&] { add_log_dolmen(work); });
  report.attempt("two_sided", [&] { add_log_two_sided(work); });
  report.attempt("libraft", [&] { add_log_libraft(work); });
  report.attempt("etcd", [&] { add_log_etcd(work); });
  report.attempt("redis_wait", [&] { add_log_redis(work); });
  work.race();
}

void log_child(std::span<const std::string> arguments) {
  const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
  if (arguments[0] == "server-run") run_program(rest);
  die_with_parent();
  if (arguments[0] == "log-follower") return log_follower(rest);
  if (arguments[0] == "log-dolmen") return dolmen_log_child(rest);
  if (arguments[0] == "log-memory") return memory_log_child(rest);
  if (arguments[0] == "log-libraft") return libraft_child(rest);
  throw Failure("unknown part");
}

}  // namespace dolmen::bench
