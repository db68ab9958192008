"""Assessments and decisions as JSON text, and back."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from qagate.assessment import (
    Artefact,
    Assessment,
    Baseline,
    Decision,
    Finding,
    Prompt,
    QualityMap,
    Rating,
    SliceScore,
    Verdict,
)


def dumps(value: Assessment | Decision) -> str:
    """Return JSON; NaN stays NaN, which Python reads back."""
    return json.dumps(value, default=_plain, separators=(",", ":"))


def _plain(value: Any) -> object:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if hasattr(value, "item"):  # a NumPy number
        return value.item()
    raise TypeError(f"a result holds a {type(value).__name__}, which JSON cannot")


def load_assessment(text: str) -> Assessment:
    """Return what `dumps` wrote."""
    values: dict[str, Any] = json.loads(text)
    values["prompt"] = Prompt(**_tuples(values["prompt"]))
    values["slices"] = tuple(_slice(item) for item in values["slices"])
    values["findings"] = tuple(
        Finding(**_tuples(item | {"artefact": Artefact(item["artefact"])})) for item in values["findings"]
    )
    if values.get("rating"):
        values["rating"] = Rating(**values["rating"])
    return Assessment(**values)


def _slice(item: dict[str, Any]) -> SliceScore:
    if found := item.get("quality_map"):
        cells = base64.b64decode(found["cells"])
        item = item | {"quality_map": QualityMap(**(found | {"cells": cells}))}
    return SliceScore(**item)


def load_decision(text: str) -> Decision:
    """Return what `dumps` wrote."""
    values: dict[str, Any] = json.loads(text)
    if values.get("baseline"):
        values["baseline"] = Baseline(**values["baseline"])
    return Decision(**_tuples(values | {"verdict": Verdict(values["verdict"])}))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(item) if isinstance(item, list) else item for key, item in values.items()}
