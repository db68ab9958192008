from __future__ import annotations

import csv
from pathlib import Path

import pytest
from rich.table import Table as RichTable

from train.evaluation.significance import Interval
from train.evaluation.tables import Column, Table

NAN = float("nan")


def _table() -> Table:
    return Table(
        title="Agreement",
        columns=(Column(name="model", numeric=False), Column(name="PLCC"), Column(name="N", digits=0)),
        rows=(
            ("a|b", Interval(value=0.93204, low=0.9, high=0.95), 112),
            ("much longer", Interval(value=0.5, low=NAN, high=NAN), None),
            ("c", NAN, 7),
        ),
        notes=("A note.",),
    )


def test_text_is_aligned_and_rounded() -> None:
    lines = _table().text().splitlines()
    assert lines[0].strip() == "Agreement" and lines[-1] == "A note."
    rows = [line for line in lines if "a|b" in line or "much longer" in line]
    assert "0.932 [0.900, 0.950]" in rows[0]
    first = rows[0].index("0.950]") + len("0.950]")
    assert rows[1][:first].endswith("0.500") and rows[1].endswith("–")  # right-aligned, no interval, no value
    assert isinstance(_table().__rich__(), RichTable)


def test_wide_tables_are_not_cut() -> None:
    table = Table(title="t", columns=tuple(Column(name=f"no {n}") for n in range(40)), rows=((0.5,) * 40,))
    assert table.text().count("0.500") == 40


def test_markdown_has_marks_escapes_and_notes() -> None:
    lines = _table().markdown().splitlines()
    assert lines[0] == "**Agreement**"
    assert lines[2:5] == [
        "| model | PLCC | N |",
        "| --- | ---: | ---: |",
        "| a\\|b | 0.932 [0.900, 0.950] | 112 |",
    ]
    assert lines[-1] == "- A note."


def test_csv_keeps_every_digit_and_spreads_intervals() -> None:
    rows = list(csv.DictReader(_table().csv().splitlines()))
    assert rows[0] == {"model": "a|b", "PLCC": "0.93204", "PLCC low": "0.9", "PLCC high": "0.95", "N": "112"}
    assert rows[1]["PLCC"] == "0.5" and rows[1]["PLCC low"] == "" and rows[1]["N"] == ""
    assert rows[2]["PLCC"] == ""


def test_three_files_are_written(tmp_path: Path) -> None:
    written = _table().write(tmp_path / "new", "table")
    assert [path.name for path in written] == ["table.txt", "table.csv", "table.md"]
    assert written[0].read_text(encoding="utf-8") == _table().text()


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1 has 1 cells; expected 2"):
        Table(title="t", columns=(Column(name="a"), Column(name="b")), rows=((1, 2), (1,)))
