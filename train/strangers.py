"""Pictures that are no CT or MR slice: what the default model has to decline, and what teaches it to.

Photographs, textures, microscopy, astronomy and pages come with scikit-image, scikit-learn and Matplotlib;
the rest is drawn. A picture reaches the gate as a series does whose header claims CT or MR.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import skimage.data
from PIL import Image, ImageDraw
from scipy import ndimage
from sklearn.datasets import load_sample_images

from train.simulate import SIMULATORS, degrade

Array = npt.NDArray[np.float32]

SIDE = 256  #: pixels of what is drawn, and of the crops
CROPS = 3  #: of each picture, beside the whole one
DRAWN = 4  #: of each kind
OBJECTS = 40  #: digital phantoms

#: Files of scikit-image's data folder (CC0, public domain or BSD) by what they show.
_FILES = {
    "photograph": ("astronaut", "camera", "chelsea", "coffee", "motorcycle_left", "rocket.jpg"),
    "object": ("coins", "horse", "clock_motion", "logo", "color"),
    "texture": ("brick", "grass", "gravel", "chessboard_GRAY"),
    "microscopy": ("cell", "ihc", "microaneurysms", "retina.jpg"),
    "sky": ("hubble_deep_field.jpg", "moon"),
    "page": ("page", "text"),
}
CT_RANGES_HU = ((0.0, 255.0), (-1000.0, 1000.0))  #: a screenshot's gray values as HU; stretched to body's


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """One picture, or a crop of it."""

    kind: str  #: what it shows
    name: str  #: crops of one picture share it
    pixels: Array  #: (rows, columns), as the gate would get them


def strangers(modality: str, *, seed: int = 0) -> list[Stranger]:
    """Every picture, whole and in crops, as images of the modality."""
    rng = np.random.default_rng(seed)
    found = []
    for kind, name, picture in [*_photographs(), *_drawn(rng)]:
        for number, part in enumerate([picture, *_crops(picture, rng)]):
            low, high = CT_RANGES_HU[number % 2] if modality == "CT" else (0.0, 1000.0)
            found.append(Stranger(kind=kind, name=name, pixels=low + (high - low) * part))
    return found


def test_objects(modality: str, *, seed: int = 0) -> list[Array]:
    """Digital phantoms of quality assurance as slices of the modality: the gate must not decline these.

    Each stands there as it is, and spoilt by one artefact after another at severity 1 to 5.
    """
    rng = np.random.default_rng(seed)
    low, high = (-1000.0, 400.0) if modality == "CT" else (0.0, 1000.0)
    artefacts = sorted(SIMULATORS[modality])
    found = []
    for number in range(OBJECTS):
        clean = np.asarray(low + (high - low) * _test_object(rng), dtype=np.float32)
        artefact, severity = artefacts[number % len(artefacts)], 1 + number // len(artefacts) % 5
        found += [clean, degrade(clean, artefact, float(severity), rng, modality)]
    return found


def _test_object(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A filled disc with inserts, rows of holes, a grid or a bar, slightly blurred, shaded and noisy."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    radius, level = rng.uniform(0.6, 0.9), rng.uniform(0.5, 0.8)
    distance = np.hypot(x * rng.uniform(0.95, 1.05), y)
    image = np.where(distance < radius, level, 0.0)
    for _ in range(int(rng.integers(0, 9))):
        angle, far, size = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0, 0.75), rng.uniform(0.03, 0.15)
        image[np.hypot(x - far * np.cos(angle), y - far * np.sin(angle)) < size] = rng.uniform(0.2, 1)
    inner = distance < 0.8 * radius
    if rng.random() < 0.4:
        top, left = rng.uniform(-0.4, 0.2, 2)
        step = rng.uniform(0.03, 0.08)
        box = inner & (y > top) & (y < top + 0.3) & (x > left) & (x < left + 0.3)
        image[box & ((y % step) < step / 2) & ((x % step) < step / 2)] = 0.1
    if rng.random() < 0.3:
        image[inner & (((x % 0.2) < 0.02) | ((y % 0.2) < 0.02))] = 0.15
    if rng.random() < 0.5:
        image[(np.abs(x) < rng.uniform(0.2, 0.6)) & (np.abs(y) < 0.05)] = rng.uniform(0, 0.4)
    image = ndimage.gaussian_filter(image, rng.uniform(0.4, 1.2)) * (1 + rng.uniform(-0.2, 0.2) * y)
    noise = rng.uniform(0.002, 0.03) * rng.standard_normal((2, SIDE, SIDE))
    return np.asarray(np.clip(np.hypot(image + noise[0], noise[1]), 0, 1))


def _photographs() -> Iterator[tuple[str, str, Array]]:
    folder = Path(skimage.data.__file__).parent
    for kind, files in _FILES.items():
        for file in files:
            yield kind, file, _gray(folder / (file if "." in file else f"{file}.png"))
    yield (
        "photograph",
        "grace_hopper",
        _gray(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"),
    )
    for name, image in zip(("china", "flower"), load_sample_images().images, strict=True):
        yield "photograph", name, np.asarray(image.mean(axis=2) / 255, dtype=np.float32)


def _gray(path: Path) -> Array:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB").convert("L"), dtype=np.float32) / np.float32(255)


def _crops(picture: Array, rng: np.random.Generator) -> Iterator[Array]:
    rows, columns = picture.shape
    if min(rows, columns) <= SIDE:
        return
    for _ in range(CROPS):
        top, left = rng.integers(rows - SIDE), rng.integers(columns - SIDE)
        yield picture[top : top + SIDE, left : left + SIDE]


def _drawn(rng: np.random.Generator) -> Iterator[tuple[str, str, Array]]:
    kinds = {
        "noise": _noise, "blank": _blank, "gradient": _gradient, "stripes": _stripes, "drawing": _drawing,
        "report": _report, "ultrasound-like": _sector,
    }  # fmt: skip
    for kind, draw in kinds.items():
        for number in range(DRAWN):
            yield kind, f"{kind} {number}", np.clip(draw(rng), 0, 1).astype(np.float32)


def _noise(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """White to smooth."""
    noise = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), rng.choice([0, 0.5, 1, 3]))
    return np.asarray(0.5 + 0.2 * noise / noise.std())


def _blank(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """One level, with or without a trace of noise."""
    return np.asarray(rng.uniform(0, 1) + rng.choice([0, 0.003]) * rng.standard_normal((SIDE, SIDE)))


def _gradient(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    a, b, c = rng.standard_normal(3)
    return np.asarray(0.5 + 0.3 * (a * x + b * y + c * x * y))


def _stripes(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    y, x = np.mgrid[:SIDE, :SIDE]
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 40)
    return np.asarray(0.5 + 0.5 * np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period))


def _drawing(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Outlines and filled shapes on black or white."""
    paper = int(rng.choice([0, 255]))
    image = Image.new("L", (SIDE, SIDE), paper)
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(5, 15))):
        x, y, across, down = rng.integers(0, SIDE, 4)
        box = (int(min(x, across)), int(min(y, down)), int(max(x, across)), int(max(y, down)))
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        fill = int(rng.integers(256)) if rng.random() < 0.4 else None
        shape(box, fill=fill, outline=255 - paper, width=int(rng.integers(1, 4)))
    return np.asarray(image, dtype=np.float64) / 255


def _report(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Lines of text, as a dose report or a saved screen has."""
    paper = int(rng.choice([0, 255]))
    image = Image.new("L", (SIDE, SIDE), paper)
    pen = ImageDraw.Draw(image)
    for row in range(6, SIDE - 14, 14):
        words = ["".join(chr(int(c)) for c in rng.integers(48, 122, int(n))) for n in rng.integers(2, 9, 5)]
        if rng.random() < 0.8:
            pen.text((6, row), " ".join(words), fill=255 - paper)
    return np.asarray(image, dtype=np.float64) / 255


def _sector(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Speckle in a fan that widens with depth, black around it."""
    y, x = np.mgrid[0 : 1 : SIDE * 1j, -0.5 : 0.5 : SIDE * 1j]
    depth, angle = np.hypot(x, y + 0.1), np.arctan2(x, y + 0.1)
    speckle = ndimage.gaussian_filter(rng.standard_normal((2, SIDE, SIDE)), (0, 1, 2))
    tissue = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 20)
    echo = np.hypot(*speckle) / speckle.std() * np.exp(1.5 * tissue / tissue.std() - 1.2 * depth)
    fan = (np.abs(angle) < rng.uniform(0.5, 0.8)) & (depth > 0.12) & (depth < 1.05)
    return np.asarray(np.log1p(3 * echo * fan) / 3)
