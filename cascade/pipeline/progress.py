"""Progress bars on standard error, and one line each where no terminal is attached."""

from __future__ import annotations

import contextlib
import sys
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
