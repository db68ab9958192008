"""In which number format the gate may compute a trained network: the fast one, where it keeps the order."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from models.fast.drift import MIN_IMAGES, gate
from models.fast.engine import accelerate
from models.fast.errors import DriftError, FastWarning
from models.fast.precision import Precision
from train.data.images import Images
from train.run.network import Asked

MOST_IMAGES = 64


def precision_of(asked: Asked, images: Images, crop: int = 0) -> Precision:
    """bf16 when it orders real slices as fp32 does (`models.fast.drift.gate`), else fp32.

    asked: the trained network, on the CPU. images: of the run's cases; a slice or more of each, evenly, up
    to MOST_IMAGES. crop: pixels a side of what the network takes; 0: the whole image. Where the images
    cannot tell (too few, scores all alike) the answer is fp32.
    """
    count = min(len(images), MOST_IMAGES)
    cases = [round((place + 0.5) * len(images) / count - 0.5) for place in range(count)]
    each = 1 if count >= MIN_IMAGES else -(-MIN_IMAGES // count)
    slices = [(case, one) for case in cases for one in images[case][:each]]
    inputs = [torch.stack([_centre(one, crop) for _, one in slices])]
    if asked.vocabulary is not None:
        inputs.append(torch.tensor([asked.encode(images.prepared[case].prompt) for case, _ in slices]))
    module = asked.module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FastWarning)
        fast = accelerate(module, precision="bf16", engine="torch", max_batch=8)
    try:
        gate(module, fast, *inputs)
    except DriftError:
        return "fp32"
    return "bf16"


def _centre(image: Tensor, crop: int) -> Tensor:
    if not crop:
        return image
    top, left = ((side - crop) // 2 for side in image.shape[1:])
    return image[:, top : top + crop, left : left + crop]
