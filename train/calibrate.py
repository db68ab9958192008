"""A model's quality on the readers' own scale, and which threshold gives which alerts; fitted to ratings.

Isotonic regression: the readers' mean rises with quality, and no form is assumed. Intervals are percentiles
of fits to redrawn studies. What serving reads of it is the table of `qagate.gate.calibration`.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from qagate.gate.calibration import OperatingPoint, ReadersScale, dumps, trade_off
from qagate.label import LabelKind, Scale
from qagate.store.labels import StoredLabel
from train.evaluation.plots import BLUE, GREEN, GREY, VERMILION

Floats = npt.NDArray[np.float64]

FEWEST = 20  #: rated series; with fewer an isotonic step is one reader's mood
_KNOTS = 33
_RESAMPLES = 500
_CONFIDENCE = 0.95
_FOLDS = 5


class TooFewRatings(ValueError):
    """There is nothing to calibrate to; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """One series the model judged and readers rated."""

    study: str  #: series of one study are no independent evidence
    quality: float
    rating: float  #: mean of the readers, on the scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A readers' scale with what it was fitted to and how well it does."""

    scale: ReadersScale
    rated: tuple[Rated, ...]
    held_out_error: float  #: mean absolute difference to the readers on studies left out of the fit
    raw_error: float  #: the same of the quality stretched to the scale's ends

    def bad(self, limit: float) -> list[bool]:
        """Whether the readers call each series bad: their mean is at `limit` or on its worse side."""
        sign = 1 if self.scale.best > self.scale.worst else -1
        return [sign * (one.rating - limit) <= 0 for one in self.rated]

    def trade_off(self, limit: float, every: Sequence[float] = ()) -> tuple[OperatingPoint, ...]:
        """What each threshold would do; every: qualities of all series, for the alert rate."""
        return trade_off([one.quality for one in self.rated], self.bad(limit), every)


def collect(
    labels: Iterable[StoredLabel], qualities: Mapping[tuple[str, int], float]
) -> tuple[Scale, list[Rated]]:
    """The scale most ratings are on, and every series rated on it that the model judged.

    labels: the last word of each rater. qualities: (series, revision) -> the model's. Raises TooFewRatings.
    """
    ratings = [
        one for one in labels if one.label.kind is LabelKind.RATING and one.label.sop_instance_uid is None
    ]
    scales = Counter(one.label.scale for one in ratings if one.label.scale is not None)
    if not scales:
        raise TooFewRatings("no series was rated; collect ratings, or `qagate labels import` them")
    ((scale, _),) = scales.most_common(1)
    by_series: dict[tuple[str, int], list[StoredLabel]] = defaultdict(list)
    for one in ratings:
        if one.label.scale == scale:
            by_series[one.label.series_instance_uid, one.label.revision or 0].append(one)
    rated = [
        Rated(
            study=of[0].study_instance_uid,
            quality=qualities[key],
            rating=float(np.mean([one.label.score for one in of if one.label.score is not None])),
        )
        for key, of in by_series.items()
        if key in qualities
    ]
    return scale, rated


def fit(scale: Scale, rated: Sequence[Rated], *, seed: int = 0) -> Calibrated:
    """Fit the readers' scale. Raises TooFewRatings for too few, or constant, ratings or qualities."""
    if len(rated) < FEWEST:
        raise TooFewRatings(
            f"{len(rated)} series were rated and judged by this model; {FEWEST} are needed: rate more, or "
            "let the model score in shadow"
        )
    quality, rating = (np.array([getattr(one, name) for one in rated]) for name in ("quality", "rating"))
    for name, values in (("ratings", rating), ("qualities", quality)):
        if np.ptp(values) == 0:
            raise TooFewRatings(f"all {len(values)} {name} are {values[0]:g}: there is nothing to tell apart")
    studies = np.array([one.study for one in rated])
    knots = np.unique(np.quantile(quality, np.linspace(0, 1, _KNOTS)))
    low, high = _interval(quality, rating, studies, scale, knots, seed)
    table = ReadersScale(
        quality=tuple(map(float, knots)),
        rating=tuple(map(float, _isotonic(quality, rating, scale, knots))),
        low=tuple(map(float, low)),
        high=tuple(map(float, high)),
        worst=float(scale.low),
        best=float(scale.high),
        cases=len(rated),
    )
    stretched = scale.low + quality * (scale.high - scale.low)
    return Calibrated(
        scale=table,
        rated=tuple(rated),
        held_out_error=_held_out(quality, rating, studies, scale, seed),
        raw_error=float(np.abs(stretched - rating).mean()),
    )


def _isotonic(quality: Floats, rating: Floats, scale: Scale, at: Floats) -> Floats:
    """The fit's value at each quality `at`: a line between the levels, flat beyond them."""
    levels, place = np.unique(quality, return_inverse=True)
    weights = np.bincount(place).astype(float)
    means = np.bincount(place, rating) / weights
    fitted = isotonic_regression(means, weights=weights, increasing=scale.high > scale.low)
    return np.asarray(np.interp(at, levels, fitted.x), float)


def _interval(
    quality: Floats, rating: Floats, studies: npt.NDArray[np.str_], scale: Scale, knots: Floats, seed: int
) -> tuple[Floats, Floats]:
    """Ends towards the worst and towards the best at each knot, from fits to redrawn studies."""
    units = [np.flatnonzero(studies == study) for study in np.unique(studies)]
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(_RESAMPLES):
        rows = np.concatenate([units[unit] for unit in random.integers(0, len(units), len(units))])
        drawn.append(_isotonic(quality[rows], rating[rows], scale, knots))
    tails = np.quantile(drawn, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2], axis=0)
    return (tails[0], tails[1]) if scale.high > scale.low else (tails[1], tails[0])


def _held_out(
    quality: Floats, rating: Floats, studies: npt.NDArray[np.str_], scale: Scale, seed: int
) -> float:
    names = np.random.default_rng(seed).permutation(np.unique(studies))
    fold = {name: number % _FOLDS for number, name in enumerate(names)}
    folds = np.array([fold[study] for study in studies])
    error = np.full(len(quality), np.nan)
    for number in np.unique(folds):
        out = folds == number
        if (~out).any():
            error[out] = np.abs(_isotonic(quality[~out], rating[~out], scale, quality[out]) - rating[out])
    return float(np.nanmean(error)) if np.isfinite(error).any() else float("nan")


def write(
    calibrated: Calibrated, points: Sequence[OperatingPoint], folder: Path, *, chosen: Mapping[str, float]
) -> None:
    """The table, the trade-off and their pictures into a folder. chosen: name -> threshold to mark."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "readers-scale.json").write_text(dumps(calibrated.scale) + "\n", encoding="utf-8")
    (folder / "thresholds.csv").write_text(_table(points), encoding="utf-8")
    with mpl.rc_context(
        {
            "font.size": 10,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E3E3E3",
            "svg.hashsalt": "qagate",
        }
    ):
        _draw_scale(calibrated, folder / "readers-scale.png")
        _draw_trade_off(points, chosen, folder / "thresholds.png")


def _table(points: Sequence[OperatingPoint]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ("threshold", "alert_rate", "alerts", "ppv", "ppv_low", "ppv_high", "sensitivity")
    writer.writerow(names)
    for point in points:
        values = (getattr(point, name) for name in names)
        writer.writerow(["" if value is None else f"{value:.6g}" for value in values])
    return out.getvalue()


def _draw_scale(calibrated: Calibrated, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scale = calibrated.scale
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot()
    quality, rating = zip(*((one.quality, one.rating) for one in calibrated.rated), strict=True)
    axes.scatter(quality, rating, s=14, color=BLUE, alpha=0.5, label=f"{len(quality)} rated series")
    axes.plot(scale.quality, scale.rating, color=VERMILION, label="isotonic fit")
    axes.fill_between(scale.quality, scale.low, scale.high, color=VERMILION, alpha=0.2, label="95 % interval")
    axes.set(
        xlabel="quality by the model", ylabel=f"readers' mean ({scale.worst:g} worst, {scale.best:g} best)"
    )
    axes.set_title(
        f"readers' scale: error {calibrated.held_out_error:.2f} on studies left out, "
        f"{calibrated.raw_error:.2f} uncalibrated", fontsize=10,
    )  # fmt: skip
    axes.legend(loc="best")
    FigureCanvasAgg(figure).print_figure(path, dpi=150)


def _draw_trade_off(points: Sequence[OperatingPoint], chosen: Mapping[str, float], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot()
    at = [point.threshold for point in points]
    some = [point for point in points if point.ppv is not None]
    axes.plot(at, [point.alert_rate for point in points], color=GREY, label="alert rate of all series")
    axes.plot(
        [p.threshold for p in some],
        [p.ppv for p in some if p.ppv is not None],
        color=BLUE,
        ls="--",
        label="alerts that are right",
    )
    axes.fill_between(
        [p.threshold for p in some],
        [p.ppv_low for p in some],
        [p.ppv_high for p in some],
        color=BLUE,
        alpha=0.15,
    )
    found = [point for point in points if point.sensitivity is not None]
    axes.plot(
        [p.threshold for p in found],
        [p.sensitivity for p in found if p.sensitivity is not None],
        color=GREEN,
        ls="-.",
        label="bad series found",
    )
    for name, threshold in chosen.items():
        axes.axvline(threshold, color=VERMILION, lw=1)
        axes.annotate(f" {name}: {threshold:.2f}", (threshold, 0.02), color=VERMILION, fontsize=9)
    axes.set(xlabel="threshold on quality", ylim=(0, 1.02), title="what a threshold does")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    FigureCanvasAgg(figure).print_figure(path, dpi=150)
