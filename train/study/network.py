"""A rival that learns its own features: ResNet18 as a regressor, trained with the loop of `train.run`.

It starts from chance: the package carries no ImageNet weights of it. It sees every image resized to SIDE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.inputs import channels, working_pixels
from models.preparation import Preparation
from train.data.case import QUALITY, Case, numbered
from train.data.images import prepare_all
from train.dataset import Recipe, Samples, ladders
from train.evaluation.correlation import Floats
from train.recipe import (
    AugmentationRecipe,
    FoldsRecipe,
    LossRecipe,
    NetworkRecipe,
    OptimiserRecipe,
    ScheduleRecipe,
)
from train.recipe import Recipe as Training
from train.references import Reference
from train.run import folder as files
from train.run import stages
from train.run.team import Team

SIDE = 96


def training(epochs: int, folds: int, seed: int) -> Training:
    """Mean squared error and correlation; whole subjects are left out of each fold."""
    return Training(
        description="ResNet18 from chance, on the default model's images",
        network=NetworkRecipe(name="timm", variant="resnet18", config={"image_size": SIDE}),
        preparation=Preparation(side=SIDE),
        loss=LossRecipe(mse=1.0, plcc=0.5),
        optimiser=OptimiserRecipe(name="adamw", learning_rate=1e-3, weight_decay=0.05),
        schedule=ScheduleRecipe(name="cosine"),
        epochs=epochs,
        batch=32,
        augmentation=AugmentationRecipe(flips=True),
        folds=FoldsRecipe(kind="groups", k=folds),
        final=False,
        seed=seed,
    )


def predictions(
    everything: Mapping[str, tuple[Samples, Floats, Sequence[Reference]]],
    recipe: Recipe,
    folder: Path,
    *,
    epochs: int = 6,
    folds: int = 3,
) -> dict[str, Floats]:
    """Modality -> (P,) held-out scores of the images that are references as they are, in their order.

    everything: modality -> samples, labels (N,) and the references they were made of, in order. One network
    learns both modalities. folder: new; pictures and the run are kept there.
    """
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    cases: list[Case] = []
    subjects: list[str] = []
    for modality, (samples, label, references) in everything.items():
        plain = samples.copy == 0
        rows = [pixels for one in references for _, _, pixels in ladders(one, 0, recipe)]
        if len(rows) != plain.sum():
            raise ValueError(f"{modality}: {len(rows)} images of {plain.sum()} samples; references differ")
        subjects += samples.subject[plain].tolist()
        for number, (pixels, wanted) in enumerate(zip(rows, label[plain], strict=True)):
            path = pictures / f"{modality}{number:05d}.png"
            _write(pixels, modality, path)
            cases.append(_case(path, modality, float(wanted)))
    cases = [
        Case(**{**{n: getattr(c, n) for n in Case.__dataclass_fields__}, "unit": unit})
        for c, unit in zip(cases, numbered(subjects), strict=True)
    ]
    told = training(epochs, folds, recipe.seed)
    usable, prepared, _ = prepare_all(cases, told.preparation, 1, folder / "cache")
    stages.start(folder / "run", told, usable, prepared, folder / "cache", Team())
    found = files.read_predictions(folder / "run" / files.PREDICTIONS, usable)
    scores = {usable[one.case].name: one.quality for _, one, _ in found}
    return {
        modality: np.array([scores[case.name] for case in usable if case.modality == modality])
        for modality in everything
    }


def _case(path: Path, modality: str, wanted: float) -> Case:
    return Case(
        name=path.stem, paths=(path,), modality=modality, unit=0,
        targets={QUALITY: wanted}, values={QUALITY: wanted},
    )  # fmt: skip


def _write(pixels: npt.NDArray[np.float32], modality: str, path: Path) -> None:
    """The channels that the default model sees: 16 bits for MR, three of 8 for CT."""
    planes = channels(working_pixels(pixels), modality)
    if len(planes) == 1:
        Image.fromarray(np.rint(planes[0] * 65535).astype(np.uint16)).save(path)
        return
    Image.fromarray(np.rint(np.moveaxis(planes, 0, 2) * 255).astype(np.uint8)).save(path)
