"""Entries to images, in this process or in workers.

Whatever is wrong with a file is a reason, not an exception.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import threading
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from cascade.errors import CascadeError
from cascade.inference.privacy import safe_reason, safe_text
from cascade.inference.sources import Entry, EntryReader, UnsafeEntryError
from cascade.io.image import read_radiograph, resize
from cascade.io.radiograph import Radiograph

Read = Callable[[Path | BinaryIO], Radiograph]


class Decoded(NamedTuple):
    """An image, or the reason why there is none.

    Attributes:
        image: what was read.
        reason: why it was not.
        warnings: what the reader was warned of, without what it may quote.
        checksum: of the pixels as they were read.
    """

    image: Radiograph | None
    reason: str | None
    warnings: tuple[str, ...] = ()
    checksum: int = 0


def read_entry(source: Path | BinaryIO) -> Radiograph:
    """Read a file, or a zip member in memory, of any supported format.

    Raises:
        InputError: neither a picture nor DICOM, too large, or damaged.
    """
    return read_radiograph(source)


def _decode(entry: Entry, reader: EntryReader, read: Read, image_size: int | None) -> Decoded:
    """Read one entry; whatever goes wrong is a reason, not an exception."""
    names = (str(entry.file), entry.path)
    image, reason, checksum = None, None, 0
    # Warnings may quote the header: they become notes without what they quote.
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            image = read(reader.open(entry))
            # A CRC is enough: it only ever tells images of one SOP Instance UID apart.
            checksum = zlib.crc32(np.ascontiguousarray(image.pixels).data)
            if image_size is not None:
                image = dataclasses.replace(image, pixels=resize(image.pixels, image_size))
        except UnsafeEntryError as error:
            image, reason = None, str(error)
        except Exception as error:  # a hostile file may raise anything, a MemoryError included
            image, reason = None, safe_reason(error, names)
    notes = dict.fromkeys(safe_text(str(warning.message), names) for warning in heard)
    return Decoded(image, reason, tuple(notes), checksum)


def decode_entries(
    entries: Sequence[Entry],
    read: Read = read_entry,
    workers: int = 0,
    image_size: int | None = None,
) -> Generator[tuple[Entry, Decoded], None, None]:
    """Decode entries in order.

    Args:
        entries: what to decode.
        read: decodes a path or an open file. With workers it must be a function of a module that
            they can import.
        workers: processes, at most twice as many images ahead as there are of them; a decoder that
            dies (and does not merely raise) costs the file at which it dies. 0 decodes here.
        image_size: letterbox each image to this side; None leaves it as it is.

    Raises:
        CascadeError: the worker processes do not start.
    """
    if workers:
        yield from _decode_ahead(entries, (read, image_size), workers)
        return
    with contextlib.closing(EntryReader()) as reader:
        for entry in entries:
            yield entry, _decode(entry, reader, read, image_size)


How = tuple[Read, int | None]
"""How a worker decodes: what reads, and the size that it shrinks to."""

_worker: tuple[EntryReader, How] | None = None


def _start_worker(how: How) -> None:
    global _worker
    _worker = EntryReader(), how
    # A run that is killed must not leave its decoders behind.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _is_ready() -> bool:
    return _worker is not None


def _decode_in_worker(entry: Entry) -> Decoded:
    assert _worker is not None
    reader, how = _worker
    return _decode(entry, reader, *how)


def _pool(how: How, workers: int) -> ProcessPoolExecutor:
    # Not forked: the network's threads may hold locks in the process that would be copied.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _start_worker, (how,))


def _decode_ahead(
    entries: Sequence[Entry], how: How, workers: int
) -> Generator[tuple[Entry, Decoded], None, None]:
    waiting: deque[tuple[Entry, Future[Decoded]]] = deque()
    remaining = iter(entries)
    pool = _pool(how, workers)
    try:
        try:
            pool.submit(_is_ready).result()
        except BrokenProcessPool as error:
            raise CascadeError("the decoder processes do not start: try workers=0") from error
        while True:
            while len(waiting) < 2 * workers and (entry := next(remaining, None)) is not None:
                waiting.append((entry, _submit(pool, entry)))
            if not waiting:
                return
            entry, future = waiting.popleft()
            try:
                decoded = future.result()
            except BrokenProcessPool:
                # One of those under way ended its process: find which by doing each alone.
                pool.shutdown(wait=False, cancel_futures=True)
                suspects = [entry, *(each for each, _ in waiting)]
                waiting.clear()
                for suspect in suspects:
                    yield suspect, _decode_alone(suspect, how)
                pool = _pool(how, workers)
            except Exception as error:  # the image could not be sent back
                yield entry, Decoded(None, safe_reason(error))
            else:
                yield entry, decoded
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, entry: Entry) -> Future[Decoded]:
    try:
        return pool.submit(_decode_in_worker, entry)
    except BrokenProcessPool as error:
        future: Future[Decoded] = Future()
        future.set_exception(error)
        return future


def _decode_alone(entry: Entry, how: How) -> Decoded:
    with _pool(how, 1) as pool:
        try:
            return pool.submit(_decode_in_worker, entry).result()
        except BrokenProcessPool:
            return Decoded(None, "the decoder died on this file")
