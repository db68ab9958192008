"""Makes docs/reliability.md of the outcomes that `make test-faults` wrote down, and prints its table.

`python -m report RESULTS` in this folder. RESULTS: the file that QAGATE_FAULTS_RESULTS named.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
HEAD = """\
<!-- Written by make test-faults; do not edit. -->
# Reliability

What becomes of accepted images when something fails. Every row is a fault that the tests bring about, on the
gate's own processes or parts: `make test-faults` does it all, prints this table and writes this page. Tests
that need root (mounts, network namespaces), PostgreSQL or Orthanc skip with a reason where they cannot run.

- **cases**: how often the fault was brought about; **accepted**: instances answered 0x0000 meanwhile.
- **lost**: accepted instances that are not in spool, database and archive, or not decided, when it is over.
- **twice**: decisions, reports and alerts beyond one a revision.

```sh
make test-faults                                             # everything
.venv/bin/python -m pytest -m faults tests/faults -k archive # some of it
```
"""
FOOT = """
## What this does not show

- A graphics card that fails: no test has one. The model raises what PyTorch raises when a card is short of
  memory or lost; the rest of the way is the real one.
- A machine's clock that is set: the tests give the gate's parts a clock that jumps.
- A power cut: what was not flushed to the disk is dropped by the tests' own layer, not by a disk.
"""


@dataclass(slots=True)
class Row:
    """One fault in one place, summed over databases and repetitions."""

    databases: set[str] = field(default_factory=set)
    cases: int = 0
    accepted: int = 0
    lost: int = 0
    duplicated: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


def summed(lines: Iterable[str]) -> dict[tuple[str, str], Row]:
    """(fault, where) -> its sums, in the order of the names."""
    rows: dict[tuple[str, str], Row] = {}
    for line in lines:
        one = json.loads(line)
        row = rows.setdefault((one["fault"], one["where"]), Row())
        row.databases.add(one["database"])
        row.cases += 1
        row.accepted += one["accepted"]
        row.lost += one["lost"]
        row.duplicated += one["duplicated"]
        row.outcomes[one["outcome"]] += 1
    return dict(sorted(rows.items()))


def table(rows: dict[tuple[str, str], Row]) -> str:
    """The rows as Markdown."""
    names = {"sqlite": "SQLite", "postgres": "Postgres"}
    lines = [
        "| fault | where | database | cases | accepted | lost | twice | what one sees |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    for (fault, where), row in rows.items():
        databases = ", ".join(names[name] for name in sorted(row.databases, reverse=True))
        seen = "; or ".join(row.outcomes)
        numbers = f"{row.cases} | {row.accepted} | {row.lost} | {row.duplicated}"
        lines.append(f"| {fault} | {where} | {databases} | {numbers} | {seen} |")
    return "\n".join(lines)


def page(rows: dict[tuple[str, str], Row]) -> str:
    """The whole page."""
    lost, twice = (sum(getattr(row, name) for row in rows.values()) for name in ("lost", "duplicated"))
    cases, accepted = (sum(getattr(row, name) for row in rows.values()) for name in ("cases", "accepted"))
    total = f"**{cases} cases, {accepted} accepted instances: {lost} lost, {twice} twice.**"
    return f"{HEAD}\n{total}\n\n{table(rows)}\n{FOOT}"


def main(results: str) -> int:
    """Write the page, print the table; 1 when something was lost or came twice."""
    rows = summed(Path(results).read_text(encoding="utf-8").splitlines())
    PAGE.write_text(page(rows), encoding="utf-8")
    print(table(rows))
    return int(any(row.lost or row.duplicated for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
