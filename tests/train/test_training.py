from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage

from models.inputs import SliceInput
from models.registry import load
from models.weights_file import WEIGHTS
from train.dataset import Recipe, Samples, Taught, read_recipe
from train.default import main
from train.evaluation.ladders import figures
from train.fit import fit_heads, labels, type_names
from train.references import ReferenceError, Volume
from train.references import load as references
from train.ridge import fit

RECIPE = Path(__file__).parents[2] / "train" / "recipes" / "default.toml"


def _ladder_samples() -> Samples:
    severity = np.array([0.0, 1, 2, 3, 1, 2, 3])
    return Samples(
        reference=np.full(7, "v/2/1"),
        subject=np.full(7, "v"),
        copy=np.zeros(7, int),
        artefact=np.array(["none", *["blur"] * 3, *["noise"] * 3]),
        severity=severity,
        teachers=np.stack([-severity] * 4, axis=1),
        features=np.zeros((7, 2), np.float32),
    )


def test_pairs_count_adjacent_steps_and_the_clean_one_apart() -> None:
    samples = _ladder_samples()
    wanted = -samples.severity
    perfect = figures(samples, wanted, wanted)
    assert perfect.pairs == perfect.pairs_clean == perfect.srocc == 1
    predicted = np.array([0.0, -1, -2, -3, -1, -3, -2])
    found = figures(samples, predicted, wanted)
    assert found.pairs == 3 / 4
    assert found.pairs_clean == 5 / 6
    assert found.by_artefact["blur"][2] == 1 and found.by_artefact["noise"][2] == 0.5


@pytest.mark.parametrize("count", [30, 400])
def test_ridge_finds_a_line_in_either_space_and_fades_with_the_penalty(count: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, 60)).astype(np.float32)
    y = (x[:, :1] * 2 + 1).astype(np.float64)
    near = fit(x, y, np.ones(count), 1e-4)
    assert np.corrcoef(near(x)[:, 0], y[:, 0])[0, 1] > 0.99
    far = fit(x, y, np.ones(count), 1e6)
    assert np.allclose(far(x), y.mean(), atol=1e-2)


def test_a_given_slope_is_not_fitted() -> None:
    samples = _ladder_samples()
    features = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
    told = [
        fit_heads(replace(samples, features=given), labels(samples), 1.0, type_names(samples), taught)
        for given, taught in ((features[:, :-1], Taught()), (features, Taught(noise_slope=0.2)))
    ]
    plain, sloped = (heads.score(features[:, : len(heads.score.mean)])[:, 0] for heads in told)
    assert np.allclose(sloped, plain - 0.2 * features[:, -1])
    kinds = [heads.kind(features[:, : len(heads.kind.mean)]) for heads in told]
    assert np.allclose(*kinds)


def test_the_shipped_recipe_reads_and_leaves_the_unseen_checks_out() -> None:
    recipe = read_recipe(RECIPE)
    assert len(recipe.volumes) > 15
    assert not [v.file for v in recipe.volumes if "icbm" in v.file.lower()]
    assert all(v.licence and v.source for v in recipe.volumes)


def test_a_recipe_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="severities"):
        Recipe(seed=1, version="1", severities=(2.0, 1.0), randomised={}, ridge=1.0)
    with pytest.raises(ValueError, match="ridge"):
        Recipe(seed=1, version="1", severities=(1.0, 2.0), randomised={}, ridge=0.0)


def test_a_missing_or_foreign_volume_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    for file in ("gone.nii.gz", "a.txt"):
        with pytest.raises(ReferenceError, match=file):
            list(references(Volume(file=file, subject="s", modality="MR"), tmp_path))


def _volume(seed: int, modality: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:100j, -1:1:110j]
    texture = ndimage.gaussian_filter(rng.standard_normal((100, 110, 3)), (2, 2, 0)) * 3
    body = (x**2 + y**2 < 0.7)[:, :, None]
    image = np.where(body, 0.6 + 0.2 * texture, 0.0)
    return (np.where(body, image * 150 - 60, -1000) if modality == "CT" else image * 500).astype(np.float32)


def test_training_end_to_end_writes_a_model_that_the_registry_loads(tmp_path: Path) -> None:
    folder, out = tmp_path / "volumes", tmp_path / "out"
    folder.mkdir()
    recipe = 'seed = 1\nversion = "t"\nseverities = [2.0, 4.0]\nridge = 1.0\n'
    recipe += "randomised = { MR = 0, CT = 0 }\n"
    for number, modality in enumerate(("MR", "MR", "CT", "CT")):
        name = f"v{number}.nii"
        nibabel.save(nibabel.Nifti1Image(_volume(number, modality), np.eye(4)), folder / name)
        recipe += f'[[volume]]\nfile = "{name}"\nsubject = "s{number}"\nmodality = "{modality}"\nslices = 1\n'
        recipe += 'source = "synthetic"\nlicence = "none"\n'
    (tmp_path / "r.toml").write_text(recipe)
    arguments = [str(tmp_path / "r.toml"), "--references", str(folder), "--out", str(out)]
    arguments += ["--cache", str(tmp_path / "c"), "--processes", "1"]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    card = (out / "cards" / "default.md").read_text()
    assert "v3.nii" in card and "Not a medical device" in card
    (out / "weights" / "lite0.safetensors").write_bytes((WEIGHTS / "lite0.safetensors").read_bytes())
    model = load(manifest=out / "weights.toml", folder=out / "weights")
    assert model.version == "t"
    (answer,) = model.predict([SliceInput(pixels=_volume(7, "MR")[:, :, 0], modality="MR")])
    assert 0 <= answer.quality <= 1
