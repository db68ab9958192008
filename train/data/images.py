"""Cases as tensors: prepared once by the gate's own code, kept on disk, read back as often as needed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from models.inputs import MIN_SIDE
from models.preparation import Preparation
from models.prompt import PARTS
from qagate.examine import read
from train.data.case import Case
from train.disk import NoSpaceError, write_atomically

FORMAT = 1  #: raise when what is written changes, so that old files are not read
STEPS = 65535  #: values in [0, 1] are kept as whole multiples of 1 / STEPS
MEMORY_BYTES = 2 * 1024**3  #: of images kept in memory
PICTURES = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp"})
_SHOWN = 20
_IN_PARALLEL_FROM = 64  #: cases, below which starting processes costs more than it gains


class BrokenCases(ValueError):
    """Images or series cannot be used; the message names each with its reason, and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is known of one case once it was read."""

    key: str  #: of its file in the cache
    slices: int  #: 1 to 7
    prompt: Mapping[str, str] = field(default_factory=dict)  #: part -> word


def key_of(case: Case, preparation: Preparation, slices: int) -> str:
    """Changes with the files' sizes and times, the preparation and the number of slices."""
    files = [(str(path.absolute()), (found := path.stat()).st_size, found.st_mtime_ns) for path in case.paths]
    told = json.dumps([FORMAT, asdict(preparation), slices, files])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def prepare_all(
    cases: Sequence[Case],
    preparation: Preparation,
    slices: int,
    cache: Path,
    *,
    processes: int = 1,
    leave_out_broken: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[list[Case], list[Prepared], list[str]]:
    """Read every case once; returns the usable ones, what is known of each, and a sentence for each other.

    Raises BrokenCases for unusable ones unless they are to be left out, NoSpaceError before anything is
    written when the cache's disk cannot hold them.
    """
    cache.mkdir(parents=True, exist_ok=True)
    _check_space(cases, preparation, slices, cache)
    jobs = [(case, preparation, slices, cache) for case in cases]
    if processes > 1 and len(jobs) >= _IN_PARALLEL_FROM:
        with ProcessPoolExecutor(
            processes, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)
        ) as pool:
            found = []
            for one in pool.map(_prepared, jobs, chunksize=4):
                found.append(one)
                progress(len(found), len(jobs))
    else:
        found = []
        for job in jobs:
            found.append(_prepared(job))
            progress(len(found), len(jobs))
    broken = [one for one in found if isinstance(one, str)]
    if broken and not leave_out_broken:
        more = [f"and {len(broken) - _SHOWN} more"] if len(broken) > _SHOWN else []
        raise BrokenCases(
            f"{len(broken)} of {len(cases)} images or series cannot be used; mend them, or leave them out "
            "with --leave-out-broken:\n  " + "\n  ".join([*broken[:_SHOWN], *more])
        )
    usable = [(case, one) for case, one in zip(cases, found, strict=True) if not isinstance(one, str)]
    return [case for case, _ in usable], [one for _, one in usable], broken


def _check_space(cases: Sequence[Case], preparation: Preparation, slices: int, cache: Path) -> None:
    """The most they can take: three channels of two bytes."""
    needed = len(cases) * slices * 3 * preparation.side**2 * 2
    free = shutil.disk_usage(cache).free
    if needed > free:
        raise NoSpaceError(
            f"preparing {len(cases)} images or series may take {needed / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free; free some, name another folder with --cache, or take fewer slices"
        )


def _prepared(job: tuple[Case, Preparation, int, Path]) -> Prepared | str:
    """What is known of one case, its images being in the cache; or why it cannot be used."""
    case, preparation, slices, cache = job
    try:
        key = key_of(case, preparation, slices)
    except OSError as error:
        return f"{case.name}: {error.filename or 'a file'} is missing or cannot be read"
    path = cache / f"{key}.safetensors"
    if path.is_file() and (known := _read_header(path, key)) is not None:
        return known
    pictures = {file.suffix.lower() in PICTURES for file in case.paths}
    made = _from_picture(case, preparation) if pictures == {True} else _from_series(case, preparation, slices)
    if isinstance(made, str):
        return f"{case.name}: {made}"
    images, prompt = made
    stored = np.rint(images * STEPS).astype(np.uint16)
    if (stored == stored[:, :1]).all():
        stored = stored[:, :1]
    told = json.dumps(
        {"slices": len(stored), "prompt": prompt}
    )  # one key: safetensors keeps no order of keys
    write_atomically(path, save({"images": np.ascontiguousarray(stored)}, {"told": told}))
    return Prepared(key=key, slices=len(stored), prompt=prompt)


def _read_header(path: Path, key: str) -> Prepared | None:
    try:
        with safe_open(path, framework="numpy") as opened:
            told = json.loads(opened.metadata()["told"])
        return Prepared(key=key, slices=told["slices"], prompt=told["prompt"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        return None  # truncated by a full disk or another program: made anew


def _from_series(
    case: Case, preparation: Preparation, slices: int
) -> tuple[npt.NDArray[np.float32], dict[str, str]] | str:
    found = read(case.paths)
    if found.not_assessed is not None:
        return found.not_assessed
    count = min(slices, len(found.slices))
    places = sorted({round((step + 0.5) * len(found.slices) / count - 0.5) for step in range(count)})
    chosen = [found.slices[place] for place in places]
    images = [preparation(one.pixels, one.header.modality).numpy() for one in chosen]
    return np.stack(images), {part: getattr(found.prompt, part) for part in PARTS}


def _from_picture(
    case: Case, preparation: Preparation
) -> tuple[npt.NDArray[np.float32], dict[str, str]] | str:
    """A picture of [0, 1] values, windowed by whoever wrote it; whole numbers by the range of their type."""
    if len(case.paths) != 1:
        return f"{len(case.paths)} pictures; one is expected"
    try:
        with Image.open(case.paths[0]) as opened:
            picture = opened.convert("RGB") if opened.mode in ("RGBA", "P", "CMYK", "YCbCr") else opened
            pixels = np.asarray(picture)
    except (UnidentifiedImageError, OSError, ValueError) as error:
        return f"the picture cannot be read ({error})"
    top = float(np.iinfo(pixels.dtype).max) if np.issubdtype(pixels.dtype, np.integer) else 1.0
    unit = np.asarray(pixels, np.float32) / np.float32(top)
    planes = unit[None] if unit.ndim == 2 else np.moveaxis(unit, 2, 0)
    if len(planes) not in (1, 3) or min(planes.shape[1:]) < MIN_SIDE:
        return f"the picture has shape {pixels.shape}; expected gray or colour, {MIN_SIDE} pixels a side"
    if not np.isfinite(planes).all() or planes.min() < 0 or planes.max() > 1:
        return "the picture's values lie outside 0 to 1; scale them, or give DICOM files"
    image = torch.from_numpy(np.ascontiguousarray(planes))[None]
    side = preparation.side
    if image.shape[2:] != (side, side):
        image = torch.nn.functional.interpolate(
            image, size=(side, side), mode="bilinear", antialias=True, align_corners=False
        ).clamp(0, 1)
    return image.expand(1, 3, -1, -1).numpy(), {"dimension": "2D", "modality": case.modality or "unknown"}


class Images:
    """The prepared images of the cases, by number; the last used stay in memory. Read-only."""

    def __init__(self, prepared: Sequence[Prepared], cache: Path, *, memory: int = MEMORY_BYTES) -> None:
        self.prepared = tuple(prepared)
        self._cache, self._left = cache, memory
        self._known: OrderedDict[int, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self.prepared)

    def __getitem__(self, case: int) -> Tensor:
        """(S, 3, side, side) float32 in [0, 1]. Raises BrokenCases when the cache lost it."""
        if case in self._known:
            self._known.move_to_end(case)
            return self._widened(self._known[case])
        path = self._cache / f"{self.prepared[case].key}.safetensors"
        try:
            with safe_open(path, framework="numpy") as opened:
                stored = opened.get_tensor("images")
        except (SafetensorError, OSError) as error:
            raise BrokenCases(
                f"the prepared image {path.name} is missing from {self._cache} or broken; name the cache "
                "that the run was started with (--cache), or start it anew"
            ) from error
        images = torch.from_numpy(stored.astype(np.float32) / np.float32(STEPS))
        self._known[case] = images
        self._left -= images.nbytes
        while self._left < 0 and len(self._known) > 1:
            _, old = self._known.popitem(last=False)
            self._left += old.nbytes
        return self._widened(images)

    @staticmethod
    def _widened(images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)


def processes_for(wanted: int) -> int:
    """0: one a core."""
    return wanted or os.cpu_count() or 1
