"""What a network holds before training: chance, weights of its backbones, a checkpoint.

The only place that asks a model hub for anything. Networks never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.compat import import_timm
from models.weights_file import WeightsError, read_manifest, verified

timm = import_timm()


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialWeights:
    """Where training starts. Raises ValueError for a path that does not go with the kind."""

    #: imagenet: the backbones' published weights. shipped: the EfficientNet-Lite0 that the package carries.
    kind: Literal["scratch", "imagenet", "shipped", "checkpoint"] = "scratch"
    #: checkpoint: a safetensors file of the whole network. imagenet: a folder that holds timm's published
    #: files as <architecture>.<tag>.safetensors; None: fetched through timm.
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.kind not in (known := ("scratch", "imagenet", "shipped", "checkpoint")):
            raise ValueError(f"kind {self.kind!r} is not one of {', '.join(known)}")
        if self.kind == "checkpoint" and self.path is None:
            raise ValueError("kind 'checkpoint' needs a path, a safetensors file; path is None")
        if self.kind in ("scratch", "shipped") and self.path is not None:
            raise ValueError(f"kind {self.kind!r} takes no path; path is {self.path}")


def backbones(network: nn.Module) -> dict[str, nn.Module]:
    """The submodules that timm built, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(getattr(module, "pretrained_cfg", None), dict)
    }


def initialise(network: nn.Module, weights: InitialWeights) -> tuple[str, ...]:
    """Fill the network in place.

    Returns the backbones' tensors that the ImageNet weights do not have, such as parts that the network put
    into them: they keep their first values, and so does everything outside the backbones. Raises
    WeightsError, naming the file or architecture, when weights cannot be had, have other names or shapes than
    the network, or hold NaN.
    """
    if weights.kind == "imagenet":
        found = backbones(network)
        if not found:
            raise WeightsError(f"{type(network).__name__} has no backbone with ImageNet weights; use scratch")
        return tuple(
            f"{name}.{left}"
            for name, module in found.items()
            for left in _from_imagenet(module, weights.path)
        )
    if weights.kind == "shipped":
        _from_shipped(network)
    elif weights.path is not None:
        _from_checkpoint(network, weights.path)
    return ()


def _from_shipped(network: nn.Module) -> None:
    (file,) = (file for file in read_manifest()["default"].files if file.file == "lite0.safetensors")
    path = verified(file)
    tensors = {name: value.float() for name, value in load_file(path).items()}
    fitting = [
        backbone
        for backbone in backbones(network).values()
        if {name: value.shape for name, value in backbone.state_dict().items()}.items()
        == {name: value.shape for name, value in tensors.items()}.items()
    ]
    if not fitting:
        raise WeightsError(
            f"the shipped {path.name} fits no backbone of {type(network).__name__}; it is the stages of "
            "timm's tf_efficientnet_lite0; use scratch or imagenet"
        )
    for backbone in fitting:
        backbone.load_state_dict(tensors)


def _from_imagenet(backbone: nn.Module, folder: Path | None) -> list[str]:
    name, published = _published(backbone, folder)
    wanted = backbone.state_dict()
    shared = {key: value for key, value in published.items() if key in wanted}
    if not shared:
        raise WeightsError(f"ImageNet weights of {name} share no tensor with the network; use scratch")
    _check(shared, wanted, f"ImageNet weights of {name}", "use scratch, or the sizes that were published")
    backbone.load_state_dict(shared, strict=False)
    return sorted(wanted.keys() - shared.keys())


def _published(backbone: nn.Module, folder: Path | None) -> tuple[str, dict[str, Tensor]]:
    """Name and tensors of the architecture as published, for the backbone's image and window size."""
    about: Mapping[str, str] = backbone.pretrained_cfg  # type: ignore[assignment]
    name = ".".join(part for part in (about["architecture"], about.get("tag")) if part)
    options: dict[str, object] = {"num_classes": 0}
    if isinstance(embedding := getattr(backbone, "patch_embed", None), nn.Module):
        options["img_size"] = embedding.img_size
    if isinstance(backbone, timm.models.SwinTransformer):
        options["window_size"] = backbone.layers[0].blocks[0].window_size
    if folder is not None:
        options["pretrained_cfg_overlay"] = {"file": str(folder / f"{name}.safetensors")}
    try:
        return name, timm.create_model(name, pretrained=True, **options).state_dict()
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"ImageNet weights of {name} cannot be had ({error}); train where a model hub is reachable, put "
            f"{name}.safetensors into a folder and name that folder, or start from scratch or a checkpoint"
        ) from error


def _from_checkpoint(network: nn.Module, path: Path) -> None:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"checkpoint {path} cannot be read ({error}); name a safetensors file") from error
    wanted = network.state_dict()
    tensors = {name: value for name, value in tensors.items() if name in wanted or not _of_a_parameter(name)}
    missing = sorted(name for name in wanted.keys() - tensors.keys() if not _of_a_parameter(name))
    unknown = sorted(tensors.keys() - wanted.keys())
    if missing or unknown:
        raise WeightsError(
            f"checkpoint {path} is of another configuration: {len(missing)} tensors missing, {len(unknown)} "
            f"unknown, {(missing or unknown)[0]} among them; use the configuration it was trained with"
        )
    _check(tensors, wanted, f"checkpoint {path}", "use the configuration it was trained with")
    network.load_state_dict(tensors, strict=False)


def _of_a_parameter(name: str) -> bool:
    """MedIQA's heads of physical parameters come with pre-training and may go with fine-tuning."""
    return name.startswith("parameter_heads.")


def _check(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str, mend: str) -> None:
    for name, value in tensors.items():
        if value.shape != wanted[name].shape:
            raise WeightsError(
                f"{source}: {name} has shape {tuple(value.shape)}, in the network "
                f"{tuple(wanted[name].shape)}; {mend}"
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise WeightsError(f"{source}: {name} holds NaN or infinity; fetch or train it again")
