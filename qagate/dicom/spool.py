"""The spool: every accepted instance as a Part 10 file, durable before it is acknowledged.

    <root>/receiver.lock                                     held by the process that receives
    <root>/incoming/                                         what is still being received
    <root>/series/<3 hex>/<series uid>/<sop uid>.dcm         accepted
    <root>/series/<3 hex>/<series uid>/<sop uid>.conflict-<8 hex>.dcm    other bytes under the same UID

The three hexadecimal digits are the head of the series UID's SHA-256: 4,096 folders keep each one short
with hundreds of thousands of series. File names derive from validated UIDs only. The folder is the journal:
sender, time of receipt and identity of every instance are read back from the file alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import uuid
from collections import OrderedDict
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import structlog

from qagate.dicom.headers import HeaderError, InstanceHeader, is_uid, read_header
from qagate.dicom.part10 import FileMeta, Part10Error, hash_data_set, read_file_meta
from qagate.durable import make_folder, sync_file, sync_folder
from qagate.reason import why
from qagate.series import Instance, Received

_log = structlog.get_logger()
_KNOWN_FOLDERS = 4096  #: series folders remembered as durable
_CONFLICT = ".conflict-"


class SpoolError(RuntimeError):
    """The spool cannot be used; the message names folder and mend."""


class Outcome(Enum):
    """What became of a placed file."""

    NEW = "NEW"  #: the first of its SOP Instance UID
    DUPLICATE = "DUPLICATE"  #: the same data set, byte for byte, lies there already
    CONFLICT = "CONFLICT"  #: another data set has this SOP Instance UID; kept beside it


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where an instance lies, durably."""

    path: str  #: relative to the root, with forward slashes
    sha256: str  #: of the encoded data set
    size: int  #: bytes of the encoded data set
    received_at: datetime  #: UTC; of a duplicate, when the first came
    outcome: Outcome


class Spool:
    """A folder tree of received instances. Threads and processes may place at the same time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self.series = root / "series"
        self._lock = threading.Lock()
        self._durable: OrderedDict[Path, None] = OrderedDict()
        for folder in (root, self.incoming, self.series):
            make_folder(folder)
            sync_folder(folder.parent)  # who made it may have died before

    @contextlib.contextmanager
    def reserved(self) -> Iterator[None]:
        """Receive into this spool alone, while the block runs or the process lives.

        Raises SpoolError when another process does: it would lose what it is receiving to `recover`.
        """
        with (self.root / "receiver.lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SpoolError(
                    f"another receiver works on {self.root}: stop it, or give this one a data_dir of its own"
                ) from None
            yield

    def recover(self) -> int:
        """Delete what a dead process was receiving (never acknowledged); return how many files.

        Call it before reception starts, and only in `reserved`.
        """
        leftovers = list(self.incoming.iterdir())
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)
        if leftovers:
            _log.info("delete_leftovers", count=len(leftovers))
        return len(leftovers)

    def free_bytes(self) -> int:
        """Return the bytes an ordinary user may still write."""
        status = os.statvfs(self.incoming)
        return status.f_bavail * status.f_frsize

    def temporary(self) -> Path:
        """Return a new, unused path on the spool's file system."""
        return self.incoming / f"{os.getpid()}-{uuid.uuid4().hex}.part"

    def absolute(self, relative: str) -> Path:
        """Return the full path of a spooled instance; ValueError when it would leave the spool."""
        path = self.root / relative
        if Path(relative).is_absolute() or ".." in Path(relative).parts:
            raise ValueError(f"{relative!r} is not a path inside the spool")
        return path

    def folder(self, series_instance_uid: str) -> Path:
        """Return the folder of a series; ValueError when the value is no UID."""
        if not is_uid(series_instance_uid):
            raise ValueError("a series folder needs a UID of digits and dots")
        digest = hashlib.sha256(series_instance_uid.encode("ascii")).hexdigest()
        return self.series / digest[:3] / series_instance_uid

    def place(
        self, temporary: Path, header: InstanceHeader, *, sha256: str | None = None, size: int | None = None
    ) -> Placed:
        """Publish a complete Part 10 file of this file system under its UIDs, durably and never overwriting.

        The order is: fsync the file, link it to its name (which fails if the name is taken), fsync the
        folder, remove the temporary name. A crash at any point leaves either nothing under the final name
        or the whole file. `sha256` and `size` of the data set are computed when not given.

        Raises OSError (ENOSPC, EDQUOT, EIO ...) when the file system refuses; nothing is accepted then.
        """
        if sha256 is None or size is None:
            sha256, size = hash_data_set(temporary)
        sync_file(temporary)
        folder = self.folder(header.series_instance_uid)
        if not is_uid(header.sop_instance_uid):
            raise ValueError("a file name needs a UID of digits and dots")
        outcome = Outcome.NEW
        target = folder / f"{header.sop_instance_uid}.dcm"
        if not self._publish(temporary, target):
            outcome = Outcome.DUPLICATE
            if not _same(target, sha256, size):
                outcome = Outcome.CONFLICT
                target = self._publish_conflict(temporary, target, sha256, size)
        # A duplicate waits for this too: whoever placed the first may not have synced it yet.
        sync_folder(folder)
        temporary.unlink(missing_ok=True)
        return Placed(
            path=target.relative_to(self.root).as_posix(),
            sha256=sha256,
            size=size,
            received_at=_received_at(target),
            outcome=outcome,
        )

    def holds(self, instance: Instance) -> bool:
        """Tell whether these very bytes lie under the instance's name."""
        try:
            return _same(self.absolute(instance.path), instance.sha256, instance.size)
        except FileNotFoundError:
            return False

    def remove(self, relative: str) -> bool:
        """Delete an instance, and its folders when they are empty then; False when it was gone already."""
        path = self.absolute(relative)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        with contextlib.suppress(OSError):  # another instance is there, or just came
            path.parent.rmdir()
        return True

    def paths(self, *, conflicts: bool = False) -> Iterator[str]:
        """Yield the relative path of every accepted instance, or of every conflicting one instead."""
        for bucket in sorted(self.series.iterdir()):
            for folder in sorted(bucket.iterdir()):
                for path in sorted(folder.iterdir()):
                    if path.suffix == ".dcm" and (_CONFLICT in path.name) == conflicts:
                        yield path.relative_to(self.root).as_posix()

    def read(self, relative: str) -> Received:
        """Read back from the file alone what was reported when it was received.

        Raises HeaderError when the file is damaged.
        """
        path = self.absolute(relative)
        header = read_header(path)
        try:
            with path.open("rb") as file:
                meta = read_file_meta(file)
            sha256, size = hash_data_set(path)
        except Part10Error as error:
            raise HeaderError(str(error)) from error
        placed = Placed(
            path=relative, sha256=sha256, size=size, received_at=_received_at(path), outcome=Outcome.DUPLICATE
        )
        return received(header, meta, placed)

    def walk(self, known: Container[str] = frozenset(), *, conflicts: bool = False) -> Iterator[Received]:
        """Yield every spooled instance whose relative path is not `known`, for recovery into the database.

        A file that cannot be read is logged by its path and passed over; it is never deleted.
        """
        for relative in self.paths(conflicts=conflicts):
            if relative in known:
                continue
            try:
                yield self.read(relative)
            except (HeaderError, OSError) as error:
                _log.error("pass_over_spooled_file", path=relative, reason=why(error))

    def _publish(self, temporary: Path, target: Path) -> bool:
        """Give the file its name; False when the name is taken."""
        self._make_durable(target.parent)
        try:
            _link(temporary, target)
        except FileExistsError:
            return False
        except FileNotFoundError:
            # The series was removed since its folder was remembered.
            with self._lock:
                self._durable.pop(target.parent, None)
            self._make_durable(target.parent)
            try:
                _link(temporary, target)
            except FileExistsError:
                return False
        return True

    def _publish_conflict(self, temporary: Path, taken: Path, sha256: str, size: int) -> Path:
        for digits in (8, 64):
            target = taken.with_name(f"{taken.stem}{_CONFLICT}{sha256[:digits]}.dcm")
            if self._publish(temporary, target) or _same(target, sha256, size):
                return target
        raise SpoolError(f"{taken.parent} holds a file under the name of {sha256} with other content")

    def _make_durable(self, folder: Path) -> None:
        """Make a series folder, and make sure that it and its parents survive a power cut."""
        with self._lock:
            if folder in self._durable:
                self._durable.move_to_end(folder)
                return
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
            sync_folder(self.series)
            self._durable[folder] = None
            if len(self._durable) > _KNOWN_FOLDERS:
                self._durable.popitem(last=False)


def received(header: InstanceHeader, meta: FileMeta, placed: Placed) -> Received:
    """Join what header, file meta and place say into the record of one accepted instance."""
    instance = Instance(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        series_instance_uid=header.series_instance_uid,
        study_instance_uid=header.study_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        calling_ae_title=meta.sending_ae_title,
        path=placed.path,
        sha256=placed.sha256,
        size=placed.size,
        received_at=placed.received_at,
    )
    return Received(instance=instance, header=header.series)


def _same(path: Path, sha256: str, size: int) -> bool:
    """Tell whether a spooled file holds this data set. A damaged file holds no data set: it differs."""
    try:
        with path.open("rb") as file:
            read_file_meta(file)
            if os.fstat(file.fileno()).st_size - file.tell() != size:
                return False
        return hash_data_set(path)[0] == sha256
    except Part10Error:
        return False


def _received_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _link(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target)
    except PermissionError as error:
        raise SpoolError(
            f"{target.parent} takes no hard links: put the spool on a local file system such as ext4 or xfs"
        ) from error
