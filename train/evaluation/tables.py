"""A table as a value: aligned text, CSV with every digit, Markdown. It computes nothing."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from train.evaluation.significance import Interval

Cell = str | int | float | Interval | None

EMPTY = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column; numbers stand right."""

    name: str
    digits: int = 3  #: behind the point, in text and Markdown; CSV keeps all
    numeric: bool = True

    def text(self, cell: Cell) -> str:
        """How a cell reads: an interval as "value [low, high]", None and NaN as a dash."""
        if isinstance(cell, Interval):
            value = self.text(cell.value)
            if math.isnan(cell.low) or math.isnan(cell.high):
                return value
            return f"{value} [{self.text(cell.low)}, {self.text(cell.high)}]"
        if isinstance(cell, float):
            return EMPTY if math.isnan(cell) else f"{cell:.{self.digits}f}"
        return EMPTY if cell is None else str(cell)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells under columns, a title above, notes below. A row of other length raises ValueError."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} has {len(row)} cells; expected {len(self.columns)}")

    def __rich__(self) -> RichTable:
        table = RichTable(title=self.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for column in self.columns:
            table.add_column(column.name, justify="right" if column.numeric else "left", no_wrap=True)
        for cells in self._texts():
            table.add_row(*cells)
        return table

    def text(self) -> str:
        """Aligned columns however wide they are, notes below, a newline at the end."""
        out = io.StringIO()
        console = Console(file=out, width=1000, color_system=None, markup=False, highlight=False)
        console.print(self.__rich__())
        lines = [line.rstrip() for line in out.getvalue().splitlines()]
        return "\n".join([*lines, *self.notes]).strip("\n") + "\n"

    def markdown(self) -> str:
        """A pipe table with its title as a bold line and its notes as a list."""
        names = [_escaped(column.name) for column in self.columns]
        marks = ["---:" if column.numeric else "---" for column in self.columns]
        rows = [[_escaped(text) for text in cells] for cells in self._texts()]
        lines = [f"| {' | '.join(cells)} |" for cells in [names, marks, *rows]]
        notes = ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join([f"**{self.title}**", "", *lines, *notes]) + "\n"

    def csv(self) -> str:
        """One header line; a column with intervals becomes three: NAME, NAME low, NAME high.

        No title or notes. Numbers keep every digit; what does not exist is empty.
        """
        wide = [
            any(isinstance(row[number], Interval) for row in self.rows) for number in range(len(self.columns))
        ]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = (_three(c.name) if w else [c.name] for c, w in zip(self.columns, wide, strict=True))
        writer.writerow([name for part in names for name in part])
        for row in self.rows:
            writer.writerow([cell for value, w in zip(row, wide, strict=True) for cell in _plain(value, w)])
        return out.getvalue()

    def write(self, folder: Path, stem: str) -> list[Path]:
        """stem.txt, stem.csv and stem.md in a folder, which is made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for suffix, content in ((".txt", self.text()), (".csv", self.csv()), (".md", self.markdown())):
            written.append(folder / f"{stem}{suffix}")
            written[-1].write_text(content, encoding="utf-8")
        return written

    def _texts(self) -> list[list[str]]:
        return [[c.text(cell) for c, cell in zip(self.columns, row, strict=True)] for row in self.rows]


def _three(name: str) -> list[str]:
    return [name, f"{name} low", f"{name} high"]


def _plain(cell: Cell, wide: bool) -> list[str]:
    cells = [cell.value, cell.low, cell.high] if isinstance(cell, Interval) else [cell]
    texts = [
        ""
        if c is None or (isinstance(c, float) and math.isnan(c))
        else repr(c)
        if isinstance(c, float)
        else str(c)
        for c in cells
    ]
    return texts + [""] * (3 - len(texts)) if wide else texts


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
