#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs one suite at its smallest and checks its JSON: shape, cases, systems. Never how long anything takes.

    bench/smoke_test.py <program> <suite>
"""

import json
import subprocess
import sys

POINTERS = {"dolmen", "raw", "boost_offset_ptr", "pmdk_oid"}
KV = {"dolmen", "lmdb", "sqlite", "std_map"}
DURABLE = {"dolmen", "lmdb", "sqlite", "fdatasync"}
OURS = {"dolmen"}
LOG = {"bare_rtt_fdatasync", "two_sided", "libraft", "etcd", "redis_wait"}

# What each case must be measured on; a missing package takes its system out (with a note).
CLIENTS = {f"dolmen{fabric}{form}" for fabric in ("", "_tcp") for form in ("", "_threads")} | {"dolmen_tcp_clear"}
EXPECTED = {
    "pointers": {f"{case}_{walk}": POINTERS
                 for case in ("local_1m", "foreign64_1m", "local_l1", "foreign64_l1")
                 for walk in ("ref", "ptr")},
    "kv": {"get": KV | {"std_unordered_map"}, "get_in_one_section": KV | {"std_unordered_map"},
           "scan100": KV, "put_deferred": KV | {"std_unordered_map"},
           "load": KV | {"std_unordered_map"}},
    "commits": {"small_deferred": {"dolmen", "lmdb", "sqlite", "pmdk"}, "durable_1t": DURABLE,
                "durable_16t": DURABLE, "durable_during_checkpoint": DURABLE | {"dolmen_idle"},
                "durable_during_checkpoint_p99": DURABLE | {"dolmen_idle"},
                "durable_during_checkpoint_ratio": OURS,
                "durable_during_checkpoint_p99_ratio": OURS},
    "open": {case: {"dolmen", "lmdb"}
             for case in ("reopen_64m", "reopen_64m_cold", "reopen_4g", "reopen_4g_cold")},
    "footprint": {"records_1m_mem": {"dolmen", "lmdb", "std_unordered_map"},
                  "records_1m_disk": {"dolmen", "lmdb"}, "records_1m_disk_log": OURS,
                  "records_1m_disk_reserve": OURS, "million_objects_disk": OURS,
                  "million_objects_mem": OURS, "million_objects_mem_untouched": OURS},
    "log": {"durable_tcp_1c": LOG | {"bare_rtt"}, "durable_tcp_1c_p99": LOG | {"bare_rtt"},
            "durable_tcp_64c": LOG,
            **{f"replicated_shm{tail}": {"dolmen", "bare_write"} for tail in ("", "_p99")},
            **{f"replicated_tcp{tail}": {"dolmen", "bare_rtt", "two_sided", "redis_wait"}
               for tail in ("", "_p99")},
            "batched_shm": OURS},
    "failover": {f"{case}{tail}": OURS for tail in ("", "_p90", "_max")
                 for case in ("shm_polling", "shm_polling_silence", "tcp_default",
                              "tcp_default_silence")},
    "fabric": {f"{case}{tail}": {"dolmen", floor} for tail in ("", "_p99")
               for case, floor in (("write64_shm", "bare_write"), ("read4k_shm", "bare_read"),
                                   ("rtt64_shm", "bare_rtt"), ("rtt64_tcp", "bare_rtt"),
                                   ("read4k_tcp", "bare_rtt"))},
    "cluster": {f"replicas_3_over_1{tail}": {"dolmen", "dolmen_one", "etcd"} for tail in ("", "_1c")}
    | {f"reads_3{tail}": {"dolmen", "dolmen_commands", "etcd"} for tail in ("", "_1c")}
    | {"groups_4_over_1": {"dolmen", "dolmen_one"}}
    | {f"recover_4g{tail}": {"dolmen", "raw_copy"} for tail in ("", "_loaded")}
    | {f"recover_4g_start{tail}": OURS for tail in ("", "_loaded")},
    "index": {**{f"{case}{tail}": {"dolmen", "dolmen_lease", "bare_rtt", "redis",
                                   "memcached"} | more
                 for case, more in (("get_shm", set()), ("get_tcp", {"dolmen_polling", "dolmen_polling_clear"}))
                 for tail in ("", "_p99")},
              **{f"scan100{tail}": {"dolmen", "dolmen_tcp", "redis"} for tail in ("", "_p99")},
              "put_replicated": CLIENTS | {"redis_wait"},
              "put_durable": {"dolmen", "dolmen_threads", "etcd"},
              **{f"mixed_50c{tail}": CLIENTS | {"redis_wait", "redis", "memcached"}
                 for tail in ("", "_pipelined")}},
    "sim": {f"{case}_{figure}": OURS for case in ("log", "group", "cluster", "cluster30")
            for figure in ("hours", "events")},
}
ABSENT = ("was made without it", "it is not installed")
MACHINE = {"cpu", "cores", "memory_bytes", "kernel", "filesystem", "dolmen", "checked"}
ROW = ["case", "system", "mode", "unit", "median", "min", "max", "runs", "dolmen_x"]


def problems(result: dict, suite: str, absent: set[str]) -> list[str]:
    found = []
    if list(result) != ["suite", "machine", "rows"]:
        found.append(f"keys are {list(result)}")
    if result["suite"] != suite:
        found.append(f"suite is {result['suite']}")
    if missing := MACHINE - result["machine"].keys():
        found.append(f"machine lacks {sorted(missing)}")
    measured: dict[str, set[str]] = {}
    compared = {row["case"] for row in result["rows"] if row["system"] == "dolmen"}
    for row in result["rows"]:
        name = f"{row.get('case')}/{row.get('system')}"
        measured.setdefault(row["case"], set()).add(row["system"])
        if list(row) != ROW:
            found.append(f"{name}: keys are {list(row)}")
        if not row["mode"] or not row["unit"]:
            found.append(f"{name}: mode or unit is empty")
        if not row["min"] <= row["median"] <= row["max"]:
            found.append(f"{name}: median {row['median']} outside {row['min']} … {row['max']}")
        # An outage is measured again and again within one run; what takes long, once.
        if row["runs"] < 5 and suite != "failover" and not row["case"].startswith("recover_4g"):
            found.append(f"{name}: {row['runs']} runs")
        is_peer = not row["system"].startswith("dolmen") and row["case"] in compared
        if (row["dolmen_x"] is not None) != is_peer:
            found.append(f"{name}: dolmen_x is {row['dolmen_x']}")
    for case, systems in EXPECTED[suite].items():
        if lost := systems - absent - measured.get(case, set()):
            found.append(f"{case}: no row of {sorted(lost)}")
    return found


def main() -> int:
    program, suite = sys.argv[1:3]
    run = subprocess.run([program, "bench", suite, "--quick", "--json", "--runs", "5"],
                         capture_output=True, text=True, check=False)
    sys.stderr.write(run.stderr)
    if run.returncode != 0:
        print(f"exit code {run.returncode}")
        return 1
    absent = {line.split("no rows for ")[1].split(":")[0] for line in run.stderr.splitlines()
              if "no rows for " in line and any(why in line for why in ABSENT)}
    found = problems(json.loads(run.stdout), suite, absent)
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
