#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/test with imagined results: cmake, ctest and the project's own programs are small scripts
in a temporary directory."""

import os
import shutil
import subprocess
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
GATE = ["check", "release", "consumers", "asan", "tsan"]
BESIDE = ["command", "clang", "fuzz", "bench", "guest", "coverage", "soak"]

CMAKE = '''for word; do case $word in release | asan | tsan | clang | fuzz | bench | coverage | soak)
  echo "$1 $word" >>"$ROOT/log"
  [ "$1 $word" != "--build ${FAILING_BUILD:-}" ] || exit 1 ;; esac; done'''
CTEST = '''echo "ctest $2" >>"$ROOT/log"
while [ "$1" != --output-junit ]; do preset=${preset:-$2}; shift; done
[ "$preset" != "${WITHOUT_TESTS:-}" ] || exit 8
failures=0
[ "$preset" != "${FAILING_TESTS:-}" ] || failures=2
echo '<testsuite name="x" tests="10" failures="'$failures'" disabled="0" skipped="1">' >"$2"
echo '<testcase name="tests=&quot;99&quot;"/>' >>"$2"
[ $failures = 0 ] || exit 8'''


class Stages(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="dolmen-stages.")
        self.addCleanup(shutil.rmtree, self.root)
        self.program("bin/cmake", CMAKE)
        self.program("bin/ctest", CTEST)
        self.program("tools/check", 'echo "check" >>"$ROOT/log"; exit ${FAILING_CHECK:-0}')
        self.program("tools/guest", 'echo "guest" >>"$ROOT/log"; exit ${GUEST_STATUS:-0}')
        self.program("tools/coverage", 'echo "coverage $1" >>"$ROOT/log"')
        self.program("tests/consumers/run", 'echo "consumers $1" >>"$ROOT/log"')
        shutil.copy(os.path.join(HERE, "test"), os.path.join(self.root, "tools/test"))
        log = os.path.join(self.root, "build/fuzz/Testing/Temporary/LastTest.log")
        os.makedirs(os.path.dirname(log))
        with open(log, "w", encoding="utf-8") as file:
            file.write("noise\nstore_log_fuzz: 3217 runs, of which 28 seeds; at least 2000 asked for\n")

    def program(self, path, body):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n{body}\n")
        os.chmod(full, 0o755)

    def run_test(self, *words, **environment):
        path = os.path.join(self.root, "bin") + os.pathsep + os.environ["PATH"]
        result = subprocess.run([os.path.join(self.root, "tools/test"), *words], check=False, text=True,
                                capture_output=True,
                                env={**os.environ, "PATH": path, "ROOT": self.root, **environment})
        self.assertNotIn("command not found", result.stderr)
        return result

    def log(self):
        with open(os.path.join(self.root, "log"), encoding="utf-8") as file:
            return file.read().splitlines()

    def test_the_gate_is_five_stages_each_with_its_time(self):
        result = self.run_test()
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        summary = result.stdout.split("=== summary\n")[1].splitlines()
        for stage, line in zip(GATE, summary[:len(GATE)], strict=True):
            self.assertRegex(line, rf"^{stage} +ok +\d+ s  \(build \d+ s, tests \d+ s\)$")
        # Three runs of ten tests with one skipped each; check and consumers count as one each.
        self.assertEqual(summary[-1], "29 passed, 0 failed")
        self.assertRegex(summary[-2], r"^total \d+ s, 3 skipped$")
        self.assertEqual(self.run_test("--list").stdout.split(), GATE + BESIDE)

    def test_what_each_fuzzer_did_is_said(self):
        result = self.run_test("--only", "fuzz")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("store_log_fuzz: 3217 runs", result.stdout)

    def test_failed_tests_fail_the_gate_and_stop_no_other_stage(self):
        result = self.run_test(FAILING_TESTS="asan")
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stdout.endswith("27 passed, 2 failed\n"), result.stdout)
        self.assertRegex(result.stdout, r"\nasan +FAILED ")
        self.assertIn("ctest tsan", self.log())

    def test_a_failed_build_counts_and_its_tests_are_not_run(self):
        result = self.run_test(FAILING_BUILD="asan")
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stdout.endswith("20 passed, 1 failed\n"), result.stdout)
        self.assertNotIn("ctest asan", self.log())
        self.assertIn("ctest tsan", self.log())

    def test_a_stage_without_tests_fails(self):
        result = self.run_test("--only", "fuzz", WITHOUT_TESTS="fuzz")
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stdout.endswith("0 passed, 1 failed\n"), result.stdout)

    def test_the_rules_of_the_project_count(self):
        result = self.run_test("--only", "check", FAILING_CHECK="1")
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stdout.endswith("0 passed, 1 failed\n"), result.stdout)

    def test_chosen_stages_run_alone_and_in_order(self):
        result = self.run_test("--only", "coverage", "--only", "consumers")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(self.log(), ["--preset coverage", "--build coverage", "ctest coverage",
                                      "coverage build/coverage", "--preset release", "--build release",
                                      "consumers build/release"])

    def test_a_guest_that_cannot_run_is_skipped_and_one_that_fails_fails(self):
        for status, last in [("0", "1 passed, 0 failed"), ("77", "0 passed, 0 failed"), ("1", "0 passed, 1 failed")]:
            result = self.run_test("--only", "guest", GUEST_STATUS=status)
            self.assertEqual(result.returncode, 1 if status == "1" else 0, result.stdout)
            self.assertTrue(result.stdout.endswith(last + "\n"), result.stdout)
            self.assertIn("1 skipped" if status == "77" else "0 skipped", result.stdout)

    def test_the_soak_runs_the_campaigns_and_the_fuzzers(self):
        result = self.run_test("--only", "soak", FAILING_TESTS="soak")
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stdout.endswith("17 passed, 2 failed\n"), result.stdout)
        self.assertIn("ctest fuzz", self.log())

    def test_an_unknown_stage_is_refused(self):
        self.assertEqual(self.run_test("--only", "everything").returncode, 2)
        self.assertEqual(self.run_test("--everything").returncode, 2)


if __name__ == "__main__":
    unittest.main()
