"""Backups while others write, and back again, on both databases."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from qagate.backup import BackupError, make, restore, verify
from qagate.series import Received
from qagate.store.audit import Trail
from qagate.store.engine import open_store
from qagate.store.errors import StoreError
from qagate.store.migrate import check_revision, current_revision
from qagate.store.queue import Queue
from qagate.store.views import Views

FOLDERS = ("models", "reports", "spool")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A gate's folder: files with times, one that is still being received."""
    folder = tmp_path / "data"
    for name in ("spool/series/abc/1.2/1.dcm", "reports/1.2/1-kos.dcm", "models/a.safetensors"):
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode() * 1000)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    (folder / "spool/incoming").mkdir()
    (folder / "spool/incoming/1-2.part").write_bytes(b"half")
    return folder


@pytest.fixture
def elsewhere(make_url: Callable[[], str]) -> str:
    """A database without schema to restore to, of the kind of `filled`."""
    url = make_url()
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).unlink()
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
    return url


@pytest.fixture
def filled(make_url: Callable[[], str], arrive: Callable[..., Received]) -> str:
    """A database with a series and an act."""
    url = make_url()
    with open_store(url) as store:
        Queue(store).record([arrive("1.2.1", number) for number in (1, 2)])
        Trail(store).add(actor="anna", act="agree")
    return url


def test_there_and_back(filled: str, elsewhere: str, data_dir: Path, tmp_path: Path) -> None:
    backup, new = tmp_path / "backup", tmp_path / "new"
    manifest, files = make(backup, store_url=filled, data_dir=data_dir, folders=FOLDERS)
    assert (files, manifest.folders) == (5, FOLDERS)
    assert backup.stat().st_mode & 0o077 == 0, "for the owner alone"
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=backup, check=False)
    assert done.returncode == 0
    assert restore(backup, store_url=elsewhere, data_dir=new, force=False) == (manifest, None)
    check_revision(elsewhere)
    with open_store(elsewhere) as store:
        assert Views(store).overview().counts == {"RECEIVING": 1}
        trail = Trail(store)
        assert trail.verify().rows == 1
        trail.add(actor="anna", act="restore")
        assert trail.verify().rows == 2
        with pytest.raises(StoreError, match="only ever added"), store.write() as connection:
            connection.exec_driver_sql("DELETE FROM audit")
    spooled = new / "spool/series/abc/1.2/1.dcm"
    assert spooled.read_bytes() == (data_dir / "spool/series/abc/1.2/1.dcm").read_bytes()
    assert spooled.stat().st_mtime == 1_700_000_000, "the time of receipt"
    assert not (new / "spool/incoming").exists()


def test_without_spool_and_reports(filled: str, data_dir: Path, tmp_path: Path) -> None:
    make(tmp_path / "backup", store_url=filled, data_dir=data_dir, folders=("models",))
    assert {path.name for path in (tmp_path / "backup").iterdir()} >= {"models", "manifest.json"}
    assert not (tmp_path / "backup" / "spool").exists()


def test_one_moment_while_others_write(
    filled: str, elsewhere: str, data_dir: Path, tmp_path: Path, arrive: Callable[..., Received]
) -> None:
    stop, written = threading.Event(), threading.Event()

    def write() -> None:
        with open_store(filled) as store:
            queue, trail, number = Queue(store), Trail(store), 0
            while not stop.is_set():
                number += 1
                queue.record([arrive(f"1.3.{number}", n) for n in (1, 2)])
                trail.add(actor="w", act="agree")
                if number == 3:
                    written.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(60)
        make(tmp_path / "backup", store_url=filled, data_dir=data_dir, folders=())
    finally:
        stop.set()
        writer.join()
    restore(tmp_path / "backup", store_url=elsewhere, data_dir=tmp_path / "new", force=False)
    with open_store(elsewhere) as store, open_store(filled) as former:
        series = Views(store).overview(limit=100_000).series
        assert 4 <= len(series) <= len(Views(former).overview(limit=100_000).series)
        assert {one.instance_count for one in series} == {2}, "no half of a transaction"
        assert len(series) - 2 <= Trail(store).verify().rows <= len(series)


def test_a_database_that_holds_something_is_only_replaced_by_force(
    filled: str, make_url: Callable[[], str], data_dir: Path, tmp_path: Path
) -> None:
    backup, target = tmp_path / "backup", make_url()
    make(backup, store_url=filled, data_dir=data_dir, folders=FOLDERS)
    with pytest.raises(StoreError, match="--force"):
        restore(backup, store_url=target, data_dir=data_dir, force=False)
    _, former = restore(backup, store_url=target, data_dir=data_dir, force=True)
    with open_store(target) as store:
        assert Views(store).overview().counts == {"RECEIVING": 1}
    if former is not None:
        assert current_revision(f"sqlite:///{former}") is not None, "put aside, not deleted"


def test_a_damaged_backup_is_refused(filled: str, data_dir: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    make(backup, store_url=filled, data_dir=data_dir, folders=FOLDERS)
    with pytest.raises(BackupError, match="is there already"):
        make(backup, store_url=filled, data_dir=data_dir, folders=())
    spooled = backup / "spool/series/abc/1.2/1.dcm"
    spooled.write_bytes(spooled.read_bytes()[:-1] + b"x")
    with pytest.raises(BackupError, match=r"1\.dcm is damaged"):
        verify(backup)
    spooled.unlink()
    with pytest.raises(BackupError, match=r"1\.dcm is missing"):
        restore(backup, store_url=filled, data_dir=data_dir, force=True)
    with pytest.raises(BackupError, match="no backup of qagate"):
        verify(data_dir)


def test_a_backup_of_a_newer_schema_or_of_the_other_kind_is_refused(
    filled: str, data_dir: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    make(backup, store_url=filled, data_dir=data_dir, folders=())
    other = "postgresql://nobody@127.0.0.1:1/x" if filled.startswith("sqlite") else "sqlite:////nowhere/x.db"
    with pytest.raises(BackupError, match=r"is of a \w+ database and database_url names"):
        restore(backup, store_url=other, data_dir=data_dir, force=True)
    values = json.loads((backup / "manifest.json").read_text()) | {"schema": "9999", "qagate": "9.9"}
    (backup / "manifest.json").write_text(json.dumps(values))
    sums = subprocess.run(
        ["sha256sum", "manifest.json"], cwd=backup, capture_output=True, text=True, check=True
    )
    lines = [one for one in (backup / "SHA256SUMS").read_text().splitlines() if "manifest" not in one]
    (backup / "SHA256SUMS").write_text("\n".join([*lines, sums.stdout.strip()]) + "\n")
    with pytest.raises(BackupError, match=r"schema 9999: restore it with qagate 9\.9"):
        restore(backup, store_url=filled, data_dir=data_dir, force=True)


def test_a_backup_that_breaks_off_leaves_nothing(filled: str, data_dir: Path, tmp_path: Path) -> None:
    (data_dir / "spool/series/abc/1.2/2.dcm").write_bytes(bytes(4 << 20))
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, most))  # as a quota would
    try:
        with pytest.raises(OSError, match="File too large"):
            make(tmp_path / "backup", store_url=filled, data_dir=data_dir, folders=FOLDERS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("backup*"))
    with pytest.raises(BackupError, match="nothing to back up"):
        make(tmp_path / "backup", store_url="sqlite:////nowhere/x.db", data_dir=data_dir, folders=FOLDERS)
    assert not list(tmp_path.glob("backup*"))


def test_no_password_on_the_command_line(
    filled: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if filled.startswith("sqlite"):
        pytest.skip("SQLite has no password")
    real, seen = shutil.which("pg_dump"), tmp_path / "seen"
    assert real
    spy = tmp_path / "bin" / "pg_dump"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\necho "$@" "[$PGPASSWORD]" > {seen}\nexec {real} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    url = filled.replace("qagate@", "qagate:s3cret@")
    make(tmp_path / "backup", store_url=url, data_dir=data_dir, folders=())
    words = seen.read_text().split()
    assert words[-1] == "[s3cret]" and not any("s3cret" in word for word in words[:-1])
