"""A worker whose model does what the environment says, run as a process: `fault_worker.py SETTINGS`.

QAGATE_FAULT: hang | hang-native | memory | lost. QAGATE_FAULT_ONCE: a file; the fault ends when it exists.
Slices of more than 2500 HU are poison to it: only they make it hang.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from models.inputs import SliceInput, SliceOutput
from qagate import app, config, parts, supervisor
from qagate.gate.scoring import Scorer

FAULT, ONCE = os.environ["QAGATE_FAULT"], os.environ.get("QAGATE_FAULT_ONCE")
POISON_HU = 2500


class Device:
    """A model that judges by nothing, on a device that fails."""

    name = version = "faulty"
    weights_sha256, score_range, modalities = "0" * 64, (0.0, 1.0), ("CT",)

    def __init__(self, *, sound: bool = False) -> None:
        self._sound = sound

    def predict(self, slices: Sequence[SliceInput]) -> list[SliceOutput]:
        if not self._sound and (ONCE is None or not Path(ONCE).exists()):
            self._fail(slices)
        return [SliceOutput(score=0.9, quality=0.9, artefacts={"none": 1.0}, out_of_distribution=0.1)] * len(
            slices
        )

    def _fail(self, slices: Sequence[SliceInput]) -> None:
        if FAULT == "memory":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        if FAULT == "lost":
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        if FAULT.startswith("hang") and any(one.pixels.max() > POISON_HU for one in slices):
            if FAULT == "hang":
                time.sleep(3600)
            ctypes.PyDLL(None).sleep(3600)  # holds the interpreter's lock


def main(settings_path: str) -> None:
    def scorer(settings: Any, **_: Any) -> Scorer:
        spare = partial(Device, sound=True)
        return Scorer(Device(), max_batch=settings.worker.max_batch, on_cpu=spare)

    parts.scorer = scorer
    stop = threading.Event()
    supervisor.stop_on_signals(stop)
    supervisor.stop_with_parent(stop)
    app.work(config.load(Path(settings_path)), stop)


if __name__ == "__main__":
    main(sys.argv[1])
