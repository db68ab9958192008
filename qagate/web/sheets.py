"""Tables for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from fastapi.responses import StreamingResponse

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(value: object) -> str:
    """A value as text that no spreadsheet takes for a formula, whatever a scanner sent."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def csv_answer(name: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> StreamingResponse:
    """A CSV file (RFC 4180, UTF-8) that the browser saves as `name`; rows are sent as they come."""
    return StreamingResponse(
        _lines(head, rows),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _lines(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    out = io.StringIO()
    out.write("\ufeff")  # without it spreadsheets read UTF-8 as something else
    writer = csv.writer(out)
    writer.writerow(head)
    for row in rows:
        writer.writerow([cell(value) for value in row])
        if out.tell() > 1 << 14:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()
