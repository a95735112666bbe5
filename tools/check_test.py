#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/check and tools/symbol_check: each rule is seen to fire on a bad sample and to keep
still on a good one, in a small project written to a temporary directory."""

import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))


def load(name):
    loader = importlib.machinery.SourceFileLoader(name, os.path.join(HERE, name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


check = load("check")
symbol_check = load("symbol_check")

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
TABLE = {
    "layers": {
        "base": {"folder": "src/base", "may_include": []},
        "sys": {"folder": "src/sys", "may_include": ["base"]},
        "sys_linux": {"folder": "src/sys/linux", "may_include": ["base", "sys"]},
        "store": {"folder": "src/store", "may_include": ["base", "sys"]},
        "sim": {"folder": "src/sim", "may_include": ["base", "sys", "store"]},
        "cli": {"folder": "src/cli", "may_include": ["base", "store"]},
    },
    "tests_may_include": ["sys_linux", "sim"],
    "public_headers": {"error.hpp": "base", "space.hpp": "store"},
    "third_party": {"gtest/": ["test"], "CLI/": ["cli"]},
    "reinterpret_cast": [],
    "printing": [],
    "globals": {},
}


class World(unittest.TestCase):
    """A project in which every rule holds, until a test spoils it."""

    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="dolmen-check.")
        self.addCleanup(shutil.rmtree, self.root)
        self.table = json.loads(json.dumps(TABLE))
        self.write("include/dolmen/error.hpp", SPDX + "#pragma once\n#include <cstdint>\n")
        self.write("include/dolmen/space.hpp", SPDX + "#pragma once\n#include <dolmen/error.hpp>\n")
        self.write("src/base/a.hpp", SPDX + "#pragma once\n")
        self.write("src/base/a.cpp", SPDX + '#include "base/a.hpp"\n')
        self.write("src/store/b.hpp", SPDX + "#pragma once\n")
        for folder in ("src/sys", "src/sys/linux", "src/sim", "src/cli"):
            self.write(f"{folder}/CMakeLists.txt", "# SPDX-License-Identifier: Apache-2.0\n")
        self.write("tools/size_ratchet.json", "{}")

    def write(self, path, text):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8") as file:
            return file.read()

    def found(self, with_format=False):
        self.write("tools/layers.json", json.dumps(self.table))
        return [str(v) for v in check.violations(check.Project(self.root), with_format)]

    def assert_one(self, place, what):
        found = self.found()
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(place + ": "), found[0])
        self.assertIn(what, found[0])
        self.assertIn("; ", found[0])  # a remedy follows

    def assert_clean(self):
        self.assertEqual(self.found(), [])

    def cpp(self, path, line):
        """A source file whose third line is `line`."""
        self.write(path, f"{SPDX}\n{line}\n")


class Layers(World):
    def test_a_clean_project_passes(self):
        self.assert_clean()

    def test_a_folder_outside_the_table_is_reported(self):
        self.cpp("src/util/x.hpp", "#pragma once")
        self.assertIn("folder src/util is no layer", self.found()[0])

    def test_a_cycle_is_reported(self):
        self.table["layers"]["base"]["may_include"] = ["store"]
        self.assertTrue(any("cycle of layers base -> store -> base" in v for v in self.found()))

    def test_an_unknown_layer_in_the_table_is_reported(self):
        self.table["layers"]["base"]["may_include"] = ["nowhere"]
        self.assert_one("tools/layers.json:1", "unknown layer nowhere")

    def test_a_layer_without_files_is_reported(self):
        self.table["layers"]["net"] = {"folder": "src/net", "may_include": ["base"]}
        self.assert_one("tools/layers.json:1", "net has no files in src/net")

    def test_an_upward_include_is_reported_with_its_line(self):
        self.cpp("src/base/x.cpp", '#include "store/b.hpp"')
        self.assert_one("src/base/x.cpp:3", "base may not include store")

    def test_a_downward_include_is_allowed(self):
        self.cpp("src/store/x.cpp", '#include "base/a.hpp"')
        self.assert_clean()

    def test_only_tests_may_include_the_system_and_the_simulator(self):
        self.cpp("src/sys/linux/l.hpp", "\n#pragma once")
        self.cpp("src/sim/s.hpp", "\n#pragma once")
        self.cpp("src/store/x_test.cpp", '#include "sys/linux/l.hpp"\n#include "sim/s.hpp"')
        self.assert_clean()
        self.cpp("src/store/x.cpp", '#include "sys/linux/l.hpp"')
        self.assert_one("src/store/x.cpp:3", "store may not include sys_linux")

    def test_headers_that_tests_share_are_tests(self):
        self.cpp("src/sys/linux/l.hpp", "\n#pragma once")
        for name in ("x_test_files.hpp", "world.hpp"):
            self.cpp(f"src/store/{name}",
                     '\n#pragma once\n#include <gtest/gtest.h>\n#include "sys/linux/l.hpp"')
        self.cpp("src/store/x_test.cpp", '#include "store/world.hpp"')
        self.assert_clean()
        self.cpp("src/store/x.cpp", '#include "store/world.hpp"')
        self.assert_one("src/store/x.cpp:3", "is a header of tests")

    def test_gtest_is_for_tests(self):
        self.cpp("src/store/contest.cpp", "#include <gtest/gtest.h>")
        self.assert_one("src/store/contest.cpp:3", "for test only")

    def test_a_missing_header_is_reported(self):
        self.cpp("src/base/x.cpp", '#include "a.hpp"')
        self.assert_one("src/base/x.cpp:3", "no file below src/")

    def test_a_public_header_needs_a_layer(self):
        del self.table["public_headers"]["space.hpp"]
        self.assert_one("include/dolmen/space.hpp:1", "belongs to no layer")

    def test_a_row_for_a_header_that_is_gone_is_reported(self):
        self.table["public_headers"]["gone.hpp"] = "base"
        self.assert_one("tools/layers.json:1", "gone.hpp does not exist")

    def test_a_public_header_of_an_unknown_layer_is_reported(self):
        self.table["public_headers"]["space.hpp"] = "nowhere"
        self.assert_one("tools/layers.json:1", "space.hpp belongs to unknown layer nowhere")

    def test_public_headers_obey_and_bind_like_any_other(self):
        self.cpp("src/store/x.cpp", "#include <dolmen/space.hpp>")
        self.assert_clean()
        self.cpp("src/base/x.cpp", "#include <dolmen/space.hpp>")
        self.assert_one("src/base/x.cpp:3", "base may not include store (<dolmen/space.hpp>)")
        self.cpp("src/base/x.cpp", "#include <dolmen/nothing.hpp>")
        self.assert_one("src/base/x.cpp:3", "<dolmen/nothing.hpp> is no public header")

    def test_who_may_include_node_uses_the_public_headers_as_its_users_do(self):
        self.table["layers"]["node"] = {"folder": "src/node", "may_include": ["base"]}
        self.table["layers"]["cli"]["may_include"] = ["base", "node"]
        self.cpp("src/node/n.hpp", "\n#pragma once")
        self.cpp("src/cli/x.cpp", "#include <dolmen/space.hpp>")
        self.assert_clean()
        self.table["public_headers"]["detail/x.hpp"] = "store"
        self.cpp("include/dolmen/detail/x.hpp", "\n#pragma once")
        self.cpp("src/cli/x.cpp", "#include <dolmen/detail/x.hpp>")
        self.assert_one("src/cli/x.cpp:3", "cli may not include store (<dolmen/detail/x.hpp>)")

    def test_a_public_header_may_not_include_the_inside(self):
        self.write("include/dolmen/space.hpp", SPDX + '#pragma once\n#include "base/a.hpp"\n')
        self.assert_one("include/dolmen/space.hpp:3", "public header includes")

    def test_a_public_header_obeys_the_layer_that_it_belongs_to(self):
        self.write("include/dolmen/error.hpp", SPDX + "#pragma once\n#include <dolmen/space.hpp>\n")
        self.assert_one("include/dolmen/error.hpp:3", "base may not include store")

    def test_a_layer_reaches_beside_src_only_where_the_table_says(self):
        self.cpp("bench/b.hpp", "\n#pragma once")
        self.cpp("src/store/x.cpp", '#include "bench/b.hpp"')
        self.assert_one("src/store/x.cpp:3", "no file below src/")
        self.table["layers"]["store"]["beside_src"] = ["bench/"]
        self.assert_clean()

    def test_an_example_sees_public_headers_only(self):
        self.cpp("examples/x.cpp", '#include "base/a.hpp"')
        self.assert_one("examples/x.cpp:3", "example includes")

    def test_foreign_headers_are_for_those_named(self):
        self.cpp("src/cli/x.cpp", "#include <CLI/CLI.hpp>")
        self.cpp("src/base/x_test.cpp", "#include <gtest/gtest.h>")
        self.assert_clean()
        self.cpp("src/base/x.cpp", "#include <CLI/CLI.hpp>")
        self.assert_one("src/base/x.cpp:3", "for cli only")

    def test_system_headers_are_for_sys_linux(self):
        self.cpp("src/sys/linux/x.cpp", "#include <sys/mman.h>")
        self.assert_clean()
        self.cpp("src/store/x.cpp", "#include <sys/mman.h>")
        self.assert_one("src/store/x.cpp:3", "system header")

    def test_a_cmake_dependency_beyond_the_table_is_reported(self):
        self.write("src/base/CMakeLists.txt",
                   "# SPDX-License-Identifier: Apache-2.0\n"
                   "dolmen_layer(base DEPENDS store TEST_DEPENDS sim)\n")
        self.assert_one("src/base/CMakeLists.txt:2", "base may not depend on store")

    def test_a_cmake_layer_outside_the_table_is_reported(self):
        self.write("src/base/CMakeLists.txt",
                   "# SPDX-License-Identifier: Apache-2.0\n\ndolmen_layer(bass)\n")
        self.assert_one("src/base/CMakeLists.txt:3", "layer bass is not in the table")


class Targets(World):
    def test_a_source_in_no_target_is_reported(self):
        self.cpp("tests/helper.cpp", "")
        self.assert_one("tests/helper.cpp:1", "file is in no target")

    def test_a_source_named_in_cmake_is_in_a_target(self):
        self.cpp("tests/helper.cpp", "")
        self.write("tests/CMakeLists.txt",
                   "# SPDX-License-Identifier: Apache-2.0\nadd_library(helper helper.cpp)\n")
        self.assert_clean()

    def test_include_dolmen_is_flat_but_for_detail(self):
        self.table["public_headers"]["detail/x.hpp"] = "base"
        self.cpp("include/dolmen/detail/x.hpp", "\n#pragma once")
        self.assert_clean()
        self.table["public_headers"]["deep/x.hpp"] = "base"
        self.cpp("include/dolmen/deep/x.hpp", "\n#pragma once")
        self.assert_one("include/dolmen/deep/x.hpp:1", "public header outside")


class Bans(World):
    BAD = {
        "assert(x > 0);": "DOLMEN_ASSERT",
        "#ifdef NDEBUG": "assertions are on",
        "int x = rand();": "base::Random",
        "std::random_device d;": "sys::Entropy",
        "std::mt19937 engine;": "base::Random",
        "auto t = std::chrono::steady_clock::now();": "sys::Clock",
        "clock_gettime(CLOCK_MONOTONIC, &t);": "sys::Clock",
        "auto t = time(nullptr);": "sys::Clock",
        "auto t = std::time(&now);": "sys::Clock",
        "std::thread worker(run);": "through sys",
        "std::jthread worker(run);": "through sys",
        "std::mutex mutex_;": "base/mutex.hpp",
        "const std::scoped_lock lock(mutex);": "base/mutex.hpp",
        "std::condition_variable_any woken_;": "base/mutex.hpp",
        "std::this_thread::sleep_for(1ms);": "sys::Clock",
        "sleep(1);": "sys::Clock",
        "auto t = __rdtsc();": "sys::Clock",
        "pread(fd, data, size, 0);": "interface of sys",
        "::pwrite(fd, data, size, 0);": "interface of sys",
        "fsync(fd);": "interface of sys",
        "auto* p = mmap(nullptr, n, 0, 0, -1, 0);": "interface of sys",
        "int fd = ::open(path, O_RDWR);": "interface of sys",
        "return ::getpid();": "interface of sys",
        "std::ofstream out(path);": "sys::Disk",
        "std::filesystem::remove(path);": "sys::Disk",
        "auto* f = fopen(path, mode);": "sys::Disk",
        'std::printf("x");': "only commands print",
        "std::cout << 1;": "only commands print",
        "using namespace std;": "write std::",
        "auto* p = reinterpret_cast<int*>(q);": "std::bit_cast",
        "#include <cassert>": "dolmen/assert.hpp",
    }
    GOOD = [
        "static_assert(sizeof(int) == 4);",
        "// assert(x), rand(), std::thread: a comment",
        'auto s = "std::cout << rand()";',
        'auto s = R"(fsync(fd) and std::thread)";',
        "auto n = 1'000'000; file.fsync(); disk->pread(0);",
        "Result<Space> open(Options options);",
        "std::thread::id owner_;",
        "using namespace std::chrono_literals;",
        "Disk::mmap(region);",
        "auto t = clock.now(); Clock& clock() const; auto u = Stamp::time(row);",
        "std::snprintf(text, sizeof text, format, 1);",
    ]

    def test_each_banned_call_is_reported_with_its_replacement(self):
        for line, remedy in self.BAD.items():
            with self.subTest(line):
                self.cpp("src/store/x.cpp", line)
                self.assert_one("src/store/x.cpp:3", remedy)

    def test_every_row_of_the_table_has_a_sample(self):
        for ban in check.BANS:
            self.assertTrue(any(re.search(ban.pattern, line) for line in self.BAD), ban.pattern)

    def test_what_only_looks_like_a_banned_call_passes(self):
        for line in self.GOOD:
            with self.subTest(line):
                self.cpp("src/store/x.cpp", line)
                self.assert_clean()

    def test_sys_linux_makes_the_system_calls(self):
        self.cpp("src/sys/linux/x.cpp",
                 "::open(p, 0); fsync(fd); mmap(a, b); clock_gettime(c, &t); std::thread t(run);")
        self.assert_clean()

    def test_annotated_mutexes_are_made_in_one_place(self):
        self.cpp("src/base/mutex.hpp", "\n#pragma once\nstd::mutex mutex_; std::shared_mutex shared_;")
        self.cpp("src/store/x_test.cpp", "const std::scoped_lock lock(mutex);")
        self.assert_clean()
        self.cpp("src/base/other.hpp", "\n#pragma once\nstd::shared_mutex mutex_;")
        self.assert_one("src/base/other.hpp:5", "mutex without annotations: std::shared_mutex")

    def test_commands_and_tests_print(self):
        self.cpp("src/cli/x.cpp", "std::cout << 1;")
        self.cpp("src/store/x_test.cpp", "std::cout << 1;")
        self.assert_clean()

    def test_unit_tests_do_not_sleep_but_system_tests_may(self):
        self.cpp("tests/kill_test.cpp", "std::this_thread::sleep_for(1ms);")
        self.assert_clean()
        self.cpp("src/store/x_test.cpp", "std::this_thread::sleep_for(1ms);")
        self.assert_one("src/store/x_test.cpp:3", "sleeping")

    def test_the_list_of_printers_names_files(self):
        self.table["printing"] = ["src/base/a.cpp"]
        self.cpp("src/base/a.cpp", "std::cout << 1;")
        self.assert_clean()
        self.table["printing"] = ["src/base/gone.cpp"]
        self.cpp("src/base/a.cpp", "")
        self.assert_one("tools/layers.json:1", "src/base/gone.cpp does not exist")

    def test_the_cast_list_is_a_ratchet(self):
        self.table["reinterpret_cast"] = ["src/base/a.cpp"]
        self.assert_one("tools/layers.json:1", "needs no reinterpret_cast any more")
        self.cpp("src/base/a.cpp", "auto* p = reinterpret_cast<int*>(q);")
        self.assert_clean()
        self.cpp("src/base/a_test.cpp", "auto* p = reinterpret_cast<int*>(q);")
        self.assert_clean()


class Text(World):
    def test_a_missing_licence_line_is_reported_and_fixed(self):
        self.write("src/base/x.cpp", "int x();\n")
        self.write("tools/run", "#!/bin/sh\nexit 0\n")
        self.assertEqual(sum("no licence line" in v for v in self.found()), 2)
        check.fix(check.Project(self.root), with_format=False)
        self.assert_clean()
        self.assertEqual(self.read("tools/run").splitlines()[0], "#!/bin/sh")

    def test_a_header_without_pragma_once_is_reported(self):
        self.write("src/base/x.hpp", SPDX)
        self.assert_one("src/base/x.hpp:1", "#pragma once")

    def test_unfinished_work_is_reported(self):
        for word in ("TO" + "DO", "FIX" + "ME"):
            self.cpp("src/base/x.cpp", f"// {word}: later")
            self.assert_one("src/base/x.cpp:3", "unfinished work")

    def test_paths_of_one_machine_are_reported(self):
        self.write("docs/x.md", "see /ho" + "me/someone/notes\n")
        self.assert_one("docs/x.md:1", "path of one machine")
        self.write("docs/x.md", "see shared" + "/design/engine\n")
        self.assert_one("docs/x.md:1", "document outside the project")
        self.write("docs/x.md", "see the network/work/queue\n")
        self.assert_clean()

    def test_a_long_file_is_reported(self):
        self.write("src/base/x.cpp", SPDX + "\n" * check.MAX_LINES)
        self.assert_one(f"src/base/x.cpp:{check.MAX_LINES + 1}", "lines, at most")

    def test_the_size_ratchet_only_shrinks(self):
        self.write("tools/size_ratchet.json", json.dumps({"src/base/x.cpp": 700}))
        self.write("src/base/x.cpp", SPDX + "\n" * 699)
        self.assert_clean()
        self.write("src/base/x.cpp", SPDX + "\n" * 700)
        self.assert_one("src/base/x.cpp:701", "701 lines, at most 700")
        self.write("src/base/x.cpp", SPDX + "\n" * 649)
        self.assert_one("tools/size_ratchet.json:1", "shrank to 650")
        check.fix(check.Project(self.root), with_format=False)
        self.assertEqual(json.loads(self.read("tools/size_ratchet.json")), {"src/base/x.cpp": 650})
        self.write("src/base/x.cpp", SPDX)
        check.fix(check.Project(self.root), with_format=False)
        self.assertEqual(json.loads(self.read("tools/size_ratchet.json")), {})
        self.write("tools/size_ratchet.json", json.dumps({"src/base/gone.cpp": 700}))
        self.assert_one("tools/size_ratchet.json:1", "src/base/gone.cpp does not exist")

    def test_dead_links_are_reported(self):
        self.write("docs/a.md", "# One thing: first\n\n[b](b.md) [x](https://example.org/x.md)\n")
        self.assert_one("docs/a.md:3", "dead link b.md")
        self.write("docs/b.md", "[up](../docs/a.md#one-thing-first) `[no](link.md)`\n")
        self.assert_clean()
        self.write("docs/b.md", "[up](a.md#gone)\n")
        self.assert_one("docs/b.md:1", "no such heading")
        self.write("docs/b.md", "[out](../../other/a.md)\n")
        self.assert_one("docs/b.md:1", "dead link")


class Format(World):
    def test_an_unformatted_file_is_reported_and_fixed(self):
        if shutil.which("clang-format-19") is None:
            self.fail("clang-format-19 is not installed: tools/install-deps test")
        self.write(".clang-format", "BasedOnStyle: Google\n")
        self.write("src/base/x.cpp", SPDX + "\nint   x( );\n")
        found = self.found(with_format=True)
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith("src/base/x.cpp:3: not formatted"), found)
        check.fix(check.Project(self.root), with_format=True)
        self.assertEqual(self.found(with_format=True), [])

    def test_a_style_file_that_clang_format_refuses_is_reported(self):
        self.write(".clang-format", "BasedOnStyle: Nobody\n")
        found = self.found(with_format=True)
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(".clang-format:1: "), found)

    def test_a_machine_without_clang_format_says_so(self):
        path, os.environ["PATH"] = os.environ["PATH"], self.root
        try:
            found = self.found(with_format=True)
        finally:
            os.environ["PATH"] = path
        self.assertEqual(len(found), 1, found)
        self.assertIn("clang-format-19 is not installed", found[0])


class Completeness(unittest.TestCase):
    def test_every_violation_that_the_rules_can_report_is_reported_in_some_test(self):
        with open(os.path.join(HERE, "check"), encoding="utf-8") as file:
            places = {n for n, line in enumerate(file, 1) if "yield Violation(" in line}
        self.assertGreater(len(places), 30)
        real, seen = check.Violation, set()

        def noted(*arguments):
            seen.add(sys._getframe(1).f_lineno)
            return real(*arguments)

        check.Violation = noted
        try:
            for world in (Layers, Targets, Bans, Text, Format):
                unittest.defaultTestLoader.loadTestsFromTestCase(world).run(unittest.TestResult())
        finally:
            check.Violation = real
        self.assertEqual(sorted(places - seen), [])


class Command(World):
    def run_check(self):
        self.write("tools/layers.json", json.dumps(self.table))
        return subprocess.run([sys.executable, os.path.join(HERE, "check"), "--no-format", "--root",
                               self.root], capture_output=True, text=True, check=False)

    def test_the_exit_code_tells(self):
        self.assertEqual(self.run_check().returncode, 0)
        self.cpp("src/store/x.cpp", "int x = rand();")
        result = self.run_check()
        self.assertEqual(result.returncode, 1)
        self.assertIn("src/store/x.cpp:3: hidden randomness", result.stdout)


class Symbols(unittest.TestCase):
    def test_names_of_system_calls_are_refused_and_their_lookalikes_are_not(self):
        bad = ["clock_gettime@GLIBC_2.17", "time", "pread64", "__pread_chk", "open64", "__open64_2",
               "openat", "fsync", "fdatasync", "mmap64", "munmap", "mprotect", "madvise", "socket",
               "pthread_create", "nanosleep", "usleep", "fork", "kill", "getpid", "ioctl", "syscall",
               "std::thread::_M_start_thread(std::unique_ptr<std::thread::_State>, void (*)())",
               "std::chrono::_V2::steady_clock::now()", "fopen64", "read", "write", "getrandom",
               "std::basic_fstream<char, std::char_traits<char> >::basic_fstream()",
               "std::random_device::_M_getval()", "std::filesystem::remove(std::filesystem::path)"]
        good = ["memcpy", "abort", "fprintf", "operator new(unsigned long)", "pthread_mutex_lock",
                "dolmen::sys::Disk::read(unsigned long)", "dolmen::open(int)", "strlen",
                "std::condition_variable::wait(std::unique_lock<std::mutex>&)", "getenv"]
        for symbol in bad:
            with self.subTest(symbol):
                self.assertIsNotNone(symbol_check.replacement(symbol))
        for symbol in good:
            with self.subTest(symbol):
                self.assertIsNone(symbol_check.replacement(symbol))

    def build(self, text, allowed):
        root = tempfile.mkdtemp(prefix="dolmen-symbols.")
        self.addCleanup(shutil.rmtree, root)
        for name, content in {"x.cpp": text, "t.json": json.dumps({"globals": allowed})}.items():
            with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                file.write(content)
        subprocess.run(["g++", "-c", "-std=c++20", "x.cpp"], cwd=root, check=True)
        subprocess.run(["ar", "rc", "libx.a", "x.o"], cwd=root, check=True)
        return subprocess.run([sys.executable, os.path.join(HERE, "symbol_check"), "--table", "t.json",
                               "libx.a"], cwd=root, capture_output=True, text=True, check=False)

    def test_object_code_with_a_system_call_or_a_global_is_refused(self):
        result = self.build("#include <unistd.h>\n#include <chrono>\n"
                            "int f(int fd) { return fsync(fd); }\n"
                            "auto g() { return std::chrono::steady_clock::now(); }\n", {})
        self.assertEqual(result.returncode, 1)
        self.assertIn("asks for fsync; use sys::Disk", result.stdout)
        self.assertIn("steady_clock::now(); use sys::Clock", result.stdout)
        result = self.build("namespace n { namespace { int a = 1; } int f(int x) {"
                            " static int kept; thread_local int mine = 3;"
                            " return kept += x + mine++ + a++; } }\n", {"n::f::kept": "a reason"})
        self.assertEqual(result.returncode, 1)
        self.assertNotIn("n::f::kept", result.stdout)
        self.assertIn("keeps the variable n::f::mine", result.stdout)
        self.assertIn("keeps the variable n::{anonymous}::a", result.stdout)

    def test_constants_and_virtual_tables_are_no_state(self):
        result = self.build('struct B { virtual ~B(); virtual void f(); }; B::~B() {} void B::f() {}\n'
                            'extern const char* const kNames[] = {"a", "b"};\n'
                            "const char* const* names() { return kNames; }\n", {})
        self.assertEqual(result.returncode, 0, result.stdout)


if __name__ == "__main__":
    unittest.main()
