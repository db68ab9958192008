"""Pictures of a report: two values of each series against each other, and their differences."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from train.acceptance.document import Picture, Pictures
from train.evaluation import plots

_UNIT = "quality"
FEWEST = 3  #: series below which a picture says nothing


def agreement(pairs: Sequence[tuple[float, float]], names: tuple[str, str], *, title: str) -> Pictures | None:
    """Second value over the first of each series, and a Bland-Altman plot; None for fewer than FEWEST."""
    if len(pairs) < FEWEST:
        return None
    first, second = np.array(pairs, float).T
    counted = f"{title}, {len(pairs)} series"
    return Pictures(
        pictures=(
            _drawn(
                lambda stem: plots.identity(first, second, stem, title=counted, names=names, unit=_UNIT),
                f"{counted}: quality by the {names[1]} over that by the {names[0]}; a dot a "
                "series. On the dashed line both are equal.",
            ),
            _drawn(
                lambda stem: plots.bland_altman(
                    second, first, stem, title=counted, names=names[::-1], unit=_UNIT
                ),
                f"{counted}, Bland-Altman: {names[1]} − {names[0]}, over the mean of both, with bias, limits "
                "of agreement (1.96 standard deviations) and their 95 % intervals.",
            ),
        )
    )


def _drawn(draw: Callable[[Path], Sequence[Path]], caption: str) -> Picture:
    with tempfile.TemporaryDirectory() as folder:
        png, svg = draw(Path(folder) / "picture")
        return Picture(png=png.read_bytes(), svg=svg.read_bytes(), caption=caption)
