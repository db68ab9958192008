"""Adding a model to the house's own: one folder, one manifest `NAME.toml` and one weights file each.

A manifest is written like `models/weights.toml`. Names are given once: results name the model that made
them, so another model is another name. Nothing here decides which model is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open

from models import registry, training_record
from models.house_folder import names
from models.weights_file import MANIFEST, ModelEntry, WeightsError, WeightsFile, read_manifest

LICENCE = "house"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_WEIGHTS = "weights.safetensors"  #: what a training run calls its result
_FIGURES, _CASES = "figures.json", "cases.json"  #: what it found, and what it was trained and tested on
_GATE_MODALITIES = ("CT", "MR")
_DEFAULT = "default"  #: the network of heads on the shipped backbone


def add(
    folder: Path,
    source: Path,
    *,
    name: str,
    modalities: Sequence[str] = (),
    figures: Mapping[str, float] | None = None,
) -> ModelEntry:
    """Copy a trained network, or a file of default heads, into the folder and vouch for its content.

    source: the safetensors file, or the folder of a training run. modalities: those a network was trained
    for, by default those of the run's cases; default heads know their own. figures: by default the run's.
    Raises ValueError for a name that is taken or none, or modalities that are missing, WeightsError for
    weights that cannot be used; nothing is left behind then.
    """
    _check_name(folder, name)
    weights = _weights_of(source)
    told = dict(figures) if figures is not None else _figures(weights.parent / _FIGURES)
    record = training_record.of_run(weights.parent)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adding-", dir=folder) as aside:
        copy = Path(shutil.copyfile(weights, Path(aside) / weights.name))
        _flush(copy)
        sha256 = hashlib.sha256(copy.read_bytes()).hexdigest()
        file = WeightsFile(
            file=f"{name}-{sha256[:12]}.safetensors", sha256=sha256, licence=LICENCE, source=weights.name
        )
        known = tuple(modalities) or _modalities(weights.parent / _CASES)
        entry = _described(copy, name, file, known, told)
        copy = copy.rename(copy.with_name(file.file))
        registry.open_entry(entry, folder=copy.parent)
        manifest = copy.with_name(f"{name}.toml")
        manifest.write_text("\n".join(_toml(entry)) + "\n", encoding="utf-8")
        _flush(manifest)
        training_record.keep(record, folder / file.file)
        copy.replace(folder / file.file)
        try:
            os.link(manifest, folder / manifest.name)  # of two that add one name, the second fails
        except FileExistsError:
            raise _taken(name) from None
    _flush(folder)
    return entry


def _check_name(folder: Path, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name for a model: up to 64 of a-z, 0-9, '.', '_' and '-', no sign first"
        )
    if name in read_manifest(MANIFEST):
        raise ValueError(f"qagate itself ships a model {name!r}; choose another name")
    if name in names(folder):
        raise _taken(name)


def _taken(name: str) -> ValueError:
    return ValueError(f"there is a model {name!r} already, and results name it; choose another name")


def _weights_of(source: Path) -> Path:
    if not source.is_dir():
        if not source.is_file():
            raise ValueError(f"{source} is neither a file nor a folder")
        return source
    if (source / _WEIGHTS).is_file():
        return source / _WEIGHTS
    found = sorted(source.glob("*.safetensors"))
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise ValueError(f"{source} holds {len(found)} safetensors files ({there}); name one of them")
    return found[0]


def _figures(path: Path) -> dict[str, float]:
    """Every number of a JSON object, names of inner objects joined by underscores."""
    return dict(_numbers(_json(path)))


def _modalities(path: Path) -> tuple[str, ...]:
    """What the gate may show a network: the modalities of a run's cases."""
    cases = _json(path)
    there = (
        {case.get("modality") for case in cases if isinstance(case, dict)} if isinstance(cases, list) else ()
    )
    return tuple(modality for modality in _GATE_MODALITIES if modality in there)


def _json(path: Path) -> object:
    """None when there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); mend or remove it") from error


def _numbers(value: object, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name}_{key}" if name else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def _described(
    path: Path, name: str, file: WeightsFile, modalities: tuple[str, ...], figures: Mapping[str, float]
) -> ModelEntry:
    if "types" in _metadata(path):
        return _described_heads(path, name, file, figures)
    return _described_network(path, name, file, modalities, figures)


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="numpy") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"the weights cannot be read ({error}); train or export again") from error


def _described_heads(path: Path, name: str, file: WeightsFile, figures: Mapping[str, float]) -> ModelEntry:
    from models.default import read_heads

    shipped = read_manifest(MANIFEST)[_DEFAULT]
    backbone = {**asdict(shipped.files[1]), "shipped": True}
    return ModelEntry(
        name=name,
        network=_DEFAULT,
        variant="heads of the house on the shipped backbone",
        version=file.sha256[:12],
        source=f"trained by the house ({file.source})",
        input=shipped.input,
        parameters=shipped.parameters,
        score_range=shipped.score_range,
        modalities=tuple(sorted(read_heads(path))),
        prompts=(),
        figures=figures,
        files=(file, WeightsFile(**backbone)),
    )


def _described_network(
    path: Path, name: str, file: WeightsFile, modalities: tuple[str, ...], figures: Mapping[str, float]
) -> ModelEntry:
    from models import network_file
    from models.networks import NETWORKS
    from models.prompt import PARTS

    trained = network_file.load(path)
    if not modalities:
        raise ValueError("nothing says which modalities the network was trained for; name them, CT or MR")
    kind = NETWORKS[trained.network]
    low, high = kind.score_range
    variants = (variant for variant, config in kind.variants.items() if config == trained.config)
    listens = getattr(trained.module, "prompts", None) is not None
    return ModelEntry(
        name=name,
        network=trained.network,
        variant=next(variants, "configuration of the house"),
        version=file.sha256[:12],
        source=f"trained by the house ({file.source})",
        input=kind.input,
        parameters=sum(parameter.numel() for parameter in trained.module.parameters()),
        score_range=(float("-inf") if low is None else low, float("inf") if high is None else high),
        modalities=modalities,
        prompts=tuple(getattr(trained.config, "prompt_parts", PARTS)) if listens else (),
        figures=figures,
        files=(file,),
    )


def _toml(entry: ModelEntry) -> Iterator[str]:
    values = asdict(entry)
    name, files, figures = values.pop("name"), values.pop("files"), values.pop("figures")
    yield "# Written by `qagate models add`."
    yield f"[models.{_value(name)}]"
    for key, value in values.items():
        yield f"{key} = {_value(value)}"
    yield f"\n[models.{_value(name)}.figures]"
    for key, value in figures.items():
        yield f"{_value(key)} = {_value(value)}"
    for file in files:
        yield f"\n[[models.{_value(name)}.files]]"
        for key, value in file.items():
            yield f"{key} = {_value(value)}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)  # inf and nan are spelt alike in TOML
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
