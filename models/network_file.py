"""Trained networks on disk: one safetensors file with the network's name, configuration and calibration.

No pickle: everything but the tensors is JSON in the file's metadata.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from models.fast.precision import DTYPES, Precision
from models.networks import NETWORKS
from models.preparation import Preparation
from models.weights_file import WeightsError

FORMAT = "qagate network 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A logistic map from the network's score to quality, 0 to 1, fitted on images not trained on."""

    middle: float = 0.5  #: the score at quality 1/2
    spread: float = 0.1  #: > 0; a score one spread above the middle has quality 0.73

    def __post_init__(self) -> None:
        if not self.spread > 0:
            raise ValueError(f"spread {self.spread} is not above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedNetwork:
    """A network with everything that is needed to use it."""

    network: str  #: a key of `models.networks.NETWORKS`
    config: Any  #: of that network's configuration class
    module: nn.Module
    preparation: Preparation
    calibration: Calibration
    precision: Precision = "fp32"  #: the fastest format in which its scores are known to keep their order


def save(path: Path, trained: TrainedNetwork) -> None:
    """Write the file. Raises ValueError for a configuration that is not the network's."""
    kind = NETWORKS[trained.network]
    if not isinstance(trained.config, kind.config):
        raise ValueError(
            f"{trained.network} takes a {kind.config.__name__}, not a {type(trained.config).__name__}"
        )
    metadata = {
        "format": FORMAT,
        "network": trained.network,
        "config": TypeAdapter(kind.config).dump_json(trained.config).decode(),
        "preparation": TypeAdapter(Preparation).dump_json(trained.preparation).decode(),
        "calibration": TypeAdapter(Calibration).dump_json(trained.calibration).decode(),
        "precision": trained.precision,
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in trained.module.state_dict().items()}
    save_file(tensors, path, metadata=metadata)


def load(path: Path) -> TrainedNetwork:
    """Build the network the file names and fill it; on the CPU, ready to predict.

    Raises WeightsError naming the file for anything that does not fit: another format, an unknown network,
    a configuration that contradicts itself, tensors of another configuration, NaN.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            metadata: dict[str, str] = dict(opened.metadata() or {})
            tensors: dict[str, Tensor] = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights {path.name} cannot be read ({error}); train or export again") from error
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "none")
        raise WeightsError(
            f"weights {path.name} have format {found!r}, not {FORMAT!r}; train or export again"
        )
    if metadata.get("network") not in NETWORKS:
        raise WeightsError(
            f"weights {path.name} are of a network {metadata.get('network')!r}; this version knows "
            f"{', '.join(NETWORKS)}"
        )
    kind = NETWORKS[metadata["network"]]
    try:
        config = _read(kind.config, metadata["config"])
        preparation = _read(Preparation, metadata["preparation"])
        calibration = _read(Calibration, metadata["calibration"])
        precision = _precision(metadata.get("precision", "fp32"))
        module = kind.module(config)
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"weights {path.name} carry a configuration that cannot be used ({error}); train again"
        ) from error
    _fill(module, tensors, path.name)
    return TrainedNetwork(
        network=metadata["network"],
        config=config,
        module=module.eval().requires_grad_(False),
        preparation=preparation,
        calibration=calibration,
        precision=precision,
    )


def _read(kind: type[Any], text: str) -> Any:
    """A dataclass from JSON; unlike pydantic alone it refuses keys the class does not have."""
    adapter = TypeAdapter(kind)
    try:
        found = adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or kind.__name__
        raise ValueError(f"{place}: {first['msg']}") from error
    if unknown := _unknown(json.loads(text), json.loads(adapter.dump_json(found))):
        raise ValueError(f"unknown key {unknown}")
    return found


def _precision(name: str) -> Precision:
    for known in DTYPES:
        if name == known:
            return known
    raise ValueError(f"precision {name!r} is not one of {', '.join(DTYPES)}")


def _unknown(given: Any, understood: Any) -> str | None:
    if not (isinstance(given, dict) and isinstance(understood, dict)):
        return None
    for key, value in given.items():
        if key not in understood:
            return str(key)
        if inner := _unknown(value, understood[key]):
            return f"{key}.{inner}"
    return None


def _fill(module: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    wanted = module.state_dict()
    missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    misshapen = [key for key in wanted.keys() & tensors.keys() if wanted[key].shape != tensors[key].shape]
    if missing or unknown or misshapen:
        first = (missing or unknown or sorted(misshapen))[0]
        raise WeightsError(
            f"weights {name} are of another configuration: {len(missing)} tensors missing, {len(unknown)} "
            f"unknown, {len(misshapen)} of another shape, {first} among them; train again"
        )
    for key, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise WeightsError(f"weights {name} hold NaN or infinity in {key}; train again")
    module.load_state_dict(tensors)
