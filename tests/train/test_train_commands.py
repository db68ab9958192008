"""`qagate train finetune`, `pretrain` and `resume`, from DICOM folders to weights that the gate can use."""

from __future__ import annotations

import getpass
import json
import re
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from models import house, network_file, registry
from models.inputs import SliceInput
from qagate.cli import main
from qagate.examine import prepare
from train.recipe import FoldsRecipe, Recipe
from train.run import figures

SHARED = Path(__file__).resolve().parents[3] / "shared" / "dicom"
PATIENT = "SECRET-PATIENT-7"


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = figures.evaluate
    monkeypatch.setattr(figures, "evaluate", lambda *a, **k: evaluate(*a, **k | {"resamples": 9}))


def write_series(folder: Path, number: int, *, quality: float, patient: str, **tags: object) -> str:
    """Two slices of pydicom's MR with noise; the UID."""
    folder.mkdir(parents=True)
    data = dcmread(get_testdata_file("MR_small.dcm"))
    data.decompress() if data.file_meta.TransferSyntaxUID.is_compressed else None
    data.SeriesInstanceUID, data.StudyInstanceUID = generate_uid(), generate_uid()
    data.PatientID = data.PatientName = patient
    for name, value in tags.items():
        setattr(data, name, value)
    rng = np.random.default_rng(number)
    clean = data.pixel_array.astype(float)
    for slice_ in range(2):
        noise = rng.normal(0, 500 * (1 - quality), clean.shape)
        data.PixelData = np.clip(clean + noise, 0, 4095).astype(np.int16).tobytes()
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.InstanceNumber, data.ImagePositionPatient = slice_ + 1, [0, 0, 5.0 * slice_]
        data.save_as(folder / f"{slice_}.dcm")
    return str(data.SeriesInstanceUID)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Twelve series of six patients beside their labels."""
    root = tmp_path / "labelled"
    lines = ["# scale: 1-5", "path,rater,score"]
    for number in range(12):
        quality = (number * 5 % 12) / 11
        write_series(root / f"s{number:02d}", number, quality=quality, patient=f"{PATIENT}{number % 6}")
        lines.append(f"s{number:02d},reader,{1 + 4 * quality:.2f}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def qagate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def texts(folder: Path) -> str:
    suffixes = {".json", ".toml", ".csv", ".txt", ".md"}
    found = "".join(path.read_text() for path in sorted(folder.rglob("*")) if path.suffix in suffixes)
    return found + "".join(path.name for path in folder.rglob("*"))


@pytest.fixture
def run(
    labelled: Path, tmp_path: Path, tiny: Callable[..., Recipe], toml: Callable[[Recipe], Path]
) -> Callable[..., Result]:
    def finetune(
        recipe: Recipe | None = None, *more: object, data: Path = labelled, out: str = "run"
    ) -> Result:
        recipe_file = toml(recipe or tiny())
        return qagate("finetune", data, "--recipe", recipe_file, "--out", tmp_path / out, "--cache",
                      tmp_path / "cache", "--processes", 1, *more)  # fmt: skip

    return finetune


def test_a_folder_of_labelled_series_becomes_a_model_the_gate_can_use(
    run: Callable[..., Result], labelled: Path, tmp_path: Path
) -> None:
    said = run()
    assert said.exit_code == 0, said.output
    folder = tmp_path / "run"
    told = r"12 images or series, each held out once: SROCC -?0\.\d\d \(95 %: .* to .*\), PLCC"
    assert re.search(told, said.output) and f"qagate models add {folder} --name" in said.output
    there = {path.name for path in folder.iterdir()}
    expected = "recipe.toml environment.json cases.json splits.csv predictions.csv figures.json figures "
    assert there >= {*expected.split(), "weights.safetensors", "fold-00", "fold-01", "final"}
    assert {path.name for path in (folder / "fold-00").iterdir()} >= {
        "history.csv", "predictions.csv", "loss.png", "agreement.svg", "events.out.tfevents.training",
    }  # fmt: skip
    assert not list(folder.rglob("state.safetensors"))
    assert (folder / "figures" / "quality" / "scatter-as-given.png").is_file()
    told = json.loads((folder / "figures.json").read_text())
    assert told["images"] == 12 and {"srocc", "plcc", "srocc_low", "srocc_of_the_best_epoch"} <= told.keys()

    entry = house.add(tmp_path / "models", folder, name="ours", modalities=("MR",))
    assert entry.figures["srocc"] == told["srocc"]
    model = registry.load("ours", house=tmp_path / "models")
    trained = network_file.load(folder / "weights.safetensors")
    gate = prepare(sorted((labelled / "s03").glob("*.dcm")))
    slices = [SliceInput(pixels=one.pixels, modality="MR") for one in gate.slices]
    images = torch.stack([trained.preparation(one.pixels, "MR") for one in slices])
    scores = [one.score for one in model.predict(slices)]
    assert scores == pytest.approx(trained.module(images).score.tolist(), abs=0.02)


def test_the_run_folder_names_no_patient_no_host_and_no_path(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    assert run().exit_code == 0
    found = texts(tmp_path / "run")
    for secret in (PATIENT, socket.gethostname(), str(tmp_path), f"/{getpass.getuser()}/"):
        assert secret not in found, secret


def test_a_finished_run_resumes_to_itself_and_is_not_overwritten(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    assert run().exit_code == 0
    folder = tmp_path / "run"
    before = {path: path.read_bytes() for path in folder.rglob("*.csv")}
    again = qagate("resume", folder, "--cache", tmp_path / "cache")
    assert again.exit_code == 0, again.output
    assert before == {path: path.read_bytes() for path in folder.rglob("*.csv")}
    refused = run()
    assert refused.exit_code == 1 and "is not empty: name a new folder with --out" in refused.output
    nothing = qagate("resume", tmp_path / "labelled", "--cache", tmp_path / "cache")
    assert nothing.exit_code == 1 and "cannot be resumed" in nothing.output


def test_a_lost_cache_is_named_when_resuming(run: Callable[..., Result], tmp_path: Path) -> None:
    assert run().exit_code == 0
    shutil.rmtree(tmp_path / "run" / "fold-01")
    shutil.rmtree(tmp_path / "cache")
    said = qagate("resume", tmp_path / "run", "--cache", tmp_path / "cache")
    assert said.exit_code == 1 and "(--cache)" in said.output


def test_one_split_keeps_its_own_weights(
    run: Callable[..., Result], tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    said = run(tiny(folds=FoldsRecipe(kind="split"), final=False))
    assert said.exit_code == 0, said.output
    assert (tmp_path / "run" / "weights.safetensors").is_file() and not (tmp_path / "run" / "final").exists()
    assert not list((tmp_path / "run").glob("fold-*/*.safetensors"))
    folds = run(tiny(final=False), out="folds")
    assert folds.exit_code == 0 and not (tmp_path / "folds" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "epoch=3"], r"tiny.toml: there is no key epoch (closest: epochs)"),
        (["--set", "folds.k=9"], "too few patients or references"),
        (["--set", 'stage="pretrain"', "--set", 'parameters=["mas"]'], "is for `qagate train pretrain`"),
        (["--set", "network.name=mediqs"], "'mediqs' is unknown"),
        (["--set", "loss.mse=0", "--set", "loss.ordinal.heads=2"], "needs a network with grades"),
        (["--device", "tpu"], "is not auto, cpu or cuda"),
        (["--labels", "nowhere.csv"], "does not exist"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_sentence_before_anything_is_trained(
    arguments: Sequence[str], told: str, run: Callable[..., Result], tmp_path: Path
) -> None:
    said = run(None, *arguments)
    assert said.exit_code in (1, 2) and told in said.output, said.output
    assert "Traceback" not in said.output and not (tmp_path / "run").exists()


def test_a_missing_start_is_named_before_anything_is_prepared(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    said = run(None, "--set", 'start.kind="checkpoint"')
    assert said.exit_code == 1 and "name it with --start" in said.output
    assert "preparing" not in said.output and not (tmp_path / "cache").exists()


def test_labels_that_teach_nothing_are_refused(run: Callable[..., Result], labelled: Path) -> None:
    file = labelled / "labels.csv"
    text = file.read_text()
    file.write_text(
        "\n".join(f"{line.rpartition(',')[0]},3" if line[0] == "s" else line for line in text.splitlines())
    )
    assert "all 12 labels say 3" in run().output
    file.write_text(text.replace("reader,1.00", "reader,9"))
    assert "9" in (said := run()).output and said.exit_code == 1
    file.unlink()
    assert "name the labels with --labels" in run().output


@pytest.mark.parametrize(("kept", "told"), [(900, "s04"), (-4000, "truncated")], ids=["header", "pixels"])
def test_broken_series_stop_or_are_left_out(
    kept: int, told: str, run: Callable[..., Result], labelled: Path, tmp_path: Path
) -> None:
    for path in (labelled / "s04").iterdir():
        path.write_bytes(path.read_bytes()[:kept])
    said = run()
    assert said.exit_code == 1 and "--leave-out-broken" in said.output and told in said.output, said.output
    left_out = run(None, "--leave-out-broken")
    assert left_out.exit_code == 0 and "left out: " in left_out.output, left_out.output
    assert json.loads((tmp_path / "run" / "figures.json").read_text())["images"] == 11


def test_a_patient_on_both_sides_of_given_splits_is_refused(
    run: Callable[..., Result], labelled: Path, tmp_path: Path
) -> None:
    uids = [str(dcmread(labelled / f"s{n:02d}" / "0.dcm").SeriesInstanceUID) for n in range(12)]
    splits = tmp_path / "splits.csv"
    parts = ["train"] * 6 + ["test"] * 6  # patient n is in series n and n + 6
    splits.write_text("name,part\n" + "".join(f"{u},{p}\n" for u, p in zip(uids, parts, strict=True)))
    said = run(None, "--splits", splits)
    assert (
        said.exit_code == 1 and "are of one patient, study or reference; put both on one side" in said.output
    )
    parts = (["train"] * 4 + ["test"] * 2) * 2
    splits.write_text("name,part\n" + "".join(f"{u},{p}\n" for u, p in zip(uids, parts, strict=True)))
    assert run(None, "--splits", splits, "--set", "final=false").exit_code == 0


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Eight series of four scanners that tell 1.5 T, 3 T, gauss and nothing."""
    root = tmp_path / "archive"
    strengths = [1.5, 3.0, 15000, 30000, 1.5, 3.0, 1.5, None]
    for number, tesla in enumerate(strengths):
        told = {"MagneticFieldStrength": tesla, "StationName": f"MR{number // 2}"}
        quality = 0.9 if tesla in (3.0, 30000) else 0.1
        told |= {} if tesla else {"ImagingFrequency": None}
        write_series(root / f"a{number}", number, quality=quality, patient=f"{PATIENT}{number}", **told)
    return root


def test_a_dry_run_tells_what_it_read_from_each_series(archive: Path) -> None:
    said = qagate("pretrain", archive, "--dry-run")
    assert said.exit_code == 0, said.output
    rows = {line.split()[0]: line for line in said.output.splitlines() if line.strip().startswith("a")}
    assert rows.keys() == {f"a{number}" for number in range(8)}
    assert "1.50" in rows["a2"] and "taken as gauss" in rows["a2"] and "3.00" in rows["a3"]
    assert "no field strength" in rows["a7"] and PATIENT not in said.output
    lines = qagate("pretrain", archive, "--json").stdout.splitlines()
    told = [json.loads(line) for line in lines]
    assert [row["physics"]["tesla"] for row in told] == [1.5, 3.0, 1.5, 3.0, 1.5, 3.0, 1.5, None]


def test_both_stages_follow_each_other(
    archive: Path,
    run: Callable[..., Result],
    tiny_mediqa: Callable[..., Recipe],
    toml: Callable[[Recipe], Path],
    tmp_path: Path,
) -> None:
    recipe = tiny_mediqa(
        stage="pretrain", parameters=("mas", "tesla"), folds=FoldsRecipe(kind="scanners", k=2)
    )
    first = qagate("pretrain", archive, "--recipe", toml(recipe), "--out", tmp_path / "first", "--cache",
                   tmp_path / "cache", "--processes", 1)  # fmt: skip
    assert first.exit_code == 0, first.output
    assert "mas is left out: 0 of 8 series tell it" in first.output
    assert "tesla, 7 images or series, each held out once: SROCC" in first.output
    assert f"finetune FOLDER --start {tmp_path / 'first' / 'weights.safetensors'}" in first.output
    cases = json.loads((tmp_path / "first" / "cases.json").read_text())
    assert len(cases) == 7
    scanner = {case["name"]: case["scanner"] for case in cases}
    parts: dict[tuple[str, str], set[str]] = {}
    for line in (tmp_path / "first" / "splits.csv").read_text().splitlines()[1:]:
        fold, name, part = line.split(",")
        parts.setdefault((fold, part), set()).add(scanner[name])
    assert not parts["0", "train"] & parts["0", "test"] and not parts["1", "train"] & parts["1", "test"]
    weights = network_file.load(tmp_path / "first" / "weights.safetensors")
    assert weights.config.parameters == ("tesla",)

    second = run(tiny_mediqa(), "--start", tmp_path / "first" / "weights.safetensors")
    assert second.exit_code == 0, second.output
    tuned = network_file.load(tmp_path / "run" / "weights.safetensors")
    assert tuned.config.parameters == () and tuned.config.maniqa == weights.config.maniqa
    text = (tmp_path / "run" / "recipe.toml").read_text()
    assert 'kind = "checkpoint"' in text and str(tmp_path) not in text


def test_series_that_differ_in_no_parameter_are_refused(archive: Path, tmp_path: Path) -> None:
    said = qagate("pretrain", archive / "a0", archive / "a4", "--out", tmp_path / "x")
    assert said.exit_code == 1 and "no physical parameter differs between these 2 series" in said.output
    (tmp_path / "empty").mkdir()
    said = qagate("pretrain", tmp_path / "empty")
    assert said.exit_code == 1 and "no series that can be read" in said.output


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared series are not here")
def test_pretraining_runs_on_the_shared_series_and_reports_them(
    tiny_mediqa: Callable[..., Recipe], toml: Callable[[Recipe], Path], tmp_path: Path
) -> None:
    said = qagate("pretrain", SHARED, "--dry-run")
    assert said.exit_code == 0
    for name, told in (
        ("ct_abdomen_siemens_mct", "mas 0.801"),
        ("mr_acr_siemens_aera_1p5t_t1", "tesla 0.588"),
    ):
        assert any(name in line and told in line for line in said.output.splitlines())
    recipe = tiny_mediqa(
        stage="pretrain", parameters=("mas", "tesla"), folds=FoldsRecipe(kind="scanners", k=3)
    )
    done = qagate("pretrain", SHARED, "--recipe", toml(recipe), "--out", tmp_path / "run", "--cache",
                  tmp_path / "cache", "--processes", 1)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "tesla is left out: 1 of 6 series tell it" in done.output
    found = json.loads((tmp_path / "run" / "figures.json").read_text())
    assert found["mas_images"] == 4


def test_the_recipe_of_the_house_trains_without_the_network(tmp_path: Path, labelled: Path) -> None:
    said = qagate("finetune", labelled, "--recipe", "house", "--set", "epochs=2", "--set", "folds.k=2",
                  "--out", tmp_path / "run", "--cache", tmp_path / "cache", "--processes", 1)  # fmt: skip
    assert said.exit_code == 0, said.output
    trained = network_file.load(tmp_path / "run" / "weights.safetensors")
    assert trained.network == "stages" and trained.preparation.ct_channels_hu is not None
    assert trained.config.dropout == 0.3
