"""docs/reliability.md says of every fault what becomes of it, and of none that something is lost."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from pathlib import Path

from report import PAGE, page, summed

FOLDER = Path(__file__).parent
ROW = re.compile(
    r"^\| (?P<fault>.+?) \| .+? \| .+? \| \d+ \| \d+ \| (?P<lost>\d+) \| (?P<twice>\d+) \| .+ \|$",
    re.MULTILINE,
)


def constants(nodes: Sequence[ast.expr]) -> set[str]:
    return {str(node.value) for node in nodes if isinstance(node, ast.Constant)}


def faults_in_the_code() -> set[str]:
    """What the tests call their faults: of `record(fault=...)`, `books.close(...)` and the tables."""
    found: set[str] = set()
    for path in FOLDER.glob("test_*_faults.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "fault":
                found |= constants([node.value])
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "close":
                found |= constants(node.args[:1])
            elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "FAULTS":
                values = getattr(node.value, "values", [])
                found |= constants([value.elts[0] for value in values])
    return found


def test_every_fault_is_in_the_page() -> None:
    named = {row["fault"] for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}
    faults = faults_in_the_code()
    assert len(faults) >= 30
    assert faults <= named, f"run `make test-faults`: {sorted(faults - named)} are not in docs/{PAGE.name}"


def test_nothing_is_lost_and_nothing_comes_twice() -> None:
    rows = list(ROW.finditer(PAGE.read_text(encoding="utf-8")))
    assert rows and {(row["lost"], row["twice"]) for row in rows} == {("0", "0")}


def test_a_loss_would_be_seen() -> None:
    one = {
        "fault": "f",
        "where": "w",
        "database": "sqlite",
        "accepted": 2,
        "lost": 1,
        "duplicated": 0,
        "outcome": "o",
    }
    other = one | {"database": "postgres", "lost": 0}
    text = page(summed([json.dumps(one), json.dumps(other)]))
    (row,) = ROW.finditer(text)
    assert (row["lost"], row["twice"]) == ("1", "0") and "SQLite, Postgres" in text
    assert "**2 cases, 4 accepted instances: 1 lost, 0 twice.**" in text
