"""Stores mutated data sets over the network, the way a scanner would that believes in them."""

from __future__ import annotations

from collections import Counter
from io import BufferedReader, BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import cast

import fuzz_associations
import fuzz_mutate
import fuzz_pdu as pdu
from fuzz_peer import play

from qagate.dicom.headers import HeaderError, read_header
from qagate.dicom.part10 import Part10Error, read_file_meta

_UNKNOWN = b"2.25.404"  #: where the data set names no UID
LARGEST = 4 << 20  #: bytes sent


def store(port: int, seed: int, cases: int, limit_s: float) -> Counter[tuple[str, str]]:
    """Store the first cases of a seed, one an association; (kind, outcome) -> cases."""
    tally: Counter[tuple[str, str]] = Counter()
    for number in range(cases):
        case = fuzz_mutate.case(seed, number)
        steps = _steps(case.data)
        outcome = "no Part 10 file" if steps is None else play(
            fuzz_associations.Case(case.kind, steps), port, limit_s
        ).outcome  # fmt: skip
        tally[case.kind, outcome] += 1
    return tally


def _steps(data: bytes) -> tuple[fuzz_associations.Step, ...] | None:
    file = BytesIO(data)
    try:
        meta = read_file_meta(cast(BufferedReader, file))
    except Part10Error:
        return None
    sop_class, sop_instance = pdu.CT, _UNKNOWN
    with NamedTemporaryFile(suffix=".dcm") as named:
        Path(named.name).write_bytes(data)
        try:
            header = read_header(Path(named.name))
            sop_class, sop_instance = header.sop_class_uid.encode(), header.sop_instance_uid.encode()
        except HeaderError:
            pass
    syntax = meta.transfer_syntax_uid.encode("ascii", "replace")[:64]
    rest = file.read()[:LARGEST]
    request = pdu.associate(contexts=pdu.context(3, sop_class, [syntax]))
    sent = [("send", part) for part in pdu.store(sop_instance, rest, sop_class=sop_class, cut=16_000)]
    await_ = ("await", b"")
    return (("send", request), await_, *sent, await_, ("send", pdu.RELEASE), await_)
