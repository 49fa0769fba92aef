"""Run a program and see how long it takes and how much memory it holds, its children included."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

POLL_S = 0.25


class Ran(NamedTuple):
    """What a program took.

    Attributes:
        seconds: from its start to its end.
        peak_mib: most memory at once of it and its children, shared pages counted once (PSS).
        status: its exit status; negative for a signal.
    """

    seconds: float
    peak_mib: float
    status: int


def run(
    command: Sequence[str | Path],
    log: Path,
    stop_when: Callable[[], bool] | None = None,
) -> Ran:
    """Run ``command``, its output into ``log``.

    Args:
        command: the program and its arguments.
        log: receives what it prints.
        stop_when: asked several times a second; once it says True the program and its children
            are killed (SIGKILL).
    """
    peak = 0.0
    with log.open("ab") as stream:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(POLL_S):
                peak = max(peak, sum(map(_pss, _tree(process.pid))))
                if stop_when is not None and stop_when():
                    os.killpg(process.pid, signal.SIGKILL)
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        status = process.wait()
        seconds = time.perf_counter() - began
        ended.set()
        watcher.join()
    return Ran(seconds, peak / 1024, status)


def _tree(root: int) -> list[int]:
    """A process and all below it."""
    found, at = [root], 0
    while at < len(found):
        try:
            children = Path(f"/proc/{found[at]}/task/{found[at]}/children").read_text().split()
            for task in Path(f"/proc/{found[at]}/task").iterdir():
                if task.name != str(found[at]):
                    children += (task / "children").read_text().split()
        except OSError:
            children = []
        found += [int(child) for child in children if int(child) not in found]
        at += 1
    return found


def _pss(process: int) -> float:
    """Kilobytes, those of pages shared with others divided among them."""
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1])
    except OSError:
        pass
    return 0.0
