"""Clean reference slices for simulation, from a folder of volumes (NIfTI, NRRD) described by the recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel
import nrrd
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class ReferenceError(ValueError):
    """A reference volume cannot be used; the message names it and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One reference volume as the recipe names it."""

    file: str  #: name in the references folder
    subject: str  #: volumes of one person share it and are held out together
    modality: str  #: "CT" or "MR"
    planes: tuple[int, ...] = (2,)  #: array axes to slice across, 2 is the stored plane
    slices: int = 4  #: slices taken a plane, evenly from the middle 60 %
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)  #: pixels cut off at top, bottom, left, right
    square: bool = False  #: pad with background to a square (cropped CT fields)
    source: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One clean slice: pixels (rows, columns) float32 in HU or arbitrary units."""

    name: str
    subject: str
    modality: str
    pixels: Array


def read_volume(path: Path) -> Array:
    """The volume's array, rescaled. Raises ReferenceError when it is absent or of another format."""
    if not path.is_file():
        raise ReferenceError(f"{path.name} is not in {path.parent}; fetch it or take it out of the recipe")
    if path.name.endswith(".nrrd"):
        return np.asarray(nrrd.read(str(path))[0], dtype=np.float32)
    if path.name.endswith((".nii", ".nii.gz")):
        return np.asarray(cast(Any, nibabel.load(path)).get_fdata(dtype=np.float32))
    raise ReferenceError(f"{path.name} is neither NIfTI nor NRRD")


def load(volume: Volume, folder: Path) -> Iterator[Reference]:
    """The volume's reference slices, anterior or superior at the top; slices nearly empty are left out."""
    array = read_volume(folder / volume.file)
    for plane in volume.planes:
        stack = np.moveaxis(array, plane, 2)
        count = stack.shape[2]
        where = (
            np.linspace(0.2, 0.8, volume.slices)
            if count > 2 * volume.slices
            else np.linspace(0, 1, volume.slices)
        )
        for index in sorted({round(w * (count - 1)) for w in where}):
            pixels = _prepared(stack[:, :, index], volume)
            if float((pixels > _background(pixels, volume.modality)).mean()) > 0.08:
                name = f"{volume.file.partition('.')[0]}/{plane}/{index}"
                yield Reference(name=name, subject=volume.subject, modality=volume.modality, pixels=pixels)


def _background(pixels: Array, modality: str) -> float:
    return -500.0 if modality == "CT" else 0.1 * float(np.percentile(pixels, 99.5))


def _prepared(slice_: Array, volume: Volume) -> Array:
    top, bottom, left, right = volume.crop
    image = np.rot90(slice_)
    image = image[top : image.shape[0] - bottom, left : image.shape[1] - right]
    if volume.modality == "CT":
        image = np.maximum(image, -1024)
    if volume.square:
        rows, columns = image.shape
        size = max(rows, columns)
        down, across = size - rows, size - columns
        fill = -1000.0 if volume.modality == "CT" else 0.0
        edges = ((down // 2, down - down // 2), (across // 2, across - across // 2))
        image = np.pad(image, edges, constant_values=fill)
    return np.ascontiguousarray(image, dtype=np.float32)
