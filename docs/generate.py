"""Writes the pages of docs/ that are made from the code; tests/test_docs.py fails when they differ."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from models.registry import table
from models.rows import ABSENT
from qagate import config, config_template
from qagate.config_network import ArchiveSettings, Peer, ReceiverSettings
from qagate.gate.measures import MEASURES

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import conformance_report  # noqa: E402
import conformance_tables  # noqa: E402
from models_page import CHAPTERS, chapter  # noqa: E402

_HEAD = "<!-- Written by docs/generate.py; do not edit. -->\n"


def pages() -> dict[str, str]:
    """File name -> text of every generated page."""
    return {
        "settings.md": settings(),
        "measures.md": measures(),
        "models.md": models(),
        "conformance.md": conformance(),
    }


def settings() -> str:
    """Every setting: key, default, what it does."""
    lines = [
        _HEAD,
        "# Settings\n",
        "One TOML file; `qagate init` writes it with every line commented. Unknown keys are errors.",
        "Environment variables win over the file: `QAGATE_RECEIVER__PORT=104` sets `receiver.port`.",
    ]
    top: list[str] = []
    sections: list[str] = []
    for name, field in config.Settings.model_fields.items():
        section = _section(field)
        if section is None:
            top.append(_setting(name, field))
            continue
        repeated = get_origin(field.annotation) is tuple
        head = f"[[{name}]]" if repeated else f"[{name}]"
        about = f"{section.__doc__}" + (f" Repeatable: {field.description}." if repeated else "")
        sections += _section_rows(head, about, section)
    lines += ["", "## Top level\n", *_table(("key", "default", "meaning"), top), *sections]
    return "\n".join(lines) + "\n"


def _section_rows(head: str, about: str, section: type[BaseModel]) -> list[str]:
    """One section's table, then those of the sections inside it."""
    inner = {key: _section(field) for key, field in section.model_fields.items()}
    rows = [_setting(key, field) for key, field in section.model_fields.items() if inner[key] is None]
    lines = ["", f"## `{head}`\n", f"{about}\n", *_table(("key", "default", "meaning"), rows)]
    for key, nested in inner.items():
        if nested is not None:
            lines += _section_rows(f"{head[:-1]}.{key}]", f"{nested.__doc__}", nested)
    return lines


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a table or of a list of tables; None for a plain setting."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _setting(name: str, field: FieldInfo) -> str:
    choices = _choices(field)
    meaning = f"{field.description}" + (f" ({', '.join(choices)})" if choices else "")
    return _row((f"`{name}`", _default(field), meaning))


def _choices(field: FieldInfo) -> list[str]:
    kinds = (field.annotation, *get_args(field.annotation))
    literal = next((kind for kind in kinds if get_origin(kind) is Literal), None)
    return [f"`{choice}`" for choice in get_args(literal)]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "unset" if value is None else f"`{config_template.toml_value(value)}`"


def measures() -> str:
    """Every measure: formula, unit, direction, source."""
    rows = [
        _row(
            (
                f"`{spec.name}`",
                spec.formula,
                "" if spec.unit == "1" else f"`{spec.unit}`",
                spec.better,
                ", ".join(spec.modalities) or "all",
                "slice, median" if spec.per_slice else "stack",
                spec.citation,
            )
        )
        for spec in MEASURES.values()
    ]
    head = ("name", "formula", "unit (UCUM)", "better", "modalities", "of", "source")
    lines = [
        _HEAD,
        "# Measures\n",
        "Computed beside the model's score from the slices that are scored, in the units of the rescaled",
        "pixels. They explain a score and become findings of the report; the verdict follows from both.",
        "A measure that cannot be computed (no air in the image, no positions) is left out.\n",
        *_table(head, rows),
    ]
    return "\n".join(lines) + "\n"


def models() -> str:
    """The networks, and where each block and equation of their papers is."""
    rows = [
        _row((f"`{row.name}`", row.variant, f"{row.parameters / 1e6:.2f} M", row.input, row.source))
        for row in table()
        if row.parameters
    ]
    lines = [
        _HEAD,
        "# Models\n",
        "What each network is, where every block and equation of its paper stands in the code, and every",
        "deviation. `default` is the model that qagate ships; the others are trained by the house and are",
        "nothing without its labels. None is a medical device.\n",
        *_table(("name", "variant", "parameters", "input", "source"), rows),
        *(line for heading, files in CHAPTERS.items() for line in chapter(heading, files)),
        "\n## Absent\n",
        "Baselines of the papers' tables that are not here:\n",
        *(f"- {name}: {reason}" for name, reason in ABSENT.items()),
    ]
    return "\n".join(lines) + "\n"


def conformance() -> str:
    """The conformance statement: its prose as it stands, its tables made anew."""
    sections = {"receiver": ReceiverSettings, "peer": Peer, "archive": ArchiveSettings}
    made = {
        f"{name}-settings": list(
            _table(
                ("key", "default", "meaning"),
                [_setting(key, field) for key, field in section.model_fields.items()],
            )
        )
        for name, section in sections.items()
    }
    text = (HERE / "conformance.md").read_text(encoding="utf-8")
    tables = made | conformance_tables.tables() | conformance_report.tables()
    return conformance_tables.filled(text, tables)


def _table(head: tuple[str, ...], rows: Iterable[str]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    yield from rows


def _row(cells: tuple[str, ...]) -> str:
    # A bar would end the cell; absolute values are written with bars.
    return "| " + " | ".join(re.sub(r"\|", r"\\|", cell) for cell in cells) + " |"


def write(texts: Mapping[str, str], folder: Path = HERE) -> None:
    """Write the pages."""
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(pages())
