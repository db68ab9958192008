"""The networks that exist: name -> class, configuration, variants. The one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from models.clinreadnet import ClinReadNet, ClinReadNetConfig
from models.maniqa import Maniqa, ManiqaConfig
from models.mediqa import Mediqa, MediqaConfig
from models.miqanet import Miqanet, MiqanetConfig
from models.rows.cnniqa import CnnIqa, CnnIqaConfig
from models.rows.dbcnn import DbCnn, DbCnnConfig
from models.rows.deepvit import DeepVit, DeepVitConfig
from models.rows.hyperiqa import HyperIqa, HyperIqaConfig
from models.rows.lenet5 import LeNet5, LeNet5Config
from models.rows.timm_net import PRESETS, TimmNet, TimmNetConfig
from models.rows.wadiqam import Wadiqam, WadiqamConfig
from models.stage_net import StageNet, StageNetConfig

Ends = tuple[float | None, float | None]

_WHOLE = ManiqaConfig(truncated=False)
_MIQANET = ManiqaConfig(truncated=False, scale=0.13)
_NOT_NEGATIVE: Ends = (0.0, None)
_ANY: Ends = (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One architecture."""

    module: type[nn.Module]  #: takes a configuration, answers `models.output.Output`
    config: type[Any]  #: a frozen dataclass
    variants: Mapping[str, Any]  #: name -> configuration; the first is the usual one
    input: str  #: for people
    score_range: Ends  #: what the score can be; None is unbounded
    source: str


def _row(module: type[nn.Module], config: type[Any], input: str, score: Ends, source: str) -> Network:
    return Network(
        module=module,
        config=config,
        variants={"paper": config()},
        input=input,
        score_range=score,
        source=source,
    )


NETWORKS: Mapping[str, Network] = {
    "maniqa": Network(
        module=Maniqa,
        config=ManiqaConfig,
        variants={"truncated": ManiqaConfig(), "whole": _WHOLE},
        input="one image, 224x224",
        score_range=_NOT_NEGATIVE,
        source="Yang et al. 2022, MANIQA",
    ),
    "miqanet": Network(
        module=Miqanet,
        config=MiqanetConfig,
        variants={
            "paper": MiqanetConfig(),
            "repository": MiqanetConfig(
                variant="repository", maniqa=_MIQANET, cnn="resnet18", swin="off", deform=False
            ),
            "repository, ResNet34": MiqanetConfig(
                variant="repository", maniqa=_MIQANET, cnn="resnet34", swin="off", deform=False
            ),
        },
        input="one image, 224x224",
        score_range=_NOT_NEGATIVE,
        source="MIQANet: paper and repository",
    ),
    "clinreadnet": Network(
        module=ClinReadNet,
        config=ClinReadNetConfig,
        variants={"paper": ClinReadNetConfig()},
        input="one image, 512x512",
        score_range=(0.0, 4.0),
        source="ClinReadNet",
    ),
    "mediqa": Network(
        module=Mediqa,
        config=MediqaConfig,
        variants={"truncated": MediqaConfig(), "whole": MediqaConfig(maniqa=_WHOLE)},
        input="seven salient slices, 224x224, and a prompt",
        score_range=_NOT_NEGATIVE,
        source="MedIQA",
    ),
    "timm": Network(
        module=TimmNet,
        config=TimmNetConfig,
        variants=PRESETS,
        input="one image, 224x224",
        score_range=_ANY,
        source="a timm backbone with a linear head",
    ),
    "stages": Network(
        module=StageNet,
        config=StageNetConfig,
        variants={"lite0": StageNetConfig()},
        input="one image from 32x32",
        score_range=_ANY,
        source="statistics of EfficientNet-Lite0's stages under a linear head",
    ),
    "cnniqa": _row(CnnIqa, CnnIqaConfig, "one image from 32x32", _ANY, "Kang et al. 2014, CNNIQA"),
    "lenet5": _row(LeNet5, LeNet5Config, "one image from 32x32", _ANY, "LeCun et al. 1998, LeNet-5"),
    "wadiqam": _row(Wadiqam, WadiqamConfig, "one image from 32x32", _ANY, "Bosse et al. 2018, WaDIQaM-NR"),
    "dbcnn": _row(DbCnn, DbCnnConfig, "one image", _ANY, "Zhang et al. 2020, DBCNN"),
    "hyperiqa": _row(HyperIqa, HyperIqaConfig, "one image, 224x224", _ANY, "Su et al. 2020, HyperIQA"),
    "deepvit": _row(DeepVit, DeepVitConfig, "one image, 224x224", _ANY, "Zhou et al. 2021, DeepViT"),
}


@cache
def parameter_count(network: str, variant: str) -> int:
    """Parameters of a variant; built on torch's meta device, so in no memory."""
    kind = NETWORKS[network]
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in kind.module(kind.variants[variant]).parameters())
