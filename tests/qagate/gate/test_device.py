"""A device that is short of memory, or lost: what is scored where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from models.inputs import SliceInput, SliceOutput
from qagate.gate.scoring import Scorer, is_device_trouble
from qagate.image import SliceHeader, SliceImage

LOST = getattr(torch, "AcceleratorError", RuntimeError)


class Model:
    name, version, weights_sha256 = "test", "1", "0" * 64
    score_range, modalities = (0.0, 1.0), ("MR",)

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.batches = error, list[int]()

    def predict(self, slices: Sequence[SliceInput]) -> list[SliceOutput]:
        self.batches.append(len(slices))
        if self.error is not None:
            raise self.error
        return [SliceOutput(score=0.5, quality=0.5)] * len(slices)


def series(count: int) -> list[SliceImage]:
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[:, None] * np.ones((1, 64), np.float32)
    values = {"path": "1.dcm", "sop_class_uid": "1.2.3", "modality": "MR", "rows": 64, "columns": 64}
    return [
        SliceImage(header=SliceHeader(sop_instance_uid=f"1.2.{number}", **values), pixels=ramp)  # type: ignore[arg-type]
        for number in range(count)
    ]


def test_what_does_not_fit_alone_is_scored_on_the_cpu() -> None:
    model, spare = Model(torch.cuda.OutOfMemoryError("CUDA out of memory")), Model()
    scorer = Scorer(model, max_batch=4, on_cpu=lambda: spare)
    (score,) = scorer.score([series(3)])
    assert score.quality == pytest.approx(0.5)
    assert (model.batches, spare.batches) == ([3, 2, 1, 1, 1], [1, 1, 1])
    assert not scorer.device_lost, "the next series may fit"


def test_after_a_loss_everything_is_scored_on_the_cpu() -> None:
    model, spares = Model(LOST("CUDA error: device-side assert triggered")), list[Model]()

    def on_cpu() -> Model:
        spares.append(Model())
        return spares[-1]

    scorer = Scorer(model, max_batch=2, on_cpu=on_cpu)
    scorer.score([series(3)])
    assert scorer.device_lost
    scorer.score([series(2)])
    assert model.batches == [2] and [spare.batches for spare in spares] == [[2, 1, 2]]


def test_other_errors_are_the_series_own() -> None:
    for error in (RuntimeError("the network cannot bear this"), ValueError("a slice")):
        scorer = Scorer(Model(error), on_cpu=Model)
        with pytest.raises(type(error)):
            scorer.score([series(1)])
        assert not is_device_trouble(error) and not scorer.device_lost


def test_on_the_cpu_there_is_nothing_to_fall_back_to() -> None:
    with pytest.raises(torch.cuda.OutOfMemoryError):
        Scorer(Model(torch.cuda.OutOfMemoryError("out of memory"))).score([series(1)])
