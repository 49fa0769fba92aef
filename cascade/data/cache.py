"""Decoded radiographs, once: a memory-mapped uint8 array keyed by what it was made from.

Epochs read the array; the files are decoded a single time for all runs of a sweep. The key covers
the files' names, sizes and times, the size asked for and the version of the preprocessing, so a
changed file makes a new cache and never a wrong one. Of runs that need the same cache at once, one
builds it and the others wait.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from cascade.data.locks import locked
from cascade.errors import CascadeError, InputError
from cascade.io.collection import Collection
from cascade.io.files import atomic_directory, explain_write_errors, read_json, write_json
from cascade.io.image import read_radiograph, resize

log = logging.getLogger(__name__)

PREPROCESSING_VERSION = 1
CORES = "CASCADE_CORES"
"""Environment variable: a job of a parallel sweep reads images in no more processes than this."""


@dataclasses.dataclass
class ImageCache:
    """Decoded images.

    Attributes:
        pixels: uint8 ``(N, size, size)``, bone bright, memory-mapped.
        rows: image_id -> row of ``pixels``.
        failures: image_id -> why it could not be read; such images have no row.
    """

    pixels: np.ndarray
    rows: dict[str, int]
    failures: dict[str, str]

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process maps the same file; the pixels are not sent to it."""
        if isinstance(self.pixels, np.memmap) and self.pixels.filename is not None:
            return _reopen, (str(self.pixels.filename), self.rows, self.failures)
        return ImageCache, (self.pixels, self.rows, self.failures)

    @property
    def size(self) -> int:
        """Side of the square images in pixels."""
        return int(self.pixels.shape[-1])


def _reopen(path: str, rows: dict[str, int], failures: dict[str, str]) -> ImageCache:
    return ImageCache(np.load(path, mmap_mode="r"), rows, failures)


def to_uint8(pixels: np.ndarray, size: int) -> np.ndarray:
    """The one preprocessing rule: letterbox to ``(size, size)``, [0, 1] -> 0..255 rounded."""
    return np.rint(resize(pixels, size) * 255.0).clip(0, 255).astype(np.uint8)


def _decode(task: tuple[str, int]) -> np.ndarray | str:
    path, size = task
    try:
        return to_uint8(read_radiograph(path).pixels, size)
    except (InputError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def _decode_all(tasks: Sequence[tuple[str, int]], workers: int) -> Iterator[np.ndarray | str]:
    if workers <= 1:
        yield from map(_decode, tasks)
        return
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield from pool.map(_decode, tasks, chunksize=16)
    except BrokenProcessPool as error:
        raise CascadeError(
            "a process that decodes images died (out of memory, or a file breaks its decoder): "
            "data.workers=0 decodes in this process"
        ) from error


def _key(collection: Collection, paths: Sequence[str], size: int) -> str:
    digest = hashlib.sha256(f"{PREPROCESSING_VERSION}:{size}".encode())
    for path in paths:
        try:
            stat = os.stat(collection.image_path(path))
            digest.update(f"\n{path}:{stat.st_size}:{stat.st_mtime_ns}".encode())
        except OSError:
            digest.update(f"\n{path}:gone".encode())
    return digest.hexdigest()[:20]


def build_cache(
    collection: Collection,
    size: int,
    directory: str | Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> ImageCache:
    """Open the cache of a collection's images at one size, building it where it is absent.

    Args:
        collection: its images that have a file are decoded.
        size: side in pixels.
        directory: where caches lie; each is a folder named by its key.
        workers: processes that decode.
        progress: called with (done, total).

    Raises:
        InputError: no image has a file, or none could be read.
        CascadeError: the disk is full.
    """
    images = collection.images[collection.images["path"].notna()]
    if images.empty:
        raise InputError(
            f"none of the {len(collection.images)} images that the collection names has a file: "
            "put the image archive into its root and prepare it again"
        )
    paths, ids = images["path"].tolist(), images["image_id"].tolist()
    target = Path(directory) / f"{_key(collection, paths, size)}-{size}"
    if not (target / "index.json").is_file():
        tasks = [(str(collection.image_path(path)), size) for path in paths]
        lock = target.with_name(f".{target.name}.lock")
        with explain_write_errors(target), locked(lock, _say_waiting):
            if not (target / "index.json").is_file():  # nobody built it while we waited
                with atomic_directory(target) as partial:
                    _write(partial, tasks, ids, size, workers_within(workers), progress)
    index = read_json(target / "index.json")
    pixels = np.load(target / "images.npy", mmap_mode="r")
    return ImageCache(
        pixels, {name: row for row, name in enumerate(index["ids"])}, index["failures"]
    )


def _say_waiting() -> None:
    log.info("another run decodes the same images: waiting for it")


def workers_within(workers: int) -> int:
    """So many processes, or the fewer that a sweep gives this job; 0 is none beside this one."""
    return min(workers, int(os.environ.get(CORES, workers)))


def _reserve(path: Path) -> None:
    """Take the file's space now: on a full disk a write through the map would kill the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # others: a disk that cannot reserve
                raise


def _write(
    partial: Path,
    tasks: Sequence[tuple[str, int]],
    ids: Sequence[str],
    size: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    shape = (len(tasks), size, size)
    array = np.lib.format.open_memmap(
        partial / "images.npy", mode="w+", dtype=np.uint8, shape=shape
    )
    _reserve(partial / "images.npy")
    kept: list[str] = []
    failures: dict[str, str] = {}
    for done, (image_id, decoded) in enumerate(
        zip(ids, _decode_all(tasks, workers), strict=True), start=1
    ):
        if isinstance(decoded, str):
            failures[image_id] = decoded
        else:
            array[len(kept)] = decoded
            kept.append(image_id)
        if progress is not None:
            progress(done, len(tasks))
    array.flush()
    if not kept:
        first = next(iter(failures.values()))
        raise InputError(f"none of the {len(tasks)} image files could be read; the first: {first}")
    write_json(partial / "index.json", {"ids": kept, "failures": failures})
