"""The decision table as a form and as TOML."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from qagate.config import PolicyRuleSettings
from qagate.gate.policy import Policy, PolicyError, PolicyRule
from qagate.web.errors import Problem
from qagate.web.texts import gettext as _

MATCHES = ("modality", "region", "type", "station", "protocol")
LIMITS = ("review_below", "repeat_below", "review_below_baseline", "repeat_below_baseline")
MEASURES = ("review_above", "review_under")
FIELDS = ("name", *MATCHES, *LIMITS, *MEASURES)
MOST_RULES = 50


def rows_of(policy: Policy) -> list[dict[str, str]]:
    """Each rule as the texts of its fields, in order."""
    return [{name: _text(getattr(rule, name)) for name in FIELDS} for rule in policy.rules]


def policy_of(rows: Sequence[Mapping[str, str]]) -> Policy:
    """The table of a form; rows without a name are left out. Raises Problem 422 that names rule and mend."""
    rules = []
    for row in rows:
        if row["name"].strip():
            rules.append(_rule(row))
    if not rules:
        raise Problem(422, _("Give at least one rule a name; without rules nothing is decided."))
    return Policy(rules=tuple(rules))


def _rule(row: Mapping[str, str]) -> PolicyRule:
    values: dict[str, Any] = {"name": row["name"].strip()}
    values |= {name: row[name].strip() for name in MATCHES if row[name].strip()}
    for name in LIMITS:
        text = row[name].strip().replace(",", ".")
        if text:
            values[name] = text
    try:
        for name in MEASURES:
            values[name] = tomllib.loads(f"x = {{{row[name]}}}")["x"] if row[name].strip() else {}
        return PolicyRule(**PolicyRuleSettings(**values).model_dump())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        said = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    except tomllib.TOMLDecodeError:
        said = _("write measures as noise_hu = 20, snr_air = 15")
    except PolicyError as error:
        said = str(error)
    raise Problem(
        422, _("Rule %(name)s cannot be used: %(said)s.", name=values["name"], said=said.rstrip("."))
    )


def toml_of(policy: Policy) -> str:
    """The table as it would stand in the settings' file."""
    return "\n".join(_toml(rule) for rule in policy.rules)


def _toml(rule: PolicyRule) -> str:
    lines = ["[[rule]]"]
    for name in FIELDS:
        value = getattr(rule, name)
        if value is None or value == {}:
            continue
        if isinstance(value, Mapping):
            inside = ", ".join(f"{_key(key)} = {number:g}" for key, number in value.items())
            lines.append(f"{name} = {{{inside}}}")
        else:
            lines.append(f"{name} = {_string(value) if isinstance(value, str) else f'{value:g}'}")
    return "\n".join(lines) + "\n"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{_key(key)} = {number:g}" for key, number in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _string(name)


def _string(text: str) -> str:
    """A TOML basic string; JSON escapes what TOML does, except DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
