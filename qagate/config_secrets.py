"""Secrets of the settings: files named like their environment variables, in a folder.

The folder is QAGATE_SECRETS_DIR, or what systemd's LoadCredential made (CREDENTIALS_DIRECTORY). A file
QAGATE_DATABASE_URL in it holds the value of `database_url`, as the variable of that name would.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import EnvSettingsSource

_PREFIX = "QAGATE_"
_LONGEST = 1 << 16  #: bytes


class SecretFiles(EnvSettingsSource):
    """Settings from the folder of secrets; one that is unset or missing has none."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        folder = os.environ.get("QAGATE_SECRETS_DIR") or os.environ.get("CREDENTIALS_DIRECTORY")
        return read(Path(folder)) if folder else {}


def read(folder: Path) -> dict[str, str]:
    """Variable in lower case -> what its file holds, without a newline at the end.

    Raises ValueError that names a file which cannot be read, and never what is in it.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.name.upper().startswith(_PREFIX) or not path.is_file():
            continue
        try:
            data = path.read_bytes()
            if len(data) > _LONGEST:
                raise ValueError(f"the secret {path} has more than {_LONGEST >> 10} KiB")
            found[path.name.lower()] = data.decode("utf-8").removesuffix("\n")
        except OSError as error:
            raise ValueError(
                f"the secret {path} cannot be read ({error.strerror}): give this user the file"
            ) from None
        except UnicodeDecodeError:
            raise ValueError(f"the secret {path} is no UTF-8 text") from None
    return found


def revealed(secrets: Iterable[SecretStr]) -> list[str]:
    """What secrets hold, for the part that needs it."""
    return [secret.get_secret_value() for secret in secrets]
