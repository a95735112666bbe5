#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Test of tools/coverage on a small project that is really compiled and run."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = {
    "include/dolmen/twice.hpp": "template <class T> T twice(T x) {\n  return x + x;\n}\n",
    "src/base/a.cpp": "#include <dolmen/twice.hpp>\n"
                      "int half(int x) {\n"
                      "  if (x < 0)\n"
                      "    return -1;\n"
                      "  return x / 2 + twice(0);\n"
                      "}\n"
                      "int unused() {\n"
                      "  return 3;\n"
                      "}\n",
    "src/base/a_test.cpp": "#include <dolmen/twice.hpp>\nint half(int);\n"
                           "int main(int argc, char**) {\n  if (argc > 9)\n    return 9;\n"
                           "  return half(8) + twice(2.0) - 8;\n}\n",
}


class Coverage(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="dolmen-coverage.")
        self.addCleanup(shutil.rmtree, self.root)
        for path, text in FILES.items():
            full = os.path.join(self.root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        self.build = os.path.join(self.root, "build")
        os.makedirs(self.build)

    def run_program(self):
        for name in ("a", "a_test"):
            subprocess.run(["g++", "--coverage", "-c", "-I../include", f"../src/base/{name}.cpp"],
                           cwd=self.build, check=True)
        subprocess.run(["g++", "--coverage", "a.o", "a_test.o", "-o", "program"], cwd=self.build, check=True)
        subprocess.run(["./program"], cwd=self.build, check=True)

    def coverage(self, *words):
        return subprocess.run([sys.executable, os.path.join(HERE, "coverage"), "--root", self.root,
                               self.build, *words], cwd=self.root, capture_output=True, text=True, check=False)

    def test_reached_lines_are_counted_per_layer_and_tests_are_not(self):
        self.run_program()
        result = self.coverage()
        self.assertEqual(result.returncode, 0, result.stderr)
        rows = [line.split() for line in result.stdout.splitlines()]
        self.assertEqual(rows, [["include", "2", "of", "2", "lines", "100.0", "%"],
                                ["src/base", "3", "of", "6", "lines", "50.0", "%"],
                                ["total", "5", "of", "8", "lines", "62.5", "%"]])

    def test_the_build_may_be_named_from_where_one_is(self):
        self.run_program()
        by_path, self.build = self.coverage().stdout, "build"
        self.assertEqual(self.coverage().stdout, by_path)
        self.assertIn("total", by_path)

    def test_lines_that_no_test_reached_are_listed(self):
        self.run_program()
        self.assertEqual(self.coverage("src/base/a.cpp").stdout,
                         "src/base/a.cpp: 3 lines not reached: 4 7 8\n")

    def test_a_build_without_counters_is_refused(self):
        result = self.coverage()
        self.assertEqual(result.returncode, 1)
        self.assertIn("holds no counters", result.stdout)


if __name__ == "__main__":
    unittest.main()
