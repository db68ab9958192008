"""What one training is: a documented dataclass, written as TOML (`train.recipe_file`).

Contradictions raise ValueError here; unknown keys, with the file, in `train.recipe_file`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from models.preparation import Preparation
from models.prompt import PARTS
from qagate.gate.slices import SALIENT_COUNT
from train.losses import LossConfig


def _positive(owner: object, *names: str) -> None:
    for name in names:
        if not getattr(owner, name) > 0:
            raise ValueError(f"{name} {getattr(owner, name)} is not above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecipe:
    """Which network."""

    name: str = "timm"  #: a key of `models.networks.NETWORKS`
    variant: str = ""  #: one of that network's; empty: its usual one
    #: Fields of the variant's configuration to replace, nested as it is: {maniqa = {scale = 0.13}}.
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What the network holds before the first step. Raises ValueError for a path without use."""

    #: scratch: chance. imagenet: the backbones' published weights, fetched or from the folder `path`.
    #: shipped: the package's EfficientNet-Lite0. checkpoint: a network file, as a former run wrote it.
    kind: Literal["scratch", "imagenet", "shipped", "checkpoint"] = "scratch"
    path: str = ""  #: relative to the recipe; a checkpoint's may be named on the command line instead

    def __post_init__(self) -> None:
        if self.path and self.kind in ("scratch", "shipped"):
            raise ValueError(f"path {self.path!r} is of no use with kind {self.kind!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRecipe:
    """A weighted sum, on targets scaled to 0..1; or the ordinal loss, alone. ValueError when all are 0."""

    mse: float = 1.0  #: weight of the mean squared error
    ranking: float = 0.0  #: weight of the pairwise hinge loss (`train.losses.ranking_loss`)
    plcc: float = 0.0  #: weight of 1 - Pearson's correlation within the batch
    margin: float = 0.1  #: of the hinge, on the 0..1 scale
    ordinal: LossConfig | None = None  #: ClinReadNet's loss; the others must then be 0

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in ("mse", "ranking", "plcc")}
        if low := [name for name, weight in weights.items() if weight < 0]:
            raise ValueError(f"{low[0]} {weights[low[0]]} is below 0")
        if self.ordinal is not None and any(weights.values()):
            raise ValueError("ordinal stands alone: set mse, ranking and plcc to 0")
        if self.ordinal is None and not any(weights.values()):
            raise ValueError("mse, ranking and plcc are all 0: nothing would be learnt")
        _positive(self, "margin")

    @property
    def compares(self) -> bool:
        """Whether it needs several rows at once."""
        return self.ranking > 0 or self.plcc > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserRecipe:
    """How steps are made."""

    name: Literal["adam", "nadam", "adamw"] = "adam"  #: of the method
    learning_rate: float = 1e-4  #: at its highest
    #: Added to the gradient by adam and nadam; decoupled, and of matrices only, in adamw.
    weight_decay: float = 0.0
    clip: float = 0.0  #: largest norm of the gradient; 0: any

    def __post_init__(self) -> None:
        _positive(self, "learning_rate")
        if self.weight_decay < 0 or self.clip < 0:
            raise ValueError(f"weight_decay {self.weight_decay} and clip {self.clip} must be 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecipe:
    """The learning rate by epoch."""

    #: cosine: to `floor` over `period` epochs and back. restarts: cosine down, then from the start again,
    #: each period `growth` times as long. step: times `factor` after every `period` epochs.
    name: Literal["none", "cosine", "restarts", "step"] = "none"
    period: int = 0  #: epochs; 0: all of them
    growth: float = 1.0  #: of the period after each restart
    factor: float = 0.75  #: of a step
    floor: float = 0.0  #: lowest learning rate of cosine and restarts

    def __post_init__(self) -> None:
        if self.period < 0 or self.floor < 0:
            raise ValueError(f"period {self.period} and floor {self.floor} must be 0 or more")
        if self.name == "step" and not self.period:
            raise ValueError("a step schedule needs a period in epochs")
        if self.growth < 1:
            raise ValueError(f"growth {self.growth} is below 1")
        _positive(self, "factor")


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationRecipe:
    """Changes that leave quality alone. ValueError for a resampling one that `resampling` does not allow."""

    flips: bool = False  #: left-right and up-down, each in half of the rows
    turns: bool = False  #: by quarters, exact
    rotation_degrees: float = 0.0  #: largest; interpolates
    scale: tuple[float, float] = (1.0, 1.0)  #: smallest and largest; interpolates
    resampling: bool = False  #: allow what interpolates: it blurs, which labels of sharpness do not forgive
    crop: int = 0  #: pixels a side of a random crop, five crops in tests; 0: whole. The gate resizes instead.

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(f"scale {self.scale}: expected two rising numbers above 0")
        if self.rotation_degrees < 0 or self.crop < 0:
            raise ValueError(
                f"rotation_degrees {self.rotation_degrees} and crop {self.crop} must be 0 or more"
            )
        if self.interpolates and not self.resampling:
            raise ValueError("rotation_degrees and scale interpolate, which blurs; say resampling = true")

    @property
    def interpolates(self) -> bool:
        return self.rotation_degrees > 0 or self.scale != (1.0, 1.0)

    @property
    def anything(self) -> bool:
        return self.flips or self.turns or self.interpolates or self.crop > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldsRecipe:
    """Who is tested on whom. No kind but `random` splits a patient, a study or a reference volume."""

    #: groups: k folds of whole patients. references: each reference volume left out once. scanners: k folds
    #: of whole scanners. split: one division by `shares`. given: the data set's own division. random: k folds
    #: of rows, as some papers did.
    kind: Literal["groups", "references", "scanners", "split", "given", "random"] = "groups"
    k: int = 5  #: folds of groups, scanners and random
    shares: tuple[float, float, float] = (8.0, 1.0, 1.0)  #: of a split: training, validation, test
    #: Share of each fold's training rows that is held back to choose the epoch; 0: none, unless the division
    #: has a part for it.
    validation: float = 0.0

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ValueError(f"k {self.k}: expected 2 folds or more")
        if min(self.shares) <= 0:
            raise ValueError(f"shares {self.shares}: expected 3 positive numbers")
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation {self.validation} is not in [0, 1)")

    @property
    def validates(self) -> bool:
        """Whether there are validation rows."""
        return self.validation > 0 or self.kind == "split"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingRecipe:
    """When to stop, and which epoch counts; always by the inner validation rows, never by the test."""

    patience: int = 0  #: epochs without a better figure before the training stops; 0: never
    watch: Literal["loss", "srocc", "plcc"] = "srocc"  #: of the validation rows; loss: squared error
    keep: Literal["best", "last"] = "last"  #: the epoch whose weights count; both are reported

    def __post_init__(self) -> None:
        if self.patience < 0:
            raise ValueError(f"patience {self.patience} is below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training, from labels to weights. Raises ValueError for parts that contradict each other."""

    description: str = ""  #: for people
    stage: Literal["pretrain", "finetune"] = "finetune"  #: on physical parameters, or on scores
    network: NetworkRecipe = field(default_factory=NetworkRecipe)  #: which
    #: How slices become the network's input; a table of its own needs at least `side`.
    preparation: Preparation = field(default_factory=lambda: Preparation(side=224))
    slices: int = SALIENT_COUNT  #: of a series, evenly among the salient ones; 1 to 7
    prompts: tuple[str, ...] | None = None  #: prompt parts that are listened to; unset: the network's own
    parameters: tuple[str, ...] = ()  #: of `train.physics`, learnt by pretrain: mas, effective_mas, ...
    start: Start = field(default_factory=Start)  #: the first weights
    freeze: Literal["none", "backbone"] = "none"  #: backbone: what timm built keeps its weights
    loss: LossRecipe = field(default_factory=LossRecipe)  #: what is lowered
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)  #: how
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)  #: how fast, by epoch
    epochs: int = 50  #: at most
    batch: int = 8  #: rows at a time: series for a network that pools slices, else slices
    accumulation: int = 1  #: batches that make one step
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  #: auto: bf16 on a GPU; a CPU takes fp32 only
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)  #: of training images
    folds: FoldsRecipe = field(default_factory=FoldsRecipe)  #: who is tested on whom
    stopping: StoppingRecipe = field(default_factory=StoppingRecipe)  #: when it is enough
    final: bool = True  #: after the folds, train once more on everything: the weights that are kept
    seed: int = 20  #: of every random choice

    def __post_init__(self) -> None:
        _positive(self, "epochs", "batch", "accumulation")
        if not 1 <= self.slices <= SALIENT_COUNT:
            raise ValueError(f"slices {self.slices}: expected 1 to {SALIENT_COUNT}, the salient ones")
        if strange := set(self.prompts or ()) - set(PARTS):
            raise ValueError(f"prompts {sorted(strange)} do not exist; there are {', '.join(PARTS)}")
        if (self.stage == "pretrain") != bool(self.parameters):
            raise ValueError(
                f"stage {self.stage!r} with parameters {self.parameters}: only pretrain has some"
            )
        if self.stage == "pretrain" and self.loss.ordinal is not None:
            raise ValueError("physical parameters have no grades: the ordinal loss is for finetune")
        if (self.stopping.patience or self.stopping.keep == "best") and not self.folds.validates:
            raise ValueError("stopping needs rows to choose by: set folds.validation, such as 0.125")
        if self.loss.compares and self.batch < 2:
            raise ValueError(f"batch {self.batch}: the ranking and plcc losses compare 2 rows or more")
