"""fsck, reconcile, replay, backup, restore and audit, on a gate that runs beside a real archive."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from neighbours import OrthancServer

pytestmark = pytest.mark.slow  # a process for each command


@pytest.fixture(scope="module")
def orthanc(make_orthanc: Callable[..., OrthancServer]) -> OrthancServer:
    """The archive."""
    return make_orthanc()


@pytest.fixture(scope="module")
def gate(make_gate: Callable[..., Any], orthanc: OrthancServer) -> Any:
    """A gate that forwards to it."""
    return make_gate(mode="forward", archive=[orthanc.settings()], alerts={"urls": []})


@pytest.fixture(scope="module")
def uid(gate: Any, made: Any) -> str:
    """A series that went all the way."""
    uid: str
    uid, paths = made.series(3)
    gate.send(paths)
    gate.ended(uid, states=("DELIVERED",))
    return uid


def test_everything_fits_until_the_archive_loses_something(
    gate: Any, orthanc: OrthancServer, uid: str
) -> None:
    done = gate.run("fsck", "--deep")
    assert (done.returncode, done.stdout) == (0, "everything fits\n"), done.stdout + done.stderr
    (report,) = orthanc.documents("SR").values()
    orthanc.delete(f"/instances/{report}")
    done = gate.run("fsck")
    assert done.returncode == 1
    assert f"FOUND   pacs: Series {uid}: pacs acknowledged the report of revision 1" in done.stdout
    assert "1 left to mend, 0 mended\n`qagate fsck --resend` sets some of it right\n" in done.stdout
    (line,) = gate.run("fsck", "--resend", "--json").stdout.splitlines()
    assert json.loads(line)["mended"] == "to be sent again"
    assert gate.until(lambda: orthanc.documents("SR"))
    gate.ended(uid, states=("DELIVERED",))
    assert gate.run("fsck").returncode == 0


def test_the_day_is_counted(gate: Any, uid: str) -> None:
    day = gate.ended(uid).row.last_received_at.astimezone(UTC).date()
    done = gate.run("reconcile", str(day), "--json")
    (found,) = map(json.loads, done.stdout.splitlines())
    assert (found["received"], found["decided"], found["delivered"], found["differences"]) == (1, 1, 1, [])
    assert done.returncode == 0
    assert "no day was counted yet" in gate.run("reconcile").stdout


def test_a_replay_keeps_and_sends_nothing(gate: Any, uid: str, tmp_path: Path) -> None:
    before = gate.history(uid)
    out = tmp_path / "replay.jsonl"
    done = gate.run("replay", uid[-9:], "--model", "default", "--json", "--out", str(out))
    assert done.returncode == 0, done.stderr
    (found,) = map(json.loads, done.stdout.splitlines())
    assert json.loads(out.read_text()) == found
    same = ("verdict", "quality", "score", "model", "weights_sha256")
    assert [found["former"][name] for name in same] == [found["replayed"][name] for name in same]
    assert gate.history(uid) == before
    told = gate.run("replay", "--limit", "5").stdout
    assert told.endswith("1 series, 0 verdicts differ\n")


def test_only_the_champion_may_send(gate: Any, uid: str) -> None:
    others = json.loads(gate.run("models", "--json").stdout.splitlines()[-1])
    assert others
    done = gate.run("replay", uid, "--send", "--model", "no-such-model")
    assert done.returncode == 1 and "no-such-model" in done.stderr
    assert gate.run("replay", uid, "--send").returncode == 0
    assert gate.ended(uid, revision=2, states=("DELIVERED",)).row.revision == 2


def test_a_backup_of_a_running_gate_comes_back_elsewhere(
    gate: Any, make_gate: Callable[..., Any], orthanc: OrthancServer, uid: str, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    done = gate.run("backup", str(backup))
    assert done.returncode == 0, done.stderr
    assert "database, models, reports, spool;" in done.stdout and "read back and whole" in done.stdout
    done = gate.run("restore", str(backup), "--force")
    assert done.returncode == 1 and "stop it, then restore" in done.stderr
    new = make_gate(start=False, mode="forward", archive=[orthanc.settings()], alerts={"urls": []})
    done = new.run("restore", str(backup))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("everything fits\n")
    first, second = gate.history(uid), new.history(uid)
    assert first is not None and second is not None
    assert second.row.series_instance_uid == uid and second.results == first.results
    assert new.run("restore", str(backup)).returncode == 1, "there is a database now"
    done = new.run("audit", "verify")
    assert done.returncode == 0 and done.stdout.startswith("the audit trail is whole: ")
    new.start()
    assert new.stop() == 0, "it runs"


def test_a_touched_trail_is_told(gate: Any, uid: str) -> None:
    head = gate.run("audit", "verify").stdout.split()[-1]
    assert gate.run("audit", "verify", "--known", head).returncode == 0
    done = gate.run("audit", "verify", "--known", "0" * 64)
    assert done.returncode == 1 and "no row of the audit trail has the hash" in done.stderr
    with closing(sqlite3.connect(gate.data / "qagate.db", timeout=30)) as connection, connection:
        connection.execute("DROP TRIGGER audit_no_update")
        connection.execute("UPDATE audit SET actor = 'eve' WHERE id = (SELECT min(id) FROM audit)")
    done = gate.run("audit", "verify")
    assert done.returncode == 1 and "was changed after it was written" in done.stderr


def test_what_a_crash_left_unrecorded_is_mended(gate: Any, made: Any, uid: str) -> None:
    other, paths = made.series(2)
    gate.send(paths)
    gate.ended(other, states=("DELIVERED",))
    with closing(sqlite3.connect(gate.data / "qagate.db", timeout=30)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM series WHERE series_instance_uid = ?", (other,))
    long_ago = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    for path in gate.data.glob(f"spool/series/*/{other}/*.dcm"):
        os.utime(path, (long_ago, long_ago))
    done = gate.run("fsck", "--mend", "--no-archives")
    assert f"Series {other}: 2 spooled instances not in the database." in done.stdout
    assert "Recorded 2 instances; the series is scored anew." in done.stdout
    gate.ended(other, states=("DELIVERED",))


def test_the_services_purge_and_export(
    make_gate: Callable[..., Any], orthanc: OrthancServer, made: Any, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)
        gate = make_gate(
            mode="forward",
            archive=[orthanc.settings()],
            alerts={"urls": []},
            retention={"keep_days": 1e-6, "every_s": 0.5},
            audit={"syslog": f"127.0.0.1:{server.getsockname()[1]}", "transport": "udp"},
        )
        uid, paths = made.series(2)
        gate.send(paths)
        assert gate.until(lambda: (found := gate.history(uid)) and found.row.purged_at)
        assert not list(gate.data.glob(f"spool/series/*/{uid}"))
        assert "images purged 20" in gate.run("status", uid).stdout
        assert gate.run("fsck").returncode == 0, "the archive has what was purged"
        done = gate.run("requeue", uid)
        assert done.returncode == 1 and f"the images of series {uid} were purged" in done.stderr
        assert gate.run("backup", str(tmp_path / "backup"), "--by", "anna").returncode == 0
        message = server.recv(65536)
    assert b'csd-code="110106"' in message and b'UserID="anna"' in message
