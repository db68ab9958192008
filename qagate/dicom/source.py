"""One Part 10 file opened as far as its pixel data, and tolerant access to its elements.

Reads only the asked-for elements, never a pixel. What an element holds is decided element by
element, so one bad value (a date of ``***``, text in a number) costs that value and no more.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from qagate.dicom.elements import MOST_ELEMENTS, MOST_INFLATED, ElementError, check_size
from qagate.dicom.part10 import Part10Error, read_file_meta
from qagate.wording import one_line

UNDEFINED_LENGTH = 0xFFFFFFFF

_PIXEL_KEYWORDS = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
_LONG_VRS = frozenset((b"OB", b"OW", b"OF", b"OD", b"UN", b"OL", b"OV"))

# What pydicom is known to raise on corrupt input; anything else is a mistake of ours.
READ_ERRORS = (
    BytesLengthException,
    InvalidDicomError,
    OSError,
    EOFError,
    struct.error,
    zlib.error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    MemoryError,
)


class PixelError(ValueError):
    """An image that cannot be used; the message says why and holds no patient data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelElement:
    """Where a file's pixel data element lies in its (inflated) bytes."""

    keyword: str  #: PixelData, FloatPixelData or DoubleFloatPixelData
    vr: str  #: as written; OW for implicit VR
    offset: int  #: of the value
    length: int | None  #: declared bytes of the value; None: undefined (encapsulated)
    available: int  #: bytes from offset to the end of the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The elements of one file up to its pixel data."""

    path: Path
    data: Dataset
    transfer_syntax: UID
    size: int  #: bytes of the file, inflated
    pixels: PixelElement | None  #: None: the file holds no pixel data
    inflated: bytes | None = None  #: the data set when the syntax is deflated

    def open(self) -> BinaryIO:
        """Open the bytes that `pixels.offset` counts in."""
        return BytesIO(self.inflated) if self.inflated is not None else self.path.open("rb")


def check_bounds(path: Path) -> None:
    """Raise PixelError for a file that would cost far more memory than its size once it is parsed.

    To be asked before pydicom reads it, which inflates and builds without a limit.
    """
    try:
        with path.open("rb") as file:
            try:
                syntax = read_file_meta(file).transfer_syntax_uid
            except Part10Error:  # an export without meta information
                file.seek(0)
                syntax = ImplicitVRLittleEndian
            # Smaller files cannot hold so many elements: each has a head of eight bytes.
            if syntax == DeflatedExplicitVRLittleEndian or path.stat().st_size > 8 * MOST_ELEMENTS:
                check_size(file, syntax)
    except ElementError as error:
        raise PixelError(str(error)) from error
    except OSError as error:
        raise PixelError("the file is gone or cannot be read") from error


def open_source(path: Path, keywords: Iterable[str]) -> Source:
    """Read the named elements of a file up to its pixel data.

    Files without preamble or meta information are read when their content is recognisable
    (PS3.10 section 7.1 is often broken by exports). Raises PixelError.
    """
    tags: list[BaseTag | int] = list(_tags(tuple(keywords)))
    try:
        if path.stat().st_size == 0:
            raise PixelError("the file is empty")
        check_bounds(path)
        with path.open("rb") as stream:
            if _is_deflated(stream):
                return _open_deflated(stream, read_file_meta_info(path), path, tags)
            data = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=tags)
            implicit, little_endian = data.original_encoding
            syntax = text(data.file_meta, "TransferSyntaxUID") or _guessed(implicit, little_endian)
            pixels, size = _pixel_element(stream, bool(implicit), bool(little_endian))
            return Source(path=path, data=data, transfer_syntax=UID(syntax), size=size, pixels=pixels)
    except PixelError:
        raise
    except READ_ERRORS as error:
        raise PixelError(f"the file cannot be read as DICOM ({type(error).__name__})") from error


@lru_cache(maxsize=8)
def _tags(keywords: tuple[str, ...]) -> tuple[BaseTag, ...]:
    return tuple(BaseTag(tag) for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None)


def _guessed(implicit: bool | None, little_endian: bool | None) -> str:
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian


def _is_deflated(stream: BinaryIO) -> bool:
    """Whether the meta information names the deflated syntax; asked first, because pydicom
    inflates without a limit."""
    head = stream.read(1024)
    stream.seek(0)
    wanted = b"\x02\x00\x10\x00UI" + struct.pack("<H", 22) + DeflatedExplicitVRLittleEndian.encode("ascii")
    return head[128:132] == b"DICM" and wanted in head


def _open_deflated(stream: BinaryIO, meta: Dataset, path: Path, tags: list[BaseTag | int]) -> Source:
    group_length = integer(meta, "FileMetaInformationGroupLength")
    if group_length is None:
        raise PixelError("the deflated file has no FileMetaInformationGroupLength")
    stream.seek(132 + 12 + group_length)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(stream.read(), MOST_INFLATED)
    plain = BytesIO(inflated)
    data = read_dataset(plain, False, True, stop_when=_at_pixel_data, specific_tags=tags)
    data.file_meta = meta  # type: ignore[assignment]
    pixels, size = _pixel_element(plain, implicit=False, little_endian=True)
    return Source(
        path=path,
        data=data,
        transfer_syntax=DeflatedExplicitVRLittleEndian,
        size=size,
        pixels=pixels,
        inflated=inflated,
    )


def _at_pixel_data(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) in _PIXEL_KEYWORDS


def _pixel_element(stream: BinaryIO, implicit: bool, little_endian: bool) -> tuple[PixelElement | None, int]:
    """Parse the element header the reader stopped at; also the stream's size."""
    order = "<" if little_endian else ">"
    header = stream.read(12)
    position = stream.tell() - len(header)
    size = stream.seek(0, 2)
    if len(header) < 8:
        return None, size
    group, element = struct.unpack(f"{order}HH", header[:4])
    keyword = _PIXEL_KEYWORDS.get(group << 16 | element)
    if keyword is None:
        return None, size
    vr = header[4:6]
    if implicit or not vr.isalpha():
        vr, offset = b"OW", position + 8
        (length,) = struct.unpack(f"{order}L", header[4:8])
    elif vr in _LONG_VRS and len(header) == 12:
        offset = position + 12
        (length,) = struct.unpack(f"{order}L", header[8:12])
    else:
        raise PixelError(f"{keyword} has an impossible value representation")
    declared = None if length == UNDEFINED_LENGTH else int(length)
    pixels = PixelElement(
        keyword=keyword, vr=vr.decode("ascii"), offset=offset, length=declared, available=size - offset
    )
    return pixels, size


def value(data: Dataset, keyword: str) -> object:
    """Value of an element, or None when it is absent, empty or cannot be converted."""
    try:
        found = data.get(keyword)
    except READ_ERRORS:
        return None
    if found is None or (isinstance(found, str | bytes | MultiValue) and len(found) == 0):
        return None
    return found


def is_present(data: Dataset, keyword: str) -> bool:
    """Whether an element has a value at all, readable or not."""
    try:
        found = data.get(keyword)
    except READ_ERRORS:
        return True
    return found is not None and str(found).strip() != ""


def texts(data: Dataset, keyword: str) -> tuple[str, ...]:
    """Every value of an element as stripped text on one line, however long it is."""
    found = value(data, keyword)
    if found is None:
        return ()
    values = found if isinstance(found, MultiValue | list | tuple) else [found]
    return tuple(one_line(str(one).strip("\0")) for one in values)


def text(data: Dataset, keyword: str) -> str:
    """First value of an element as stripped text; empty when there is none."""
    found = texts(data, keyword)
    return found[0] if found else ""


def numbers(data: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """All values of an element as finite floats; None unless all are (and are `count`)."""
    found = texts(data, keyword)
    try:
        values = tuple(float(one) for one in found)
    except ValueError:
        return None
    if not values or not all(map(math.isfinite, values)) or (count is not None and len(values) != count):
        return None
    return values


def number(data: Dataset, keyword: str) -> float | None:
    """First value of an element as a finite float."""
    values = numbers(data, keyword)
    return values[0] if values else None


def integer(data: Dataset, keyword: str) -> int | None:
    """First value of an element as a whole number."""
    found = number(data, keyword)
    return int(found) if found is not None and found == int(found) else None


def items(data: Dataset | None, keyword: str) -> Sequence[Dataset]:
    """Items of a sequence; empty when it is absent or no sequence."""
    found = value(data, keyword) if data is not None else None
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        return ()
    return [item for item in found if isinstance(item, Dataset)]


def first_item(data: Dataset | None, keyword: str) -> Dataset | None:
    """First item of a sequence, or None."""
    found = items(data, keyword)
    return found[0] if found else None
