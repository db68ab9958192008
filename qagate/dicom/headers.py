"""Reads the few elements that reception needs; never pixels, and no value converted by its VR."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydicom.charset import python_encoding
from pydicom.uid import ExplicitVRBigEndian

from qagate.dicom.elements import ElementError, read_elements
from qagate.dicom.part10 import Part10Error, read_file_meta
from qagate.series import SeriesHeader

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_CHARACTER_SET = 0x00080005
_UIDS = {
    "sop_class_uid": (0x00080016, "SOPClassUID"),
    "sop_instance_uid": (0x00080018, "SOPInstanceUID"),
    "study_instance_uid": (0x0020000D, "StudyInstanceUID"),
    "series_instance_uid": (0x0020000E, "SeriesInstanceUID"),
}
_TEXTS = {
    "modality": 0x00080060,
    "body_part_examined": 0x00180015,
    "protocol_name": 0x00181030,
    "series_description": 0x0008103E,
    "station_name": 0x00081010,
    "manufacturer_model_name": 0x00081090,
}
_SERIES_NUMBER = 0x00200011
_TEMPORAL_POSITIONS, _IMAGES_IN_ACQUISITION = 0x00200105, 0x00201002
_NUMBER_OF_FRAMES, _NUMBER_OF_SLICES = 0x00280008, 0x00540081
_WANTED = frozenset(
    {_CHARACTER_SET, _SERIES_NUMBER, _TEMPORAL_POSITIONS, _IMAGES_IN_ACQUISITION, _NUMBER_OF_FRAMES}
    | {_NUMBER_OF_SLICES, *_TEXTS.values(), *(tag for tag, _ in _UIDS.values())}
)
_MAX_EXPECTED = 100_000  #: a larger count is a wrong tag, not a series


class HeaderError(ValueError):
    """The data set cannot be understood: it lacks a UID or is no data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHeader:
    """The identity of one instance and what it says of its series. The UIDs are safe as file names."""

    sop_class_uid: str  #: (0008,0016)
    sop_instance_uid: str  #: (0008,0018)
    study_instance_uid: str  #: (0020,000D)
    series_instance_uid: str  #: (0020,000E)
    series: SeriesHeader


def is_uid(value: str) -> bool:
    """Tell whether a value has the characters, shape and length (1-64) of a UID (PS3.5 section 9.1).

    Leading zeros of a component, forbidden there, are let pass: devices send them.
    """
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def read_header(path: Path) -> InstanceHeader:
    """Read identity and series attributes of a Part 10 file; what is wrong in the latter becomes empty.

    Raises
    ------
    HeaderError
        When a UID is missing or is none, or the file is no DICOM file; the message names the attribute.
    """
    try:
        with path.open("rb") as file:
            meta = read_file_meta(file)
            if not file.peek(1):
                raise HeaderError("the data set is empty")
            raw = read_elements(file, meta.transfer_syntax_uid, _WANTED)
    except (ElementError, Part10Error) as error:
        raise HeaderError(str(error)) from error
    uids = {name: _uid(raw.get(tag), keyword) for name, (tag, keyword) in _UIDS.items()}
    encoding = _encoding(raw.get(_CHARACTER_SET, b""))
    texts = {name: _text(raw.get(tag, b""), encoding) for name, tag in _TEXTS.items()}
    series = SeriesHeader(
        **texts,
        series_number=_integer(raw.get(_SERIES_NUMBER)),
        expected_instances=_expected_instances(
            raw, "big" if meta.transfer_syntax_uid == ExplicitVRBigEndian else "little"
        ),
    )
    return InstanceHeader(**uids, series=series)


def _uid(value: bytes | None, keyword: str) -> str:
    text = (value or b"").decode("ascii", "replace").strip(" \0")
    if not text:
        raise HeaderError(f"{keyword} is missing")
    if not is_uid(text):
        raise HeaderError(f"{keyword} is not a UID: digits and dots, at most 64 characters")
    return text


def _encoding(character_set: bytes) -> str:
    terms = [term.strip() for term in character_set.decode("ascii", "replace").split("\\")]
    return python_encoding.get(terms[-1], "latin-1")


def _text(value: bytes, encoding: str) -> str:
    try:
        text = value.decode(encoding)
    except (UnicodeError, LookupError):
        text = value.decode("latin-1")
    return "".join(character for character in text if character.isprintable()).strip()[:64]


def _integer(value: bytes | None) -> int | None:
    """Return an IS value, or the two bytes of a US value; None for anything else."""
    if not value:
        return None
    try:
        number = int(value.decode("ascii").split("\\")[0].strip(" \0"))
    except ValueError:
        return None
    return number if abs(number) < 1 << 31 else None


def _count(value: bytes | None) -> int | None:
    """Return a positive count from an IS value; None for anything else."""
    number = _integer(value)
    return number if number is not None and 0 < number <= _MAX_EXPECTED else None


def _slices(value: bytes | None, order: Literal["little", "big"]) -> int | None:
    """Return a count from a US value; no device has 10,000 slices, so more is a text in a number."""
    if value is None or len(value) != 2:
        return _count(value)
    number = int.from_bytes(value, order)
    return (number or None) if number < 10_000 else _count(value)


def _expected_instances(raw: dict[int, bytes], order: Literal["little", "big"]) -> int | None:
    """Return how many instances the series should have; None when the header does not say.

    A multi-frame instance counts its slices as frames, so its numbers say nothing of instances.
    """
    if (_count(raw.get(_NUMBER_OF_FRAMES)) or 1) > 1:
        return None
    slices = _slices(raw.get(_NUMBER_OF_SLICES), order)
    if slices is None:
        return _count(raw.get(_IMAGES_IN_ACQUISITION))
    expected = slices * (_count(raw.get(_TEMPORAL_POSITIONS)) or 1)
    return expected if expected <= _MAX_EXPECTED else None
