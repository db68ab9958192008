"""What held-out predictions are worth: figures, pictures, and the map from score to quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import optimize

from models.network_file import Calibration
from train.data.case import QUALITY, Case
from train.evaluation import correlation
from train.evaluation.estimates import POOLED, RAW
from train.evaluation.report import evaluate
from train.evaluation.significance import RESAMPLES
from train.recipe import Recipe
from train.run.predict import Prediction

Rows = Sequence[tuple[str, Prediction, Prediction | None]]
_NAMES = ("PLCC", "SROCC", "KROCC", "RMSE")


def judge(
    rows: Rows,
    cases: Sequence[Case],
    recipe: Recipe,
    folder: Path,
    *,
    resamples: int = RESAMPLES,
    pictures: bool = True,
) -> dict[str, float]:
    """Tables and plots of each task into the folder; name -> figure of the held-out predictions.

    Predictions and labels are put on 0..1, the labels' range. Figures of an earlier call are replaced.
    resamples: draws behind each interval. pictures: plots too.
    """
    found: dict[str, float] = {}
    for task in sorted({one.task for _, one, _ in rows}):
        some = [row for row in rows if row[1].task == task]
        prefix = "" if task == QUALITY else f"{task}_"
        found |= {
            f"{prefix}{name}": value
            for name, value in _judged(some, cases, recipe, folder / task, resamples, pictures).items()
        }
    return found


def _judged(
    rows: Rows, cases: Sequence[Case], recipe: Recipe, folder: Path, resamples: int, pictures: bool
) -> dict[str, float]:
    labels = np.array([cases[one.case].targets[one.task] for _, one, _ in rows])
    predicted = np.array([one.quality for _, one, _ in rows])
    folds = [fold for fold, _, _ in rows]
    grades = None
    if rows[0][1].grades:
        grades = np.array([one.grades for _, one, _ in rows])
    result = evaluate(
        None if grades is not None else predicted,
        labels,
        groups=[cases[one.case].unit for _, one, _ in rows],
        folds=folds if len(set(folds)) > 1 else None,
        grades=grades,
        grade_step=1.0 if grades is None else 1 / (grades.shape[1] - 1),
        resamples=resamples,
        seed=recipe.seed,
    )
    folder.mkdir(parents=True, exist_ok=True)
    if pictures:
        result.write(folder)
    else:
        result.table().write(folder, "table")
    scores = "as given" if grades is None else "continuous"
    found: dict[str, float] = {"images": float(len(labels))}
    for name in _NAMES:
        interval = result[scores, POOLED, RAW, name]
        found |= {name.lower(): interval.value, f"{name.lower()}_low": interval.low,
                  f"{name.lower()}_high": interval.high}  # fmt: skip
    found |= _by_modality(rows, cases, predicted, labels)
    if all(other is not None for _, _, other in rows):
        other = np.array([other.quality for _, _, other in rows if other is not None])
        told = "last_epoch" if recipe.stopping.keep == "best" else "best_epoch"
        found[f"srocc_of_the_{told}"] = correlation.srocc(other, labels)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _by_modality(
    rows: Rows, cases: Sequence[Case], predicted: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    modalities = np.array([cases[one.case].modality for _, one, _ in rows])
    if len(set(modalities)) < 2:
        return {}
    return {
        f"srocc_{modality.lower() or 'none'}": correlation.srocc(predicted[modalities == modality],
                                                                 labels[modalities == modality])
        for modality in sorted(set(modalities))
    }  # fmt: skip


def calibrate(rows: Rows, cases: Sequence[Case]) -> Calibration:
    """The logistic map of least cross-entropy from scores to quality, on cases not trained on.

    Without scores of quality, or where all are alike, the map of a score that is a quality already.
    """
    told = [one for _, one, _ in rows if one.task == QUALITY]
    scores = np.array([one.score for one in told])
    if len(told) < 3 or np.ptp(scores) == 0:
        return Calibration(middle=0.5, spread=0.25)
    wanted = np.array([cases[one.case].targets[QUALITY] for one in told])
    unit = float(scores.std())

    def loss(parameters: np.ndarray) -> float:
        logits = (scores - parameters[0]) / (unit * np.exp(parameters[1]))
        return float(np.mean(np.logaddexp(0, logits) - wanted * logits))

    best = optimize.minimize(loss, [float(np.median(scores)), 0.0], method="Nelder-Mead").x
    return Calibration(middle=float(best[0]), spread=float(unit * np.exp(np.clip(best[1], -10, 10))))
