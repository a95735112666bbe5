#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs `dolmen demo --json` on a file of package descriptions and compares every answer with its own.

    tests/demo_check.py <dolmen> <file> [<demo option>…]

The answers here come from the text by other means than in examples/packages: sets of names, and
closures by fixpoint instead of a stack. Needs Python 3, nothing else.
"""

import collections
import json
import re
import subprocess
import sys
import tempfile


def read_packages(path: str) -> dict[str, dict[str, str]]:
    packages: dict[str, dict[str, str]] = {}
    with open(path, encoding="utf-8") as file:
        for stanza in re.split(r"\n\n+", file.read()):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n .*)*)", stanza, re.MULTILINE))
            if fields.get("Status", " installed").endswith(" installed") and "Package" in fields:
                packages.setdefault(fields["Package"].strip(), fields)
    return packages


def bare(relation: str) -> str:
    return re.split(r"[\s:(\[]", relation.strip())[0]


def read_edges(packages: dict[str, dict[str, str]]) -> tuple[dict[str, list[str]], int]:
    """What each package needs, and how many dependencies nothing meets."""
    providers: dict[str, list[str]] = {}
    for name, fields in packages.items():
        for provided in filter(None, map(bare, fields.get("Provides", "").split(","))):
            providers.setdefault(provided, []).append(name)
    unmet = 0
    needs: dict[str, list[str]] = {}
    for name, fields in packages.items():
        needs[name] = []
        for relation in (fields.get("Pre-Depends", "") + "," + fields.get("Depends", "")).split(","):
            if not relation.strip():
                continue
            for alternative in map(bare, relation.split("|")):
                target = alternative if alternative in packages else providers.get(alternative, [None])[0]
                if target is not None:
                    break
            else:
                unmet += 1
                continue
            if target not in needs[name]:
                needs[name].append(target)
    return needs, unmet


def closure(start: str, edges: dict[str, list[str]]) -> set[str]:
    reached, fresh = {start}, {start}
    while fresh:
        fresh = {other for name in fresh for other in edges[name]} - reached
        reached |= fresh
    return reached


def longest_chain(needs: dict[str, list[str]], closures: dict[str, set[str]]) -> tuple[int, list[int]]:
    """Its length in circles, and the sizes of the circles of more than one package."""
    circle = {name: frozenset(o for o in closures[name] if name in closures[o]) for name in needs}
    inner: dict[frozenset, int] = {}
    # A circle's closure is larger than those of all that it needs.
    for name in sorted(needs, key=lambda n: len(closures[n])):
        if circle[name] in inner:
            continue
        below = {circle[o] for member in circle[name] for o in needs[member]} - {circle[name]}
        inner[circle[name]] = 1 + max((inner[other] for other in below), default=0)
    return max(inner.values()), [len(c) for c in inner if len(c) > 1]


def main() -> int:
    command, path, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        run = subprocess.run([command, "demo", "--json", "--input", path, "--dir", scratch + "/space",
                              *options], stdout=subprocess.PIPE, text=True, check=False)
    figures = json.loads(run.stdout)
    packages = read_packages(path)
    needs, unmet = read_edges(packages)
    needed: dict[str, list[str]] = collections.defaultdict(list)
    for name, others in needs.items():
        for other in others:
            needed[other].append(name)
    kib = {name: int(fields.get("Installed-Size", "0")) for name, fields in packages.items()}
    closures = {name: closure(name, needs) for name in packages}
    weight = {name: sum(kib[o] for o in closures[name]) for name in packages}
    heaviest = sorted(packages, key=lambda n: -weight[n])[:5]  # stable: equal ones in their order
    subject = figures["answers"]["broken"]["without"]
    broken = closure(subject, needed) - {subject}
    chain, circles = longest_chain(needs, closures)
    names = figures["answers"]["chain"]["names"]

    expected = {
        "exit code": (run.returncode, 0),
        "packages": (figures["space"]["packages"], len(packages)),
        "edges": (figures["space"]["edges"], sum(map(len, needs.values()))),
        "unmet": (figures["space"]["unmet"], unmet),
        "objects": (figures["space"]["objects"],
                    1 + len({f.get("Section", "unknown").split("/")[-1] for f in packages.values()})),
        "directly": (figures["answers"]["broken"]["directly"], len(needed[subject])),
        "broken": (figures["answers"]["broken"]["count"], len(broken)),
        "broken kib": (figures["answers"]["broken"]["kib"], sum(kib[n] for n in broken)),
        "chain": (figures["answers"]["chain"]["length"], chain),
        "chain named": (len(names), chain),
        "chain links": (all(b in closures[a] and a not in closures[b] for a, b in zip(names, names[1:])),
                        True),
        "cycles": (figures["answers"]["chain"]["cycles"], len(circles)),
        "largest cycle": (figures["answers"]["chain"]["largest_cycle"], max(circles, default=1)),
        "heaviest": ([(h["name"], h["count"], h["kib"]) for h in figures["answers"]["heaviest"]],
                     [(n, len(closures[n]), weight[n]) for n in heaviest]),
        "all closures": (figures["answers"]["all_closures"]["count"], sum(map(len, closures.values()))),
        "hops": (figures["answers"]["all_closures"]["hops"],
                 sum(len(needs[o]) for c in closures.values() for o in c)),
        "killed": (figures["load"]["signal"], 9),
        "nothing lost": (figures["load"]["found"] >= figures["load"]["acknowledged"] > 0, True),
        "checks": ([c["what"] for c in figures["checks"] if not c["held"]], []),
        "number of checks": (len(figures["checks"]), 13),
        "answers of three": (figures["nodes"]["answers_wrong"], 0),
        "counted once": (figures["nodes"]["counted"], figures["nodes"]["questions"]),
        "killed among them": (0 < figures["nodes"]["killed_at"] < figures["nodes"]["questions"], True),
    }
    wrong = {what: pair for what, pair in expected.items() if pair[0] != pair[1]}
    for what, (got, want) in wrong.items():
        print(f"{what}: the demo says {got}, it should be {want}")
    print(f"demo_check: {len(expected) - len(wrong)} of {len(expected)} figures agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
