"""Recipes: the shipped ones, their keys, what contradicts itself, and the learning rates they ask for."""

from __future__ import annotations

import ast
import inspect
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from models.networks import NETWORKS
from models.preparation import Preparation
from train import recipe as module
from train import recipe_file
from train.recipe import Recipe, ScheduleRecipe
from train.recipe_file import RecipeError
from train.run.network import build, configuration
from train.run.rate import learning_rate

SHIPPED = recipe_file.names()


def test_the_papers_and_the_house_have_recipes() -> None:
    assert {"miqanet", "clinreadnet", "mediqa-upstream", "mediqa-downstream", "house"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_fits_its_network_and_reads_back(name: str) -> None:
    recipe = recipe_file.read(name)
    assert recipe.description
    assert recipe_file.from_values(tomllib.loads(recipe_file.to_toml(recipe)), name) == recipe
    with torch.device("meta"):
        NETWORKS[recipe.network.name].module(configuration(recipe))


def test_the_recipes_say_what_the_papers_say() -> None:
    miqanet, clinreadnet = recipe_file.read("miqanet"), recipe_file.read("clinreadnet")
    assert (miqanet.folds.k, miqanet.epochs, miqanet.seed) == (8, 50, 20)
    assert clinreadnet.epochs == 80 and clinreadnet.batch == 8 and clinreadnet.optimiser.name == "nadam"
    assert clinreadnet.loss.ordinal is not None and clinreadnet.preparation.side == 512
    assert clinreadnet.preparation.ct_window_hu == (-1000.0, 400.0)  # level -300, width 1400
    upstream, downstream = recipe_file.read("mediqa-upstream"), recipe_file.read("mediqa-downstream")
    assert upstream.optimiser.learning_rate == downstream.optimiser.learning_rate == 1e-5
    assert upstream.batch == downstream.batch == 1 and downstream.folds.shares == (8, 1, 1)
    assert upstream.folds.kind == "scanners" and configuration(upstream).parameters == ("mas", "tesla")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("epoch", 3, r"house\.toml: there is no key epoch \(closest: epochs\)"),
        ("loss.rankin", 1, r"no key loss\.rankin \(closest: loss\.ranking\); there are mse"),
        ("loss.ordinal.grade", 3, r"no key loss\.ordinal\.grade \(closest: loss\.ordinal\.grades\)"),
        ("preparation.sides", 3, r"no key preparation\.sides \(closest: preparation\.side\)"),
        ("epochs", "many", r"house\.toml: epochs: .*integer"),
        ("stage", "finish", r"house\.toml: stage: .*'pretrain' or 'finetune'"),
        ("epochs", 0, r"epochs 0 is not above 0"),
        ("epochs.of", 0, r"epochs is a value, not a table"),
    ],
)
def test_a_wrong_key_is_named_with_the_closest_and_the_file(key: str, value: object, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe_file.read("house", {key: value})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"augmentation.rotation_degrees": 5.0}, "interpolate, which blurs; say resampling"),
        ({"loss.mse": 0.0}, "all 0: nothing would be learnt"),
        ({"loss.ordinal": {}}, "ordinal stands alone"),
        ({"loss.plcc": 1.0, "batch": 1}, "compare 2 rows or more"),
        ({"stopping.patience": 3}, r"set folds\.validation"),
        ({"parameters": ["mas"]}, "only pretrain has some"),
        ({"schedule.name": "step"}, "needs a period"),
        ({"slices": 8}, "expected 1 to 7"),
        ({"prompts": ["colour"]}, "do not exist; there are dimension"),
        ({"start.path": "x"}, "of no use with kind 'shipped'"),
        ({"folds.k": 1}, "expected 2 folds or more"),
    ],
)
def test_parts_that_contradict_each_other(changes: dict[str, object], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe_file.read("house", changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network.name": "unheard"}, "'unheard' is unknown; there are maniqa"),
        ({"network.variant": "huge"}, "no variant 'huge'; there are lite0"),
        (
            {"network.config": {"dropuot": 0.1}},
            r"network\.config: there is no key dropuot \(closest: dropout\)",
        ),
        ({"network.config": {"dropout": 2.0}}, "dropout 2.0 is not in"),
        ({"prompts": ["region"]}, "stages listens to none"),
        ({"network": {"name": "mediqa"}, "augmentation.crop": 64}, "mediqa takes whole slices"),
    ],
)
def test_what_the_network_cannot_be(changes: dict[str, object], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        configuration(recipe_file.read("house", changes))


def test_changes_reach_inside_a_variant() -> None:
    changed = configuration(recipe_file.read("miqanet", {"network.config": {"maniqa": {"dropout": 0.2}}}))
    assert changed.maniqa.dropout == 0.2 and changed.maniqa.widths == (768, 384)
    off = configuration(recipe_file.read("mediqa-upstream", {"prompts": ["modality"]}))
    assert off.prompt_parts == ("modality",)


def test_freezing_and_starting_need_something_to_freeze_and_start_from() -> None:
    small = {
        "network.config": {"filters": 2, "widths": [4, 4]},
        "network.name": "cnniqa",
        "preparation.side": 32,
    }
    with pytest.raises(RecipeError, match="cnniqa has none"):
        build(recipe_file.read("house", {**small, "start.kind": "scratch"}))
    with pytest.raises(RecipeError, match="name it with --start"):
        build(recipe_file.read("house", {**small, "start.kind": "checkpoint", "freeze": "none"}))


def test_names_files_and_changes_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'hose' \(closest: house\)"):
        recipe_file.read("hose")
    with pytest.raises(RecipeError, match="does not exist; shipped are"):
        recipe_file.read(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("epochs = = 3")
    with pytest.raises(RecipeError, match=r"bad\.toml is not valid TOML"):
        recipe_file.read(str(tmp_path / "bad.toml"))
    assert recipe_file.change("epochs=20") == ("epochs", 20)
    assert recipe_file.change("loss.ranking = 0.5") == ("loss.ranking", 0.5)
    assert recipe_file.change("start.kind=scratch") == ("start.kind", "scratch")
    assert recipe_file.change('parameters=["mas"]') == ("parameters", ["mas"])
    with pytest.raises(RecipeError, match="is not KEY=VALUE"):
        recipe_file.change("epochs")


def _recipe_classes() -> list[type[Any]]:
    return [
        one for _, one in inspect.getmembers(module, inspect.isclass)
        if is_dataclass(one) and one.__module__ == module.__name__
    ]  # fmt: skip


@pytest.mark.parametrize("kind", _recipe_classes(), ids=lambda kind: kind.__name__)
def test_every_field_of_a_recipe_is_explained(kind: type[Any]) -> None:
    source = inspect.getsource(kind)
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    lines = source.splitlines()
    explained = set()
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            first, last = statement.lineno - 1, statement.end_lineno or statement.lineno
            if any("#: " in line for line in lines[first:last]) or lines[first - 1].strip().startswith("#"):
                explained.add(statement.target.id)
    assert {one.name for one in fields(kind)} == explained


def _torch_rates(kind: type[Any], epochs: int, **options: Any) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = kind(optimiser, **options)
    rates = []
    for _ in range(epochs):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("recipe", "kind", "options"),
    [
        (ScheduleRecipe(name="cosine", floor=0.01), "CosineAnnealingLR", {"T_max": 12, "eta_min": 0.01}),
        (ScheduleRecipe(name="restarts", period=4), "CosineAnnealingWarmRestarts", {"T_0": 4}),
        (ScheduleRecipe(name="restarts", period=2, growth=2.0), "CosineAnnealingWarmRestarts",
         {"T_0": 2, "T_mult": 2}),
        (ScheduleRecipe(name="step", period=3, factor=0.5), "StepLR", {"step_size": 3, "gamma": 0.5}),
        (ScheduleRecipe(), "ConstantLR", {"factor": 1.0}),
    ],
    ids=lambda value: value.name if isinstance(value, ScheduleRecipe) else "",
)  # fmt: skip
def test_rates_are_those_of_torch(recipe: ScheduleRecipe, kind: str, options: dict[str, Any]) -> None:
    expected = _torch_rates(getattr(torch.optim.lr_scheduler, kind), 12, **options)
    assert [learning_rate(recipe, 0.1, epoch, 12) for epoch in range(12)] == pytest.approx(expected)


def test_a_recipe_needs_a_side_where_it_has_a_preparation() -> None:
    assert Recipe().preparation == Preparation(side=224)
    with pytest.raises(RecipeError, match=r"preparation\.side"):
        recipe_file.from_values({"preparation": {"mr_percentiles": [1, 99]}}, "x")
