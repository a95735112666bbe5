#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Test of spec/run: it does not call right what is broken, nor broken what is right."""

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


def load():
    loader = importlib.machinery.SourceFileLoader("run", os.path.join(HERE, "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("run", loader))
    loader.exec_module(module)
    return module


sys.dont_write_bytecode = True
run = load()


class Run(unittest.TestCase):
    def test_a_disagreement_of_a_right_version_is_a_failure(self):
        result = run.check(run.Case("nic_fence", "", "", ("EPOCHS=2", "NO_DRAIN")))
        self.assertFalse(result.passed)
        self.assertIn("disagreement", result.problem)

    def test_a_broken_version_that_agrees_is_a_failure(self):
        result = run.check(run.Case("nic_fence", "NOTHING_IS_BROKEN", "", ("EPOCHS=2",)))
        self.assertFalse(result.passed)
        self.assertIn("no disagreement", result.problem)

    def test_a_model_that_does_not_compile_is_a_failure(self):
        result = run.check(run.Case("nic_fence", "", "", ("EPOCHS=no_number",)))
        self.assertFalse(result.passed)
        self.assertIn("no search", result.problem)

    def test_a_search_that_was_cut_short_is_a_failure(self):
        run.MEMORY_MIB = 1
        self.addCleanup(setattr, run, "MEMORY_MIB", 6000)
        result = run.check(run.Case("nic_fence", "", "", ("EPOCHS=3",)))
        self.assertFalse(result.passed)

    def test_wrong_usage_is_said(self):
        done = subprocess.run([os.path.join(HERE, "run"), "--trail", "no.such"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--list", done.stderr)


if __name__ == "__main__":
    unittest.main()
