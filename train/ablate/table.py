"""An ablation as TOML: what each row changes in a recipe, and what the paper prints for it.

Read as strictly as recipes: every mistake is named by file, row and key, before anything is trained.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from train import recipe_file
from train.recipe import Recipe
from train.recipe_file import RecipeError, check_keys, nearest
from train.run.network import configuration

TABLES = Path(__file__).parent / "tables"
#: What pre-training must share with the row whose weights it makes.
_SHARED = ("network.", "preparation.", "slices", "prompts")

Changes = Mapping[str, Any]  #: dotted key of a recipe -> value


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What the paper prints for a row, on its own data; None where it prints nothing."""

    plcc: float | None = None
    srocc: float | None = None
    krocc: float | None = None
    score: float | None = None  #: the sum of the three


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table."""

    name: str  #: as printed, or after the ticks
    changes: Changes = field(default_factory=dict)  #: to the recipe of the full system
    pretrained: bool = False  #: first trained on physical parameters, as the table's `pretrain` says
    paper: Printed = field(default_factory=Printed)
    #: What the paper's text says of the row against the full system, where it prints no figure.
    claim: Literal["", "worse", "better"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrain:
    """The first stage of rows that have one."""

    recipe: str  #: a shipped recipe of that stage
    changes: Changes = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    """The same switches on networks that a CPU trains in seconds."""

    description: str
    rows: tuple[str, ...] = ()  #: that can be made small; none: all
    changes: Changes = field(default_factory=dict)  #: a row's own changes win over them
    pretrain: Changes = field(default_factory=dict)  #: the same for pre-training


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """One table. Raises ValueError for rows that repeat or do not exist."""

    title: str
    recipe: str  #: a shipped recipe
    full: str  #: name of the row that is the paper's full system
    rows: tuple[Row, ...]
    judged_by: Literal["srocc", "plcc"] = "srocc"  #: the figure whose differences are judged
    note: str = ""  #: what a reader of the paper's figures should know
    changes: Changes = field(default_factory=dict)  #: to the recipe, in every row
    pretrain: Pretrain | None = None
    small: Small | None = None

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two rows are called {sorted(repeated)[0]!r}")
        for name in (self.full, *(self.small.rows if self.small else ())):
            if name not in names:
                raise ValueError(f"there is no row {name!r}{nearest(name, names)}")
        if self.small and self.small.rows and self.full not in self.small.rows:
            raise ValueError(f"small.rows lack {self.full!r}, which the others are compared with")
        if self.pretrain is None and any(row.pretrained for row in self.rows):
            raise ValueError("rows are pretrained, but there is no table pretrain")

    def name_of(self, text: str) -> str:
        """A row by its name or its number from 1. Raises RecipeError."""
        there = [row.name for row in self.rows]
        if text.isdigit() and 0 < int(text) <= len(there):
            return there[int(text) - 1]
        if text not in there:
            told = ", ".join(f"{number} {name}" for number, name in enumerate(there, start=1))
            raise RecipeError(f"there is no row {text!r}{nearest(text, there)}; there are {told}")
        return text

    def chosen(self, wanted: Sequence[str] = (), *, small: bool = False) -> tuple[Row, ...]:
        """Rows by name or number, the full one always; none: all that there are. Raises RecipeError."""
        if small and self.small is None:
            raise RecipeError(f"{self.title}: it has no small form; train it without --small")
        possible = [row.name for row in self.rows]
        if small and self.small and self.small.rows:
            possible = [*self.small.rows]
        named = [self.name_of(text) for text in wanted]
        if large := [name for name in named if name not in possible]:
            raise RecipeError(f"row {large[0]!r} cannot be made small; train it without --small")
        kept = {*(named or possible), self.full}
        return tuple(row for row in self.rows if row.name in kept)

    def against(self, text: str) -> Ablation:
        """The same table with another row as the one that the rest is compared with. Raises RecipeError."""
        name = self.name_of(text)
        if self.small and self.small.rows and name not in self.small.rows:
            return replace(self, full=name, small=None)
        return replace(self, full=name)

    def recipe_of(self, row: Row, seed: int, *, small: bool = False, more: Changes | None = None) -> Recipe:
        """What one run of the row trains. more: last changes, of the command line. Raises RecipeError."""
        changes = self._changes(row, small) | {"final": False} | dict(more or {}) | {"seed": seed}
        return _checked(self.recipe, changes, f"row {row.name!r}")

    def pretraining_of(
        self, row: Row, seed: int, *, small: bool = False, more: Changes | None = None
    ) -> Recipe:
        """The first stage of a pretrained row: of the same network, on the same view of the images."""
        assert self.pretrain is not None
        shared = self._changes(row, small) | dict(more or {})
        changes = {key: value for key, value in shared.items() if key.startswith(_SHARED)}
        changes |= self.pretrain.changes
        changes |= self.small.pretrain if small and self.small else {}
        return _checked(
            self.pretrain.recipe, changes | {"seed": seed}, f"pre-training of row {row.name!r}"
        )  # fmt: skip

    def _changes(self, row: Row, small: bool) -> dict[str, Any]:
        return {**self.changes, **(self.small.changes if small and self.small else {}), **row.changes}


def _checked(name: str, changes: Changes, what: str) -> Recipe:
    try:
        recipe = recipe_file.read(name, deepcopy(changes))  # dotted keys are put into each other
        configuration(recipe)
    except RecipeError as error:
        raise RecipeError(f"{what}: {error}") from error
    return recipe


def names() -> tuple[str, ...]:
    """The shipped tables."""
    return tuple(sorted(path.stem for path in TABLES.glob("*.toml")))


def read(name: str) -> Ablation:
    """A shipped table by name, or a file; every row's recipe is built once. Raises RecipeError."""
    path = Path(name) if name.endswith(".toml") else TABLES / f"{name}.toml"
    if not path.is_file():
        raise RecipeError(f"there is no ablation {name!r}{nearest(name, names())}; name one of "
                          f"{', '.join(names())}, or a .toml file")  # fmt: skip
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error
    check_keys(values, Ablation, path.name)
    rows = values.get("rows", [])
    for number, row in enumerate(rows if isinstance(rows, list) else [], start=1):
        if isinstance(row, Mapping):
            check_keys(row, Row, f"{path.name}, row {row.get('name', number)!r}")
    try:
        found = TypeAdapter(Ablation).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key, said = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{path.name}: {key}: {said}" if key else f"{path.name}: {said}") from error
    try:
        _try(found)
    except RecipeError as error:
        raise RecipeError(f"{path.name}: {error}") from error
    return found


def _try(found: Ablation) -> None:
    for small in (False, True) if found.small else (False,):
        for row in found.chosen((), small=small):
            found.recipe_of(row, 0, small=small)
            if row.pretrained:
                found.pretraining_of(row, 0, small=small)
