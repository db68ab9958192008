"""What the sections of the settings share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Quality = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """One table of the settings' TOML file; the docstring of each is its heading there."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def resolved(section: Section, names: Iterable[str], folder: Path) -> dict[str, Path | None]:
    """Fields that hold paths, or None, with relative paths taken from a folder."""
    paths: dict[str, Path | None] = {name: getattr(section, name) for name in names}
    return {name: path and (folder / path).resolve() for name, path in paths.items()}
