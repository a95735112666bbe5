# SPDX-License-Identifier: Apache-2.0
# The commands of the project; each does all it needs. The build itself is CMake, see CMakePresets.json.
.PHONY: help demo test soak coverage bench check format clean
JOBS ?= $(shell nproc)

help:
	@echo 'make demo      build the dolmen command and show it on the Debian package universe'
	@echo 'make test      the gate: rules, every test in release and under sanitizers, outside projects'
	@echo 'make soak      the crash and kill campaigns and the fuzzers at full length (hours)'
	@echo 'make coverage  line coverage, a row per layer'
	@echo 'make bench     measure against other systems in the same run'
	@echo 'make check     layers, format, replaced calls, links (seconds)'
	@echo 'make format    repair what make check can repair'
	@echo 'make clean     remove build/'
	@echo 'While working: cmake --workflow --preset dev'

demo:
	@tools/install-deps demo
	cmake --preset release -DDOLMEN_TESTS=OFF -DDOLMEN_EXAMPLES=OFF >/dev/null
	cmake --build --preset release --target dolmen_command -j $(JOBS)
	build/release/bin/dolmen demo $(ARGS)

test:
	@tools/install-deps test
	tools/test

soak:
	@tools/install-deps test
	tools/test --only soak

coverage:
	@tools/install-deps test
	tools/test --only coverage

bench:
	@tools/install-deps bench
	cmake --preset bench >/dev/null
	cmake --build --preset bench --target dolmen_command -j $(JOBS)
	build/bench/bin/dolmen bench $(ARGS)

check:
	tools/check

format:
	tools/check --fix

clean:
	rm -rf build
