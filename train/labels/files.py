"""Label files: CSV as spreadsheets write it, and JSON. `read` and `write` are each other's inverse."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qagate.label import Label, Scale, check_rater
from train.labels.problems import LabelFileError, Problem
from train.labels.schema import (
    COLUMNS,
    Defaults,
    Row,
    check_columns,
    check_repeats,
    parse_row,
    parse_scale,
    written_scale,
)

SUFFIXES = (".csv", ".json")
_DELIMITERS = (",", ";", "\t")
_TEXTS = ("rater", "reason")  #: cells that people fill with words
_FORMULA = re.compile(r"'*[=+\-@\t\r]")  #: what a spreadsheet would calculate
_HEAD = re.compile(r"#\s*(scale|rater)\s*:\s*(.*)", re.IGNORECASE)
_Cells = tuple[int, Mapping[str, Any]]  # row number, column -> cell


def read(path: Path, *, scale: Scale | None = None, rater: str | None = None) -> list[Row]:
    """Every row of a CSV or JSON file; `scale` and `rater` hold where the file does not say.

    Raises LabelFileError naming everything that is wrong, OSError when the file cannot be read.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise _refuse(path, "its name ends neither in .csv nor in .json", "save it as one of the two")
    if rater is not None:
        check_rater(rater)
    cut = _cut_json if path.suffix.lower() == ".json" else _cut_csv
    told, defaults, problems, cells = cut(path, path.read_bytes())
    defaults = replace(
        defaults,
        scale=_one(path, "scale", told.get("scale"), scale),
        rater=_one(path, "rater", told.get("rater"), rater),
    )
    rows: list[Row] = []
    for row, of in cells:
        parsed = parse_row(of, row, defaults)
        if isinstance(parsed, Row):
            rows.append(parsed)
        else:
            problems += parsed
    problems += check_repeats(rows)
    if problems:
        problems.sort(key=lambda problem: problem.row or 0)
        raise LabelFileError(path, problems)
    if not rows:
        raise _refuse(path, "holds no label", "add rows below the names of the columns")
    return rows


def write(path: Path, labels: Iterable[Label]) -> int:
    """Write labels as the suffix says, whole or not at all; return how many. Raises OSError, ValueError."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} ends neither in .csv nor in .json: name it so")
    rows = [_cells(label) for label in labels]
    text = _as_json(rows) if path.suffix.lower() == ".json" else _as_csv(rows)
    # Spreadsheets take UTF-8 for a local encoding unless a byte order mark says otherwise.
    encoding = "utf-8" if path.suffix.lower() == ".json" else "utf-8-sig"
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode(encoding))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return len(rows)


# -- CSV ---------------------------------------------------------------------------------------


def _cut_csv(path: Path, data: bytes) -> tuple[dict[str, Any], Defaults, list[Problem], list[_Cells]]:
    lines = _decoded(path, data).splitlines(keepends=True)
    told: dict[str, Any] = {}
    skipped = 0
    for line in lines:
        # A spreadsheet that saved the file again fills lines up with delimiters and quotes them.
        text = line.strip().strip(",;\t\"' ")
        if text and not text.startswith("#"):
            break
        if found := _HEAD.fullmatch(text):
            told[found[1].lower()] = found[2].strip()
        skipped += 1
    if skipped == len(lines):
        raise _refuse(path, "is empty", f"it needs a line with names of columns: {', '.join(COLUMNS)}")
    delimiter = max(_DELIMITERS, key=lambda one: _known(lines[skipped], one))
    defaults = Defaults(decimal_comma=delimiter != ",")
    reader = csv.reader(io.StringIO("".join(lines[skipped:]), newline=""), delimiter=delimiter, strict=True)
    try:
        head, *records = list(_numbered(reader, skipped))
    except csv.Error as error:
        place = skipped + reader.line_num
        raise _refuse(path, str(error), "mend the quotation marks there", row=place) from None
    row, names = head
    names = [_column(name) for name in names]
    while names and not names[-1]:
        names.pop()
    problems = check_columns(names, row) or _required(names, row)
    cells: list[_Cells] = []
    for row, values in records if not problems else ():
        if any(value.strip() for value in values[len(names) :]) or len(values) < len(names):
            said = f"{len(values)} cells under {len(names)} columns"
            mend = f"a cell that holds {delimiter!r} or a line break must stand in quotation marks"
            problems.append(Problem(row=row, column=None, said=said, mend=mend))
        else:
            cells.append((row, dict(zip(names, map(_unguarded, names, values), strict=False))))
    return told, defaults, problems, cells


def _decoded(path: Path, data: bytes) -> str:
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    # Spreadsheets of Western Europe and America write cp1252.
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            place = data.count(b"\n", 0, error.start) + 1
            continue
        if "\x00" not in text:
            return text
        place = text.count("\n", 0, text.index("\x00")) + 1
    raise _refuse(path, "is no text", "save it as CSV UTF-8", row=place)


def _known(line: str, delimiter: str) -> int:
    """How many known columns a line names when cut so."""
    return sum(_column(name) in COLUMNS for name in line.strip().split(delimiter))


def _column(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().strip('"').strip().lower())


def _numbered(reader: Any, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """Records that are not empty, each with the line it begins on."""
    start = skipped + 1
    for values in reader:
        if any(value.strip() for value in values):
            yield start, values
        start = skipped + reader.line_num + 1


def _required(names: Sequence[str], row: int) -> list[Problem]:
    missing = []
    if "series_instance_uid" not in names and "path" not in names:
        missing.append("series_instance_uid or path")
    if "score" not in names and "kind" not in names:
        missing.append("score")
    mend = f"add it to the names of the columns. Known columns: {', '.join(COLUMNS)}"
    return [Problem(row=row, column=one, said="missing", mend=mend) for one in missing]


def _as_csv(rows: Iterable[dict[str, Any]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(COLUMNS)
    for row in rows:
        texts = row | {"artefacts": "|".join(row.get("artefacts", ()))}
        writer.writerow(_guarded(name, str(texts.get(name, ""))) for name in COLUMNS)
    return out.getvalue()


def _guarded(column: str, text: str) -> str:
    """Words that a spreadsheet would calculate get an apostrophe before them."""
    return f"'{text}" if column in _TEXTS and _FORMULA.match(text) else text


def _unguarded(column: str, text: str) -> str:
    return text[1:] if column in _TEXTS and text.startswith("'") and _FORMULA.match(text) else text


# -- JSON --------------------------------------------------------------------------------------


def _cut_json(path: Path, data: bytes) -> tuple[dict[str, Any], Defaults, list[Problem], list[_Cells]]:
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise _refuse(path, "is not UTF-8", "save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        row = getattr(error, "lineno", None)
        raise _refuse(path, f"is no JSON: {error}", "mend it there", row=row) from None
    told: dict[str, Any] = {}
    if isinstance(found, dict):
        told = {key: value for key, value in found.items() if key != "labels"}
        found = found.get("labels")
        if strange := sorted(told.keys() - {"scale", "rater"}):
            raise _refuse(path, f"no such key: {strange[0]}", "known keys: scale, rater, labels")
    if not isinstance(found, list):
        raise _refuse(path, "is no list of labels", 'write [{...}, ...] or {"scale": "0-4", "labels": [...]}')
    problems: list[Problem] = []
    cells: list[_Cells] = []
    for row, one in enumerate(found, start=1):
        if isinstance(one, dict):
            problems += check_columns(one, row)
            cells.append((row, one))
        else:
            said, mend = "is no object", 'write {"series_instance_uid": "...", "score": 3}'
            problems.append(Problem(row=row, column=None, said=said, mend=mend))
    return told, Defaults(), problems, cells


def _as_json(rows: Iterable[dict[str, Any]]) -> str:
    lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return f'{{"labels": [\n  {lines}\n]}}\n' if lines else '{"labels": []}\n'


# -- both --------------------------------------------------------------------------------------


def _cells(label: Label) -> dict[str, Any]:
    """A label's cells that are not empty, in the order of the columns."""
    given: dict[str, Any] = {
        "series_instance_uid": label.series_instance_uid,
        "sop_instance_uid": label.sop_instance_uid,
        "revision": label.revision,
        "rater": label.rater,
        "kind": label.kind.value,
        "score": label.score,
        "scale": label.scale and written_scale(label.scale),
        "artefacts": [artefact.value for artefact in label.artefacts],
        "reason": label.reason,
        "time": label.created_at and label.created_at.isoformat(),
    }
    return {name: given[name] for name in COLUMNS if given.get(name) not in (None, "", [])}


def _one(path: Path, key: str, told: Any, option: Any) -> Any:
    """What the file says of itself, else the option; both must not differ."""
    if told is None:
        return option
    try:
        if not isinstance(told, str):
            raise ValueError(f"{told!r} is no text")
        value: Any = parse_scale(told) if key == "scale" else told
        if key == "rater":
            check_rater(told)
    except ValueError as error:
        raise _refuse(path, str(error), f"correct the {key} at the head of the file") from None
    if option is not None and option != value:
        said = f"the file's {key} is {value}, the option's {option}"
        raise _refuse(path, said, "correct the one that is wrong, or leave the option out")
    return value


def _refuse(path: Path, said: str, mend: str, *, row: int | None = None) -> LabelFileError:
    return LabelFileError(path, [Problem(row=row, column=None, said=said, mend=mend)])
