"""Pictures of agreement: labels against predictions with the fitted logistic, and Bland-Altman.

Figures are made without pyplot, so no window, no global state and no display are needed; one call writes a
PNG and an SVG of the same picture. Colours are Okabe and Ito's, which colour-blind readers tell apart; what
they say, line styles say too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from train.evaluation.correlation import Fit, Floats
from train.evaluation.significance import Interval

BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#595959"
SIZE_INCHES = (6.0, 4.5)
DOTS_PER_INCH = 150
SPREAD = 1.96  #: standard deviations on either side of the bias that hold 95 % of normal differences

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "qagate",
}


def scatter(
    predicted: Floats,
    labels: Floats,
    fits: Sequence[tuple[str, Fit]],
    stem: Path,
    *,
    title: str,
    told: Sequence[str] = (),
    unit: str = "",
) -> list[Path]:
    """Labels over predictions (N,), with up to two named curves and lines of text (figures and intervals).

    stem: path without suffix; its folder exists. unit: of the labels, for the axes. A fit that was not
    possible is left out.
    """
    with mpl.rc_context(STYLE):
        figure, axes = figure_of(title)
        _dots(axes, predicted, labels)
        x = np.linspace(float(np.min(predicted)), float(np.max(predicted)), 400)
        styles = ((VERMILION, "-"), (GREEN, "--"))
        drawn = [(name, fit) for name, fit in fits if fit.parameters]
        for (name, fit), (colour, line) in zip(drawn, styles, strict=False):
            told_as = name if fit.monotone else f"{name}\n(not monotone)"
            axes.plot(x, fit(x), line, color=colour, linewidth=2, label=told_as)
        axes.set_xlabel(_with_unit("prediction", unit))
        axes.set_ylabel(_with_unit("label", unit))
        if drawn:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
        if told:
            lines = "\n".join(told)
            axes.text(
                1.03, 0, lines, transform=axes.transAxes, va="bottom", color=GREY, fontsize=9, linespacing=1.4
            )
        return write_figure(figure, stem)


def identity(
    x: Floats, y: Floats, stem: Path, *, title: str, names: tuple[str, str], unit: str = ""
) -> list[Path]:
    """y over x (N,), both from 0 to 1, with the line of equal values. stem: path without suffix."""
    with mpl.rc_context(STYLE):
        figure, axes = figure_of(title)
        _dots(axes, x, y)
        axes.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set(xlabel=_with_unit(names[0], unit), ylabel=_with_unit(names[1], unit))
        return write_figure(figure, stem)


def bland_altman(
    predicted: Floats,
    labels: Floats,
    stem: Path,
    *,
    title: str,
    unit: str = "",
    names: tuple[str, str] = ("prediction", "label"),
) -> list[Path]:
    """Differences prediction - label over their means: bias and limits of agreement with 95 % intervals.

    Meaningful only where both are on one scale. stem: path without suffix; its folder exists. names: of the
    two, for the axes.
    """
    mean, difference = (predicted + labels) / 2, predicted - labels
    count = len(difference)
    bias, spread = float(difference.mean()), float(difference.std(ddof=1)) if count > 1 else 0.0
    quantile = float(stats.t.isf(0.025, count - 1)) if count > 1 else 0.0
    with mpl.rc_context(STYLE):
        figure, axes = figure_of(title)
        _dots(axes, mean, difference)
        axes.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
        lines = [("bias", bias, 1.0, "-", VERMILION)]
        if spread:
            lines.append((f"+{SPREAD} SD", bias + SPREAD * spread, 3.0, "--", GREEN))
            lines.append((f"−{SPREAD} SD", bias - SPREAD * spread, 3.0, "--", GREEN))
        for name, at, variance, line, colour in lines:
            half = quantile * spread * np.sqrt(variance / count)
            axes.axhspan(at - half, at + half, color=colour, alpha=0.12, linewidth=0)
            axes.axhline(at, linestyle=line, color=colour, linewidth=1.8)
            told = f"{name}: {at:+.3f}\n[{at - half:+.3f}, {at + half:+.3f}]".replace("-", "−")
            axes.annotate(
                told, (1.02, at), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=GREY
            )
        axes.set_xlabel(_with_unit(f"mean of {names[0]} and {names[1]}", unit))
        axes.set_ylabel(_with_unit(f"{names[0]} − {names[1]}", unit))
        return write_figure(figure, stem)


def curves(
    x: Sequence[float], lines: Mapping[str, Sequence[float]], stem: Path, *, title: str, along: str
) -> list[Path]:
    """Up to three named lines over x (N,); what is NaN leaves a gap. stem: path without suffix."""
    with mpl.rc_context(STYLE):
        figure, axes = figure_of(title)
        styles = ((BLUE, "-"), (VERMILION, "--"), (GREEN, ":"))
        for (name, y), (colour, line) in zip(lines.items(), styles, strict=False):
            axes.plot(x, y, line, color=colour, linewidth=1.8, label=name.replace("_", " "))
        axes.set_xlabel(along)
        axes.legend()
        return write_figure(figure, stem)


def differences(
    names: Sequence[str],
    found: Sequence[Interval],
    theirs: Sequence[float | None],
    stem: Path,
    *,
    title: str,
    along: str,
) -> list[Path]:
    """A line for each name: a difference with its interval, and below it the paper's where it prints one.

    stem: path without suffix; its folder exists.
    """
    with mpl.rc_context(STYLE):
        figure, axes = figure_of(title)
        figure.set_size_inches(SIZE_INCHES[0] * 1.3, 1.6 + 0.45 * len(names))
        at = np.arange(len(names), dtype=float)[::-1]
        axes.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
        for place, one in zip(at, found, strict=True):
            axes.plot([one.low, one.high], [place + 0.1] * 2, color=BLUE, linewidth=2)
        values = [one.value for one in found]
        axes.plot(values, at + 0.1, "o", color=BLUE, label=f"here, with {found[0].confidence:.0%} interval")
        told = [(value, place - 0.15) for value, place in zip(theirs, at, strict=True) if value is not None]
        if told:
            axes.plot(*zip(*told, strict=True), "D", color=VERMILION, markersize=5, label="the paper")
        axes.set_yticks(at, labels=names)
        axes.set_xlabel(along)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
        return write_figure(figure, stem)


def figure_of(title: str) -> tuple[Figure, Axes]:
    """A figure without a window, its one axes titled on the left."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left")
    return figure, axes


def _dots(axes: Axes, x: Floats, y: Floats) -> None:
    size, alpha = (22, 0.6) if len(x) < 500 else (10, 0.35)
    axes.scatter(x, y, s=size, alpha=alpha, color=BLUE, linewidths=0)


def _with_unit(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def write_figure(figure: Figure, stem: Path) -> list[Path]:
    """stem.png and stem.svg, the same bytes for the same figure."""
    written = []
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        written.append(stem.with_name(stem.name + suffix))
        figure.savefig(written[-1], dpi=DOTS_PER_INCH, metadata=metadata)
    return written
