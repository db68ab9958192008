"""Permissions and limits by the settings, and what was refused in `qagate status`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from neighbours import free_port, until

from qagate import app, config
from qagate.cli import main
from qagate.config import Settings
from qagate.dicom import scu
from qagate.dicom.limits import Limits
from qagate.parts_access import access
from qagate.store.engine import open_store
from qagate.store.refusals import Refusals

HERE, THERE = "127.0.0.1", "10.0.0.7"


def test_a_peer_has_its_own_limits_and_the_receivers_otherwise() -> None:
    receiver: Any = {"max_dataset_mb": 2, "instances_per_minute": 60, "peer_associations": 3}
    peers: Any = [
        {"ae_title": "*", "echo": False},
        {"ae_title": "CT1", "max_dataset_mb": 0, "mb_per_minute": 5, "store": False},
    ]
    rules = access(Settings(receiver=receiver, peer=peers))
    usual = Limits(associations=3, dataset_bytes=2 << 20, instances_per_minute=60)
    assert rules.peer("MR1", THERE) == (("*", THERE), usual)
    own = Limits(associations=3, instances_per_minute=60, bytes_per_minute=5 << 20)
    assert rules.peer("CT1", THERE) == (("CT1", THERE), own)
    assert rules.may_store("MR1", THERE) and not rules.may_echo("MR1", THERE)
    assert rules.may_echo("CT1", THERE), "what one rule allows is allowed"


def test_without_settings_one_peer_cannot_take_every_place() -> None:
    of = Settings()
    (peer, limits) = access(of).peer("ANY", HERE)
    assert peer == ("*", HERE) and 0 < limits.associations < of.receiver.max_associations
    assert limits == Limits(associations=24, dataset_bytes=4096 << 20)


def test_what_was_refused_is_recorded_and_listed(tmp_path: Path) -> None:
    path, stop = tmp_path / "qagate.toml", threading.Event()
    path.write_text(
        f"data_dir = 'data'\n[receiver]\nport = {free_port()}\n[[peer]]\nae_title = 'CT1'\nstore = false\n"
    )
    settings = config.load(path)
    role = threading.Thread(target=app.receive, args=(settings, stop))
    role.start()

    def refused(calling: str) -> bool:
        to = scu.Archive(
            name="gate", ae_title="QAGATE", host=HERE, port=settings.receiver.port, calling_ae_title=calling
        )
        try:
            scu.echo(to)
        except scu.DeliveryError as error:
            return "alling AE" in str(error)
        return False

    try:
        assert until(lambda: refused("CT9"), 30)
        with open_store(settings.store_url) as store:
            assert until(lambda: Refusals(store).today()["calling_ae_title"], 10) == 1
    finally:
        stop.set()
        role.join()
    said = CliRunner().invoke(main, ["-c", str(path), "status"]).output
    assert "0x10103 from CT9" in said and "no [[peer]] has its calling AE title" in said
