"""Scoring: batches over series, abstention, pooling, and what happens when memory is short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.inputs import SliceInput, SliceOutput
from qagate.assessment import Prompt, QualityMap
from qagate.gate.scoring import MAP_SIDE, Scorer, map_of, pool
from qagate.image import SliceHeader, SliceImage


class BrightnessModel:
    """Judges a slice by its mean; fits `capacity` slices into memory."""

    name, version, weights_sha256 = "brightness", "1", "0" * 64
    score_range = (0.0, 100.0)
    modalities = ("CT", "MR")

    def __init__(self, capacity: int = 1000, strange_below: float = -1.0) -> None:
        self.capacity, self.strange_below = capacity, strange_below
        self.batches: list[int] = []

    def predict(self, slices: Sequence[SliceInput]) -> list[SliceOutput]:
        if len(slices) > self.capacity:
            raise torch.cuda.OutOfMemoryError("out of memory")
        self.batches.append(len(slices))
        return [self._judge(float(item.pixels.mean())) for item in slices]

    def _judge(self, mean: float) -> SliceOutput:
        strange = 2.0 if mean < self.strange_below else 0.0
        return SliceOutput(
            score=100 * mean, quality=mean, artefacts={"noise": 1 - mean}, out_of_distribution=strange
        )


def _series(qualities: Sequence[float], modality: str = "MR", name: str = "1") -> list[SliceImage]:
    ramp = np.linspace(-0.01, 0.01, 64, dtype=np.float32)[:, None]
    return [
        SliceImage(
            header=SliceHeader(
                path=f"{number}.dcm",
                sop_instance_uid=f"1.2.{name}.{number}",
                sop_class_uid="1.2.3",
                modality=modality,
                rows=64,
                columns=64,
            ),
            pixels=np.full((64, 64), quality, dtype=np.float32) + ramp,
        )
        for number, quality in enumerate(qualities, start=1)
    ]


def _read(kept: QualityMap) -> npt.NDArray[np.float64]:
    steps = np.frombuffer(kept.cells, np.uint8).reshape(kept.rows, kept.columns)
    return kept.low + (kept.high - kept.low) * steps / 255


def _body(pixels: npt.NDArray[np.float32], modality: str = "CT") -> SliceImage:
    (image,) = _series([1.0], modality)
    return replace(image, pixels=pixels)


def test_a_quality_map_is_kept_small_and_reads_back() -> None:
    scores = np.linspace(-1, 3, 80 * 20, dtype=np.float32).reshape(80, 20)
    body = _body(np.full((320, 80), 40, np.float32))
    kept = map_of(scores, body)
    assert (kept.rows, kept.columns) == (MAP_SIDE, 20) and len(kept.cells) == MAP_SIDE * 20
    back = _read(kept)
    assert np.isclose(back[5, 3], scores[13:15, 3].mean(), atol=0.06) and np.all(np.diff(back[:, 0]) > 0)
    assert set(map_of(np.full((4, 4), 0.5, np.float32), body).cells) == {0}


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_air_is_no_bad_place(modality: str) -> None:
    scores = np.linspace(1, 0, 64, dtype=np.float32).reshape(8, 8)
    pixels = np.full((64, 64), -1000, np.float32)
    pixels[8:40, 8:56] = 50
    kept = _read(map_of(scores, _body(pixels, modality)))
    inside = kept[1:5, 1:7]
    assert np.allclose(inside, scores[1:5, 1:7], atol=0.01)
    kept[1:5, 1:7] = inside.max()
    assert np.allclose(kept, inside.max(), atol=0.01)


def test_slices_of_several_series_share_batches_and_keep_their_places() -> None:
    model = BrightnessModel()
    scores = Scorer(model, max_batch=4).score(
        [_series([0.9] * 3, name="1"), _series([0.2] * 5, name="2"), _series([0.6], name="3")]
    )
    assert model.batches == [4, 4, 1]
    assert [score.quality for score in scores] == pytest.approx([0.9, 0.2, 0.6], abs=1e-5)
    assert [len(score.slices) for score in scores] == [3, 5, 1]
    assert [s.sop_instance_uid for s in scores[1].slices] == [f"1.2.2.{n}" for n in range(1, 6)]
    assert scores[0].score == pytest.approx(90, abs=1e-3)


def test_a_batch_that_does_not_fit_is_halved() -> None:
    model = BrightnessModel(capacity=3)
    (score,) = Scorer(model, max_batch=8).score([_series([0.1 * n for n in range(1, 8)])])
    assert max(model.batches) <= 3
    assert sum(model.batches) == 7
    assert [s.quality for s in score.slices] == pytest.approx([0.1 * n for n in range(1, 8)], abs=1e-5)


def test_memory_too_short_for_one_slice_is_not_hidden() -> None:
    with pytest.raises(torch.cuda.OutOfMemoryError):
        Scorer(BrightnessModel(capacity=0)).score([_series([0.5])])


def test_the_model_abstains_from_what_it_does_not_know() -> None:
    model = BrightnessModel()
    scores = Scorer(model).score([_series([0.5], "US"), [], _series([0.5])])
    assert scores[0].quality is None
    assert "US" in (scores[0].not_assessed or "")
    assert "no slice" in (scores[1].not_assessed or "")
    assert scores[2].not_assessed is None
    assert model.batches == [1]


def test_a_slice_that_cannot_be_judged_makes_its_series_abstain_only() -> None:
    tiny = _series([0.5], name="9")
    tiny = [SliceImage(header=tiny[0].header, pixels=np.ones((4, 4), dtype=np.float32))]
    scores = Scorer(BrightnessModel()).score([tiny, _series([0.5])])
    assert scores[0].not_assessed
    assert scores[1].not_assessed is None


def test_most_slices_out_of_distribution_abstains_with_the_count() -> None:
    model = BrightnessModel(strange_below=0.3)
    mostly, partly = Scorer(model).score([_series([0.1, 0.1, 0.9]), _series([0.1, 0.9, 0.9])])
    assert mostly.quality is None
    assert "2 of 3" in (mostly.not_assessed or "")
    assert partly.quality is not None


def test_pooling_leans_towards_the_worst_slices_and_is_monotone() -> None:
    def quality(values: list[float]) -> float:
        outputs = [SliceOutput(score=v, quality=v, artefacts={}, out_of_distribution=0.0) for v in values]
        return pool(_series(values), outputs).quality or 0.0

    assert quality([0.8] * 7) == pytest.approx(0.8)
    assert min(0.2, 0.8) < quality([0.8] * 5 + [0.2] * 2) < np.mean([0.8] * 5 + [0.2] * 2)
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.random(7)
        worse = values * rng.random(7)
        assert quality(list(worse)) <= quality(list(values))


def test_nothing_to_score() -> None:
    assert Scorer(BrightnessModel()).score([]) == []


def test_the_models_weights_count_and_the_prompt_reaches_it() -> None:
    class Weighing(BrightnessModel):
        def predict(self, slices: Sequence[SliceInput]) -> list[SliceOutput]:
            assert all(item.prompt["region"] == "head" for item in slices)
            outputs = super().predict(slices)
            return [
                replace(one, weight=3.0 if one.quality > 0.5 else 1.0, uncertainty=0.25) for one in outputs
            ]

    (score,) = Scorer(Weighing()).score(
        [_series([0.2, 0.8])], [Prompt(dimension="2D", modality="MR", region="head")]
    )
    assert score.score == pytest.approx(0.25 * 20 + 0.75 * 80, abs=1e-3)
    assert score.quality == pytest.approx(0.5 * 0.2 + 0.5 * 0.65, abs=1e-5)
    assert [one.weight for one in score.slices] == pytest.approx([0.25, 0.75])
    assert [one.uncertainty for one in score.slices] == [0.25, 0.25]
