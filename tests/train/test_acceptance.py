"""The acceptance report: from a store to a file that tells everything and names no patient."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from reportlab.platypus import Paragraph, Preformatted, Table
from safetensors.numpy import load_file, save_file

from models.weights_file import WEIGHTS, read_tensors
from qagate import config, stewardship
from qagate.assessment import Assessment, Decision, Prompt, Verdict
from qagate.baseline import BaselineKey, Point
from qagate.cli import main
from qagate.gate.baseline import BaselineRules, updated
from qagate.label import Label, Scale
from qagate.series import Instance, Received, SeriesHeader
from qagate.store.baselines import BaselineChange
from qagate.store.engine import Store, open_store
from qagate.store.labels import Labels
from qagate.store.queue import Queue
from qagate.store.shadows import Begun, Shadows
from train.acceptance import html, pdf
from train.acceptance.document import Bullets, Document, Facts, Listing, Pictures, Section, Signatures, Text
from train.evaluation import tables

PATIENT = "DOE^JANE"
SERIES = 60
RULES = BaselineRules(warm_up=20, recent=20)
SECTIONS = (
    "Outcome", "The two models", "Training", "Live series in shadow", "Rated series", "By group",
    "Running baselines", "Rules of promotion", "Acts", "Limits", "Signatures",
)  # fmt: skip


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def verdict(quality: float) -> Verdict:
    return Verdict.REPEAT if quality < 0.3 else Verdict.REVIEW if quality < 0.5 else Verdict.PASS


def decide(store: Store, uid: str, quality: float, sha256: str, station: str) -> Any:
    """One series that the champion has decided; its header holds what no report may tell."""
    queue, now = Queue(store), datetime.now(UTC)
    instance = Instance(
        sop_instance_uid=f"{uid}.1", sop_class_uid="1", series_instance_uid=uid, study_instance_uid=uid,
        transfer_syntax_uid="1", calling_ae_title="AE", path=uid, sha256="0" * 64, size=1, received_at=now,
    )  # fmt: skip
    header = SeriesHeader(
        modality="MR", station_name=station, protocol_name=PATIENT, series_description=PATIENT
    )
    queue.record([Received(instance=instance, header=header)])
    (open_series,) = queue.receiving()
    assert queue.close(open_series, "quiet")
    claimed = queue.claim("w", 60)
    assert claimed is not None
    assessment, decision = said(quality, sha256)
    assert queue.finish(
        claimed, assessment, decision, [], change(claimed.series_id, quality, sha256, station)
    )
    return claimed


def said(quality: float, sha256: str) -> tuple[Assessment, Decision]:
    prompt = Prompt(dimension="2D", modality="MR")
    assessment = Assessment(prompt=prompt, quality=quality, score=quality, weights_sha256=sha256)
    return assessment, Decision(verdict=verdict(quality), reasons=("",))


def change(series_id: int, quality: float, sha256: str, station: str) -> BaselineChange:
    key = BaselineKey(
        station=station, protocol_name=PATIENT, modality="MR", region="head", type="t1", weights_sha256=sha256
    )
    point = Point(series_id=series_id, quality=quality)
    return BaselineChange(key=key, change=lambda state: updated(state, point, RULES))


def shadowed(store: Store, claimed: Any, quality: float, act_id: int, champion: str, sha256: str) -> None:
    begun = Begun(
        series=claimed, act_id=act_id, weights_sha256=sha256, champion_sha256=champion, region="head",
        type="t1", field_strength_t=3.0 if claimed.header.station_name == "MR1" else 1.5,
    )  # fmt: skip
    shadows = Shadows(store)
    shadows.begin(begun)
    assessment, decision = said(quality, sha256)
    station = claimed.header.station_name
    shadows.finish(begun, assessment, decision, change(claimed.series_id, quality, sha256, station))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place where "ours", from a run's folder, was in shadow: as good as the champion, but worse on MR2."""
    folder = tmp_path_factory.mktemp("house")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("QAGATE_CONFIG", raising=False)
        assert run("init", "qagate.toml").exit_code == 0 and run("migrate").exit_code == 0
        made = folder / "run"
        made.mkdir()
        tensors = load_file(WEIGHTS / "default.safetensors")
        tensors["MR.bias"] = tensors["MR.bias"] - np.float32(0.01)
        save_file(
            tensors, made / "weights.safetensors", metadata=read_tensors(WEIGHTS / "default.safetensors")[1]
        )
        (made / "figures.json").write_text(
            '{"srocc": 0.81, "srocc_low": 0.7, "srocc_high": 0.9, "images": 40}'
        )
        (made / "recipe.toml").write_text('name = "house-spring"\nstage = "finetune"\n')
        (made / "environment.json").write_text('{"torch": "2.99", "device": "cpu"}')
        (made / "cases.json").write_text(json.dumps([{"modality": "MR", "name": PATIENT}] * 40))
        assert run("models", "add", made, "--name", "ours").exit_code == 0
        assert run("models", "shadow", "ours", "--by", "anna", "--reason", "new coil").exit_code == 0
        settings = config.load(folder / "qagate.toml")
        champion, ours = (stewardship.named(settings, name).weights_sha256 for name in (None, "ours"))
        rng = np.random.default_rng(0)
        with open_store(settings.store_url) as store:
            for number in range(SERIES):
                station = ("MR1", "MR2")[number >= SERIES // 2]
                truth = rng.uniform(0.2, 0.95)
                other = truth + rng.normal(0, 0.02) - (0.35 * truth if station == "MR2" else 0)
                uid = f"1.2.826.77.{number}"
                claimed = decide(store, uid, float(truth), champion, station)
                shadowed(store, claimed, float(other), 1, champion, ours)
                rating = float(np.clip(4 * truth + rng.normal(0, 0.2), 0, 4))
                Labels(store).add(
                    [Label(series_instance_uid=uid, rater="anna", score=rating, scale=Scale(0, 4))]
                )
        yield folder


@pytest.fixture
def written(house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The report as the command writes it."""
    monkeypatch.chdir(house)
    made = run("models", "report", "--out", tmp_path / "a.html", "--by", "anna")
    assert made.exit_code == 0, made.output
    assert "objections to a promotion" in made.output
    return (tmp_path / "a.html").read_text()


class Page(HTMLParser):
    """Elements, and the text below each heading."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {}
        self._in_heading = False
        self._heading = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_heading = tag == "h2"

    def handle_data(self, data: str) -> None:
        if self._in_heading and data.strip():
            self._heading, self._in_heading = data.split(". ")[1], False
        elif self._heading:
            self.sections[self._heading] = self.sections.get(self._heading, "") + data + " "


def test_every_section_tells_what_it_must(written: str) -> None:
    told = Page(written).sections
    assert tuple(told) == SECTIONS
    wanted = {
        "Outcome": ["rules speak against a promotion", "Scanner MR2: mean absolute error rises", "is not"],
        "The two models": ["default", "ours", "version", "champion", "challenger", "SHA-256"],
        "Training": ["0.810 [0.700, 0.900]", "40 MR", "house-spring", "2.99", "images 40", "came without"],
        "Live series in shadow": ["60, 60 of them", "limits of agreement", "SROCC", "challenger REPEAT"],
        "Rated series": ["60 series", "PLCC", "SROCC", "KROCC", "RMSE", "Bland-Altman"],
        "By group": ["scanner MR1", "scanner MR2", "region head", "field strength 3.0 T", "MAE difference"],
        "Running baselines": ["MR1", "MR2", "champion", "challenger", "warm", "median"],
        "Rules of promotion": ["at least 20 series compared", "rises by at most 0.05", "NO", "yes"],
        "Acts": ["anna", "shadow", "new coil"],
        "Limits": ["not a medical device", "simulated on images", "bootstrap"],
        "Signatures": ["Medical physicist", "name", "signature", "date"],
    }  # fmt: skip
    for section, words in wanted.items():
        for word in words:
            assert word in " ".join(told[section].split()), (section, word, told[section])
    assert len(set(re.findall(r"[0-9a-f]{64}", told["The two models"]))) == 2
    assert "for anna" in written and "Not known" not in written


def test_no_patient_study_or_series_is_named(written: str) -> None:
    pictures = re.findall(r"base64,([A-Za-z0-9+/=]+)", written)
    assert len(pictures) == 6
    for text in (written, *(base64.b64decode(one).decode() for one in pictures)):
        assert PATIENT not in text and "DOE" not in text and "1.2.826.77" not in text


def test_the_page_needs_nothing_and_is_readable_without_eyes(written: str) -> None:
    page = Page(written)
    assert ("html", {"lang": "en"}) in page.elements
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "form"} and "style" in tags
    assert not re.search(r"(?:href|src|url)\s*[=(]\s*[\"']?(?:https?:)?//", written)
    for tag, values in page.elements:
        assert "style" not in values and not [name for name in values if name.startswith("on")]
        if tag == "th":
            assert values["scope"] in ("row", "col")
        if tag == "img":
            assert values["alt"] and (values["src"] or "").startswith("data:image/svg+xml;base64,")
    policy = next(v["content"] for t, v in page.elements if t == "meta" and "http-equiv" in v)
    assert policy and policy.startswith("default-src 'none'") and "unsafe" not in policy


def test_a_changed_report_is_found_out(written: str, tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    good = run("models", "report", "--verify", path)
    assert good.exit_code == 0 and "as it was written" in good.output
    path.write_text(written.replace("NO</td>", "yes</td>", 1))
    bad = run("models", "report", "--verify", path)
    assert bad.exit_code == 1 and "was changed" in bad.output
    path.write_text("<html></html>")
    none = run("models", "report", "--verify", path)
    assert none.exit_code == 1 and "no acceptance report" in none.output


def test_pdf_beside_it(house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house)
    made = run("models", "report", "ours", "--out", tmp_path / "a.html", "--pdf")
    assert made.exit_code == 0, made.output
    data = (tmp_path / "a.pdf").read_bytes()
    assert data.startswith(b"%PDF-") and b"/Lang" in data
    monkeypatch.setitem(sys.modules, "reportlab.lib.pagesizes", None)
    without = run("models", "report", "ours", "--out", tmp_path / "b.html", "--pdf")
    assert without.exit_code == 1 and "qagate[report]" in without.output
    assert not (tmp_path / "b.html").exists(), "nothing by halves"


def plain(flowables: Any) -> Iterator[str]:
    """Every text of a PDF's story."""
    for one in flowables:
        if isinstance(one, Paragraph):
            yield one.getPlainText()
        elif isinstance(one, Preformatted):
            yield "\n".join(one.lines)
        elif isinstance(one, Table):
            for row in one._cellvalues:
                for cell in row:
                    yield from plain(cell if isinstance(cell, list) else [cell])
        else:
            yield from plain(getattr(one, "_content", None) or [])


def test_pdf_and_html_tell_the_same() -> None:
    table = tables.Table(
        title="figures <1>",
        columns=(tables.Column(name="name", numeric=False), tables.Column(name="value")),
        rows=(("a & b", 0.5),),
        notes=("a note",),
    )
    blocks = (
        Text(text="one & only", strong=True), Bullets(items=("point",)), Facts(rows=(("key", "<value>"),)),
        Listing(text='name = "x"'), table, Signatures(roles=("Physicist",)),
    )  # fmt: skip
    made = Document(title="Title", subtitle="Sub", sections=(Section(title="1. Head", blocks=blocks),))
    wanted = ["Title", "Sub", "1. Head", "one & only", "point", "key", "<value>", 'name = "x"', "figures <1>",
              "a & b", "0.500", "a note", "Physicist", "signature"]  # fmt: skip
    text, content = html.render(made)
    assert html.verified(text)
    story = "\n".join(plain(pdf.story(made, content)))
    shown = re.sub(r"<[^>]+>", "\n", text)
    for word in wanted:
        assert word in story, word
        assert (
            word.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
            in shown
        )
    assert content in story and "Head" in Page(text).sections


def test_without_compared_series(house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init", "qagate.toml").exit_code == 0 and run("migrate").exit_code == 0
    none = run("models", "report")
    assert none.exit_code == 1 and "there is no challenger" in none.output
    only = run("models", "report", "default")
    assert only.exit_code == 1 and "never anything else" in only.output
    assert run("models", "add", house / "run", "--name", "new").exit_code == 0
    made = run("models", "report", "new")
    assert made.exit_code == 0, made.output
    told = Page((tmp_path / "acceptance-new.html").read_text()).sections
    assert tuple(told) == SECTIONS
    assert "Nothing was compared" in told["Outcome"] and "No pictures" in told["Live series in shadow"]
    assert "No series was rated" in told["Limits"] and "Nobody acted" in told["Acts"]


def test_after_the_promotion_it_is_held_against_the_former_champion(
    house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house)
    forced = run("models", "promote", "ours", "--force", "--reason", "MR2 is sold", "--by", "ben")
    assert forced.exit_code == 0, forced.output
    try:
        assert run("models", "report", "ours", "--out", tmp_path / "a.html").exit_code == 0
    finally:
        assert run("models", "rollback").exit_code == 0
    told = Page((tmp_path / "a.html").read_text()).sections
    assert "held against the champion before it" in told["Outcome"]
    assert "promote (forced)" in told["Acts"] and "MR2 is sold" in told["Acts"] and "ben" in told["Acts"]
    assert "60, 60 of them" in told["Live series in shadow"]


def test_pictures_have_two_forms() -> None:
    from train.acceptance.pictures import agreement

    assert agreement([(0.1, 0.2)] * 2, ("a", "b"), title="t") is None
    made = agreement([(0.1, 0.2), (0.5, 0.4), (0.9, 0.9)], ("a", "b"), title="t")
    assert isinstance(made, Pictures) and len(made.pictures) == 2
    for one in made.pictures:
        assert one.png.startswith(b"\x89PNG") and b"<svg" in one.svg and "3 series" in one.caption
