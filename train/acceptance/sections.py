"""From the case for a promotion to the report's sections. No patient, study or series is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from models.training_record import TrainingRecord
from models.weights_file import ModelEntry
from qagate.stewardship import Case
from qagate.store.baselines import BaselineRow
from train.acceptance import evidence
from train.acceptance.document import Block, Bullets, Document, Facts, Listing, Section, Signatures, Text
from train.evaluation.significance import Interval
from train.evaluation.tables import Column, Table

ROLES = ("Prepared by", "Medical physicist", "Radiologist")
_RECIPE_LINES = 60
_HEADS = "default"  #: the network that learns from simulated artefacts alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is known of one of the two models."""

    role: str  #: "champion" or "challenger"
    entry: ModelEntry | None  #: None: its files are no longer there
    record: TrainingRecord
    name: str
    weights_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """When, by whom and with what the report was made."""

    at: datetime
    by: str
    version: str


def document(case: Case, champion: Told, challenger: Told, occasion: Occasion) -> Document:
    """The whole report."""
    models = (champion, challenger)
    parts: tuple[tuple[str, Iterator[Block]], ...] = (
        ("Outcome", _outcome(case, challenger)),
        ("The two models", _models(models)),
        ("Training", _training(models)),
        ("Live series in shadow", evidence.live(case)),
        ("Rated series", evidence.rated(case)),
        ("By group", evidence.by_group(case)),
        ("Running baselines", _baselines(case, models)),
        ("Rules of promotion", _rules(case)),
        ("Acts", _acts(case)),
        ("Limits", _limits(case, models)),
        ("Signatures", iter((Signatures(roles=ROLES),))),
    )
    return Document(
        title=f"Acceptance report: {challenger.name}",
        subtitle=f"Judged for promotion against {champion.name}. Written by qagate {occasion.version} on "
        f"{_when(occasion.at)} for {occasion.by}. qagate is not a medical device.",
        sections=tuple(
            Section(title=f"{number}. {title}", blocks=tuple(blocks))
            for number, (title, blocks) in enumerate(parts, 1)
        ),
    )


def _outcome(case: Case, challenger: Told) -> Iterator[Block]:
    checks = case.compared.checks
    against = [check for check in checks if not check.met]
    if against:
        yield Text(text=f"{len(against)} of {len(checks)} rules speak against a promotion.", strong=True)
        yield Bullets(items=tuple(_sentence(check.objection) for check in against))
    else:
        yield Text(text=f"All {len(checks)} rules that could be checked are met.", strong=True)
    if case.promoted:
        yield Text(text=f"{challenger.name} is champion already; it is held against the champion before it.")
    else:
        yield Text(text=f"{challenger.name} is not champion. Rules do not promote a model; a person does.")


def _models(models: tuple[Told, Told]) -> Iterator[Block]:
    rows: list[tuple[str, ...]] = [
        ("name", *(told.name for told in models)),
        ("weights, SHA-256", *(told.weights_sha256 or "not known" for told in models)),
    ]
    kept = {
        "network": lambda entry: entry.network,
        "variant": lambda entry: entry.variant,
        "version": lambda entry: entry.version,
        "source": lambda entry: entry.source,
        "parameters": lambda entry: f"{entry.parameters:,}",
        "input": lambda entry: entry.input,
        "modalities": lambda entry: ", ".join(entry.modalities),
        "prompts": lambda entry: ", ".join(entry.prompts) or "none",
    }
    for name, of in kept.items():
        rows.append((name, *("not known" if told.entry is None else of(told.entry) for told in models)))
    heads = ("", *(told.role for told in models))
    yield Table(
        title="Champion and challenger",
        columns=tuple(Column(name=head, numeric=False) for head in heads),
        rows=tuple(rows),
    )


def _training(models: tuple[Told, Told]) -> Iterator[Block]:
    for told in models:
        figures = told.entry.figures if told.entry else {}
        if figures:
            yield Table(
                title=f"Figures of {told.name} from its training, on cases it was not trained on",
                columns=(Column(name="figure", numeric=False), Column(name="value")),
                rows=tuple(_figures(figures)),
                notes=_notes_on_figures(told),
            )
        else:
            yield Text(text=f"{told.name}: no figures of its training are kept.")
        yield from _record(told)


def _notes_on_figures(told: Told) -> tuple[str, ...]:
    if told.entry is not None and told.entry.network == _HEADS:
        return ("Labels: simulated artefacts graded by full-reference metrics, no readers.",)
    return ()


def _figures(figures: Mapping[str, float]) -> Iterator[tuple[str, Interval | float | int]]:
    """NAME, NAME_low and NAME_high become one row."""
    for name, value in figures.items():
        low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
        if name.removesuffix("_low") in figures and name.endswith("_low"):
            continue
        if name.removesuffix("_high") in figures and name.endswith("_high"):
            continue
        words = name.replace("_", " ")
        if low is not None and high is not None:
            yield words, Interval(value=value, low=low, high=high)
        else:
            yield words, int(value) if value.is_integer() and abs(value) > 1 else value


def _record(told: Told) -> Iterator[Block]:
    record = told.record
    if record == TrainingRecord():
        yield Text(text=f"{told.name} came without the folder of its run: no recipe or environment is kept.")
        return
    facts = [
        ("cases", ", ".join(f"{count} {modality}" for modality, count in record.cases.items())),
        *(
            (name, "not installed" if value is None else f"{value}")
            for name, value in record.environment.items()
        ),
    ]
    yield Text(text=f"Run of {told.name}:")
    yield Facts(rows=tuple((name, value) for name, value in facts if value))
    if record.recipe:
        lines = record.recipe.strip().splitlines()
        more = [f"# ... and {len(lines) - _RECIPE_LINES} lines more"] if len(lines) > _RECIPE_LINES else []
        yield Listing(text="\n".join(lines[:_RECIPE_LINES] + more))


def _baselines(case: Case, models: tuple[Told, Told]) -> Iterator[Block]:
    role = {told.weights_sha256: told.role for told in models}
    warm = Counter(role[row.key.weights_sha256] for row in case.baselines if row.state.median is not None)
    told = ", ".join(f"{warm[one.role]} of the {one.role}" for one in models)
    yield Text(
        text=f"Warm, and therefore deciding: {told}. Where a baseline is cold, fixed thresholds decide."
    )
    if case.baselines:
        heads = ("baseline", "model", "station", "series of", "state")
        yield Table(
            title="How each station's protocols usually score (quality, 0 to 1)",
            columns=(
                *(Column(name=head, numeric=False) for head in heads),
                Column(name="series"),
                Column(name="median"),
                Column(name="MAD"),
            ),
            rows=tuple(
                (
                    f"{row.baseline_id}", role[row.key.weights_sha256], row.key.station,
                    f"{row.key.modality} {row.key.region} {row.key.type}", _state(row),
                    len(row.state.sample), row.state.median, row.state.mad,
                )
                for row in case.baselines
            ),
            notes=("Which protocol a number is: qagate baselines --all.",),
        )  # fmt: skip


def _state(row: BaselineRow) -> str:
    if row.state.alarm:
        return f"ALARM: {row.state.alarm.value}"
    return "warming up" if row.state.median is None else "warm"


def _rules(case: Case) -> Iterator[Block]:
    heads = ("series of", "rule", "found", "met")
    yield Table(
        title="Each rule, held against each group with series enough",
        columns=tuple(Column(name=head, numeric=False) for head in heads),
        rows=tuple(
            (check.group, check.rule, check.found, "yes" if check.met else "NO")
            for check in case.compared.checks
        ),
        notes=("Settings: promotion.margin, promotion.min_cases, promotion.max_changed.",),
    )
    small = [g.name for g in case.compared.comparison.groups[1:] if g.cases < case.rules.min_cases]
    if small:
        yield Text(
            text=f"Too few series to be judged (fewer than {case.rules.min_cases}): {', '.join(small)}."
        )


def _acts(case: Case) -> Iterator[Block]:
    if not case.acts:
        yield Text(text="Nobody acted on either model yet; the champion is the settings' model.")
        return
    heads = ("when", "who", "act", "model", "why")
    yield Table(
        title="Who made which of the two champion or challenger",
        columns=tuple(Column(name=head, numeric=False) for head in heads),
        rows=tuple(
            (
                _when(act.acted_at), act.actor, act.act.value + (" (forced)" if act.forced else ""),
                act.name or "", act.reason,
            )
            for act in case.acts
        ),
    )  # fmt: skip


def _limits(case: Case, models: tuple[Told, Told]) -> Iterator[Block]:
    items = [
        "qagate is not a medical device. This report supports the decision of the person responsible; it is "
        "no clinical validation.",
        *(
            f"{told.name} learned from artefacts simulated on images and graded by full-reference metrics, "
            "not by readers. Agreement with such labels does not prove clinical validity."
            for told in models
            if told.entry is not None and told.entry.network == _HEADS
        ),
        "The series are those both models scored while the challenger was in shadow. Bad series are rare "
        "among them, and agreement on good ones says little of bad ones.",
        "Intervals are 95 % bootstrap percentiles over series. Series of one patient or scanner are not "
        "independent, so they are too narrow. Nothing is corrected for the number of groups.",
    ]
    if not any(pair.label is not None for pair in case.compared.pairs):
        items.append("No series was rated: nothing here says which of the two models is right.")
    else:
        items.append("Rated series may have been chosen by eye; then they stand for no one but themselves.")
    yield Bullets(items=tuple(items))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
