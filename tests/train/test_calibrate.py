"""A model's quality on the readers' scale, from the ratings in a store."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import spearmanr

from qagate.assessment import Assessment, Decision, Prompt, Verdict
from qagate.cli import main
from qagate.gate.calibration import loads
from qagate.label import Label, LabelKind, Scale
from qagate.series import Instance, Received, SeriesHeader
from qagate.store.calibrations import Calibrations
from qagate.store.engine import open_store
from qagate.store.labels import Labels, StoredLabel
from qagate.store.queue import Queue
from train.calibrate import Rated, TooFewRatings, collect, fit, write
from train.calibrate_cli import calibrate

SCALE = Scale(0, 4)


def rated(count: int = 80, *, scale: Scale = SCALE, noise: float = 0.3, seed: int = 0) -> list[Rated]:
    """Readers whose mean rises with the square of quality; two series a study."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0.05, 0.95, count)
    good = np.clip(quality**2 + rng.normal(0, noise / 4, count), 0, 1)
    return [
        Rated(
            study=f"1.{number // 2}", quality=float(q), rating=float(scale.low + g * (scale.high - scale.low))
        )
        for number, (q, g) in enumerate(zip(quality, good, strict=True))
    ]


def test_the_scale_follows_the_readers() -> None:
    found = fit(SCALE, rated(200))
    middle = found.scale(0.5)
    assert middle.value == pytest.approx(1.0, abs=0.25) and middle.low <= middle.value <= middle.high
    assert found.scale(0.9).value == pytest.approx(3.24, abs=0.3)
    assert found.held_out_error < 0.4 < found.raw_error
    order = spearmanr(found.scale.quality, found.scale.rating).statistic
    assert order > 0.99 and found.scale.cases == 200
    assert fit(SCALE, rated(200)) == found, "the same again"


def test_intervals_widen_with_fewer_ratings() -> None:
    few, many = (fit(SCALE, rated(count)).scale(0.5) for count in (24, 400))
    assert few.high - few.low > 2 * (many.high - many.low)


def test_a_scale_that_counts_downwards() -> None:
    found = fit(Scale(5, 1), rated(120, scale=Scale(5, 1)))
    assert found.scale(0.9).value < found.scale(0.2).value
    low = found.scale(0.5)
    assert low.low >= low.value >= low.high, "low is the end towards the worst"
    assert sum(found.bad(3.0)) == sum(one.rating >= 3.0 for one in found.rated)


def test_thresholds_find_what_readers_call_bad() -> None:
    found = fit(SCALE, rated(200))
    points = found.trade_off(2.0)
    assert points[0].threshold < points[-1].threshold
    best = max(points, key=lambda p: (p.ppv or 0) + (p.sensitivity or 0))
    assert best.threshold == pytest.approx(0.71, abs=0.1) and (best.ppv or 0) > 0.85


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        (rated(10), "10 series were rated.*20 are needed"),
        ([Rated(study=str(n), quality=n / 40, rating=2.0) for n in range(30)], "all 30 ratings are 2"),
        ([Rated(study=str(n), quality=0.5, rating=n / 10) for n in range(30)], "all 30 qualities are 0.5"),
    ],
)
def test_what_cannot_be_calibrated_is_said(cases: list[Rated], said: str) -> None:
    with pytest.raises(TooFewRatings, match=said):
        fit(SCALE, cases)


def stored(
    uid: str, score: float, *, rater: str = "anna", scale: Scale = SCALE, **more: object
) -> StoredLabel:
    label = Label(series_instance_uid=uid, rater=rater, score=score, scale=scale, revision=1, **more)  # type: ignore[arg-type]
    return StoredLabel(
        label_id=1, label=label, study_instance_uid="1", modality="CT", station_name="",
        manufacturer_model_name="", verdict=None, quality=None,
    )  # fmt: skip


def test_only_ratings_of_whole_series_on_the_usual_scale_count() -> None:
    click = Label(series_instance_uid="1.1", rater="anna", kind=LabelKind.AGREE, revision=1)
    labels = [
        stored("1.1", 3.0), stored("1.1", 2.0, rater="ben"), stored("1.2", 1.0), stored("1.3", 4.0),
        stored("1.1", 5.0, scale=Scale(1, 5), rater="eve"), stored("1.1", 0.0, sop_instance_uid="1.1.1"),
        StoredLabel(label_id=9, label=click, study_instance_uid="1", modality="CT", station_name="",
                    manufacturer_model_name="", verdict=None, quality=None),
    ]  # fmt: skip
    scale, found = collect(labels, {("1.1", 1): 0.7, ("1.2", 1): 0.2, ("1.3", 2): 0.9})
    assert scale == SCALE and [(one.quality, one.rating) for one in found] == [(0.7, 2.5), (0.2, 1.0)]
    with pytest.raises(TooFewRatings, match="no series was rated"):
        collect([], {})


def test_pictures_and_tables(tmp_path: Path) -> None:
    found = fit(SCALE, rated())
    points = found.trade_off(2.0)
    write(found, points, tmp_path / "out", chosen={"PPV 0.8": 0.6})
    assert loads((tmp_path / "out" / "readers-scale.json").read_text()) == found.scale
    lines = (tmp_path / "out" / "thresholds.csv").read_text().splitlines()
    assert len(lines) == len(points) + 1 and lines[0].startswith("threshold,alert_rate")
    for name in ("readers-scale.png", "thresholds.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QAGATE_CONFIG", raising=False)
    run = CliRunner().invoke
    assert run(main, ["init", "qagate.toml"]).exit_code == 0 and run(main, ["migrate"]).exit_code == 0
    sha256 = json.loads(run(main, ["status", "--json"]).output)["models"]["champion"]["weights_sha256"]
    cases = rated(40)
    with open_store(f"sqlite:///{tmp_path / 'var' / 'qagate.db'}") as store:
        queue = Queue(store)
        for number, one in enumerate(cases):
            _decide(queue, f"1.2.{number}", one.quality, sha256)
        Labels(store).add(
            Label(series_instance_uid=f"1.2.{number}", rater="anna", score=one.rating, scale=SCALE)
            for number, one in enumerate(cases)
        )
    arguments = ["--alert-rate", "0.3", "--ppv", "0.9", "--out", "out"]
    shown = run(calibrate, arguments)
    assert shown.exit_code == 0, shown.output
    assert "40 rated series" in shown.output and "review_below = " in shown.output
    told = json.loads(run(calibrate, [*arguments, "--apply", "--json", "--by", "anna"]).output)
    assert told["cases"] == 40 and 0.2 < told["thresholds"]["alert rate 0.3"] < 0.5 and told["applied"]
    with open_store(f"sqlite:///{tmp_path / 'var' / 'qagate.db'}") as store:
        assert loads(Calibrations(store).of(sha256) or "").cases == 40
    unknown = run(calibrate, ["--model", "unheard-of"])
    assert unknown.exit_code == 1 and "there is no model" in unknown.output


def _decide(queue: Queue, uid: str, quality: float, sha256: str) -> None:
    now = datetime.now(UTC)
    instance = Instance(
        sop_instance_uid=f"{uid}.1", sop_class_uid="1", series_instance_uid=uid, study_instance_uid=uid,
        transfer_syntax_uid="1", calling_ae_title="CT1", path=uid, sha256="0" * 64, size=1, received_at=now,
    )  # fmt: skip
    queue.record([Received(instance=instance, header=SeriesHeader(modality="CT"))])
    (open_series,) = queue.receiving()
    assert queue.close(open_series, "quiet")
    claimed = queue.claim("w", 60)
    assert claimed is not None
    assessment = Assessment(
        prompt=Prompt(dimension="2D", modality="CT"), quality=quality, score=quality, weights_sha256=sha256
    )
    assert queue.finish(claimed, assessment, Decision(verdict=Verdict.PASS, reasons=("",)), [])
