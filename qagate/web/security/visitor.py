"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qagate.web.security.roles import Role

Via = Literal["nothing", "cookie", "token", "proxy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A person or a program that asks for something."""

    name: str = ""  #: "" for an outsider
    role: Role | None = None  #: None for an outsider
    account_id: int = 0
    via: Via = "nothing"  #: how it proved who it is
    csrf: str = ""  #: what its forms must carry
    wall: bool = False  #: a display that no idle limit logs out

    def may(self, role: Role) -> bool:
        """Whether the visitor has at least that role."""
        return self.role is not None and self.role >= role

    @property
    def known(self) -> bool:
        """Whether it is logged in."""
        return self.role is not None


OUTSIDER = Visitor()
