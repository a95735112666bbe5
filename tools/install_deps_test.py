#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/install-deps on imagined machines: dpkg-query, apt-get, apt-cache, sudo and id are
small scripts in a temporary directory that is the whole PATH."""

import os
import shutil
import subprocess
import tempfile
import unittest

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "install-deps")
REAL_TOOLS = ["sh", "cat", "cut", "grep", "tr", "env", "touch", "true", "echo", "printf"]


class Machine(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="dolmen-machine.")
        self.addCleanup(shutil.rmtree, self.root)
        for tool in REAL_TOOLS:
            if real := shutil.which(tool):
                os.symlink(real, os.path.join(self.root, tool))
        self.tool("dpkg-query", 'for p; do :; done; [ -e "$ROOT/has-$p" ] && echo installed || exit 1')
        self.tool("apt-get", 'echo "$(id -u): apt-get $*" >>"$ROOT/log"\n'
                  'case "$*" in *install*) for p; do touch "$ROOT/has-$p"; done ;; esac')
        self.tool("sudo", 'ROOT_USER=yes exec "$@"')
        self.tool("id", 'if [ -n "${ROOT_USER:-}" ]; then echo 0; else echo 1000; fi')
        self.packages("Package: x\n" * 30000)

    def tool(self, name, body):
        path = os.path.join(self.root, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!{shutil.which('sh')}\n{body}\n")
        os.chmod(path, 0o755)

    def packages(self, text):
        with open(os.path.join(self.root, "avail"), "w", encoding="utf-8") as file:
            file.write(text)
        self.tool("apt-cache", 'cat "$ROOT/avail"')

    def install(self, *words, **environment):
        return subprocess.run([SCRIPT, *words], capture_output=True, text=True, check=False,
                              env={"PATH": self.root, "ROOT": self.root, **environment})

    def has(self, *names):
        for name in names:
            with open(os.path.join(self.root, f"has-{name}"), "w", encoding="utf-8"):
                pass

    def log(self):
        path = os.path.join(self.root, "log")
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8") as file:
            return file.read()

    def test_what_is_missing_is_named_with_its_reason_and_installed_by_root(self):
        self.has("g++", "cmake", "ninja-build", "libcli11-dev", "libsodium-dev",
                 "libssl-dev")
        result = self.install("demo", ROOT_USER="yes")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"libxxhash-dev +checksums")
        self.assertNotIn("cmake ", result.stdout)
        self.assertNotIn("libgtest-dev", result.stdout)
        self.assertEqual(self.log(), "0: apt-get update -q\n0: apt-get install -q -y "
                         "--no-install-recommends libxxhash-dev nlohmann-json3-dev\n")

    def test_nothing_missing_needs_no_root_and_says_nothing(self):
        self.assertEqual(self.install("test", ROOT_USER="yes").returncode, 0)
        os.remove(os.path.join(self.root, "log"))
        os.remove(os.path.join(self.root, "sudo"))
        result = self.install("test")
        self.assertEqual((result.returncode, result.stdout, self.log()), (0, "", ""))

    def test_a_user_installs_through_sudo(self):
        result = self.install("bench")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("sudo", result.stdout)
        self.assertIn("0: apt-get install", self.log())
        self.assertIn("liblmdb-dev", self.log())

    def test_without_root_and_sudo_the_remedy_is_printed(self):
        os.remove(os.path.join(self.root, "sudo"))
        result = self.install("demo")
        self.assertEqual(result.returncode, 1)
        self.assertIn("needs root, and there is no sudo. Run as root:", result.stderr)
        self.assertRegex(result.stderr, r"apt-get install .*libxxhash-dev")
        self.assertEqual(self.log(), "")

    def test_without_apt_get_the_remedy_is_printed(self):
        os.remove(os.path.join(self.root, "apt-get"))
        result = self.install("demo", ROOT_USER="yes")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no apt-get", result.stderr)

    def test_on_another_system_the_packages_are_listed(self):
        os.remove(os.path.join(self.root, "dpkg-query"))
        result = self.install("demo")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no Debian system", result.stderr)
        self.assertIn("libxxhash-dev", result.stderr)
        self.assertNotIn("libgtest-dev", result.stderr)

    def test_a_failing_apt_get_is_an_error(self):
        self.tool("apt-get", "exit 100")
        result = self.install("demo", ROOT_USER="yes")
        self.assertEqual(result.returncode, 1)
        self.assertIn("apt-get update failed", result.stderr)

    def test_missing_package_lists_are_fetched_for_the_demo_only(self):
        self.install("demo", ROOT_USER="yes")
        os.remove(os.path.join(self.root, "log"))
        self.packages("Package: x\n" * 300)
        result = self.install("demo", ROOT_USER="yes")
        self.assertEqual((result.returncode, self.log()), (0, "0: apt-get update -q\n"))
        os.remove(os.path.join(self.root, "sudo"))
        result = self.install("demo")
        self.assertEqual(result.returncode, 0)
        self.assertIn("goes on with the packages that this machine knows", result.stderr)

    def test_a_dry_run_installs_nothing(self):
        result = self.install("demo", "--dry-run", ROOT_USER="yes")
        self.assertEqual((result.returncode, self.log()), (0, ""))
        self.assertIn("libxxhash-dev", result.stdout)

    def test_an_unknown_goal_is_refused(self):
        self.assertEqual(self.install("everything").returncode, 2)
        self.assertEqual(self.install().returncode, 2)


if __name__ == "__main__":
    unittest.main()
