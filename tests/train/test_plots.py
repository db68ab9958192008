from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from train.evaluation.correlation import fit_logistic
from train.evaluation.plots import bland_altman, scatter

Draw = Callable[[np.ndarray, np.ndarray, Path], list[Path]]


def _scatter(predicted: np.ndarray, labels: np.ndarray, stem: Path) -> list[Path]:
    fits = [(f"{n}-parameter", fit_logistic(predicted, labels, n)) for n in (4, 5)]
    return scatter(predicted, labels, fits, stem, title="A title", told=["PLCC 0.93"], unit="MOS")


def _bland_altman(predicted: np.ndarray, labels: np.ndarray, stem: Path) -> list[Path]:
    return bland_altman(predicted, labels, stem, title="A title", unit="MOS")


def _pair(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.uniform(0, 4, count)
    return labels + rng.normal(0, 0.4, count), labels


@pytest.mark.parametrize("draw", [_scatter, _bland_altman])
def test_a_png_and_an_svg_of_the_same_shape_are_written(draw: Draw, tmp_path: Path) -> None:
    png, svg = draw(*_pair(), tmp_path / "a.b")
    assert (png.name, svg.name) == ("a.b.png", "a.b.svg")
    with Image.open(png) as image:
        assert image.format == "PNG" and image.size == (900, 675)
        gray = np.asarray(image.convert("L"))
        colours = np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)
    assert gray[0, 0] == 255 and 0.02 < (gray < 250).mean() < 0.5
    assert (colours == [0xD5, 0x5E, 0x00]).all(axis=1).any()
    root = ElementTree.parse(svg).getroot()
    assert root.tag.endswith("svg") and float(root.attrib["width"].removesuffix("pt")) == 432


@pytest.mark.parametrize("draw", [_scatter, _bland_altman])
def test_the_same_data_give_the_same_files(draw: Draw, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in draw(*_pair(), tmp_path / "a")]
    assert first == [path.read_bytes() for path in draw(*_pair(), tmp_path / "b")]
    predicted, labels = _pair()
    assert first != [path.read_bytes() for path in draw(predicted + 0.1 * labels, labels, tmp_path / "c")]


@pytest.mark.parametrize("draw", [_scatter, _bland_altman])
@pytest.mark.parametrize(
    "predicted, labels",
    [
        (np.ones(8), np.arange(8.0)),  # no fit
        (np.arange(8.0), np.arange(8.0)),  # no spread
        (np.ones(1), np.ones(1)),
    ],
)
def test_degenerate_data_are_drawn(
    draw: Draw, predicted: np.ndarray, labels: np.ndarray, tmp_path: Path
) -> None:
    assert all(path.stat().st_size for path in draw(predicted, labels, tmp_path / "a"))


def test_no_window_system_and_no_pyplot_is_needed() -> None:
    code = "import sys, train.evaluation.report; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
