"""Simulated series with labels, accepted series as references, and heads adapted to them."""

from __future__ import annotations

import csv
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from scipy import ndimage

from models import training_record
from models.default import read_heads
from models.inputs import SliceInput
from models.registry import load
from models.weights_file import MANIFEST, WEIGHTS
from qagate.files import group
from qagate.gate.policy import Policy
from qagate.gate.scoring import Scorer
from train.adapt import adapt, summary, write
from train.dataset import Recipe
from train.house import choose, drawn, references
from train.house_cli import adapt as adapt_command
from train.house_cli import simulate
from train.labels.folder import read_folder
from train.references import Reference
from train.simulated import LABELS, SimulationError, write_simulated

RECIPE = Recipe(seed=1, version="h", severities=(2.0, 5.0), randomised={"CT": 0, "MR": 0}, ridge=3.0)


def series(folder: Path, *, patient: str, noise: float = 0.0, shift: int = 0) -> Path:
    """pydicom's CT slice as a series of its own."""
    data_set = dcmread(get_testdata_file("CT_small.dcm"))
    rng = np.random.default_rng(shift)
    pixels = np.roll(data_set.pixel_array, shift, 0) + rng.normal(0, noise, data_set.pixel_array.shape)
    data_set.PixelData = pixels.astype(data_set.pixel_array.dtype).tobytes()
    data_set.PatientID = patient
    data_set.SeriesInstanceUID = generate_uid()
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    folder.mkdir(parents=True)
    data_set.save_as(folder / "1.dcm", enforce_file_format=True)
    return folder


def body(number: int) -> np.ndarray:
    """A textured ellipse in HU, another for each number."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    inside = (x / 0.8) ** 2 + (y / (0.6 + 0.02 * number)) ** 2 < 1
    texture = ndimage.gaussian_filter(rng.standard_normal((128, 128)), 3) * 600
    return np.where(inside, 40 + texture, -1000).astype(np.float32)


def test_simulated_series_are_labelled_by_their_damage(tmp_path: Path) -> None:
    found, problems = group([series(tmp_path / "in", patient="A")])
    assert not problems
    out = tmp_path / "out"
    made = write_simulated(found, out, artefacts=("noise", "blur"), severities=(1.0, 5.0))
    assert [one.folder for one in made] == [
        "001-none", "001-noise-1", "001-noise-5", "001-blur-1", "001-blur-5",
    ]  # fmt: skip
    scores = {one.folder: one.score for one in made}
    assert scores["001-none"] == 4.0
    assert scores["001-noise-1"] > scores["001-noise-5"] and scores["001-blur-1"] > scores["001-blur-5"]
    head, *lines = (out / LABELS).read_text(encoding="utf-8").splitlines()
    assert head == "# scale: 0-4"
    rows = list(csv.DictReader(lines))
    assert [row["path"] for row in rows] == [one.folder for one in made]
    assert rows[1]["artefacts"] == "noise" and float(rows[2]["score"]) == pytest.approx(
        scores["001-noise-5"], abs=1e-4
    )
    for row in rows:
        (path,) = (out / row["path"]).glob("*.dcm")
        assert dcmread(path, stop_before_pixels=True).SeriesInstanceUID == row["series_instance_uid"]


def test_simulated_labels_can_be_read(tmp_path: Path) -> None:
    found, _ = group([series(tmp_path / "in", patient="A")])
    write_simulated(found, tmp_path / "out", artefacts=("blur",), severities=(5.0,))
    samples = read_folder(tmp_path / "out" / LABELS).complete().samples
    assert len(samples) == 2


def test_what_cannot_be_simulated_is_named(tmp_path: Path) -> None:
    found, _ = group([series(tmp_path / "in", patient="A")])
    with pytest.raises(SimulationError, match="no artefact 'sunspots'; there are"):
        write_simulated(found, tmp_path / "out", artefacts=("sunspots",))
    with pytest.raises(SimulationError, match="in is not empty"):
        write_simulated(found, tmp_path / "in")


def test_an_archive_is_sampled(tmp_path: Path) -> None:
    found, _ = group([series(tmp_path / f"{n}", patient="A", shift=n) for n in range(5)])
    mr = replace(found[0], header=replace(found[0].header, modality="MR"))
    taken = drawn([*found, mr], 2)
    assert [one.header.modality for one in taken] == ["CT", "CT", "MR"]
    assert taken == drawn([*found, mr], 2) and drawn(found, 9) == found
    with pytest.raises(ValueError, match="most 0"):
        drawn(found, 0)


def test_the_worst_are_left_out_and_patients_stay_together(tmp_path: Path) -> None:
    folders = [
        series(tmp_path / "a1", patient="A"),
        series(tmp_path / "a2", patient="A", shift=3),
        series(tmp_path / "b", patient="B", shift=5),
        series(tmp_path / "bad", patient="C", noise=150.0),
    ]
    found, _ = group(folders)
    chosen = choose(found, Scorer(load()), Policy(), worst=0.25)
    assert len(chosen.accepted) == 3
    assert (
        len(chosen.left_out) == 1 and "bad" in chosen.left_out[0] and "worst 25% of CT" in chosen.left_out[0]
    )
    subjects = [one.subject for one in chosen.accepted]
    assert len(set(subjects)) == 2 and not {"A", "B"} & set(subjects)
    made = references(chosen.accepted)
    assert len(made) == 3 and {one.modality for one in made} == {"CT"}
    assert made[0].pixels.shape == (128, 128) and made[0].pixels.min() < -500


def test_heads_move_towards_the_house_and_load(tmp_path: Path) -> None:
    house = [Reference(name=f"s{n}/0", subject=f"p{n}", modality="CT", pixels=body(n)) for n in range(4)]
    told: list[str] = []
    mr = Reference(name="m/0", subject="m", modality="MR", pixels=body(9) + 1000)
    found = adapt([*house, mr], RECIPE, tmp_path / "cache", progress=told.append)
    assert found.keys() == {"CT"} and any("MR: 1 patients; 3 are needed" in line for line in told)
    one = found["CT"]
    assert one.subjects == 4 and one.images == 4 * (1 + 6 * 2)
    assert one.new.srocc > one.old.srocc
    assert json.loads(summary(found))["CT"]["new"]["srocc"] == pytest.approx(one.new.srocc)
    path = tmp_path / "weights" / "default.safetensors"
    write(found, path, "house-1")
    (path.parent / "lite0.safetensors").write_bytes((WEIGHTS / "lite0.safetensors").read_bytes())
    heads, shipped = read_heads(path), read_heads(WEIGHTS / "default.safetensors")
    assert (heads["MR"].weight == shipped["MR"].weight).all()
    assert not np.allclose(heads["CT"].weight, shipped["CT"].weight)
    import hashlib

    old = hashlib.sha256((WEIGHTS / "default.safetensors").read_bytes()).hexdigest()
    new = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = tmp_path / "weights.toml"
    manifest.write_text(MANIFEST.read_text().replace(old, new))
    (answer,) = load(manifest=manifest, folder=path.parent).predict(
        [SliceInput(pixels=body(7), modality="CT")]
    )
    assert 0 <= answer.quality <= 1 and answer.out_of_distribution is not None


def test_too_few_patients_are_named(tmp_path: Path) -> None:
    lone = Reference(name="s/0", subject="p", modality="CT", pixels=body(1))
    with pytest.raises(ValueError, match="no modality has accepted series of 3 patients"):
        adapt([lone], RECIPE, tmp_path)


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [series(tmp_path / name, patient=name, shift=n) for n, name in enumerate("abc")]
    monkeypatch.chdir(tmp_path)
    arguments = [str(folders[0]), "--out", "sim", "--artefact", "blur", "--severities", "2,4"]
    said = CliRunner().invoke(simulate, arguments)
    assert said.exit_code == 0 and "wrote 3 series and sim/labels.csv" in said.output, said.output
    said = CliRunner().invoke(simulate, arguments)
    assert said.exit_code == 1 and "sim is not empty" in said.output
    said = CliRunner().invoke(adapt_command, [*map(str, folders), "--severities", "5", "--worst", "0"])
    assert said.exit_code == 0, said.output
    assert "CT: 3 patients, on those left out SROCC" in said.output and "qagate models add" in said.output
    assert read_heads(tmp_path / "runs/adapt/weights.safetensors").keys() == {"CT", "MR"}
    assert json.loads((tmp_path / "runs/adapt/figures.json").read_text())["CT"]["subjects"] == 3
    record = training_record.of_run(tmp_path / "runs/adapt")
    assert record.cases == {"CT": 3} and "torch" in record.environment
    assert tomllib.loads(record.recipe) == {
        "worst": 0.0, "most": 40, "slices": 2, "copies": 1, "severities": [5.0],
    }  # fmt: skip
    bad = CliRunner().invoke(simulate, [str(folders[0]), "--out", "x", "--severities", "4,2"])
    assert bad.exit_code == 2 and "do not rise" in bad.output
