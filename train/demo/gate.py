"""The demo's gate: its settings file and the `qagate serve` process."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from qagate.dicom import scu
from qagate.store.accounts import Accounts
from qagate.store.engine import open_store
from qagate.web.security import passwords
from train.demo.archive import Archive
from train.demo.phantom import DemoError

AE_TITLE = "QAGATE"
SCANNER_AE_TITLE = "SCANNER"
QUIET_S = 0.5
USERS = ("radiographer", "physicist", "admin")  #: named after their roles
DATA_DIR = "data"  #: of the gate, beside its settings file

_SETTINGS = """\
# Settings of the qagate demo. `qagate init` writes a file that explains every setting.
data_dir = "{data_dir}"

[receiver]
ae_title = "{ae_title}"
port = {port}
min_free_mb = 256

[assembly]
short_quiet_s = {quiet_s}
long_quiet_s = 3.0

[web]
port = {web_port}
site_name = "demo"

[alerts]
urls = ["console://"]

[[archive]]
name = "demo-archive"
ae_title = "{archive_ae_title}"
host = "127.0.0.1"
port = {archive_port}
"""


def write_settings(path: Path, *, port: int, web_port: int, archive: Archive) -> Path:
    """Write the settings for a gate on 127.0.0.1:`port`, pages on `web_port`, that delivers to `archive`."""
    path.write_text(
        _SETTINGS.format(
            data_dir=DATA_DIR,
            ae_title=AE_TITLE,
            port=port,
            web_port=web_port,
            quiet_s=QUIET_S,
            archive_ae_title=archive.ae_title,
            archive_port=archive.port,
        )
    )
    return path


def add_users(settings: Path) -> str:
    """Make a user of each role, and return the password that all of them have for this demo."""
    password = f"demo-{secrets.token_hex(4)}"
    with open_store(f"sqlite:///{settings.parent / DATA_DIR / 'qagate.db'}") as store:
        for role in USERS:
            Accounts(store).add(role, role, actor="demo", password_hash=passwords.hashed(password))
    return password


class Gate:
    """`qagate --config FILE serve` as a process tree of its own; its messages go to a file."""

    def __init__(self, settings: Path, *, port: int, log: Path) -> None:
        self.log = log
        self._at = scu.Archive(
            name="the gate", ae_title=AE_TITLE, host="127.0.0.1", port=port,
            calling_ae_title=SCANNER_AE_TITLE, connect_timeout_s=2.0,
        )  # fmt: skip
        # No QAGATE_* variable of the user's shell may redirect the demo to another database.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("QAGATE_")}
        with log.open("wb") as messages:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "qagate.cli", "--config", str(settings), "serve"],
                stdin=subprocess.DEVNULL, stdout=messages, stderr=messages, env=environment,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then ends the gate
            )  # fmt: skip

    def wait_until_listening(self, timeout_s: float = 60.0) -> None:
        """Return when the gate answers a C-ECHO. Raises DemoError when it ends or stays silent."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                scu.echo(self._at)
                return
            except scu.DeliveryError:
                time.sleep(0.2)
        last = self.log.read_text(errors="replace").strip().splitlines()[-3:]
        raise DemoError(
            "\n  ".join(["the gate does not answer; its last messages:", *last, f"all: {self.log}"])
        )

    def send(self, paths: Sequence[Path]) -> list[scu.StoreResult]:
        """Send files in one association, as a scanner does with a series."""
        return list(scu.store(self._at, paths))

    def alerts(self) -> list[str]:
        """The alerts on the gate's console so far: its log lines are JSON, its alerts are not."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if line.startswith(("REPEAT ", "REVIEW "))]

    def running(self) -> bool:
        """Whether the gate's process lives."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Let the gate finish what it does, then end it."""
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            # Its session holds the gate's own processes and nothing else.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def wait_for(condition: Callable[[], bool], *, timeout_s: float, every_s: float = 0.2) -> bool:
    """Look every `every_s` seconds until the condition holds; False when it never did."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
