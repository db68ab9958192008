"""Label files: what comes back of what was written, what spreadsheets make of them, and every refusal."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qagate.assessment import Artefact
from qagate.label import MAX_REASON, Label, LabelKind, Scale
from train.labels.files import read, write
from train.labels.problems import LabelFileError
from train.labels.schema import COLUMNS, parse_scale, written_scale

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def saved(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def labels(path: Path, **options: Any) -> list[Label]:
    return [row.label for row in read(path, **options)]


# -- there and back ----------------------------------------------------------------------------

scales = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).filter(lambda ends: ends[0] != ends[1])
times = st.datetimes(
    datetime(1990, 1, 1), datetime(2025, 1, 1), timezones=st.just(timezone(timedelta(hours=2)))
)


@st.composite
def made_labels(draw: st.DrawFn) -> Label:
    kind = draw(st.sampled_from(LabelKind))
    scale = Scale(*draw(scales)) if kind is LabelKind.RATING else None
    share = draw(st.floats(0, 1))
    low, high = (min(scale.low, scale.high), max(scale.low, scale.high)) if scale else (0.0, 0.0)
    plain = st.characters(exclude_categories=("C", "Zl", "Zp", "Zs"), exclude_characters="^")
    return Label(
        series_instance_uid=draw(st.from_regex(r"[0-9]{1,8}(\.[0-9]{1,8}){1,4}", fullmatch=True)),
        sop_instance_uid=draw(st.none() | st.from_regex(r"1\.[0-9]{1,8}", fullmatch=True)),
        revision=draw(st.none() | st.integers(1, 99)),
        rater=draw(st.text(plain, min_size=1, max_size=20)),
        kind=kind,
        score=min(low + share * (high - low), high) if scale else None,
        scale=scale,
        artefacts=tuple(draw(st.lists(st.sampled_from(Artefact), unique=True, max_size=4))),
        reason=draw(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)),
        created_at=draw(st.none() | times),
    )


def answered(label: Label) -> tuple[object, ...]:
    object_ = (label.series_instance_uid, label.sop_instance_uid, label.revision)
    return (*object_, label.rater, label.kind.question, label.created_at)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(made_labels(), min_size=1, max_size=5, unique_by=answered), st.sampled_from([".csv", ".json"])
)
def test_what_is_written_comes_back(tmp_path: Path, written: list[Label], suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    assert write(path, written) == len(written)
    assert labels(path) == written


@given(scales)
def test_scales_come_back(ends: tuple[float, float]) -> None:
    assert parse_scale(written_scale(Scale(*ends))) == Scale(*ends) == parse_scale(str(Scale(*ends)))


def test_no_formula_reaches_a_spreadsheet(tmp_path: Path) -> None:
    said = Label(
        series_instance_uid="1.2",
        rater="@anna",
        kind=LabelKind.AGREE,
        reason="=HYPERLINK(1)",
        created_at=NOON,
    )
    write(tmp_path / "l.csv", [said])
    with (tmp_path / "l.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["reason"].startswith("'=") and row["rater"] == "'@anna"
    assert labels(tmp_path / "l.csv") == [said]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "l.csv", "old")

    def broken() -> Any:
        yield Label(series_instance_uid="1.2", rater="a", kind=LabelKind.AGREE)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write(path, broken())
    assert [file.name for file in tmp_path.iterdir()] == ["l.csv"] and path.read_text() == "old"


# -- as people write them ----------------------------------------------------------------------

HEAD = "series_instance_uid,rater,score"


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    (label,) = labels(saved(tmp_path / "l.csv", "path,score\nstudy 1,3\n"), scale=Scale(0, 4), rater="anna")
    assert label == Label(series_instance_uid="", rater="anna", score=3.0, scale=Scale(0, 4))
    (row,) = read(saved(tmp_path / "l.json", '[{"path": "a\\\\b", "kind": "Agree", "rater": "b"}]'))
    assert row.path == "a/b" and row.label.kind is LabelKind.AGREE and row.number == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings_and_ends_of_lines(tmp_path: Path, encoding: str, newline: str) -> None:
    text = newline.join([f"{HEAD},reason", "1.2,jörg,3,Überlagerung", ""])
    (label,) = labels(saved(tmp_path / "l.csv", text, encoding), scale=Scale(0, 4))
    assert (label.rater, label.reason) == ("jörg", "Überlagerung")


def test_a_european_spreadsheet(tmp_path: Path) -> None:
    text = (
        "# scale: 1-5;;;;\n# exported by hand\n\n"
        "Series Instance UID;Rater;Score;Artefacts;Time\n"
        "1.2;anna;3,5;Noise | non uniformity;2026-03-01\n;;;;\n1.3;anna;4;;2026-03-01T10:00+02:00\n"
    )
    first, second = labels(saved(tmp_path / "l.csv", text))
    assert first.score == 3.5 and first.scale == Scale(1, 5)
    assert first.artefacts == (Artefact.NOISE, Artefact.NON_UNIFORMITY)
    assert first.created_at == datetime(2026, 3, 1).astimezone(), "a time without zone is this machine's"
    assert second.created_at == datetime(2026, 3, 1, 8, tzinfo=UTC)


def test_tabs_quotes_and_line_breaks(tmp_path: Path) -> None:
    text = 'rater\tscore\tpath\treason\n"a, b"\t2\tx\t"two\nlines, ""quoted"""\nc\t1\ty\t\n'
    first, second = read(saved(tmp_path / "l.csv", text), scale=Scale(0, 4))
    assert first.label.rater == "a, b" and first.label.reason == 'two\nlines, "quoted"'
    assert (first.number, second.number) == (2, 4), "rows are lines, whatever a cell holds"


def test_a_scale_of_each_row_its_own_before_the_files(tmp_path: Path) -> None:
    text = f"# scale: 0-4\n{HEAD},scale\n1.2,a,4,\n1.3,a,1,3-1\n"
    assert [one.scale for one in labels(saved(tmp_path / "l.csv", text))] == [Scale(0, 4), Scale(3, 1)]
    told = {"scale": "0-4", "rater": "anna", "labels": [{"series_instance_uid": "1.2", "score": 0}]}
    (label,) = labels(saved(tmp_path / "l.json", json.dumps(told)), scale=Scale(0, 4))
    assert (label.scale, label.rater, label.score) == (Scale(0, 4), "anna", 0.0)
    assert label.scale is not None and label.scale.quality(1) == 0.25 and Scale(3, 1).quality(1) == 1


# -- refused -----------------------------------------------------------------------------------

CSV_REFUSALS = {
    "": ["is empty", "it needs a line with names of columns"],
    "# scale: 0-4\n": ["is empty"],
    f"{HEAD}\n": ["holds no label"],
    f"{HEAD},scroe\n1.2,a,3,1\n": ["row 1, column scroe: no such column", "did you mean score?", "time"],
    f"{HEAD},score\n1.2,a,3,3\n": ["row 1, column score: stands twice"],
    "rater,score\na,3\n": ["column series_instance_uid or path: missing"],
    "path,rater\nx,a\n": ["column score: missing"],
    f"{HEAD}\n1.2,a,five\n": ["row 2, column score: 'five' is no number"],
    f"{HEAD}\n1.2,a,nan\n": ["row 2, column score: 'nan' is no number"],
    f"{HEAD}\n1.2,a,\n": ["row 2, column score: empty"],
    f"{HEAD}\n1.2,a,4.5\n": ["row 2, column score: 4.5 is outside the scale 0-4; correct the score"],
    f'{HEAD}\n1.2,a,"3,5"\n': ["row 2, column score: '3,5' is no number"],
    f"{HEAD}\n1.2,,3\n": ["row 2, column rater: nobody is named", "--rater"],
    f"{HEAD}\n1.2,Doe^John,3\n": ["row 2, column rater: rater 'Doe^John' is no user name"],
    f"{HEAD}\n1.2.x,a,3\n": ["row 2, column series_instance_uid: '1.2.x' is no UID"],
    f"{HEAD}\n,a,3\n": ["row 2: neither series_instance_uid nor path; give one of the two"],
    f"{HEAD},kind\n1.2,a,3,agree\n": ["row 2, column score: a score with kind agree"],
    f"{HEAD},kind\n1.2,a,3,maybe\n": ["row 2, column kind: no kind is called 'maybe'", "cannot_repeat"],
    f"{HEAD},artefacts\n1.2,a,3,nose\n": ["no artefact is called 'nose'", "did you mean noise?", "ring"],
    f"{HEAD},scale\n1.2,a,3,05. Jan\n": ["row 2, column scale: '05. Jan' is no scale"],
    f"{HEAD},scale\n1.2,a,3,4-4\n": ["column scale: scale 4-4: expected two different numbers"],
    f"{HEAD},time\n1.2,a,3,yesterday\n": ["row 2, column time: 'yesterday' is no time"],
    f"{HEAD},time\n1.2,a,3,2999-01-01\n": ["row 2, column time: 2999-01-01 lies in the future"],
    f"{HEAD},revision\n1.2,a,3,0\n": ["row 2, column revision: '0' is no revision"],
    f"{HEAD},reason\n1.2,a,3,{'x' * (MAX_REASON + 1)}\n": ["column reason: 1001 characters"],
    f"{HEAD}\n1.2,a\n": ["row 2: 2 cells under 3 columns"],
    f"{HEAD}\n1.2,a,3,4\n": ["row 2: 4 cells under 3 columns"],
    f'{HEAD}\n1.2,a,3\n1.3,"a,3\n': ["quotation marks"],
    f"{HEAD}\n1.2,a,3\n1.2,a,2\n": ["row 3: a said otherwise of the same series in row 2", "its time"],
    f"# scale: 1-5\n{HEAD}\n1.2,a,3\n": ["the file's scale is 1-5, the option's 0-4"],
    f"# scale: good\n{HEAD}\n1.2,a,3\n": ["'good' is no scale"],
    f"{HEAD}\n1.2,a,x\n1.3,b,y\n": ["row 2, column score", "row 3, column score"],
}


@pytest.mark.parametrize("text", CSV_REFUSALS)
def test_refused_csv(tmp_path: Path, text: str) -> None:
    path = saved(tmp_path / "l.csv", text)
    with pytest.raises(LabelFileError) as raised:
        read(path, scale=Scale(0, 4))
    said = str(raised.value)
    assert all(line.startswith(str(path)) for line in said.splitlines())
    for part in CSV_REFUSALS[text]:
        assert part in said, said


ONE = '{"series_instance_uid": "1.2", "rater": "a", "score": 3'
JSON_REFUSALS = {
    "[": "is no JSON",
    '"labels"': "is no list of labels",
    "[]": "holds no label",
    '{"labels": [], "colour": 1}': "no such key: colour",
    "[3]": "row 1: is no object",
    f'[{ONE}}}, {ONE}, "Score": 1}}]': "row 2, column Score: no such column; did you mean score?",
    '[{"series_instance_uid": "1.2", "rater": "a", "score": true}]': "row 1, column score: True is no number",
    '[{"series_instance_uid": "1.2", "rater": "a", "score": NaN}]': "column score: nan is no number",
    f'[{{"series_instance_uid": "1.2", "rater": "a", "score": 1{"0" * 400}}}]': "column score: 1000",
    '[{"series_instance_uid": 12, "rater": "a", "score": 3}]': "column series_instance_uid: 12 is no text",
    f'[{ONE}, "artefacts": "nose"}}]': "no artefact is called 'nose'",
    f'[{ONE}, "artefacts": {{}}}}]': "column artefacts: {} is no list",
    f'[{ONE}, "revision": 1.5}}]': "column revision: 1.5 is no revision",
    f'[{ONE}, "reason": "\\u0000"}}]': "column reason: a character that no database keeps",
    f'[{ONE}, "reason": "\\ud800"}}]': "column reason: a character that no database keeps",
    f'{{"scale": 4, "labels": [{ONE}}}]}}': "4 is no text",
    f'{{"rater": "", "labels": [{ONE}}}]}}': "is no user name",
}


@pytest.mark.parametrize("text", JSON_REFUSALS)
def test_refused_json(tmp_path: Path, text: str) -> None:
    with pytest.raises(LabelFileError) as raised:
        read(saved(tmp_path / "l.json", text), scale=Scale(0, 4))
    assert JSON_REFUSALS[text] in str(raised.value)


def test_refused_files(tmp_path: Path) -> None:
    with pytest.raises(LabelFileError, match=r"ends neither in \.csv nor in \.json"):
        read(saved(tmp_path / "l.xlsx", b"PK"))
    with pytest.raises(LabelFileError, match=r"row 2: is no text; save it as CSV UTF-8"):
        read(saved(tmp_path / "l.csv", b"path,score\n\x81\x00"))
    with pytest.raises(LabelFileError, match="is not UTF-8"):
        read(saved(tmp_path / "l.json", b"[\xff]"))
    with pytest.raises(LabelFileError, match=r"no scale; give one: --scale 0-4"):
        read(saved(tmp_path / "n.csv", f"{HEAD}\n1.2,a,3\n"))
    with pytest.raises(OSError, match="none"):
        read(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="ends neither"):
        write(tmp_path / "l.txt", [])


def test_many_problems_are_counted(tmp_path: Path) -> None:
    path = saved(tmp_path / "l.csv", f"{HEAD}\n" + "1.2,a,x\n" * 50)
    with pytest.raises(LabelFileError, match="and 30 more problems") as raised:
        read(path, scale=Scale(0, 4))
    assert len(raised.value.problems) == 50


def test_the_page_names_every_column_kind_and_artefact() -> None:
    page = (ROOT / "docs" / "labels.md").read_text(encoding="utf-8")
    for word in (*COLUMNS, *(kind.value for kind in LabelKind), *(one.value for one in Artefact)):
        assert f"`{word}`" in page, word
    for name, meaning in COLUMNS.items():
        assert f"| `{name}` | {meaning} |" in page, name


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"score": None}, "has no score"),
        ({"kind": LabelKind.AGREE}, "has the score 3"),
        ({"scale": None}, "expected both or neither"),
        ({"score": 9.0}, "outside the scale 0-4"),
        ({"artefacts": (Artefact.BLUR, Artefact.BLUR)}, "named twice"),
        ({"rater": " a"}, "is no user name"),
        ({"reason": "x" * 1001}, "1001 characters"),
        ({"reason": "\0"}, "no database keeps"),
        ({"revision": 0}, "expected 1 or more"),
        ({"created_at": datetime(2026, 1, 1)}, "has no time zone"),
    ],
)
def test_what_is_no_label(values: dict[str, Any], said: str) -> None:
    good: dict[str, Any] = {"series_instance_uid": "1", "rater": "a", "score": 3.0, "scale": Scale(0, 4)}
    with pytest.raises(ValueError, match=said):
        Label(**good | values)
