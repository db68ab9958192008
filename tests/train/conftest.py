"""Small labelled pictures, tiny networks and their recipes, for everything that trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from models.preparation import Preparation
from train.data.case import QUALITY, Case
from train.data.images import Images, prepare_all
from train.evaluation.folds import Fold
from train.recipe import (
    AugmentationRecipe,
    FoldsRecipe,
    LossRecipe,
    NetworkRecipe,
    OptimiserRecipe,
    Recipe,
)
from train.run import loop
from train.run.network import build
from train.run.team import Team

SIDE = 32
TINY_CNN = {"filters": 6, "widths": [8, 8]}
TINY_MANIQA = {
    "image_size": SIDE, "backbone_options": {"patch_size": 4, "embed_dim": 24, "depth": 4, "num_heads": 3},
    "blocks": [0, 1, 2], "widths": [16, 8], "heads": 2, "mlp_width": 16, "channel_attentions": 1,
    "swin_layers": 1, "score_activation": "softplus",
}  # fmt: skip

TINY_TABLE = """
title = "tiny"
recipe = "miqanet"
full = "both"

[changes]
"network.name" = "cnniqa"
"network.variant" = "paper"
"network.config" = { filters = 6, widths = [8, 8] }
"start.kind" = "scratch"
"preparation.side" = 32
"epochs" = 2
"folds.k" = 2
"folds.validation" = 0.0

[[rows]]
name = "less / one"
paper = { srocc = 0.8, plcc = 0.9 }
changes = { "network.config.widths" = [4, 4] }

[[rows]]
name = "both"
paper = { srocc = 0.9, plcc = 0.8 }
"""


def pictures(folder: Path, count: int, units: int = 6) -> list[Case]:
    """Noisy discs, labelled by how little noise they have; several of each unit."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    disc = 60 + 120 * (x**2 + y**2 < 0.5)
    cases = []
    for number in range(count):
        rng = np.random.default_rng(number)
        quality = float(rng.random())
        path = folder / f"{number:03d}.png"
        noisy = disc + rng.normal(0, 60 * (1 - quality), disc.shape)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path)
        cases.append(
            Case(
                name=path.stem,
                paths=(path,),
                modality="MR",
                unit=number % units,
                scanner=f"S{number % 3}",
                targets={QUALITY: quality},
                values={QUALITY: 1 + 4 * quality},
            )
        )
    return cases


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    return pictures(tmp_path / "pictures", 18)


def tiny_recipe(*, dropout: float = 0.5, **changes: Any) -> Recipe:
    """A network of some thousand weights that trains in a second."""
    told = {
        "network": NetworkRecipe(name="cnniqa", config={**TINY_CNN, "dropout": dropout}),
        "preparation": Preparation(side=SIDE),
        "optimiser": OptimiserRecipe(learning_rate=3e-3),
        "epochs": 3,
        "batch": 4,
        "folds": FoldsRecipe(kind="groups", k=2, validation=0.25),
        **changes,
    }
    return Recipe(**told)


def train_together(folder: Path, team: Team) -> None:
    """A training whose losses look at the whole batch, and whose batches do not divide evenly."""
    folder.mkdir(exist_ok=True)
    loss = LossRecipe(mse=1.0, ranking=0.5, plcc=0.5)
    recipe = tiny_recipe(
        dropout=0.0, loss=loss, batch=5, epochs=4, augmentation=AugmentationRecipe(flips=True)
    )
    cache = folder / f"cache{team.rank}"
    cases, prepared, _ = prepare_all(pictures(cache / "pictures", 18), recipe.preparation, 7, cache)
    fold = Fold(train=np.arange(13), validation=np.arange(13, 18), test=np.empty(0, int))
    job = loop.Job(
        recipe=recipe, cases=cases, images=Images(prepared, cache), fold=fold, number=0, epochs=4,
        folder=folder, validates=True,
    )  # fmt: skip
    trained = loop.run(job, build(recipe), team)
    if team.leads:
        (folder / "history.json").write_text(json.dumps(trained.history))
        save_file(trained.last, folder / "last.safetensors")


@pytest.fixture
def together() -> Callable[[Path, Team], None]:
    """`train_together`, for tests."""
    return train_together


@pytest.fixture
def tiny() -> Callable[..., Recipe]:
    """`tiny_recipe`, for tests."""
    return tiny_recipe


@pytest.fixture
def tiny_mediqa() -> Callable[..., Recipe]:
    """The same for MedIQA."""

    def make(**changes: Any) -> Recipe:
        network = NetworkRecipe(name="mediqa", config={"maniqa": TINY_MANIQA})
        return tiny_recipe(**{"network": network, "epochs": 2, "batch": 3, **changes})

    return make


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[Recipe], Path]:
    """Write a recipe to a file."""
    from train.recipe_file import to_toml

    def write(recipe: Recipe) -> Path:
        path = tmp_path / "tiny.toml"
        path.write_text(to_toml(recipe))
        return path

    return write


@pytest.fixture
def tiny_table(tmp_path: Path) -> Callable[..., Path]:
    """Write an ablation of two rows, with parts of its text replaced."""

    def write(*changes: tuple[str, str]) -> Path:
        text = TINY_TABLE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "tiny.toml"
        path.write_text(text)
        return path

    return write
