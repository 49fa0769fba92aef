"""Worker processes in which a task may hang, die or eat memory without harm to anything else."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar

from pebble import ProcessExpired, ProcessPool

from cascade.errors import CascadeError

Item = TypeVar("Item")
_STARTS = 3
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class Died(Exception):
    """The process that did a task ended over it."""


class TookTooLong(Exception):
    """A task was ended because its time was up."""


class Workers:
    """Processes that start anew, so that no thread's lock is copied into them.

    Args:
        count: how many.
        initializer: called with ``arguments`` in each process before its first task.
        arguments: what a process is given; picklable.
        memory_mb: what a process may take beyond what it has once it has started; None: no limit.
    """

    def __init__(
        self,
        count: int,
        initializer: Callable[..., None],
        arguments: tuple[Any, ...],
        memory_mb: int | None = None,
    ) -> None:
        """Start the processes.

        Raises:
            CascadeError: they do not start.
        """
        self.count = count
        self._start = (initializer, arguments, memory_mb)
        self._pool: Any = None
        self._generation = self._broken = 0
        self._open()

    def _open(self) -> None:
        self._generation += 1
        self._pool = ProcessPool(
            self.count,
            initializer=_begin,
            initargs=self._start,
            context=multiprocessing.get_context("spawn"),
        )
        try:
            self._pool.schedule(_ready).result()
        except (BrokenProcessPool, RuntimeError, ProcessExpired) as error:
            self.close()
            raise CascadeError("the decoder processes do not start: try workers=0") from error

    def _reopen(self) -> None:
        self._broken += 1
        if self._broken >= _STARTS:
            raise CascadeError("the decoder processes end by themselves: try workers=0")
        self.close()
        self._open()

    def close(self) -> None:
        """End the processes, whatever they do."""
        with contextlib.suppress(Exception):
            self._pool.stop()
            self._pool.join()

    def run(
        self,
        tasks: Iterable[tuple[Item, Callable[..., Any], tuple[Any, ...]]],
        seconds: float | None,
        ahead: int,
        in_order: bool = True,
    ) -> Generator[tuple[Item, Outcome], None, None]:
        """Do tasks, a bounded number ahead of who asks for their outcomes.

        Args:
            tasks: what each is about, its function (of a module that a worker can import) and its
                arguments.
            seconds: a task may take; None: as long as it likes.
            ahead: most tasks under way or waiting to be asked for.
            in_order: outcomes in the order of the tasks; False: as they come.

        Raises:
            CascadeError: processes end again and again without a task.
        """
        remaining = iter(tasks)
        under_way: deque[_Task[Item]] = deque()
        while True:
            while len(under_way) < ahead and (found := next(remaining, None)) is not None:
                task = _Task(*found)
                self._submit(task, seconds)
                under_way.append(task)
            if not under_way:
                return
            task = under_way[0] if in_order else _first_done(under_way)
            try:
                outcome = Outcome(task.future.result())
            except BrokenProcessPool:
                # A process ended between two tasks, and the pool with it: no task is to blame.
                if task.generation == self._generation:
                    self._reopen()
                for each in under_way:
                    if each.generation != self._generation:
                        self._submit(each, seconds)
                continue
            except ProcessExpired as error:
                outcome = Outcome(error=Died(str(error.exitcode)))
            except TimeoutError:
                outcome = Outcome(error=TookTooLong())
            except Exception as error:  # what the task raised, or its result could not be sent
                outcome = Outcome(error=error)
            self._broken = 0
            under_way.remove(task)
            yield task.item, outcome

    def _submit(self, task: _Task[Any], seconds: float | None) -> None:
        task.generation = self._generation
        try:
            task.future = self._pool.schedule(task.function, args=task.arguments, timeout=seconds)
        except RuntimeError as error:  # the pool is broken
            task.future = Future()
            task.future.set_exception(BrokenProcessPool(str(error)))


class Outcome:
    """What a task gave, or why it gave nothing."""

    def __init__(self, value: Any = None, error: Exception | None = None) -> None:
        """One of the two."""
        self.value, self.error = value, error


class _Task(Generic[Item]):
    def __init__(
        self, item: Item, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        self.item, self.function, self.arguments = item, function, arguments
        self.future: Future[Any] = Future()
        self.generation = 0


def _first_done(tasks: Iterable[_Task[Item]]) -> _Task[Item]:
    by_future = {task.future: task for task in tasks}
    done = wait(by_future, return_when=FIRST_COMPLETED).done
    return next(task for future, task in by_future.items() if future in done)


def _ready() -> bool:
    return True


def _begin(
    initializer: Callable[..., None], arguments: tuple[Any, ...], memory_mb: int | None
) -> None:
    # pebble lets Python end the process, which a decoder written in C may never allow
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A run that is killed must not leave its workers behind.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_memory()
    initializer(*arguments)
    if memory_mb is not None:
        limit_memory(memory_mb)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_memory() -> None:
    """Let this process keep what it frees, up to 512 MiB, for the next picture.

    Else each picture's arrays are mapped and zeroed anew by the system, which costs a tenth of the
    time. Nothing is done where the C library is not glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that glibc allows
        library.mallopt(_M_TRIM_THRESHOLD, 512 << 20)


def limit_memory(megabytes: int) -> None:
    """Let this process take no more than ``megabytes`` beyond the address space it has now."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = _address_space() + (megabytes << 20)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def _address_space() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 1 << 30  # no Linux: room for the libraries
