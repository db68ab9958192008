"""Backups of a gate that runs, and their way back.

    <backup>/manifest.json     version, schema, what is inside
    <backup>/SHA256SUMS        of every file; `sha256sum -c SHA256SUMS` checks it without qagate
    <backup>/qagate.db         or qagate.pgdump
    <backup>/models/ reports/ spool/

The database is copied first. The spool is the journal: what came meanwhile is recorded from it after a
restore. A backup has its name only when it is whole and was read back.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from qagate import __version__
from qagate.durable import sync_folder
from qagate.store import dump
from qagate.store.migrate import current_revision, known_revision

_MANIFEST, _SUMS = "manifest.json", "SHA256SUMS"
_FORMAT = 1
_CHUNK = 1 << 20


class BackupError(RuntimeError):
    """A backup cannot be made or used; the message names the file and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself."""

    format: int
    qagate: str  #: version that made it
    schema: str  #: revision of the database
    database: str  #: "sqlite" or "postgresql"
    made_at: str  #: UTC
    data_dir: str  #: where the gate was; deliveries that wait name files there
    folders: tuple[str, ...]  #: of `spool`, `reports` and `models` those it holds


def make(target: Path, *, store_url: str, data_dir: Path, folders: tuple[str, ...]) -> tuple[Manifest, int]:
    """Back up the database and some folders of `data_dir`; return what was made and the number of files.

    Raises BackupError, StoreError, OSError; then nothing has the target's name.
    """
    if target.exists():
        raise BackupError(f"{target} is there already: name a new folder")
    schema = current_revision(store_url)
    if schema is None:
        raise BackupError("there is no database, or it is empty: nothing to back up")
    growing = target.with_name(target.name + ".part")
    if growing.exists():
        raise BackupError(f"{growing} is there: another backup is being made, or one broke off; remove it")
    growing.mkdir(parents=True, mode=0o700)  # it holds patient data
    try:
        manifest = Manifest(
            format=_FORMAT,
            qagate=__version__,
            schema=schema,
            database=dump.kind(store_url),
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            data_dir=str(data_dir),
            folders=folders,
        )
        copy = growing / dump.NAMES[manifest.database]
        dump.dump(store_url, copy)
        sums = {copy.name: _synced(copy)}
        for name in folders:
            for path in _files(data_dir / name):
                relative = f"{name}/{path.relative_to(data_dir / name).as_posix()}"
                digest = _copied(path, growing / relative)
                if digest is not None:
                    sums[relative] = digest
        _write(growing / _MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")
        sums[_MANIFEST] = _sha256(growing / _MANIFEST)
        _write(growing / _SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
        verify(growing)
        growing.rename(target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise
    return manifest, len(sums)


def verify(backup: Path) -> Manifest:
    """Read every file of a backup back and compare; return what it says of itself. Raises BackupError."""
    try:
        values = json.loads((backup / _MANIFEST).read_text(encoding="utf-8"))
        manifest = Manifest(**values | {"folders": tuple(values["folders"])})
        lines = (backup / _SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BackupError(
            f"{backup} is no backup of qagate: {_MANIFEST} or {_SUMS} cannot be read"
        ) from error
    if manifest.format != _FORMAT:
        raise BackupError(f"{backup} has format {manifest.format}; qagate {manifest.qagate} reads it")
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name, digest in sums.items():
        path = backup / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise BackupError(f"{backup / _SUMS} names a file outside of the backup: {name}")
        if not path.is_file():
            raise BackupError(f"{path} is missing: take another backup")
        if _sha256(path) != digest:
            raise BackupError(f"{path} is damaged: take another backup")
    there = {path.relative_to(backup).as_posix() for path in _files(backup)} - {_SUMS}
    if there != sums.keys():
        raise BackupError(f"{backup} holds a file that {_SUMS} does not name: {min(there - sums.keys())}")
    return manifest


def restore(backup: Path, *, store_url: str, data_dir: Path, force: bool) -> tuple[Manifest, Path | None]:
    """Bring a backup back; return what it was, and where a SQLite database that was there is kept.

    The gate must not run. Files of the spool that are there already stay. force: the database may hold
    something. Raises BackupError, StoreError, OSError.
    """
    manifest = verify(backup)
    if manifest.database != dump.kind(store_url):
        named = dump.kind(store_url)
        raise BackupError(
            f"{backup} is of a {manifest.database} database and database_url names a {named} one"
        )
    if not known_revision(manifest.schema):
        raise BackupError(f"{backup} has schema {manifest.schema}: restore it with qagate {manifest.qagate}")
    copy = backup / dump.NAMES[manifest.database]
    dump.check(store_url, copy)
    for name in manifest.folders:
        for path in _files(backup / name):
            _put_back(path, data_dir / name / path.relative_to(backup / name))
    former = dump.load(store_url, copy, overwrite=force)
    return manifest, former


def _put_back(source: Path, target: Path) -> None:
    if target.exists():
        if _sha256(source) != _sha256(target):
            raise BackupError(f"{target} is there with other content: move it away, then restore again")
        return
    if _copied(source, target) != _sha256(target):
        raise BackupError(f"{target} was not written as it was read: check the disk")


def _files(folder: Path) -> Iterator[Path]:
    """Files in a stable order, without what is still being received or written."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".part":
            yield path


def _copied(source: Path, target: Path) -> str | None:
    """Copy a file durably, its time with it (a spooled file's is that of receipt); return its SHA-256.

    None when it was deleted meanwhile.
    """
    growing = target.with_name(target.name + ".part")
    try:
        with source.open("rb") as read:
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with growing.open("wb") as written:
                while chunk := read.read(_CHUNK):
                    digest.update(chunk)
                    written.write(chunk)
                written.flush()
                status = os.fstat(read.fileno())
                os.utime(growing, ns=(status.st_atime_ns, status.st_mtime_ns))
                os.fsync(written.fileno())
    except FileNotFoundError:
        return None
    growing.rename(target)
    return digest.hexdigest()


def _synced(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _sha256(path)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
