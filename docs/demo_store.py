"""A store to show: three scanners over ninety days, one of them drifting, and today's demo examinations.

The history's numbers are drawn at random from a fixed seed; today's series are the demo's images, scored by
the shipped model. No patient is behind any of it.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from models import house
from models.weights_file import WEIGHTS
from qagate import parts
from qagate.assessment import Artefact, Assessment, Finding, Prompt, SliceScore
from qagate.baseline import Point
from qagate.config import Settings
from qagate.dicom.headers import read_header
from qagate.dicom.spool import Spool
from qagate.gate.baseline import updated, usable
from qagate.gate.policy import Policy, decide
from qagate.label import Label, LabelKind, Scale
from qagate.series import Instance, Received, Series, SeriesHeader
from qagate.store.accounts import Accounts
from qagate.store.baselines import BaselineChange, Baselines
from qagate.store.engine import Store, open_store
from qagate.store.labels import Labels
from qagate.store.migrate import migrate
from qagate.store.outbox import Outbox, RetryPolicy
from qagate.store.queue import Queue
from qagate.store.roles import Act, Roles
from qagate.store.service_events import ServiceEvents
from qagate.store.shadows import Begun, Shadows
from qagate.store.views import Views
from qagate.watch import key_of
from qagate.web.security import passwords
from train.demo.scene import write_scene

PASSWORD = "a demo password"
USERS = {"ann": "radiographer", "ben": "physicist", "eve": "viewer", "root": "admin"}
RATERS = ("cleo", "dora")
DAYS, SHADOW_DAYS = 90, 25
EVENTS = ((58, "CT1", "tube replaced"), (31, "CT2", "software 2.1"), (20, "MR1", "new head coil"))
_ARTEFACTS = (Artefact.MOTION, Artefact.NOISE, Artefact.TRUNCATION, Artefact.STREAK)


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def __call__(self) -> datetime:
        """The time it was set to."""
        return self.time


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One series of the history."""

    at: datetime
    header: SeriesHeader
    prompt: Prompt
    quality: float
    measures: dict[str, float]
    technique: dict[str, str | float]


def fill(settings: Settings, scratch: Path) -> None:
    """Make the store and spool of the settings; `scratch` is an empty folder for the demo's files."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    migrate(settings.store_url)
    clock = Clock()
    now = clock.time
    with open_store(settings.store_url, clock=clock) as store:
        for name, role in USERS.items():
            Accounts(store).add(name, role, actor="demo", password_hash=passwords.hashed(PASSWORD))
        champion = parts.scorer(settings).weights_sha256
        challenger = house.add(settings.house_dir, _other_heads(scratch), name="house-1")
        rng = np.random.default_rng(5)
        for number, planned in enumerate(sorted(_history(now, rng), key=lambda one: one.at)):
            clock.time = planned.at
            if now - planned.at < timedelta(days=SHADOW_DAYS) and Roles(store).version() == 0:
                _shadow(store, challenger.files[0].sha256)
            _decide(settings, store, planned, number, champion, rng)
        events = ServiceEvents(store)
        for days, station, words in EVENTS:
            events.add(station=station, at=now - timedelta(days=days), words=words, actor="ben")
    with open_store(settings.store_url) as store:
        _today(settings, store, scratch)


def _other_heads(scratch: Path) -> Path:
    """The shipped heads with other weights: a challenger that is nearly as good."""
    with safe_open(WEIGHTS / "default.safetensors", framework="numpy") as file:
        names, told = file.keys(), file.metadata()
        tensors = {name: file.get_tensor(name) for name in names}
    rng = np.random.default_rng(1)
    for name in ("CT.weight", "MR.weight"):
        tensors[name] = (tensors[name] * rng.normal(1, 0.02, tensors[name].shape)).astype(np.float32)
    save_file(tensors, scratch / "heads.safetensors", told)
    return scratch / "heads.safetensors"


def _shadow(store: Store, sha256: str) -> None:
    roles = Roles(store)
    roles.act(
        Act.SHADOW, name="house-1", weights_sha256=sha256, actor="ben", reason="trained on our own labels",
        standing=roles.standing(),
    )  # fmt: skip


def _history(now: datetime, rng: np.random.Generator) -> Iterator[Planned]:
    for day in range(DAYS, 0, -1):
        for station, count in (("CT1", 3), ("CT2", 2), ("MR1", 2)):
            for _ in range(int(rng.poisson(count)) if day % 7 > 1 else 1):
                at = now - timedelta(days=day) + timedelta(hours=float(rng.uniform(-8, 8)))
                yield (_mr if station == "MR1" else _ct)(at, station, day, rng)


def _ct(at: datetime, station: str, day: int, rng: np.random.Generator) -> Planned:
    dose = float(rng.uniform(18, 62))
    drift = 0.11 * max(0, 31 - day) / 31 if station == "CT2" else 0.0
    quality = 0.66 + 0.14 * (1 - np.exp(-dose / 25)) - drift + rng.normal(0, 0.025)
    if rng.random() < 0.04:
        quality -= rng.uniform(0.3, 0.5)
    return Planned(
        at=at,
        header=SeriesHeader(
            modality="CT", station_name=station, protocol_name="Head routine",
            series_description="Head 5.0 H31s",
            body_part_examined="HEAD",
        ),
        prompt=Prompt(dimension="3D", modality="CT", region="head", type="soft"),
        quality=float(np.clip(quality, 0.05, 0.98)),
        measures={"noise_hu": float(28 / np.sqrt(dose) + 6 * drift + rng.normal(0, 0.15))},
        technique={"kernel": "H31s", "ctdi_vol_mgy": dose},
    )  # fmt: skip


def _mr(at: datetime, station: str, day: int, rng: np.random.Generator) -> Planned:
    coil = "HeadNeck_20" if day > 20 else "HeadNeck_64"
    quality = 0.7 + (0.06 if day <= 20 else 0) + rng.normal(0, 0.03)
    if rng.random() < 0.07:
        quality -= rng.uniform(0.3, 0.5)
    return Planned(
        at=at,
        header=SeriesHeader(
            modality="MR", station_name=station, protocol_name="t1_mprage_tra",
            series_description="t1_mprage_tra",
            body_part_examined="HEAD",
        ),
        prompt=Prompt(dimension="3D", modality="MR", region="head", type="t1"),
        quality=float(np.clip(quality, 0.05, 0.98)),
        measures={"snr_air": float(rng.normal(60 if day > 20 else 75, 4))},
        technique={"coil": coil},
    )  # fmt: skip


def _decide(
    settings: Settings, store: Store, planned: Planned, number: int, sha256: str, rng: np.random.Generator
) -> None:
    queue, rules = Queue(store), parts.baseline_rules(settings)
    uid = f"1.2.826.0.1.3680043.10.1.{number + 1}"
    queue.record([_received(uid, one, planned) for one in (1, 2, 3)])
    for one in queue.receiving():
        queue.close(one, "quiet")
    claimed = queue.claim("demo", 60)
    assert claimed is not None
    key = key_of(claimed, planned.prompt, sha256)
    usual = usable(Baselines(store).states([key])[key], rules)
    artefact = _ARTEFACTS[int(rng.choice(4, p=(0.55, 0.25, 0.12, 0.08)))]
    bad = planned.quality < 0.5
    text = f"{artefact.value}, slices 1-3"
    findings = (Finding(artefact=artefact, severity=0.7, text=text),) if bad and rng.random() < 0.85 else ()
    assessment = Assessment(
        prompt=planned.prompt, quality=planned.quality, score=4 * planned.quality, slice_count=3,
        slices=_slices(uid, planned.quality), measures=planned.measures, technique=planned.technique,
        findings=findings, model="default", model_version="3", weights_sha256=sha256,
    )  # fmt: skip
    decision = decide(assessment, planned.header, Policy(), usual)
    point = Point(
        series_id=claimed.series_id, quality=planned.quality, repeat=decision.verdict.value == "REPEAT"
    )
    change = BaselineChange(key=key, change=lambda state: updated(state, point, rules))
    assert queue.finish(claimed, assessment, decision, [], change)
    challenger = Roles(store).standing().challenger
    if challenger is not None:
        begun = Begun(
            series=claimed, act_id=challenger.act_id, weights_sha256=challenger.weights_sha256,
            champion_sha256=sha256, region=planned.prompt.region,
            type=planned.prompt.type, field_strength_t=None,
        )  # fmt: skip
        quality = float(np.clip(planned.quality + rng.normal(0.01, 0.03), 0, 1))
        Shadows(store).begin(begun)
        other = replace(assessment, quality=quality, weights_sha256=challenger.weights_sha256)
        Shadows(store).finish(begun, other, decide(other, planned.header, Policy(), usual))
    if decision.verdict.value in ("REVIEW", "REPEAT") and rng.random() < 0.7:
        _click(store, claimed, bad, rng)


def _click(store: Store, series: Series, bad: bool, rng: np.random.Generator) -> None:
    kinds = [LabelKind.AGREE if bad or rng.random() < 0.4 else LabelKind.DISAGREE]
    if bad and rng.random() < 0.6:
        kinds.append(LabelKind.REPEATING)
    said = [Label(series_instance_uid=series.series_instance_uid, rater="ann", kind=kind) for kind in kinds]
    seen = float(rng.uniform(0, 3))
    for rater in RATERS if bad else ():
        score = min(4, max(0, round(seen + float(rng.normal(0, 0.5)))))
        said.append(
            Label(series_instance_uid=series.series_instance_uid, rater=rater, score=score, scale=Scale(0, 4))
        )
    Labels(store).add(said)


def _slices(uid: str, quality: float) -> tuple[SliceScore, ...]:
    return tuple(
        SliceScore(
            sop_instance_uid=f"{uid}.{one}",
            slice_number=one,
            score=4 * quality,
            quality=quality,
            weight=1 / 3,
        )
        for one in (1, 2, 3)
    )


def _received(uid: str, number: int, planned: Planned) -> Received:
    return Received(
        instance=Instance(
            sop_instance_uid=f"{uid}.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            series_instance_uid=uid,
            study_instance_uid=f"{uid}.0",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            calling_ae_title=planned.header.station_name,
            path=f"series/gone/{uid}/{number}.dcm",
            sha256=f"{number:064x}",
            size=1000,
            received_at=planned.at,
        ),
        header=planned.header,
    )


def _today(settings: Settings, store: Store, scratch: Path) -> None:
    """The demo's examinations as if they had just come, scored by the shipped model."""
    spool, queue = Spool(settings.spool_dir), Queue(store)
    for one in write_scene(scratch / "scene").series:
        received = []
        for path in one.paths:
            temporary = spool.temporary()
            shutil.copy(path, temporary)
            placed = spool.place(temporary, read_header(temporary))
            received.append(spool.read(placed.path))
        queue.record(received)
    for series in queue.receiving():
        queue.close(series, "expected count reached")
    stop = threading.Event()
    worker = parts.worker(settings, store, parts.serving(settings, store))
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    while _undecided(store):
        stop.wait(0.5)
    stop.set()
    thread.join()
    _trouble(store, Planned(
        at=store.now() - timedelta(hours=3),
        header=SeriesHeader(modality="CT", station_name="CT1", protocol_name="Knee"),
        prompt=Prompt(dimension="3D", modality="CT"), quality=0, measures={}, technique={},
    ))  # fmt: skip


def _trouble(store: Store, planned: Planned) -> None:
    """A series that cannot be scored, and reports that an archive refuses."""
    queue, outbox = Queue(store), Outbox(store)
    queue.record([_received("1.2.826.0.1.3680043.10.2.1", 1, planned)])
    for series in queue.receiving():
        queue.close(series, "quiet")
    claimed = queue.claim("demo", 60)
    assert claimed is not None
    queue.fail(claimed, "no slice can be read: JPEG 2000 codestream ends early", 1)
    first, second = outbox.claim(60, destination="pacs"), outbox.claim(60, destination="pacs")
    assert first is not None and second is not None
    outbox.mark_dead(first, "PACS at 127.0.0.1:10999 refused the association")
    outbox.mark_retry(second, "PACS at 127.0.0.1:10999 cannot be reached: connection refused", RetryPolicy())


def _undecided(store: Store) -> bool:
    counts = Views(store).overview(limit=1).counts
    return any(counts.get(state) for state in ("COMPLETE", "SCORING", "RECEIVING"))
