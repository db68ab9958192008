"""What a house's model keeps of the run that made it: recipe, environment, how many cases; no case by name.

It lies beside the weights as NAME-SHA.training.json, so that it outlives the run's folder.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_RECIPE, _ENVIRONMENT, _CASES = "recipe.toml", "environment.json", "cases.json"
_KEPT = ".training.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """What was read of a run's folder; each part is empty where the run did not write it."""

    recipe: str = ""  #: TOML
    environment: Mapping[str, Any] = field(default_factory=dict)  #: versions, device, threads
    cases: Mapping[str, int] = field(
        default_factory=dict
    )  #: modality -> images or series trained and tested on


def of_run(folder: Path) -> TrainingRecord:
    """What a run's folder tells. Raises ValueError for a file that cannot be read."""
    environment, cases = _json(folder / _ENVIRONMENT), _json(folder / _CASES)
    recipe = folder / _RECIPE
    return TrainingRecord(
        recipe=recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
        environment=environment if isinstance(environment, dict) else {},
        cases=dict(Counter(str(case.get("modality") or "none") for case in cases if isinstance(case, dict)))
        if isinstance(cases, list)
        else {},
    )


def keep(record: TrainingRecord, weights: Path) -> None:
    """Write it beside the weights; nothing where the run told nothing."""
    if record != TrainingRecord():
        _beside(weights).write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")


def kept(weights: Path) -> TrainingRecord:
    """What `keep` wrote beside the weights. Raises ValueError for a file that cannot be read."""
    told = _json(_beside(weights))
    return TrainingRecord(**told) if isinstance(told, dict) else TrainingRecord()


def _beside(weights: Path) -> Path:
    return weights.with_name(weights.stem + _KEPT)


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); mend or remove it") from error
