"""Keeps what qagate prints, sends and shows in a test run, to be searched for patients (tests/privacy.py).

Does nothing unless QAGATE_TEST_LOGS names a folder. Kept are: every captured line and log of each test, the
log of every gate and every command run for a test, what commands print in the test process, alerts that
arrive at a webhook, and every text a page, the REST API, a metric or an export answers with. Left out are
DICOM objects, whose reports copy the patient's attributes, and the one answer that shows a patient's name to
who may see it (POST /series/UID/patient, audited).
"""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path
from typing import Any

FOLDER = os.environ.get("QAGATE_TEST_LOGS", "")
_TEXTS = ("text/", "application/json", "application/problem+json", "application/pdf", "image/svg+xml")


def keep(kind: str, text: str | bytes) -> None:
    """Add to what was printed; kind: log, output, alert or answer."""
    if FOLDER and text:
        data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        with (Path(FOLDER) / f"{kind}-{os.getpid()}.txt").open("ab") as file:
            file.write(data + b"\n")


def keep_files(folder: Path) -> None:
    """The logs of the gates under a folder."""
    for path in sorted(folder.rglob("log.jsonl")):
        keep("log", path.read_bytes())


def watch() -> None:
    """Keep what every command and every page answers, from now on."""
    # As in each process of the gate (telemetry.keep_own_words): its warnings quote elements.
    logging.getLogger("pydicom").disabled = True
    from click.testing import CliRunner
    from fastapi.testclient import TestClient

    run, invoke, request = subprocess.run, CliRunner.invoke, TestClient.request

    def kept_run(*arguments: Any, **options: Any) -> Any:
        done = run(*arguments, **options)
        command = arguments[0] if arguments else options.get("args", ())
        if any("qagate" in str(word) for word in command) and "-c" not in list(command)[1:2]:
            for text in (done.stdout, done.stderr):
                keep("output", text or "")
        return done

    def kept_invoke(self: CliRunner, *arguments: Any, **options: Any) -> Any:
        result = invoke(self, *arguments, **options)
        keep("output", result.output_bytes if hasattr(result, "output_bytes") else result.output)
        return result

    def kept_request(self: TestClient, method: str, url: Any, **options: Any) -> Any:
        answer = request(self, method, url, **options)
        if answer.headers.get("content-type", "").startswith(_TEXTS) and not _asks_for_a_name(str(url)):
            keep("answer", answer.content)
        return answer

    subprocess.run, CliRunner.invoke, TestClient.request = kept_run, kept_invoke, kept_request  # type: ignore


def _asks_for_a_name(url: str) -> bool:
    return url.partition("?")[0].endswith("/patient")
