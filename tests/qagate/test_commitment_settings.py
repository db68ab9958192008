"""Who may ask for storage commitment, who may report, by the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qagate import parts_commitment
from qagate.commitment import Basis
from qagate.config import ConfigError, Settings, load
from qagate.dicom.access import Rejection
from qagate.parts_access import access as allowed

PACS = {"name": "pacs", "ae_title": "PACS", "host": "10.0.0.9"}
HERE, THERE = "127.0.0.1", "10.0.0.9"


def settings(**values: Any) -> Settings:
    return Settings(**values)


@pytest.mark.parametrize(
    ("mode", "says", "basis"),
    [
        ("observe", "archive", None),
        ("observe", "spool", Basis.SPOOL),
        ("observe", "off", None),
        ("forward", "archive", Basis.ARCHIVE),
        ("forward", "spool", Basis.SPOOL),
        ("forward", "off", None),
    ],
)
def test_what_the_word_of_the_gate_rests_on(mode: str, says: str, basis: Basis | None) -> None:
    access = allowed(settings(mode=mode, archive=[PACS], peer=[{"ae_title": "CT1", "commitment": says}]))
    assert access.commitment("CT1", HERE) is basis
    assert access.commitment("CT2", HERE) is None
    assert access.may_store("CT1", HERE)


def test_defaults_promise_nothing_without_an_archive_for_images() -> None:
    assert allowed(settings()).commitment("CT1", HERE) is None
    assert allowed(settings(mode="forward", archive=[PACS])).commitment("CT1", HERE) is Basis.ARCHIVE
    assert allowed(settings(mode="forward", archive=[PACS])).commitment("CT1", THERE) is None


def test_the_stricter_of_two_rules_counts() -> None:
    both = [{"ae_title": "*", "commitment": "spool"}, {"ae_title": "CT1", "commitment": "archive"}]
    access = allowed(settings(mode="forward", archive=[PACS], peer=both))
    assert access.commitment("CT1", HERE) is Basis.ARCHIVE
    assert access.commitment("CT2", HERE) is Basis.SPOOL


def test_archives_that_commit_may_report_and_no_more() -> None:
    of = settings(archive=[PACS | {"delivered": "committed", "calling_ae_title": "GATE2"}])
    access = allowed(of)
    for called in ("GATE2", "QAGATE"):
        assert access.check("PACS", called, THERE) is None
    assert access.may_report("PACS", THERE)
    assert not access.may_store("PACS", THERE)
    assert access.commitment("PACS", THERE) is None
    assert access.check("PACS", "QAGATE", "10.0.0.8") is Rejection.ADDRESS
    elsewhere = PACS | {"delivered": "committed", "report_addresses": ["10.0.1.0/24"]}
    assert allowed(settings(archive=[elsewhere])).may_report("PACS", "10.0.1.7")
    assert not allowed(settings(archive=[elsewhere])).may_report("PACS", THERE)
    named = PACS | {"delivered": "committed", "host": "pacs.example.org"}
    assert allowed(settings(archive=[named])).may_report("PACS", "10.3.3.3")
    assert allowed(settings(archive=[PACS])).check("PACS", "QAGATE", THERE) is not None


def test_where_reports_go() -> None:
    of = settings(peer=[{"ae_title": "CT1", "report_host": "ct1", "report_port": 4100}, {"ae_title": "CT2"}])
    ((title, peer),) = parts_commitment.peers(of).items()
    assert (title, peer.ae_title, peer.host, peer.port, peer.calling_ae_title) == (
        "CT1", "CT1", "ct1", 4100, "QAGATE"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[peer]]\nae_title = "*"\nreport_host = "ct1"', "name its ae_title"),
        ('[[peer]]\nae_title = "CT1"\ncommitment = "yes"', "peer.0.commitment"),
        (
            '[[archive]]\nname = "p"\nae_title = "P"\nhost = "h"\nreport_addresses = ["nowhere"]',
            "archive.0.report_addresses",
        ),
    ],
)
def test_wrong_settings(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "qagate.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(path)
