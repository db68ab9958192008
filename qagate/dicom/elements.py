"""Walks the elements of an encoded data set and returns the raw bytes of a wanted few.

Nothing is converted by value representation, so a wrong VR cannot fail, and no value that is not wanted
is read into memory. Pixel data is never reached: the walk ends behind the last wanted tag. The same walk
to the end tells beforehand whether a parser could be made to build too much.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO, cast

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_MAX_VALUE = 1 << 16  #: bytes; identifiers and short texts only
_MAX_DEPTH = 64  #: nested sequences
MOST_INFLATED = 1 << 29  #: bytes of a deflated data set; a bomb makes a thousand times its size
MOST_ELEMENTS = (
    2_000_000  #: an enhanced object of 20,000 frames stays below; each costs some 700 bytes once parsed
)
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))


class ElementError(ValueError):
    """The bytes are not a DICOM data set (PS3.5 section 7)."""


class _Inflated(io.RawIOBase):
    """The data set inside a deflated one (PS3.5 A.5), inflated as far as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._total = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = b""
        while not data and not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._file.read(1 << 16)
            if not packed:
                break
            try:
                data = self._inflater.decompress(packed, len(buffer))
            except zlib.error as error:
                raise ElementError(f"the deflated data set is corrupt ({error})") from error
        self._total += len(data)
        if self._total > MOST_INFLATED:
            raise ElementError(f"the deflated data set is larger than {MOST_INFLATED >> 20} MiB")
        buffer[: len(data)] = data
        return len(data)


class _Encoding:
    """Byte order and kind of element head."""

    def __init__(self, *, explicit: bool, little: bool) -> None:
        self.heads = 0
        order = "<" if little else ">"
        self.explicit = explicit
        self.tag = struct.Struct(order + "HH")
        self.long = struct.Struct(order + "L")
        self.short = struct.Struct(order + "H")

    def head(self, source: io.BufferedReader) -> tuple[int, bytes, int] | None:
        """Return (tag, VR or b"", length) of the next element or item; None at the end of the data.

        Raises ElementError when there were too many.
        """
        self.heads += 1
        if self.heads > MOST_ELEMENTS:
            raise ElementError(f"the data set has more than {MOST_ELEMENTS} elements")
        head = source.read(8)
        if len(head) < 8:
            return None
        group, element = self.tag.unpack_from(head)
        tag, vr = group << 16 | element, head[4:6]
        if not self.explicit or group == 0xFFFE or not vr.isalpha():
            return tag, b"", self.long.unpack_from(head, 4)[0]
        if vr not in _LONG_VRS:
            return tag, vr, self.short.unpack_from(head, 6)[0]
        rest = source.read(4)
        return (tag, vr, self.long.unpack(rest)[0]) if len(rest) == 4 else None


def _implicit() -> _Encoding:
    return _Encoding(explicit=False, little=True)


def _begin(file: io.BufferedReader, transfer_syntax_uid: str) -> tuple[io.BufferedReader, _Encoding]:
    """The plain data set at the file's position, and how its first element is encoded."""
    deflated = transfer_syntax_uid == DeflatedExplicitVRLittleEndian
    source = cast(io.BufferedReader, io.BufferedReader(_Inflated(file))) if deflated else file
    vr = source.peek(6)[4:6]
    explicit = vr in _LONG_VRS or vr in _SHORT_VRS
    return source, _Encoding(explicit=explicit, little=transfer_syntax_uid != ExplicitVRBigEndian)


def check_size(file: io.BufferedReader, transfer_syntax_uid: str) -> None:
    """Walk the data set at the file's position to its end, sequences too, building nothing.

    Raises ElementError when it inflates to more than `MOST_INFLATED` bytes or has more than `MOST_ELEMENTS`
    elements and items: parsed, it would cost far more memory than its file has bytes.
    """
    source, encoding = _begin(file, transfer_syntax_uid)
    while (head := encoding.head(source)) is not None:
        tag, vr, length = head
        if length == _UNDEFINED and tag in _PIXELS:
            _skip_fragments(source, encoding)
        elif tag >> 16 != 0xFFFE and length != _UNDEFINED and not _is_sequence(tag, vr):
            _skip(source, length)


def _is_sequence(tag: int, vr: bytes) -> bool:
    return vr == b"SQ" or (not vr and dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ")


def _skip_fragments(source: io.BufferedReader, encoding: _Encoding) -> None:
    """Skip encapsulated pixel data (PS3.5 A.4), whose head was just read."""
    while (head := encoding.head(source)) is not None and head[0] == _ITEM:
        _skip(source, head[2])


def read_elements(
    file: io.BufferedReader, transfer_syntax_uid: str, wanted: frozenset[int]
) -> dict[int, bytes]:
    """Return the raw values of the `wanted` top-level tags of the data set at the file's position.

    Explicit or implicit VR is seen from the first element, because senders mislabel it. A data set that
    ends early gives what was there. Raises ElementError when the bytes cannot be walked.
    """
    source, encoding = _begin(file, transfer_syntax_uid)
    last = max(wanted)
    found: dict[int, bytes] = {}
    while (head := encoding.head(source)) is not None and head[0] <= last:
        tag, vr, length = head
        if length == _UNDEFINED:
            _skip_sequence(source, _implicit() if vr == b"UN" else encoding)
        elif tag not in wanted:
            _skip(source, length)
        elif length > _MAX_VALUE:
            raise ElementError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is {length} bytes long")
        else:
            found[tag] = source.read(length)
    return found


def _skip(source: io.BufferedReader, length: int) -> None:
    if source.seekable():
        source.seek(length, io.SEEK_CUR)
        return
    while length > 0 and (data := source.read(min(length, 1 << 16))):
        length -= len(data)


def _skip_sequence(source: io.BufferedReader, encoding: _Encoding) -> None:
    """Skip a sequence of undefined length, whose head was just read (PS3.5 section 7.5)."""
    stack = [(False, encoding)]  # (inside an item?, its encoding)
    while stack:
        in_item, encoding = stack[-1]
        head = encoding.head(source)
        if head is None or len(stack) > _MAX_DEPTH:
            raise ElementError("the data set ends inside a sequence or nests too deeply")
        tag, vr, length = head
        if tag == (_ITEM_END if in_item else _SEQUENCE_END):
            stack.pop()
        elif not in_item and tag != _ITEM:
            raise ElementError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) stands where an item should")
        elif length != _UNDEFINED:
            _skip(source, length)
        else:
            stack.append((not in_item, _implicit() if vr == b"UN" else encoding))
