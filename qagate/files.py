"""DICOM files on disk, found and grouped into series, for the commands that need no daemon."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from qagate.dicom.headers import HeaderError, read_header
from qagate.series import SeriesHeader

_NO_IMAGES = frozenset({"DICOMDIR"})
_SUFFIXES = frozenset({"", ".dcm", ".dicom", ".ima", ".img"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFiles:
    """The files of one series."""

    series_instance_uid: str
    header: SeriesHeader
    paths: tuple[Path, ...]

    @property
    def place(self) -> Path:
        """The file itself, or the folder that holds all of them."""
        if len(self.paths) == 1:
            return self.paths[0]
        parents = {path.parent for path in self.paths}
        return Path(os.path.commonpath(parents))


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files named, and those inside the folders named that may be DICOM, in a stable order."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for inner in sorted(path.rglob("*")):
            hidden = inner.name.startswith(".") or inner.name in _NO_IMAGES
            if inner.is_file() and not hidden and _may_be_dicom(inner):
                yield inner


def _may_be_dicom(path: Path) -> bool:
    """Names say little: trust the magic word, and keep nameless suspects so that they are reported."""
    if path.suffix.lower() in _SUFFIXES - {""}:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return True


def group(paths: Iterable[Path]) -> tuple[list[SeriesFiles], list[str]]:
    """Group files by SeriesInstanceUID; also return one sentence for each that cannot be read."""
    found: dict[str, tuple[SeriesHeader, list[Path]]] = {}
    problems: list[str] = []
    for path in find(paths):
        try:
            header = read_header(path)
        except (HeaderError, OSError) as error:
            problems.append(f"{path}: {error}")
            continue
        found.setdefault(header.series_instance_uid, (header.series, []))[1].append(path)
    series = [
        SeriesFiles(series_instance_uid=uid, header=header, paths=tuple(files))
        for uid, (header, files) in found.items()
    ]
    return series, problems
