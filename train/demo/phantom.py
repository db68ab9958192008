"""The demo's anatomy: a real MR brain with a digital skull and scalp, and a digital CT head made of it.

The brain is the ICBM 2009a nonlinear symmetric template that nilearn ships (T1, grey and white matter
probability; 1 mm; Fonov et al., NeuroImage 54 (2011) 313). It is an average and skull-stripped, so skull,
scalp and air are added here. Nothing is downloaded; this module knows nothing of DICOM.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Volume = npt.NDArray[np.float32]

#: outer radius of each layer, mm outside the brain's hull: fluid, inner table, diploe, outer table, fat, skin
_LAYERS_MM = (1.5, 3.3, 5.6, 7.4, 11.0, 13.0)
_CT_HU = {"fluid": 8.0, "grey": 37.0, "white": 28.0, "table": 1150.0, "diploe": 620.0, "fat": -95.0,
          "skin": 45.0, "air": -1000.0}  # fmt: skip
_T1 = {"fluid": 0.22, "table": 0.06, "diploe": 0.5, "fat": 1.0, "skin": 0.45, "air": 0.0}
_MATRIX = 256  #: pixels of the 1 mm grid


class DemoError(RuntimeError):
    """The demo cannot run; the message names what is missing and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A head on a 1 mm grid; planes are axial, rows run to posterior, columns to the patient's left.

    Every volume is (planes, 256, 256) float32; planes run towards the crown.
    """

    t1: Volume  #: 0 to 1, brain only
    grey: Volume  #: probability
    white: Volume  #: probability
    outside_mm: Volume  #: signed distance to the brain's hull, positive outside
    marrow: Volume  #: band-limited texture of the diploe, standard normal
    first_pixel_mm: tuple[float, float, float]  #: (0020,0032) of plane 0, row 0, column 0

    def plane_at(self, z_mm: float) -> float:
        """Plane number (fractional) at height z in mm of the template's space."""
        return z_mm - self.first_pixel_mm[2]


def load_head() -> Head:
    """Read nilearn's template and build the layers round it (about two seconds).

    Raises DemoError when nilearn or nibabel is not installed.
    """
    t1, grey, white = (_read(kind) / 255.0 for kind in ("t1", "gm", "wm"))
    columns, rows = t1.shape[2], t1.shape[1]
    left, top = (_MATRIX - columns) // 2, (_MATRIX - rows) // 2
    pad = ((0, 0), (top, _MATRIX - rows - top), (left, _MATRIX - columns - left))
    t1, grey, white = (np.pad(volume, pad).astype(np.float32) for volume in (t1, grey, white))
    rng = np.random.default_rng(1)
    texture = ndimage.gaussian_filter(rng.standard_normal(t1.shape, dtype=np.float32), (2.0, 0.9, 0.9))
    return Head(
        t1=t1,
        grey=grey,
        white=white,
        outside_mm=_outside(t1 > 0, rng),
        marrow=texture / texture.std(),
        first_pixel_mm=(-98.0 - left, -98.0 - top, -72.0),
    )


def _read(kind: str) -> Volume:
    """One of nilearn's files as (planes, rows to posterior, columns to left), 0 to 255."""
    spec = importlib.util.find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations or importlib.util.find_spec("nibabel") is None:
        raise DemoError("the demo needs nilearn's brain template: `pip install nilearn nibabel`")
    name = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / name
    if not path.is_file():
        raise DemoError(f"this nilearn carries no {name}: `pip install 'nilearn>=0.11'`")
    from nibabel.nifti1 import Nifti1Image

    voxels = np.asarray(
        Nifti1Image.from_filename(path).dataobj, dtype=np.float32
    )  # (x to right, y to front, z up)
    return np.ascontiguousarray(voxels[::-1, ::-1, :].transpose(2, 1, 0))


def _outside(brain: npt.NDArray[np.bool_], rng: np.random.Generator) -> Volume:
    """Signed distance in mm to the closed brain, with the thickness of the layers varying slowly."""
    coarse = np.pad(brain[::2, ::2, ::2], ((16, 16), (0, 0), (0, 0)))
    swollen = ndimage.distance_transform_edt(~coarse) <= 14
    hull = ndimage.distance_transform_edt(swollen) > 14
    distance = ndimage.distance_transform_edt(~hull) - ndimage.distance_transform_edt(hull)
    distance = ndimage.gaussian_filter(2.0 * distance, 2.0)
    uneven = ndimage.gaussian_filter(rng.standard_normal(distance.shape), 9)
    distance *= 1 + 0.09 * uneven / uneven.std()
    fine = ndimage.zoom(distance[16:-16].astype(np.float32), 2, order=1, grid_mode=True, mode="nearest")
    return np.asarray(ndimage.gaussian_filter(fine, 1.0)[: brain.shape[0]], dtype=np.float32)


def mr_slice(head: Head, z_mm: float, thickness_mm: float) -> Volume:
    """One noiseless T1 slice, (256, 256), white matter about 0.9; the mean over the slice's thickness."""
    planes = _planes(head, z_mm, thickness_mm)
    brain = head.t1[planes]
    # An average of 152 brains is soft; sharpen it to the resolution of one scan.
    brain = brain + 0.9 * (brain - ndimage.gaussian_filter(brain, (0, 1.2, 1.2)))
    brain = np.clip(brain, 0, 1.1) ** 1.6
    shell = _layers(head.outside_mm[planes], _T1, _T1["fluid"])
    shell = shell + 0.07 * head.marrow[planes] * _diploe(head.outside_mm[planes])
    inside = ndimage.gaussian_filter((head.t1[planes] > 0).astype(np.float32), (0, 0.6, 0.6))
    signal = np.clip(inside * brain + (1 - inside) * shell, 0, None)
    return np.asarray(signal.mean(axis=0), dtype=np.float32)


def ct_slice(head: Head, z_mm: float, thickness_mm: float, pixels: int, spacing_mm: float) -> Volume:
    """One noiseless CT slice in HU, (pixels, pixels), centred on the head; the mean over its thickness."""
    planes = _planes(head, z_mm, thickness_mm)[::2]
    zoom = 1.0 / spacing_mm
    size = round(_MATRIX * zoom)

    def fine(volume: Volume, order: int) -> Volume:
        return np.stack([_crop(_zoom(volume[plane], size, order), pixels) for plane in planes])

    outside = fine(head.outside_mm, 3)
    grey, white = np.clip(fine(head.grey, 3), 0, 1), np.clip(fine(head.white, 3), 0, 1)
    fluid = np.clip(1 - grey - white, 0, 1)
    brain = (grey * _CT_HU["grey"] + white * _CT_HU["white"] + fluid * _CT_HU["fluid"]) / (
        grey + white + fluid
    )
    hounsfield = _layers(outside, _CT_HU, brain)
    hounsfield = hounsfield + 130.0 * fine(head.marrow, 1) * _diploe(outside)
    return np.asarray(hounsfield.mean(axis=0), dtype=np.float32)


def _planes(head: Head, z_mm: float, thickness_mm: float) -> npt.NDArray[np.int64]:
    half = (thickness_mm - 1) / 2
    first = round(head.plane_at(z_mm - half))
    return np.arange(first, first + max(1, round(thickness_mm)))


def _layers(outside_mm: Volume, value: dict[str, float], inside: float | Volume) -> Volume:
    """Shells of constant value round `inside`, with edges about half a millimetre wide."""
    shells = ("fluid", "table", "diploe", "table", "fat", "skin", "air")
    result = np.asarray(inside, dtype=np.float32) * np.ones_like(outside_mm)
    result += _step(outside_mm) * (value["fluid"] - result)
    for radius, inner, outer in zip(_LAYERS_MM, shells[:-1], shells[1:], strict=True):
        result += _step(outside_mm - radius) * (value[outer] - value[inner])
    return result


def _diploe(outside_mm: Volume) -> Volume:
    return np.asarray(_step(outside_mm - _LAYERS_MM[1]) * _step(_LAYERS_MM[2] - outside_mm))


def _step(distance_mm: Volume) -> Volume:
    return np.asarray(1 / (1 + np.exp(-np.clip(distance_mm / 0.2, -30, 30))), dtype=np.float32)


def _zoom(plane: Volume, size: int, order: int) -> Volume:
    factor = size / plane.shape[0]
    return np.asarray(ndimage.zoom(plane, factor, order=order, grid_mode=True, mode="nearest"))


def _crop(plane: Volume, size: int) -> Volume:
    start = (plane.shape[0] - size) // 2
    return plane[start : start + size, start : start + size]
