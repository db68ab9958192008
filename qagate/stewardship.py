"""The acts of the physicist on models and baselines, and what there is to see of them. Knows the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qagate import parts
from qagate.comparison import Compared, Comparison, ModelName, compared
from qagate.config import Settings
from qagate.store.baselines import BaselineRow, Baselines
from qagate.store.engine import Store, open_store
from qagate.store.roles import Act, Holder, Load, RoleAct, Roles, Standing
from qagate.store.shadows import PATIENCE, Shadows

_NO_CHALLENGER = "there is no challenger: name a model, or `qagate models shadow NAME`"


class PromotionRefused(RuntimeError):
    """A challenger must not become champion; the message holds every reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What `status` tells of models and baselines."""

    champion: ModelName
    challenger: ModelName | None
    shadow_scored: int  #: series the challenger scored
    shadow_failed: int
    given_up: str | None  #: why the challenger is left alone; None: it is not
    loads: tuple[Load, ...]  #: workers that could not load what was chosen
    warm: int  #: baselines of the champion that decide
    warming_up: int
    alarms: tuple[BaselineRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything the store knows for or against a candidate's promotion."""

    compared: Compared
    promoted: bool  #: the candidate is champion already, and held against the champion before it
    baselines: tuple[BaselineRow, ...]  #: of both models
    acts: tuple[RoleAct, ...]  #: that concern one of them, the newest first
    rules: Any  #: `qagate.gate.promotion.PromotionRules`


def models(settings: Settings, *, roles: bool) -> list[dict[str, object]]:
    """The rows of `qagate models`; roles: ask the store who is champion and challenger."""
    from models import registry

    champion, challenger = settings.worker.model, None
    if roles:
        with open_store(settings.store_url) as store:
            standing = Roles(store).standing()
        champion = standing.champion.name or champion
        challenger = standing.challenger.name if standing.challenger else None
    role = {challenger: "challenger", champion: "champion"}
    return [
        asdict(row) | {"role": role.get(row.name) if row.trained else None}
        for row in registry.table(house=settings.house_dir)
    ]


def add(settings: Settings, source: Path, *, name: str, modalities: Sequence[str]) -> str:
    """Copy a trained model into the house's folder; return what was added."""
    from models import house

    entry = house.add(settings.house_dir, source, name=name, modalities=modalities)
    sha256, known = entry.files[0].sha256, " and ".join(entry.modalities)
    return f"{entry.name}: {entry.network}, weights {sha256[:12]}, for {known}"


def shadow(settings: Settings, name: str, *, actor: str, reason: str = "") -> RoleAct:
    """Let a model score live series in silence. Raises when it cannot be loaded or is champion."""
    with open_store(settings.store_url) as store:
        roles = Roles(store)
        standing = roles.standing()
        sha256 = _loaded(settings, name)
        if sha256 == _champion(settings, standing).weights_sha256:
            raise ValueError(f"{name} is champion; a challenger is another model")
        return roles.act(
            Act.SHADOW, name=name, weights_sha256=sha256, actor=actor, reason=reason, standing=standing
        )


def shadow_off(settings: Settings, *, actor: str, reason: str = "") -> RoleAct:
    """Let there be no challenger."""
    with open_store(settings.store_url) as store:
        roles = Roles(store)
        return roles.act(Act.OFF, actor=actor, reason=reason, standing=roles.standing())


def promote(
    settings: Settings, name: str, *, actor: str, reason: str = "", force: bool = False
) -> tuple[RoleAct, Comparison]:
    """Make a model champion. Raises PromotionRefused with the reasons, unless forced with a reason."""
    if force and not reason.strip():
        raise ValueError("a forced promotion needs a reason: --reason")
    with open_store(settings.store_url) as store:
        roles = Roles(store)
        standing = roles.standing()
        sha256 = _loaded(settings, name)
        found = _compared(settings, store, standing, name, sha256)
        if sha256 == found.champion.weights_sha256:
            raise ValueError(f"{name} is champion already")
        if found.objections and not force:
            raise PromotionRefused(
                f"{name} is not promoted:\n"
                + "\n".join(f"  {objection}" for objection in found.objections)
                + "\n--force with a --reason promotes it all the same; both are kept"
            )
        act = roles.act(
            Act.PROMOTE,
            name=name,
            weights_sha256=sha256,
            actor=actor,
            reason=reason,
            forced=bool(found.objections),
            evidence=found.evidence(),
            standing=standing,
        )
        return act, found


def rollback(settings: Settings, *, actor: str, reason: str = "") -> RoleAct:
    """Make the former champion champion again. Raises when it cannot be loaded or there is none."""
    with open_store(settings.store_url) as store:
        roles = Roles(store)
        standing = roles.standing()
        if standing.former:
            former = standing.former[0]
            found = _loaded(settings, former.name or settings.worker.model)
            if former.weights_sha256 and found != former.weights_sha256:
                raise RuntimeError(f"the files of {former.name} are others now: restore them from a backup")
        return roles.act(Act.ROLLBACK, actor=actor, reason=reason, standing=standing)


def history(settings: Settings) -> tuple[RoleAct, ...]:
    """Every act, the newest first."""
    with open_store(settings.store_url) as store:
        return Roles(store).history()


def compare(settings: Settings, name: str | None = None) -> Comparison:
    """Champion and challenger (or another model that was challenger once) on the series both scored."""
    with open_store(settings.store_url) as store:
        standing = Roles(store).standing()
        challenger = standing.challenger
        if name is None:
            if challenger is None or challenger.name is None:
                raise ValueError(_NO_CHALLENGER)
            return _compared(settings, store, standing, challenger.name, challenger.weights_sha256)
        return _compared(settings, store, standing, name, _sha256(settings, name))


def case(settings: Settings, name: str | None = None) -> Case:
    """What speaks for and against the challenger, or another model that was challenger once.

    A model that is champion by now is held against the champion before it.
    """
    with open_store(settings.store_url) as store:
        roles, kept = Roles(store), Baselines(store)
        standing = roles.standing()
        if name is None:
            if standing.challenger is None or standing.challenger.name is None:
                raise ValueError(_NO_CHALLENGER)
            candidate = _named(standing.challenger)
        else:
            candidate = _candidate(name, _sha256(settings, name))
        champion = _champion(settings, standing)
        promoted = candidate.weights_sha256 == champion.weights_sha256
        if promoted:
            if not standing.former:
                raise ValueError(
                    f"{candidate.name} is champion, and was never anything else: name a challenger"
                )
            champion = _held(settings, standing.former[0])
        rules = parts.promotion_rules(settings)
        both = (champion.weights_sha256, candidate.weights_sha256)
        return Case(
            compared=compared(store, champion, candidate, rules),
            promoted=promoted,
            baselines=tuple(row for sha256 in both for row in kept.rows(sha256)),
            acts=tuple(act for act in roles.history() if act.weights_sha256 in both),
            rules=rules,
        )


def named(settings: Settings, name: str | None = None) -> ModelName:
    """A model by its name; None: the champion. Raises ValueError for one that does not exist."""
    if name is not None:
        return _candidate(name, _sha256(settings, name))
    with open_store(settings.store_url) as store:
        return _champion(settings, Roles(store).standing())


def baselines(settings: Settings, *, every: bool = False) -> tuple[BaselineRow, ...]:
    """The champion's baselines, or those of every model."""
    with open_store(settings.store_url) as store:
        sha256 = _champion(settings, Roles(store).standing()).weights_sha256
        return Baselines(store).rows(None if every else sha256)


def accept(settings: Settings, baseline_id: int, *, actor: str, reason: str) -> BaselineRow:
    """Call a baseline's present level normal."""
    from qagate.gate.baseline import accepted

    if not reason.strip():
        raise ValueError("why is this level normal? --reason is kept with it")
    rules = parts.baseline_rules(settings)
    with open_store(settings.store_url) as store:
        return Baselines(store).accept(
            baseline_id, lambda state: accepted(state, rules), actor=actor, reason=reason
        )


def service(settings: Settings) -> Service:
    """Champion, challenger, and the champion's baselines."""
    with open_store(settings.store_url) as store:
        roles, shadows = Roles(store), Shadows(store)
        standing = roles.standing()
        champion = _champion(settings, standing)
        challenger = standing.challenger
        acts = {act.act_id: act for act in roles.history()}
        scored, failed = shadows.counts(challenger.weights_sha256) if challenger else (0, 0)
        errors = shadows.last_errors(challenger.act_id, PATIENCE) if challenger else ()
        rows = Baselines(store).rows(champion.weights_sha256)
        return Service(
            champion=_with_act(champion, acts.get(standing.champion.act_id)),
            challenger=_with_act(_named(challenger), acts[challenger.act_id]) if challenger else None,
            shadow_scored=scored,
            shadow_failed=failed,
            given_up=errors[0] if len(errors) == PATIENCE and all(errors) else None,
            loads=tuple(load for load in roles.loads() if load.error),
            warm=sum(row.state.median is not None for row in rows),
            warming_up=sum(row.state.median is None for row in rows),
            alarms=tuple(row for row in rows if row.state.alarm),
        )


def _compared(settings: Settings, store: Store, standing: Standing, name: str, sha256: str) -> Comparison:
    champion = _champion(settings, standing)
    return compared(store, champion, _candidate(name, sha256), parts.promotion_rules(settings)).comparison


def _candidate(name: str, sha256: str) -> ModelName:
    return ModelName(name=name, weights_sha256=sha256, since=None, actor=None)


def _champion(settings: Settings, standing: Standing) -> ModelName:
    return _held(settings, standing.champion)


def _held(settings: Settings, holder: Holder) -> ModelName:
    name = holder.name or settings.worker.model
    return _candidate(name, holder.weights_sha256 or _found(settings, name))


def _named(holder: Holder) -> ModelName:
    return _candidate(holder.name or "", holder.weights_sha256)


def _with_act(model: ModelName, act: RoleAct | None) -> ModelName:
    if act is None:
        return model
    return ModelName(
        name=model.name, weights_sha256=model.weights_sha256, since=act.acted_at, actor=act.actor
    )


def _sha256(settings: Settings, name: str) -> str:
    """Of the weights a name stands for now; raises as `find`."""
    from models.house_folder import find

    return find(name, folder=settings.house_dir).files[0].sha256


def _found(settings: Settings, name: str) -> str:
    """The same; "" when there is no such model."""
    try:
        return _sha256(settings, name)
    except (ValueError, RuntimeError):
        return ""


def _loaded(settings: Settings, name: str) -> str:
    """Load a model as a worker would, and return its weights' sha256: what cannot be used gets no role."""
    return parts.scorer(settings, model=name, device="cpu").weights_sha256
