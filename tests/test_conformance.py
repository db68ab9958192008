"""The conformance statement's tables follow the code, and its links lead somewhere."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from pydicom.uid import UID_dictionary
from pynetdicom.sop_class import _STORAGE_CLASSES

from qagate.dicom import network, scu, storing
from qagate.dicom.access import Rejection

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS / "conformance.md", DOCS / "security.md", DOCS / "soak.md"]


@pytest.fixture
def tables() -> Iterator[ModuleType]:
    sys.path.insert(0, str(DOCS))
    try:
        import conformance_tables

        yield conformance_tables
    finally:
        sys.path.remove(str(DOCS))


def section(number: str) -> str:
    """The text of one chapter."""
    text = (DOCS / "conformance.md").read_text(encoding="utf-8")
    found = re.search(rf"^(#+) {re.escape(number)} .*?(?=^#{{1,6}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, number
    return found[0]


def test_every_storage_class_that_is_known_is_named_once() -> None:
    named = re.findall(r"^\| .+ \| `([\d.]+)` \|$", section("8.1.1"), re.MULTILINE)
    assert sorted(named) == sorted(map(str, _STORAGE_CLASSES.values()))


def test_transfer_syntaxes_named_are_those_that_are_taken() -> None:
    named = dict(re.findall(r"^\| .+ \| `([\d.]+)` \| (yes|no) \|$", section("8.1.2"), re.MULTILINE))
    standard = {uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"}
    assert set(named) == {uid for uid in standard if network.is_transfer_syntax(uid, frozenset())}
    assert named["1.2.840.10008.1.2.4.90"] == "yes"
    assert named["1.2.840.10008.1.2.4.102"] == "no"


def test_every_rejection_and_status_is_explained() -> None:
    policies, storage = section("4.2.2"), section("4.2.5")
    for one in Rejection:
        assert "| {} | {} | {} |".format(*one.value) in policies
    for status in (storing.OUT_OF_RESOURCES, storing.CANNOT_UNDERSTAND, storing.NOT_AUTHORIZED):
        assert f"| 0x{status:04X} |" in storage


def test_a_status_without_words_stops_the_page(tables: ModuleType) -> None:
    module = SimpleNamespace(__name__="odd", __doc__="| 0x0000 | fine |")
    with pytest.raises(SystemExit, match="0xA701"):
        tables.documented(module, SimpleNamespace(FINE=0, SILENT=0xA701), set())


def test_a_table_that_was_edited_is_put_right(tables: ModuleType) -> None:
    made = {"one": tables.table(("a",), [tables.row("1")])}
    page = tables.filled("x\n<!-- table: one -->\n<!-- end -->\ny\n", made)
    assert page == "x\n<!-- table: one -->\n\n| a |\n|---|\n| 1 |\n\n<!-- end -->\ny\n"
    assert tables.filled(page.replace("| 1 |", "| 2 |"), made) == page


_PLACE = "<!-- table: {} -->\n<!-- end -->\n"


@pytest.mark.parametrize("text", ["nothing", _PLACE.format("one") + _PLACE.format("two")])
def test_a_table_without_place_or_a_place_without_table(tables: ModuleType, text: str) -> None:
    with pytest.raises(ValueError, match="differ"):
        tables.filled(text, {"one": []})


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (0x0000, scu.Delivery.DELIVERED),
        (0xB007, scu.Delivery.DELIVERED),
        (0x0111, scu.Delivery.DELIVERED),
        (0xA700, scu.Delivery.RETRY),
        (0x0213, scu.Delivery.RETRY),
        (0xA900, scu.Delivery.REJECTED),
        (0xC000, scu.Delivery.REJECTED),
        (0x0122, scu.Delivery.REJECTED),
    ],
)
def test_what_an_archive_s_answer_means(status: int, meaning: scu.Delivery) -> None:
    assert scu.meaning(status) is meaning


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([\w./-]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        text = (DOCS / target if target else page).read_text(encoding="utf-8")
        assert anchor in slugs(text), f"{page.name} links to {target}#{anchor}"


def slugs(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
