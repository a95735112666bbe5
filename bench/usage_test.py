#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The words of `bench`: help on standard output, wrong usage is exit code 2 with where to read, a failure 1.

    bench/usage_test.py <program>
"""

import subprocess
import sys
import tempfile

SUITES = ["pointers", "kv", "commits", "open", "footprint", "log", "fabric"]
# Arguments after `bench`, and what the one line on standard error says; exit code 2.
WRONG = [
    ([], "SUITE is required"),
    (["nonsense"], "unknown suite nonsense"),
    (["kv", "surplus"], "unknown argument surplus"),
    (["kv", "--nonsense"], "unknown argument --nonsense"),
    (["kv", "--runs"], "--runs needs a value"),
    (["kv", "--runs", "0"], "--runs needs a number of at least 1"),
    (["kv", "--runs", "5x"], "--runs needs a number of at least 1"),
    (["kv", "--runs", "99999999999"], "--runs needs a number of at least 1"),
    (["kv", "--case"], "--case needs a value"),
    (["kv", "--system"], "--system needs a value"),
    (["kv", "--dir"], "--dir needs a value"),
    (["kv", "--quick", "--json", "--case", "nonsense"], "no such case or system"),
]


def main() -> int:
    program = sys.argv[1]
    problems = []

    def run(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run([program, "bench", *words], capture_output=True, text=True, check=False)

    def expect(what: str, holds: bool, result: subprocess.CompletedProcess) -> None:
        if not holds:
            problems.append(f"{what}: exit code {result.returncode}, said {result.stdout!r}, {result.stderr!r}")

    for option in ("--help", "-h"):
        help_text = run(option)
        expect(option, help_text.returncode == 0 and help_text.stderr == "", help_text)
        for word in SUITES + ["--json", "--runs", "--quick", "--fifo", "--case", "--system", "--dir"]:
            expect(f"{option} names {word}", f"\n  {word} " in help_text.stdout, help_text)
    for words, message in WRONG:
        wrong = run(*words)
        lines = wrong.stderr.splitlines()
        expect(" ".join(words), wrong.returncode == 2 and wrong.stdout == "" and len(lines) > 0
               and lines[-1].startswith("dolmen bench: ") and message in lines[-1]
               and lines[-1].endswith("; see dolmen bench --help"), wrong)
    with tempfile.NamedTemporaryFile() as file:
        impossible = run("kv", "--quick", "--json", "--dir", file.name)
        expect("--dir FILE", impossible.returncode == 1 and impossible.stdout == ""
               and file.name in impossible.stderr, impossible)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
