"""Encodes upper-layer PDUs and DIMSE messages, right or as wrong as asked (PS3.8 9.3, PS3.7 6.3).

A length that is given is written instead of the true one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
NAMES = dict(enumerate(("A-ASSOCIATE-RQ", "AC", "RJ", "P-DATA", "RELEASE-RQ", "RELEASE-RP", "ABORT"), 1))
APPLICATION = b"1.2.840.10008.3.1.1.1"
VERIFICATION, CT = b"1.2.840.10008.1.1", b"1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"
COMMAND, LAST = 1, 2  #: bits of the message control header (PS3.8 annex E.2)


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body) if length is None else length) + body


def item(kind: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BBH", kind, 0, (len(body) if length is None else length) & 0xFFFF) + body


def context(number: int, abstract: bytes, transfers: Sequence[bytes]) -> bytes:
    syntaxes = b"".join(item(0x40, one) for one in transfers)
    return item(0x20, bytes((number & 255, 0, 0, 0)) + item(0x30, abstract) + syntaxes)


def user_information(largest: int = 16384, extra: bytes = b"") -> bytes:
    told = item(0x51, struct.pack(">L", largest)) + item(0x52, b"1.2.3.4") + item(0x55, b"FUZZ")
    return item(0x50, told + extra)


def associate(
    *,
    called: bytes = b"QAGATE",
    calling: bytes = b"FUZZ",
    version: int = 1,
    application: bytes = APPLICATION,
    contexts: bytes | None = None,
    user: bytes | None = None,
    tail: bytes = b"",
    length: int | None = None,
) -> bytes:
    """An A-ASSOCIATE-RQ; the contexts are 1 for C-ECHO and 3 for CT unless given."""
    if contexts is None:
        contexts = context(1, VERIFICATION, [IMPLICIT]) + context(3, CT, [EXPLICIT, IMPLICIT])
    body = struct.pack(">HH16s16s32x", version, 0, called.ljust(16), calling.ljust(16))
    body += item(0x10, application) + contexts + (user_information() if user is None else user) + tail
    return pdu(ASSOCIATE_RQ, body, length)


def pdv(number: int, control: int, data: bytes, length: int | None = None) -> bytes:
    size = len(data) + 2 if length is None else length
    return struct.pack(">LBB", size & 0xFFFFFFFF, number & 255, control & 255) + data


def p_data(*values: bytes, length: int | None = None) -> bytes:
    return pdu(P_DATA, b"".join(values), length)


def element(number: int, value: bytes, *, group: int = 0, length: int | None = None) -> bytes:
    """One element of a command set: Implicit VR Little Endian."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", group, number, len(value) if length is None else length) + value


def command(
    field: int,
    *,
    sop_class: bytes = CT,
    sop_instance: bytes | None = None,
    message: int = 1,
    data_set: bool = True,
    group_length: int | None = None,
    extra: bytes = b"",
) -> bytes:
    """A command set: C-STORE-RQ is 0x0001, C-ECHO-RQ 0x0030."""
    body = element(0x0002, sop_class) if sop_class else b""
    body += element(0x0100, struct.pack("<H", field)) + element(0x0110, struct.pack("<H", message))
    body += element(0x0700, b"\0\0") + element(0x0800, struct.pack("<H", 0x0001 if data_set else 0x0101))
    body += element(0x1000, sop_instance) if sop_instance is not None else b""
    body += extra
    return element(0x0000, struct.pack("<L", len(body) if group_length is None else group_length)) + body


def echo(number: int = 1) -> bytes:
    rq = command(0x0030, sop_class=VERIFICATION, data_set=False)
    return p_data(pdv(number, COMMAND | LAST, rq))


def store(sop_instance: bytes, data: bytes, number: int = 3, cut: int = 8192, **told: object) -> list[bytes]:
    """The PDUs of one C-STORE-RQ, in fragments of `cut` bytes."""
    rq = command(0x0001, sop_instance=sop_instance, **told)  # type: ignore[arg-type]
    parts = [p_data(pdv(number, COMMAND | LAST, rq))]
    for start in range(0, len(data), cut):
        last = LAST if start + cut >= len(data) else 0
        parts.append(p_data(pdv(number, last, data[start : start + cut])))
    return parts


RELEASE, ABORT_PDU = pdu(RELEASE_RQ, bytes(4)), pdu(ABORT, bytes(4))
