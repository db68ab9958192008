"""The report as one HTML file: nothing is fetched, nothing runs, it prints on A4 and carries its own hash."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from html import escape

from train.acceptance.document import (
    Block,
    Bullets,
    Document,
    Facts,
    Listing,
    Picture,
    Pictures,
    Signatures,
    Text,
)
from train.evaluation.tables import Table

_NO_HASH = "0" * 64
_HASH = re.compile(r'(<code id="content-hash">)([0-9a-f]{64})(</code>)')

_STYLE = """
:root { color: #1a1a1a; background: #fff; font: 15px/1.45 "DejaVu Sans", Arial, sans-serif; }
body { max-width: 62rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .6rem; border-bottom: 2px solid #1a1a1a; break-after: avoid; }
p { margin: .5rem 0; }
.strong { font-weight: 700; border: 2px solid #1a1a1a; padding: .5rem .8rem; }
table { border-collapse: collapse; width: 100%; margin: .8rem 0 .3rem; font-size: .86rem; }
caption { text-align: left; font-weight: 700; padding-bottom: .25rem; }
th, td { border: 1px solid #8a8a8a; padding: .22rem .45rem; text-align: left; vertical-align: top; }
th { background: #f0f0f0; }
td { overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
tr { break-inside: avoid; }
tbody tr:first-child { break-before: avoid; }
thead { display: table-header-group; }
.note { font-size: .82rem; color: #404040; margin: .15rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: .6rem 0; }
dt { font-weight: 700; }
dd { margin: 0; }
pre, code { font-family: "DejaVu Sans Mono", "Liberation Mono", monospace; font-size: .8rem; }
pre { border: 1px solid #8a8a8a; padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere; }
code { overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
figure { margin: .6rem 0; break-inside: avoid; }
figure img { width: 100%; }
figcaption { font-size: .82rem; color: #404040; }
.signatures td { height: 2.6rem; width: 30%; }
footer { margin-top: 2rem; border-top: 1px solid #8a8a8a; padding-top: .6rem; font-size: .82rem; }
@page { size: A4; margin: 16mm; }
@media print { :root { font-size: 11px; } body { max-width: none; padding: 0; } }
@media (max-width: 40rem) { .pictures { grid-template-columns: 1fr; } }
"""


def render(document: Document) -> tuple[str, str]:
    """The file's text, and the hash of its content that it names.

    The hash is the SHA-256 of the text with 64 zeros in the hash's place.
    """
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'"
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(document.title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        f"<header>\n<h1>{escape(document.title)}</h1>\n<p>{escape(document.subtitle)}</p>\n</header>",
        "<main>",
    ]
    for section in document.sections:
        lines += ["<section>", f"<h2>{escape(section.title)}</h2>"]
        for block in section.blocks:
            lines += _block(block)
        lines.append("</section>")
    lines += [
        "</main>",
        f'<footer>Content, SHA-256: <code id="content-hash">{_NO_HASH}</code>. '
        "<code>qagate models report --verify FILE</code> tells whether it is as it was written.</footer>",
        "</body>",
        "</html>",
        "",
    ]
    text = "\n".join(lines)
    content = hashlib.sha256(text.encode()).hexdigest()
    return _HASH.sub(rf"\g<1>{content}\g<3>", text), content


def verified(text: str) -> bool:
    """Whether the content is what the hash in it says. Raises ValueError for a file without one."""
    found = _HASH.findall(text)
    if len(found) != 1:
        raise ValueError("this is no acceptance report in HTML: it names no content hash")
    return hashlib.sha256(_HASH.sub(rf"\g<1>{_NO_HASH}\g<3>", text).encode()).hexdigest() == found[0][1]


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text():
            yield (
                f'<p class="strong">{escape(block.text)}</p>'
                if block.strong
                else f"<p>{escape(block.text)}</p>"
            )
        case Bullets():
            yield "<ul>\n" + "\n".join(f"<li>{escape(item)}</li>" for item in block.items) + "\n</ul>"
        case Facts():
            rows = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in block.rows)
            yield "<dl>\n" + "\n".join(rows) + "\n</dl>"
        case Listing():
            yield f"<pre>{escape(block.text)}</pre>"
        case Table():
            yield from _table(block)
        case Pictures():
            yield '<div class="pictures">'
            yield from map(_figure, block.pictures)
            yield "</div>"
        case Signatures():
            yield from _signatures(block)


def _table(table: Table) -> Iterator[str]:
    kinds = ["number" if column.numeric else "" for column in table.columns]
    yield f"<table>\n<caption>{escape(table.title)}</caption>\n<thead>\n<tr>"
    for column, kind in zip(table.columns, kinds, strict=True):
        yield f'<th scope="col"{_class(kind)}>{escape(column.name)}</th>' if column.name else "<td></td>"
    yield "</tr>\n</thead>\n<tbody>"
    for row in table.rows:
        texts = [column.text(cell) for column, cell in zip(table.columns, row, strict=True)]
        cells = [
            f"<td{_class(kind)}>{escape(text)}</td>" for kind, text in zip(kinds[1:], texts[1:], strict=True)
        ]
        yield f'<tr><th scope="row"{_class(kinds[0])}>{escape(texts[0])}</th>{"".join(cells)}</tr>'
    yield "</tbody>\n</table>"
    for note in table.notes:
        yield f'<p class="note">{escape(note)}</p>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.svg).decode()
    caption = escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _signatures(block: Signatures) -> Iterator[str]:
    yield '<table class="signatures">\n<caption>Read and judged</caption>\n<thead>\n<tr><td></td>'
    yield "".join(f'<th scope="col">{name}</th>' for name in ("name", "signature", "date"))
    yield "</tr>\n</thead>\n<tbody>"
    for role in block.roles:
        yield f'<tr><th scope="row">{escape(role)}</th><td></td><td></td><td></td></tr>'
    yield "</tbody>\n</table>"
