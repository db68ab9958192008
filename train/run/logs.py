"""A training's course as files: CSV, TensorBoard events, curves. All are made anew from the history, so a
resumed run leaves the same files as an uninterrupted one."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from train.disk import write_atomically

History = Sequence[dict[str, float]]
CURVES = {"loss": ("loss", "validation_loss"), "agreement": ("validation_srocc", "validation_plcc")}


def write(history: History, folder: Path, *, curves: bool) -> None:
    """history.csv, and events.out.tfevents.training where tensorboardX is installed; curves: pictures too."""
    if not history:
        return
    names = list(dict.fromkeys(name for row in history for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(folder / "history.csv", out.getvalue())
    _events(history, folder / "events.out.tfevents.training")
    if curves:
        _curves(history, folder)


def _events(history: History, path: Path) -> None:
    """Written record by record: the library's own writer puts the host's name into the file's."""
    try:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import RecordWriter
        from tensorboardX.summary import scalar
    except ImportError:
        return
    with TemporaryDirectory() as folder:
        records = Path(folder) / "events"
        writer = RecordWriter(str(records))
        writer.write(Event(file_version="brain.Event:2").SerializeToString())
        for row in history:
            for name, value in row.items():
                if name != "epoch":
                    event = Event(step=int(row["epoch"]), wall_time=row["epoch"], summary=scalar(name, value))
                    writer.write(event.SerializeToString())
        writer.close()
        write_atomically(path, records.read_bytes())


def _curves(history: History, folder: Path) -> None:
    from train.evaluation.plots import curves

    epochs = [row["epoch"] for row in history]
    for stem, names in CURVES.items():
        lines = {name: [row[name] for row in history] for name in names if name in history[0]}
        if lines:
            curves(epochs, lines, folder / stem, title=stem, along="epoch")


def best_epoch(folder: Path, watch: str) -> int:
    """The first epoch with the best validation figure, from 1, as history.csv has it."""
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    sign = -1 if watch == "loss" else 1
    figures = [sign * float(row[f"validation_{watch}"]) for row in rows]
    figures = [float("-inf") if math.isnan(figure) else figure for figure in figures]
    return int(float(rows[figures.index(max(figures))]["epoch"]))
