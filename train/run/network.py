"""The network of a recipe: configured, filled, frozen, and asked in the one way the loop knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from models.mediqa import Mediqa
from models.networks import NETWORKS
from models.output import Output
from models.prompt import PARTS, PromptVocabulary
from train.data.case import QUALITY
from train.initial_weights import InitialWeights, backbones, initialise
from train.recipe import Recipe
from train.recipe_file import RecipeError, check_keys


def configuration(recipe: Recipe) -> Any:
    """The network's configuration: the variant's, with the recipe's changes.

    Raises RecipeError for an unknown network, variant or key, and for changes the network has no use for.
    """
    name = recipe.network.name
    if name not in NETWORKS:
        raise RecipeError(f"network.name {name!r} is unknown; there are {', '.join(NETWORKS)}")
    kind = NETWORKS[name]
    variant = recipe.network.variant or next(iter(kind.variants))
    if variant not in kind.variants:
        raise RecipeError(f"{name} has no variant {variant!r}; there are {', '.join(kind.variants)}")
    changes = dict(recipe.network.config)
    check_keys(changes, kind.config, "network.config")
    if kind.module is Mediqa:
        changes |= {} if recipe.prompts is None else {"prompt_parts": recipe.prompts}
        changes |= {"parameters": recipe.parameters}
    elif recipe.prompts:
        raise RecipeError(f"prompts {recipe.prompts}: {name} listens to none; leave them out, or use mediqa")
    if kind.module is Mediqa and recipe.augmentation.crop:
        raise RecipeError("augmentation.crop: mediqa takes whole slices of a series; set it to 0")
    adapter = TypeAdapter(kind.config)
    merged = _merged(adapter.dump_python(kind.variants[variant]), changes)
    try:
        return adapter.validate_python(merged)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, ("network", "config", *first["loc"])))
        raise RecipeError(f"{key}: {first['msg'].removeprefix('Value error, ')}") from error


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(values)
    for key, value in changes.items():
        inner = found.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            found[key] = _merged(inner, value)
        else:
            found[key] = value
    return found


def build(recipe: Recipe, *, folder: Path | None = None) -> nn.Module:
    """A network with the weights it starts from; the same for the same recipe.

    folder: what a relative path of the recipe counts from. Raises RecipeError, WeightsError.
    """
    config = configuration(recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        module = NETWORKS[recipe.network.name].module(config)
        initialise(module, initial_weights(recipe, folder))
    for parameter in frozen(module, recipe):
        parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise RecipeError(f"freeze = {recipe.freeze!r} leaves nothing of {recipe.network.name} to train")
    return module


def initial_weights(recipe: Recipe, folder: Path | None) -> InitialWeights:
    """Where the recipe starts; a relative path counts from the folder. Raises RecipeError for none."""
    start = recipe.start
    if start.kind == "checkpoint" and not start.path:
        raise RecipeError("start.kind = 'checkpoint' needs the file of a former run: name it with --start")
    path = (folder or Path()) / start.path if start.path else None
    return InitialWeights(kind=start.kind, path=path)


def frozen(module: nn.Module, recipe: Recipe) -> list[nn.Parameter]:
    """The parameters that the recipe keeps. Raises RecipeError where there is no backbone to freeze."""
    if recipe.freeze == "none":
        return []
    found = backbones(module)
    if not found:
        raise RecipeError(f"freeze = 'backbone', but {recipe.network.name} has none; use freeze = 'none'")
    return [parameter for backbone in found.values() for parameter in backbone.parameters()]


def train_mode(module: nn.Module, recipe: Recipe) -> None:
    """Training mode; a frozen backbone keeps its batch-norm statistics and drops nothing."""
    module.train()
    if recipe.freeze == "backbone":
        for backbone in backbones(module).values():
            backbone.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What the network is given: N rows of one task."""

    #: (N, 3, H, W) slices, (N, S, 3, H, W) series, or (N, F) features computed before.
    images: Tensor
    prompts: Tensor | None = None  #: (N, width)
    present: Tensor | None = None  #: (N, S), False where a series has fewer slices
    task: str = QUALITY

    def to(self, device: torch.device) -> Batch:
        moved = {
            name: value.to(device, non_blocking=True)
            for name in ("images", "prompts", "present")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved)


class Asked:
    """A network with what the loop must know of it."""

    def __init__(self, module: nn.Module, recipe: Recipe) -> None:
        self.module = module
        self.series = isinstance(module, Mediqa)  #: takes all slices of a series at once
        self.vocabulary: PromptVocabulary | None = (
            module.config.vocabulary if isinstance(module, Mediqa) and module.prompts is not None else None
        )
        #: Its features never change, so that they are computed once and only `judge` is trained.
        self.by_features = (
            hasattr(module, "judge") and recipe.freeze == "backbone" and not recipe.augmentation.anything
        )

    def __call__(self, batch: Batch) -> Output:
        if self.by_features:
            return cast(Any, self.module).judge(batch.images)
        if isinstance(self.module, Mediqa):
            return self.module(batch.images, batch.prompts, batch.present, batch.task)
        return self.module(batch.images)

    def encode(self, words: Mapping[str, str]) -> tuple[float, ...]:
        """A prompt; words the network was not built for count as unknown."""
        assert self.vocabulary is not None
        known = {part: words[part] for part in PARTS if words.get(part) in self.vocabulary.words(part)}
        return self.vocabulary.encode(**known)
