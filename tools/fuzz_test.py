#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/fuzz with imagined fuzzers: scripts that print what libFuzzer prints at its end."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


class Fuzz(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="dolmen-fuzz.")
        self.addCleanup(shutil.rmtree, self.root)
        self.seeds = os.path.join(self.root, "seeds")
        os.makedirs(self.seeds)
        for number in range(3):
            with open(os.path.join(self.seeds, str(number)), "w", encoding="utf-8") as file:
                file.write("x")

    def fuzz(self, body, *words):
        program = os.path.join(self.root, "layer_fuzz")
        with open(program, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\necho "$*" >>{self.root}/log\n{body}\n')
        os.chmod(program, 0o755)
        return subprocess.run([sys.executable, os.path.join(HERE, "fuzz"), program, "--seeds", self.seeds,
                               "--found", os.path.join(self.root, "corpus/layer_fuzz"), *words],
                              capture_output=True, text=True, check=False)

    def log(self):
        with open(os.path.join(self.root, "log"), encoding="utf-8") as file:
            return file.read().splitlines()

    def test_enough_runs_pass_and_are_told(self):
        result = self.fuzz("echo stat::number_of_executed_units: 5000", "--seconds", "7")
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertEqual(result.stdout,
                         "layer_fuzz: 5000 runs, of which 3 seeds; at least 2000 asked for\n")
        self.assertIn("-max_total_time=7", self.log()[0])
        self.assertTrue(self.log()[0].endswith(self.seeds))

    def test_a_slow_machine_runs_longer(self):
        result = self.fuzz('case "$*" in *-runs=1988*) echo stat::number_of_executed_units: 1988 ;;\n'
                           "*) echo stat::number_of_executed_units: 12 ;; esac")
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("layer_fuzz: 2000 runs", result.stdout)

    def test_too_few_runs_fail(self):
        result = self.fuzz("echo stat::number_of_executed_units: 12")
        self.assertEqual(result.returncode, 1)
        self.assertIn("too few runs", result.stdout)
        self.assertEqual(self.fuzz("exit 0").returncode, 1)

    def test_every_seed_counts_into_the_floor(self):
        result = self.fuzz("echo stat::number_of_executed_units: 1", "--runs-min", "1")
        self.assertEqual(result.returncode, 1)
        self.assertIn("-runs=2", self.log()[1])

    def test_a_crash_fails_and_shows_what_the_fuzzer_said(self):
        result = self.fuzz("echo SUMMARY: heap-buffer-overflow; exit 77")
        self.assertEqual(result.returncode, 1)
        self.assertIn("SUMMARY: heap-buffer-overflow", result.stdout)
        self.assertIn("layer_fuzz: FAILED with 77", result.stdout)
        self.assertIn(f"-artifact_prefix={self.root}/corpus/", self.log()[0])

    def test_a_crash_while_it_makes_up_for_time_fails(self):
        result = self.fuzz('case "$*" in *-runs=*) exit 1 ;; esac\n'
                           "echo stat::number_of_executed_units: 12")
        self.assertEqual(result.returncode, 1)


if __name__ == "__main__":
    unittest.main()
