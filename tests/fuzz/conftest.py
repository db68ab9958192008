"""A storage SCP in this process with short time limits, and the doors that data sets go through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_read import Doors

from qagate.dicom.access import Access, AccessRule
from qagate.dicom.scp import Refusal, StorageSCP
from qagate.dicom.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool."""
    return Spool(tmp_path / "spool")


@pytest.fixture
def noted() -> list[Refusal]:
    """What the SCP refused."""
    return []


@pytest.fixture
def scp(spool: Spool, noted: list[Refusal]) -> Iterator[StorageSCP]:
    """A listening SCP whose time limits are one or two seconds."""
    listening = StorageSCP(
        ae_title="QAGATE",
        host="127.0.0.1",
        port=0,
        spool=spool,
        access=Access((AccessRule(ae_title="*"),), called_ae_titles=frozenset({"QAGATE"})),
        on_received=lambda _: None,
        on_released=lambda _, __: None,
        on_refused=noted.append,
        min_free_bytes=0,
        max_associations=64,
        acse_timeout_s=1,
        dimse_timeout_s=1,
        network_timeout_s=2,
    )
    listening.start()
    yield listening
    listening.stop(drain_s=2)


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    """Reception, scoring, pages and reports on a folder of their own."""
    return Doors(tmp_path / "doors")
