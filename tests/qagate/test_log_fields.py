"""No log call can name a field that is not in the table, nor pass a value that a patient could be in."""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import structlog
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat, PersonName

from qagate import telemetry
from qagate.baseline import BaselineAlarm
from qagate.dicom.headers import HeaderError
from qagate.dicom.spool import Spool
from qagate.log_fields import AE_TITLE, FIELDS, NAME, REASON, admitted
from qagate.reason import Reason, place, why
from qagate.store.outbox import Kind
from qagate.store.transitions import DeliveryState

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "bind", "bind_contextvars"}
#: where sentences are made outside of `reason`: of literals, settings, UIDs, transfer syntaxes and statuses
SENTENCES = {
    "app", "clocks", "committing", "dicom.scp", "dicom.server", "dicom.storing", "gate.scoring",
    "parts", "parts_hold", "retention", "services", "web.serve", "worker",
}  # fmt: skip
#: what is passed as a name: of an archive or alert channel, a model, an account, a job, a role
NAMES = {
    "account.name", "archive.name", "challenger.scorer.model_name", "found.scorer.model_name", "holder.name",
    "name", "self._channel.destination", "self.name", "served.scorer.model_name",
    "serving.champion.scorer.model_name",
}  # fmt: skip


@functools.cache
def trees() -> tuple[tuple[str, str, ast.Module], ...]:
    """Name, text and tree of every module."""
    found = []
    for package in ("qagate", "models", "train"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT / "qagate" if package == "qagate" else ROOT).parts)
            text = path.read_text(encoding="utf-8")
            found.append((name.removesuffix(".py"), text, ast.parse(text)))
    return tuple(found)


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger, whatever it is named, and of what binds fields to every line."""
    for name, text, tree in trees():
        if "structlog" not in text:
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            owner, _, method = called.rpartition(".")
            if (
                method in LEVELS and owner.split(".")[-1] in ("log", "_log", "contextvars")
            ) or called == "note":
                yield name, node


#: what a call takes as `**name` -> where the dictionary is made
UNPACKED = {"about": ("delivery", "about"), "spent": ("worker", "spent")}


def unpacked(module: str, name: str) -> set[str]:
    """The keys of the one dictionary that a module gives a name."""
    made = [
        node.value
        for node in ast.walk(next(tree for known, _, tree in trees() if known == module))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]
    (found,) = made
    assert isinstance(found, ast.Dict)
    return {key.value for key in found.keys if isinstance(key, ast.Constant)}


def test_every_field_of_every_log_call_is_in_the_table() -> None:
    found = list(calls())
    assert len(found) > 40
    for module, call in found:
        for argument in call.args:
            assert isinstance(argument, ast.Constant), f"{module}:{call.lineno}: the event is no literal"
            assert admitted("event", argument.value) == argument.value, f"{module}:{call.lineno}"
        for keyword in call.keywords:
            if keyword.arg is None:
                keys = unpacked(*UNPACKED[ast.unparse(keyword.value)])
                assert keys and keys <= set(FIELDS), f"{module}:{call.lineno}: {keys - set(FIELDS)}"
            elif keyword.arg != "exc_info":
                assert keyword.arg in FIELDS, f"{module}:{call.lineno}: {keyword.arg} is not in log_fields"


def test_no_log_call_reads_a_header_or_the_text_of_an_error() -> None:
    forbidden = ("header", "dataset", "data_set", "patient", "description", "protocol", "str(error", "{error")
    for module, call in calls():
        # Of the header only UIDs, and `admitted` lets nothing else through there.
        text = re.sub(r"header\.\w+_uid", "", ast.unparse(call).lower())
        assert not [word for word in forbidden if word in text], f"{module}:{call.lineno}: {text}"


def test_a_reason_is_made_as_one() -> None:
    """A plain sentence would be replaced by its type's name: seen here, not in the hospital."""
    reasons = {name for name, kind in FIELDS.items() if kind is REASON}
    for module, call in calls():
        for keyword in call.keywords:
            if keyword.arg in reasons:
                made = ast.unparse(keyword.value)
                assert re.match(r"(why|Reason)\(|[a-z_]+$", made), f"{module}:{call.lineno}: {made}"


def test_sentences_are_made_in_few_places() -> None:
    makers = {
        module
        for module, text, tree in trees()
        if "qagate.reason" in text
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Reason"
    }
    assert makers - {"reason"} <= SENTENCES, "does each such sentence hold nothing that a file or peer sent?"


def test_the_words_of_the_table_are_those_of_the_code() -> None:
    for kind in Kind:
        assert admitted("kind", kind.value) == kind.value
    for state in DeliveryState:
        assert admitted("state", state.value) == state.value
    for alarm in BaselineAlarm:
        assert admitted("alarm", alarm.value) == alarm.value


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_no_field_takes_what_pydicom_reads(name: str) -> None:
    values = [
        PersonName("DOE^JANE"), DataElement(0x00100010, "PN", "DOE^JANE"), Dataset(), DSfloat("1.5"),
        b"DOE^JANE", ["DOE^JANE"], {"PatientName": "DOE^JANE"},
    ]  # fmt: skip
    for value in values:
        assert admitted(name, value) == f"<{type(value).__name__}>"


def test_names_come_from_the_settings_alone() -> None:
    """The one kind that could be mistaken for a patient's: so what is passed for it is looked at instead."""
    fields = {name for name, kind in FIELDS.items() if kind is NAME}
    passed = {
        ast.unparse(keyword.value)
        for _, call in calls()
        for keyword in call.keywords
        if keyword.arg in fields
    }
    assert passed <= NAMES, passed - NAMES


@pytest.mark.parametrize(
    "name", sorted(name for name, kind in FIELDS.items() if kind not in (AE_TITLE, NAME))
)
def test_no_field_of_another_kind_takes_a_patients_name(name: str) -> None:
    for value in ("DOE^JANE", "Doe, Jane", "Müller^Käthe", "19500101 ", "PID 4711", "a\nb"):
        assert admitted(name, value) == "<str>", value


def test_an_unknown_field_shows_its_type_alone() -> None:
    assert (admitted("patient", "DOE"), admitted("patient", 3)) == ("<str>", "<int>")
    assert (admitted("revision", True), admitted("day", date(2026, 3, 1))) == ("<bool>", "2026-03-01")
    assert admitted("path", "series/0a1/1.2.3/1.2.3.4.dcm") == "series/0a1/1.2.3/1.2.3.4.dcm"
    assert admitted("path", "/home/DOE^JANE/1.dcm") == "<str>"


def test_why_tells_our_own_sentences_and_nothing_of_others(tmp_path: Path) -> None:
    assert why(HeaderError("SOPInstanceUID is missing")) == "SOPInstanceUID is missing"
    assert why(FileNotFoundError(2, "DOE^JANE", "DOE.dcm")) == "No such file or directory"
    assert why(ValueError("invalid DS: 'DOE^JANE'")) == "ValueError"
    with pytest.raises(ValueError, match="not a path inside") as raised:
        Spool(tmp_path).absolute("../DOE")
    said = why(raised.value)
    assert said.startswith("ValueError at qagate.dicom.spool:") and type(said) is Reason
    assert place(None) == ""


def test_an_exception_in_a_line_is_its_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    telemetry.configure()
    try:
        Spool(tmp_path).absolute("../DOE^JANE")
    except ValueError as error:
        structlog.get_logger().error("store_failed", error=why(error), exc_info=True)
        structlog.get_logger().exception("store_failed", reason=str(error))
    finally:
        structlog.reset_defaults()
    said = capsys.readouterr().err
    first, second = (json.loads(line) for line in said.splitlines())
    assert first["place"].startswith("qagate.dicom.spool:") and second["reason"] == "<str>"
    assert "DOE" not in said
