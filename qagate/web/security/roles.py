"""Who may do what: four roles, each of which may all that the one before it may."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """What a person is to the gate."""

    VIEWER = 1  #: looks
    RADIOGRAPHER = 2  #: agrees, disagrees, repeats
    PHYSICIST = 3  #: rates, compares and promotes models, requeues
    ADMIN = 4  #: manages users and reads the audit trail

    @classmethod
    def named(cls, name: str) -> Role:
        """The role of a setting or a column. Raises ValueError that lists them."""
        try:
            return cls[name.upper()]
        except KeyError:
            raise ValueError(
                f"{name!r} is no role; there are {', '.join(role.word for role in cls)}"
            ) from None

    @property
    def word(self) -> str:
        """Its name in settings and database."""
        return self.name.lower()


class Public:
    """The rule of the few routes that everyone may use."""

    word = "public"

    def __repr__(self) -> str:
        return "PUBLIC"


PUBLIC = Public()
Rule = Role | Public
