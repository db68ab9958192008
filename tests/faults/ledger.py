"""One line a fault into the file that QAGATE_FAULTS_RESULTS names; docs/reliability.md is made of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

_VARIABLE = "QAGATE_FAULTS_RESULTS"


def record(
    *,
    fault: str,
    where: str,
    database: Literal["sqlite", "postgres"],
    accepted: int,
    lost: int,
    duplicated: int,
    outcome: str,
) -> None:
    """Add the outcome of one fault; nothing when the variable is not set. Processes may add at once.

    `accepted` counts instances answered 0x0000, `lost` those of them that are not in archive or spool at the
    end, `duplicated` the decisions, reports and alerts beyond one a revision. `outcome` is one sentence.
    """
    path = os.environ.get(_VARIABLE)
    if not path:
        return
    line = json.dumps(
        {
            "fault": fault,
            "where": where,
            "database": database,
            "accepted": accepted,
            "lost": lost,
            "duplicated": duplicated,
            "outcome": outcome,
        }
    )
    # One write of less than a page to a file opened for appending is not torn by another process' write.
    with Path(path).open("ab", buffering=0) as file:
        file.write(line.encode() + b"\n")
