"""The loop: the same to the bit after kill -9, alone or in company, and stopped by name when it must."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from train import disk
from train.data.case import Case
from train.data.images import Images, prepare_all
from train.disk import NoSpaceError
from train.evaluation.folds import Fold
from train.losses import LossConfig
from train.recipe import (
    AugmentationRecipe,
    LossRecipe,
    NetworkRecipe,
    OptimiserRecipe,
    Recipe,
    ScheduleRecipe,
    Start,
    StoppingRecipe,
)
from train.run import checkpoint, loop
from train.run.checkpoint import CheckpointError
from train.run.loop import Diverged, Job
from train.run.network import Asked, build
from train.run.team import Team

SIDE = 32  #: of the pictures
HERE = Path(__file__).parent
STAGES = NetworkRecipe(name="stages", config={"backbone": "test_resnet", "stages": [0, 1]})


@pytest.fixture
def job(cases: list[Case], tiny: Callable[..., Recipe], tmp_path: Path) -> Callable[..., Job]:
    """A job on the pictures: rows 0-11 train, 12-14 choose, 15-17 test."""

    def make(
        recipe: Recipe | None = None, name: str = "run", *, cases: list[Case] = cases, **values: object
    ) -> Job:
        recipe = recipe or tiny()
        _, prepared, _ = prepare_all(cases, recipe.preparation, 7, tmp_path / "cache")
        (tmp_path / name).mkdir(exist_ok=True)
        fold = Fold(train=np.arange(12), validation=np.arange(12, 15), test=np.arange(15, 18))
        told = {"fold": fold, "number": 0, "epochs": recipe.epochs, "validates": True, **values}
        images = Images(prepared, tmp_path / "cache")
        return Job(recipe=recipe, cases=cases, images=images, folder=tmp_path / name, **told)  # type: ignore[arg-type]

    return make


def trained(job: Job, **options: object) -> tuple[nn.Module, loop.Trained]:
    module = build(job.recipe)
    return module, loop.run(job, module, Team(), **options)  # type: ignore[arg-type]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_repeats_to_the_bit(job: Callable[..., Job], tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(dropout=0.0, epochs=25)
    torch.manual_seed(1)
    _, first = trained(job(recipe, "one"))
    torch.manual_seed(2)  # what came before does not count
    _, second = trained(job(recipe, "two"))
    assert same(first.last, second.last) and first.history == second.history
    _, other = trained(job(replace(recipe, seed=21), "three"))
    assert not same(first.last, other.last)
    assert first.history[-1]["loss"] < 0.3 * first.history[0]["loss"]


def test_the_callers_chance_is_left_alone(job: Callable[..., Job]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(job())
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


RECIPES = {
    "adam": {},
    "nadam, fast": {"optimiser": OptimiserRecipe(name="nadam", learning_rate=1e-2, clip=1.0)},
    "accumulating, augmented": {
        "accumulation": 2, "optimiser": OptimiserRecipe(name="adamw", weight_decay=0.1),
        "augmentation": AugmentationRecipe(flips=True, turns=True),
        "schedule": ScheduleRecipe(name="restarts", period=2),
    },
    "frozen backbone": {"network": STAGES, "freeze": "backbone"},
    "batch norm": {"network": STAGES},
}  # fmt: skip


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.parametrize("writes", [1, 4])
def test_resuming_after_any_checkpoint_gives_the_same_weights(
    changes: dict[str, object],
    writes: int,
    job: Callable[..., Job],
    tiny: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tiny(**changes)
    _, whole = trained(job(recipe, "whole"), every_seconds=1e9)
    written = 0
    original = checkpoint.write

    def write(*arguments: object) -> None:
        nonlocal written
        original(*arguments)  # type: ignore[arg-type]
        written += 1
        if written == writes:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", write)
        with pytest.raises(Killed):
            trained(job(recipe, "cut"), every_seconds=0)
    told: list[float] = []
    _, resumed = trained(job(recipe, "cut"), every_seconds=0, told=lambda row: told.append(row["epoch"]))
    assert same(whole.last, resumed.last) and resumed.history == whole.history
    assert whole.best is not None and resumed.best is not None and same(whole.best, resumed.best)
    assert told == [1, 2, 3]
    _, again = trained(job(recipe, "cut"))
    assert same(again.last, whole.last)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from conftest import pictures, tiny_recipe
from train.data.images import prepare_all
from train.run import stages
from train.run.team import Team
folder, name = Path(sys.argv[1]), sys.argv[2]
cache, recipe = folder / "cache", tiny_recipe(epochs=12)
cases, prepared, _ = prepare_all(pictures(folder / "pictures", 18), recipe.preparation, 7, cache)
if (folder / name).exists():
    stages.resume(folder / name, cache, Team(), every_seconds=0, resamples=9)
else:
    stages.start(folder / name, recipe, cases, prepared, cache, Team(), every_seconds=0,
                 resamples=9)
"""


def test_kill_9_and_resume_give_the_weights_of_an_uninterrupted_run(tmp_path: Path) -> None:
    from models import network_file

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def started(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", KILLED, str(tmp_path), name, str(HERE)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    assert started("whole").wait() == 0
    for place in ("fold-00", "final"):  # killed twice, in two trainings
        process = started("cut")
        state = tmp_path / "cut" / place / loop.STATE
        while not state.is_file():
            assert process.poll() is None, f"ended before {place}"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert started("cut").wait() == 0
    found, expected = (
        network_file.load(tmp_path / name / "weights.safetensors") for name in ("cut", "whole")
    )
    assert same(found.module.state_dict(), expected.module.state_dict())
    assert found.calibration == expected.calibration
    for name in ("predictions.csv", "splits.csv", "figures.json", "fold-00/history.csv", "final/history.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_full_disk_stops_by_name_and_leaves_a_run_that_goes_on(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = trained(job(name="whole"))
    writes = 0

    def replaced(self: Path, target: Path) -> Path:
        nonlocal writes
        writes += 1
        if writes == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, target)

    original = Path.replace
    with monkeypatch.context() as patch:
        patch.setattr(disk.Path, "replace", replaced)
        with pytest.raises(NoSpaceError, match=r"the disk is full: state\.safetensors .*qagate train resume"):
            trained(job(name="full"), every_seconds=0)
    assert [path.name for path in job(name="full").folder.iterdir()] == [loop.STATE]
    _, resumed = trained(job(name="full"))
    assert same(whole.last, resumed.last)


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[:-9], lambda raw: b"{}", lambda raw: raw.replace(b"training 1", b"training 0")]
)
def test_a_state_that_cannot_be_resumed_from_is_named(
    spoil: Callable[[bytes], bytes], job: Callable[..., Job]
) -> None:
    one = job()
    trained(one, every_seconds=0)
    path = one.folder / loop.STATE
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"state\.safetensors .*remove the fold's folder"):
        trained(one)


def test_accumulated_batches_make_the_step_of_one_large_batch(
    job: Callable[..., Job], tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny(dropout=0.0, optimiser=OptimiserRecipe(learning_rate=1e-3))
    _, large = trained(job(replace(recipe, batch=12), "large"))
    _, small = trained(job(replace(recipe, batch=5, accumulation=3), "small"))
    for name, value in large.last.items():
        assert torch.allclose(value, small.last[name], atol=2e-5), name


def test_a_frozen_backbone_keeps_weights_and_statistics(
    job: Callable[..., Job], tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny(network=STAGES, freeze="backbone", augmentation=AugmentationRecipe(flips=True))
    before = {name: value.clone() for name, value in build(recipe).state_dict().items()}
    _, found = trained(job(recipe))
    moved = {name for name, value in found.last.items() if not torch.equal(value, before[name])}
    assert moved == {"head.weight", "head.bias", "centre", "scale"}


def test_features_computed_once_train_as_those_computed_each_time(
    job: Callable[..., Job], tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny(network=STAGES, freeze="backbone")
    module, quick = trained(job(recipe, "quick"))
    assert Asked(module, recipe).by_features
    slow_recipe = replace(recipe, augmentation=AugmentationRecipe(scale=(1.0, 1.0), crop=SIDE))
    module, slow = trained(job(slow_recipe, "slow"))
    assert not Asked(module, slow_recipe).by_features
    for name, value in quick.last.items():
        assert torch.allclose(value, slow.last[name], atol=1e-4), name


def test_adamw_decays_matrices_only(job: Callable[..., Job], tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(epochs=1, optimiser=OptimiserRecipe(name="adamw", learning_rate=1e-9, weight_decay=5e7))
    module, _ = trained(job(recipe))
    before = dict(build(recipe).named_parameters())
    for name, value in module.named_parameters():
        kept = torch.allclose(value, before[name], atol=1e-6)
        assert kept == (value.ndim == 1 or not bool(before[name].any())), name


def test_patience_ends_and_the_best_epoch_is_kept(
    job: Callable[..., Job], tiny: Callable[..., Recipe]
) -> None:
    stopping = StoppingRecipe(patience=2, watch="loss", keep="best")
    recipe = tiny(epochs=40, stopping=stopping, optimiser=OptimiserRecipe(learning_rate=3e-2))
    _, found = trained(job(recipe))
    losses = [row["validation_loss"] for row in found.history]
    assert len(losses) < 40 and found.best_epoch == int(np.argmin(losses)) == len(losses) - 3
    assert found.best is not None and not same(found.best, found.last)


def test_a_loss_that_is_no_number_is_named(job: Callable[..., Job], tiny: Callable[..., Recipe]) -> None:
    fast = tiny(optimiser=OptimiserRecipe(learning_rate=1e30))
    with pytest.raises(Diverged, match=r"in epoch \d; lower optimiser.learning_rate"):
        trained(job(fast))


def test_parameters_have_heads_of_their_own_and_only_told_ones_move(
    job: Callable[..., Job], tiny_mediqa: Callable[..., Recipe], cases: list[Case]
) -> None:
    recipe = tiny_mediqa(stage="pretrain", parameters=("mas", "ctdivol", "tesla"))
    told = [
        replace(case, targets={"mas": 0.1 + number / 40} | ({"tesla": 0.5} if number % 3 else {}))
        for number, case in enumerate(cases)
    ]
    module, _ = trained(job(recipe, cases=told))
    start = build(recipe).state_dict()
    moved = {name.split(".")[1] for name, value in module.state_dict().items()
             if name.startswith("parameter_heads") and not torch.equal(value, start[name])}  # fmt: skip
    assert moved == {"mas", "tesla"}
    assert torch.equal(module.state_dict()["maniqa.head.score.0.weight"], start["maniqa.head.score.0.weight"])
    found = loop.predictions(job(recipe, cases=told), module, module.state_dict(), Team())
    assert {one.task for one in found} == {"mas", "tesla"}


def test_the_ordinal_loss_needs_grades_and_trains_those_that_have_some(
    job: Callable[..., Job], tiny: Callable[..., Recipe]
) -> None:
    loss = LossRecipe(mse=0.0, ordinal=LossConfig(heads=2, grades=6, group=3))
    config = {"backbone": "test_resnet", "image_size": SIDE, "grades": 6, "heads": 2}
    network = NetworkRecipe(name="timm", variant="resnet18", config=config)
    module, _ = trained(job(tiny(loss=loss, network=network)))
    (one, *_) = loop.predictions(job(tiny(loss=loss, network=network)), module, module.state_dict(), Team())
    assert len(one.grades) == 6 and sum(one.grades) == pytest.approx(1) and 0 <= one.quality <= 1
    assert one.quality == pytest.approx(np.array(one.grades) @ np.linspace(0, 1, 6))
    with pytest.raises(ValueError, match="needs a network with grades"):
        trained(job(tiny(loss=loss), "other"))


TOGETHER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from conftest import train_together
from train.run.team import joined
with joined("cpu") as team:
    train_together(Path(sys.argv[1]), team)
"""


def test_two_processes_train_as_one(tmp_path: Path, together: Callable[[Path, Team], None]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        together(tmp_path / "alone", Team())
    finally:
        torch.set_num_threads(threads)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    announced = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, str(tmp_path / "both"), str(HERE)], stderr=subprocess.PIPE,
            env={**os.environ, **announced, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors.decode()
    alone, both = (json.loads((tmp_path / name / "history.json").read_text()) for name in ("alone", "both"))
    assert len(alone) == len(both) == 4
    for one, other in zip(alone, both, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    weights = [load_file(tmp_path / name / "last.safetensors") for name in ("alone", "both")]
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name], atol=1e-4), name


def test_rows_of_a_team_come_in_order_and_devices_are_checked() -> None:
    assert [range(7)[Team(rank, 3).mine(7)] for rank in range(3)] == [
        range(0, 7, 3),
        range(1, 7, 3),
        range(2, 7, 3),
    ]
    from train.run.team import joined

    with pytest.raises(ValueError, match="is not auto, cpu or cuda"), joined("tpu"):
        pass
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no GPU that torch can use"), joined("cuda"):
            pass


def test_shipped_weights_start_the_stages_of_lite0(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(network=NetworkRecipe(name="stages"), start=Start(kind="shipped"), freeze="backbone")
    first, second = build(recipe), build(replace(recipe, seed=1))
    assert torch.equal(first.backbone.conv_stem.weight, second.backbone.conv_stem.weight)
    assert not torch.equal(first.head.weight, second.head.weight)
    assert math.isclose(float(first.backbone.conv_stem.weight.abs().mean()), 0.448, abs_tol=1e-3)
    with pytest.raises(RuntimeError, match="fits no backbone of StageNet"):
        build(replace(recipe, network=STAGES))
