"""What the readers of public data sets share: finding their files, reading tables, refusing with the mend."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class DataSetError(ValueError):
    """A folder is not laid out as the data set is; the message names what was looked for."""


def first(root: Path, *patterns: str, what: str) -> Path:
    """The first file or folder that matches, a level deeper too: archives unpack to a folder of their own."""
    for pattern in patterns:
        for found in (*sorted(root.glob(pattern)), *sorted(root.glob(f"*/{pattern}"))):
            return found
    raise DataSetError(f"{root} has no {' or '.join(patterns)} ({what}): name the unpacked data set's folder")


def table(path: Path, columns: Sequence[str], delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a table that has at least these columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, restval="")
            missing = set(columns) - set(reader.fieldnames or ())
            if missing:
                raise DataSetError(f"{path} lacks the column {sorted(missing)[0]}: is it another file?")
            return list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataSetError(f"{path} is no table: {error}") from None


def document(path: Path) -> dict[str, Any]:
    """A JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataSetError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataSetError(f"{path} holds no object of names and scores")
    return found


def score(value: Any, path: Path, name: str) -> float:
    """A finite number, or DataSetError naming where it stands."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataSetError(f"{path}, {name}: {value!r} is no score")
    return number


def missing(paths: Iterable[Path], root: Path) -> list[str]:
    """A sentence for each file that the labels name and the folder lacks."""
    return [f"{path.relative_to(root)} is missing" for path in paths if not path.is_file()]
