"""Progress bars on standard error, and one line each where no terminal is attached."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def progress_bar(
    description: str, total: int | None = None
) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, total) that moves a bar, shown once something came."""
    console = Console(file=sys.stderr)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total, visible=False)

        def update(done: int, whole: int) -> None:
            progress.update(task, completed=done, total=whole, visible=True)

        yield update


def say(text: str) -> None:
    """One line on standard error: what is being done."""
    print(text, file=sys.stderr, flush=True)


_EVERY = 60.0


@contextlib.contextmanager
def archive_bar() -> Iterator[Callable[[str, int, int | None, int], None]]:
    """Yield a function of (stage, done, total, failed) that shows how far an archive is.

    A bar with the rate, the failures and the time left; without a terminal a line a minute.
    """
    console = Console(file=sys.stderr)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[remark]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None, visible=False, remark="")
        clock = _Clock()

        def update(stage: str, done: int, total: int | None, failed: int) -> None:
            rate = clock.rate(stage, done)
            remark = f"{rate:.1f} files/s" if rate else ""
            if failed:
                remark += f", {failed} failed"
            progress.update(
                task, description=stage, completed=done, total=total, visible=True, remark=remark
            )
            if not console.is_terminal and clock.due():
                of = f" of {total}" if total is not None else ""
                left = f", {(total - done) / rate / 60:.0f} minutes left" if total and rate else ""
                say(f"{stage}: {done}{of} files{', ' if remark else ''}{remark}{left}")

        yield update


class _Clock:
    """The rate of a stage since it began here, and whether a minute has gone."""

    def __init__(self) -> None:
        self._stage, self._first, self._began = "", 0, time.monotonic()
        self._said = self._began

    def rate(self, stage: str, done: int) -> float | None:
        now = time.monotonic()
        if stage != self._stage:  # what an earlier run had done took no time here
            self._stage, self._first, self._began = stage, done, now
        seconds = now - self._began
        return (done - self._first) / seconds if seconds > 0 and done > self._first else None

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._said < _EVERY:
            return False
        self._said = now
        return True
