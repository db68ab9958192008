"""Charts as files: SVG that stands alone, PNG, and the values as CSV."""

from __future__ import annotations

import csv
import io
import tempfile
from functools import cache

from fastapi.responses import Response
from PIL import ImageFont

from qagate.web import sheets
from qagate.web.charts import Chart

MEDIA = {"svg": "image/svg+xml", "png": "image/png", "csv": "text/csv; charset=utf-8"}
_ZOOM = 2  #: pixels of the PNG a unit of the SVG


def file_of(chart: Chart, kind: str, name: str) -> Response:
    """A chart drawn with `Look.FILE` as a download NAME.KIND; kind is one of MEDIA."""
    body = {"svg": svg, "png": png, "csv": table}[kind](chart)
    headers = {"Content-Disposition": f'attachment; filename="{name}.{kind}"'}
    return Response(body, media_type=MEDIA[kind], headers=headers)


def svg(chart: Chart) -> bytes:
    """The picture itself."""
    return str(chart.svg).encode()


def png(chart: Chart) -> bytes:
    """The picture at two pixels a unit. Letters come from this machine's fonts, else from Pillow's own."""
    import resvg_py

    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=str(chart.svg), zoom=_ZOOM, font_files=[_font()], sans_serif_family="DejaVu Sans"
        )
    )


def table(chart: Chart) -> bytes:
    """The values, with a byte-order mark so that spreadsheets read UTF-8."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(chart.columns)
    writer.writerows([[_harmless(cell) for cell in row] for row in chart.rows])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def _harmless(cell: str) -> str:
    try:
        float(cell)
    except ValueError:
        return sheets.cell(cell)
    return cell  # a number, which may begin with a minus


@cache
def _font() -> str:
    """Path of Pillow's built-in font (Aileron, CC0), written down once a process."""
    font = ImageFont.load_default(12)
    assert isinstance(font, ImageFont.FreeTypeFont) and isinstance(font.path, io.BytesIO)
    with tempfile.NamedTemporaryFile(suffix=".ttf", delete=False) as file:
        file.write(font.path.getvalue())
    return file.name
