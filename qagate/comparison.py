"""Two models on the series both scored: what the store knows of them, put to the rules of promotion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qagate.label import LabelKind
from qagate.store.engine import Store
from qagate.store.labels import Labels
from qagate.store.shadows import PairRow, Shadows

if TYPE_CHECKING:  # scipy, which most commands do without
    from qagate.gate.promotion import Check, Group, Pair, PromotionRules


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelName:
    """A model that holds a role."""

    name: str
    weights_sha256: str  #: "" when its files cannot be found
    since: datetime | None  #: None: nobody ever acted; it is the settings' model
    actor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Champion and a candidate on the series both scored."""

    champion: ModelName
    challenger: ModelName
    groups: tuple[Group, ...]  #: all series first
    failed: int  #: series the candidate could not score
    objections: tuple[str, ...]  #: what speaks against its promotion; none: nothing

    def evidence(self) -> dict[str, Any]:
        """What the audit keeps of it."""
        return {
            "champion": {"name": self.champion.name, "weights_sha256": self.champion.weights_sha256},
            "groups": [asdict(group) for group in self.groups],
            "failed": self.failed,
            "objections": list(self.objections),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A comparison with the single series behind it; none of them can be told from it."""

    comparison: Comparison
    pairs: tuple[Pair, ...]
    checks: tuple[Check, ...]


def compared(store: Store, champion: ModelName, challenger: ModelName, rules: PromotionRules) -> Compared:
    """Hold a candidate against the champion on every series revision that both scored."""
    from qagate.gate.promotion import checks, compare

    shadows, labels = Shadows(store), _labels(store)
    rows = shadows.pairs(champion.weights_sha256, challenger.weights_sha256)
    pairs = tuple(_pair(row, labels) for row in rows)
    groups = compare(pairs)
    _, failed = shadows.counts(challenger.weights_sha256)
    held = checks(groups, rules, failed)
    return Compared(
        comparison=Comparison(
            champion=champion,
            challenger=challenger,
            groups=groups,
            failed=failed,
            objections=tuple(check.objection for check in held if not check.met),
        ),
        pairs=pairs,
        checks=held,
    )


def _labels(store: Store) -> dict[str, float]:
    """Series -> mean of its raters' last ratings, as quality."""
    found: dict[str, list[float]] = defaultdict(list)
    for stored in Labels(store).latest():
        label = stored.label
        if (
            label.kind is LabelKind.RATING
            and label.sop_instance_uid is None
            and label.scale
            and label.score is not None
        ):
            found[label.series_instance_uid].append(label.scale.quality(label.score))
    return {uid: sum(values) / len(values) for uid, values in found.items()}


def _pair(row: PairRow, labels: Mapping[str, float]) -> Pair:
    from qagate.gate.promotion import Pair

    kind = {"CT": "kernel", "MR": "contrast"}.get(row.modality, "type")
    strength = "" if row.field_strength_t is None else f"{row.field_strength_t:.1f} T"
    groups = {
        "scanner": row.station,
        "modality": row.modality,
        "region": row.region,
        kind: row.type,
        "field strength": strength,
    }
    return Pair(
        champion=row.champion_quality,
        challenger=row.challenger_quality,
        champion_verdict=row.champion_verdict,
        challenger_verdict=row.challenger_verdict,
        groups={by: value for by, value in groups.items() if value and value != "unknown"},
        label=labels.get(row.series_instance_uid),
    )
