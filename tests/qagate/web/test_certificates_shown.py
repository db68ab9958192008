"""Certificates that end soon, and what was refused, are seen: on the page, in metrics, in /readyz."""

from __future__ import annotations

import ssl
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from fastapi import FastAPI

from qagate.config import Settings
from qagate.refusal import Refusal
from qagate.store.refusals import Refusals
from qagate.web.serve import Server
from qagate.web.site import Site


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def settings(tmp_path: Path, authority: Authority) -> Settings:
    """A receiver's certificate that ends soon, an archive's that lasts, and one that is no certificate."""
    soon, long = authority.issue("receiver", days=20), authority.issue("pacs", days=200)
    broken = authority.issue("broken")
    assert broken.certificate is not None
    broken.certificate.write_text("nothing")

    def archive(name: str, of: Any, tls: bool = True) -> dict[str, Any]:
        files = {"tls_certificate": of.certificate, "tls_key": of.key}
        return {"name": name, "ae_title": "PACS", "host": "127.0.0.1", "port": 1, "tls": tls, **files}

    receiver: Any = {"tls_certificate": soon.certificate, "tls_key": soon.key}
    archives: Any = [archive("pacs", long), archive("old", broken), archive("plain", soon, tls=False)]
    return Settings(data_dir=tmp_path, receiver=receiver, archive=archives)


def test_each_certificate_that_ends_soon_has_its_sentence(outsider: Any, physicist: Any) -> None:
    ends = datetime.now(UTC) + timedelta(days=20)
    soon = (
        f"The certificate for the receiver ends on {ends:%Y-%m-%d}: put a new one at its place; "
        "it is taken up without a restart."
    )
    broken = "The certificate for archive old cannot be read: put a PEM file at its place."
    answer = outsider.get("/readyz")
    assert (answer.status_code, answer.json()["warnings"]) == (200, [soon, broken])
    page = physicist.get("/control").text
    assert soon in page and broken in page and "archive pacs" not in page


def test_one_that_has_ended_says_so(outsider: Any, authority: Authority) -> None:
    authority.issue("receiver", days=-2)
    assert "ended on" in outsider.get("/readyz").json()["warnings"][0]
    authority.issue("receiver", days=90)
    assert len(outsider.get("/readyz").json()["warnings"]) == 1, "read anew"


def test_metrics_hold_when_each_ends(viewer: Any) -> None:
    text = viewer.get("/metrics").text
    name = "qagate_certificate_expiry_timestamp_seconds"
    found = {
        line.split('"')[1]: float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith(name + "{")
    }
    assert set(found) == {"receiver", "archive pacs", "archive old"} and found["archive old"] == 0
    ends = datetime.fromtimestamp(found["receiver"], UTC) - datetime.now(UTC)
    assert timedelta(days=19) < ends < timedelta(days=21)
    assert ".pem" not in text


def test_what_was_refused_is_counted_by_reason(viewer: Any, physicist: Any, site: Site) -> None:
    assert "Refused in 24 hours" not in physicist.get("/control").text
    for status in (0xA701, 0x010103, 0x010103):
        Refusals(site.store).record(
            Refusal(
                status=status, reason="why", sop_class_uid="", sop_instance_uid="", calling_ae_title="CT9",
                address="10.0.0.1", refused_at=site.store.now(),
            )
        )  # fmt: skip
    text = viewer.get("/metrics").text
    assert 'qagate_refused_last_day{reason="data_set_too_large"} 1.0' in text
    assert 'qagate_refused_last_day{reason="calling_ae_title"} 2.0' in text
    assert 'qagate_refused_last_day{reason="tls"} 0.0' in text and "CT9" not in text
    page = physicist.get("/control").text
    assert "unknown calling AE title" in page and "data set too large" in page
    health = physicist.get("/api/v1/control/health").json()
    assert (health["refused_today"], health["rejected_today"]) == (1, 2)


def test_the_pages_take_up_a_renewed_certificate(authority: Authority) -> None:
    mine = authority.issue("pages", days=-1)
    app = FastAPI()
    app.add_api_route("/", lambda: "hello")
    server = Server(app, host="127.0.0.1", port=0, tls_certificate=mine.certificate, tls_key=mine.key)
    server.start()

    def answer() -> bytes:
        trust = ssl.create_default_context(cafile=str(authority.certificate))
        with urllib.request.urlopen(server.address, context=trust, timeout=10) as said:
            return bytes(said.read())

    try:
        with pytest.raises(OSError, match="expired"):
            answer()
        authority.issue("pages", days=10)
        server.renew()
        assert answer() == b'"hello"'
        assert mine.certificate is not None
        mine.certificate.write_text("half a file")
        server.renew()
        assert answer() == b'"hello"', "what cannot be used leaves the old one in use"
    finally:
        server.stop()
