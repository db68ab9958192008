"""The storage SCU: C-ECHO and C-STORE to an archive.

A file is sent as the bytes it holds. Only when the archive does not take its transfer syntax and the data
set is not compressed is it written anew as Implicit VR Little Endian, which every archive takes (PS3.5
section 10.1). Pixels are never decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from qagate.dicom.outgoing import Archive, DeliveryError, associate
from qagate.dicom.part10 import FileMeta, Part10Error, read_file_meta
from qagate.dicom.source import READ_ERRORS, check_bounds
from qagate.reason import why

__all__ = ["Archive", "Delivery", "DeliveryError", "StoreResult", "echo", "store"]

_log = structlog.get_logger()
_MAX_CONTEXTS = 128  #: PS3.8 9.3.2.2: odd identifiers up to 255
_CONVERTIBLE = frozenset({ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian})
_TRANSIENT = frozenset({0x0110, 0x0210, 0x0213})  #: processing failure, duplicate invocation, resources
_DUPLICATE = 0x0111  #: the archive has this SOP instance
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


class Delivery(Enum):
    """What became of one file."""

    DELIVERED = "DELIVERED"  #: the archive has it
    RETRY = "RETRY"  #: not now; the same file may be taken later
    REJECTED = "REJECTED"  #: the archive will not take it until someone mends something


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResult:
    """The archive's answer for one file."""

    path: Path
    sop_instance_uid: str  #: "" when the file could not be read
    status: int | None  #: of the C-STORE response; None when there was none
    delivery: Delivery
    message: str = ""  #: why not, or the archive's warning


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    meta: FileMeta

    @property
    def contexts(self) -> tuple[tuple[str, str], ...]:
        """The (abstract syntax, transfer syntax) pairs to propose for it."""
        own = (self.meta.sop_class_uid, self.meta.transfer_syntax_uid)
        plain = (self.meta.sop_class_uid, str(ImplicitVRLittleEndian))
        return (own, plain) if own[1] in _CONVERTIBLE else (own,)


def echo(archive: Archive) -> None:
    """Verify that the archive answers a C-ECHO. Raises DeliveryError."""
    association = associate(archive, [build_context(Verification)])
    status = association.send_c_echo()
    answered = status.get("Status")
    association.release()
    if answered is None:
        raise DeliveryError(f"{archive} did not answer a C-ECHO in {archive.timeout_s:g} s", transient=True)
    if answered != 0x0000:
        raise DeliveryError(f"{archive} answered a C-ECHO with 0x{answered:04X}", transient=False)


def store(archive: Archive, paths: Iterable[Path]) -> Iterator[StoreResult]:
    """Send files; yield one result for each, in order of sending.

    Files that need more than 128 presentation contexts together go over several associations. When an
    association breaks, its remaining files are RETRY.

    Raises
    ------
    DeliveryError
        When an association cannot be opened. The files not yielded by then were not sent.
    """
    files: list[_File] = []
    for path in paths:
        try:
            files.append(_open(path))
        except (Part10Error, OSError) as error:
            reason = why(error)
            yield StoreResult(
                path=path, sop_instance_uid="", status=None, delivery=Delivery.REJECTED, message=reason
            )
    for group in _groups(files):
        yield from _send(archive, group)


def _open(path: Path) -> _File:
    with path.open("rb") as file:
        meta = read_file_meta(file)
    if not meta.sop_class_uid or not meta.sop_instance_uid:
        raise Part10Error("the file meta information names no SOP class or instance (0002,0002), (0002,0003)")
    return _File(path, meta)


def _groups(files: Sequence[_File]) -> Iterator[list[_File]]:
    """Split files so that each group needs at most 128 contexts, keeping their order."""
    group: list[_File] = []
    contexts: set[tuple[str, str]] = set()
    for file in files:
        needed = contexts.union(file.contexts)
        if len(needed) > _MAX_CONTEXTS:
            yield group
            group, needed = [], set(file.contexts)
        group.append(file)
        contexts = needed
    if group:
        yield group


def _send(archive: Archive, files: Sequence[_File]) -> Iterator[StoreResult]:
    pairs = dict.fromkeys(pair for file in files for pair in file.contexts)
    contexts = [build_context(abstract, transfer) for abstract, transfer in pairs]
    association = associate(archive, contexts)
    taken = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in association.accepted_contexts
    }
    broken = False
    try:
        for number, file in enumerate(files):
            if broken:
                yield _result(file, None, Delivery.RETRY, f"{archive} ended the association")
                continue
            result = _send_one(archive, association, file, taken, number % 65535 + 1)
            # pynetdicom notes the end of an association later than it returns from a request.
            broken = result.delivery is Delivery.RETRY and result.status is None
            yield result
    finally:
        if association.is_established and not broken:
            association.release()
        elif association.is_established:
            association.abort()


def _send_one(
    archive: Archive, association: Association, file: _File, taken: set[tuple[str, str]], message_id: int
) -> StoreResult:
    pair = next((pair for pair in file.contexts if pair in taken), None)
    if pair is None:
        syntax = UID(file.meta.transfer_syntax_uid).name
        kind = UID(file.meta.sop_class_uid).name
        message = f"{archive} does not take {kind} in {syntax}: enable it in the archive's configuration"
        return _result(file, None, Delivery.REJECTED, message)
    unchanged = pair[1] == file.meta.transfer_syntax_uid
    try:
        source = file.path if unchanged else _rewritten(file.path)
        answer = association.send_c_store(source, msg_id=message_id)
    except OSError as error:
        return _result(file, None, Delivery.REJECTED, error.strerror or "the file cannot be read")
    except (*READ_ERRORS, RuntimeError) as error:
        if not association.is_established:
            return _result(file, None, Delivery.RETRY, f"{archive} ended the association")
        return _result(file, None, Delivery.REJECTED, f"it cannot be sent ({type(error).__name__})")
    return _judge(archive, file, answer)


def _rewritten(path: Path) -> Dataset:
    check_bounds(path)
    data_set = dcmread(path)
    # pynetdicom encodes it in the accepted context; what it starts from must not be deflated.
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data_set


def _judge(archive: Archive, file: _File, answer: Dataset) -> StoreResult:
    """Tell what a C-STORE response means, in words too."""
    status: int | None = answer.get("Status")
    if status is None:
        message = f"{archive} ended the association or did not answer in {archive.timeout_s:g} s"
        return _result(file, None, Delivery.RETRY, message)
    if status == 0x0000:
        return _result(file, status, Delivery.DELIVERED, "")
    # Its ErrorComment (0000,0902) stays unread: archives quote patient identifiers there.
    message = f"{archive} answered 0x{status:04X}"
    delivery = meaning(status)
    if delivery is Delivery.DELIVERED:
        _log.info(
            "note_warning", archive=archive.name, status=status, sop_instance_uid=file.meta.sop_instance_uid
        )
    return _result(file, status, delivery, message)


def meaning(status: int) -> Delivery:
    """What an archive's answer makes of a file; warnings and a duplicate it has already mean delivered.

    Source: PS3.4 B.2.3, PS3.7 annex C.
    """
    if status == 0x0000 or status in _WARNINGS or 0xB000 <= status <= 0xBFFF or status == _DUPLICATE:
        return Delivery.DELIVERED
    if status in _TRANSIENT or 0xA700 <= status <= 0xA7FF:
        return Delivery.RETRY
    return Delivery.REJECTED


def _result(file: _File, status: int | None, delivery: Delivery, message: str) -> StoreResult:
    return StoreResult(
        path=file.path,
        sop_instance_uid=file.meta.sop_instance_uid,
        status=status,
        delivery=delivery,
        message=message,
    )
