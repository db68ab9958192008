"""`qagate models report`: the acceptance report of a challenger, as HTML and PDF."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qagate.command import errors, settings_of, user

if TYPE_CHECKING:
    from qagate.comparison import ModelName
    from qagate.config import Settings
    from train.acceptance.sections import Told

EXTRA = (
    "the report's pictures need matplotlib, which the extra `report` installs: pip install 'qagate[report]'"
)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("name", required=False)
@click.option("--out", type=_FILE, help="The HTML file; default acceptance-NAME.html.")
@click.option("--pdf", is_flag=True, help="The same as PDF beside it.")
@click.option("--by", default=user, help="Who prepares it; default: the user of this machine.")
@click.option("--verify", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="Only say whether an HTML report is as it was written.")  # fmt: skip
@click.pass_context
def report(
    ctx: click.Context, name: str | None, out: Path | None, pdf: bool, by: str, verify: Path | None
) -> None:
    """Write the acceptance report of NAME, or of the challenger, for the physicist's file."""
    with errors():
        if verify is not None:
            _verify(verify)
            return
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise RuntimeError(EXTRA) from error
        _write(settings_of(ctx), name, out, pdf, by)


def _verify(path: Path) -> None:
    from train.acceptance.html import verified

    if not verified(path.read_text(encoding="utf-8")):
        raise ValueError(f"{path} was changed after it was written")
    click.echo(f"{path} is as it was written")


def _write(settings: Settings, name: str | None, out: Path | None, pdf: bool, by: str) -> None:
    from datetime import UTC, datetime

    from qagate import __version__, stewardship
    from train.acceptance import html
    from train.acceptance import pdf as pdf_file
    from train.acceptance.sections import Occasion, document

    case = stewardship.case(settings, name)
    comparison = case.compared.comparison
    champion, challenger = (
        _told(settings, role, model)
        for role, model in (("champion", comparison.champion), ("challenger", comparison.challenger))
    )
    occasion = Occasion(at=datetime.now(UTC), by=by, version=__version__)
    made = document(case, champion, challenger, occasion)
    text, content = html.render(made)
    path = out or Path(f"acceptance-{challenger.name}.html")
    files = {path: text.encode()}
    if pdf:
        files[path.with_suffix(".pdf")] = pdf_file.render(made, content)
    for file, data in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        click.echo(f"wrote {file} (file sha256 {hashlib.sha256(data).hexdigest()})")
    against = len(comparison.objections)
    click.echo(f"{against} objections to a promotion" if against else "nothing speaks against a promotion")


def _told(settings: Settings, role: str, model: ModelName) -> Told:
    from models import house_folder
    from models.training_record import TrainingRecord, kept
    from train.acceptance.sections import Told

    try:
        entry = house_folder.find(model.name, folder=settings.house_dir)
    except (ValueError, RuntimeError):
        entry = None  # a model of the past, whose files were removed
    if entry is not None and entry.files[0].sha256 != model.weights_sha256:
        entry = None
    record = kept(settings.house_dir / entry.files[0].file) if entry else TrainingRecord()
    return Told(role=role, entry=entry, record=record, name=model.name, weights_sha256=model.weights_sha256)
