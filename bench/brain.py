"""Slices of a brain template, clean and degraded: real anatomy that every set-up has."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.preparation import Preparation
from train.demo.phantom import ct_slice, load_head, mr_slice
from train.simulate import degrade


@cache
def slices(modality: str, count: int) -> tuple[npt.NDArray[np.float32], ...]:
    """Slices of the brain template: MR 256x256, CT 512x512 in HU."""
    head = load_head()
    heights = np.linspace(-25, 45, count)
    if modality == "MR":
        return tuple(mr_slice(head, float(z), 3.0) for z in heights)
    return tuple(ct_slice(head, float(z), 3.0, 512, 0.45) for z in heights)


@cache
def varied(side: int) -> Tensor:
    """(24, 3, side, side) in [0, 1]: six slices, clean, noisy, blurred and dark, in an order of chance."""
    prepare = Preparation(side=side)
    rng = np.random.default_rng(0)
    images = []
    for clean in slices("MR", 6):
        for artefact, severity in (("noise", 0.0), ("noise", 4.0), ("blur", 4.0)):
            images.append(prepare(degrade(clean, artefact, severity, rng, "MR"), "MR"))
        images.append(0.5 * images[-3])
    return torch.stack(images)[torch.from_numpy(rng.permutation(len(images)))]
