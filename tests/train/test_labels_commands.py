"""`qagate labels import | export | report` on a store of received series."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pydicom import dcmread
from pydicom.data import get_testdata_file

from qagate.assessment import Artefact, Assessment, Decision, Prompt, Verdict
from qagate.cli import main
from qagate.label import Label, LabelKind, Scale
from qagate.series import Instance, Received, SeriesHeader
from qagate.store.engine import open_store
from qagate.store.labels import Labels
from qagate.store.queue import Queue
from train.labels.report import report

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


class Place:
    """A settings file with a store that received eight series of two scanners."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "qagate.toml"
        self.url = f"sqlite:///{folder / 'var' / 'qagate.db'}"

    def fill(self) -> Place:
        self.config.write_text("", encoding="utf-8")
        assert self("migrate").exit_code == 0
        with open_store(self.url) as store:
            queue = Queue(store)
            for number in range(1, 9):
                queue.record([received(f"1.2.{number}", station="CT1" if number < 6 else "MR1")])
                (opened,) = queue.receiving()
                assert queue.close(opened, "quiet")
            while (claimed := queue.claim("w", 60)) is not None:
                good = int(claimed.series_instance_uid[-1]) < 5
                assert queue.finish(claimed, *concluded(Verdict.PASS if good else Verdict.REPEAT), [])
        return self

    def __call__(self, *arguments: object) -> Result:
        words = ["-c", str(self.config), *map(str, arguments)]
        return CliRunner().invoke(main, words, catch_exceptions=False)

    def labels(self) -> list[Label]:
        with open_store(self.url) as store:
            return [one.label for one in Labels(store).all()]

    def add(self, *labels: Label) -> None:
        with open_store(self.url) as store:
            Labels(store).add(labels)

    def write(self, name: str, *lines: str) -> Path:
        path = self.folder / name
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
        return path


def received(uid: str, station: str) -> Received:
    return Received(
        instance=Instance(
            sop_instance_uid=f"{uid}.1", sop_class_uid="1.2", series_instance_uid=uid,
            study_instance_uid="1.9", transfer_syntax_uid="1.2", calling_ae_title="S", path=f"{uid}.dcm",
            sha256=uid, size=1, received_at=NOW,
        ),
        header=SeriesHeader(modality=station[:2], station_name=station, manufacturer_model_name="Model [x]"),
    )  # fmt: skip


def concluded(verdict: Verdict) -> tuple[Assessment, Decision]:
    assessment = Assessment(prompt=Prompt(dimension="3D", modality="CT"), quality=0.5, score=2.0)
    return assessment, Decision(verdict=verdict, reasons=("so",))


def rating(number: int, score: float, rater: str, **values: Any) -> Label:
    at = NOW + timedelta(minutes=number)
    given: dict[str, Any] = {"scale": Scale(0, 4), "created_at": at} | values
    return Label(series_instance_uid=f"1.2.{number}", rater=rater, score=score, **given)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled place, to be copied."""
    return Place(tmp_path_factory.mktemp("filled")).fill().folder


@pytest.fixture
def place(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QAGATE_CONFIG", raising=False)
    return Place(Path(shutil.copytree(filled, tmp_path, dirs_exist_ok=True)))


def test_help_is_reached_from_the_gate() -> None:
    for words in (["labels"], ["labels", "import"], ["labels", "export"], ["labels", "report"]):
        said = CliRunner().invoke(main, [*words, "-h"])
        assert said.exit_code == 0 and said.output.startswith("Usage: ")


# -- import ------------------------------------------------------------------------------------


def test_import(place: Place) -> None:
    file = place.write("l.csv", "series_instance_uid,score,artefacts", "1.2.1,3,noise", "1.2.2,4,")
    words = ("labels", "import", file, "--scale", "0-4", "--rater", "anna")
    assert place(*words, "--check").output == "would record 2 labels on 2 series\n"
    assert place.labels() == []
    assert place(*words).output == "recorded 2 labels on 2 series\n"
    assert place(*words).output == "recorded 0 labels on 2 series; 2 were there already\n"
    first, second = place.labels()
    assert (first.score, first.scale, first.rater, first.revision) == (3.0, Scale(0, 4), "anna", 1)
    assert first.artefacts == (Artefact.NOISE,) and second.score == 4.0


def test_import_by_path(place: Place) -> None:
    data_set = dcmread(get_testdata_file("CT_small.dcm"))
    data_set.SeriesInstanceUID = "1.2.3"
    (place.folder / "images").mkdir()
    data_set.save_as(place.folder / "images" / "1.dcm", enforce_file_format=True)
    file = place.write("l.csv", "# scale: 0-4", "path,rater,score", "images,anna,1", "images/1.dcm,ben,2")
    assert place("labels", "import", file).exit_code == 0
    assert [(one.series_instance_uid, one.rater) for one in place.labels()] == [
        ("1.2.3", "anna"), ("1.2.3", "ben"),
    ]  # fmt: skip


def test_nothing_is_half_imported(place: Place) -> None:
    head = "series_instance_uid,sop_instance_uid,path,rater,score"
    for row, said in (
        ("9.9,,,a,1", "row 3: this gate never received series 9.9; correct the UID, or delete the row"),
        ("1.2.2,1.2.1.1,,a,1", "row 3: the series has no image 1.2.1.1"),
        (",,nowhere,a,1", "row 3, column path: "),
        ("1.2.2,,,a,7", "row 3, column score: 7 is outside the scale 0-4"),
    ):
        file = place.write("l.csv", head, "1.2.1,,,a,1", row)
        result = place("labels", "import", file, "--scale", "0-4")
        assert result.exit_code == 1 and result.output.startswith(f"Error: {file}, ")
        assert said in result.output
        assert place.labels() == []


def test_wrong_options(place: Place) -> None:
    file = place.write("l.csv", "series_instance_uid,rater,score", "1.2.1,a,1")
    for words in (("--scale", "good"), ("--scale", "4-4"), ("--rater", "Doe^J")):
        said = place("labels", "import", file, *words)
        assert said.exit_code == 2 and words[1] in said.output
    assert "no scale; give one: --scale 0-4" in place("labels", "import", file).output
    assert place("labels", "import", "none.csv").exit_code == 2


def test_a_store_that_is_not_ready_names_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QAGATE_CONFIG", raising=False)
    said = CliRunner().invoke(main, ["labels", "report"])
    assert said.exit_code == 1 and "qagate init" in said.output
    (tmp_path / "qagate.toml").touch()
    (tmp_path / "var").mkdir()
    said = CliRunner().invoke(main, ["labels", "report"])
    assert said.exit_code == 1 and "run `qagate migrate`" in said.output


# -- export ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.csv", "out.json"])
def test_export_and_import_are_each_others_inverse(
    place: Place, name: str, filled: Path, tmp_path: Path
) -> None:
    place.add(
        rating(1, 1.0, "anna"),
        rating(1, 3.5, "anna", created_at=NOW + timedelta(days=1), artefacts=(Artefact.RING,)),
        rating(2, 2.0, "jörg", reason="=1+1; ünlesbar\n", sop_instance_uid="1.2.2.1"),
        rating(3, 1.0, "ben", scale=Scale(3, 1)),
        Label(series_instance_uid="1.2.4", rater="ben", kind=LabelKind.CANNOT_REPEAT, created_at=NOW),
    )
    out = place.folder / name
    assert place("labels", "export", out).output == f"wrote 5 labels to {out}\n"
    assert place("labels", "export", out).exit_code == 1, "it exists"
    other = Place(Path(shutil.copytree(filled, tmp_path / "other")))
    assert other("labels", "import", out).output == "recorded 5 labels on 4 series\n"
    assert other.labels() == place.labels()
    assert place("labels", "export", out, "--latest", "--force").output.startswith("wrote 4 labels")
    assert "ends neither" in place("labels", "export", "out.xlsx").output


# -- report ------------------------------------------------------------------------------------


def opinions(raters: int = 3, noise: float = 0.5) -> list[Label]:
    rng = np.random.default_rng(2)
    return [
        rating(number, float(np.clip(round(number / 2 + rng.normal(0, noise)), 0, 4)), f"r{rater}")
        for number in range(1, 9)
        for rater in range(raters)
    ]


def test_report(place: Place) -> None:
    place.add(*opinions())
    place.add(rating(1, 1.0, "r0", created_at=NOW + timedelta(days=3)))
    clicks = ((1, "agree"), (2, "agree"), (3, "disagree"), (8, "disagree"), (8, "repeating"))
    place.add(
        *(
            Label(series_instance_uid=f"1.2.{number}", rater="console", kind=LabelKind(kind), created_at=NOW)
            for number, kind in clicks
        )
    )
    told = json.loads(place("labels", "report", "--json").stdout)
    assert (told["recorded"], told["counting"], told["series"], told["scale"]) == (30, 29, 8, "0-4")
    assert (told["first"], told["last"]) == (NOW.isoformat(), (NOW + timedelta(days=3)).isoformat())
    console, *raters = told["raters"]
    assert console["kinds"] == {"agree": 2, "disagree": 2, "repeating": 1} and console["mean"] is None
    assert [one["kinds"] for one in raters] == [{"rating": 8}] * 3
    assert all(one["follows"] > 0.5 and abs(one["bias"]) < 1.5 and not one["rejected"] for one in raters)
    assert [(one["station"], one["series"], one["model"]) for one in told["stations"]] == [
        ("CT1", 5, "Model [x]"), ("MR1", 3, "Model [x]"),
    ]  # fmt: skip
    assert told["stations"][0]["mean_quality"] < told["stations"][1]["mean_quality"]
    assert sum(bar["count"] for bar in told["distribution"]) == 24
    assert told["verdicts"] == {
        "PASS": {"agree": 2, "disagree": 1}, "REPEAT": {"disagree": 1, "repeating": 1},
    }  # fmt: skip
    agreed = told["agreement"]
    assert (agreed["items"], agreed["raters"], agreed["k"]) == (8, 3, 3.0)
    assert agreed["icc_mean"]["value"] > agreed["icc_single"]["value"] > 0.3
    assert told["warnings"] == [
        "no image has more than 3 raters: below 6 the screening of observers rejects nobody; "
        "look at bias and correlation"
    ]
    shown = place("labels", "report").output
    for part in ("29 labels on 8 series", "r1", "CT1 Model [x]", "ICC(2,1)", "Krippendorff", "REPEAT", "█"):
        assert part in shown, shown


def test_the_report_of_nothing_and_of_clicks_alone(place: Place) -> None:
    assert "no labels yet" in place("labels", "report").output
    told = json.loads(place("labels", "report", "--json").stdout)
    assert told["recorded"] == 0 and told["agreement"] is None and told["first"] is None
    place.add(Label(series_instance_uid="1.2.1", rater="a", kind=LabelKind.AGREE))
    told = json.loads(place("labels", "report", "--json").stdout)
    assert told["warnings"] == ["nobody has rated anything: training needs scores; clicks alone are none"]
    assert "PASS" in place("labels", "report").output


def turned(labels: list[Label]) -> list[Label]:
    return [
        replace(one, score=4 - one.score) if one.rater == "r1" and one.score is not None else one
        for one in labels
    ]


WARNED: dict[str, tuple[Callable[[], list[Label]], str]] = {
    "one rater": (lambda: opinions(1), "r0 is the only rater"),
    "no overlap": (lambda: [rating(1, 1, "a"), rating(2, 2, "b")], "no image was rated by two raters"),
    "constant": (lambda: [rating(n, 2, r) for n in range(1, 5) for r in "ab"], "every rating is 2"),
    "lazy": (lambda: [*opinions(), *(rating(n, 2, "z") for n in range(1, 9))], "z gave every image 2"),
    "turned": (lambda: turned(opinions(5, 0.2)), "r1 hardly follows the others (correlation -"),
    "scales": (lambda: [*opinions(), rating(1, 2, "b", scale=Scale(1, 3))], "ratings came on 2 scales"),
}


@pytest.mark.parametrize("case", WARNED)
def test_the_report_warns(place: Place, case: str) -> None:
    make, said = WARNED[case]
    place.add(*make())
    with open_store(place.url) as store:
        warnings = report(Labels(store), resamples=20).warnings
    assert any(warning.startswith(said) for warning in warnings), warnings


def test_the_report_names_whom_the_screening_rejects(place: Place) -> None:
    rng = np.random.default_rng(4)
    for number in range(1, 9):
        scores = np.clip(2 + rng.normal(0, 0.4, 12), 0, 4)
        scores[5] = 2 + (1.5 if number % 2 else -1.5)
        place.add(*(rating(number, float(score), f"r{rater:02}") for rater, score in enumerate(scores)))
    with open_store(place.url) as store:
        found = report(Labels(store), resamples=20)
    assert [row.rater for row in found.raters if row.rejected] == ["r05"]
    assert found.raters[5].far_above + found.raters[5].far_below > 2
    assert len(found.distribution) == 5 and found.distribution[0].low == 0
    assert found.agreement is not None and math.isfinite(found.agreement.icc_single.value)
    shown = place("labels", "report").output
    assert "r05 (left out)" in shown
