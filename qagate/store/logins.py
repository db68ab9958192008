"""Browsers that are logged in, and tokens of programs. Only hashes of their secrets are kept."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from qagate.store.accounts import Account, account_of
from qagate.store.audit import append
from qagate.store.engine import Store
from qagate.store.errors import StoreError, StoreUnavailable
from qagate.store.rows import text
from qagate.store.schema import account, api_token, login

_TOUCH = timedelta(seconds=30)  #: a login's last use is written this often, not at every request
_SLACK_S = 300.0  #: a last use so far ahead is the clock of another machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a program's token."""

    token_id: int
    name: str
    created_at: datetime  #: UTC
    expires_at: datetime | None  #: UTC; None: never
    seen_at: datetime | None  #: last use, UTC


class Logins:
    """The logins and tokens of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, who: Account, token_sha256: str, *, longest_s: float) -> None:
        """Note a login; those of everyone that are too old by now are forgotten."""
        now = self._store.now()
        values = {
            "account_id": who.account_id,
            "token_sha256": token_sha256,
            "created_at": now,
            "seen_at": now,
        }
        old = login.c.seen_at < now - timedelta(seconds=longest_s)
        with self._store.write() as connection:
            walls = sa.select(account.c.id).where(account.c.wall)
            connection.execute(sa.delete(login).where(old, login.c.account_id.not_in(walls)))
            connection.execute(sa.insert(login).values(values))
            connection.execute(
                sa.update(account)
                .where(account.c.id == who.account_id)
                .values(seen_at=now, wrong_passwords=0, locked_until=None)
            )
            append(connection, now, who.name, "log in", None, {"by": who.source})

    def who(
        self, token_sha256: str, *, idle_s: float, longest_s: float, touch: bool = True
    ) -> Account | None:
        """Whose login it is; None when it ended, or its account was switched off. `touch`: it is used now."""
        now = self._store.now()
        query = (
            sa.select(account, login.c.id.label("login_id"), login.c.created_at.label("began_at"),
                      login.c.seen_at.label("used_at"))
            .join(login, login.c.account_id == account.c.id)
            .where(login.c.token_sha256 == token_sha256, account.c.disabled.is_(False))
        )  # fmt: skip
        with self._store.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        idle, age = (now - row.used_at).total_seconds(), (now - row.began_at).total_seconds()
        # A clock set back must not make logins last longer: such a one begins anew.
        if not row.wall and (not -_SLACK_S <= idle <= idle_s or age > longest_s):
            return None
        if touch and now - row.used_at >= _TOUCH:
            self._used(sa.update(login).where(login.c.id == row.login_id).values(seen_at=now))
        return account_of(row)

    def end(self, token_sha256: str) -> None:
        """Forget a login."""
        with self._store.write() as connection:
            name = connection.scalar(
                sa.select(account.c.name)
                .join(login, login.c.account_id == account.c.id)
                .where(login.c.token_sha256 == token_sha256)
            )
            if name is not None:
                connection.execute(sa.delete(login).where(login.c.token_sha256 == token_sha256))
                append(connection, self._store.now(), name, "log out", None, {})

    def add_token(
        self, who: Account, name: str, token_sha256: str, *, actor: str, expires_at: datetime | None
    ) -> None:
        """Note a program's token."""
        now = self._store.now()
        values: dict[str, Any] = {
            "account_id": who.account_id, "name": text(name), "token_sha256": token_sha256,
            "created_at": now, "expires_at": expires_at,
        }  # fmt: skip
        with self._store.write() as connection:
            connection.execute(sa.insert(api_token).values(values))
            details = {"user": who.name, "token": text(name)}
            append(connection, now, actor, "add token", None, details)

    def tokens(self, account_id: int) -> tuple[Token, ...]:
        """The tokens of an account, the newest first."""
        query = sa.select(api_token).where(api_token.c.account_id == account_id)
        with self._store.read() as connection:
            return tuple(
                Token(
                    token_id=row.id,
                    name=row.name,
                    created_at=row.created_at,
                    expires_at=row.expires_at,
                    seen_at=row.seen_at,
                )
                for row in connection.execute(query.order_by(api_token.c.id.desc()))
            )

    def revoke(self, account_id: int, token_id: int, *, actor: str) -> None:
        """Forget one of an account's tokens. Raises StoreError when it has no such token."""
        mine = (api_token.c.id == token_id, api_token.c.account_id == account_id)
        with self._store.write() as connection:
            name = connection.scalar(sa.delete(api_token).where(*mine).returning(api_token.c.name))
            if name is None:
                raise StoreError("that token is gone already")
            append(connection, self._store.now(), actor, "revoke token", None, {"token": name})

    def whose_token(self, token_sha256: str) -> Account | None:
        """Whose token it is; None when it is unknown or expired, or its account was switched off."""
        now = self._store.now()
        query = (
            sa.select(account, api_token.c.id.label("token_id"), api_token.c.expires_at,
                      api_token.c.seen_at.label("used_at"))
            .join(api_token, api_token.c.account_id == account.c.id)
            .where(api_token.c.token_sha256 == token_sha256, account.c.disabled.is_(False))
        )  # fmt: skip
        with self._store.read() as connection:
            row = connection.execute(query).first()
        if row is None or (row.expires_at is not None and row.expires_at <= now):
            return None
        if row.used_at is None or now - row.used_at >= _TOUCH:
            self._used(sa.update(api_token).where(api_token.c.id == row.token_id).values(seen_at=now))
        return account_of(row)

    def _used(self, note: sa.Update) -> None:
        """Note a use. A database that is locked for the moment keeps no page from being read."""
        with contextlib.suppress(StoreUnavailable), self._store.write() as connection:
            connection.execute(note)
