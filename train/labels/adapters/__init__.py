"""Public data sets as their publishers lay them out, read as samples. None is shipped, none is fetched.

Each reader takes the folder that the publisher's archive unpacks to. Files that the labels name and the
folder lacks are problems of the answer; a folder without the labels is a DataSetError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from train.labels.adapters import kadid, koniq, ldctiqa, live, mr_art, rad_iqmri
from train.labels.adapters.common import DataSetError
from train.labels.sample import Labelled

ADAPTERS: Mapping[str, Callable[[Path], Labelled]] = MappingProxyType(
    {
        "rad-iqmri": rad_iqmri.read,
        "ldctiqag2023": ldctiqa.read,
        "mr-art": mr_art.read,
        "koniq-10k": koniq.read,
        "kadid-10k": kadid.read,
        "live": live.read,
    }
)


def read(name: str, root: Path) -> Labelled:
    """Read the data set `name`, a key of ADAPTERS, from its folder. Raises DataSetError."""
    if name not in ADAPTERS:
        raise DataSetError(f"no data set is called {name!r}; there are {', '.join(ADAPTERS)}")
    if not root.is_dir():
        raise DataSetError(f"{root} is no folder: name the one that the archive of {name} was unpacked to")
    return ADAPTERS[name](root)


__all__ = ["ADAPTERS", "DataSetError", "read"]
