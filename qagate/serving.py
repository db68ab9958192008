"""Which models score: the champion that decides, the challenger beside it. Changes them without a restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from qagate.gate.calibration import CalibrationError, ReadersScale, loads
from qagate.gate.scoring import Scorer
from qagate.reason import why
from qagate.store.calibrations import Calibrations
from qagate.store.roles import Holder, Roles, Standing

log = structlog.get_logger(__name__)


class ModelChanged(RuntimeError):
    """A model in service has other weights than those chosen; the message names the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One model in use."""

    scorer: Scorer
    act_id: int = 0  #: the act that gave it its role
    readers: ReadersScale | None = None


class Models(Protocol):
    """What a worker asks before every batch."""

    @property
    def champion(self) -> Served:
        """The model that decides."""
        ...

    @property
    def challenger(self) -> Served | None:
        """The model that is tried out beside it."""
        ...

    def refresh(self) -> None:
        """Take up what people changed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """One model, never another: for work without a store."""

    champion: Served
    challenger: Served | None = None

    def refresh(self) -> None:
        """There is nothing to take up."""


class Serving:
    """The models the store's roles name.

    load: a model by its name (None: the settings'), its files checked. A model that cannot be loaded leaves
    the one before in place; log and store say so. Raises what `load` raises when there is none before.
    """

    def __init__(
        self,
        *,
        roles: Roles,
        calibrations: Calibrations,
        load: Callable[[str | None], Scorer],
        worker: str,
    ) -> None:
        self._roles, self._calibrations = roles, calibrations
        self._load, self._worker = load, worker
        self._version = roles.version()
        self._standing = roles.standing()
        self._champion = self._first(self._standing)
        self._challenger = self._opened(self._standing.challenger, self._champion)

    @property
    def champion(self) -> Served:
        """The model that decides."""
        return self._champion

    @property
    def challenger(self) -> Served | None:
        """The model that is tried out beside it; None: none, or it could not be loaded."""
        return self._challenger

    def refresh(self) -> None:
        """Take up what changed in the store; asks it one small question."""
        version = self._roles.version()
        if version == self._version:
            return
        standing, former = self._roles.standing(), self._standing
        if standing.champion != former.champion:
            found = self._opened(standing.champion, self._challenger, self._champion)
            self._champion = self._with_readers(found or self._champion)
        else:
            self._champion = self._with_readers(self._champion)
        if standing.challenger != former.challenger:
            self._challenger = self._opened(standing.challenger, self._champion)
        self._version, self._standing = version, standing

    def _first(self, standing: Standing) -> Served:
        """The champion, else the last former one that can be loaded: a worker that starts has no other."""
        *chosen, last = (standing.champion, *standing.former)
        for holder in chosen:
            if (found := self._opened(holder)) is not None:
                return found
        return self._with_readers(self._checked(last))

    def _opened(self, holder: Holder | None, *there: Served | None) -> Served | None:
        """The model of a role, one already loaded if it is the same; None when it cannot be loaded."""
        if holder is None:
            return None
        try:
            found = self._known(holder, there) or self._checked(holder)
        except Exception as error:  # loop edge: a bad model must not stop the gate
            log.error("model_not_loaded", model=holder.name, reason=why(error))
            self._roles.loaded(holder.act_id, self._worker, why(error))
            return None
        self._roles.loaded(holder.act_id, self._worker, None)
        log.info("model_loaded", model=found.scorer.model_name, weights_sha256=found.scorer.weights_sha256)
        return self._with_readers(found)

    @staticmethod
    def _known(holder: Holder, there: Sequence[Served | None]) -> Served | None:
        for served in there:
            if served is not None and served.scorer.weights_sha256 == holder.weights_sha256:
                return replace(served, act_id=holder.act_id)
        return None

    def _checked(self, holder: Holder) -> Served:
        scorer = self._load(holder.name)
        if holder.weights_sha256 and scorer.weights_sha256 != holder.weights_sha256:
            raise ModelChanged(
                f"model {holder.name} has weights {scorer.weights_sha256[:12]}..., chosen were "
                f"{holder.weights_sha256[:12]}...: restore its files, or add the new ones under another name"
            )
        return Served(scorer=scorer, act_id=holder.act_id)

    def _with_readers(self, served: Served) -> Served:
        text = self._calibrations.of(served.scorer.weights_sha256)
        try:
            return replace(served, readers=None if text is None else loads(text))
        except CalibrationError as error:
            log.error("calibration_unusable", model=served.scorer.model_name, reason=why(error))
            return replace(served, readers=None)
