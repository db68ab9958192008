"""One training: epochs over rows, checkpoints, early stopping, weights. Reproducible to the bit on a CPU.

It neither reads recipes nor writes figures; `train.run.stages` does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from models.output import Output
from train.data.case import Case
from train.data.images import Images
from train.evaluation.correlation import plcc, srocc
from train.evaluation.folds import Fold
from train.recipe import Recipe
from train.run import checkpoint
from train.run.batches import Change, Ints, Rows, Source, cut, draw, rows_of, seeded
from train.run.checkpoint import State
from train.run.losses import Criterion
from train.run.network import Asked, train_mode
from train.run.predict import Prediction, predict
from train.run.rate import learning_rate
from train.run.team import Team

STATE = "state.safetensors"
CHECKPOINT_SECONDS = 60.0
_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Diverged(RuntimeError):
    """The loss is no number any more; the message says when, and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one training is about."""

    recipe: Recipe
    cases: Sequence[Case]
    images: Images
    fold: Fold
    number: int  #: of the fold; seeds differ by it
    epochs: int  #: that are trained at most; the recipe's give the learning rate
    folder: Path  #: for the checkpoint
    validates: bool  #: look at the validation rows after each epoch
    features: dict[int, Tensor] = field(
        default_factory=dict
    )  #: of cases, shared by trainings that start alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came out."""

    last: dict[str, Tensor]
    best: dict[str, Tensor] | None  #: of the epoch with the best validation figure; None without validation
    best_epoch: int  #: -1 without validation
    history: list[dict[str, float]]


def run(
    job: Job,
    module: nn.Module,
    team: Team,
    *,
    told: Callable[[dict[str, float]], None] = lambda row: None,
    every_seconds: float = CHECKPOINT_SECONDS,
) -> Trained:
    """Train the module in place, going on where a checkpoint in the folder stands.

    told: gets each epoch's row of the history. every_seconds: between checkpoints.
    Raises NoSpaceError (resumable), CheckpointError, Diverged.
    """
    with _deterministic():
        return _Training(job, module, team, told, every_seconds).run()


class _Training:
    def __init__(
        self,
        job: Job,
        module: nn.Module,
        team: Team,
        told: Callable[[dict[str, float]], None],
        every_seconds: float,
    ) -> None:
        self.job, self.team, self.told, self.every = job, team, told, every_seconds
        recipe = job.recipe
        if team.size > 1 and team.device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        self.module = module.to(team.device)
        self.asked = Asked(self.module, recipe)
        self.source = Source(job.images, self.asked, team.device, job.features)
        self.criterion = Criterion(recipe.loss).to(team.device)
        self.rows = rows_of(job.fold.train, job.cases, job.images, self.asked)
        self.parameters = [one for one in self.module.parameters() if one.requires_grad]
        self.optimiser = _optimiser(recipe, self.parameters)
        precision = _precision(recipe, team.device)
        self.autocast = (
            nullcontext if precision is None else lambda: torch.autocast(team.device.type, dtype=precision)
        )
        self.scaler = torch.amp.GradScaler(team.device.type, enabled=precision is torch.float16)
        self.state = State(threads=torch.get_num_threads())
        self.best: dict[str, Tensor] | None = None
        self.saved = time.monotonic()

    def run(self) -> Trained:
        path = self.job.folder / STATE
        if path.is_file():
            self._resume(path)
        elif hasattr(self.module, "settle"):
            cast(Any, self.module).settle(
                torch.cat([self.source.features(int(n)) for n in sorted(self.job.fold.train)])
            )
        while not self.state.finished:
            self._epoch()
        return Trained(
            last=_copied(self.module),
            best=self.best,
            best_epoch=self.state.best_epoch,
            history=self.state.history,
        )

    def _resume(self, path: Path) -> None:
        self.state, self.best = checkpoint.read(path, self.module, self.optimiser)
        torch.set_num_threads(self.state.threads)
        if self.state.scaler:
            self.scaler.load_state_dict(self.state.scaler)
        for row in self.state.history:
            self.told(row)

    def _epoch(self) -> None:
        job, state = self.job, self.state
        recipe = job.recipe
        rate = learning_rate(recipe.schedule, recipe.optimiser.learning_rate, state.epoch, recipe.epochs)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        train_mode(self.module, recipe)
        order = seeded(recipe.seed, job.number, state.epoch).permutation(len(self.rows))
        batches = cut(order, recipe.batch)
        while state.step < len(batches):
            group_ = batches[state.step : state.step + recipe.accumulation]
            self._step(group_)
            state.step += len(group_)
            if state.step < len(batches):
                self._save_if_due()
        self.team.agree(self.module)
        self._finish_epoch(rate)
        self._save_if_due(always=state.finished)

    def _step(self, group: Sequence[Ints]) -> None:
        """Batches whose gradients make one step."""
        job, state = self.job, self.state
        recipe, total = job.recipe, sum(map(len, group))
        self.optimiser.zero_grad(set_to_none=True)
        for offset, batch in enumerate(group):
            place = (recipe.seed, job.number, state.epoch, state.step + offset)
            changes = draw(len(batch), recipe.augmentation, seeded(*place))
            torch.manual_seed(int(seeded(*place, 1 + self.team.rank).integers(2**63)))
            loss = self._loss(self.rows.at(batch), changes)
            if not math.isfinite(value := float(loss.detach())):
                raise Diverged(
                    f"the loss is {value} in epoch {state.epoch + 1}; lower optimiser.learning_rate, set "
                    "optimiser.clip, or train in fp32"
                )
            state.losses.append(value)
            state.sizes.append(len(batch))
            if loss.requires_grad:
                self.scaler.scale(loss * (len(batch) / total)).backward()
        self.team.sum_gradients(self.parameters)
        if recipe.optimiser.clip:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.parameters, recipe.optimiser.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def _loss(self, rows: Rows, changes: Sequence[Change]) -> Tensor:
        """Of a whole batch, through the rows of this process."""
        found = []
        for task in np.unique(rows.task):
            places = np.flatnonzero(rows.task == task)
            own = places[self.team.mine(len(places))]
            output = Output(score=torch.zeros(0, device=self.team.device))
            if ordinal := self.job.recipe.loss.ordinal:
                output = output._replace(logits=output.score.new_zeros((0, ordinal.heads, ordinal.grades)))
            if len(own):
                mine = [changes[place] for place in own]
                for _, batch in self.source.batches(rows.at(own), mine, self.job.recipe.augmentation):
                    with self.autocast():
                        output = self.asked(batch)
            gathered = Output(score=self.team.rows(output.score.float(), len(places)))
            if output.logits is not None:
                gathered = gathered._replace(logits=self.team.rows(output.logits.float(), len(places)))
            targets = torch.from_numpy(rows.target[places]).to(self.team.device)
            found.append((gathered, targets))
        return self.criterion.over_tasks(found)

    def _finish_epoch(self, rate: float) -> None:
        state, stopping = self.state, self.job.recipe.stopping
        row = {
            "epoch": float(state.epoch + 1),
            "rate": rate,
            "loss": float(np.average(state.losses, weights=state.sizes)),
        }
        if self.job.validates:
            row |= self.validation()
            figure = row[f"validation_{stopping.watch}"] * (-1 if stopping.watch == "loss" else 1)
            figure = -math.inf if math.isnan(figure) else figure
            if state.best_figure is None or figure > state.best_figure:
                state.best_figure, state.best_epoch, state.worse = figure, state.epoch, 0
                self.best = _copied(self.module)
            else:
                state.worse += 1
        state.history.append(row)
        state.epoch, state.step, state.losses, state.sizes = state.epoch + 1, 0, [], []
        out_of_patience = 0 < stopping.patience <= state.worse
        state.finished = state.epoch >= self.job.epochs or (self.job.validates and out_of_patience)
        self.told(row)

    def validation(self) -> dict[str, float]:
        """Figures on the validation rows, a mean over tasks."""
        found = self.predict(self.job.fold.validation)
        by_task: dict[str, list[Prediction]] = {}
        for one in found:
            by_task.setdefault(one.task, []).append(one)
        figures = []
        for task, some in sorted(by_task.items()):
            predicted = np.array([one.quality for one in some])
            wanted = np.array([self.job.cases[one.case].targets[task] for one in some])
            mean_square = float(np.square(predicted - wanted).mean())
            figures.append((mean_square, srocc(predicted, wanted), plcc(predicted, wanted)))
        names = ("validation_loss", "validation_srocc", "validation_plcc")
        return dict(zip(names, map(float, np.mean(figures, axis=0)), strict=True))

    def predict(self, numbers: Ints) -> list[Prediction]:
        """Of the cases, by all processes together, in the order of the numbers."""
        with self.autocast():
            own = predict(numbers[self.team.mine(len(numbers))], self.job.cases, self.source,
                          self.job.recipe)  # fmt: skip
        return self.team.all_of(own)

    def _save_if_due(self, *, always: bool = False) -> None:
        if not (always or time.monotonic() - self.saved >= self.every):
            return
        self.state.scaler = dict(self.scaler.state_dict())
        if self.team.leads:
            checkpoint.write(self.job.folder / STATE, self.state, self.module, self.optimiser, self.best)
        self.saved = time.monotonic()


def predictions(job: Job, module: nn.Module, weights: Mapping[str, Tensor], team: Team) -> list[Prediction]:
    """What the module with these weights says of the fold's test cases."""
    module.load_state_dict(dict(weights))
    with _deterministic():
        return _Training(job, module, team, lambda row: None, 0).predict(job.fold.test)


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def _optimiser(recipe: Recipe, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    kinds = {"adam": torch.optim.Adam, "nadam": torch.optim.NAdam, "adamw": torch.optim.AdamW}
    told = recipe.optimiser
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if told.name == "adamw":  # decay would pull every prediction towards 0 through the biases
        groups = [
            {"params": [one for one in parameters if one.ndim > 1]},
            {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
        ]
    groups = [group for group in groups if group["params"]]
    return kinds[told.name](groups, lr=told.learning_rate, weight_decay=told.weight_decay)


def _precision(recipe: Recipe, device: torch.device) -> torch.dtype | None:
    """None: float32. On a CPU always: bf16 there lost the gradient's direction."""
    if device.type == "cpu" or recipe.precision == "fp32":
        return None
    return _PRECISIONS.get(recipe.precision, torch.bfloat16)


@contextmanager
def _deterministic() -> Iterator[None]:
    """The same sums in the same order, as far as the device can; the caller's chance is left alone."""
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
