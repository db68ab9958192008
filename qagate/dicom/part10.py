"""The file meta information of a Part 10 file (PS3.10 section 7.1): written on receipt, read again later.

The data set behind it is never touched: it stays the bytes that came over the network.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

IMPLEMENTATION_CLASS_UID = "2.25.80506478750878915110769205907343792106"
IMPLEMENTATION_VERSION_NAME = "QAGATE"

_PREFIX = b"\0" * 128 + b"DICM"
_MAX_META = 1 << 16  #: bytes
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_HEAD, _SHORT, _LONG = struct.Struct("<HH2s"), struct.Struct("<H"), struct.Struct("<2xL")


class Part10Error(ValueError):
    """The file is not a DICOM Part 10 file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What the gate keeps in the file meta information."""

    sop_class_uid: str  #: (0002,0002)
    sop_instance_uid: str  #: (0002,0003)
    transfer_syntax_uid: str  #: (0002,0010)
    sending_ae_title: str = ""  #: (0002,0017), the AE that sent the instance to the gate
    receiving_ae_title: str = ""  #: (0002,0018), the gate itself

    def encode(self) -> bytes:
        """Return preamble, prefix and group 0002, ready to be followed by the data set."""
        elements = _element(0x0001, b"OB", b"\0\1") + b"".join(
            _element(number, vr, value.encode("ascii", "replace"))
            for number, vr, value in (
                (0x0002, b"UI", self.sop_class_uid),
                (0x0003, b"UI", self.sop_instance_uid),
                (0x0010, b"UI", self.transfer_syntax_uid),
                (0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
                (0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
                (0x0017, b"AE", self.sending_ae_title),
                (0x0018, b"AE", self.receiving_ae_title),
            )
            if value
        )
        return _PREFIX + _element(0x0000, b"UL", struct.pack("<L", len(elements))) + elements


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr in (b"UI", b"OB") else b" ") * (len(value) % 2)
    length = _LONG.pack(len(value)) if vr in _LONG_VRS else _SHORT.pack(len(value))
    return _HEAD.pack(0x0002, number, vr) + length + value


def read_file_meta(file: BinaryIO) -> FileMeta:
    """Read the file meta information and leave the file at the first byte of the data set.

    Raises Part10Error when the prefix or the transfer syntax is missing.
    """
    if file.read(len(_PREFIX))[128:] != b"DICM":
        raise Part10Error("not a DICOM file: the prefix DICM is missing")
    values: dict[int, str] = {}
    while True:
        start = file.tell()
        head = file.read(8)
        if len(head) < 8 or head[:2] != b"\2\0":
            file.seek(start)
            break
        _, number, vr = _HEAD.unpack_from(head)
        length: int = _SHORT.unpack_from(head, 6)[0]
        if vr in _LONG_VRS:
            length = int.from_bytes(file.read(4), "little")
        if length > _MAX_META:
            raise Part10Error(f"the file meta information is corrupt at (0002,{number:04X})")
        values[number] = file.read(length).decode("ascii", "replace").strip(" \0")
    if not values.get(0x0010):
        raise Part10Error("the file meta information names no transfer syntax (0002,0010)")
    return FileMeta(
        sop_class_uid=values.get(0x0002, ""),
        sop_instance_uid=values.get(0x0003, ""),
        transfer_syntax_uid=values[0x0010],
        sending_ae_title=values.get(0x0017, ""),
        receiving_ae_title=values.get(0x0018, ""),
    )


def hash_data_set(path: Path) -> tuple[str, int]:
    """Return SHA-256 (hexadecimal) and length in bytes of the encoded data set, file meta excluded."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        read_file_meta(file)
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size
