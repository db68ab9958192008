"""The settings of the pages: what would be unsafe is refused, and says how to mend it."""

from __future__ import annotations

import ssl
import subprocess
import urllib.request
from pathlib import Path

import pytest
from fastapi import FastAPI

from qagate import checks, config
from qagate.store.accounts import Accounts
from qagate.store.engine import open_store
from qagate.store.migrate import migrate


def load(folder: Path, text: str) -> config.Settings:
    path = folder / "qagate.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("host = '0.0.0.0'", "set tls_certificate and tls_key, or behind_proxy = true"),
        ("host = 'gate.example'", "lets others in without encryption"),
        ("host = '::'", "lets others in without encryption"),
        ("tls_key = 'x.key'", "set both or neither"),
        ("user_header = 'X-User'", "behind_proxy is not"),
        ("proxy_addresses = ['nowhere']", "web.proxy_addresses"),
        ("time_zone = 'Mars/Olympus'", "no time zone such as"),
        ("viewer_url = 'https://x/{patient}'", "only {study_uid} and {series_uid}"),
        ("viewer_url = 'javascript:alert(1)'", "does not begin with https://"),
        ("patient_names = 'king'", "web.patient_names"),
        ("[web.oidc]\nissuer = 'https://x'", "client_id is not"),
        ("[web.oidc]\nissuer = 'https://x'\nclient_id = 'q'", "no group is given a role"),
        ("[web.oidc]\nissuer = 'https://x'\nclient_id = 'q'\nadmin = ['a']", "oidc needs public_url"),
        ("[web.oidc]\nissuer = 'http://127.0.0.1.evil.example'\nclient_id = 'q'", "https://"),
    ],
)
def test_what_is_unsafe_is_refused(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        load(tmp_path, f"[web]\n{text}")
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["host = '0.0.0.0'\nenabled = false", "host = '0.0.0.0'\nbehind_proxy = true", "host = '::1'",
     "host = '0.0.0.0'\ntls_certificate = 'a'\ntls_key = 'b'", "host = 'localhost'",
     "viewer_url = 'https://x/?s={study_uid}&r={series_uid}'"],
)  # fmt: skip
def test_what_is_safe_is_not(tmp_path: Path, text: str) -> None:
    load(tmp_path, f"[web]\n{text}")


def test_certificates_are_found_beside_the_settings(tmp_path: Path) -> None:
    web = load(tmp_path, "[web]\ntls_certificate = 'web.crt'\ntls_key = '/etc/web.key'").web
    assert (web.tls_certificate, web.tls_key) == (tmp_path / "web.crt", Path("/etc/web.key"))


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    assert "hush" not in repr(load(tmp_path, "[web.oidc]\nclient_secret = 'hush'"))


def pages(settings: config.Settings) -> checks.CheckResult:
    return next(one for one in checks.run(settings) if one.name == "pages")


def test_check_says_where_the_pages_are_and_what_they_lack(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    settings.data_dir.mkdir()
    migrate(settings.store_url)
    found = pages(settings)
    assert found.ok and found.message.startswith("http://127.0.0.1:8080; no user yet: `qagate users add")
    with open_store(settings.store_url) as store:
        Accounts(store).add("anna", "admin", actor="test")
    assert pages(settings).message == "http://127.0.0.1:8080"
    broken = load(tmp_path, "[web]\ntls_certificate = 'web.crt'\ntls_key = 'web.key'")
    found = pages(broken)
    assert not found.ok and "give the PEM files of one pair" in found.message


def test_the_pages_speak_tls(tmp_path: Path) -> None:
    from qagate.web.serve import Server

    chain, key = tmp_path / "web.crt", tmp_path / "web.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
               "-keyout", str(key), "-out", str(chain)]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    checks.certificate(chain, key)
    with pytest.raises(RuntimeError, match="one pair"):
        checks.certificate(key, chain)
    app = FastAPI()
    app.add_api_route("/", lambda: "hello")
    server = Server(app, host="127.0.0.1", port=0, tls_certificate=chain, tls_key=key)
    server.start()
    try:
        trust = ssl.create_default_context(cafile=str(chain))
        with urllib.request.urlopen(server.address, context=trust, timeout=10) as answer:
            assert answer.read() == b'"hello"'
    finally:
        server.stop()
