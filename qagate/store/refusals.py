"""What was not accepted: instances, associations, connections."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import timedelta

import sqlalchemy as sa

from qagate.refusal import LAST_STATUS, WORDS, Refusal
from qagate.store.engine import Store
from qagate.store.rows import text
from qagate.store.schema import refused

OF_INSTANCE = refused.c.status <= LAST_STATUS  #: the others are of associations and connections
_KEPT = 10_000  #: of instances, and as many of associations
_LOOK = 100  #: refusals between two looks at whether there are more


class Refusals:
    """Keeps the newest, and counts them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, refusal: Refusal) -> None:
        """Keep one. Raises StoreError."""
        values = {
            name: text(value) if isinstance(value, str) else value for name, value in asdict(refusal).items()
        }
        with self._store.write() as connection:
            number = connection.scalar(sa.insert(refused).values(values).returning(refused.c.id)) or 0
            for kind in (OF_INSTANCE, ~OF_INSTANCE) if number % _LOOK == 0 else ():
                newest = sa.select(refused.c.id).where(kind).order_by(refused.c.id.desc())
                last = connection.scalar(newest.offset(_KEPT).limit(1))
                if last is not None:
                    connection.execute(sa.delete(refused).where(kind, refused.c.id <= last))

    def today(self) -> dict[str, int]:
        """Count those of the last 24 hours by reason, every reason named. Raises StoreError."""
        day_ago = self._store.now() - timedelta(days=1)
        count = sa.func.count().label("number")
        found: Counter[str] = Counter(dict.fromkeys(WORDS.values(), 0))
        with self._store.read() as connection:
            query = sa.select(refused.c.status, count).where(refused.c.refused_at >= day_ago)
            for row in connection.execute(query.group_by(refused.c.status)):
                found[WORDS.get(row.status, "other")] += row.number
        return dict(found)
