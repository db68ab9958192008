"""Users and the audit trail for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from qagate.config_web import RoleName
from qagate.store.accounts import Account
from qagate.web import people
from qagate.web.errors import Problem
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.texts import gettext as _

router = Router(prefix="/api/v1", tags=["users"], schema=True)

Name = Annotated[str, Path(max_length=64, description="user name")]


class MeOut(BaseModel):
    """Who asks."""

    name: str
    role: RoleName


class UserOut(BaseModel):
    """One user."""

    name: str
    role: RoleName
    source: Literal["local", "oidc", "proxy"] = Field(description="who vouches for the user")
    disabled: bool
    wall: bool = Field(description="a display on the wall: no idle limit")
    locked_until: datetime | None
    created_at: datetime
    seen_at: datetime | None = Field(description="last login")


class NewUser(BaseModel):
    """A user to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    role: RoleName
    wall: bool = False


class MadeUser(UserOut):
    """A user that was made."""

    password: str = Field(description="told this once")


class UserChange(BaseModel):
    """What shall be different; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    role: RoleName | None = None
    wall: bool | None = None
    disabled: bool | None = None


class PasswordOut(BaseModel):
    """A new password."""

    password: str = Field(description="told this once")


class AuditOut(BaseModel):
    """One act."""

    id: int
    at: datetime
    actor: str
    act: str
    series_instance_uid: str | None
    details: dict[str, Any]


@router.get("/me", rule=Role.VIEWER)
def me(visitor: Visitor) -> MeOut:
    """Who asks, as the gate knows them."""
    assert visitor.role is not None  # the rule saw to it
    return MeOut.model_validate({"name": visitor.name, "role": visitor.role.word})


@router.get("/users", rule=Role.ADMIN)
def users(site: Here) -> list[UserOut]:
    """Every user by name."""
    return [_out(one) for one in site.accounts.all()]


@router.post("/users", rule=Role.ADMIN, status_code=201)
def add(site: Here, visitor: Visitor, new: NewUser) -> MadeUser:
    """Make a user."""
    made, password = people.add(site, visitor, name=new.name, role=Role.named(new.role), wall=new.wall)
    return MadeUser(**_out(made).model_dump(), password=password)


@router.put("/users/{name}", rule=Role.ADMIN)
def change(site: Here, visitor: Visitor, name: Name, wanted: UserChange) -> UserOut:
    """Change a user; a new role or switching off ends the logins."""
    if wanted.disabled and name.strip().lower() == visitor.name:
        raise Problem(409, _("You cannot switch yourself off; another administrator can."))
    role = Role.named(wanted.role) if wanted.role else None
    return _out(people.change(site, visitor, name, role=role, wall=wanted.wall, disabled=wanted.disabled))


@router.post("/users/{name}/password", rule=Role.ADMIN)
def password(site: Here, visitor: Visitor, name: Name) -> PasswordOut:
    """Give a user a new password."""
    return PasswordOut(password=people.new_password(site, visitor, name))


@router.get("/audit", rule=Role.ADMIN)
def audit(
    site: Here,
    actor: Annotated[str | None, Query(max_length=64)] = None,
    act: Annotated[str | None, Query(max_length=64)] = None,
    series_instance_uid: Annotated[str | None, Query(max_length=200)] = None,
    before: Annotated[
        int | None, Query(ge=1, le=2**62, description="id of the last act of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[AuditOut]:
    """Who did what, the newest first."""
    found = site.trail.newest(
        actor=actor, act=act, series_instance_uid=series_instance_uid, before_id=before, limit=limit
    )
    return [
        AuditOut(
            id=one.entry_id,
            at=one.at,
            actor=one.actor,
            act=one.act,
            series_instance_uid=one.series_instance_uid,
            details=dict(one.details),
        )
        for one in found
    ]


def _out(of: Account) -> UserOut:
    return UserOut.model_validate(of, from_attributes=True)
