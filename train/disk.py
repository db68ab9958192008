"""Files that are whole or absent, and a full disk said by name."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class NoSpaceError(RuntimeError):
    """The disk is full, or would be; the message says what was to be written and the mend."""


@contextmanager
def full_disk_named(what: str) -> Iterator[None]:
    """Turn a full disk into NoSpaceError naming what was to be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise NoSpaceError(
            f"the disk is full: {what} could not be written; what was written before is whole. Free space, "
            "then go on with `qagate train resume`"
        ) from error


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write under another name, flush, rename: a crash leaves the old file or the new one, never a part.

    Raises NoSpaceError when the disk is full; the old file stays.
    """
    data = content.encode() if isinstance(content, str) else content
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with full_disk_named(f"{path.name} ({len(data) / 1e6:.1f} MB)"):
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
