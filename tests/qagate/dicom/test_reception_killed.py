"""kill -9 in the middle of reception: nothing that was answered 0x0000 is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context

from qagate.dicom.part10 import hash_data_set
from qagate.dicom.spool import Spool

RECEIVER = """
import sys, threading
from pathlib import Path
from qagate.dicom.access import Access, AccessRule
from qagate.dicom.scp import StorageSCP
from qagate.dicom.spool import Spool

spool = Spool(Path(sys.argv[1]))
spool.recover()
scp = StorageSCP(
    ae_title="QAGATE", host="127.0.0.1", port=0, spool=spool, access=Access((AccessRule(ae_title="*"),)),
    on_received=lambda received: None, on_released=lambda series, when: None, min_free_bytes=0,
)
scp.start()
print("PORT", scp.port, flush=True)
threading.Event().wait()
"""


def start(root: Path) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", RECEIVER, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("PORT "):
            return process, int(line.split()[1])
    raise AssertionError("the receiver did not start")


def send(port: int, files: list[Path], acknowledged: set[Path]) -> None:
    ae = AE("CT1")
    ae.dimse_timeout = ae.acse_timeout = 5
    link = ae.associate("127.0.0.1", port, [build_context(CTImageStorage, ExplicitVRLittleEndian)])
    for path in files if link.is_established else []:
        try:
            status = link.send_c_store(path).get("Status")
        except (RuntimeError, ValueError):
            return
        if status != 0x0000:
            return
        acknowledged.add(path)
    if link.is_established:
        link.release()


@pytest.mark.parametrize("seed", range(2))
def test_nothing_acknowledged_is_lost(tmp_path: Path, make_file: Callable[..., Path], seed: int) -> None:
    rng = random.Random(seed)
    series = generate_uid()
    files = [make_file(SeriesInstanceUID=series, PixelData=bytes([n % 256]) * 60_000) for n in range(60)]
    root, acknowledged = tmp_path / "spool", set[Path]()
    for turn in range(3):
        process, port = start(root)
        batch = files[20 * turn :] + files[: 20 * turn]
        threads = [threading.Thread(target=send, args=(port, batch[n::2], acknowledged)) for n in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0.1, 0.6))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for thread in threads:
            thread.join()
    spool = Spool(root)
    spool.recover()
    found = list(spool.walk())
    wanted = {hash_data_set(path)[0] for path in acknowledged}
    assert {received.instance.sha256 for received in found} >= wanted
    assert {received.instance.sha256 for received in found} <= {hash_data_set(path)[0] for path in files}
    assert {received.instance.calling_ae_title for received in found} <= {"CT1"}
    assert not list(spool.paths(conflicts=True)) and not list(spool.incoming.iterdir())
