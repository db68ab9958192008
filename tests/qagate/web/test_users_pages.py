"""Control: users and the audit trail, as pages and for programs."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from fastapi import FastAPI

from qagate.web.security import Role
from qagate.web.sheets import cell
from qagate.web.site import Site


def shown(text: str) -> str:
    """The password that a page shows."""
    return re.findall(r'class="secret">([^<]+)<', text)[0]


def test_a_user_is_made_changed_and_let_in_no_more(admin: Any, outsider: Any, site: Site) -> None:
    at = "/control/users"
    made = admin.submit(at, at=at, name="Rudi", role="radiographer")
    assert made.status_code == 200
    password = shown(made.text)
    entered = outsider.submit("/login", at="/login", name="rudi", password=password)
    assert entered.status_code == 303
    assert admin.submit(f"{at}/rudi", at=at, role="radiographer").status_code == 303
    assert outsider.get("/account").status_code == 200, "the same role ends no login"
    assert admin.submit(f"{at}/rudi", at=at, role="physicist").headers["location"] == f"{at}/rudi"
    assert outsider.get("/account").status_code == 303
    assert shown(admin.submit(f"{at}/rudi/password", at=at).text) != password
    assert admin.submit(f"{at}/rudi/disable", at=at).status_code == 303
    assert "may not log in" in admin.get(at).text
    assert admin.submit(f"{at}/rudi/enable", at=at).status_code == 303
    acts = [one.act for one in site.trail.newest(actor="admin") if one.details.get("user") == "rudi"]
    assert acts == ["change user"] * 5 + ["add user"]
    assert password not in str([one.details for one in site.trail.newest()])


@pytest.mark.parametrize(
    ("path", "fields", "status", "said"),
    [
        ("", {"name": "a b", "role": "viewer"}, 422, "no user name"),
        ("", {"name": "eve", "role": "king"}, 422, "no role"),
        ("", {"name": "admin", "role": "viewer"}, 409, "already"),
        ("", {"name": "room", "role": "admin", "wall": "1"}, 422, "viewer or radiographer"),
        ("/nobody", {"role": "viewer"}, 404, "no such user"),
        ("/nobody/password", {}, 404, "no such user"),
        ("/admin/disable", {}, 409, "cannot switch yourself off"),
        ("/admin", {"role": "viewer"}, 409, "only administrator left"),
        ("/proxied/password", {}, 409, "not kept here"),
    ],
)
def test_what_does_not_go_is_said(
    admin: Any, site: Site, path: str, fields: dict[str, str], status: int, said: str
) -> None:
    site.accounts.add("proxied", "viewer", actor="test", source="proxy")
    answer = admin.submit(f"/control/users{path}", at="/control/users", **fields)
    assert answer.status_code == status and said in answer.text


def test_the_trail_is_filtered_paged_and_exported(admin: Any, site: Site) -> None:
    for number in range(150):
        site.trail.add(actor="anna", act="label", series_instance_uid=f"1.2.{number}", details={"n": number})
    site.trail.add(actor="eve", act="promote", details={"model": "<b>bold</b>"})
    page = admin.get("/control/audit").text
    assert "&lt;b&gt;bold" in page and "<b>bold" not in page
    first = admin.get("/control/audit?actor=anna&act=label").text
    older = re.search(r'href="(/control/audit\?[^"]*before=\d+)"', first)
    assert older and first.count("<tr>") == 101
    assert admin.get(older[1].replace("&amp;", "&")).text.count("<tr>") == 51
    assert "1.2.7" in admin.get("/control/audit?series=1.2.7").text
    assert "No act fits." in admin.get("/control/audit?actor=nobody").text
    file = admin.get("/control/audit.csv?actor=anna")
    rows = list(csv.reader(io.StringIO(file.text.removeprefix("\ufeff"))))
    assert len(rows) == 151 and rows[1][2:5] == ["anna", "label", "1.2.149"]
    assert site.trail.newest(limit=1)[0].act == "export audit trail"


def test_cells_are_no_formulas() -> None:
    assert [cell(value) for value in ("=1+1", "+1", "-x", "@a", "\t=1", "a=1", -1.5, 3, None)] == [
        "'=1+1", "'+1", "'-x", "'@a", "'\t=1", "a=1", "-1.5", "3", "",
    ]  # fmt: skip


def test_programs_do_the_same(admin: Any, login: Any) -> None:
    headers = {"X-CSRF-Token": admin.proof()}
    made = admin.post("/api/v1/users", json={"name": "Rudi", "role": "viewer"}, headers=headers)
    assert made.status_code == 201 and made.json()["name"] == "rudi" and made.json()["password"]
    again = admin.post("/api/v1/users", json={"name": "rudi", "role": "viewer"}, headers=headers)
    assert again.status_code == 409 and again.headers["content-type"] == "application/problem+json"
    changed = admin.put("/api/v1/users/rudi", json={"role": "physicist", "disabled": True}, headers=headers)
    assert (changed.json()["role"], changed.json()["disabled"]) == ("physicist", True)
    assert admin.put("/api/v1/users/admin", json={"disabled": True}, headers=headers).status_code == 409
    assert admin.put("/api/v1/users/rudi", json={"rolle": "viewer"}, headers=headers).status_code == 422
    assert admin.post("/api/v1/users/rudi/password", headers=headers).json()["password"]
    assert {one["name"] for one in admin.get("/api/v1/users").json()} == {"admin", "rudi"}
    assert "password" not in admin.get("/api/v1/users").text
    acts = [one["act"] for one in admin.get("/api/v1/audit?actor=admin").json()]
    assert acts[:3] == ["change user", "change user", "add user"]
    assert login(Role.VIEWER).get("/api/v1/openapi.json").json()["openapi"].startswith("3.")


def test_a_name_full_of_markup_stays_text(admin: Any) -> None:
    page = admin.get("/control/audit?actor=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert page.status_code == 200 and "<script>alert" not in page.text


def test_people_can_read_what_programs_may_ask(viewer: Any, app: FastAPI) -> None:
    page = viewer.get("/help/api").text
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}<" in page
    assert "administrator" in page
