"""`python -m train.study RECIPE --references DIR --out DIR`: every figure of docs/default-model.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np

from models.features import QUIET_CHANNEL, SHADED_CHANNELS
from models.shading import PER_CHANNEL
from models.weights_file import WEIGHTS
from train.compare import rivals
from train.dataset import Recipe, Samples, Taught, build_references, read_recipe
from train.evaluation.correlation import Floats
from train.evaluation.ladders import figures
from train.evaluation.tables import Cell, Column, Table
from train.fit import calibrate, fit_heads, labels, leave_subjects_out, seen_as, type_names
from train.references import Reference, load
from train.study import agreement, pictures, transfer
from train.study.curve import NAMES, Point, learning_curve, subjects_for
from train.study.network import predictions

AIMS = {"srocc": 0.8, "relative": 0.9, "pairs": 0.98, "types": 0.85}
COPIES = 1  #: randomised copies that the many fits of learning curve and unseen types are taught with
FIRST_COPIES = {"CT": 4, "MR": 1}  #: those of the first model
THIS, FIRST = "this model", "first model"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One modality."""

    modality: str
    references: list[Reference]
    samples: Samples
    label: Floats


@click.command()
@click.argument("recipe_path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--references", type=click.Path(path_type=Path, exists=True), required=True, help="Volumes.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--cache", default=".cache", type=click.Path(path_type=Path), help="Features computed before.")
@click.option("--network-epochs", default=0, show_default=True, help="Epochs of the ResNet18 rival; 0: none.")
@click.option("--draws", default=5, show_default=True, help="Sets of subjects for each point of the curve.")
@click.option("--processes", default=1, show_default=True, help="Processes that compute features.")
def main(
    recipe_path: Path,
    references: Path,
    out: Path,
    cache: Path,
    network_epochs: int,
    draws: int,
    processes: int,
) -> None:
    """Tables and plots of the default model that RECIPE trains, on subjects left out."""
    recipe = read_recipe(recipe_path)
    every = [one for volume in recipe.volumes for one in load(volume, references)]
    parts = []
    for modality in sorted({one.modality for one in every}):
        mine = [one for one in every if one.modality == modality]
        samples = build_references(mine, recipe, cache, WEIGHTS / "lite0.safetensors", processes)
        parts.append(_Part(modality=modality, references=mine, samples=samples, label=labels(samples)))
    scores: dict[str, Floats] = {}
    if network_epochs:
        given = {one.modality: (one.samples, one.label, one.references) for one in parts}
        scores = predictions(given, recipe, out / "network", epochs=network_epochs)
    for one in parts:
        _study(one, recipe, scores.get(one.modality), out / one.modality.lower(), cache, processes, draws)


def _study(
    part: _Part,
    recipe: Recipe,
    network: Floats | None,
    out: Path,
    cache: Path,
    processes: int,
    draws: int,
) -> None:
    samples, label = part.samples, part.label
    taught = recipe.taught.get(part.modality, Taught())
    plain = samples.copy == 0
    held_out = leave_subjects_out(samples, label, recipe.ridge, taught)
    first = _first(part, recipe)
    measured = rivals(part.references, recipe, part.modality, samples, cache, processes)
    scores = {THIS: held_out.score[plain], FIRST: first}
    scores |= measured.together
    if network is not None:
        scores["ResNet18 from chance"] = network
    clean, wanted = samples.where(plain), label[plain]
    agreement.by_artefact(clean, scores, wanted).write(out, "artefacts")
    agreement.overall(clean, scores | measured.single, wanted).write(out, "all")
    _ladders(clean, scores, wanted).write(out, "ladders")
    types = type_names(samples)
    seen = plain & ((samples.artefact == "none") | (samples.severity >= 2))
    named = np.array(types)[held_out.kinds.argmax(axis=1)]
    agreement.confusion(seen_as(samples)[seen], named[seen], types).write(out, "types")

    few = samples.copy <= COPIES
    fit = _fit(recipe, taught, types)
    answers = np.column_stack([held_out.score, held_out.kinds])[few]
    transfer.unseen_types(samples.where(few), label[few], fit, answers).write(out, "unseen-types")
    middle, spread, sharpness = calibrate(samples, held_out)
    quality = 1 / (1 + np.exp(-(held_out.score[plain] - middle) / spread))
    pictures.quality_by_severity(samples.severity[plain], quality, out / "quality", title=part.modality)
    logits = sharpness * held_out.kinds[seen]
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    pictures.reliability(
        chances.max(axis=1), named[seen] == seen_as(samples)[seen], out / "type-confidence",
        title=part.modality,
    )  # fmt: skip
    kinds = np.array([types.index(kind) for kind in seen_as(samples)])
    points = learning_curve(samples.where(few), label[few], fit, kinds[few], draws=draws)
    _curve(points).write(out, "learning-curve")
    pictures.learning(points, out / "learning-curve", title=part.modality)
    (out / "learning-curve.json").write_text(json.dumps([asdict(p) for p in points], indent=1) + "\n")
    click.echo(f"{part.modality}: {out}")


def _first(part: _Part, recipe: Recipe) -> Floats:
    """(P,) held-out scores of heads fitted as those of version 1: no later features, fewer copies."""
    known = part.samples.copy <= FIRST_COPIES[part.modality]
    later = PER_CHANNEL * SHADED_CHANNELS[part.modality] + (part.modality in QUIET_CHANNEL)
    samples = part.samples.where(known)
    samples = replace(samples, features=samples.features[:, : samples.features.shape[1] - later])
    return leave_subjects_out(samples, part.label[known], recipe.ridge).score[samples.copy == 0]


def _fit(recipe: Recipe, taught: Taught, types: tuple[str, ...]) -> Callable[..., Callable[..., Floats]]:
    def fit(samples: Samples, label: Floats) -> Callable[..., Floats]:
        heads = fit_heads(samples, label, recipe.ridge, types, taught)
        return lambda features: np.hstack([heads.score(features), heads.kind(features)])

    return fit


def _ladders(samples: Samples, scores: dict[str, Floats], label: Floats) -> Table:
    rows = []
    for name, given in scores.items():
        f = figures(samples, given, label)
        rows.append(
            (name, f.srocc_within, f.worst_volume, 100 * f.pairs, 100 * f.pairs_agreed, 100 * f.pairs_clean)
        )
    names = ("SROCC within a volume", "its lowest")
    steps = ("steps in order, %", "where teachers agree, %", "with the clean image, %")
    return Table(
        title="Order within volumes and ladders",
        columns=(
            Column(name="scores", numeric=False),
            *(Column(name=name) for name in names),
            *(Column(name=name, digits=1) for name in steps),
        ),
        rows=tuple(rows),
    )


def _curve(points: list[Point]) -> Table:
    rows: list[tuple[Cell, ...]] = [(str(p.subjects), *(p.mean[name] for name in NAMES)) for p in points]
    reached = [subjects_for(points, name, AIMS[name]) for name in NAMES]
    rows.append(("aim", *(AIMS[name] for name in NAMES)))
    rows.append(("subjects for the aim", *(float(round(n)) if n < 1e6 else None for n in reached)))
    return Table(
        title="Figures by the number of training subjects",
        columns=(Column(name="subjects", numeric=False), *(Column(name=name) for name in NAMES)),
        rows=tuple(rows),
        notes=("1 - figure = b n^-c, fitted in logarithms; far beyond the largest n it is a guess.",),
    )


if __name__ == "__main__":
    main()
