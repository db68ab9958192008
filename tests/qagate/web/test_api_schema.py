"""Whatever the OpenAPI document allows, and much that it does not, is answered without a 500."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from qagate.assessment import Verdict
from qagate.web.security import Role, sessions
from qagate.web.site import Site

KNOWN = {"uid": "1.2.826.0.1.1", "series_uid": "1.2.826.0.1.1", "number": 1, "name": "rudi"}


@pytest.fixture
def api(app: FastAPI, site: Site, seed: Callable[..., str]) -> Any:
    """The document, read by an administrator's token, with a few series in the store."""
    for verdict in (*Verdict, None):
        seed(verdict)
    site.accounts.add("rudi", "viewer", actor="test")
    account = site.accounts.add("root", Role.ADMIN.word, actor="test")
    site.logins.add_token(account, "t", sessions.fingerprint("token"), actor="test", expires_at=None)
    headers = {"Authorization": "Bearer token"}
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=headers)


def test_no_answer_is_a_500(api: Any) -> None:
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) >= 10
    for operation in operations:
        _try(operation)


def _try(operation: Any) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        check(case)
        known = {key: KNOWN[key] for key in case.path_parameters or {} if key in KNOWN}
        if known:
            case.path_parameters |= known
            check(case)

    ask()


def check(case: Any) -> None:
    response = case.call(headers={"Authorization": "Bearer token"})
    case.validate_response(
        response, checks=[not_a_server_error, response_schema_conformance, content_type_conformance]
    )


def test_the_document_holds_the_api_alone(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    assert paths and all(path.startswith("/api/v1/") for path in paths)
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation.get("description"), (method, path)
