"""Mutates data sets: bytes, lengths, value representations, tags, UIDs, sequences, pixel headers, bombs."""

from __future__ import annotations

import functools
import random
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import fuzz_seeds as seeds
from pydicom.uid import ExplicitVRLittleEndian

UNDEFINED = 0xFFFFFFFF
UIDS = (
    b"../../etc/passwd", b"", b".", b"..", b"1..2", b"\0", b"1.2\n3", b"1.2\x1b[2J", b"1" * 65, b"1." * 5000,
    b"9" * 10_000, b"/etc/passwd", b"1.2/../../3", b"<script>", "\u202e1.2".encode(), b"=1.2", b"1.2\\1.3",
)  # fmt: skip
TEXTS = (
    *UIDS, b'"><img src=x onerror=alert(1)>', b"\x1b[31m\x07", b"\x1b$B\x30\x21\x1b(B", b"\xff\xfe\xfd",
    b"\0" * 64,
    b"=cmd|' /C calc'!A0", b"ISO 2022 IR 87\\ISO 2022 IR 149", b"ISO_IR 999", b"GB18030", b"x" * 60_000,
)  # fmt: skip
NUMBERS = (b"", b"-1", b"0", b"1e308", b"nan", b"inf", b"1e-320", b"99999999999999999999", b"1\\2\\3", b"***")
_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT ZZ".split()
_TAGS = (
    0x00080005,
    0x00080018,
    0x0020000D,
    0x0020000E,
    0x00280010,
    0x00280011,
    0x7FE00010,
    0x52009230,
    0xFFFEE000,
)
_SIZES = (0x00280002, 0x00280006, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103)
_SHORT = re.compile(rb"[\x00-\xff]{4}(AE|AS|AT|CS|DA|DS|DT|FD|FL|IS|LO|LT|PN|SH|SL|SS|ST|TM|UI|UL|US)")


REAL = 0.005  #: share of the cases that begin with a real slice, as each costs half a second


@dataclass(frozen=True, slots=True)
class Case:
    """One file to be read."""

    kind: str
    data: bytes


def case(seed: int, number: int) -> Case:
    """Case `number` of a seed; always the same."""
    rng = random.Random(f"{seed}:data set:{number}")
    kind = list(KINDS)[number % len(KINDS)]
    if kind in RARE and (number // len(KINDS)) % RARE[kind]:
        kind = "bytes"
    return Case(kind, KINDS[kind](rng))


def _seed(rng: random.Random) -> bytearray:
    large = rng.random() < REAL and seeds.real()
    return bytearray(rng.choice(large or seeds.seeds()))


def _bytes(rng: random.Random) -> bytes:
    data = _seed(rng)
    for _ in range(rng.choice((1, 1, 2, 8, 40))):
        at = rng.randrange(132, len(data)) if rng.random() < 0.5 else rng.randrange(132, min(len(data), 2000))
        what = rng.randrange(5)
        if what == 0:
            data[at] = rng.randrange(256)
        elif what == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif what == 2:
            del data[at : at + rng.randint(1, 16)]
        elif what == 3:
            data[at:at] = rng.randbytes(rng.randint(1, 16))
        else:
            data[at : at + 4] = rng.choice(
                (b"\xff" * 4, bytes(4), b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0", b"\0\0\0\x80")
            )
        if len(data) < 140:
            break
    return bytes(data)


def _truncated(rng: random.Random) -> bytes:
    data = _seed(rng)
    return bytes(data[: rng.randrange(len(data))])


def _spliced(rng: random.Random) -> bytes:
    one, other = _seed(rng), _seed(rng)
    return bytes(one[: rng.randrange(132, len(one))] + other[rng.randrange(132, len(other)) :])


@functools.lru_cache(maxsize=64)
def _elements(data: bytes) -> tuple[int, ...]:
    """Where elements of explicit VR may begin; found by their look, so also inside sequences."""
    return tuple(found.start() for found in _SHORT.finditer(data, 132, 6000))


def _heads(rng: random.Random) -> bytes:
    """Lengths, value representations and tags of a few elements."""
    seed = bytes(_seed(rng))
    places = _elements(seed)
    data = bytearray(seed)
    for _ in range(rng.randint(1, 3)) if places else ():
        at = rng.choice(places)
        what = rng.randrange(3)
        if what == 0:
            data[at + 6 : at + 8] = struct.pack(
                "<H", rng.choice((0, 1, 2, 7, 64, 255, 0x7FFF, 0xFFFE, 0xFFFF))
            )
        elif what == 1:
            data[at + 4 : at + 6] = rng.choice(_VRS)
        else:
            tag = rng.choice(_TAGS)
            data[at : at + 4] = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    return bytes(data)


def _with(data: bytes, tag: int, vr: bytes, value: bytes) -> bytes:
    """The value of an explicit little-endian element replaced, wherever it stands; its length is true."""
    place = data.find(struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr, 132)
    if place < 0:
        return data
    length = struct.unpack_from("<H", data, place + 6)[0]
    value += b"\0" * (len(value) % 2)
    return data[: place + 6] + struct.pack("<H", len(value) & 0xFFFF) + value + data[place + 8 + length :]


def _uids(rng: random.Random) -> bytes:
    data = bytes(_seed(rng))
    for _ in range(rng.randint(1, 2)):
        data = _with(
            data, rng.choice((0x00080016, 0x00080018, 0x0020000D, 0x0020000E)), b"UI", rng.choice(UIDS)
        )
    return data


_TEXT_ELEMENTS = (
    (0x00080005, b"CS"), (0x00080008, b"CS"), (0x00080060, b"CS"), (0x00081010, b"SH"), (0x0008103E, b"LO"),
    (0x00100010, b"PN"), (0x00100020, b"LO"), (0x00180015, b"CS"), (0x00280004, b"CS"),
)  # fmt: skip
_NUMBER_ELEMENTS = (
    (0x00180050, b"DS"), (0x00180060, b"DS"), (0x00200011, b"IS"), (0x00200013, b"IS"), (0x00200032, b"DS"),
    (0x00200037, b"DS"), (0x00280008, b"IS"), (0x00280030, b"DS"), (0x00281050, b"DS"), (0x00281051, b"DS"),
    (0x00281052, b"DS"), (0x00281053, b"DS"),
)  # fmt: skip


def _texts(rng: random.Random) -> bytes:
    """Texts with markup, control characters, formulas, and character sets that are not theirs."""
    data = bytes(_seed(rng))
    for _ in range(rng.randint(1, 3)):
        data = _with(data, *rng.choice(_TEXT_ELEMENTS), rng.choice(TEXTS))
    return data


def _numbers(rng: random.Random) -> bytes:
    data = bytes(_seed(rng))
    for _ in range(rng.randint(1, 3)):
        data = _with(data, *rng.choice(_NUMBER_ELEMENTS), rng.choice(NUMBERS))
    return data


def _pixel_lies(rng: random.Random) -> bytes:
    """Rows, Columns, frames, bits and samples that the pixel data is not of."""
    data = bytes(_seed(rng))
    for _ in range(rng.randint(1, 3)):
        number = rng.choice((0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 64, 512, 8192, 20_000, 60_000, 65_535))
        data = _with(data, rng.choice(_SIZES), b"US", struct.pack("<H", number))
    if rng.random() < 0.3:
        data = _with(data, 0x00280008, b"IS", rng.choice((b"0", b"2", b"20000", b"2000000000", b"-3")))
    return data


_MARKERS = (
    b"\xff\x4f\xff\x51",
    b"\xff\xc0",
    b"\xff\xc1",
    b"\xff\xc3",
    b"\xff\xf7",
    b"\xff\xda",
    b"\xff\x52",
    b"\xff\x93",
)


def _codestreams(rng: random.Random) -> bytes:
    """Bytes of a compressed frame's header, of its fragments and of its offset table."""
    data = _seed(rng)
    pixels = data.find(b"\xe0\x7f\x10\x00")
    if pixels < 0:
        return bytes(data)
    marks = [at for mark in _MARKERS if (at := data.find(mark, pixels)) >= 0] or [pixels]
    for _ in range(rng.randint(1, 4)):
        near = rng.choice((rng.choice(marks), pixels))
        at = min(near + rng.randrange(48), len(data) - 4)
        if rng.random() < 0.5:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        else:
            data[at : at + 2] = struct.pack(">H", rng.choice((0, 1, 32, 60_000, 65_535)))
    return bytes(data)


@functools.cache
def _nested(depth: int, closed: bool) -> bytes:
    opening = (
        struct.pack("<HH2sHLHHL", 0x0008, 0x1115, b"SQ", 0, UNDEFINED, 0xFFFE, 0xE000, UNDEFINED) * depth
    )
    closing = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0) * depth if closed else b""
    return opening + closing


@functools.cache
def _many_items(count: int, explicit: bool) -> bytes:
    items = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * count
    length = len(items) if explicit else UNDEFINED
    end = b"" if explicit else struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return struct.pack("<HH2sHL", 0x0008, 0x1115, b"SQ", 0, length) + items + end


def _sequences(rng: random.Random) -> bytes:
    """Nested ten thousand deep, never closed, a hundred thousand items: before a slice's pixels."""
    what = rng.choice((
        _nested(rng.choice((3, 60, 70, 500, 10_000)), rng.random() < 0.5),
        _many_items(rng.choice((10, 1000, 100_000)), rng.random() < 0.5),
    ))  # fmt: skip
    whole = seeds.plain_data_set(seeds.data_set(16))
    at = whole.find(struct.pack("<HH", 0x0018, 0x0015))
    return seeds.head(ExplicitVRLittleEndian) + whole[:at] + what + whole[at:]


@functools.cache
def _bomb(kind: str) -> bytes:
    """A megabyte or less that claims, or becomes, far more."""
    if kind == "deflated":
        made = seeds.data_set(16)
        made.add_new(0x00091001, "OB", bytes(200 << 20))
        return seeds.deflated(seeds.plain_data_set(made))
    if kind == "items":
        return (
            seeds.head(ExplicitVRLittleEndian)
            + seeds.plain_data_set(seeds.data_set(16))
            + _many_items(1_000_000, True)
        )
    encoded = seeds.synthetic(kind)
    for side in (b"\x10\x00", b"\x11\x00"):
        encoded = _with(encoded, 0x00280000 | side[0], b"US", struct.pack("<H", 8000))
    return encoded


def _bombs(rng: random.Random) -> bytes:
    return _bomb(rng.choice(("deflated", "items", *seeds.ENCODED[:3])))


KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "bytes": _bytes,
    "truncated": _truncated,
    "two files spliced": _spliced,
    "lengths, VRs, tags": _heads,
    "UIDs": _uids,
    "texts, character sets": _texts,
    "numbers": _numbers,
    "Rows, Columns, frames, bits": _pixel_lies,
    "codestreams, fragments, offsets": _codestreams,
    "sequences": _sequences,
    "bombs": _bombs,
}
RARE = {"sequences": 8, "bombs": 100}  #: one in so many of their turns, as each costs a second
