#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns the JSON of `dolmen bench SUITE --json` into the tables of docs/benchmarks.md.

    bench/to_markdown.py <file.json>…
"""

import json
import sys


def number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def table(result: dict) -> str:
    machine = result["machine"]
    lines = [f"## {result['suite']}", "",
             f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, "
             f"{machine['kernel']}, {machine['filesystem']}, huge pages {machine['huge_pages']}, "
             f"g++ {machine['compiler']}, dolmen {machine['dolmen']}"
             f"{', CHECKED BUILD' if machine['checked'] else ''}.", "",
             "| case | system | median | min | max | unit | runs | dolmen_x | mode |",
             "|---|---|--:|--:|--:|---|--:|--:|---|"]
    last = ""
    for row in result["rows"]:
        case = f"`{row['case']}`" if row["case"] != last else ""
        last = row["case"]
        times = "" if row["dolmen_x"] is None else f"{row['dolmen_x']:.2f}"
        lines.append(f"| {case} | {row['system']} | {number(row['median'])} | {number(row['min'])} | "
                     f"{number(row['max'])} | {row['unit']} | {row['runs']} | {times} | "
                     f"{row['mode']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            print(table(json.load(file)), end="\n\n")
