"""Weights on disk: found through the manifest, refused by name when they are not what it says."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

HERE = Path(__file__).parent
MANIFEST = HERE / "weights.toml"
WEIGHTS = HERE / "weights"

Array = npt.NDArray[np.float32]


class WeightsError(RuntimeError):
    """Weights cannot be used; the message names the file and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """One file of the manifest."""

    file: str  #: name in the weights folder
    sha256: str
    licence: str
    source: str
    shipped: bool = False  #: lies among qagate's own weights; a house's heads share its backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model of the manifest `models/weights.toml`, or of a house's own."""

    name: str
    network: str  #: "default", or a key of `models.networks.NETWORKS`
    variant: str
    version: str
    source: str  #: what it was trained on, and where its card stands
    input: str
    parameters: int
    score_range: tuple[float, float]
    modalities: tuple[str, ...]
    prompts: tuple[str, ...]  #: prompt parts the model listens to; empty: none
    figures: Mapping[str, float]  #: from the card, on volumes it had not seen
    files: tuple[WeightsFile, ...]


def read_manifest(manifest: Path = MANIFEST, *, mend: str = "reinstall qagate") -> dict[str, ModelEntry]:
    """Name -> entry. Raises WeightsError when the manifest is absent or malformed."""
    try:
        raw = tomllib.loads(manifest.read_text(encoding="utf-8"))
        return {name: _entry(name, one) for name, one in raw["models"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{manifest.name} cannot be used ({error!r}); {mend}") from error


def _entry(name: str, one: Mapping[str, object]) -> ModelEntry:
    values = {"network": name} | {k: tuple(v) if isinstance(v, list) else v for k, v in one.items()}
    values["files"] = tuple(WeightsFile(**f) for f in values["files"])  # type: ignore[attr-defined]
    return ModelEntry(name=name, **values)  # type: ignore[arg-type]


def verified(entry: WeightsFile, folder: Path = WEIGHTS) -> Path:
    """The file's path, once its content is what the manifest says. Raises WeightsError otherwise."""
    path = (WEIGHTS if entry.shipped else folder) / entry.file
    if not path.is_file():
        raise WeightsError(f"weights {entry.file} are missing from {folder}; reinstall qagate")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != entry.sha256:
        raise WeightsError(
            f"weights {entry.file} have sha256 {found[:12]}..., the manifest says {entry.sha256[:12]}...: "
            "truncated or another version; reinstall qagate or train again"
        )
    return path


def read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises WeightsError when it is none or not finite."""
    try:
        with safe_open(path, framework="numpy") as opened:
            tensors = {key: np.asarray(opened.get_tensor(key), dtype=np.float32) for key in opened.keys()}  # noqa: SIM118
            metadata = dict(opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights {path.name} cannot be read ({error}); reinstall qagate") from error
    broken = sorted(name for name, value in tensors.items() if not np.isfinite(value).all())
    if broken:
        raise WeightsError(f"weights {path.name} hold NaN or infinity in {broken[0]}; train again")
    return tensors, metadata
