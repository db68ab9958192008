"""Placement: never overwriting, durable at every crash point, read back from the files alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qagate.dicom.headers import InstanceHeader, read_header
from qagate.dicom.part10 import FileMeta, hash_data_set, read_file_meta
from qagate.dicom.spool import Outcome, Placed, Spool, SpoolError
from qagate.series import SeriesHeader

EXPLICIT = "1.2.840.10008.1.2.1"


def header(sop: str = "1.2.3", series: str = "1.2") -> InstanceHeader:
    return InstanceHeader(
        sop_class_uid="1.9",
        sop_instance_uid=sop,
        study_instance_uid="1.1",
        series_instance_uid=series,
        series=SeriesHeader(modality="CT"),
    )


def incoming(spool: Spool, data_set: bytes = b"data", sender: str = "CT1") -> Path:
    meta = FileMeta(
        sop_class_uid="1.9", sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT, sending_ae_title=sender
    )
    path = spool.temporary()
    path.write_bytes(meta.encode() + data_set)
    return path


def content(spool: Spool, relative: str) -> bytes:
    with spool.absolute(relative).open("rb") as file:
        read_file_meta(file)
        return file.read()


def sop_uid(relative: str) -> str:
    return Path(relative).name.removesuffix(".dcm").split(".conflict")[0]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_new_duplicate_and_conflict(spool: Spool) -> None:
    first = spool.place(incoming(spool), header())
    again = spool.place(incoming(spool, sender="CT2"), header())
    other = spool.place(incoming(spool, b"other"), header())
    same_other = spool.place(incoming(spool, b"other"), header())
    assert [p.outcome for p in (first, again, other, same_other)] == [
        Outcome.NEW,
        Outcome.DUPLICATE,
        Outcome.CONFLICT,
        Outcome.CONFLICT,
    ]
    assert again.path == first.path and again.received_at == first.received_at
    assert other.path == same_other.path and f".conflict-{other.sha256[:8]}.dcm" in other.path
    assert content(spool, first.path) == b"data" and content(spool, other.path) == b"other"
    assert not list(spool.incoming.iterdir())
    assert list(spool.paths()) == [first.path] and list(spool.paths(conflicts=True)) == [other.path]


def test_a_removed_series_comes_again(spool: Spool) -> None:
    placed = spool.place(incoming(spool), header())
    shutil.rmtree(spool.absolute(placed.path).parent)
    assert spool.place(incoming(spool), header()).outcome is Outcome.NEW


def test_what_was_received_is_read_back(spool: Spool, make_file: Callable[..., Path]) -> None:
    made = make_file(BodyPartExamined="HEAD")
    with made.open("rb") as file:
        meta = read_file_meta(file)
        data_set = file.read()
    meta = FileMeta(
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        sending_ae_title="CT1",
        receiving_ae_title="QAGATE",
    )
    temporary = spool.temporary()
    temporary.write_bytes(meta.encode() + data_set)
    placed = spool.place(temporary, read_header(temporary))
    (spool.folder("1.2")).mkdir(parents=True)
    (spool.folder("1.2") / "1.3.dcm").write_bytes(b"damaged")
    (received,) = spool.walk()
    assert received.instance.calling_ae_title == "CT1"
    assert received.instance.path == placed.path
    assert received.instance.received_at == placed.received_at
    assert (received.instance.sha256, received.instance.size) == hash_data_set(made)
    assert received.header.body_part_examined == "HEAD"
    assert not list(spool.walk(known={placed.path}))


def test_leftovers_are_deleted_and_nothing_else(spool: Spool) -> None:
    placed = spool.place(incoming(spool), header())
    incoming(spool)
    assert Spool(spool.root).recover() == 1
    assert not list(spool.incoming.iterdir()) and list(spool.paths()) == [placed.path]


def test_one_process_receives_into_a_spool(spool: Spool) -> None:
    another = Spool(spool.root).reserved()
    with spool.reserved(), pytest.raises(SpoolError, match="another receiver works on"):
        another.__enter__()
    with Spool(spool.root).reserved():
        pass


@pytest.mark.parametrize("relative", ["../x", "/etc/passwd", "series/../../x"])
def test_no_path_leaves_the_spool(spool: Spool, relative: str) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        spool.absolute(relative)
    with pytest.raises(ValueError, match="UID"):
        spool.folder(relative)


def test_threads_that_place_one_instance_agree(spool: Spool) -> None:
    files = [incoming(spool, b"a" if number % 2 else b"b") for number in range(24)]
    placed: list[Placed] = []
    threads = [threading.Thread(target=lambda f=f: placed.append(spool.place(f, header()))) for f in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes = [p.outcome for p in placed]
    assert len(placed) == 24 and outcomes.count(Outcome.NEW) == 1
    assert outcomes.count(Outcome.DUPLICATE) == 11 and outcomes.count(Outcome.CONFLICT) == 12
    assert len(list(spool.paths())) == 1 and len(list(spool.paths(conflicts=True))) == 1


class Crash(BaseException):
    """The process dies here."""


_CALLS = ("link", "fsync", "open", "unlink", "mkdir")


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 16)), max_size=8))
def test_a_crash_at_any_call_loses_nothing_acknowledged(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]]
) -> None:
    """Each step places content x, y or z under instance a or b; the process dies at the n-th system call."""
    root = tmp_path_factory.mktemp("crash")
    acknowledged: set[tuple[str, bytes]] = set()
    spool = Spool(root)
    for name, letter, dies_at in steps:
        uid, data = f"1.2.{ord(name)}", letter.encode() * 50
        temporary = incoming(spool, data)
        with pytest.MonkeyPatch.context() as patch:
            _die_at(patch, dies_at)
            with contextlib.suppress(Crash):
                spool.place(temporary, header(uid))
                acknowledged.add((uid, data))
        spool = Spool(root)
        spool.recover()
        found = [path for conflicts in (False, True) for path in spool.paths(conflicts=conflicts)]
        whole = {(sop_uid(path), content(spool, path)) for path in found}
        assert acknowledged <= whole
        assert len(whole) == len(found)
        assert all(data in (b"x" * 50, b"y" * 50, b"z" * 50) for _, data in whole)
    shutil.rmtree(root)


def _die_at(patch: pytest.MonkeyPatch, call: int) -> None:
    left = [call]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Crash
            return real(*args, **kwargs)

        return run

    for name in _CALLS:
        patch.setattr(os, name, dying(getattr(os, name)))


def test_everything_is_synced_before_it_is_acknowledged(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of system calls is what durability rests on."""
    calls: list[str] = []
    names: dict[int, str] = {}
    real_open, real_fsync, real_link = os.open, os.fsync, os.link

    def opening(path: Any, *args: Any, **kwargs: Any) -> int:
        descriptor = real_open(path, *args, **kwargs)
        names[descriptor] = Path(path).name
        return descriptor

    temporary = incoming(spool)
    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(f"fsync {names[fd]}"), real_fsync(fd)))
    monkeypatch.setattr(os, "link", lambda a, b: (calls.append("link"), real_link(a, b)))
    placed = spool.place(temporary, header())
    bucket = Path(placed.path).parts[1]
    assert calls == [f"fsync {temporary.name}", f"fsync {bucket}", "fsync series", "link", "fsync 1.2"]
    calls.clear()
    spool.place(incoming(spool), header())
    assert calls[-2:] == ["link", "fsync 1.2"]
