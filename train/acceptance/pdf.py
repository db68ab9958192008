"""The report as PDF, from the same blocks as the HTML and bearing its hash. Needs reportlab."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl

from train.acceptance.document import (
    Block,
    Bullets,
    Document,
    Facts,
    Listing,
    Pictures,
    Signatures,
    Text,
)
from train.evaluation.tables import Table

EXTRA = "PDF needs reportlab, which the extra `report` installs: pip install 'qagate[report]'"
_FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono",
)  #: matplotlib brings them; they know many scripts
_BODY, _BOLD, _MONO = _FACES
_INK, _LINE, _SHADE = "#1a1a1a", "#8a8a8a", "#f0f0f0"
_MARGIN_MM, _WIDTH_MM = 16, 178
_CHARACTER_MM, _BOLD_WIDER, _PADDING_MM = 1.45, 1.35, 2.5  #: of a table's text
_WRAP_FROM = 24  #: characters of a cell beyond which it may wrap


def render(document: Document, content: str) -> bytes:
    """The file. content: the hash that the HTML of the same document names.

    Raises RuntimeError when reportlab is not installed.
    """
    try:
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.units import mm
        from reportlab.platypus import SimpleDocTemplate
    except ImportError as error:
        raise RuntimeError(EXTRA) from error
    out = io.BytesIO()
    margin = _MARGIN_MM * mm
    pages = SimpleDocTemplate(
        out, pagesize=A4, leftMargin=margin, rightMargin=margin, topMargin=margin, bottomMargin=margin,
        title=document.title, author="qagate", lang="en", invariant=True,
    )  # fmt: skip
    footer = _footer(document.title, content)
    pages.build(story(document, content), onFirstPage=footer, onLaterPages=footer)
    return out.getvalue()


def story(document: Document, content: str) -> list[Any]:
    """What reportlab lays out: paragraphs, tables and pictures, in order."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    for face in _FACES:
        pdfmetrics.registerFont(TTFont(face, Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"))
    return list(_Story().of(document, content))


def _footer(title: str, content: str) -> Callable[[Any, Any], None]:
    def draw(canvas: Any, pages: Any) -> None:
        canvas.saveState()
        canvas.setFont(_BODY, 6.5)
        canvas.drawString(pages.leftMargin, 22, f"{title} · content {content[:16]}…")
        canvas.drawRightString(pages.pagesize[0] - pages.rightMargin, 22, f"page {canvas.getPageNumber()}")
        canvas.restoreState()

    return draw


class _Story:
    """Blocks to reportlab's flowables."""

    def __init__(self) -> None:
        from reportlab.lib.colors import HexColor
        from reportlab.lib.enums import TA_RIGHT
        from reportlab.lib.styles import ParagraphStyle

        ink = HexColor(_INK)
        body = ParagraphStyle("body", fontName=_BODY, fontSize=8.5, leading=11.5, textColor=ink, spaceAfter=4)

        def style(name: str, **changes: Any) -> Any:
            return ParagraphStyle(name, parent=body, **changes)

        small = {"fontSize": 7, "leading": 8.8, "spaceAfter": 0, "splitLongWords": 1}
        self._styles = {
            "body": body,
            "title": style("title", fontName=_BOLD, fontSize=16, leading=20),
            "head": style("head", fontName=_BOLD, fontSize=11.5, leading=14, spaceBefore=10, keepWithNext=1),
            "strong": style("strong", fontName=_BOLD, borderWidth=1.2, borderColor=ink, borderPadding=5,
                            leftIndent=5, rightIndent=5, spaceBefore=6, spaceAfter=10),
            "caption": style("caption", fontName=_BOLD, fontSize=8, spaceBefore=6, spaceAfter=2,
                             keepWithNext=1),
            "item": style("item", leftIndent=10, bulletFontName=_BODY),
            "note": style("note", fontSize=7, leading=9, spaceAfter=1),
            "cell": style("cell", **small),
            "number": style("number", alignment=TA_RIGHT, **small),
            "th": style("th", fontName=_BOLD, **small),
            "th number": style("th number", fontName=_BOLD, alignment=TA_RIGHT, **small),
            "listing": style("listing", fontName=_MONO, fontSize=6.5, leading=8.2),
        }  # fmt: skip

    def of(self, document: Document, content: str) -> Iterator[Any]:
        yield self._text(document.title, "title")
        yield self._text(document.subtitle)
        for section in document.sections:
            yield self._text(section.title, "head")
            for block in section.blocks:
                yield from self._block(block)
        yield self._text(f"Content, SHA-256: {content}. The HTML of this report bears the same.", "note")

    def _text(self, text: str, style: str = "body") -> Any:
        from reportlab.platypus import Paragraph

        return Paragraph(escape(text), self._styles[style])

    def _block(self, block: Block) -> Iterator[Any]:
        from reportlab.platypus import Paragraph, Preformatted, Spacer

        match block:
            case Text():
                yield self._text(block.text, "strong" if block.strong else "body")
            case Bullets():
                for item in block.items:
                    yield Paragraph(escape(item), self._styles["item"], bulletText="•")
            case Facts():
                rows = [[self._text(name, "th"), self._text(value, "cell")] for name, value in block.rows]
                yield self._grid(rows, [60.0, _WIDTH_MM - 60.0], heads=0)
                yield Spacer(0, 4)
            case Listing():
                yield Preformatted(block.text, self._styles["listing"], maxLineLength=118)
            case Table():
                yield from self._table(block)
            case Pictures():
                yield self._pictures(block)
            case Signatures():
                yield from self._signatures(block)

    def _table(self, table: Table) -> Iterator[Any]:
        yield self._text(table.title, "caption")
        numeric = [column.numeric for column in table.columns]
        texts = [
            [column.text(cell) for column, cell in zip(table.columns, row, strict=True)] for row in table.rows
        ]
        heads = [self._text(column.name, "th number" if column.numeric else "th") for column in table.columns]
        rows = [
            [
                self._text(text, "th" if place == 0 else "number" if numeric[place] else "cell")
                for place, text in enumerate(row)
            ]
            for row in texts
        ]
        yield self._grid([heads, *rows], _widths([c.name for c in table.columns], texts), heads=1)
        for note in table.notes:
            yield self._text(note, "note")

    def _grid(self, rows: list[list[Any]], widths_mm: list[float], *, heads: int, height: Any = None) -> Any:
        from reportlab.lib.colors import HexColor
        from reportlab.lib.units import mm
        from reportlab.platypus import Table as Grid
        from reportlab.platypus import TableStyle

        line, shade = HexColor(_LINE), HexColor(_SHADE)
        style = [
            ("GRID", (0, 0), (-1, -1), 0.5, line),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("BACKGROUND", (0, 0), (0, -1), shade),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
            ("LEFTPADDING", (0, 0), (-1, -1), 3),
            ("RIGHTPADDING", (0, 0), (-1, -1), 3),
        ]
        if heads:
            style.append(("BACKGROUND", (0, 0), (-1, heads - 1), shade))
        heights = None if height is None else [None, *([height] * (len(rows) - 1))]
        return Grid(
            rows, colWidths=[width * mm for width in widths_mm], rowHeights=heights, repeatRows=heads,
            style=TableStyle(style), hAlign="LEFT",
        )  # fmt: skip

    def _pictures(self, block: Pictures) -> Any:
        from reportlab.lib.units import mm
        from reportlab.platypus import Image, KeepTogether
        from reportlab.platypus import Table as Grid

        width = _WIDTH_MM / 2 * mm
        cells = [
            [
                Image(io.BytesIO(one.png), width=width - 8, height=(width - 8) * 0.75),
                self._text(one.caption, "note"),
            ]
            for one in block.pictures
        ]
        return KeepTogether([Grid([cells], colWidths=[width] * len(cells), hAlign="LEFT")])

    def _signatures(self, block: Signatures) -> Iterator[Any]:
        from reportlab.platypus import KeepTogether

        heads = [self._text(name, "th") for name in ("", "name", "signature", "date")]
        rows = [[self._text(role, "th"), "", "", ""] for role in block.roles]
        yield KeepTogether([self._grid([heads, *rows], [38.0, 50.0, 55.0, 35.0], heads=1, height=30)])


def _widths(heads: list[str], rows: list[list[str]]) -> list[float]:
    """Columns as wide as their cells, or as their head's longest word; what is long shares what is left."""
    longest = [
        max(
            [
                max((len(word) for word in head.split()), default=0) * _BOLD_WIDER,
                *(len(row[n]) for row in rows),
            ]
        )
        for n, head in enumerate(heads)
    ]
    wanted = [min(length, _WRAP_FROM) * _CHARACTER_MM + _PADDING_MM for length in longest]
    spare = _WIDTH_MM - sum(wanted)
    if spare < 0:
        return [one * _WIDTH_MM / sum(wanted) for one in wanted]
    shares = [length**0.5 for length in longest]
    return [one + spare * share / sum(shares) for one, share in zip(wanted, shares, strict=True)]
