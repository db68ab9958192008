"""The labels' CSV is what `qagate labels` and `qagate train` read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qagate.assessment import Artefact
from qagate.label import Label, LabelKind, Scale
from qagate.store.labels import Labels
from qagate.web.site import Site
from train.labels.files import read


def test_what_is_written_is_read_back(
    physicist: Any, site: Site, seed: Callable[..., str], tmp_path: Path
) -> None:
    uid = seed()
    Labels(site.store).add(
        [
            Label(series_instance_uid=uid, rater="anna", score=3.5, scale=Scale(0, 4),
                  artefacts=(Artefact.MOTION, Artefact.NOISE), reason="=arms, \"moved\"\n- twice"),
            Label(series_instance_uid=uid, sop_instance_uid=f"{uid}.2", rater="-ben", score=80,
                  scale=Scale(0, 100)),
            Label(series_instance_uid=uid, rater="cleo", kind=LabelKind.DISAGREE, reason="-"),
        ]
    )  # fmt: skip
    path = tmp_path / "labels.csv"
    answer = physicist.get("/label/labels.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    path.write_bytes(answer.content)
    assert [row.label for row in read(path)] == [one.label for one in Labels(site.store).of_series(uid)]
    assert site.trail.newest()[0].act == "export labels"
