"""A network client that sends what it is told, right or wrong."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
)
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext

from qagate.dicom.part10 import read_file_meta

MakeFile = Callable[..., Path]
MakeGate = Callable[..., Any]
CT = [build_context(CTImageStorage, ExplicitVRLittleEndian)]
STORESCU, ECHOSCU = Path("/usr/bin/storescu"), Path("/usr/bin/echoscu")
PRIVATE_CLASS = "1.2.826.0.1.3680043.10.999.1"
FUTURE_CLASS = "1.2.840.10008.5.1.4.1.1.999"
PRIVATE_SYNTAX = "1.2.840.113619.5.2"


@contextmanager
def association(
    gate: Any,
    contexts: list[PresentationContext] | None = None,
    *,
    calling: str = "CT1",
    called: str = "QAGATE",
) -> Iterator[Association]:
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    link = ae.associate("127.0.0.1", gate.port, contexts=contexts or CT, ae_title=called)
    try:
        yield link
    finally:
        if link.is_established:
            link.release()


def send_bytes(
    link: Association, data: bytes, sop_class: str, sop_instance: str | None, *, has_data: bool = True
) -> Dataset:
    """Send one C-STORE of any bytes at all and return the answer."""
    context = next(cx for cx in link.accepted_contexts if cx.abstract_syntax == sop_class or has_data)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = sop_class
    if sop_instance is not None:
        request.AffectedSOPInstanceUID = sop_instance
    request.DataSet = io.BytesIO(data)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.command_set.CommandDataSetType = 0x0001 if has_data else 0x0101
    link._reactor_checkpoint.clear()
    try:
        for part in message.encode_msg(context.context_id or 1, link.dimse.maximum_pdu_size):
            link.dul.send_pdu(part)
        if has_data and not data:
            empty = P_DATA()
            empty.presentation_data_value_list = [[context.context_id, b"\x02"]]
            link.dul.send_pdu(empty)
        _, answer = link.dimse.get_msg(block=True)
    finally:
        link._reactor_checkpoint.set()
    assert answer is not None, "no answer"
    result = Dataset()
    result.Status = answer.Status
    result.ErrorComment = answer.ErrorComment
    return result


def encoded(path: Path) -> tuple[bytes, str]:
    with path.open("rb") as file:
        meta = read_file_meta(file)
        return file.read(), meta.sop_instance_uid
