from datetime import UTC, datetime, timedelta

from structlog.testing import capture_logs

from qagate.clocks import ClockGuard, Stillness, steady_s

START = datetime(2026, 3, 1, tzinfo=UTC)


class Hands:
    def __init__(self) -> None:
        self.day, self.steady = START, 100.0

    def pass_s(self, seconds: float) -> None:
        self.day += timedelta(seconds=seconds)
        self.steady += seconds


def test_the_steady_clock_counts_seconds() -> None:
    assert 0 <= steady_s() - steady_s() + 1 <= 1


def test_quiet_time_goes_by_the_steady_clock_once_a_series_is_known() -> None:
    hands = Hands()
    still = Stillness(lambda: hands.steady)
    assert still.look({1: ("a", 7.0, 20.0)}) == {1: (7.0, 20.0)}, "at a start the time of day is all there is"
    hands.pass_s(2)
    assert still.look({1: ("a", 9000.0, -50.0)}) == {1: (9.0, 22.0)}


def test_a_change_begins_the_wait_anew_and_no_earlier_than_the_last_look() -> None:
    hands = Hands()
    still = Stillness(lambda: hands.steady)
    still.look({1: ("a", 7.0, 20.0)})
    hands.pass_s(3)
    assert still.look({1: ("b", 5000.0, 0.0), 2: ("x", 1.0, 2.0)}) == {1: (3.0, 23.0), 2: (1.0, 2.0)}
    hands.pass_s(1)
    assert still.look({1: ("c", -5000.0, 0.0)}) == {1: (0.0, 24.0)}
    hands.pass_s(1)
    assert still.look({2: ("x", 0.5, 0.5)}) == {2: (0.5, 0.5)}, "what was away is new"


def test_a_clock_that_is_set_is_doubted_for_a_day() -> None:
    hands = Hands()
    guard = ClockGuard(lambda: hands.day, steady=lambda: hands.steady)
    hands.pass_s(86_400 * 3)
    assert not guard.careful()
    hands.day += timedelta(hours=2)
    with capture_logs() as logs:
        assert guard.careful()
    assert [(one["event"], one["after_s"]) for one in logs] == [("clock_doubted", 7200)]
    hands.pass_s(86_399)
    assert guard.careful()
    hands.pass_s(1)
    assert not guard.careful()


def test_a_start_far_from_what_was_kept_is_doubted() -> None:
    week = timedelta(days=7)
    for newest, doubted in (
        (None, False),
        (START - week, False),
        (START - 2 * week, True),
        (START + week, True),
    ):
        hands = Hands()
        guard = ClockGuard(lambda: hands.day, steady=lambda: hands.steady)  # noqa: B023
        guard.doubt(newest, week)
        assert guard.careful() is doubted
