"""Artefacts the heads never saw: each type left out of training, and judged on subjects left out too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from train.dataset import Samples
from train.evaluation.correlation import Floats, srocc
from train.evaluation.ladders import figures, relative
from train.evaluation.tables import Column, Table
from train.fit import seen_as, type_names

Features = npt.NDArray[np.float32]
Judge = Callable[[Features], Floats]


def unseen_types(
    samples: Samples, label: Floats, fit: Callable[[Samples, Floats], Judge], seen: Floats
) -> Table:
    """A row for each type a reader would name: its figures when seen in training and when never seen.

    fit: samples and labels -> a function of features that answers (N, 1 + T), the types in the order of
    `train.fit.type_names` of the whole set. seen: (N, 1) or more, held-out answers of heads that saw every
    type. A type's simulators are left out together; the clean slices and the other types stay.
    """
    kinds, types = seen_as(samples), np.array(type_names(samples))
    plain = samples.copy == 0
    rows = []
    for kind in types[1:]:
        mine = kinds == kind
        unseen = np.full((len(samples), 1 + len(types)), np.nan)
        for subject in np.unique(samples.subject):
            out = samples.subject == subject
            chosen = ~out & ~mine
            unseen[out] = fit(samples.where(chosen), label[chosen])(samples.features[out])
        figures_of = [
            _figures(samples.where(plain), s[plain, 0], label[plain], str(kind)) for s in (seen, unseen)
        ]
        visible = plain & mine & (samples.severity >= 2)
        called = Counter(types[unseen[visible, 1:].argmax(axis=1)])
        share = {name: count / visible.sum() for name, count in called.most_common(2)}
        told = ", ".join(f"{name} {100 * value:.0f} %" for name, value in share.items())
        rows.append((str(kind), *(v for pair in zip(*figures_of, strict=True) for v in pair), told))
    names = ("SROCC", "SROCC relative", "steps in order")
    return Table(
        title="A type never seen in training",
        columns=(
            Column(name="type", numeric=False),
            *(Column(name=f"{name}{when}", digits=2) for name in names for when in ("", ", unseen")),
            Column(name="called, when unseen", numeric=False),
        ),
        rows=tuple(rows),
        notes=("Steps in order: adjacent severities 1 to 5 of the type's own ladders.",),
    )


def _figures(samples: Samples, scores: Floats, label: Floats, kind: str) -> tuple[float, float, float]:
    mine = seen_as(samples) == kind
    steps = [
        pairs
        for artefact, (_, _, pairs) in figures(samples, scores, label).by_artefact.items()
        if artefact in set(samples.artefact[mine])
    ]
    less = relative(samples, scores)
    return srocc(scores[mine], label[mine]), srocc(less[mine], label[mine]), float(np.mean(steps))
