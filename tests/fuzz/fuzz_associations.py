"""Ten thousand ways to be a bad peer: each case is a list of steps that another file can replay.

A step is ("send", bytes), ("await", b""): wait for one PDU, ("half-close", b""), ("reset", b"") or
("close", b""). What a case sends is right but for the one thing its kind is named after.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import fuzz_pdu as pdu
from fuzz_pdu import COMMAND, CT, EXPLICIT, IMPLICIT, LAST, VERIFICATION

Step = tuple[str, bytes]
TEXTS = (
    b"../../etc/passwd", b"", b".", b"\0", b"\n", b"a\r\nb", b"\x1b[2J\x1b[31m", "Größe".encode(),
    b"\xff", b"<script>alert(1)</script>", b'"><img src=x onerror=alert(1)>', b"=1+1", b"1." * 40, b"9" * 64,
    b"1" * 65, b"1.2.840.10008.1.2.1\0\0\0", b"1.2.840.10008.1.2.\n", b"%s%n%x",
    "\u202eevil".encode(), b"A" * 10_000,
)  # fmt: skip
AWAIT: Step = ("await", b"")


@dataclass(frozen=True, slots=True)
class Case:
    """One connection's worth of steps."""

    kind: str
    steps: tuple[Step, ...]


def case(seed: int, number: int) -> Case:
    """Case `number` of a seed; always the same."""
    rng = random.Random(f"{seed}:association:{number}")
    kind = list(KINDS)[number % len(KINDS)]
    return Case(kind, tuple(KINDS[kind](rng)))


def data_set(rng: random.Random) -> tuple[bytes, bytes]:
    """A SOP Instance UID and a small CT slice of one of forty series, Explicit VR Little Endian."""
    uid = b"2.25." + str(rng.randrange(10**19, 10**20)).encode()
    series = b"2.25.%d" % (7_000 + rng.randrange(40))

    def short(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    def us(group: int, number: int, value: int) -> bytes:
        return struct.pack("<HH2sHH", group, number, b"US", 2, value)

    return uid, b"".join(
        (
            short(0x0008, 0x0016, b"UI", CT), short(0x0008, 0x0018, b"UI", uid),
            short(0x0008, 0x0060, b"CS", b"CT"), short(0x0020, 0x000D, b"UI", series + b".1"),
            short(0x0020, 0x000E, b"UI", series), us(0x0028, 0x0002, 1),
            short(0x0028, 0x0004, b"CS", b"MONOCHROME2"), us(0x0028, 0x0010, 16), us(0x0028, 0x0011, 16),
            us(0x0028, 0x0100, 16), us(0x0028, 0x0101, 16), us(0x0028, 0x0102, 15), us(0x0028, 0x0103, 0),
            struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 512), rng.randbytes(512),
        )
    )  # fmt: skip


def _opened(rng: random.Random) -> list[Step]:
    return [("send", pdu.associate()), AWAIT]


def _after_opening(*parts: bytes) -> list[Step]:
    return [("send", pdu.associate()), AWAIT, *(("send", part) for part in parts), AWAIT]


def _sent(*parts: bytes) -> list[Step]:
    return [*(("send", part) for part in parts), AWAIT]


def _good(rng: random.Random) -> Iterator[Step]:
    yield from _opened(rng)
    for _ in range(rng.randint(1, 3)):
        yield from (("send", part) for part in pdu.store(*data_set(rng), cut=rng.choice((100, 8192))))
        yield AWAIT
    yield from (("send", pdu.RELEASE), AWAIT)


def _request_length(rng: random.Random) -> list[Step]:
    whole = pdu.associate()
    told = rng.choice((0, 1, 3, 67, len(whole) - 7, len(whole) - 5, 1 << 16, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF))
    return _sent(whole[:2] + struct.pack(">L", told) + whole[6:])


def _request_items(rng: random.Random) -> list[Step]:
    """An item of a wrong type, length, or order; twice, or never."""
    parts = [
        pdu.item(rng.choice((0x10, 0x11, 0, 0xFF)), pdu.APPLICATION, rng.choice((None, 0, 1, 5000, 65535))),
        pdu.context(1, VERIFICATION, [IMPLICIT]),
        pdu.item(
            rng.choice((0x20, 0x21, 0x22)), rng.randbytes(rng.randrange(40)), rng.choice((None, 3, 999))
        ),
        pdu.user_information(),
        pdu.item(rng.randrange(256), rng.randbytes(rng.randrange(64))),
    ]
    rng.shuffle(parts)
    chosen = parts[: rng.randint(0, 5)] + rng.choices(parts, k=rng.randrange(3))
    head = struct.pack(">HH16s16s32x", 1, 0, b"QAGATE".ljust(16), b"FUZZ".ljust(16))
    return _sent(pdu.pdu(pdu.ASSOCIATE_RQ, head + b"".join(chosen)))


def _contexts(rng: random.Random) -> list[Step]:
    """Context numbers that are even, zero or used twice; none, or far too many contexts; odd syntaxes."""
    numbers = rng.choice(([], [2], [0], [1, 1, 1], [3, 1, 255, 3], range(1, 256), [1] * 300, [5] * 2000))
    transfers = rng.choice(
        ([IMPLICIT], [], [rng.choice(TEXTS)], [EXPLICIT] * 50, [b"1.2.840.10008.1.2.1.99"])
    )
    abstract = rng.choice((CT, VERIFICATION, b"", rng.choice(TEXTS)))
    return _sent(pdu.associate(contexts=b"".join(pdu.context(one, abstract, transfers) for one in numbers)))


def _user_information(rng: random.Random) -> list[Step]:
    text = rng.choice(TEXTS)
    extra = rng.choice((
        pdu.item(0x53, struct.pack(">HH", rng.randrange(65536), rng.randrange(65536))),
        pdu.item(0x53, rng.randbytes(rng.randrange(8))),
        pdu.item(0x54, struct.pack(">H", rng.choice((0, 25, 9999))) + CT + bytes((rng.randrange(256), 7))),
        pdu.item(0x56, struct.pack(">H", rng.choice((0, 25, 65535))) + CT + rng.randbytes(9)),
        pdu.item(0x57, struct.pack(">H", 25) + CT + struct.pack(">H", 65535) + text[:50]),
        pdu.item(0x58, struct.pack(">BBH", rng.randrange(9), 1, rng.choice((0, 5, 65535))) + text[:99]),
        pdu.item(0x52, text), pdu.item(0x55, text), pdu.item(0x51, rng.randbytes(rng.randrange(9))),
        pdu.item(0x59, rng.randbytes(200)),
    ))  # fmt: skip
    largest = rng.choice((0, 1, 7, 12, 16384, 0xFFFFFFFF))
    return [
        *_sent(pdu.associate(user=pdu.user_information(largest, extra * rng.choice((1, 1, 40))))),
        *_echo(),
    ]


def _echo() -> list[Step]:
    return [("send", pdu.echo()), AWAIT]


def _titles(rng: random.Random) -> list[Step]:
    called, calling = rng.choice((b"QAGATE", rng.choice(TEXTS)[:16])), rng.choice(TEXTS)[:16]
    return _sent(pdu.associate(called=called, calling=calling))


def _request_fields(rng: random.Random) -> list[Step]:
    """Another protocol version or application; bytes behind the end; one flipped byte anywhere."""
    whole = bytearray(
        pdu.associate(
            version=rng.choice((0, 1, 2, 0xFFFF)), application=rng.choice((pdu.APPLICATION, *TEXTS)),
            tail=rng.choice((b"", rng.randbytes(30))),
        )
    )  # fmt: skip
    for _ in range(rng.randrange(4)):
        whole[rng.randrange(6, len(whole))] = rng.randrange(256)
    return _sent(bytes(whole))


def _pdata_lengths(rng: random.Random) -> list[Step]:
    rq = pdu.command(0x0030, sop_class=VERIFICATION, data_set=False)
    told = rng.choice((0, 1, 2, len(rq), len(rq) + 3, 70_000, 0x7FFFFFFF, 0xFFFFFFFF))
    value = pdu.pdv(1, COMMAND | LAST, rq, told)
    whole = rng.choice((None, None, 0, 3, 5, len(value) + 1, 200_000, 1 << 21, 0xFFFFFFFF))
    return _after_opening(pdu.p_data(value, length=whole))


def _wrong_context(rng: random.Random) -> list[Step]:
    number = rng.choice((0, 2, 5, 255, 1))
    uid, data = data_set(rng)
    return _after_opening(*pdu.store(uid, data, number))


def _fragments(rng: random.Random) -> list[Step]:
    """Empty fragments, contexts and kinds that change within a message, a flag that never comes."""
    uid, data = data_set(rng)
    rq = pdu.command(0x0001, sop_instance=uid)
    empty = pdu.pdv(3, rng.choice((0, COMMAND)), b"")
    return rng.choice((
        _after_opening(pdu.p_data(*[empty] * rng.choice((1, 50, 5000))), pdu.echo()),
        _after_opening(pdu.p_data(pdu.pdv(3, 0, data))),
        _after_opening(pdu.p_data(pdu.pdv(3, LAST, data))),
        _after_opening(pdu.p_data(pdu.pdv(3, COMMAND | LAST, rq), pdu.pdv(3, COMMAND | LAST, rq))),
        _after_opening(pdu.p_data(pdu.pdv(3, COMMAND | LAST, rq), pdu.pdv(1, LAST, data))),
        _after_opening(pdu.p_data(pdu.pdv(3, COMMAND | LAST, rq), pdu.pdv(3, LAST, b""))),
        _after_opening(pdu.p_data(pdu.pdv(3, COMMAND, rq[:20])), pdu.echo()),
        _after_opening(pdu.p_data(pdu.pdv(3, COMMAND | LAST, rq), pdu.pdv(3, 0, data))),
        _after_opening(pdu.p_data(pdu.pdv(3, 0xFC | COMMAND | LAST, rq), pdu.pdv(3, 0xFC | LAST, data))),
        _after_opening(pdu.p_data()),
        _after_opening(*[pdu.p_data(pdu.pdv(3, COMMAND, bytes(50_000)))] * 3),
    ))  # fmt: skip


def _command_sets(rng: random.Random) -> list[Step]:
    """Elements that are missing, lie about their length, hold nonsense or belong elsewhere."""
    uid, data = data_set(rng)
    text = rng.choice(TEXTS)
    rq = rng.choice((
        pdu.command(0x0001, sop_instance=text), pdu.command(0x0001, sop_class=text, sop_instance=uid),
        pdu.command(0x0001, sop_instance=uid, group_length=rng.choice((0, 1, 0xFFFFFFFF))),
        pdu.command(rng.randrange(65536), sop_instance=uid), pdu.command(0x8001, sop_instance=uid),
        pdu.command(0x0FFF, sop_instance=uid), pdu.command(0x0020, sop_instance=uid),
        pdu.command(0x0001, sop_instance=uid, extra=pdu.element(0x1030, text)),
        pdu.command(0x0001, sop_instance=uid, extra=pdu.element(0x0010, b"", group=8, length=0xFFFFFFFF)),
        pdu.command(0x0001, sop_instance=b"9" * 70_000), pdu.command(0x0001, sop_class=b"1" * 66_000),
        pdu.command(0x0001), b"", rng.randbytes(rng.randrange(1, 200)),
        pdu.element(0x0100, b"\x01\x00", length=0xFFFFFFFF), pdu.element(0x0100, b"\x01"),
        pdu.command(0x0001, sop_instance=uid)[:-rng.randint(1, 30)],
    ))  # fmt: skip
    return _after_opening(pdu.p_data(pdu.pdv(3, COMMAND | LAST, rq)), pdu.p_data(pdu.pdv(3, LAST, data)))


def _data_sets(rng: random.Random) -> list[Step]:
    """A data set that is not that of the request, or none at all."""
    uid, data = data_set(rng)
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        spoilt[rng.randrange(len(spoilt) - 512)] = rng.randrange(256)
    return _after_opening(
        *pdu.store(uid, rng.choice((bytes(spoilt), data[: rng.randrange(600)], rng.randbytes(99))))
    )


def _at_any_point(end: bytes) -> Callable[[random.Random], list[Step]]:
    """An A-ABORT or A-RELEASE-RQ before, within or behind any part of a whole conversation."""

    def make(rng: random.Random) -> list[Step]:
        uid, data = data_set(rng)
        parts = [pdu.associate(), *pdu.store(uid, data, cut=100), *pdu.store(uid, data, cut=100), pdu.RELEASE]
        at = rng.randrange(len(parts) + 1)
        steps: list[Step] = []
        for number, part in enumerate(parts[:at]):
            steps += [("send", part), *([AWAIT] if number == 0 else [])]
        return [*steps, ("send", end), AWAIT, *((("send", end), AWAIT) if rng.random() < 0.2 else ())]

    return make


def _garbage(rng: random.Random) -> list[Step]:
    before = rng.choice((b"", pdu.associate()))
    noise = rng.choice((
        rng.randbytes(rng.choice((1, 5, 6, 7, 100, 70_000))), b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(505), bytes(1000), b"\xff" * 1000,
        pdu.pdu(rng.randrange(8, 256), rng.randbytes(40)),
        pdu.pdu(rng.randint(2, 7), rng.randbytes(rng.randrange(90))),
    ))  # fmt: skip
    return [("send", before), *([AWAIT] if before else []), ("send", noise), AWAIT]


def _cut_off(end: str) -> Callable[[random.Random], list[Step]]:
    """The connection ends in the middle of whatever is being sent."""

    def make(rng: random.Random) -> list[Step]:
        uid, data = data_set(rng)
        whole = b"".join((pdu.associate(), *pdu.store(uid, data), pdu.RELEASE))
        opening = len(pdu.associate())
        at = rng.choice((0, 3, 6, 50, opening, opening + 3, rng.randrange(len(whole))))
        first, rest = whole[: min(at, opening)], whole[opening:at]
        steps: list[Step] = [("send", first), *([AWAIT] if at >= opening else []), ("send", rest)]
        return [*steps, (end, b""), *([AWAIT] if end == "half-close" else [])]

    return make


def _goes_silent(rng: random.Random) -> list[Step]:
    """Half a message, then nothing: the gate must end it by its own time limits."""
    uid, data = data_set(rng)
    parts = pdu.store(uid, data)
    half = rng.choice((b"", pdu.associate()[: rng.choice((1, 5, 40))]))
    if rng.random() < 0.5:
        return [("send", half), AWAIT]
    return _after_opening(parts[0], parts[1][: rng.choice((0, 3, 200))])


KINDS: dict[str, Callable[[random.Random], Iterator[Step] | list[Step]]] = {
    "nothing wrong": _good,
    "request: PDU length": _request_length,
    "request: items": _request_items,
    "request: contexts": _contexts,
    "request: user information": _user_information,
    "request: AE titles": _titles,
    "request: version, application, flips": _request_fields,
    "P-DATA: lengths": _pdata_lengths,
    "P-DATA: context never accepted": _wrong_context,
    "P-DATA: fragments and flags": _fragments,
    "command set": _command_sets,
    "data set": _data_sets,
    "A-ABORT at any point": _at_any_point(pdu.ABORT_PDU),
    "A-RELEASE at any point": _at_any_point(pdu.RELEASE),
    "garbage": _garbage,
    "closes half-way": _cut_off("close"),
    "closes its half": _cut_off("half-close"),
    "resets half-way": _cut_off("reset"),
}
SILENT = "goes silent"  #: each costs a time limit, so one of it comes with every hundred cases


def silent(seed: int, number: int) -> Case:
    """A case of the kind that waits for the gate's own time limits."""
    return Case(SILENT, tuple(_goes_silent(random.Random(f"{seed}:silent:{number}"))))
