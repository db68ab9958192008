"""A whole run: folds, what they found, the final training, the weights. Resumable from beginning to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from train.data.case import Case
from train.data.images import Images, Prepared
from train.data.splits import folds_of
from train.disk import full_disk_named, write_atomically
from train.evaluation.folds import Fold
from train.evaluation.significance import RESAMPLES
from train.initial_weights import InitialWeights, initialise
from train.recipe import Recipe, Start
from train.run import folder as files
from train.run import logs, loop
from train.run.figures import Rows, calibrate, judge
from train.run.losses import check_grades
from train.run.network import Asked, build, configuration
from train.run.precision import precision_of
from train.run.predict import Prediction
from train.run.progress import Course, course
from train.run.team import Team

FINAL = -1  #: number of the training on everything
_GIGA = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run gave."""

    folder: Path
    figures: dict[str, float]  #: on cases not trained on
    weights: Path | None  #: None where the recipe wants figures only


def start(
    folder: Path,
    recipe: Recipe,
    cases: Sequence[Case],
    prepared: Sequence[Prepared],
    cache: Path,
    team: Team,
    *,
    base: Path | None = None,
    every_seconds: float = loop.CHECKPOINT_SECONDS,
    resamples: int = RESAMPLES,
    pictures: bool = True,
) -> Outcome:
    """Check everything that can be checked, write the folder, train.

    base: what relative paths of the recipe count from. resamples: of the figures' intervals. pictures: also
    draw plots and curves.
    Raises UnusableLabels, RecipeError, WeightsError, NoSpaceError before the first step; NoSpaceError also
    later, and then the folder can be resumed.
    """
    files.check_new(folder)
    folds = folds_of(cases, recipe.folds, recipe.seed)
    if recipe.loss.ordinal is not None:
        check_grades([case.targets["quality"] for case in cases], recipe.loss.ordinal.grades)
    module = build(recipe, folder=base)
    _try(module, recipe, cases, Images(prepared, cache))
    _check_space(module, folder)
    team.wait()
    if team.leads:
        folder.mkdir(parents=True, exist_ok=True)
        if recipe.start.kind in ("imagenet", "checkpoint"):
            (folder / files.START.parent).mkdir()
            write_atomically(folder / files.START, save(_state(module)))
        kept = replace(recipe, start=replace(recipe.start, path=Path(recipe.start.path).name))
        files.begin(folder, kept, cases, prepared, folds, files.environment(team.device, team.size))
    team.wait()
    return resume(
        folder, cache, team, every_seconds=every_seconds, resamples=resamples, pictures=pictures
    )  # fmt: skip


def resume(
    folder: Path,
    cache: Path,
    team: Team,
    *,
    every_seconds: float = loop.CHECKPOINT_SECONDS,
    resamples: int = RESAMPLES,
    pictures: bool = True,
) -> Outcome:
    """Do what is left of a run; nothing where it is done. Raises RunFolderError, and what `start` does."""
    recipe, cases, prepared, folds = files.open_run(folder)
    run = _Run(folder, recipe, cases, Images(prepared, cache), folds, team, every_seconds, pictures)
    with course(run.epochs_planned, leads=team.leads) as shown:
        rows = [row for number in range(len(folds)) for row in run.fold(number, shown)]
        weights = run.final(rows, shown)
    figures: dict[str, float] = {}
    if team.leads:
        with full_disk_named("the figures"):
            files.write_predictions(folder / files.PREDICTIONS, rows, cases)
            figures = judge(rows, cases, recipe, folder / "figures", resamples=resamples, pictures=pictures)
        write_atomically(folder / files.FIGURES, json.dumps(figures, indent=1) + "\n")
    team.wait()
    return Outcome(folder=folder, figures=figures, weights=weights)


class _Run:
    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        cases: list[Case],
        images: Images,
        folds: list[Fold],
        team: Team,
        every_seconds: float,
        pictures: bool,
    ) -> None:
        self.folder, self.recipe, self.cases, self.images = folder, recipe, cases, images
        self.folds, self.team, self.every = folds, team, every_seconds
        self.pictures = pictures
        self.features: dict[int, Tensor] = {}
        self.validates = all(len(fold.validation) for fold in folds)

    @property
    def epochs_planned(self) -> int:
        return (len(self.folds) + self.recipe.final) * self.recipe.epochs

    def network(self) -> nn.Module:
        """A network as it starts."""
        kept = self.folder / files.START
        if not kept.is_file():
            return build(self.recipe)
        module = build(replace(self.recipe, start=Start()))
        initialise(module, InitialWeights(kind="checkpoint", path=kept))
        return module

    def fold(self, number: int, shown: Course) -> list[tuple[str, Prediction, Prediction | None]]:
        """Train and test one fold, unless it is done."""
        place, name = self.folder / f"fold-{number:02d}", str(number)
        done = place / files.PREDICTIONS
        if not done.is_file():
            job = self.job(self.folds[number], number, self.recipe.epochs, place, self.validates)
            module, trained = self.train(job, f"fold {number + 1} of {len(self.folds)}", shown)
            keep_best = self.recipe.stopping.keep == "best" and trained.best is not None
            counts, other = (trained.best, trained.last) if keep_best else (trained.last, trained.best)
            assert counts is not None
            beside = None if other is None else loop.predictions(job, module, other, self.team)
            told = loop.predictions(job, module, counts, self.team)
            others: Sequence[Prediction | None] = beside or [None] * len(told)
            rows = [(name, *pair) for pair in zip(told, others, strict=True)]
            if self.team.leads:
                if not self.recipe.final and len(self.folds) == 1:
                    write_atomically(place / files.WEIGHTS, save(counts))
                logs.write(trained.history, place, curves=self.pictures)
                files.write_predictions(done, rows, self.cases)
                (place / loop.STATE).unlink(missing_ok=True)
            self.team.wait()
        else:
            shown.end(self.recipe.epochs, 0)
        return files.read_predictions(done, self.cases)

    def final(self, rows: Rows, shown: Course) -> Path | None:
        """The network that is kept, calibrated on what the folds said of cases they did not train on."""
        target = self.folder / files.WEIGHTS
        if target.is_file():
            shown.end(self.recipe.epochs, 0)
            return target
        if self.recipe.final:
            place = self.folder / "final"
            everything = Fold(train=np.arange(len(self.cases)), test=np.empty(0, int))
            job = self.job(everything, FINAL, self._final_epochs(), place, validates=False)
            module, trained = self.train(job, "final training", shown)
            module.load_state_dict(trained.last)
            if self.team.leads:
                logs.write(trained.history, place, curves=self.pictures)
        elif len(self.folds) == 1:
            module = build(replace(self.recipe, start=Start()))
            kept = self.folder / "fold-00" / files.WEIGHTS
            initialise(module, InitialWeights(kind="checkpoint", path=kept))
        else:
            return None
        if self.team.leads:
            self.save(module, rows, target)
        self.team.wait()
        return target

    def save(self, module: nn.Module, rows: Rows, target: Path) -> None:
        from models import network_file
        from models.network_file import TrainedNetwork

        preparation = self.recipe.preparation
        if self.recipe.augmentation.crop:
            preparation = replace(preparation, side=self.recipe.augmentation.crop)
        trained = TrainedNetwork(
            network=self.recipe.network.name,
            config=configuration(self.recipe),
            module=module,
            preparation=preparation,
            calibration=calibrate(rows, self.cases),
            precision=precision_of(
                Asked(module.cpu(), self.recipe), self.images, self.recipe.augmentation.crop
            ),
        )
        part = self.folder / f".{files.WEIGHTS}.part"
        with full_disk_named(files.WEIGHTS):
            network_file.save(part, trained)
            part.replace(target)
        for left in (self.folder / "final" / loop.STATE, self.folder / "fold-00" / files.WEIGHTS):
            left.unlink(missing_ok=True)

    def job(self, fold: Fold, number: int, epochs: int, place: Path, validates: bool) -> loop.Job:
        place.mkdir(exist_ok=True)
        return loop.Job(
            recipe=self.recipe, cases=self.cases, images=self.images, fold=fold, number=number,
            epochs=epochs, folder=place, validates=validates, features=self.features,
        )  # fmt: skip

    def train(self, job: loop.Job, name: str, shown: Course) -> tuple[nn.Module, loop.Trained]:
        module = self.network()
        shown.begin(name)
        trained = loop.run(job, module, self.team, told=shown.epoch, every_seconds=self.every)
        shown.end(self.recipe.epochs, len(trained.history))
        return module, trained

    def _final_epochs(self) -> int:
        """As many as the folds' best ones had in the middle, where the best epoch counts."""
        if self.recipe.stopping.keep != "best" or not self.validates:
            return self.recipe.epochs
        told = [logs.best_epoch(self.folder / f"fold-{number:02d}", self.recipe.stopping.watch)
                for number in range(len(self.folds))]  # fmt: skip
        return max(1, round(float(np.median(told))))


def _try(module: nn.Module, recipe: Recipe, cases: Sequence[Case], images: Images) -> None:
    """One batch through network and loss, so that what cannot work fails now."""
    from train.run.batches import Source, cut, draw, rows_of, seeded
    from train.run.losses import Criterion

    asked = Asked(module, recipe)
    source = Source(images, asked, torch.device("cpu"))
    rows = rows_of(range(min(2, len(cases))), cases, images, asked)
    rows = rows.at(cut(np.arange(len(rows)), 2)[0])
    changes = draw(len(rows), recipe.augmentation, seeded(recipe.seed))
    module.eval()
    with torch.no_grad():
        for places, batch in source.batches(rows, changes, recipe.augmentation):
            Criterion(recipe.loss)(asked(batch), torch.from_numpy(rows.target[places]))


def _check_space(module: nn.Module, folder: Path) -> None:
    """Weights, the best ones, two moments of each, and a second copy while the file is replaced."""
    from train.disk import NoSpaceError

    there = next(place for place in (folder, *folder.parents) if place.exists())
    needed = 8 * sum(value.nbytes for value in module.state_dict().values())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise NoSpaceError(
            f"checkpoints of this network take up to {needed / _GIGA:.1f} GB, and {free / _GIGA:.1f} GB are "
            "free; free some, or name another folder with --out"
        )


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone().contiguous() for name, value in module.state_dict().items()}
