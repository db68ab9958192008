"""Accounts, logins, tokens and the audit trail, on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from qagate.store.accounts import Accounts, NameTaken
from qagate.store.audit import Trail
from qagate.store.engine import Store, open_store
from qagate.store.errors import StoreError
from qagate.store.figures import figures
from qagate.store.logins import Logins
from qagate.store.schema import api_token as token_table
from qagate.store.schema import login as login_table

IDLE = {"idle_s": 600.0, "longest_s": 3600.0}


@pytest.fixture
def accounts(store: Store) -> Accounts:
    return Accounts(store)


@pytest.fixture
def logins(store: Store) -> Logins:
    return Logins(store)


def test_names_are_kept_in_lower_case_and_once(accounts: Accounts) -> None:
    assert not accounts.any()
    made = accounts.add(" Anna.B@Hospital ", "admin", actor="root")
    assert made.name == "anna.b@hospital" and accounts.any()
    assert accounts.named("ANNA.b@hospital") == made
    with pytest.raises(NameTaken, match="already"):
        accounts.add("anna.B@hospital", "viewer", actor="root")
    assert accounts.named("nobody") is None


@pytest.mark.parametrize("name", ["", " ", "a b", "müller", "-x", "a^b", "x" * 65, "a/b", "a\x00b", "<b>"])
def test_what_is_no_name_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(ValueError, match="no user name"):
        accounts.add(name, "viewer", actor="root")


def test_changes_end_logins_and_are_audited_without_the_hash(
    accounts: Accounts, logins: Logins, store: Store
) -> None:
    rudi = accounts.add("rudi", "viewer", actor="root", password_hash="hash-1")
    changes: list[dict[str, Any]] = [
        {"role": "radiographer"}, {"password_hash": "hash-2"}, {"disabled": True},
    ]  # fmt: skip
    for number, change in enumerate(changes):
        logins.begin(rudi, f"t{number}", longest_s=3600)
        assert logins.who(f"t{number}", **IDLE) is not None
        accounts.change("RUDI", actor="anna", **change)
        assert logins.who(f"t{number}", **IDLE) is None
    entries = Trail(store).newest(act="change user")
    assert [one.details for one in entries] == [
        {"user": "rudi", "disabled": True},
        {"user": "rudi", "password": "changed"},
        {"user": "rudi", "role": "radiographer"},
    ]
    assert {one.actor for one in entries} == {"anna"}
    with pytest.raises(StoreError, match=r"no user nobody.*qagate users list"):
        accounts.change("nobody", actor="anna", role="viewer")


def test_the_last_administrator_stays(accounts: Accounts) -> None:
    accounts.add("anna", "admin", actor="root")
    accounts.add("old", "admin", actor="root")
    accounts.change("old", actor="anna", disabled=True)
    for change in ({"role": "viewer"}, {"disabled": True}):
        with pytest.raises(StoreError, match="only administrator left"):
            accounts.change("anna", actor="anna", **change)  # type: ignore[arg-type]
    accounts.change("old", actor="anna", disabled=False)
    assert accounts.change("anna", actor="old", role="viewer").role == "viewer"


def test_a_wall_shows_and_does_not_decide(accounts: Accounts) -> None:
    with pytest.raises(ValueError, match="viewer or radiographer"):
        accounts.add("room", "admin", actor="root", wall=True)
    accounts.add("room", "viewer", actor="root", wall=True)
    with pytest.raises(ValueError, match="viewer or radiographer"):
        accounts.change("room", actor="root", role="physicist")


def test_wrong_passwords_lock_and_a_login_unlocks(accounts: Accounts, logins: Logins, clock: Any) -> None:
    rudi = accounts.add("rudi", "viewer", actor="root")
    said = [accounts.wrong_password(rudi.account_id, allowed=3, lock_s=60) for _ in range(4)]
    assert said == [False, False, True, False]
    locked = accounts.named("rudi")
    assert locked is not None and locked.locked_until == clock() + timedelta(seconds=60)
    logins.begin(rudi, "t", longest_s=3600)
    unlocked = accounts.named("rudi")
    assert unlocked is not None and unlocked.locked_until is None and unlocked.seen_at == clock()
    assert not accounts.wrong_password(rudi.account_id, allowed=3, lock_s=60), "counted anew"


def test_every_wrong_password_counts_when_many_come_at_once(accounts: Accounts, store: Store) -> None:
    rudi = accounts.add("rudi", "viewer", actor="root")
    said: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda: said.append(accounts.wrong_password(rudi.account_id, allowed=4, lock_s=60))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said.count(True) == 2
    assert len(Trail(store).newest(actor="rudi")) == 8


def test_people_others_vouch_for(accounts: Accounts) -> None:
    assert accounts.vouched("Eve", "viewer", source="oidc").role == "viewer"
    assert accounts.vouched("eve", "physicist", source="oidc").role == "physicist"
    accounts.add("anna", "admin", actor="root")
    with pytest.raises(NameTaken, match=r"anna logs in otherwise \(local\)"):
        accounts.vouched("anna", "admin", source="oidc")


def test_a_login_lasts_as_long_as_it_is_used(accounts: Accounts, logins: Logins, clock: Any) -> None:
    rudi = accounts.add("rudi", "viewer", actor="root")
    logins.begin(rudi, "t", longest_s=3600)
    for _ in range(5):
        clock.pass_s(590)
        found = logins.who("t", **IDLE)
        assert found is not None and found.name == "rudi"
    clock.pass_s(595)
    assert logins.who("t", **IDLE, touch=False) is not None
    clock.pass_s(60)
    assert logins.who("t", **IDLE) is None
    assert logins.who("unknown", **IDLE) is None


def test_a_locked_database_keeps_nobody_out(
    url: str, store: Store, accounts: Accounts, logins: Logins, clock: Any
) -> None:
    rudi = accounts.add("rudi", "viewer", actor="root")
    logins.begin(rudi, "t", longest_s=3600)
    logins.add_token(rudi, "script", "b", actor="rudi", expires_at=None)
    clock.pass_s(60)
    with open_store(url, clock=clock, lock_timeout_s=0.1) as impatient, store.write() as connection:
        for table in (login_table, token_table):
            connection.execute(sa.update(table).values(seen_at=clock()))
        assert Logins(impatient).who("t", **IDLE) is not None
        assert Logins(impatient).whose_token("b") is not None


def test_old_logins_are_forgotten_but_those_of_walls(
    accounts: Accounts, logins: Logins, store: Store, clock: Any
) -> None:
    rudi = accounts.add("rudi", "viewer", actor="root")
    logins.begin(accounts.add("room", "viewer", actor="root", wall=True), "w", longest_s=3600)
    logins.begin(rudi, "t1", longest_s=3600)
    clock.pass_s(3601)
    logins.begin(rudi, "t2", longest_s=3600)
    with store.read() as connection:
        kept = set(connection.scalars(sa.select(login_table.c.token_sha256)))
    assert kept == {"w", "t2"}
    assert logins.who("w", **IDLE) is not None


def test_tokens_live_until_they_expire_or_are_revoked(accounts: Accounts, logins: Logins, clock: Any) -> None:
    rudi, eve = (accounts.add(name, "viewer", actor="root") for name in ("rudi", "eve"))
    logins.add_token(rudi, "grafana", "a", actor="rudi", expires_at=clock() + timedelta(days=1))
    logins.add_token(rudi, "script", "b", actor="rudi", expires_at=None)
    assert [one.name for one in logins.tokens(rudi.account_id)] == ["script", "grafana"]
    assert logins.whose_token("a") == rudi
    clock.pass_s(24 * 3600)
    assert logins.whose_token("a") is None and logins.whose_token("c") is None
    (script, _) = logins.tokens(rudi.account_id)
    with pytest.raises(StoreError, match="gone already"):
        logins.revoke(eve.account_id, script.token_id, actor="eve")
    assert logins.whose_token("b") == rudi
    logins.revoke(rudi.account_id, script.token_id, actor="rudi")
    assert logins.whose_token("b") is None


def test_the_trail_is_read_page_by_page(store: Store, clock: Any) -> None:
    trail = Trail(store)
    for number in range(5):
        clock.pass_s(1)
        trail.add(actor="anna", act="label", series_instance_uid=f"1.{number % 2}", details={"n": number})
    trail.add(actor="ev\x00e", act="promote")
    first = trail.newest(limit=4)
    second = trail.newest(limit=4, before_id=first[-1].entry_id)
    assert [one.details.get("n") for one in (*first, *second)] == [None, 4, 3, 2, 1, 0]
    assert first[0].actor == "eve" and trail.acts() == ("label", "promote")
    assert [one.details["n"] for one in trail.newest(series_instance_uid="1.1")] == [3, 1]
    assert len(trail.newest(actor="anna", act="label", since=clock())) == 1


def test_figures_count_what_waits(store: Store, complete: Any, clock: Any) -> None:
    assert figures(store).oldest_waiting_s == 0
    complete("1.2.1")
    clock.pass_s(30)
    now = figures(store)
    assert (now.series["COMPLETE"], now.series["FAILED"], now.oldest_waiting_s) == (1, 0, 30)
    assert (dict(now.deliveries), dict(now.verdicts_last_hour), now.alarms) == ({}, {}, 0)
