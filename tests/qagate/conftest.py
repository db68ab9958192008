"""The whole gate as a process tree on free loopback ports, and small series to send it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neighbours import ENVIRONMENT, ORTHANC, OrthancServer, Webhook, free_port, until
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from qagate.dicom import scu
from qagate.store.engine import Store, open_store
from qagate.store.migrate import migrate
from qagate.store.views import Overview, SeriesHistory, Views

STORESCU = Path("/usr/bin/storescu")
ENDED = ("DECIDED", "DELIVERED", "FAILED")


def _toml(values: dict[str, Any]) -> str:
    """Settings as TOML; its strings, numbers and lists of them are written like JSON's."""
    plain = {key: value for key, value in values.items() if not _is_table(value)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in values.items():
        if key in plain:
            continue
        tables = [(f"[{key}]", value)] if isinstance(value, dict) else [(f"[[{key}]]", one) for one in value]
        for head, table in tables:
            lines += [head, *(f"{name} = {json.dumps(inner)}" for name, inner in table.items())]
    return "\n".join(lines) + "\n"


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


class Gate:
    """`qagate serve` with settings of its own; quiet times are short unless said otherwise."""

    until = staticmethod(until)

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.data, self.config = folder, folder / "data", folder / "qagate.toml"
        self.log, self.port = folder / "log.jsonl", free_port()
        self.process: subprocess.Popen[bytes] | None = None
        sections: dict[str, Any] = {
            "data_dir": str(self.data),
            "drain_s": 10,
            "receiver": {"port": self.port, "min_free_mb": 1},
            "assembly": {"short_quiet_s": 0.4, "long_quiet_s": 3.0, "poll_s": 0.1},
            "worker": {"threads": 1, "lease_s": 10.0},
            "delivery": {"first_retry_s": 0.5, "max_retry_s": 1.0},
            "web": {"enabled": False},
        }
        for key, value in settings.items():
            sections[key] = sections.get(key, {}) | value if isinstance(value, dict) else value
        self.port = sections["receiver"]["port"]
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(_toml(sections))

    def start(self, limit_s: float = 60) -> Gate:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "qagate.cli", "--config", str(self.config), "serve"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=ENVIRONMENT,
            )  # fmt: skip
        assert until(lambda: self.answers() or self.process.poll() is not None, limit_s), "no C-ECHO"
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        return self

    def stop(self) -> int | None:
        """Let it drain; its exit code."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(40)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    def kill(self) -> None:
        """kill -9 of the whole process group."""
        process, self.process = self.process, None
        assert process is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def peer(self, calling: str = "CT1", called: str = "QAGATE") -> scu.Archive:
        return scu.Archive(
            name="gate", ae_title=called, host="127.0.0.1", port=self.port, calling_ae_title=calling
        )

    def answers(self) -> bool:
        try:
            scu.echo(self.peer())
        except scu.DeliveryError:
            return False
        return True

    def send(self, paths: Iterable[Path], calling: str = "CT1") -> list[scu.StoreResult]:
        """Send files as the bytes they hold, however broken."""
        return list(scu.store(self.peer(calling), paths))

    def scan(self, paths: Iterable[Path], *options: str) -> None:
        """Send files with DCMTK's storescu."""
        address = ["127.0.0.1", str(self.port)]
        command = [str(STORESCU), "-aet", "CT1", "-aec", "QAGATE", *options, *address, *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command with this gate's settings."""
        command = [sys.executable, "-m", "qagate.cli", "--config", str(self.config), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)

    @property
    def store_url(self) -> str:
        return f"sqlite:///{self.data / 'qagate.db'}"

    def overview(self, limit: int = 1000) -> Overview:
        with open_store(self.store_url) as store:
            return Views(store).overview(limit=limit)

    def history(self, series_uid: str) -> SeriesHistory | None:
        with open_store(self.store_url) as store:
            return Views(store).history(series_uid)

    def ended(
        self, series_uid: str, revision: int = 1, states: Sequence[str] = ENDED, limit_s: float = 90
    ) -> SeriesHistory:
        """The history of a series once its revision is there and in one of the states."""

        def look() -> SeriesHistory | None:
            found = self.history(series_uid)
            there = found and found.row.revision >= revision and found.row.state in states
            return found if there else None

        found = until(look, limit_s)
        assert found, f"{self.history(series_uid)}\n{self.log.read_text()[-4000:]}"
        return found

    def report(self, series_uid: str, revision: int = 1, kind: str = "comprehensive3d") -> Path:
        return self.data / "reports" / series_uid / f"{revision}-{kind}.dcm"

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        lines = self.log.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in found if event["event"] == name]


@functools.cache
def _hounsfield() -> np.ndarray:
    """pydicom's own CT slice: 128x128, HU."""
    slice_ = dcmread(get_testdata_file("CT_small.dcm"))
    return slice_.pixel_array * float(slice_.RescaleSlope) + float(slice_.RescaleIntercept)


def build_slice(**values: Any) -> Dataset:
    """A slice of pydicom's 128x128 CT with a little noise of its own; `None` deletes an attribute."""
    data_set = Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = CTImageStorage, generate_uid()
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = generate_uid(), generate_uid()
    data_set.PatientName, data_set.PatientID = "NOBODY", "0"
    data_set.Modality, data_set.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data_set.BodyPartExamined, data_set.StationName = "HEAD", "CTTEST"
    data_set.Rows = data_set.Columns = 128
    data_set.BitsAllocated = data_set.BitsStored = 16
    data_set.HighBit, data_set.PixelRepresentation, data_set.SamplesPerPixel = 15, 1, 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.PixelSpacing, data_set.SliceThickness = [0.66, 0.66], 3
    data_set.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data_set.RescaleSlope, data_set.RescaleIntercept, data_set.RescaleType = 1, 0, "HU"
    number = int(values.get("InstanceNumber") or 1)
    data_set.ImagePositionPatient, data_set.InstanceNumber = [-42, -42, 3 * number], number
    noise = np.random.default_rng(number).normal(0, 4, (128, 128))
    data_set.PixelData = (_hounsfield() + noise).astype("<i2").tobytes()
    for keyword, value in values.items():
        delattr(data_set, keyword) if value is None else setattr(data_set, keyword, value)
    return data_set


def write(data_set: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a Part 10 file; missing UIDs are made up in the file meta only."""
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = syntax
    data_set.file_meta.MediaStorageSOPClassUID = data_set.get("SOPClassUID", CTImageStorage)
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.get("SOPInstanceUID", generate_uid())
    path.parent.mkdir(parents=True, exist_ok=True)
    data_set.save_as(path, enforce_file_format=True)
    return path


class Made:
    """Makes synthetic series on disk."""

    build, write = staticmethod(build_slice), staticmethod(write)

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, itertools.count()

    def slice(self, **values: Any) -> Path:
        return write(build_slice(**values), self._folder / f"{next(self._number)}.dcm")

    def series(self, count: int, first: int = 1, **values: Any) -> tuple[str, list[Path]]:
        """The UID and files of one series of `count` slices."""
        uids = {"SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()} | values
        numbers = range(first, first + count)
        return uids["SeriesInstanceUID"], [self.slice(InstanceNumber=n, **uids) for n in numbers]


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """Commands that run inside the test process narrow it for themselves."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="module")
def make_gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Gate]]:
    """Start gates; those still running end with the module."""
    gates: list[Gate] = []

    def make(*, start: bool = True, **settings: Any) -> Gate:
        gates.append(Gate(tmp_path_factory.mktemp("gate"), **settings))
        return gates[-1].start() if start else gates[-1]

    yield make
    for gate in gates:
        gate.stop()


@pytest.fixture(scope="module")
def make_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., OrthancServer]]:
    """Start archives; skips where Orthanc is not installed."""
    if not ORTHANC.exists():
        pytest.skip(f"{ORTHANC} is not installed (Debian orthanc)")
    servers: list[OrthancServer] = []

    def make(*, start: bool = True, gate_port: int = 0) -> OrthancServer:
        servers.append(OrthancServer(tmp_path_factory.mktemp("orthanc"), gate_port))
        return servers[-1].start() if start else servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    """A listening webhook."""
    hook = Webhook()
    yield hook
    hook.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Makes synthetic series on disk."""
    return Made(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def real_series() -> dict[str, list[Path]]:
    """Folder name -> files of the shared real series; skips where they are not."""
    root = Path(__file__).resolve().parents[3] / "shared" / "dicom"
    found = {folder.name: sorted(folder.glob("*.dcm")) for folder in root.glob("*") if folder.is_dir()}
    if not found:
        pytest.skip("the shared series are not here")
    return found


@pytest.fixture(scope="session")
def storescu() -> Path:
    """DCMTK's storescu; skips where it is not installed."""
    if not STORESCU.exists() or shutil.which(str(STORESCU)) is None:
        pytest.skip(f"{STORESCU} is not installed (Debian dcmtk)")
    return STORESCU


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "empty.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_store(migrated: Path, tmp_path: Path) -> Iterator[Store]:
    """A store of its own, on SQLite."""
    path = shutil.copy(migrated, tmp_path / "qagate.db")
    with open_store(f"sqlite:///{path}") as store:
        yield store
