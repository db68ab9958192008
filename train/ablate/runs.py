"""Train every row of a table with every seed, each an ordinary run folder, and collect what they predicted.

A finished run is read, a stopped one resumed, so the same command goes on after any interruption.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.networks import NETWORKS
from train.ablate.table import Ablation, Changes, Row
from train.data.archive import Found, cases_of, telling
from train.data.case import QUALITY, Case
from train.data.images import Prepared, prepare_all
from train.data.splits import folds_of
from train.disk import write_atomically
from train.evaluation.correlation import Floats
from train.recipe import Recipe, Start
from train.recipe_file import to_toml
from train.run import folder as files
from train.run import stages
from train.run.network import configuration
from train.run.team import Team

SECONDS = "seconds.json"
#: A single run's own figures are by the way: the table draws its intervals over all runs.
_BRIEF: Any = {"resamples": 100, "pictures": False}
_BEFORE_CASES = {files.RECIPE, files.ENVIRONMENT, files.SPLITS, files.START.parts[0]}

Sources = tuple[list[Case], list[Prepared]]


class OtherRunError(ValueError):
    """A folder holds another training than the one asked for; the message names it and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be trained."""

    ablation: Ablation
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    small: bool
    more: Changes  #: to every recipe
    out: Path
    cache: Path
    archive: tuple[Found, ...] = ()  #: for pre-training
    processes: int = 1
    leave_out_broken: bool = False

    def recipe(self, row: Row, seed: int) -> Recipe:
        return self.ablation.recipe_of(row, seed, small=self.small, more=self.more)

    def folder(self, row: Row, seed: int) -> Path:
        """Of one run."""
        number = self.ablation.rows.index(row) + 1
        return self.out / f"{number:02d}-{slug(row.name)}" / f"seed-{seed}"

    def pretraining(self, row: Row, seed: int) -> Recipe:
        """With those of its parameters that the archive tells. Raises RecipeError, UnusableLabels."""
        recipe = self.ablation.pretraining_of(row, seed, small=self.small, more=self.more)
        return replace(recipe, parameters=telling(self.archive, recipe.parameters)[0])

    def check(self, cases: Sequence[Case]) -> None:
        """What would stop any run. Raises RecipeError, UnusableLabels."""
        for row in self.rows:
            for seed in self.seeds:
                recipe = self.recipe(row, seed)
                folds_of(cases, recipe.folds, recipe.seed)
                if row.pretrained:
                    first = self.pretraining(row, seed)
                    folds_of(cases_of(self.archive, first.parameters), first.folds, first.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRuns:
    """What the runs of one row gave."""

    row: Row
    parameters: int  #: of the network
    predicted: Floats  #: (seeds, N) on 0..1, of each case when it was not trained on; NaN where never tested
    seconds: tuple[float | None, ...]  #: of each seed's training, pre-training left out; None: resumed


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What all runs gave, on the same N cases."""

    labels: Floats  #: (N,) 0..1
    units: tuple[int, ...]  #: (N,) patient or reference of each
    rows: tuple[RowRuns, ...]
    problems: tuple[str, ...]  #: what was left out
    device: str


def train_all(plan: Plan, cases: Sequence[Case], team: Team, *, say: Callable[[str], None]) -> Runs:
    """Every row with every seed. Raises what `stages.start` does, and OtherRunError."""
    return _Trainer(plan, cases, team, say).run()


class _Trainer:
    def __init__(self, plan: Plan, cases: Sequence[Case], team: Team, say: Callable[[str], None]) -> None:
        self.plan, self.cases, self.team = plan, list(cases), team
        self.say = say if team.leads else lambda text: None
        self.views: dict[tuple[str, int, bool], Sources] = {}
        self.problems: list[str] = []
        self.first_stages: dict[str, Path] = {}

    def run(self) -> Runs:
        plan = self.plan
        plan.check(self.cases)
        for row in plan.rows:  # all images before the first training, so that what is broken shows now
            self.view(plan.recipe(row, plan.seeds[0]), self.cases, archive=False)
        usable = self._in_every_view()
        jobs = [(row, seed) for seed in plan.seeds for row in plan.rows]
        made: dict[str, list[tuple[Floats, float | None]]] = {row.name: [] for row in plan.rows}
        for number, (row, seed) in enumerate(jobs, start=1):
            self.say(f"{row.name}, seed {seed} ({number} of {len(jobs)})")
            made[row.name].append(self.one(row, seed, usable))
        rows = [
            RowRuns(
                row=row,
                parameters=parameters(plan.recipe(row, plan.seeds[0])),
                predicted=np.stack([predicted for predicted, _ in made[row.name]]),
                seconds=tuple(seconds for _, seconds in made[row.name]),
            )
            for row in plan.rows
        ]
        of = [case for case in self.cases if case.name in usable]
        device = torch.cuda.get_device_name(self.team.device) if self.team.device.type == "cuda" else "CPU"
        return Runs(
            labels=np.array([case.targets[QUALITY] for case in of]),
            units=tuple(case.unit for case in of),
            rows=tuple(rows),
            problems=tuple(dict.fromkeys(self.problems)),
            device=device,
        )

    def _in_every_view(self) -> dict[str, int]:
        """Name of each usable case -> its place."""
        names = [{case.name for case in cases} for cases, _ in self.views.values()]
        kept = [case.name for case in self.cases if all(case.name in there for there in names)]
        return {name: place for place, name in enumerate(kept)}

    def view(self, recipe: Recipe, cases: Sequence[Case], *, archive: bool) -> Sources:
        """The cases as the recipe sees them; prepared once for all rows that see them alike."""
        key = (repr(recipe.preparation), recipe.slices, archive)
        if key not in self.views:
            prepared = None
            for turn in (True, False):  # the first process prepares, the others then read
                if self.team.leads == turn:
                    prepared = prepare_all(
                        cases, recipe.preparation, recipe.slices, self.plan.cache,
                        processes=self.plan.processes, leave_out_broken=self.plan.leave_out_broken,
                    )  # fmt: skip
                self.team.wait()
            assert prepared is not None
            self.problems += prepared[2]
            self.views[key] = prepared[:2]
        return self.views[key]

    def one(self, row: Row, seed: int, usable: dict[str, int]) -> tuple[Floats, float | None]:
        """Out-of-fold predictions of one run, and its seconds."""
        recipe = self.plan.recipe(row, seed)
        if row.pretrained:
            weights = self.pretrained(row, seed)
            recipe = replace(recipe, start=Start(kind="checkpoint", path=str(weights.resolve())))
        cases, prepared = self.view(recipe, self.cases, archive=False)
        pairs = [pair for pair in zip(cases, prepared, strict=True) if pair[0].name in usable]
        folder = self.plan.folder(row, seed)
        self.finish(folder, recipe, [case for case, _ in pairs], [one for _, one in pairs])
        predicted = np.full(len(usable), np.nan)
        for _, one, _ in files.read_predictions(folder / files.PREDICTIONS, [case for case, _ in pairs]):
            predicted[usable[pairs[one.case][0].name]] = one.quality
        return predicted, _seconds(folder)

    def pretrained(self, row: Row, seed: int) -> Path:
        """Weights of the row's first stage, trained once for all rows that share it."""
        recipe = self.plan.pretraining(row, seed)
        text = to_toml(recipe)
        if text not in self.first_stages:
            name = hashlib.sha256(to_toml(replace(recipe, seed=0)).encode()).hexdigest()[:8]
            folder = self.plan.out / "pretrained" / f"{name}-seed-{seed}"
            told = cases_of(self.plan.archive, recipe.parameters)
            self.finish(folder, recipe, *self.view(recipe, told, archive=True))
            self.first_stages[text] = folder / files.WEIGHTS
        return self.first_stages[text]

    def finish(
        self, folder: Path, recipe: Recipe, cases: Sequence[Case], prepared: Sequence[Prepared]
    ) -> None:
        """Start the run, or go on with it, or leave it as it is."""
        cache, began = self.plan.cache, time.monotonic()
        new = not (folder / files.CASES).is_file()
        if new:
            if (
                self.team.leads
                and folder.is_dir()
                and {one.name for one in folder.iterdir()} <= _BEFORE_CASES
            ):
                shutil.rmtree(folder)  # stopped while it was written
            self.team.wait()
            stages.start(folder, recipe, cases, prepared, cache, self.team, **_BRIEF)
        else:
            _check_same(folder, recipe, cases)
            if (folder / files.FIGURES).is_file():
                return
            stages.resume(folder, cache, self.team, **_BRIEF)
        if self.team.leads:
            told = {"seconds": time.monotonic() - began if new else None}
            write_atomically(folder / SECONDS, json.dumps(told) + "\n")
        self.team.wait()


def _check_same(folder: Path, recipe: Recipe, cases: Sequence[Case]) -> None:
    found, there, _, _ = files.open_run(folder)
    asked = replace(recipe, start=replace(recipe.start, path=Path(recipe.start.path).name))
    told = [{case.name: case.targets for case in some} for some in (there, cases)]
    if to_toml(found) != to_toml(asked) or told[0] != told[1]:
        what = "recipe" if told[0] == told[1] else "set of labels"
        raise OtherRunError(f"{folder} holds a run of another {what}; name another folder with --out")


def _seconds(folder: Path) -> float | None:
    try:
        found = json.loads((folder / SECONDS).read_text(encoding="utf-8"))["seconds"]
    except FileNotFoundError:
        return None
    return None if found is None else float(found)


def parameters(recipe: Recipe) -> int:
    """Of the recipe's network, counted in no memory."""
    with torch.device("meta"):
        module = NETWORKS[recipe.network.name].module(configuration(recipe))
    return sum(one.numel() for one in module.parameters())


def slug(name: str) -> str:
    """A row's name as a folder's."""
    words = "".join(letter if letter.isalnum() else " " for letter in name.lower()).split()
    return "-".join(words)
