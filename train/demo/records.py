"""Reading what the demo's gate has recorded, through the store's views."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from qagate.store.engine import open_store
from qagate.store.views import SeriesRow, Views
from train.demo.gate import DATA_DIR
from train.demo.scene import Scene
from train.demo.watch import Row, telling


class Records:
    """The database of a gate whose settings file is `settings`; `close` it when done."""

    def __init__(self, settings: Path) -> None:
        self._store = open_store(f"sqlite:///{settings.parent / DATA_DIR / 'qagate.db'}")
        self._views = Views(self._store)

    def rows(self, scene: Scene) -> dict[str, Row]:
        """Series Instance UID -> what is known of it now, in the order of the scene."""
        known = {row.series_instance_uid: row for row in self._views.overview(limit=100).series}
        return {
            series.series_instance_uid: _row(series.name, known.get(series.series_instance_uid))
            for series in scene.series
        }

    def pending(self, scene: Scene) -> bool:
        """Whether a series that was sent waits for its decision."""
        return any(
            row.seconds is not None and not (row.verdict or row.final) for row in self.rows(scene).values()
        )

    def refusals(self) -> dict[str, str]:
        """SOP Instance UID of every refused object -> the reason on record."""
        return {row.sop_instance_uid: row.reason for row in self._views.overview(limit=100).refused}

    def close(self) -> None:
        """Let go of the database."""
        self._store.close()


def _row(name: str, known: SeriesRow | None) -> Row:
    if known is None:
        return Row(name=name)
    seconds = known.seconds_to_decision
    if seconds is None:
        seconds = (datetime.now(UTC) - known.last_received_at).total_seconds()
    return Row(
        name=name,
        state=known.state,
        verdict=known.verdict or "",
        quality=known.quality,
        reason=known.last_error or telling(known.reasons),
        seconds=seconds,
    )
