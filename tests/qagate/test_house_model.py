"""From simulated, labelled series to a model of the house that a running gate decides with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pydicom import dcmread

from qagate.cli import main
from train.demo.objects import Plane, Study, write_series
from train.demo.phantom import load_head, mr_slice
from train.simulate import randomise

PATIENTS = 8
ARTEFACTS = ("ghost", "noise", "coloured_noise", "motion", "blur", "bias", "wrap")


def qagate(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def write_patient(folder: Path, number: int) -> tuple[Path, ...]:
    """Three slices of the brain template, of another height, contrast and sharpness for each patient."""
    rng = np.random.default_rng(number)
    planes = []
    for slice_ in range(3):
        z_mm = -12.0 + 9 * number + 3 * slice_
        pixels = randomise(mr_slice(load_head(), z_mm, 3.0), np.random.default_rng(number), "MR")
        noisy = np.abs(1800 * pixels + rng.normal(0, 15, pixels.shape)).astype(np.float32)
        planes.append(Plane(pixels=noisy, position_mm=(0, 0, z_mm)))
    told = {"PatientID": f"P{number}", "PatientName": f"P{number}", "StationName": f"MR{number % 2}"}
    return write_series(folder, Study.begin("MR"), planes, series_number=1, spacing_mm=1.0, attributes=told)[
        1
    ]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_house_trains_promotes_and_decides(make_gate: Callable[..., Any], tmp_path: Path) -> None:
    for number in range(PATIENTS):
        write_patient(tmp_path / "clean" / str(number), number)
    wanted = [part for name in ARTEFACTS for part in ("--artefact", name)]
    labelled, run = tmp_path / "labelled", tmp_path / "run"
    made = qagate("train", "simulate", tmp_path / "clean", "--out", labelled, "--severities", "2,4", *wanted)
    assert made.exit_code == 0, made.output
    assert len(list(labelled.iterdir())) == 120 + 1, "120 series and their labels"

    said = qagate(
        "train", "finetune", labelled, "--recipe", "house", "--device", "cpu", "--out", run, "--cache",
        tmp_path / "cache",
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    figures = json.loads((run / "figures.json").read_text())
    assert figures["images"] == 120 and figures["srocc_low"] > 0, figures
    written = {path.suffix for path in (run / "figures" / "quality").iterdir()}
    assert written >= {".png", ".svg", ".csv", ".md"}

    gate = make_gate()
    assert qagate("-c", gate.config, "models", "add", run, "--name", "house-1").exit_code == 0

    def decided(number: int) -> Any:
        files = write_patient(tmp_path / f"new-{number}", number)
        gate.send(files)
        return gate.ended(str(dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)).results[-1]

    assert decided(0).assessment.model == "default"
    pids = {event["pid"] for event in gate.events("role_started")}
    promoted = qagate(
        "-c", gate.config, "models", "promote", "house-1", "--force", "--reason", "first of the house"
    )
    assert promoted.exit_code == 0, promoted.output
    result = decided(1)
    assert result.assessment.model == "house-1" and result.assessment.quality is not None
    assert {event["pid"] for event in gate.events("role_started")} == pids, "without a restart"
    assert gate.stop() == 0
