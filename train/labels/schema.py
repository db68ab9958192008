"""The columns of a label file, what each cell may hold, and the sentence for each that does not.

How rows are cut out of CSV and JSON stands in `files`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from qagate.assessment import Artefact
from qagate.dicom.headers import is_uid
from qagate.label import MAX_REASON, Label, LabelKind, Scale, check_rater, number, storable
from train.labels.problems import Problem

COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "series_instance_uid": "the series; or give `path`",
        "path": "a DICOM file or the folder of one series, from the label file's own folder",
        "sop_instance_uid": "one image of the series; empty: the whole series",
        "revision": "of the series, as `qagate status` shows it; empty: the present one",
        "rater": "a user name; never a patient's",
        "kind": "rating, agree, disagree, repeating or cannot_repeat; empty: rating",
        "score": "a number on the scale; empty for other kinds than rating",
        "scale": "worst to best, such as 0-4; 3-1 where small is good; empty: the file's",
        "artefacts": "what the rater saw, of the artefacts below; bars between several",
        "reason": f"free words, at most {MAX_REASON} characters; no patient data",
        "time": "2026-03-01T08:30+01:00; without a zone: this machine's; empty: the time of import",
    }
)

_NUMBER = r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?"
_SCALE = re.compile(rf"\s*({_NUMBER})\s*(?:-|–|\.\.|to)\s*({_NUMBER})\s*")
_ALLOWED_FUTURE = timedelta(hours=1)  #: clocks differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One label of a file. A label that came with a path alone has no Series Instance UID yet."""

    number: int  #: line of a CSV file, number of a JSON label
    path: str = ""  #: with forward slashes; "" when the series is named by its UID
    label: Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds for rows that do not say it themselves."""

    scale: Scale | None = None
    rater: str | None = None
    decimal_comma: bool = False  #: "3,5" is a number: the file parts its cells with semicolons or tabs


class _Bad(Exception):
    """A cell that cannot be used: what is wrong and the mend."""


def parse_scale(text: str) -> Scale:
    """Read WORST-BEST, such as 0-4, 1..5 or 3 to 1. Raises ValueError."""
    found = _SCALE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no scale: write WORST-BEST, such as 0-4 or `1 to 5`")
    return Scale(*(float(end.replace(",", ".")) for end in found.groups()))


def written_scale(scale: Scale) -> str:
    """A scale as files hold it: spreadsheets take 1-5 for a date."""
    return f"{number(scale.low)} to {number(scale.high)}"


def check_columns(names: Iterable[str], row: int | None) -> list[Problem]:
    """One problem for each unknown or repeated column, and for each that is missing."""
    names = list(names)
    problems = []
    for name in dict.fromkeys(names):
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, 1)
            mend = f"did you mean {near[0]}? " if near else ""
            mend += f"Known columns: {', '.join(COLUMNS)}"
            problems.append(Problem(row=row, column=name or "(no name)", said="no such column", mend=mend))
        elif names.count(name) > 1:
            problems.append(Problem(row=row, column=name, said="stands twice", mend="delete one of the two"))
    return problems


def parse_row(cells: Mapping[str, Any], row: int, defaults: Defaults) -> Row | list[Problem]:
    """The label of one row, or everything that is wrong with it. Cells are texts, or values of JSON."""
    problems: list[Problem] = []

    def take(column: str, parse: Callable[[Any], Any]) -> Any:
        value = cells.get(column)
        try:
            return parse(value.strip() if isinstance(value, str) and column != "reason" else value)
        except _Bad as bad:
            said, mend = bad.args
            problems.append(Problem(row=row, column=column, said=said, mend=mend))
            return None

    uid, path = take("series_instance_uid", _uid), take("path", _path)
    if not (uid or path or problems):
        said, mend = "neither series_instance_uid nor path", "give one of the two"
        problems.append(Problem(row=row, column=None, said=said, mend=mend))
    kind = take("kind", _kind)
    scale = take("scale", _scale) or defaults.scale
    values = {
        "sop_instance_uid": take("sop_instance_uid", _uid) or None,
        "revision": take("revision", _revision),
        "rater": take("rater", lambda value: _rater(value, defaults.rater)),
        "artefacts": take("artefacts", _artefacts),
        "reason": take("reason", _reason),
        "created_at": take("time", _time),
        "score": take("score", lambda value: _score(value, kind, scale, defaults)),
    }
    if problems:
        return problems
    scored = values["score"] is not None
    label = Label(series_instance_uid=uid, kind=kind, scale=scale if scored else None, **values)
    return Row(number=row, path=path, label=label)


def check_repeats(rows: Sequence[Row]) -> list[Problem]:
    """One problem for each row whose rater answers the same question of the same object otherwise.

    Without times of their own nothing tells which of the two was meant.
    """
    first: dict[tuple[object, ...], Row] = {}
    problems = []
    for row in rows:
        one = row.label
        object_ = (one.series_instance_uid or row.path, one.sop_instance_uid, one.revision)
        key = (*object_, one.rater, one.kind.question, one.created_at)
        former = first.setdefault(key, row)
        if former.label != one:
            said = f"{one.rater} said otherwise of the same {'image' if one.sop_instance_uid else 'series'}"
            mend = "give each row its time (the later one counts), or delete one"
            problems.append(
                Problem(row=row.number, column=None, said=f"{said} in row {former.number}", mend=mend)
            )
    return problems


def _empty(value: Any) -> bool:
    return value is None or value == ""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Bad(f"{value!r} is no text", "write it in quotation marks")
    return value


def _uid(value: Any) -> str:
    if _empty(value):
        return ""
    if not is_uid(_text(value)):
        raise _Bad(f"{value[:80]!r} is no UID", "a UID is digits and dots, at most 64 characters")
    return str(value)


def _path(value: Any) -> str:
    if _empty(value):
        return ""
    if not storable(_text(value)):
        raise _Bad(f"{value!r} is no path", "correct it")
    return str(value).replace("\\", "/")


def _kind(value: Any) -> LabelKind:
    if _empty(value):
        return LabelKind.RATING
    try:
        return LabelKind(_plain(_text(value), "_"))
    except ValueError:
        kinds = ", ".join(kind.value for kind in LabelKind)
        raise _Bad(f"no kind is called {value!r}", f"write one of {kinds}") from None


def _scale(value: Any) -> Scale | None:
    if _empty(value):
        return None
    try:
        return parse_scale(_text(value))
    except ValueError as error:
        raise _Bad(str(error), "or leave the cell empty for the file's scale") from None


def _score(value: Any, kind: LabelKind | None, scale: Scale | None, defaults: Defaults) -> float | None:
    if kind is not None and kind is not LabelKind.RATING:
        if not _empty(value):
            raise _Bad(f"a score with kind {kind.value}", "ratings have scores; empty one of the two cells")
        return None
    if _empty(value):
        raise _Bad("empty", "write the score, or in column kind what was clicked")
    score = _number(value, decimal_comma=defaults.decimal_comma)
    if scale is None:
        raise _Bad("no scale", "give one: --scale 0-4, a first line `# scale: 0-4`, or a column scale")
    if score not in scale:
        raise _Bad(f"{number(score)} is outside the scale {scale}", "correct the score or the scale")
    return score


def _number(value: Any, *, decimal_comma: bool = False) -> float:
    if isinstance(value, str):
        text = value.replace(",", ".") if decimal_comma else value
        if re.fullmatch(_NUMBER, text) and "," not in text:
            value = float(text)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise _Bad(f"{value!r:.40} is no number", "write it like 3 or 3.5")


def _revision(value: Any) -> int | None:
    if _empty(value):
        return None
    revision = _number(value)
    if not revision.is_integer() or not 1 <= revision < 2**31:
        raise _Bad(f"{value!r} is no revision", "write 1, 2, ... or leave it empty for the present one")
    return int(revision)


def _rater(value: Any, default: str | None) -> str:
    if _empty(value):
        if default is None:
            raise _Bad(
                "nobody is named", "name the rater in the column, in a first line `# rater:` or by --rater"
            )
        return default
    try:
        check_rater(_text(value))
    except ValueError as error:
        raise _Bad(str(error), "write the name the rater logs in with") from None
    return str(value)


def _artefacts(value: Any) -> tuple[Artefact, ...]:
    if _empty(value):
        return ()
    words = re.split(r"[|;,]", value) if isinstance(value, str) else value
    if not isinstance(words, list):
        raise _Bad(f"{value!r} is no list", 'write ["noise", "blur"]')
    found = []
    for word in words:
        plain = _plain(_text(word), " ")
        if plain and plain not in _ARTEFACTS:
            near = difflib.get_close_matches(plain, _ARTEFACTS, 1)
            mend = f"did you mean {_ARTEFACTS[near[0]].value}? " if near else ""
            known = ", ".join(artefact.value for artefact in Artefact)
            raise _Bad(f"no artefact is called {word!r}", f"{mend}Known: {known}")
        if plain:
            found.append(_ARTEFACTS[plain])
    return tuple(dict.fromkeys(found))


def _plain(word: str, space: str) -> str:
    """A word without the differences people make: case, hyphens, underscores, spaces."""
    return re.sub(r"[\s_-]+", space, word.strip().lower())


_ARTEFACTS = {_plain(one.value, " "): one for one in Artefact}


def _reason(value: Any) -> str:
    if _empty(value):
        return ""
    if len(_text(value)) > MAX_REASON:
        raise _Bad(f"{len(value)} characters", f"shorten it to {MAX_REASON}")
    if not storable(value):
        raise _Bad("a character that no database keeps", "delete it and write the words again")
    return str(value)


def _time(value: Any) -> datetime | None:
    if _empty(value):
        return None
    try:
        time = datetime.fromisoformat(_text(value))
        time = (time if time.tzinfo else time.astimezone()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Bad(f"{value!r} is no time", "write it like 2026-03-01T08:30 or 2026-03-01") from None
    if time > datetime.now(UTC) + _ALLOWED_FUTURE:
        raise _Bad(f"{value} lies in the future", "correct it: a later label stands in for all before it")
    return time
