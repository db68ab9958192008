"""Passwords: argon2id with the parameters of RFC 9106's second recommendation (64 MiB, 3 passes)."""

from __future__ import annotations

import secrets
import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from qagate.web.texts import gettext as _

MIN_LENGTH = 10  #: characters; NIST SP 800-63B asks for 8 or more and no rules of composition
MAX_LENGTH = 256

_CLEAR = "abcdefghjkmnpqrstuvwxyz23456789"
_HASHER = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)
_AT_ONCE = threading.BoundedSemaphore(2)  # each takes 64 MiB and a core
_WAITING = threading.BoundedSemaphore(8)  # more would hold the threads that other pages are made by


class TooMany(RuntimeError):
    """More passwords are being checked than the gate can bear beside its work."""


def problem(password: str, name: str) -> str | None:
    """What speaks against a new password, as one sentence with the mend; None: nothing."""
    length = len(password)
    if length < MIN_LENGTH:
        return _("The password has %(n)s characters; choose at least %(least)s.", n=length, least=MIN_LENGTH)
    if length > MAX_LENGTH:
        return _("The password has %(n)s characters; choose at most %(most)s.", n=length, most=MAX_LENGTH)
    if name.lower() in password.lower() or len(set(password)) < 4:
        return _(
            "The password is easy to guess; leave the user name out and use several different characters."
        )
    return None


def hashed(password: str) -> str:
    """The hash that is kept, with its salt and parameters."""
    with _AT_ONCE:
        return _HASHER.hash(password)


def fits(password: str, kept: str | None) -> bool:
    """Whether a password is the one behind a hash; takes the same time when there is none. Raises TooMany."""
    if not _WAITING.acquire(blocking=False):
        raise TooMany
    try:
        with _AT_ONCE:
            return _HASHER.verify(kept or _nobody(), password) and kept is not None
    except (VerificationError, InvalidHashError):
        return False
    finally:
        _WAITING.release()


@cache
def _nobody() -> str:
    return _HASHER.hash("the password of nobody")


def generated() -> str:
    """A password to hand over: 74 bits in letters and digits that nobody confuses."""
    return "-".join("".join(secrets.choice(_CLEAR) for _ in range(5)) for _ in range(3))
