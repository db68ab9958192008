"""From a series' files to assessment and decision; no store, no network.

The worker and `qagate score` share it. Reading and measuring go series by series, scoring goes over
the slices of all series at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from qagate.assessment import Artefact, Assessment, Baseline, Decision, Finding, Prompt, SliceScore
from qagate.dicom.pixels import PixelError, decode, read_series
from qagate.gate.calibration import ReadersScale
from qagate.gate.measures import measure
from qagate.gate.policy import Policy, decide
from qagate.gate.prompts import prompt_from
from qagate.gate.scoring import Scorer, SeriesScore
from qagate.gate.slices import is_empty_image, salient, scored_stack
from qagate.gate.technique import technique_from
from qagate.image import SeriesImages, SliceHeader, SliceImage, Stack
from qagate.series import SeriesHeader

MOST_PIXELS = 4096 * 4096  #: of a slice that is judged; no CT or MR has more than a quarter of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the gate concluded of one series."""

    assessment: Assessment
    decision: Decision
    evidence: tuple[SliceHeader, ...]  #: the scored slices; when nothing was scored, what there is


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One series read, ready to be scored."""

    images: SeriesImages
    prompt: Prompt
    stack: Stack | None = None
    slices: tuple[SliceImage, ...] = ()  #: the salient ones, decoded
    measures: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    not_assessed: str | None = None


def prepare(paths: Sequence[Path]) -> Prepared:
    """Read one series, decode its salient slices and measure them."""
    series = read(paths)
    if series.stack is None or series.not_assessed is not None:
        return series
    measured = measure(series.slices, series.stack)
    return replace(series, measures=measured.measures, findings=measured.findings)


def read(paths: Sequence[Path]) -> Prepared:
    """One series with its salient slices decoded and nothing measured."""
    images = read_series(paths)
    prompt = prompt_from(images.attributes)
    stack = scored_stack(images.stacks)
    reason = images.not_assessed or _why_no_stack(images, stack) or _why_too_large(stack)
    if stack is None or reason is not None:
        return Prepared(images=images, prompt=prompt, not_assessed=reason)
    decoded: dict[SliceHeader, SliceImage] = {}
    broken: list[str] = []

    def is_empty(header: SliceHeader) -> bool:
        try:
            image = decode(header)
        except PixelError as error:
            broken.append(str(error))
            return True
        if is_empty_image(image):  # not kept: a stack may be nothing else
            return True
        decoded[header] = image
        return False

    chosen = salient(stack, is_empty)
    slices = tuple(decoded[header] for header in chosen)
    if not slices:
        reason = f"no slice can be read: {broken[0]}" if broken else "every slice is empty"
        return Prepared(images=images, prompt=prompt, stack=stack, not_assessed=reason)
    return Prepared(images=images, prompt=prompt, stack=stack, slices=slices)


def _why_too_large(stack: Stack | None) -> str | None:
    """Why the slices of a stack are not decoded together, seven or more at a time."""
    if stack is None or (pixels := stack.slices[0].rows * stack.slices[0].columns) <= MOST_PIXELS:
        return None
    return f"its slices are too large to be judged: {pixels} pixels each, at most {MOST_PIXELS}"


def _why_no_stack(images: SeriesImages, stack: Stack | None) -> str | None:
    """Why nothing can be scored, in the words of whoever knows best."""
    if stack is not None:
        return None
    reasons = [other.not_assessed for other in images.stacks if other.not_assessed]
    return reasons[0] if reasons else "no readable image: " + "; ".join(images.problems[:3])


def examine(
    prepared: Sequence[Prepared],
    headers: Sequence[SeriesHeader],
    scorer: Scorer,
    policy: Policy,
    *,
    baselines: Sequence[Baseline | None] = (),
    readers: ReadersScale | None = None,
) -> list[Examination]:
    """Score the prepared series together and decide each.

    baselines: one a series, None where it is not warm; none at all: decide by the absolute quality.
    readers: the scale of the house's readers that the scorer's model is calibrated to.
    """
    scorable = [series for series in prepared if series.not_assessed is None]
    scores = iter(
        scorer.score([series.slices for series in scorable], [series.prompt for series in scorable])
    )
    found = []
    for series, header, baseline in zip(prepared, headers, baselines or [None] * len(prepared), strict=True):
        assessment = _assessment(series, None if series.not_assessed else next(scores), scorer, readers)
        evidence = tuple(image.header for image in series.slices)
        if not evidence:
            evidence = tuple(header for stack in series.images.stacks for header in stack.slices)[:1]
        decision = decide(assessment, header, policy, baseline)
        found.append(Examination(assessment=assessment, decision=decision, evidence=evidence))
    return found


def _assessment(
    series: Prepared, score: SeriesScore | None, scorer: Scorer, readers: ReadersScale | None
) -> Assessment:
    assessed = score is not None and score.not_assessed is None
    quality = score.quality if score and assessed else None
    return Assessment(
        prompt=series.prompt,
        quality=quality,
        score=score.score if score and assessed else None,
        slices=_numbered(score.slices, series) if score and score.slices else (),
        measures=series.measures,
        technique=technique_from(series.images.attributes),
        findings=series.findings + _recognised(score, series),
        slice_count=len(series.stack.slices) if series.stack else 0,
        model=scorer.model_name,
        model_version=scorer.model_version,
        weights_sha256=scorer.weights_sha256,
        not_assessed=series.not_assessed or (score.not_assessed if score else None),
        rating=readers(quality) if readers is not None and quality is not None else None,
    )


def _numbered(scores: Sequence[SliceScore], series: Prepared) -> tuple[SliceScore, ...]:
    """Number the scores by their slice's place in the whole stack instead of among the scored ones."""
    places = {
        id(header): place for place, header in enumerate(series.stack.slices if series.stack else (), 1)
    }
    return tuple(
        replace(score, slice_number=places[id(image.header)])
        for score, image in zip(scores, series.slices, strict=True)
    )


def _recognised(score: SeriesScore | None, series: Prepared) -> tuple[Finding, ...]:
    """What the model recognises, where no measure has named it already.

    The artefact that most scored slices show with more than even probability.
    """
    if score is None or score.not_assessed is not None:
        return ()
    named = {finding.artefact.value for finding in series.findings}
    shown: dict[str, list[int]] = {}
    for number, one in enumerate(score.slices):
        kind, probability = max(one.artefacts.items(), key=lambda item: item[1], default=("none", 0.0))
        if probability > 0.5 and kind not in ("none", *named):
            shown.setdefault(kind, []).append(number)
    found = []
    for kind, numbers in shown.items():
        if 2 * len(numbers) <= len(score.slices):
            continue
        slices = [score.slices[number] for number in numbers]
        found.append(
            Finding(
                artefact=Artefact(kind),
                severity=sum(one.artefacts[kind] for one in slices) / len(score.slices),
                text=f"looks like {kind}, {len(slices)} of {len(score.slices)} slices looked at",
                sop_instance_uids=tuple(dict.fromkeys(one.sop_instance_uid for one in slices)),
            )
        )
    return tuple(found)
