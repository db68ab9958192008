"""The demo's run: archive, gate, scanner, live table, report; and whether all came out as promised."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from pydicom.dataset import Dataset
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from qagate.dicom.report import sr_text
from train.demo.archive import Archive, start_archive
from train.demo.gate import AE_TITLE, QUIET_S, USERS, Gate, add_users, wait_for, write_settings
from train.demo.phantom import DemoError
from train.demo.records import Records
from train.demo.scene import Scene, write_scene
from train.demo.watch import Row, failures, reported_series, short_alert, worst

_COLOURS = {"PASS": "green", "REVIEW": "yellow", "REPEAT": "red", "NOT_ASSESSED": "blue"}
_STORESCU = Path("/usr/bin/storescu")  #: DCMTK's; pynetdicom installs a command of the same name
_TIMEOUT_S = 180.0  #: for all decisions
_PATIENCE_S = 15.0  #: the scanner goes on after this time at the latest


class Show:
    """One run of the demo in `folder`; `run` returns the exit code."""

    def __init__(self, folder: Path, *, port: int, web_port: int, console: Console) -> None:
        self._folder, self._port, self._web_port, self._console = folder, port, web_port, console
        self._settings = folder / "qagate.toml"
        self._started = time.monotonic()
        self._printed: dict[str, Row] = {}

    def run(self, *, once: bool) -> int:
        """Start everything, send, watch, report. Without `once`, listen until Ctrl-C."""
        with ExitStack() as stack:
            archive = start_archive(self._folder / "archive", caller_ae_title=AE_TITLE)
            stack.callback(archive.stop)
            self._say(f"archive: {archive.product} listens on 127.0.0.1:{archive.port} as {archive.ae_title}")
            write_settings(self._settings, port=self._port, web_port=self._web_port, archive=archive)
            gate = Gate(self._settings, port=self._port, log=self._folder / "gate.log")
            stack.callback(gate.stop)
            self._say(
                "images: a real brain (ICBM152 MR template) in a digital skull; the CT is a digital phantom"
            )
            scene = write_scene(self._folder / "scene", progress=lambda name: self._say(f"  making {name}"))
            gate.wait_until_listening()
            self._say(f"gate: qagate listens on 127.0.0.1:{self._port} as {AE_TITLE}")
            password = add_users(self._settings)
            self._say(
                f"pages: http://127.0.0.1:{self._web_port}/ for {' or '.join(USERS)}, password {password}"
            )
            records = Records(self._settings)
            stack.callback(records.close)
            failed = self._examine(scene, gate, records, archive)
            if not once:
                self._listen(gate)
        return 1 if failed else 0

    def _examine(self, scene: Scene, gate: Gate, records: Records, archive: Archive) -> list[str]:
        """Send the scene, show what happens, and return what went otherwise than promised."""
        answers: dict[str, int | None] = {}
        sender = threading.Thread(target=_send, args=(scene, gate, self._settings, answers), daemon=True)
        sender.start()
        rows = self._watch(scene, gate, records, sender)
        broken = answers.get(scene.broken_sop_instance_uid)
        reports: dict[str, Dataset] = {}

        def all_reported() -> bool:
            reports.update(reported_series(archive.documents()))
            return reports.keys() >= rows.keys()

        wait_for(all_reported, timeout_s=20.0)
        self._report(rows, reports)
        for alert in gate.alerts():
            self._say(f"alert: {short_alert(alert)}")
        refusals = records.refusals()
        if scene.broken_sop_instance_uid in refusals and broken:
            why = refusals[scene.broken_sop_instance_uid]
            self._say(f"broken object: refused with 0x{broken:04X}, {why}")
        failed = failures(scene, rows, reports, refused=bool(broken), refusals=list(refusals))
        for sentence in failed:
            self._say(f"NOT AS PROMISED  {sentence}")
        if not failed:
            self._say(f"all as promised: {len(rows)} series decided, {len(reports)} SR in the archive")
        return failed

    def _watch(
        self, scene: Scene, gate: Gate, records: Records, sender: threading.Thread
    ) -> Mapping[str, Row]:
        """Show the table until every series is delivered or failed, or time is up."""
        rows = records.rows(scene)
        with ExitStack() as stack:
            live: Live | None = None
            if self._console.is_terminal:
                live = stack.enter_context(Live(console=self._console, auto_refresh=False, transient=True))

            def settled() -> bool:
                nonlocal rows
                rows = records.rows(scene)
                if live is not None:
                    live.update(_table(rows), refresh=True)
                else:
                    self._print_changes(rows)
                if not gate.running():
                    raise DemoError(f"the gate ended by itself; its messages are in {gate.log}")
                return not sender.is_alive() and all(row.final for row in rows.values())

            wait_for(settled, timeout_s=_TIMEOUT_S)
        self._console.print(_table(rows))
        self._say(f"(s: seconds from last slice to decision, {QUIET_S:g} s of quiet time among them)")
        return rows

    def _print_changes(self, rows: Mapping[str, Row]) -> None:
        """For a stdout that is no terminal: one line whenever a series changes its state."""
        for uid, row in rows.items():
            before = self._printed.get(uid)
            if row.seconds is not None and (
                before is None or (before.state, before.verdict) != (row.state, row.verdict)
            ):
                self._say(f"  {row.name:<22} {row.state:<10} {row.verdict}")
        self._printed = dict(rows)

    def _report(self, rows: Mapping[str, Row], reports: Mapping[str, Dataset]) -> None:
        uid = worst(rows)
        if uid is not None and uid in reports:
            self._console.rule(f"SR of the worst: {rows[uid].name}", characters="-", align="left")
            self._console.print(Text(sr_text(reports[uid])), soft_wrap=True)
            self._console.rule(characters="-")

    def _listen(self, gate: Gate) -> None:
        installed = Path(sys.executable).with_name("qagate")
        qagate = str(installed) if installed.exists() else "qagate"
        commands = [f"{qagate} send --to 127.0.0.1:{self._port} --called {AE_TITLE} FOLDER"]
        if _STORESCU.exists():
            commands.append(f"{_STORESCU} -nh +sd +r -aec {AE_TITLE} 127.0.0.1 {self._port} FOLDER")
        self._say("\nThe gate keeps listening; Ctrl-C ends it. In another terminal, send your own data:")
        self._commands(commands)
        self._say("and see what became of it:")
        self._commands([f"{qagate} --config {self._settings} status"])
        while gate.running():
            time.sleep(0.5)
        raise DemoError(f"the gate ended by itself; its messages are in {gate.log}")

    def _commands(self, commands: list[str]) -> None:
        for command in commands:
            self._console.print(Text(f"  {command}"), soft_wrap=True)  # one line, to be copied

    def _say(self, text: str) -> None:
        self._console.print(Text(text))


def _send(scene: Scene, gate: Gate, settings: Path, answers: dict[str, int | None]) -> None:
    """The scanner: one association a series, the next one when the gate has decided.

    A real scanner takes minutes between series. `answers` gets the status of every instance.
    """
    records = Records(settings)
    for paths in (*(series.paths for series in scene.series), (scene.broken,)):
        for result in gate.send(paths):
            answers[result.sop_instance_uid] = result.status
        wait_for(lambda: not records.pending(scene), timeout_s=_PATIENCE_S)
    records.close()


def _table(rows: Mapping[str, Row]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("series", "state", "verdict"):
        table.add_column(name, no_wrap=True)
    table.add_column("qual.", justify="right", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for row in rows.values():
        table.add_row(
            row.name,
            row.state,
            Text(row.verdict, style=_COLOURS.get(row.verdict, "")),
            "" if row.quality is None else f"{row.quality:.2f}",
            "" if row.seconds is None else f"{row.seconds:.1f}",
            Text(row.reason),
        )
    return table
