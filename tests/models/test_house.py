"""A house's own models: added once, found by name, refused when they are not what their manifest says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models import house, house_folder, registry, training_record
from models.inputs import SliceInput
from models.weights_file import WEIGHTS, WeightsError, read_tensors


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """Heads that answer otherwise than the shipped ones do."""
    tensors = load_file(WEIGHTS / "default.safetensors")
    tensors["CT.bias"] = tensors["CT.bias"] - np.float32(0.1)
    path = tmp_path / "run" / "adapted.safetensors"
    path.parent.mkdir()
    save_file(tensors, path, metadata=read_tensors(WEIGHTS / "default.safetensors")[1])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_heads_of_the_house_are_added_and_used(heads: Path, folder: Path) -> None:
    (heads.parent / "figures.json").write_text(json.dumps({"ct": {"srocc": 0.9, "images": 12}, "note": "x"}))
    added = house.add(folder, heads.parent, name="ours-1")
    assert added == house_folder.read_entry(folder, "ours-1")
    assert added.figures == {"ct_srocc": 0.9, "ct_images": 12.0}
    assert added.modalities == ("CT", "MR") and added.files[0].licence == "house"
    assert [path.name for path in folder.glob("*.safetensors")] == [added.files[0].file], "no second backbone"
    assert not list(folder.glob(".*")), "nothing is left beside them"
    model, shipped = registry.load("ours-1", house=folder), registry.load(house=folder)
    assert (model.name, model.weights_sha256) == ("ours-1", added.files[0].sha256)
    item = SliceInput(
        pixels=np.random.default_rng(0).normal(0, 50, (64, 64)).astype(np.float32), modality="CT"
    )
    assert model.predict([item])[0].quality < shipped.predict([item])[0].quality
    (row,) = [row for row in registry.table(house=folder) if row.name == "ours-1"]
    assert row.trained and not row.default
    assert "ours-1" not in {row.name for row in registry.table()}


def test_the_run_is_told_beside_the_weights(heads: Path, folder: Path) -> None:
    run = heads.parent
    (run / "recipe.toml").write_text('stage = "finetune"\n')
    (run / "environment.json").write_text('{"torch": "2.4", "device": "cpu"}')
    (run / "cases.json").write_text(
        '[{"modality": "CT", "name": "Doe/1"}, {"modality": "CT"}, {"modality": null}]'
    )
    added = house.add(folder, run, name="ours")
    record = training_record.kept(folder / added.files[0].file)
    assert record.recipe == 'stage = "finetune"\n' and record.environment["torch"] == "2.4"
    assert record.cases == {"CT": 2, "none": 1}
    assert "Doe" not in "".join(path.read_text() for path in folder.glob("*.json")), (
        "cases are counted, not named"
    )
    bare = heads.rename(run.parent / "bare.safetensors")
    added = house.add(folder, bare, name="bare")
    assert training_record.kept(folder / added.files[0].file) == training_record.TrainingRecord()
    (bare.parent / "environment.json").write_text("{")
    with pytest.raises(ValueError, match=r"environment\.json is no JSON"):
        house.add(folder, bare, name="broken")
    assert not list(folder.glob("broken*"))


def test_a_name_is_given_once(heads: Path, folder: Path) -> None:
    house.add(folder, heads, name="ours")
    before = sorted(path.read_bytes() for path in folder.iterdir())
    for name, said in (
        ("ours", "already"),
        ("default", "ships"),
        ("No Name", "no name"),
        ("../x", "no name"),
    ):
        with pytest.raises(ValueError, match=said):
            house.add(folder, heads, name=name)
    assert sorted(path.read_bytes() for path in folder.iterdir()) == before


def test_what_cannot_be_used_leaves_nothing_behind(heads: Path, folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(heads.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="cannot be read"):
        house.add(folder, broken, name="ours")
    tensors = load_file(heads)
    tensors["MR.bias"] = tensors["MR.bias"] * np.float32("nan")
    save_file(tensors, broken, metadata=read_tensors(heads)[1])
    with pytest.raises(WeightsError, match="NaN"):
        house.add(folder, broken, name="ours")
    assert list(folder.iterdir()) == []
    with pytest.raises(ValueError, match="neither"):
        house.add(folder, tmp_path / "none", name="ours")
    shutil.copy(heads, heads.with_name("second.safetensors"))
    with pytest.raises(ValueError, match=r"2 safetensors files.*name one"):
        house.add(folder, heads.parent, name="ours")
    (heads.parent / "figures.json").write_text("{")
    with pytest.raises(ValueError, match=r"figures.json is no JSON"):
        house.add(folder, heads, name="ours")


def test_a_file_changed_later_is_refused(heads: Path, folder: Path) -> None:
    entry = house.add(folder, heads, name="ours")
    file = folder / entry.files[0].file
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(WeightsError, match=r"ours.*sha256"):
        registry.load("ours", house=folder)
    (folder / "ours.toml").write_text("[models.theirs]\n")
    with pytest.raises(WeightsError, match=r"ours\.toml.*add the model again"):
        registry.load("ours", house=folder)
    with pytest.raises(
        ValueError, match="there is no model 'unheard-of' that is trained; there are default, ours"
    ):
        registry.load("unheard-of", house=folder)


def test_a_network_needs_its_modalities_and_keeps_its_configuration(folder: Path, tmp_path: Path) -> None:
    from models import network_file
    from models.network_file import Calibration, TrainedNetwork
    from models.preparation import Preparation
    from models.rows.cnniqa import CnnIqa, CnnIqaConfig

    path = tmp_path / "weights.safetensors"
    config = CnnIqaConfig()
    network_file.save(
        path,
        TrainedNetwork(
            network="cnniqa", config=config, module=CnnIqa(config), preparation=Preparation(side=64),
            calibration=Calibration(),
        ),
    )  # fmt: skip
    with pytest.raises(ValueError, match="modalities"):
        house.add(folder, path, name="net")
    entry = house.add(folder, path, name="net", modalities=["CT"])
    assert (entry.network, entry.modalities, entry.prompts) == ("cnniqa", ("CT",), ())
    assert entry.score_range == (float("-inf"), float("inf")) and entry.parameters > 1000
    assert house_folder.read_entry(folder, "net") == entry
    assert registry.load("net", house=folder).modalities == ("CT",)
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(path, run)
    shutil.copy(path, run / "state.safetensors")
    (run / "cases.json").write_text(json.dumps([{"modality": "MR"}, {"modality": "MR"}, {"modality": "US"}]))
    (run / "figures.json").write_text('{"srocc": 0.8, "plcc": NaN}')
    of_run = house.add(folder, run, name="run")
    assert of_run.modalities == ("MR",) and of_run.figures["srocc"] == 0.8
    assert registry.load("run", house=folder).modalities == ("MR",)
    (row,) = [row for row in registry.table(house=folder) if row.name == "net"]
    assert row.score_range == (None, None)
