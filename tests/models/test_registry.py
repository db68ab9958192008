from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models import registry
from models.registry import WeightsError
from models.weights_file import MANIFEST, WEIGHTS, read_manifest, verified
from qagate.assessment import Artefact


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copied = tmp_path / "weights"
    shutil.copytree(WEIGHTS, copied)
    return copied


def test_the_shipped_model_loads_and_says_what_it_is() -> None:
    model = registry.load()
    assert model.name == "default"
    assert model.score_range == (0.0, 1.0)
    assert set(model.modalities) == {"CT", "MR"}
    assert len(model.weights_sha256) == 64


def test_the_table_names_the_default_and_its_size() -> None:
    rows = registry.table()
    (row,) = [row for row in rows if row.default]
    assert row.name == "default" and row.trained
    assert 1_000_000 < row.parameters < 10_000_000
    assert all(one.source and one.input and one.variant for one in rows)
    assert len({(one.name, one.variant) for one in rows}) == len(rows)


@pytest.mark.parametrize(
    ("name", "variant", "millions"),
    [
        ("maniqa", "whole", 135.748),
        ("maniqa", "truncated", 120.801),
        ("mediqa", "whole", 135.823),
        ("miqanet", "repository", 147.12),
        ("miqanet", "repository, ResNet34", 157.23),
    ],
)
def test_the_table_counts_as_the_papers_networks_do(name: str, variant: str, millions: float) -> None:
    (row,) = [row for row in registry.table() if (row.name, row.variant) == (name, variant)]
    assert row.parameters / 1e6 == pytest.approx(millions, abs=6e-3)


def test_shipped_weights_stay_below_twenty_megabytes_and_keep_their_licence() -> None:
    assert sum(f.stat().st_size for f in WEIGHTS.iterdir()) < 20_000_000
    assert "Apache" in (WEIGHTS / "LICENSE-lite0").read_text()
    assert all(f.licence for f in read_manifest()["default"].files)


def test_every_type_the_model_names_is_an_artefact_of_the_gate() -> None:
    from models.default import read_heads

    known = {artefact.value for artefact in Artefact} | {"none"}
    for head in read_heads(verified(read_manifest()["default"].files[0])).values():
        assert set(head.types) <= known and "none" in head.types


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="default"):
        registry.load("resnet")


@pytest.mark.parametrize("name", ["default.safetensors", "lite0.safetensors"])
def test_truncated_weights_are_refused_by_file_and_mend(folder: Path, name: str) -> None:
    file = folder / name
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=rf"{name}.*reinstall"):
        registry.load(folder=folder)


def test_missing_weights_are_refused_by_file_and_mend(folder: Path) -> None:
    (folder / "lite0.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"lite0.safetensors.*reinstall"):
        registry.load(folder=folder)


def _rewritten(folder: Path, change: dict[str, np.ndarray], metadata: dict[str, str]) -> Path:
    """Other tensors in default.safetensors under a manifest that vouches for them."""
    import hashlib

    file = folder / "default.safetensors"
    old = hashlib.sha256(file.read_bytes()).hexdigest()
    save_file({**load_file(file), **change}, file, metadata=metadata)
    manifest = folder / "weights.toml"
    new = hashlib.sha256(file.read_bytes()).hexdigest()
    manifest.write_text(MANIFEST.read_text().replace(old, new))
    return manifest


def _types() -> dict[str, str]:
    from models.weights_file import read_tensors

    return read_tensors(WEIGHTS / "default.safetensors")[1]


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    bias = load_file(folder / "default.safetensors")["MR.bias"]
    manifest = _rewritten(folder, {"MR.bias": bias * np.nan}, _types())
    with pytest.raises(WeightsError, match=r"NaN"):
        registry.load(folder=folder, manifest=manifest)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    manifest = _rewritten(folder, {"CT.mean": np.zeros(7, np.float32)}, _types())
    with pytest.raises(WeightsError, match=r"shape"):
        registry.load(folder=folder, manifest=manifest)


def test_weights_without_names_are_refused(folder: Path) -> None:
    manifest = _rewritten(folder, {}, {"version": "1"})
    with pytest.raises(WeightsError, match=r"default.safetensors.*not a default model"):
        registry.load(folder=folder, manifest=manifest)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    from models.weights_file import read_tensors

    (tmp_path / "x.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(WeightsError, match=r"x.safetensors"):
        read_tensors(tmp_path / "x.safetensors")


def test_a_broken_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.toml").write_text("[models.default]\nvariant = 3\n")
    with pytest.raises(WeightsError, match=r"weights\.toml"):
        registry.load(manifest=tmp_path / "weights.toml")
