"""Searches what a test run printed for every patient of every data set that the tests use.

    QAGATE_TEST_LOGS=FOLDER python -m pytest ...; python tests/privacy.py FOLDER

Patients are those of pydicom's files, of ../shared/dicom, and whoever a test writes into a PatientName,
PatientID or PatientBirthDate. A name is looked for in its parts as well. Exit code 1 when one is found.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
SHARED = TESTS.parents[1] / "shared" / "dicom"
KEYWORDS = (
    "PatientName", "OtherPatientNames", "PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber",
)  # fmt: skip
_SHORTEST = 4  #: characters; what is shorter is found in any text
_NOBODY = frozenset({"anonymized"})  #: stands where a name was, and in the same files for the station


@dataclass(frozen=True, slots=True)
class Searched:
    """What was searched, and what was found in it."""

    files: int
    size: int  #: bytes
    patterns: int
    found: tuple[str, ...]  #: file, line and a patient's value


def written() -> Iterator[str]:
    """What the tests' own code gives a patient."""
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for keyword, value in _given(node):
                if keyword in KEYWORDS and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value


def _given(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.keyword) and node.arg:
        yield node.arg, node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant):
                yield str(key.value), value
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            targets = target.elts if isinstance(target, ast.Tuple) else [target]
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value] * len(targets)
            for one, value in zip(targets, values, strict=False):
                if isinstance(one, ast.Attribute):
                    yield one.attr, value


def in_files(paths: Iterable[Path]) -> Iterator[str]:
    """What the headers of DICOM files say of their patients."""
    from pydicom import dcmread
    from pydicom.config import settings

    settings.reading_validation_mode = 0
    for path in paths:
        try:
            found = dcmread(path, stop_before_pixels=True, specific_tags=list(KEYWORDS), force=True)
            for keyword in KEYWORDS:
                value = found.get(keyword, "")
                yield from map(str, value if isinstance(value, (list, tuple)) else [value or ""])
        except Exception:  # no file with a patient
            continue


def data_sets() -> Iterator[Path]:
    """pydicom's own files and the shared series."""
    from pydicom.data import get_testdata_files

    yield from map(Path, get_testdata_files())
    yield from SHARED.rglob("*.dcm")


def own_words() -> frozenset[str]:
    """Words of qagate's own code and pages: `First` and `Head` are parts of patients' names in test files."""
    texts = [*(ROOT / "qagate").rglob("*.py"), *(ROOT / "qagate/web/templates").glob("*.html")]
    return frozenset(
        word for path in texts for word in re.findall(r"\w+", path.read_text(encoding="utf-8").lower())
    )


def patterns(values: Iterable[str], known: frozenset[str] = frozenset()) -> frozenset[str]:
    """What to look for: each value, a name's parts, a date as people write it; in lower case.

    known: words that prove nothing; what is shorter than four characters is left out as well.
    """
    wanted: set[str] = set()
    for value in values:
        wanted.update([value, *re.split(r"[\^=,\s]+", value)])
        if re.fullmatch(r"[12]\d{7}", value):
            wanted.add(f"{value[:4]}-{value[4:6]}-{value[6:]}")
    cleaned = {one.strip().lower() for one in wanted}
    return frozenset(
        one for one in cleaned - known - _NOBODY if len(one) >= _SHORTEST and any(map(str.isalnum, one))
    )


def search(folder: Path, wanted: frozenset[str]) -> Searched:
    """Look through every file of a folder; a value counts where it stands as a word of its own."""
    found, size, files = [], 0, 0
    # A number stands for itself alone: not within a UID, a time or a port.
    alone = {one: re.compile(rf"(?<![\w.:-]){re.escape(one)}(?![\w.:-])" if one.isdigit()
                             else rf"(?<!\w){re.escape(one)}(?!\w)") for one in wanted}  # fmt: skip
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        files, text = files + 1, path.read_bytes()
        size += len(text)
        lower = text.decode("utf-8", "replace").lower()
        for one in sorted(wanted):
            for hit in alone[one].finditer(lower) if one in lower else ():
                line = lower.count("\n", 0, hit.start()) + 1
                around = lower[max(0, hit.start() - 60) : hit.end() + 60]
                found.append(f"{path.name}:{line}: {one}: {around!r}")
    return Searched(files=files, size=size, patterns=len(wanted), found=tuple(found))


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    if len(arguments) != 1:
        sys.exit(__doc__)
    values = [*written(), *in_files(data_sets())]
    wanted = patterns(values, own_words())
    left_out = ", ".join(sorted(patterns(values) - wanted))
    done = search(Path(arguments[0]), wanted)
    if not done.files:
        sys.exit(f"privacy: {arguments[0]} is empty: was QAGATE_TEST_LOGS set for the tests?")
    print("\n".join(done.found[:50]) + "\n" if done.found else "", end="")
    what = f"{len(done.found)} places" if done.found else "nothing"
    print(f"privacy: {done.patterns} names, ids and dates in {done.files} files, {done.size} bytes: {what}")
    print(f"privacy: left out as words of qagate's own: {left_out}")
    sys.exit(bool(done.found))


if __name__ == "__main__":
    main(sys.argv[1:])
