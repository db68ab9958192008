"""Ablation tables: the shipped ones are the papers', and mistakes in them are named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from models.clinreadnet import ABLATIONS as CLINREADNET
from models.clinreadnet import ClinReadNetConfig
from models.miqanet import ABLATIONS as MIQANET
from models.miqanet import MiqanetConfig
from models.prompt import PARTS
from train.ablate import runs, table
from train.ablate.table import Printed
from train.losses import LossConfig
from train.recipe_file import RecipeError
from train.run.network import build, configuration

PATIENT = "SECRET-PATIENT-8"
# The shipped tables


@pytest.mark.parametrize(("name", "printed"), [("miqanet-iv", "IV"), ("miqanet-vi", "VI")])
def test_miqanets_rows_are_the_papers(name: str, printed: str) -> None:
    found = table.read(name)
    assert [row.name for row in found.rows] == [*MIQANET[printed]]
    for row, (title, told) in zip(found.rows, MIQANET[printed].items(), strict=True):
        recipe = found.recipe_of(row, 7)
        assert configuration(recipe) == MiqanetConfig(**told.model), title
        assert (row.paper.plcc, row.paper.srocc) == (told.plcc, told.srocc)
        assert recipe.start.kind == told.init and recipe.seed == 7 and not recipe.final


@pytest.mark.parametrize("printed", [*CLINREADNET])
def test_clinreadnets_rows_are_the_papers(printed: str) -> None:
    found = table.read(f"clinreadnet-{printed}")
    assert [row.name for row in found.rows] == [*CLINREADNET[printed]]
    for row, (title, told) in zip(found.rows, CLINREADNET[printed].items(), strict=True):
        recipe = found.recipe_of(row, 7)
        assert configuration(recipe) == ClinReadNetConfig(**told.model), title
        assert recipe.loss.ordinal == LossConfig(**told.loss), title
        assert row.paper == Printed(plcc=told.plcc, srocc=told.srocc, krocc=told.krocc, score=told.score)


def test_mediqas_rows_switch_one_module_each_and_pretraining_shares_their_network() -> None:
    found = table.read("mediqa")
    switched = {
        row.name: (row.pretrained, recipe.prompts is None, recipe.slices == 7)
        for row in found.rows
        if (recipe := found.recipe_of(row, 1))
    }
    assert switched == {
        "none of them (Ours-s)": (False, False, False), "PM + SS": (False, True, True),
        "PT + SS": (True, False, True), "PT + PM": (True, True, False),
        "PT + PM + SS (Ours-e)": (True, True, True),
    }  # fmt: skip
    for row in found.rows:
        if row.pretrained:
            first, second = found.pretraining_of(row, 1, small=True), found.recipe_of(row, 1, small=True)
            assert first.parameters == ("mas", "tesla") and (first.prompts, first.slices) == (
                second.prompts, second.slices,
            )  # fmt: skip
            assert configuration(first).maniqa == configuration(second).maniqa
            assert configuration(second).prompt_parts == (() if "PM" not in row.name else PARTS)


@pytest.mark.parametrize("name", table.names())
def test_every_small_row_has_the_same_switches_on_a_small_network(name: str) -> None:
    found = table.read(name)
    for row in found.chosen(small=True):
        recipe = found.recipe_of(row, 1, small=True)
        assert runs.parameters(recipe) < 2_000_000
        module = build(
            recipe if recipe.start.kind == "scratch" else found.recipe_of(found.rows[0], 1, small=True)
        )
        side = recipe.augmentation.crop or recipe.preparation.side
        assert torch.isfinite(module(torch.rand(2, 3, side, side)).score).all()
        whole, small = (configuration(found.recipe_of(row, 1, small=small)) for small in (False, True))
        switches = {"cnn", "swin", "ap", "deform", "decoder", "soqn", "residual", "attention", "temperatures",
                    "progressive", "prompt_parts", "pooling"}  # fmt: skip
        for switch in switches & asdict(whole).keys():
            assert getattr(whole, switch) == getattr(small, switch), (row.name, switch)


# Reading


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("full = ", "whole = "), "tiny.toml: there is no key whole"),
        (('full = "both"', 'full = "bath"'), "there is no row 'bath' (closest: both)"),
        (('name = "both"\npaper', 'name = "both"\npapers'), "row 'both': there is no key papers"),
        (("srocc = 0.8", "srcc = 0.8"), "srcc"),
        (('"network.config.widths" = [4, 4]', '"network.config.wides" = 4'), "'less / one': network.config"),
        (('"epochs" = 2', '"epoch" = 2'), "there is no key epoch (closest: epochs)"),
        (('name = "both"', 'name = "both"\npretrained = true'), "no table pretrain"),
        (('name = "less / one"', 'name = "both"'), "two rows are called 'both'"),
        (('"epochs" = 2', '"epochs" = 0'), "epochs"),
        (('recipe = "miqanet"', 'recipe = "mikanet"'), "there is no recipe 'mikanet' (closest: miqanet)"),
        (("[[rows]]", "[[rows"), "is not valid TOML"),
    ],
    ids=lambda one: one if isinstance(one, str) else one[1][:16],
)  # fmt: skip
def test_mistakes_in_a_table_are_named(
    change: tuple[str, str], told: str, tiny_table: Callable[..., Path]
) -> None:
    with pytest.raises(RecipeError) as raised:
        table.read(str(tiny_table(change)))
    assert told in str(raised.value)


def test_rows_are_chosen_by_name_or_number_and_the_full_one_always() -> None:
    found = table.read("miqanet-iv")
    assert [row.name for row in found.chosen(["3", "Swin-T"])] == ["ResNet34", "Swin-T", found.full]
    assert len(found.chosen()) == 10 and len(found.chosen(small=True)) == 7
    with pytest.raises(RecipeError, match="cannot be made small"):
        found.chosen(["VGG19"], small=True)
    with pytest.raises(RecipeError, match="there is no row 'Swin'"):
        found.chosen(["Swin"])
    assert found.against("4").full == "Swin-T"
    with pytest.raises(RecipeError, match=r"closest: mediqa"):
        table.read("medika")
