"""Charts: right places, nothing unescaped, readable without seeing them, and as files of their own."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from qagate.gate.control_chart import control_chart
from qagate.store.outcomes import Reason, Repeats, Week
from qagate.web import chart_bars, chart_control, chart_files, chart_lines, texts
from qagate.web.charts import STYLES, Chart, Look, Paper, Scale, day_ticks, ticks

CLOCK = texts.Clock("Europe/Berlin")
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CSS = Path(chart_bars.__file__).parent / "static" / "charts.css"
NASTY = '<script>"&\x00\x1b'


def _control(look: Look, count: int = 60) -> Chart:
    values = [0.7 + (0.01 if place % 2 else -0.01) for place in range(count)]
    if count > 20:
        values[20] = 0.5
    plotted = [
        chart_control.Plotted(at=START + timedelta(hours=place), value=value, note=NASTY, href=f"/s/{place}")
        for place, value in enumerate(values)
    ]
    return chart_control.control(
        plotted,
        control_chart(values),
        title=f"Quality {NASTY}",
        label="Quality",
        clock=CLOCK,
        markers=[chart_control.Marker(at=START + timedelta(hours=9), text=f"tube {NASTY}", sign="1")],
        levels=[chart_control.Level(value=0.55, text="look below 0.55")],
        look=look,
    )


def _weekly(look: Look) -> Chart:
    week = Week(monday=date(2026, 3, 2), verdicts={"PASS": 30, "REVIEW": 6, "REPEAT": 4}, right=3, wrong=1)
    empty = Week(monday=date(2026, 3, 9), verdicts={})
    return chart_bars.weekly([week, empty], title="Weeks", look=look)


def _reasons(look: Look) -> Chart:
    found = (Reason(artefact="motion", suggested=4, repeated=2), Reason(artefact="", suggested=1, repeated=0))
    return chart_bars.reasons(Repeats(series=50, reasons=found), title="Reasons", look=look)


def _slices(look: Look) -> Chart:
    points = [chart_lines.SlicePoint(number=n, quality=n / 10) for n in (2, 4, 8)]
    return chart_lines.slice_curve(points, title="Slices", review_below=0.5, repeat_below=0.3, look=look)


def _dose(look: Look) -> Chart:
    points = [chart_lines.DosePoint(dose=float(n), value=n / 50, note=NASTY) for n in range(1, 41)]
    return chart_lines.dose(points, title="Dose", label="Quality", look=look)


EVERY = pytest.mark.parametrize("make", [_control, _weekly, _reasons, _slices, _dose])


@EVERY
def test_a_page_s_chart_is_coloured_by_classes_alone(make: Callable[[Look], Chart]) -> None:
    chart = make(Look.PAGE)
    root = ET.fromstring(str(chart.svg))
    assert root.get("role") == "img" and chart.about.split()[0] in str(root.get("aria-label"))
    roles = set()
    for element in root.iter():
        assert not {"fill", "stroke", "style"} & set(element.attrib)
        roles |= {name.removeprefix("c-") for name in (element.get("class") or "").split() if name != "chart"}
    assert roles and roles <= set(STYLES)
    assert len(chart.rows) > 0 and all(len(row) == len(chart.columns) for row in chart.rows)


@EVERY
def test_a_file_stands_alone(make: Callable[[Look], Chart]) -> None:
    chart = make(Look.FILE)
    root = ET.fromstring(str(chart.svg))
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.find("{*}title") is not None
    assert "class=" not in chart.svg and "data-href" not in chart.svg
    picture = Image.open(io.BytesIO(chart_files.png(chart)))
    assert picture.size[0] == 1920 and len(picture.convert("RGB").getcolors(1 << 20) or []) > 10


def test_every_role_has_a_class_in_the_style_sheet() -> None:
    there = set(re.findall(r"\.c-([a-z-]+)", CSS.read_text()))
    assert set(STYLES) - {"back"} <= there


def test_markup_in_texts_stays_text() -> None:
    svg = str(_control(Look.PAGE).svg)
    assert "<script" not in svg and "\x1b" not in svg and "&lt;script&gt;" in svg


def test_a_control_chart_tells_by_shape_and_words_what_is_beyond() -> None:
    chart = _control(Look.PAGE)
    root = ET.fromstring(str(chart.svg))
    squares = [one for one in root.iter() if one.get("class") == "c-mark-action" and one.get("data-href")]
    assert [one.get("data-href") for one in squares] == ["/s/20"]
    assert squares[0].tag.endswith("polygon")
    assert "1 beyond the action limits" in chart.about
    assert chart.rows[20][1] == "0.5" and chart.links[20] == "/s/20"
    assert "too few" in _control(Look.PAGE, 5).about


def test_weeks_say_rate_and_truth() -> None:
    chart = _weekly(Look.PAGE)
    assert chart.rows[0] == ("2 Mar", "40", "10", "25%", "3", "1", "75%", "0")
    assert chart.rows[1][3] == "–"
    bars = [
        one for one in ET.fromstring(str(chart.svg)).iter() if (one.get("class") or "").startswith("c-bar-")
    ]
    heights = {
        one.get("class"): float(one.get("height", "0")) for one in bars if one.find("title") is not None
    }
    assert heights["c-bar-pass"] / heights["c-bar-review"] == pytest.approx(5, rel=0.02)


def test_numbers_and_words_follow_the_language() -> None:
    texts.speak("de")
    try:
        assert _slices(Look.PAGE).rows[0] == ("2", "0,2")
    finally:
        texts.speak("en")


def test_a_table_cannot_hold_a_formula() -> None:
    chart = Chart(title="t", about="a", svg=Paper(1, 1, Look.FILE).svg("t", "a"), columns=("x",))
    evil = Chart(title="t", about="a", svg=chart.svg, columns=("x",), rows=(("=1+1",), ("-0.5",), ("ä",)))
    assert chart_files.table(evil).decode("utf-8-sig").splitlines() == ["x", "'=1+1", "-0.5", "ä"]


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1, 5) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0.713, 0.724, 4) == [0.715, 0.72]
    days = day_ticks(CLOCK.local(START), CLOCK.local(START + timedelta(days=90)))
    assert 4 <= len(days) <= 9 and all(day.hour == 0 for day in days)


def test_a_value_beyond_a_scale_stays_on_the_paper() -> None:
    scale = Scale(low=0, high=1, start=100, end=0)
    assert (scale(-1), scale(0.25), scale(7)) == (100, 75, 0)


def test_a_sparkline_marks_a_last_value_that_is_unusual() -> None:
    assert 'class="c-mark-action"' in chart_lines.sparkline([0.7, 0.4], usual=(0.6, 0.8), words="w")
    assert 'class="c-mark"' in chart_lines.sparkline([0.7], usual=None, words="w")
    assert chart_lines.sparkline([], usual=None, words="w") == "–"
