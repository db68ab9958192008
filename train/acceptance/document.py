"""A report as a value: sections of text, lists, tables, pictures and lines to sign. It computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from train.evaluation.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One paragraph."""

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and what they stand for, in order."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A file as it is, such as a recipe."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture in two forms, and what it shows in words."""

    png: bytes
    svg: bytes
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Pictures that stand side by side where there is room."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatures:
    """A line to sign for each role."""

    roles: tuple[str, ...]


Block = Text | Bullets | Facts | Listing | Table | Pictures | Signatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with what stands below it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The whole report."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]

    def blocks(self) -> Iterator[Block]:
        """Every block, in order."""
        for section in self.sections:
            yield from section.blocks
