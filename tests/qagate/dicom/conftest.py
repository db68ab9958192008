"""Instances made on the spot, and a gate that listens on a free port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from qagate.dicom.access import Access, AccessRule
from qagate.dicom.scp import StorageSCP
from qagate.dicom.spool import Spool
from qagate.refusal import Refusal
from qagate.series import Received


def build_data_set(**values: Any) -> Dataset:
    """A small CT slice; `None` deletes an attribute."""
    data_set = Dataset()
    data_set.SOPClassUID = CTImageStorage
    data_set.SOPInstanceUID = generate_uid()
    data_set.StudyInstanceUID = generate_uid()
    data_set.SeriesInstanceUID = generate_uid()
    data_set.Modality = "CT"
    data_set.PatientName = "NOBODY"
    data_set.Rows = data_set.Columns = 16
    data_set.BitsAllocated = data_set.BitsStored = 16
    data_set.HighBit, data_set.PixelRepresentation, data_set.SamplesPerPixel = 15, 0, 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.PixelData = bytes(512)
    for keyword, value in values.items():
        if value is None:
            delattr(data_set, keyword)
        else:
            setattr(data_set, keyword, value)
    return data_set


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a data set as a Part 10 file; keywords as for `build_data_set`."""

    def make(syntax: str = ExplicitVRLittleEndian, **values: Any) -> Path:
        data_set = build_data_set(**values)
        data_set.file_meta = FileMetaDataset()
        data_set.file_meta.TransferSyntaxUID = syntax
        data_set.file_meta.MediaStorageSOPClassUID = data_set.get("SOPClassUID", CTImageStorage)
        data_set.file_meta.MediaStorageSOPInstanceUID = data_set.get("SOPInstanceUID", generate_uid())
        folder = tmp_path / "made"
        folder.mkdir(exist_ok=True)
        path = folder / f"{generate_uid()}.dcm"
        data_set.save_as(path, enforce_file_format=True)
        return path

    return make


class Gate:
    """A listening StorageSCP and what it reported."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.spool = Spool(root)
        self.received: list[Received] = []
        self.conflicts: list[Received] = []
        self.refused: list[Refusal] = []
        self.released: list[tuple[frozenset[str], datetime]] = []
        self.lock = threading.Lock()
        values: dict[str, Any] = {
            "ae_title": "QAGATE",
            "host": "127.0.0.1",
            "port": 0,
            "spool": self.spool,
            "access": Access((AccessRule(ae_title="*"),), called_ae_titles=frozenset({"QAGATE"})),
            "on_received": self.received.append,
            "on_conflict": self.conflicts.append,
            "on_refused": self.refused.append,
            "on_released": lambda series, when: self.released.append((series, when)),
            "min_free_bytes": 0,
            "acse_timeout_s": 5,
            "network_timeout_s": 10,
        }
        self.scp = StorageSCP(**(values | settings))
        self.scp.start()

    @property
    def port(self) -> int:
        return self.scp.port

    def wait(self, condition: Callable[[], object], limit_s: float = 10) -> bool:
        """Wait until something has happened."""
        deadline = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


@pytest.fixture
def make_gate(tmp_path: Path) -> Iterator[Callable[..., Gate]]:
    """Start gates on free ports; they are stopped at the end."""
    gates: list[Gate] = []

    def make(**settings: Any) -> Gate:
        gate = Gate(tmp_path / f"spool{len(gates)}", **settings)
        gates.append(gate)
        return gate

    yield make
    for gate in gates:
        gate.scp.stop(drain_s=0.5)


@pytest.fixture
def gate(make_gate: Callable[..., Gate]) -> Gate:
    """One gate with the default settings of these tests."""
    return make_gate()


@pytest.fixture
def shared_series() -> list[Path]:
    """The folders of the shared real series; skips where they are not."""
    root = Path(__file__).parents[4] / "shared" / "dicom"
    folders = sorted(folder for folder in root.glob("*") if folder.is_dir()) if root.is_dir() else []
    if not folders:
        pytest.skip("the shared series are not here")
    return folders
