"""`qagate demo`: the gate end to end on this machine, on images of a patient that does not exist."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

import click


@click.command()
@click.option("--once", is_flag=True, help="End by itself; exit code 0 only when all came out as promised.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the gate; default 11112 when it is free."
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Empty or new folder to use."
)
@click.option("--keep", is_flag=True, help="Keep the folder when the demo ends.")
def demo(once: bool, port: int | None, data_dir: Path | None, keep: bool) -> None:
    """Show the gate end to end: a scanner, the gate, an archive, on this machine alone.

    Series of a fictitious patient (a real brain template with simulated artefacts; the CT is a digital
    phantom) are sent over DICOM, judged, and reported to a small archive.
    """
    from rich.console import Console

    from train.demo.archive import choose_port
    from train.demo.phantom import DemoError
    from train.demo.show import Show

    signal.signal(signal.SIGTERM, _interrupt)
    code = 1
    folder = None
    try:
        chosen = choose_port(port, usual=None if once else 11112)
        pages = choose_port(None, usual=None if once else 8080)
        folder = _folder(data_dir)
        code = Show(folder, port=chosen, web_port=pages, console=Console(highlight=False)).run(once=once)
    except KeyboardInterrupt:
        code = 130 if once else 0
    except DemoError as error:
        click.echo(f"Error: {error}", err=True)
    finally:
        if folder is not None and data_dir is None and not keep and code == 0:
            shutil.rmtree(folder, ignore_errors=True)
        elif folder is not None:
            click.echo(f"kept: {folder}")
    sys.exit(code)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _folder(data_dir: Path | None) -> Path:
    """The folder to work in; a fresh one below ./var/demo, or in the temporary folder."""
    from train.demo.phantom import DemoError

    if data_dir is not None:
        if data_dir.is_dir() and any(data_dir.iterdir()):
            raise DemoError(f"{data_dir} is not empty: name a new folder with --data-dir")
        data_dir.mkdir(parents=True, exist_ok=True)
        return data_dir.resolve()
    parent = Path("var") / "demo"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="run-", dir=parent)).resolve()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="qagate-demo-"))
