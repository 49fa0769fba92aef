"""Locks between processes: one builds, the others wait; a process that dies lets go of its own."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without locks say. There everyone goes ahead, as if alone."""


def try_lock(path: str | Path, *, wait: bool = False) -> int | None:
    """Take a lock, and return its open file, or None where another process has it.

    The lock is held until ``unlock``, or until every process that inherited the file has ended.

    Args:
        path: of the lock's file, made where it is absent.
        wait: until it can be had, instead of returning None.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(file)
            return None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(file)
                raise
        except BaseException:
            os.close(file)
            raise
        # Who held it before took the file away: then this is a lock on a file without a name.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        os.close(file)


def unlock(path: str | Path, file: int) -> None:
    """Give a lock back and take its file away."""
    Path(path).unlink(missing_ok=True)
    os.close(file)


@contextlib.contextmanager
def locked(path: str | Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold a lock for a block; ``waiting`` is called where another process has it.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with locked(folder / "lock"):
    ...     try_lock(folder / "lock") is None
    True
    >>> list(folder.iterdir())
    []
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    file = try_lock(path)
    if file is None:
        if waiting is not None:
            waiting()
        file = try_lock(path, wait=True)
        assert file is not None
    try:
        yield
    finally:
        unlock(path, file)
