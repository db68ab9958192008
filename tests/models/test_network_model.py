"""Trained networks on disk, refused by name when they do not fit, and as the gate uses them."""

from __future__ import annotations

import hashlib
import json
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import network_file, network_model, registry
from models.clinreadnet import ClinReadNet, ClinReadNetConfig
from models.fast import precision as fast_formats
from models.inputs import SliceInput
from models.maniqa import Maniqa, ManiqaConfig
from models.mediqa import Mediqa, MediqaConfig
from models.network_file import Calibration, TrainedNetwork
from models.preparation import Preparation
from models.weights_file import WeightsError
from qagate.gate.scoring import Scorer

MODALITIES = ("CT", "MR")


class Shelf:
    """A folder of weights with its manifest."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.manifest = folder, folder / "weights.toml"

    def put(self, network: str, config: Any, module: torch.nn.Module, **values: Any) -> Path:
        path = self.folder / "house.safetensors"
        trained = TrainedNetwork(
            network=network, config=config, module=module, preparation=Preparation(side=32),
            calibration=Calibration(middle=0.7, spread=0.05),
        )  # fmt: skip
        network_file.save(path, replace(trained, **values))
        self.declare(network)
        return path

    def declare(self, network: str) -> None:
        sha256 = hashlib.sha256((self.folder / "house.safetensors").read_bytes()).hexdigest()
        text = f"""\
            [models.house]
            network = "{network}"
            variant = "tiny"
            version = "3"
            source = "a test"
            input = "32x32"
            parameters = 1
            score_range = [0.0, 1.0]
            modalities = ["CT", "MR"]
            prompts = []
            [models.house.figures]
            [[models.house.files]]
            file = "house.safetensors"
            sha256 = "{sha256}"
            licence = "house"
            source = "house"
            """
        self.manifest.write_text(textwrap.dedent(text))

    def load(self) -> Any:
        return registry.load("house", manifest=self.manifest, folder=self.folder)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def tiny_mediqa(tiny_maniqa: ManiqaConfig) -> tuple[MediqaConfig, Mediqa]:
    torch.manual_seed(5)
    config = MediqaConfig(maniqa=tiny_maniqa, prompt_parts=("modality", "region"))
    module = Mediqa(config)
    torch.nn.init.normal_(module.pooling.linear.weight)  # type: ignore[union-attr]
    return config, module.eval()


def slices(*seeds: int, modality: str = "MR", **words: str) -> list[SliceInput]:
    made = [np.random.default_rng(seed).random((40, 48)).astype(np.float32) for seed in seeds]
    return [SliceInput(pixels=pixels * 900, modality=modality, prompt=words) for pixels in made]


def test_a_saved_network_answers_as_before(shelf: Shelf, tiny_mediqa: tuple[MediqaConfig, Mediqa]) -> None:
    config, module = tiny_mediqa
    found = network_file.load(shelf.put("mediqa", config, module))
    assert found.config == config and found.preparation.side == 32 and found.calibration.middle == 0.7
    images, prompt = torch.rand(2, 3, 32, 32), torch.zeros(2, 64)
    assert torch.equal(found.module(images, prompt).score, module(images, prompt).score)


def test_the_gate_can_use_it(shelf: Shelf, tiny_mediqa: tuple[MediqaConfig, Mediqa]) -> None:
    config, module = tiny_mediqa
    shelf.put("mediqa", config, module)
    model = shelf.load()
    assert (model.name, model.version, model.modalities) == ("house", "3", MODALITIES)
    alone = [model.predict([one])[0] for one in slices(1, 2, 3)]
    together = model.predict(slices(1, 2, 3))
    assert [one.score for one in together] == pytest.approx([one.score for one in alone], abs=1e-3)
    assert len({one.score for one in together}) == 3 and len({one.weight for one in together}) == 3
    for one in together:
        assert 0 < one.quality < 1 and one.quality_map is not None and one.quality_map.shape == (8, 8)
        assert one.quality == pytest.approx(1 / (1 + np.exp(-(one.score - 0.7) / 0.05)), abs=1e-6)
        assert one.out_of_distribution is None and not one.artefacts


def test_a_network_without_patches_explains_its_worst_slices(shelf: Shelf) -> None:
    options = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
    config = ClinReadNetConfig(image_size=64, window=2, backbone_options=options, hidden=(8, 8))
    torch.manual_seed(1)
    preparation, calibration = Preparation(side=64), Calibration(middle=9.0, spread=5.0)
    net = ClinReadNet(config).eval()
    shelf.put("clinreadnet", config, net, preparation=preparation, calibration=calibration)
    model = shelf.load()
    found = model.predict(slices(1, 2, 3, 4, 5))
    mapped = [one for one in found if one.quality_map is not None]
    low = sorted(found, key=lambda one: one.quality)[: network_model.CAM_SLICES]
    assert len(mapped) == sum(one.quality < network_model.CAM_BELOW for one in low) > 0
    assert all(one in low and one.quality_map.shape == (2, 2) for one in mapped)
    assert all(one.quality_map.mean() == pytest.approx(one.score, abs=1e-5) for one in mapped)


def test_its_prompt_counts_and_strange_words_do_not(
    shelf: Shelf, tiny_mediqa: tuple[MediqaConfig, Mediqa]
) -> None:
    shelf.put("mediqa", *tiny_mediqa)
    model = shelf.load()
    (plain,), (head,) = model.predict(slices(1)), model.predict(slices(1, region="head"))
    (type_off,), (strange,) = model.predict(slices(1, type="t1")), model.predict(slices(1, region="tail"))
    assert plain.score != head.score
    assert plain.score == type_off.score == strange.score


def test_it_scores_a_series_with_the_weights_of_the_network(
    shelf: Shelf, tiny_mediqa: tuple[MediqaConfig, Mediqa]
) -> None:
    config, module = tiny_mediqa
    shelf.put("mediqa", config, module)
    from qagate.image import SliceHeader, SliceImage

    images = [
        SliceImage(
            header=SliceHeader(
                path="", sop_instance_uid=f"1.{n}", sop_class_uid="", modality="MR", rows=40, columns=48
            ),
            pixels=item.pixels,
        )
        for n, item in enumerate(slices(1, 2, 3))
    ]
    (score,) = Scorer(shelf.load()).score([images])
    prepared = torch.stack([Preparation(side=32)(image.pixels, "MR") for image in images])
    prompt = torch.tensor([config.vocabulary.encode(modality="MR")])
    with torch.inference_mode():
        whole = module(prepared[None], prompt)
    assert score.score == pytest.approx(float(whole.score), abs=1e-3)


def test_bad_slices_are_named(shelf: Shelf, tiny_mediqa: tuple[MediqaConfig, Mediqa]) -> None:
    shelf.put("mediqa", *tiny_mediqa)
    model = shelf.load()
    assert model.predict([]) == []
    with pytest.raises(ValueError, match=r"slice 2 of 2: modality 'US' is not supported.*CT, MR"):
        model.predict([*slices(1), *slices(1, modality="US")])
    broken = SliceInput(pixels=np.full((40, 40), np.nan, np.float32), modality="CT")
    with pytest.raises(ValueError, match="NaN"):
        model.predict([broken])


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        return dict(opened.metadata())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": "other"}, "format 'other'"),
        ({"network": "unheard-of"}, "network 'unheard-of'; this version knows maniqa"),
        ({"config": "{}"}, "another configuration: .* missing"),
        ({"config": '{"tail": 1}'}, "unknown key tail"),
        ({"config": '{"maniqa": {"dropout": 9}}'}, "dropout 9"),
        ({"preparation": '{"side": 0}'}, "side 0"),
        ({"calibration": '{"spread": -1}'}, "spread -1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_files_that_do_not_fit_are_refused_by_name(
    change: dict[str, str], told: str, shelf: Shelf, tiny_mediqa: tuple[MediqaConfig, Mediqa]
) -> None:
    path = shelf.put("mediqa", *tiny_mediqa)
    save_file(load_file(path), path, metadata=_metadata(path) | change)
    with pytest.raises(WeightsError, match=rf"house.safetensors.*{told}"):
        network_file.load(path)


def test_nan_truncation_and_other_networks_are_refused(
    shelf: Shelf, tiny_maniqa: ManiqaConfig, tiny_mediqa: tuple[MediqaConfig, Mediqa]
) -> None:
    path = shelf.put("maniqa", tiny_maniqa, Maniqa(tiny_maniqa))
    shelf.declare("mediqa")
    with pytest.raises(WeightsError, match="are of maniqa, the manifest says mediqa"):
        shelf.load()
    tensors = load_file(path)
    tensors["conv1.bias"][3] = float("nan")
    save_file(tensors, path, metadata=_metadata(path))
    with pytest.raises(WeightsError, match=r"NaN or infinity in conv1\.bias"):
        network_file.load(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match=r"house\.safetensors cannot be read"):
        network_file.load(path)
    shelf.declare("maniqa")
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(WeightsError, match="sha256"):
        shelf.load()
    with pytest.raises(ValueError, match="takes a MediqaConfig"):
        shelf.put("mediqa", tiny_maniqa, Maniqa(tiny_maniqa))


def test_a_configuration_is_plain_json(shelf: Shelf, tiny_mediqa: tuple[MediqaConfig, Mediqa]) -> None:
    told = json.loads(_metadata(shelf.put("mediqa", *tiny_mediqa))["config"])
    assert told["maniqa"]["image_size"] == 32 and told["prompt_parts"] == ["modality", "region"]


@pytest.mark.parametrize(
    ("pixels", "modality", "wanted"),
    [
        (np.array([[-160.0, 240.0], [40.0, 9000.0]]), "CT", [[0, 1], [0.5, 1]]),
        (np.array([[10.0, 30.0], [20.0, 10.0]]), "MR", [[0, 1], [0.5, 0]]),
        (np.full((2, 2), 7.0), "MR", [[0, 0], [0, 0]]),
    ],
)
def test_preparation(pixels: np.ndarray, modality: str, wanted: list[list[float]]) -> None:
    prepared = Preparation(side=2)(pixels.astype(np.float32), modality)
    assert prepared.shape == (3, 2, 2)
    for channel in prepared:
        np.testing.assert_allclose(channel.numpy(), wanted, atol=1e-6)


def test_preparation_resizes_and_refuses_nonsense() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    small = Preparation(side=16)(ramp, "MR")[0].numpy()
    assert small.shape == (16, 16) and (np.diff(small, axis=1) > 0).all()
    for values in (
        {"side": 0},
        {"side": 8, "ct_window_hu": (5.0, 5.0)},
        {"side": 8, "mr_percentiles": (9.0, 1.0)},
    ):
        with pytest.raises(ValueError, match=r"side 0|ct_window_hu|mr_percentiles"):
            Preparation(**values)  # type: ignore[arg-type]


def test_a_format_it_was_not_tried_in_is_not_used(
    shelf: Shelf, tiny_mediqa: tuple[MediqaConfig, Mediqa], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_formats, "cpu_flags", lambda: frozenset({"avx512_bf16"}))
    for told in ("fp32", "bf16"):
        path = shelf.put("mediqa", *tiny_mediqa, precision=told)
        assert network_file.load(path).precision == told
        assert shelf.load()._network.precision == told


def test_a_format_that_does_not_exist_is_refused(
    shelf: Shelf, tiny_mediqa: tuple[MediqaConfig, Mediqa]
) -> None:
    path = shelf.put("mediqa", *tiny_mediqa, precision="fp8")
    with pytest.raises(WeightsError, match="precision 'fp8' is not one of fp32, bf16, fp16"):
        network_file.load(path)
