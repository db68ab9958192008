"""The folder of a house's own models, read: one manifest `NAME.toml` and one weights file each."""

from __future__ import annotations

from pathlib import Path

from models.weights_file import MANIFEST, ModelEntry, WeightsError, read_manifest


def names(folder: Path) -> list[str]:
    """The models of the folder, sorted; none when there is no folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def read_entry(folder: Path, name: str) -> ModelEntry:
    """One model's entry. Raises WeightsError naming its manifest when that cannot be used."""
    mend = "restore it from a backup, or delete it and add the model again"
    manifest = folder / f"{name}.toml"
    entries = read_manifest(manifest, mend=mend)
    if list(entries) != [name]:
        raise WeightsError(f"{manifest.name} describes {', '.join(entries) or 'nothing'}, not {name}; {mend}")
    return entries[name]


def find(name: str, *, manifest: Path = MANIFEST, folder: Path | None = None) -> ModelEntry:
    """The entry of a trained model, shipped or of the folder. Raises ValueError naming those there are."""
    entries = read_manifest(manifest)
    own = [] if folder is None else names(folder)
    if name not in entries and folder is not None and name in own:
        return read_entry(folder, name)
    if name not in entries:
        there = ", ".join(sorted({*entries, *own}))
        raise ValueError(f"there is no model {name!r} that is trained; there are {there}")
    return entries[name]
