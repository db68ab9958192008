"""Which slices a series has, read from its spooled files and remembered for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from qagate.assessment import SliceScore
from qagate.dicom.pixels import decode, read_series
from qagate.dicom.source import PixelError
from qagate.dicom.spool import Spool
from qagate.gate.slices import scored_stack
from qagate.image import SliceHeader, SliceImage, Stack
from qagate.store.series_detail import SeriesDetails, Stamp
from qagate.web.errors import Problem
from qagate.web.site import Site
from qagate.web.texts import gettext as _

_KEPT = 16  #: series whose slices are remembered
_LARGE_PIXELS = 4 << 20  #: of a slice; a larger one waits for its turn, as decoding it may take 2 GB
_TURN = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """The slices of one revision: the stack that is scored first, then the others."""

    stamp: Stamp
    headers: tuple[SliceHeader, ...]
    scored: int  #: so many of them are of the scored stack
    problems: tuple[str, ...] = ()  #: files that cannot be shown, a sentence each
    attributes: Mapping[str, object] = field(default_factory=dict)

    def header(self, number: int) -> SliceHeader:
        """The slice of a number from 1 on. Raises Problem when there is none."""
        if not 1 <= number <= len(self.headers):
            raise Problem(
                404,
                _("This series has no slice %(n)s; it has %(count)s.", n=number, count=len(self.headers)),
            )
        return self.headers[number - 1]

    def number(self, score: SliceScore) -> int | None:
        """The number of a scored slice; None when its file is gone."""
        key = (score.sop_instance_uid, score.frame_number)
        found = (
            i for i, one in enumerate(self.headers, 1) if (one.sop_instance_uid, one.frame_number) == key
        )
        return next(found, None)


class SliceShelf:
    """The slices of the series that were asked for last. Threads may share it."""

    def __init__(self, details: SeriesDetails, spool: Spool) -> None:
        self._details, self._spool = details, spool
        self._kept: OrderedDict[Stamp, Slices] = OrderedDict()
        self._reading: dict[Stamp, threading.Lock] = {}
        self._lock = threading.Lock()

    def slices(self, series_instance_uid: str, revision: int | None = None) -> Slices:
        """The slices of a revision (None: the present one).

        Raises Problem 404 for an unknown series or revision, 410 when none of its files is in the spool.
        """
        stamp = self._details.stamp(series_instance_uid, revision)
        if stamp is None:
            raise Problem(404, _("The gate does not know this series; look for it in the worklist."))
        with self._lock:
            if stamp in self._kept:
                self._kept.move_to_end(stamp)
                return self._kept[stamp]
            mine = self._reading.setdefault(stamp, threading.Lock())
        with mine:  # the thumbnails of a page come together: one reads, the others wait
            with self._lock:
                if stamp in self._kept:
                    return self._kept[stamp]
            try:
                found = self._read(stamp)
            finally:
                with self._lock:
                    self._reading.pop(stamp, None)
            with self._lock:
                self._kept[stamp] = found
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return found

    def _read(self, stamp: Stamp) -> Slices:
        paths = [self._spool.absolute(one.path) for one in self._details.instances(stamp)]
        there = [path for path in paths if path.is_file()]
        if not there:
            raise gone()
        images = read_series(there)
        scored = scored_stack(images.stacks)
        stacks: list[Stack] = [scored] if scored is not None else []
        stacks += [stack for stack in images.stacks if stack is not scored]
        return Slices(
            stamp=stamp,
            headers=tuple(header for stack in stacks for header in stack.slices),
            scored=len(scored.slices) if scored is not None else 0,
            problems=images.problems,
            attributes=images.attributes,
        )


def _shelf(request: Request) -> SliceShelf:
    """The shelf of this process; a second one, made by two first requests at once, would do no harm."""
    state = request.app.state
    if not hasattr(state, "slice_shelf"):
        site: Site = state.site
        state.slice_shelf = SliceShelf(SeriesDetails(site.store), site.spool)
    shelf: SliceShelf = state.slice_shelf
    return shelf


Shelf = Annotated[SliceShelf, Depends(_shelf)]


def drawn(header: SliceHeader) -> SliceImage:
    """Decode a slice. Raises Problem: 410 when its file is gone, 422 when it cannot be drawn."""
    turn = _TURN if header.rows * header.columns > _LARGE_PIXELS else nullcontext()
    try:
        with turn:
            return decode(header)
    except PixelError as error:
        if not Path(header.path).is_file():
            raise gone() from error
        raise Problem(422, _("This slice cannot be drawn: %(why)s.", why=error)) from error


def gone() -> Problem:
    """The files of a series were deleted from the spool."""
    return Problem(410, _("The images of this series are no longer in the gate; the archive has them."))
