"""Who may look at the pages. Accounts are switched off, never deleted: labels and audit name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from qagate.label import MAX_RATER
from qagate.store.audit import append
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.rows import insert_new
from qagate.store.schema import account, api_token, login

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One user."""

    account_id: int
    name: str  #: lower case; also the rater's name of labels
    role: str  #: viewer, radiographer, physicist or admin
    source: str  #: who vouches: local, oidc or proxy
    password_hash: str | None  #: None: cannot log in by password
    disabled: bool
    wall: bool  #: a display on the wall: no idle limit
    locked_until: datetime | None  #: UTC
    created_at: datetime  #: UTC
    seen_at: datetime | None  #: last login, UTC


class NameTaken(StoreError):
    """There is an account of that name already."""


def checked_name(name: str) -> str:
    """The name as it is kept. Raises ValueError with the mend."""
    lowered = name.strip().lower()
    if not _NAME.fullmatch(lowered) or len(lowered) > MAX_RATER:
        raise ValueError(
            f"{name[:MAX_RATER]!r} is no user name: 1 to {MAX_RATER} letters a-z, digits and . _ @ + -, "
            "beginning with a letter or digit"
        )
    return lowered


class Accounts:
    """The accounts of a store. Every change is written to the audit trail in the same transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> tuple[Account, ...]:
        """Every account by name, those switched off too."""
        with self._store.read() as connection:
            rows = connection.execute(sa.select(account).order_by(account.c.name))
            return tuple(account_of(row) for row in rows)

    def any(self) -> bool:
        """Whether there is an account at all."""
        with self._store.read() as connection:
            return connection.scalar(sa.select(account.c.id).limit(1)) is not None

    def named(self, name: str) -> Account | None:
        """The account of a name, however it is written; None when there is none."""
        with self._store.read() as connection:
            row = connection.execute(sa.select(account).where(account.c.name == name.strip().lower())).first()
            return None if row is None else account_of(row)

    def add(
        self,
        name: str,
        role: str,
        *,
        actor: str,
        password_hash: str | None = None,
        source: str = "local",
        wall: bool = False,
    ) -> Account:
        """Make an account. Raises ValueError for a bad name, NameTaken."""
        name, now = checked_name(name), self._store.now()
        _wall_fits(role, wall)
        values = {
            "name": name, "role": role, "source": source, "password_hash": password_hash, "disabled": False,
            "wall": wall, "wrong_passwords": 0, "created_at": now,
        }  # fmt: skip
        with self._store.write() as connection:
            statement = insert_new(connection, account).values(values).returning(*account.c)
            row = connection.execute(statement).first()
            if row is None:
                raise NameTaken(f"there is a user {name} already: choose another name")
            details = {"user": name, "role": role, "source": source}
            append(connection, now, actor, "add user", None, details)
            return account_of(row)

    def change(
        self,
        name: str,
        *,
        actor: str,
        role: str | None = None,
        password_hash: str | None = None,
        disabled: bool | None = None,
        wall: bool | None = None,
    ) -> Account:
        """Change what is given. A new role or password, or switching off, ends the account's logins.

        Raises StoreError for an unknown name, and where no administrator would be left.
        """
        asked = {"role": role, "password_hash": password_hash, "disabled": disabled, "wall": wall}
        values: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
        now = self._store.now()
        with self._store.write() as connection:
            row = _row(connection, name)
            if row.role == "admin" and (values.get("role", "admin") != "admin" or values.get("disabled")):
                _another_admin(connection, row)
            _wall_fits(values.get("role", row.role), values.get("wall", row.wall))
            if password_hash is not None or disabled is False:
                values |= {"wrong_passwords": 0, "locked_until": None}
            changed = connection.execute(
                sa.update(account).where(account.c.id == row.id).values(values).returning(*account.c)
            ).one()
            if role is not None or password_hash is not None or disabled:
                connection.execute(sa.delete(login).where(login.c.account_id == row.id))
            if disabled:
                connection.execute(sa.delete(api_token).where(api_token.c.account_id == row.id))
            details = {"user": row.name} | _told(values)
            append(connection, now, actor, "change user", None, details)
            return account_of(changed)

    def wrong_password(self, account_id: int, *, allowed: int, lock_s: float) -> bool:
        """Count a wrong password; whether the account is locked now, after `allowed` in a row."""
        now = self._store.now()
        mine = account.c.id == account_id
        with self._store.write() as connection:
            row = connection.execute(
                sa.update(account)
                .where(mine)
                .values(wrong_passwords=account.c.wrong_passwords + 1)
                .returning(account.c.name, account.c.wrong_passwords)
            ).one()
            locked = bool(row.wrong_passwords >= allowed)
            if locked:
                until = now + timedelta(seconds=lock_s)
                connection.execute(
                    sa.update(account).where(mine).values(wrong_passwords=0, locked_until=until)
                )
            append(connection, now, row.name, "locked" if locked else "wrong password", None, {})
            return locked

    def vouched(self, name: str, role: str, *, source: str) -> Account:
        """The account of someone another system vouches for, made or brought up to date.

        Raises ValueError for a bad name, StoreError where the name belongs to an account of another source.
        """
        found = self.named(checked_name(name))
        if found is None:
            return self.add(name, role, actor=source, source=source)
        if found.source != source:
            raise NameTaken(
                f"the user {found.name} logs in otherwise ({found.source}): ask the administrator"
            )
        return found if found.role == role else self.change(found.name, actor=source, role=role)


def account_of(row: sa.Row[Any]) -> Account:
    """The account of a row of its table."""
    return Account(
        account_id=row.id,
        name=row.name,
        role=row.role,
        source=row.source,
        password_hash=row.password_hash,
        disabled=row.disabled,
        wall=row.wall,
        locked_until=row.locked_until,
        created_at=row.created_at,
        seen_at=row.seen_at,
    )


def _row(connection: sa.Connection, name: str) -> sa.Row[Any]:
    row = connection.execute(sa.select(account).where(account.c.name == name.strip().lower())).first()
    if row is None:
        raise StoreError(f"there is no user {name[:MAX_RATER]}: `qagate users list` shows them all")
    return row


def _another_admin(connection: sa.Connection, row: sa.Row[Any]) -> None:
    others = sa.select(account.c.id).where(
        account.c.role == "admin", account.c.disabled.is_(False), account.c.id != row.id
    )
    if connection.scalar(others.limit(1)) is None:
        raise StoreError(f"{row.name} is the only administrator left: make another one first")


def _wall_fits(role: str, wall: bool) -> None:
    if wall and role not in ("viewer", "radiographer"):
        raise ValueError(
            f"a display on the wall stays logged in, so it cannot be {role}: viewer or radiographer"
        )


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit says of a change: never the hash."""
    told = {key: value for key, value in values.items() if key in ("role", "disabled", "wall")}
    return told | ({"password": "changed"} if "password_hash" in values else {})
