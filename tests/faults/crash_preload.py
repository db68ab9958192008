"""Imported by the fork server alone: what every role needs, loaded once."""

from __future__ import annotations

import gc
from typing import Any

import crash_roles  # noqa: F401
import torch

import qagate.dicom.report
import qagate.examine
import qagate.services
import qagate.worker  # noqa: F401
from models import registry
from qagate.alerts import Alerter

torch.set_num_threads(1)
_default = registry.load("default", device="cpu")


def _load(name: str, **_: Any) -> Any:
    assert name == "default"
    return _default


registry.load = _load  # type: ignore[assignment]
Alerter(["json://127.0.0.1:9/"])  # Apprise finds its plug-ins at the first use
gc.freeze()
