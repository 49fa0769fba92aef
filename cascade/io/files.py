"""Writing so that a kill at any moment leaves no file that looks whole but is not.

Write beside, flush to disk, then rename: the name exists only once its content does. Whole
directories (a collection, a bundle) are written the same way.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cascade.errors import CascadeError, InputError

PARTIAL_PREFIX = ".partial-"
"""Names that begin so are unfinished work; readers pass over them and they may be deleted."""


@contextlib.contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into one line that names the remedy.

    Raises:
        CascadeError: in place of an ``OSError`` that a user can mend.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CascadeError(
                f"no space left on the disk that holds {path}: free some, or choose another out="
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(
                f"cannot write {path}: {error.strerror}; choose another out="
            ) from error
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise InputError(f"cannot write {path}: a file is in the way of its folder") from error
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; move it there when the block ends well.

    The temporary name keeps the suffix of ``path``, since some writers choose a format by it.

    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "a.txt") as partial:
    ...     _ = partial.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']

    Raises:
        CascadeError: the disk is full.
        InputError: the folder may not be written.
    """
    path = Path(path)
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.parent / f"{PARTIAL_PREFIX}{os.getpid()}-{path.name}"
        try:
            yield partial
            _sync(partial)
            os.replace(partial, path)
            _sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield a temporary directory beside ``path``; move it there when the block ends well.

    ``path`` may exist only as an empty directory.

    Raises:
        CascadeError: the disk is full.
        InputError: ``path`` holds something already, or its parent may not be written.
    """
    path = Path(path)
    with explain_write_errors(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path} is not empty: choose another out=, or delete it first")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL_PREFIX}{path.name}-", dir=path.parent))
        partial.chmod(0o755)
        try:
            yield partial
            for file in partial.rglob("*"):
                if file.is_file():
                    _sync(file)
            os.replace(partial, path)
            _sync(path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete what a kill has left unfinished in a folder tree that one run has for itself."""
    for place, _, names in os.walk(folder):
        for name in names:
            if name.startswith(PARTIAL_PREFIX):
                Path(place, name).unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented UTF-8 JSON, whole or not at all; NaN is refused."""
    with atomic_path(path) as partial:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
