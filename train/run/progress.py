"""How far a training is, for people: a bar with the time left on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 10.0  #: between lines where there is no terminal


class Course:
    """Counts epochs of all trainings of a run. Early ends count as done."""

    def __init__(self, epochs: int, show: Callable[[int, str], None], say: Callable[[str], None]) -> None:
        self._epochs, self._show, self.say = epochs, show, say
        self._done, self._name = 0, ""

    def begin(self, name: str) -> None:
        self._name = name

    def epoch(self, row: dict[str, float]) -> None:
        self._done += 1
        figures = [f"loss {row['loss']:.4f}"]
        if "validation_srocc" in row:
            figures.append(f"validation SROCC {row['validation_srocc']:.3f}")
        self._show(self._done, f"{self._name} epoch {row['epoch']:.0f}  {'  '.join(figures)}")

    def end(self, planned: int, trained: int) -> None:
        self._done += planned - trained
        self._show(self._done, self._name)


@contextmanager
def course(epochs: int, *, leads: bool = True) -> Iterator[Course]:
    """For so many epochs in all; leads: whether this process speaks."""
    if not leads:
        yield Course(epochs, lambda done, text: None, lambda text: None)
        return
    console = Console(file=sys.stderr, highlight=False)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("training", total=epochs)
            yield Course(
                epochs,
                lambda done, text: bar.update(task, completed=done, description=text),
                lambda text: bar.console.print(text, markup=False),
            )
        return
    lines = _Lines(epochs)
    yield Course(epochs, lines, lambda text: print(text, file=sys.stderr, flush=True))


class _Lines:
    """Time left counts from the first epoch's end: before it, features may have been computed."""

    def __init__(self, epochs: int) -> None:
        self._epochs, self._spoke = epochs, time.monotonic()
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int, text: str) -> None:
        now = time.monotonic()
        self._first = self._first or (now, done)
        began, had = self._first
        if now - self._spoke < LINE_SECONDS and done < self._epochs:
            return
        self._spoke = now
        rest = (now - began) / max(done - had, 1) * (self._epochs - done)
        left = f", {duration(rest)} left" if done > had else ""
        print(f"{text}  {done}/{self._epochs} epochs{left}", file=sys.stderr, flush=True)


def counted(what: str) -> Callable[[int, int], None]:
    """A line now and then while `what` is counted up."""
    spoke = time.monotonic()

    def count(done: int, of: int) -> None:
        nonlocal spoke
        if time.monotonic() - spoke >= LINE_SECONDS:
            spoke = time.monotonic()
            print(f"{what} {done} of {of}", file=sys.stderr, flush=True)

    return count


def duration(seconds: float) -> str:
    """In the words of people: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
