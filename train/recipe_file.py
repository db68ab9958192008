"""Recipes as TOML: read with every mistake named by key and file, written so that they read back the same."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from train.recipe import Recipe

RECIPES = Path(__file__).parent / "recipes"
_OTHERS = frozenset({"default"})  #: files there that are no `Recipe`
_ADAPTER = TypeAdapter(Recipe)


class RecipeError(ValueError):
    """A recipe cannot be used; the message names file, key and mend."""


def names() -> tuple[str, ...]:
    """The shipped recipes."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.toml") if path.stem not in _OTHERS))


def find(name: str) -> Path:
    """The file of a shipped recipe, or the path itself. Raises RecipeError when there is neither."""
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise RecipeError(f"recipe {name} does not exist; shipped are {', '.join(names())}")
        return path
    if name not in names():
        raise RecipeError(f"there is no recipe {name!r}{nearest(name, names())}; name one of "
                          f"{', '.join(names())}, or a .toml file")  # fmt: skip
    return RECIPES / f"{name}.toml"


def read(name: str, changes: Mapping[str, object] | None = None) -> Recipe:
    """A shipped recipe by name, or a file. Raises RecipeError.

    changes: dotted key -> value, put in place of the file's: {"loss.ranking": 0.5}.
    """
    path = find(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error
    for key, value in (changes or {}).items():
        _put(values, key, value)
    return from_values(values, path.name)


def change(text: str) -> tuple[str, object]:
    """KEY=VALUE of the command line, the value as TOML writes it, or a bare word. Raises RecipeError."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise RecipeError(f"{text!r} is not KEY=VALUE, such as epochs=20 or loss.ranking=0.5")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def from_values(values: Mapping[str, object], source: str) -> Recipe:
    """Raises RecipeError naming the source and the first key that is wrong."""
    check_keys(values, Recipe, source)
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"] if not str(part).startswith("LossConfig"))
        said = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{source}: {key}: {said}" if key else f"{source}: {said}") from error


def check_keys(values: Mapping[str, object], kind: type[Any], source: str, above: str = "") -> None:
    """Raise RecipeError naming the first key that the dataclass does not have, and the closest it has."""
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            near = nearest(key, hints, above)
            raise RecipeError(f"{source}: there is no key {above}{key}{near}; there are {', '.join(hints)}")
        inner = _dataclass_of(hints[key])
        if inner is not None and isinstance(value, Mapping):
            check_keys(value, inner, source, f"{above}{key}.")


def _dataclass_of(hint: Any) -> type[Any] | None:
    """The dataclass that a field holds, also where it may be None."""
    if get_origin(hint) in (Union, UnionType):
        return next((found for one in get_args(hint) if (found := _dataclass_of(one))), None)
    return hint if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None


def nearest(key: str, known: Any, above: str = "") -> str:
    """The known name that is most like the key, for the end of a message, or nothing."""
    found = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f" (closest: {above}{found[0]})" if found else ""


def _put(values: dict[str, Any], key: str, value: object) -> None:
    *folders, last = key.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
        if not isinstance(values, dict):
            raise RecipeError(f"{key}: {folder} is a value, not a table")
    values[last] = value


def to_toml(recipe: Recipe) -> str:
    """TOML that `from_values` reads back as the same recipe; what is unset is left out."""
    return "\n".join(_lines(json.loads(_ADAPTER.dump_json(recipe)), ""))


def _lines(values: Mapping[str, Any], above: str) -> list[str]:
    plain = {key: value for key, value in values.items() if not isinstance(value, dict) and value is not None}
    lines = [f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items()]
    for key, value in values.items():
        if isinstance(value, dict) and value:
            path = f"{above}{_key(key)}"
            lines += ["", f"[{path}]", *_lines(value, f"{path}.")]
    return [*lines, ""] if not above else lines


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() else json.dumps(key)
