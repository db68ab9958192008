"""`qagate train ablate`: intervals, verdicts, and runs that go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from qagate.cli import main
from train.ablate import report, table
from train.ablate.figures import estimate
from train.ablate.table import Printed, Row
from train.evaluation.significance import Interval
from train.run import loop

PATIENT = "SECRET-PATIENT-8"
# Intervals


def noisy(
    rng: np.random.Generator, deviation: float, seeds: int = 3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(1, S, N) predictions, labels and units of 12 units of 10."""
    labels = rng.random(120)
    return labels + rng.normal(0, deviation, (1, seeds, 120)), labels, np.repeat(np.arange(12), 10)


def test_a_worse_row_is_clear_and_an_equal_one_is_not() -> None:
    rng = np.random.default_rng(1)
    good, labels, units = noisy(rng, 0.1)
    worse, alike = labels + rng.normal(0, 0.5, good.shape), labels + rng.normal(0, 0.1, good.shape)
    found = estimate(np.concatenate([worse, alike, good]), labels, units, 2, resamples=200)
    assert found.differences[0]["srocc"].high < 0 and found.differences[0]["plcc"].high < 0
    assert not found.differences[1]["srocc"].excludes(0)
    assert found.differences[2]["srocc"] == Interval(value=0, low=0, high=0)
    expected = np.mean([np.corrcoef(one, labels)[0, 1] for one in good[0]])
    assert found.figures[2]["plcc"].value == pytest.approx(expected)
    assert found.by_seed[2]["plcc"][1] == pytest.approx(np.corrcoef(good[0, 1], labels)[0, 1])


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(2)
    good, labels, units = noisy(rng, 0.4)
    bit_worse = good + rng.normal(0, 0.05, good.shape)
    found = estimate(np.concatenate([bit_worse, good]), labels, units, 1, resamples=200)
    width = [one["plcc"].high - one["plcc"].low for one in (found.differences[0], found.figures[0])]
    assert width[0] < width[1] / 3


def test_seeds_that_disagree_widen_the_interval() -> None:
    labels = np.random.default_rng(3).random(120)
    units = np.repeat(np.arange(12), 10)
    noise = np.random.default_rng(4).normal(0, 0.2, (3, 120))
    steady = np.broadcast_to(labels + noise[0], (1, 3, 120)).copy()
    wild = steady.copy()
    wild[0, 2] = -wild[0, 2]
    widths = []
    for predicted in (steady, wild):
        one = estimate(predicted, labels, units, 0, resamples=200).figures[0]["srocc"]
        widths.append(one.high - one.low)
    assert widths[1] > 3 * widths[0]


def test_a_constant_row_counts_as_no_agreement_and_folds_must_match() -> None:
    good, labels, units = noisy(np.random.default_rng(5), 0.1)
    found = estimate(np.concatenate([np.full_like(good, 0.3), good]), labels, units, 1, resamples=50)
    assert found.figures[0]["srocc"] == Interval(value=0, low=0, high=0)
    half = good.copy()
    half[:, :, :60] = np.nan
    part = estimate(np.concatenate([half, half]), labels, units, 0, resamples=50)
    assert part.figures[0]["plcc"].value == pytest.approx(
        np.mean([np.corrcoef(one[60:], labels[60:])[0, 1] for one in good[0]])
    )
    with pytest.raises(ValueError, match="different cases"):
        estimate(np.concatenate([half, good]), labels, units, 0)
    alone = estimate(good, labels, np.zeros(120), 0, resamples=50).figures[0]["plcc"]
    assert np.isnan(alone.low) and np.isfinite(alone.value)


# Verdicts


@pytest.mark.parametrize(
    ("claim", "here", "answer"),
    [
        ((0.88, 0.90), (-0.05, -0.09, -0.01), "agrees"),
        ((0.88, 0.90), (-0.05, -0.09, 0.01), "cannot tell"),
        ((0.88, 0.90), (0.05, 0.01, 0.09), "disagrees"),
        ((0.92, 0.90), (0.05, 0.01, 0.09), "agrees"),
        ("worse", (-0.05, -0.09, -0.01), "agrees"),
        ("better", (-0.05, -0.09, -0.01), "disagrees"),
        ("worse", (-0.05, np.nan, np.nan), "cannot tell"),
        ("", (-0.05, -0.09, -0.01), "nothing claimed"),
    ],
)
def test_verdicts(claim: Any, here: tuple[float, float, float], answer: str) -> None:
    printed = claim if isinstance(claim, tuple) else (None, 0.9)
    row = Row(
        name="without", paper=Printed(srocc=printed[0]), claim="" if isinstance(claim, tuple) else claim
    )
    full = Row(name="with", paper=Printed(srocc=printed[1]))
    value, low, high = here
    found = report.judge(row, full, Interval(value=value, low=low, high=high), "srocc")
    assert found.answer == answer and found.sentence.startswith("without against with: the paper")
    if isinstance(claim, tuple) and answer == "agrees" and value < 0:
        assert found.sentence.endswith("the paper: −0.020; here −0.050 [−0.090, −0.010]: agrees.")


# Runs


def write_series(folder: Path, number: int, quality: float, patient: str, tesla: float) -> None:
    folder.mkdir(parents=True)
    data = dcmread(get_testdata_file("MR_small.dcm"))
    data.SeriesInstanceUID, data.StudyInstanceUID = generate_uid(), generate_uid()
    data.PatientID = data.PatientName = patient
    data.MagneticFieldStrength, data.StationName = tesla, f"MR{number % 3}"
    noise = np.random.default_rng(number).normal(0, 500 * (1 - quality), data.pixel_array.shape)
    data.PixelData = np.clip(data.pixel_array + noise, 0, 4095).astype(np.int16).tobytes()
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.save_as(folder / "0.dcm")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve series of six patients, at two field strengths, beside their labels."""
    root = tmp_path_factory.mktemp("labelled")
    lines = ["# scale: 1-5", "path,rater,score"]
    for number in range(12):
        quality = (number * 5 % 12) / 11
        write_series(
            root / f"s{number:02d}", number, quality, f"{PATIENT}{number % 6}", (1.5, 3.0)[number % 2]
        )
        lines.append(f"s{number:02d},reader,{1 + 4 * quality:.2f}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def ablate(labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(report, "RESAMPLES", 20)

    def run(name: object, *more: object) -> Result:
        places = ["--out", tmp_path / "out", "--cache", tmp_path / "cache"]
        limits = ["--processes", 1, "--seeds", 2, "--device", "cpu"]
        arguments = ["train", "ablate", name, labelled, *places, *limits, *more]
        return CliRunner().invoke(main, [*map(str, arguments)])

    return run


def test_one_command_trains_every_row_and_goes_on_where_it_was_stopped(
    ablate: Callable[..., Result],
    tiny_table: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, trainings = tmp_path / "out", 0
    whole = loop.run

    def stopping(*arguments: Any, **options: Any) -> Any:
        nonlocal trainings
        trainings += 1
        if trainings == 4:
            raise RuntimeError("power cut")
        return whole(*arguments, **options)

    monkeypatch.setattr(loop, "run", stopping)
    stopped = ablate(tiny_table())
    assert stopped.exit_code == 1 and "power cut" in stopped.output, stopped.output
    (out / "01-less-one" / "seed-21").mkdir(parents=True)
    (out / "01-less-one" / "seed-21" / "recipe.toml").write_text("")  # stopped while it was written
    said = ablate(tiny_table())
    assert said.exit_code == 0, said.output
    assert trainings == 4 + 5  # 2 rows x 2 seeds x 2 folds, 3 of which were done
    assert "less / one against both: the paper: −0.100; here " in said.output
    assert {path.name for path in out.iterdir()} == {
        "01-less-one", "02-both", "table.txt", "table.csv", "table.md", "figures.json", "differences.png",
        "differences.svg",
    }  # fmt: skip
    told = json.loads((out / "figures.json").read_text())
    assert told["cases"] == 12 and told["units"] == 6 and told["seeds"] == [20, 21]
    first, full = told["rows"]
    assert first["claimed"] == pytest.approx(-0.1) and full["claimed"] is None and full["answer"] is None
    assert first["parameters"] < full["parameters"] and None not in first["seconds"]
    assert full["seconds"][0] is None and full["seconds"][1] > 0  # the stopped one
    low, high = first["less_full"]["srocc"]["low"], first["less_full"]["srocc"]["high"]
    assert low <= first["less_full"]["srocc"]["value"] <= high
    by_hand = [
        json.loads((out / "02-both" / f"seed-{seed}" / "figures.json").read_text())["srocc"]
        for seed in (20, 21)
    ]
    assert full["figures"]["srocc"]["value"] == pytest.approx(np.mean(by_hand))

    again = ablate(tiny_table())
    assert again.exit_code == 0 and trainings == 9 and json.loads((out / "figures.json").read_text()) == told
    other = ablate(tiny_table(), "--set", "epochs=3")
    assert other.exit_code == 1 and "another recipe; name another folder with --out" in other.output
    texts = "".join(
        path.read_text() for path in out.rglob("*") if path.suffix in {".json", ".txt", ".md", ".csv"}
    )
    assert PATIENT not in texts and str(tmp_path) not in texts


def test_pretrained_rows_start_from_what_the_headers_taught(
    ablate: Callable[..., Result], tmp_path: Path, tiny_mediqa: Callable[..., Any]
) -> None:
    maniqa = dict(tiny_mediqa().network.config["maniqa"])
    changes = ["--small", "--set", "preparation.side=32", "--set", "epochs=1", "--set", "folds.k=2"]
    for key, value in maniqa.items():
        changes += ["--set", f"network.config.maniqa.{key}={_toml(value)}"]
    said = ablate("mediqa", "--row", "2", "--seeds", 1, *changes)
    assert said.exit_code == 0, said.output
    assert "mas is left out: 0 of 12 series tell it" in said.output
    pretrained = [*(tmp_path / "out" / "pretrained").iterdir()]
    assert len(pretrained) == 1 and (pretrained[0] / "weights.safetensors").is_file()
    full = (tmp_path / "out" / "05-pt-pm-ss-ours-e" / "seed-20" / "recipe.toml").read_text()
    assert 'kind = "checkpoint"' in full and str(tmp_path) not in full
    assert "PM + SS against PT + PM + SS (Ours-e): the paper: worse; here " in said.output


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def test_an_archive_that_tells_nothing_is_named_before_anything_is_trained(
    ablate: Callable[..., Result], labelled: Path, tmp_path: Path
) -> None:
    said = ablate("mediqa", "--small", "--archive", labelled / "s00")
    assert said.exit_code == 1 and "is pre-trained: no physical parameter differs" in said.output, said.output
    assert not (tmp_path / "out").exists()


def test_the_tables_are_listed() -> None:
    said = CliRunner().invoke(main, ["train", "ablate", "--list"])
    assert said.exit_code == 0 and "  2 VGG19 (not with --small)" in said.output
    assert {line.partition(":")[0] for line in said.output.splitlines() if line[0] != " "} == {*table.names()}
