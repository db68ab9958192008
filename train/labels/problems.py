"""What is wrong with a label file, place by place, each with its mend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SHOWN = 20  #: problems in one message


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong at one place of a file, and the mend."""

    row: int | None  #: line of a CSV file, number of a JSON label; None: the file as a whole
    column: str | None
    said: str
    mend: str

    def __str__(self) -> str:
        place = [
            *([f"row {self.row}"] if self.row else []),
            *([f"column {self.column}"] if self.column else []),
        ]
        return f"{', '.join(place)}: {self.said}; {self.mend}" if place else f"{self.said}; {self.mend}"


class LabelFileError(ValueError):
    """A label file cannot be used; the message names file, rows, columns and mends."""

    def __init__(self, file: Path, problems: Sequence[Problem | str]) -> None:
        self.file, self.problems = file, tuple(problems)
        more = len(problems) - _SHOWN
        lines = [f"{file}, {problem}" for problem in problems[:_SHOWN]]
        super().__init__("\n".join([*lines, *([f"{file}: and {more} more problems"] if more > 0 else [])]))
