"""Makes docs/models.md: every block and equation beside its class and line, and every deviation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import clinreadnet, miqanet

ROOT = Path(__file__).parents[1]

#: pages of the map, in reading order: heading -> files
CHAPTERS = {
    "MANIQA": ("models/maniqa.py",),
    "MIQANet": ("models/miqanet.py", "models/miqanet_branches.py", "models/deform.py", "models/crops.py"),
    "ClinReadNet": ("models/clinreadnet.py", "models/soqn.py", "models/mtmsa.py", "train/losses.py"),
    "MedIQA": ("models/mediqa.py", "models/prompt.py", "models/prompt_classifier.py", "train/slices.py"),
    "Comparison rows": ("models/rows",),
    "Metrics": ("models/metrics",),
    "Common": ("models/output.py", "models/preparation.py", "models/network_file.py", "models/heat_map.py"),
}

ABLATIONS = {"MIQANet": miqanet.ABLATIONS, "ClinReadNet": clinreadnet.ABLATIONS}


@dataclass(frozen=True)
class Block:
    """A class or function that says what it implements."""

    name: str
    place: str  #: file:line
    about: str
    source: str


@dataclass(frozen=True)
class Module:
    """One file of the map."""

    path: str
    about: str
    deviations: tuple[str, ...]
    blocks: tuple[Block, ...]


def modules(names: tuple[str, ...]) -> Iterator[Module]:
    """The files of one chapter; a folder stands for its files."""
    for name in names:
        found = ROOT / name
        for path in sorted(found.glob("*.py")) if found.is_dir() else [found]:
            yield _module(path)


def _module(path: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree) or ""
    about, _, rest = docstring.partition("Deviations:")
    place = path.relative_to(ROOT).as_posix()
    return Module(
        path=place,
        about=_joined(about.split("\n\n")[0]),
        deviations=tuple(_bullets(rest)),
        blocks=tuple(_blocks(tree, place)),
    )


def _bullets(text: str) -> Iterator[str]:
    for one in re.split(r"^\s*- ", text, flags=re.MULTILINE)[1:]:
        yield _joined(one.split("\n\n")[0])


def _blocks(tree: ast.AST, place: str) -> Iterator[Block]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            docstring = ast.get_docstring(node) or ""
            for line in docstring.splitlines():
                if line.strip().startswith("Source: "):
                    yield Block(
                        name=node.name,
                        place=f"{place}:{node.lineno}",
                        about=_joined(re.split(r"\n\n|(?<=[.;])\s", docstring)[0]),
                        source=line.strip().removeprefix("Source: ").rstrip("."),
                    )


def _joined(text: str) -> str:
    return " ".join(text.split())


def chapter(heading: str, names: tuple[str, ...]) -> Iterator[str]:
    """One chapter in Markdown, a line at a time."""
    yield f"\n## {heading}"
    for module in modules(names):
        yield f"\n### `{module.path}`\n"
        yield module.about
        if module.blocks:
            yield "\n| paper | code | line | what |\n|---|---|---|---|"
            for block in module.blocks:
                cells = (block.source, f"`{block.name}`", f"`{block.place}`", block.about)
                yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
        if module.deviations:
            yield "\nDeviations and readings:\n"
            yield from (f"- {one}" for one in module.deviations)
    yield from _ablations(ABLATIONS.get(heading, {}))


def _ablations(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not tables:
        return
    yield "\n### Rows of the paper's tables\n"
    yield "What each row changes from the full model, and the figures the paper prints for it.\n"
    yield "| table | row | changes | PLCC | SROCC |\n|---|---|---|---|---|"
    for table, rows in tables.items():
        for name, row in rows.items():
            changes = {**row.model, **getattr(row, "loss", {})}
            if getattr(row, "init", "imagenet") != "imagenet":
                changes["init"] = row.init
            told = ", ".join(f"`{key}={_plain(value)}`" for key, value in changes.items()) or "none"
            figures = (f"{value:.4f}" if value is not None else "" for value in (row.plcc, row.srocc))
            yield f"| {table} | {name} | {told} | " + " | ".join(figures) + " |"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else repr(value)
