"""Who may associate."""

from __future__ import annotations

import pytest

from qagate.dicom.access import Access, AccessRule, Rejection

ACCESS = Access(
    (
        AccessRule(ae_title="CT1", addresses=("10.1.0.0/16", "fd00::/8")),
        AccessRule(ae_title="MR1"),
        AccessRule(ae_title="MONITOR", store=False),
    ),
    called_ae_titles=frozenset({"QAGATE"}),
)


@pytest.mark.parametrize(
    ("calling", "called", "address", "expected"),
    [
        ("CT1", "QAGATE", "10.1.2.3", None),
        ("CT1 ", "QAGATE ", "10.1.2.3", None),
        ("CT1", "QAGATE", "::ffff:10.1.2.3", None),
        ("CT1", "QAGATE", "fd00::1%eth0", None),
        ("CT1", "QAGATE", "10.2.2.3", Rejection.ADDRESS),
        ("MR1", "QAGATE", "10.2.2.3", None),
        ("mr1", "QAGATE", "10.2.2.3", Rejection.CALLING_AE_TITLE),
        ("MR1", "OTHER", "10.2.2.3", Rejection.CALLED_AE_TITLE),
    ],
)
def test_rules(calling: str, called: str, address: str, expected: Rejection | None) -> None:
    assert ACCESS.check(calling, called, address) is expected


def test_no_rule_lets_nobody_in_and_a_star_anybody() -> None:
    assert Access(()).check("X", "Y", "127.0.0.1") is Rejection.CALLING_AE_TITLE
    assert Access((AccessRule(ae_title="*"),)).check("X", "Y", "127.0.0.1") is None
    local = Access((AccessRule(ae_title="*", addresses=("127.0.0.0/8",)),))
    assert local.check("X", "Y", "192.168.0.1") is Rejection.ADDRESS


def test_some_may_only_verify() -> None:
    assert ACCESS.may_store("CT1", "10.1.2.3")
    assert not ACCESS.may_store("MONITOR", "10.1.2.3")


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not-an-address"):
        Access((AccessRule(ae_title="*", addresses=("not-an-address",)),))
