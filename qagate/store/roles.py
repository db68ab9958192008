"""Which model is champion and which challenger. Acts are only ever added: their list is the audit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

import sqlalchemy as sa

from qagate.store.audit import append
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.rows import insert_new, text
from qagate.store.schema import calibration, model_load, model_role


class Act(Enum):
    """What people do with models."""

    PROMOTE = "promote"  #: the named model becomes champion
    ROLLBACK = "rollback"  #: the champion before the present one becomes champion again
    SHADOW = "shadow"  #: the named model becomes challenger
    OFF = "off"  #: there is no challenger any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The model that holds a role."""

    act_id: int  #: the act that gave it the role; 0: nobody ever acted
    name: str | None  #: None: the settings' model
    weights_sha256: str = ""  #: what was chosen; "" for the settings' model, whatever that is


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Who holds which role."""

    champion: Holder
    former: tuple[Holder, ...] = ()  #: champions a rollback leads back to, the last first
    challenger: Holder | None = None


SETTINGS_MODEL = Holder(act_id=0, name=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleAct:
    """One line of the audit."""

    act_id: int
    act: Act
    name: str | None  #: the model that has the role since; None: the settings' model, or no challenger
    weights_sha256: str
    actor: str  #: a user name
    reason: str
    forced: bool  #: against the refusal that `evidence` holds
    evidence: Mapping[str, Any] = field(default_factory=dict)
    acted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What became of the present roles at one worker."""

    worker: str
    name: str | None
    act: Act
    error: str | None  #: None: it uses the model; else it goes on with what it had
    tried_at: datetime


class Roles:
    """The acts of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def version(self) -> int:
        """Changes whenever a role or a calibration does; cheap enough to ask before every batch."""
        newest = sa.select(
            sa.select(sa.func.max(model_role.c.id)).scalar_subquery(),
            sa.select(sa.func.max(calibration.c.id)).scalar_subquery(),
        )
        with self._store.read() as connection:
            roles, calibrations = connection.execute(newest).one()
        return (roles or 0) + (calibrations or 0)

    def standing(self) -> Standing:
        """Who holds which role now."""
        with self._store.read() as connection:
            return _standing(connection)

    def act(
        self,
        act: Act,
        *,
        name: str | None = None,
        weights_sha256: str = "",
        actor: str,
        reason: str = "",
        forced: bool = False,
        evidence: Mapping[str, Any] | None = None,
        standing: Standing,
    ) -> RoleAct:
        """Record an act that was decided upon in view of `standing`; a rollback names what it leads back to.

        Raises StoreError, having recorded nothing, when someone else acted in between, when there is nothing
        to roll back to, or no challenger to switch off.
        """
        now = self._store.now()
        with self._store.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("LOCK TABLE model_role IN SHARE ROW EXCLUSIVE MODE"))
            if _standing(connection) != standing:
                raise StoreError(
                    "someone else changed champion or challenger meanwhile: look, then try again"
                )
            if act is Act.ROLLBACK:
                if not standing.former:
                    raise StoreError("there is no former champion to go back to")
                name, weights_sha256 = standing.former[0].name, standing.former[0].weights_sha256
            elif act is Act.OFF and standing.challenger is None:
                raise StoreError("there is no challenger")
            values = {
                "act": act.value, "name": name, "weights_sha256": weights_sha256, "actor": text(actor),
                "reason": text(reason), "forced": forced, "evidence": json.dumps(dict(evidence or {})),
                "acted_at": now,
            }  # fmt: skip
            row = connection.execute(sa.insert(model_role).values(values).returning(*model_role.c)).one()
            details = {"model": name, "weights_sha256": weights_sha256, "reason": reason, "forced": forced}
            append(connection, now, actor, f"{act.value} model", None, details)
            return _role_act(row)

    def history(self) -> tuple[RoleAct, ...]:
        """Every act, the newest first."""
        with self._store.read() as connection:
            rows = connection.execute(sa.select(model_role).order_by(model_role.c.id.desc()))
            return tuple(_role_act(row) for row in rows)

    def loaded(self, act_id: int, worker: str, error: str | None) -> None:
        """Note what became of an act at a worker."""
        if not act_id:
            return
        values = {"error": None if error is None else text(error), "tried_at": self._store.now()}
        mine = (model_load.c.act_id == act_id, model_load.c.worker == worker)
        with self._store.write() as connection:
            connection.execute(
                insert_new(connection, model_load).values(act_id=act_id, worker=worker, **values)
            )
            connection.execute(sa.update(model_load).where(*mine).values(values))

    def loads(self) -> tuple[Load, ...]:
        """What became of the present roles at each worker, the newest first."""
        with self._store.read() as connection:
            standing = _standing(connection)
            held = [standing.champion.act_id, *([standing.challenger.act_id] if standing.challenger else [])]
            rows = connection.execute(
                sa.select(model_load, model_role.c.name, model_role.c.act)
                .join(model_role, model_role.c.id == model_load.c.act_id)
                .where(model_load.c.act_id.in_(held))
                .order_by(model_load.c.tried_at.desc(), model_load.c.id.desc())
            )
            return tuple(
                Load(
                    worker=row.worker,
                    name=row.name,
                    act=Act(row.act),
                    error=row.error,
                    tried_at=row.tried_at,
                )
                for row in rows
            )


def _standing(connection: sa.Connection) -> Standing:
    rows = connection.execute(
        sa.select(model_role.c.id, model_role.c.act, model_role.c.name, model_role.c.weights_sha256).order_by(
            model_role.c.id
        )
    )
    return fold(
        (Act(row.act), Holder(act_id=row.id, name=row.name, weights_sha256=row.weights_sha256))
        for row in rows
    )


def fold(acts: Iterable[tuple[Act, Holder]]) -> Standing:
    """What a list of acts, oldest first, leads to."""
    champions: list[Holder] = [SETTINGS_MODEL]
    challenger: Holder | None = None
    for act, holder in acts:
        if act is Act.PROMOTE:
            champions.append(holder)
            if challenger is not None and challenger.weights_sha256 == holder.weights_sha256:
                challenger = None
        elif act is Act.ROLLBACK:
            champions = [*champions[:-2], holder]
        else:
            challenger = holder if act is Act.SHADOW else None
    return Standing(champion=champions[-1], former=tuple(reversed(champions[:-1])), challenger=challenger)


def _role_act(row: sa.Row[Any]) -> RoleAct:
    return RoleAct(
        act_id=row.id,
        act=Act(row.act),
        name=row.name,
        weights_sha256=row.weights_sha256,
        actor=row.actor,
        reason=row.reason,
        forced=row.forced,
        evidence=json.loads(row.evidence),
        acted_at=row.acted_at,
    )
