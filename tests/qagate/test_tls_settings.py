"""TLS by the settings: what `qagate check` says of certificates, and a gate that speaks it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from certificates import Authority
from click.testing import CliRunner, Result
from test_scu import free_port

from qagate import app, config
from qagate.cli import main
from qagate.dicom.scu import DeliveryError


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def written(folder: Path, authority: Authority, *, days: float = 90, port: int = 11112) -> Path:
    mine = authority.issue("gate", days=days)
    path = folder / "qagate.toml"
    path.write_text(
        f"data_dir = 'data'\n[receiver]\nport = {port}\ntls_certificate = '{mine.certificate}'\n"
        f"tls_key = '{mine.key}'\ntls_issuers = '{mine.issuers}'\n"
        "[[archive]]\nname = 'itself'\nae_title = 'QAGATE'\nhost = '127.0.0.1'\n"
        f"port = {port}\ntls = true\ntls_issuers = '{mine.issuers}'\ntimeout_s = 5\n"
    )
    return path


def check(path: Path) -> Result:
    return CliRunner().invoke(main, ["-c", str(path), "check"])


def line(said: Result) -> str:
    return next(one for one in said.output.splitlines() if "receiver TLS" in one)


def test_check_tells_how_long_the_certificate_lasts(tmp_path: Path, authority: Authority) -> None:
    ends = datetime.now(UTC) + timedelta(days=90)
    said = line(check(written(tmp_path, authority)))
    assert said.startswith("ok") and f"{ends:%Y-%m-%d}, asks senders for theirs" in said


@pytest.mark.parametrize(("days", "words"), [(29.5, "in 29 days"), (-1.5, "ended on")])
def test_check_fails_thirty_days_ahead(tmp_path: Path, authority: Authority, days: float, words: str) -> None:
    said = check(written(tmp_path, authority, days=days))
    assert said.exit_code == 1
    assert line(said).startswith("FAILED") and words in line(said) and "renewed one" in line(said)


def test_check_looks_at_the_certificates_for_archives_and_pages(tmp_path: Path, authority: Authority) -> None:
    path = written(tmp_path, authority)
    mine = authority.issue("mine", days=12.5)
    path.write_text(
        path.read_text()
        + f"tls_certificate = '{mine.certificate}'\ntls_key = '{mine.key}'\n"
        + f"[web]\ntls_certificate = '{mine.certificate}'\ntls_key = '{mine.key}'\n"
    )
    found = check(path).output.splitlines()
    for name in ("certificate for itself", "pages"):
        said = next(one for one in found if name in one)
        assert said.startswith("FAILED") and "in 12 days" in said


@contextmanager
def listening(path: Path) -> Iterator[config.Settings]:
    settings, stop = config.load(path), threading.Event()
    role = threading.Thread(target=app.receive, args=(settings, stop))
    role.start()
    try:
        yield settings
    finally:
        stop.set()
        role.join()


def test_gate_and_archive_of_the_settings_speak_tls(tmp_path: Path, authority: Authority) -> None:
    with listening(written(tmp_path, authority, port=free_port())) as settings:
        for _ in range(100):  # until it listens
            try:
                app.echo(settings, "itself", None)
                break
            except DeliveryError as error:
                said = str(error)
                threading.Event().wait(0.1)
        else:
            pytest.fail(said)
        with pytest.raises(DeliveryError, match="did not answer the association request"):
            app.echo(settings, f"127.0.0.1:{settings.receiver.port}", "QAGATE")
