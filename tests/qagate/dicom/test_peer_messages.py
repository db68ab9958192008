"""What docs/transport.md says that gate and peer print is what they print."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from neighbours import ORTHANC
from scp_client import ECHOSCU, STORESCU

ROOT = Path(__file__).parents[3]


def _cases() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peer_messages", ROOT / "docs" / "peer_messages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CASES: Any = _cases()
ROWS = {row[0]: row for row in CASES.rows(CASES.PAGE.read_text(encoding="utf-8"))}


@pytest.fixture(autouse=True)
def _dcmtk() -> None:
    if not STORESCU.exists() or not ECHOSCU.exists():
        pytest.skip("dcmtk is not installed")
    if CASES.version() not in ROWS["case"][2]:
        pytest.skip(f"the page has the words of another DCMTK than {CASES.version()}")


def test_the_page_has_every_case() -> None:
    assert list(ROWS)[2:] == [case.name for case in CASES.CASES], "run python docs/peer_messages.py"


@pytest.mark.parametrize("case", CASES.CASES, ids=lambda case: case.name)
def test_gate_and_dcmtk_print_what_the_page_says(tmp_path: Path, case: Any) -> None:
    (said,) = CASES.run(tmp_path, (case,), every=False)
    assert CASES.cells(said)[:4] == ROWS[case.name][:4], "run python docs/peer_messages.py"


@pytest.mark.slow
def test_the_other_senders_say_what_the_page_says(tmp_path: Path) -> None:
    if not ORTHANC.exists():
        pytest.skip(f"{ORTHANC} is not installed (Debian orthanc)")
    for said in CASES.run(tmp_path):
        assert CASES.cells(said) == ROWS[said.case.name], "run python docs/peer_messages.py"
