"""A folder tree, or one file: streamed, no link followed out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from cascade.errors import InputError
from cascade.inference.sources.archives import find_in_tar, find_in_zip, is_tar_name
from cascade.inference.sources.entry import (
    HEAD_BYTES,
    SUFFIXES,
    Entry,
    is_no_image_name,
    looks_like_image,
    printable,
)


def find_entries(
    source: Path,
    suffixes: Collection[str] = SUFFIXES,
    exclude: Path | None = None,
    ignored: list[int] | None = None,
) -> Iterator[Entry]:
    """List the images of a folder or file.

    A name that ends in one of ``suffixes`` is an image; any other file is one if its first bytes
    say so (DICOM files often bear no suffix). ``DICOMDIR`` is an index, not an image. Archives
    (``.zip``, ``.tar``, ``.tar.gz``, ``.tgz``) are looked into.

    Args:
        source: a folder, an archive or an image file.
        suffixes: in lower case, with the dot.
        exclude: a folder not to look into (the output, where it lies inside the source).
        ignored: a one-element list that receives the number of files of no image kind.

    Yields:
        Entries in no promised order, no path twice.

    Raises:
        InputError: the source is missing or is neither a file nor a folder.
    """
    count = ignored if ignored is not None else [0]
    if not source.exists():
        raise InputError(f"{source} does not exist: give a folder, a .zip or an image file")
    if source.is_dir():
        root = source.resolve()
        excluded = exclude.resolve() if exclude is not None else None
        yield from _find_in_folder(root, root, frozenset(suffixes), excluded, count)
    elif source.is_file():
        yield from find_in_file(source, printable(source.name), frozenset(suffixes), count)
    else:
        raise InputError(f"{source} is neither a file nor a folder")


def _find_in_folder(
    folder: Path, root: Path, suffixes: frozenset[str], excluded: Path | None, ignored: list[int]
) -> Iterator[Entry]:
    pending = [folder]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as found:
                children = sorted(found, key=lambda child: child.name)
        except OSError as error:
            path = printable(folder.relative_to(root).as_posix())
            yield Entry(path, folder, failure=f"{type(error).__name__}: {error.strerror}")
            continue
        for child in children:
            file = Path(child.path)
            path = printable(file.relative_to(root).as_posix())
            if child.is_dir(follow_symlinks=False):
                if file != excluded:
                    pending.append(file)
                continue
            if child.is_symlink():
                target = file.resolve()
                if not target.is_relative_to(root):
                    yield Entry(path, file, failure="a symbolic link that leaves the source")
                    continue
                if target.is_dir():
                    continue  # lies inside the source: it is visited under its own name
            yield from find_in_file(file, path, suffixes, ignored)


def find_in_file(
    file: Path, path: str, suffixes: frozenset[str], ignored: list[int], asked_for: bool = False
) -> Iterator[Entry]:
    """The entry of a file, or those of an archive.

    Args:
        file: where it lies.
        path: its name in the results.
        suffixes: that make an image of it.
        ignored: as in ``find_entries``.
        asked_for: somebody named this very file: it is an image whatever its name and its first
            bytes, or a failure.
    """
    try:
        regular = stat.S_ISREG(file.stat().st_mode)
        if not asked_for and (not regular or is_no_image_name(file.name)):
            ignored[0] += 1
            return
        if not regular:
            yield Entry(path, file, failure="neither a file nor an archive")
            return
        if file.suffix.lower() == ".zip":
            yield from find_in_zip(file, path, suffixes, ignored)
            return
        if is_tar_name(file.name):
            yield from find_in_tar(file, path, suffixes, ignored)
            return
        if asked_for or file.suffix.lower() in suffixes:
            yield Entry(path, file)
            return
        with file.open("rb") as stream:
            is_image = looks_like_image(stream.read(HEAD_BYTES))
    except OSError as error:
        yield Entry(path, file, failure=f"{type(error).__name__}: {error.strerror}")
        return
    if is_image:
        yield Entry(path, file)
    else:
        ignored[0] += 1
