"""Plots of calibration, of the types' confidence, and of the learning curve, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from train.evaluation.correlation import Floats
from train.evaluation.plots import BLUE, GREY, STYLE, VERMILION, curves, figure_of, write_figure
from train.fit import QUALITY
from train.study.curve import NAMES, Point

BINS = 6


def quality_by_severity(severity: Floats, quality: Floats, stem: Path, *, title: str) -> list[Path]:
    """Quality (N,) of left-out images by severity (N,) 0 to 5, beside what the calibration aims at."""
    steps = np.round(severity).astype(int)
    with mpl.rc_context(STYLE):
        figure, axes = figure_of(f"{title}: quality of images of left-out subjects")
        groups = [quality[steps == step] for step in range(len(QUALITY))]
        drawn = axes.boxplot(
            groups,
            positions=range(len(QUALITY)),
            widths=0.5,
            whis=(10, 90),
            showfliers=False,
            patch_artist=True,
        )
        for box in drawn["boxes"]:
            box.set(facecolor=BLUE, alpha=0.35, edgecolor=BLUE)
        for line in (*drawn["whiskers"], *drawn["caps"], *drawn["medians"]):
            line.set(color=BLUE)
        axes.plot(range(len(QUALITY)), QUALITY, "o--", color=VERMILION, label="aim", clip_on=False)
        axes.set(xlabel="severity (0: clean)", ylabel="quality", ylim=(0, 1))
        axes.text(
            0.01, 0.02, "box: quartiles; whiskers: 10th to 90th percentile",
            transform=axes.transAxes, color=GREY, fontsize=9,
        )  # fmt: skip
        axes.legend()
        return write_figure(figure, stem)


def reliability(confidence: Floats, right: npt.NDArray[np.bool_], stem: Path, *, title: str) -> list[Path]:
    """How often the type named is right (N,), by the probability given to it (N,), in bins of equal count."""
    order = np.argsort(confidence)
    parts = np.array_split(order, min(BINS, len(order)))
    said = [float(confidence[part].mean()) for part in parts]
    was = [float(right[part].mean()) for part in parts]
    with mpl.rc_context(STYLE):
        figure, axes = figure_of(f"{title}: confidence in the type, left-out subjects")
        axes.plot((0, 1), (0, 1), ":", color=GREY, label="exact")
        axes.plot(said, was, "o-", color=BLUE, label=f"found, {len(parts[0])} images a point", clip_on=False)
        axes.set(xlabel="probability of the type named", ylabel="share right", xlim=(0, 1), ylim=(0, 1))
        axes.legend(loc="upper left")
        return write_figure(figure, stem)


def learning(points: Sequence[Point], stem: Path, *, title: str) -> list[Path]:
    """Three of the figures over the number of training subjects."""
    told = {"pooled SROCC": NAMES[0], "SROCC relative": NAMES[1], "types right": NAMES[3]}
    return curves(
        [float(point.subjects) for point in points],
        {name: [point.mean[key] for point in points] for name, key in told.items()},
        stem,
        title=f"{title}: subjects never seen",
        along="training subjects",
    )
