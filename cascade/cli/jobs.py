"""A sweep's jobs: each a process and a record, and what is told at the end.

A job is the single command in a process of its own, so that what kills it costs that job alone.
``job.json`` in its folder says what became of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cascade.cli.sweep import (
    LOCK,
    RECORD,
    SHARED,
    SLOTS,
    Sweep,
    count_cores,
    quoted,
    read_record,
    shares,
)
from cascade.errors import CascadeError

THREADS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON")
"""Libraries that each read NAME_NUM_THREADS."""


def _write_record(folder: Path, **changes: Any) -> None:
    from cascade.io.files import write_json

    write_json(folder / RECORD, {**(read_record(folder) or {}), **changes})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def run_job(
    sweep: Sweep,
    number: int,
    facts: Mapping[str, Any] | None = None,
    hopeless: Callable[[Path], str | None] | None = None,
) -> None:
    """Run a job in a process of its own, unless it is done; its record says how it ended.

    Args:
        sweep: whose job it is.
        number: which.
        facts: more for its record.
        hopeless: asked every second about its folder; a reason stops the job as pruned.
    """
    from cascade.data.locks import try_lock, unlock
    from cascade.pipeline.progress import say

    folder, name = sweep.folder(number), sweep.name(number)
    record = read_record(folder) or {}
    if record.get("status") == "done":
        say(f"{name}: done already")
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = try_lock(folder / LOCK)
    if lock is None:
        say(f"{name}: another process is at work on it")
        return
    slot, place = None, folder
    try:
        slot, place = _take_slot(sweep)
        before = float(record.get("seconds") or 0)
        _write_record(
            folder,
            command=sweep.command,
            overrides=sweep.jobs[number],
            status="running",
            reason=None,
            exit_status=None,
            score=None,
            metric=None,
            seconds=before,
            attempts=int(record.get("attempts", 0)) + 1,
            started=_now(),
            ended=None,
            **(facts or {}),
        )
        _link_cache(sweep, folder)
        say(f"{name}: {'goes on' if record else 'starts'}")
        start = time.monotonic()
        used = int(place.stem) if slot is not None else 0
        code, pruned = _run_process(sweep, folder, used, lock, hopeless)
        seconds = round(before + time.monotonic() - start, 1)
        ended = read_record(folder) or {}
        if pruned is not None and ended.get("status") == "running":
            _write_record(folder, status="pruned", reason=pruned, exit_status=0)
        elif ended.get("status") == "running":  # it could not say so itself
            status = 128 - code if code < 0 else code or 1
            _write_record(folder, status="failed", reason=_died(code), exit_status=status)
        _write_record(folder, seconds=seconds, ended=_now())
        say(f"{name}: {_told(read_record(folder) or {})}")
    finally:
        if slot is not None:
            unlock(place, slot)
        unlock(folder / LOCK, lock)


def _told(record: Mapping[str, Any]) -> str:
    if record["status"] != "done":
        return f"{record['status']} after {record['seconds']:.0f} s: {record['reason']}"
    score = "" if record["score"] is None else f", {record['metric']} {record['score']:.4f}"
    return f"done in {record['seconds']:.0f} s{score}"


def _died(code: int) -> str:
    if code >= 0:
        return f"its process ended with status {code} and said nothing"
    name = signal.Signals(-code).name
    why = ": by hand, or the machine ran out of memory" if -code == signal.SIGKILL else ""
    return f"its process was killed ({name}{why})"


def _take_slot(sweep: Sweep) -> tuple[int | None, Path]:
    """One of the places for jobs that run at once on this machine: a lock and its path."""
    from cascade.data.locks import try_lock

    folder = sweep.root / SLOTS
    if not shares(sweep.launcher):
        return None, folder
    folder.mkdir(exist_ok=True)
    while True:
        for number in range(sweep.parallel):
            place = folder / f"{number}.lock"
            if (slot := try_lock(place)) is not None:
                return slot, place
        time.sleep(0.2)


def environment(sweep: Sweep, slot: int, base: Mapping[str, str]) -> dict[str, str]:
    """A job's environment: its share of the cores, and a GPU where there are several.

    >>> sweep = Sweep("run", Path("x"), [[], []], "joblib", 2, ("0", "1"))
    >>> environment(sweep, 1, {})["CUDA_VISIBLE_DEVICES"]
    '1'
    """
    from cascade.data.cache import CORES

    result = dict(base)
    if sweep.launcher == "basic":
        return result
    cores = max(1, count_cores() // sweep.parallel)
    result[CORES] = str(cores)
    for library in THREADS:
        key = f"{library}_NUM_THREADS"
        given = result.get(key, "")
        result[key] = str(min(cores, int(given)) if given.isdigit() and int(given) else cores)
    if len(sweep.gpus) > 1:
        result["CUDA_VISIBLE_DEVICES"] = sweep.gpus[slot % len(sweep.gpus)]
    return result


def _run_process(
    sweep: Sweep,
    folder: Path,
    slot: int,
    lock: int,
    hopeless: Callable[[Path], str | None] | None,
) -> tuple[int, str | None]:
    """Start the job and wait for its end: its status, and why it was pruned.

    It holds the lock as long as it lives.
    """
    words = [sys.executable, "-m", "cascade.cli.jobs", str(folder), str(os.getpid())]
    options: dict[str, Any] = {"env": environment(sweep, slot, os.environ), "pass_fds": (lock,)}
    if sweep.launcher == "basic":
        return _wait(sweep, subprocess.Popen(words, **options), folder, hopeless)
    with open(folder / "log.txt", "ab") as log:  # jobs at once would write into each other's lines
        process = subprocess.Popen(words, stdout=log, stderr=log, **options)
        return _wait(sweep, process, folder, hopeless)


def _wait(
    sweep: Sweep,
    process: subprocess.Popen[bytes],
    folder: Path,
    hopeless: Callable[[Path], str | None] | None,
) -> tuple[int, str | None]:
    parent = os.getppid()
    pruned = None
    try:
        while True:
            try:
                return process.wait(timeout=1.0), pruned
            except subprocess.TimeoutExpired:
                if hopeless is not None and pruned is None:
                    pruned = hopeless(folder)
                if pruned is not None:
                    process.kill()
                if sweep.launcher == "joblib" and os.getppid() != parent:
                    # A worker outlives a sweep that was killed, and would start the next job.
                    process.kill()
                    process.wait()
                    os._exit(1)
    except KeyboardInterrupt:  # the job was told as well
        try:
            process.wait(timeout=30)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        raise


def _link_cache(sweep: Sweep, folder: Path) -> None:
    """Jobs of ``cascade run`` find their images in one cache of the sweep."""
    cache = folder / "cache"
    if sweep.command == "run" and not cache.exists() and not cache.is_symlink():
        (sweep.root / SHARED / "cache").mkdir(parents=True, exist_ok=True)
        cache.symlink_to(Path("..") / SHARED / "cache")


def best_score(command: str, folder: Path) -> tuple[float | None, str | None]:
    """The validation score that a finished job is judged by, and what it is."""
    from cascade.io.files import read_json
    from cascade.pipeline.names import VALIDATION_AUROC, VALIDATION_BLEU

    if command == "run":
        chosen = read_json(folder / "rounds.json")
        facts = chosen["rounds"][int(chosen["chosen"]) - 1]
    else:
        facts = read_json(folder / "model" / "config.json")["facts"]
    for metric in (VALIDATION_BLEU, VALIDATION_AUROC):
        if metric in facts:
            return float(facts[metric]), metric
    return None, None


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when the one that started it ends (Linux)."""
    import ctypes

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def main(folder: Path) -> int:
    """A job's process: the single command, and its end in the record."""
    import importlib

    from cascade.cli.main import attempt, tell

    record = read_record(folder)
    assert record is not None
    command = record["command"]
    arguments = [*record["overrides"], f"out={quoted(folder)}"]
    room = importlib.import_module(f"cascade.cli.{command}")
    status, lines = attempt(command, arguments, room.run, alone=True)
    tell(lines)
    if status == 0:
        score, metric = best_score(command, folder)
        _write_record(folder, status="done", exit_status=0, score=score, metric=metric)
    else:
        reason = lines[-1] if lines else f"it ended with status {status}"
        reason = "interrupted" if status == 130 else reason
        _write_record(folder, status="failed", reason=reason, exit_status=status)
    return status


# --- after the jobs


def finish(sweep: Sweep) -> tuple[int, list[str]]:
    """Show what became of every job; returns the exit status and the lines about failures.

    A new sweep that bad input stopped in every job is taken away: its folder would be refused to
    the corrected settings.
    """
    from cascade.io.files import PARTIAL_PREFIX

    slots = sweep.root / SLOTS
    if slots.is_dir() and not any(slots.iterdir()):
        slots.rmdir()
    records = [_settle(sweep.folder(number)) for number in range(len(sweep.jobs))]
    if not any(records):
        return 0, []
    failed = [n for n, record in enumerate(records) if record and record["status"] == "failed"]
    missing = [n for n, record in enumerate(records) if not record or record["status"] == "running"]
    _show(sweep, records)
    lines = [f"{sweep.name(n)}: {(records[n] or {}).get('reason')}" for n in failed]
    if missing:
        lines.append(f"{len(missing)} of {len(records)} jobs have not ended")
    if failed:
        lines.append(f"{len(failed)} of {len(records)} jobs failed")
    hopeless = len(failed) == len(records) and all(
        record and record["exit_status"] == 2 and record["attempts"] == 1 for record in records
    )
    if hopeless and not any(sweep.root.rglob("*.ckpt")):
        for number in range(len(records)):
            shutil.rmtree(sweep.folder(number), ignore_errors=True)
        for name in (SHARED, "multirun.yaml"):
            path = sweep.root / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(True)
        if not any(p for p in sweep.root.iterdir() if not p.name.startswith(PARTIAL_PREFIX)):
            shutil.rmtree(sweep.root, ignore_errors=True)
    elif failed or missing:
        lines.append("the same command with resume=true runs only these again")
    return (2 if hopeless else 1 if failed or missing else 0), lines


def _settle(folder: Path) -> dict[str, Any] | None:
    """A job's record; where it says running but nobody is at work, the job was killed."""
    from cascade.data.locks import try_lock, unlock

    record = read_record(folder)
    if record is not None and record["status"] == "running":
        lock = try_lock(folder / LOCK)
        if lock is not None:
            try:
                _write_record(folder, status="failed", reason=_died(-9), exit_status=137)
            finally:
                unlock(folder / LOCK, lock)
    return read_record(folder)


def from_launcher(error: Exception) -> Exception:
    """What a launcher raises when it loses a worker, as one line; the records say the rest."""
    if type(error).__module__.partition(".")[0] not in ("joblib", "submitit"):
        return error
    first = next(iter(str(error).splitlines()), "")
    return CascadeError(f"the launcher lost a job ({type(error).__name__}: {first})")


def _show(sweep: Sweep, records: Sequence[Mapping[str, Any] | None]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    scores = [r["score"] for r in records if r and r["score"] is not None]
    metrics = list(dict.fromkeys(r["metric"] for r in records if r and r["metric"]))
    by = f"; score: {metrics[0]}" if len(metrics) == 1 else ""
    print(f"{len(records)} jobs in {_shown(sweep.root)}{by}")
    table = Table()
    table.add_column("job", justify="right")
    table.add_column("settings", overflow="fold")
    table.add_column("status", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("seconds", justify="right")
    for number, record in enumerate(records):
        row = record or {"status": "not begun", "score": None, "seconds": 0, "metric": None}
        score = "" if row["score"] is None else f"{row['score']:.4f}"
        if score and len(metrics) > 1:
            score += f" {row['metric']}"
        state = row["status"]
        if state in ("failed", "pruned"):
            state += f": {row['reason']}"
        best = bool(scores) and row["score"] == max(scores) and len(metrics) == 1
        table.add_row(
            str(number),
            escape(_lines(sweep.own(number))),
            escape(state),
            score,
            f"{row['seconds']:.0f}",
            style="bold" if best else None,
        )
    Console().print(table)
    if scores:
        print(f"next: cascade compare {_shown(sweep.root)}")


def _lines(words: Sequence[str]) -> str:
    """On one line where they are short, else a line each."""
    line = " ".join(words)
    return line if len(line) <= 36 else "\n".join(words)


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    _die_with(int(sys.argv[2]))
    sys.exit(main(Path(sys.argv[1])))
