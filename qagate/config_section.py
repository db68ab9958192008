"""What the sections of the settings share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Quality = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """One table of the settings' TOML file; the docstring of each is its heading there."""

    model_config = ConfigDict(frozen=True, extra="forbid")
