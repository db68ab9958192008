"""What administrators do with users; the page and the API share it."""

from __future__ import annotations

from qagate.store.accounts import Account
from qagate.web.errors import Problem
from qagate.web.security import Role, Visitor, passwords
from qagate.web.site import Site
from qagate.web.texts import gettext as _


def add(site: Site, visitor: Visitor, *, name: str, role: Role, wall: bool) -> tuple[Account, str]:
    """A new user and the password to hand over. Raises Problem."""
    password = passwords.generated()
    try:
        made = site.accounts.add(
            name, role.word, actor=visitor.name, password_hash=passwords.hashed(password), wall=wall
        )
    except ValueError as error:
        raise Problem(422, str(error)) from error
    return made, password


def change(
    site: Site,
    visitor: Visitor,
    name: str,
    *,
    role: Role | None = None,
    wall: bool | None = None,
    disabled: bool | None = None,
) -> Account:
    """Change what is given. Raises Problem, StoreError."""
    known(site, name)
    try:
        return site.accounts.change(
            name, actor=visitor.name, role=role.word if role else None, wall=wall, disabled=disabled
        )
    except ValueError as error:
        raise Problem(422, str(error)) from error


def new_password(site: Site, visitor: Visitor, name: str) -> str:
    """Give a user a new password and return it, to be handed over. Raises Problem."""
    account = known(site, name)
    if account.source != "local":
        raise Problem(409, _("The password of %(name)s is not kept here.", name=account.name))
    password = passwords.generated()
    site.accounts.change(name, actor=visitor.name, password_hash=passwords.hashed(password))
    return password


def known(site: Site, name: str) -> Account:
    """The account of a name. Raises Problem."""
    found = site.accounts.named(name)
    if found is None:
        raise Problem(404, _("There is no such user; the list of users shows them all."))
    return found
