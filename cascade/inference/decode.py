"""Entries to images, in this process or in workers that a bad file cannot harm.

Whatever is wrong with a file is a reason, not an exception.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
import zlib
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeVar

import numpy as np

from cascade.data.cache import to_uint8
from cascade.inference.dicomweb import NoAnswerError
from cascade.inference.privacy import safe_reason, safe_text, short_hash
from cascade.inference.sources import Entry, EntryReader, UnsafeEntryError, is_picture
from cascade.inference.workers import Died, Outcome, TookTooLong, Workers
from cascade.io.dicom.evidence import read_evidence
from cascade.io.dicom.keys import Keys, read_keys
from cascade.io.image import read_radiograph
from cascade.io.radiograph import Radiograph

Read = Callable[[Path | BinaryIO], Radiograph]


class Opens(Protocol):
    """What gives the bytes of an entry, as ``EntryReader`` does."""

    def open(self, entry: Entry) -> Path | BinaryIO:
        """The whole file."""

    def head(self, entry: Entry) -> Path | BinaryIO:
        """Its beginning at least."""


class HasEntry(Protocol):
    """Whatever stands for an entry on its way through."""

    @property
    def entry(self) -> Entry:
        """Where it lies."""


Item = TypeVar("Item", bound=HasEntry)


class How(NamedTuple):
    """How files are decoded.

    Attributes:
        read: decodes a path or an open file. With workers it must be a function of a module that
            they can import.
        image_size: letterbox to this side, as uint8; None leaves the picture as it was read.
        key: of the hashes that stand for identifiers.
        evidence: read what documents need of the header, too.
    """

    read: Read
    image_size: int | None = None
    key: str = ""
    evidence: bool = False


class Decoded(NamedTuple):
    """An image, or the reason why there is none.

    Attributes:
        image: what was read.
        reason: why it was not.
        warnings: what the reader was warned of, without what it may quote.
        checksum: of the pixels as they were read.
        evidence: what documents need of the header, where it was asked for and can be had.
    """

    image: Radiograph | None
    reason: str | None
    warnings: tuple[str, ...] = ()
    checksum: int = 0
    evidence: str | None = None


def read_entry(source: Path | BinaryIO) -> Radiograph:
    """Read a file, or a zip member in memory, of any supported format.

    Raises:
        InputError: neither a picture nor DICOM, too large, or damaged.
    """
    return read_radiograph(source)


def decode_entry(entry: Entry, opener: Opens, how: How) -> Decoded:
    """Read one entry; whatever goes wrong is a reason, not an exception."""
    names = (*([str(entry.file)] if entry.file else []), entry.path)
    source: Path | BinaryIO | None = None
    image, reason, checksum, evidence = None, None, 0, None
    # Warnings may quote the header: they become notes without what they quote.
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            source = opener.open(entry)
            image = how.read(source)
            # A CRC is enough: it only ever tells images of one SOP Instance UID apart.
            checksum = zlib.crc32(np.ascontiguousarray(image.pixels).data)
            if how.image_size is not None:
                image = dataclasses.replace(image, pixels=to_uint8(image.pixels, how.image_size))
        except UnsafeEntryError as error:
            image, reason = None, str(error)
        except NoAnswerError:  # the server's fault, not the file's: the work stops here
            raise
        except MemoryError:
            image, reason = None, "the decoder needed more memory than a file may take"
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a hostile file may raise anything, a Rust panic included
            image, reason = None, safe_reason(error, names)
    if how.evidence and source is not None:
        with contextlib.suppress(Exception):
            evidence = read_evidence(source)
    notes = dict.fromkeys(safe_text(str(warning.message), names) for warning in heard)
    return Decoded(image, reason, tuple(notes), checksum, evidence)


def entry_keys(entry: Entry, opener: Opens, key: str) -> Keys | None:
    """An entry's keys, its identifiers hashed; none of a picture; None of what cannot be read."""
    if entry.failure is not None:
        return None
    try:
        found = entry.facts
        if found is None:
            source = opener.head(entry)
            if is_picture(_head(source)):
                return Keys()
            found = read_keys(source)
            if found is None and not isinstance(source, Path):
                found = read_keys(opener.open(entry))  # a header longer than its beginning
    except KeyboardInterrupt:
        raise
    except BaseException:  # whatever is wrong with it shows when it is decoded
        return None
    return None if found is None else hash_keys(found, key)


def _head(source: Path | BinaryIO) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(132)
    head = source.read(132)
    source.seek(0)
    return head


def hash_keys(keys: Keys, key: str) -> Keys:
    """The same with a hash in place of each identifier."""
    uids = {
        name: short_hash(uid, key) if (uid := getattr(keys, name)) else None
        for name in ("study_uid", "series_uid", "sop_uid")
    }
    return keys._replace(**uids)


class Decoders:
    """What reads the files of one source.

    Args:
        how: they are decoded.
        workers: processes; 0 reads in this process, where nothing is limited.
        seconds: a file may take.
        memory_mb: a file may take.
    """

    def __init__(
        self,
        how: How,
        workers: int = 0,
        seconds: float | None = None,
        memory_mb: int | None = None,
    ) -> None:
        """Start the workers.

        Raises:
            CascadeError: they do not start.
        """
        self.workers = workers
        self._how, self._seconds, self._memory_mb = how, seconds, memory_mb
        self._opener = EntryReader()
        self._workers = Workers(workers, _begin, (how,), memory_mb) if workers else None

    def settings(self) -> dict[str, Any]:
        """What makes another of these, with one process, on any machine."""
        return {
            "how": self._how,
            "workers": 1,
            "seconds": self._seconds,
            "memory_mb": self._memory_mb,
        }

    def decode(
        self, items: Iterable[Item], ahead: int = 1, in_order: bool = True
    ) -> Generator[tuple[Item, Decoded], None, None]:
        """Decode what stands for entries.

        Args:
            items: with an ``entry`` each.
            ahead: most files under way or waiting to be asked for.
            in_order: of ``items``; False: as they come.
        """
        if self._workers is None:
            for item in items:
                yield item, decode_entry(item.entry, self._opener, self._how)
            return
        tasks = ((item, _decode, self._sent(item.entry)) for item in items)
        for item, outcome in self._workers.run(tasks, self._seconds, ahead, in_order):
            yield item, outcome.value if outcome.error is None else self._failed(outcome)

    def _sent(self, entry: Entry) -> tuple[Entry, bytes | None]:
        """What a worker is given: an entry, and its bytes where this process alone reads them."""
        if not entry.in_parent or entry.failure is not None:
            return entry, None
        try:
            return entry, _all_of(self._opener.open(entry))
        except UnsafeEntryError as error:
            return dataclasses.replace(entry, failure=str(error)), None
        except Exception as error:  # a damaged archive
            reason = safe_reason(error, (str(entry.file), entry.path))
            return dataclasses.replace(entry, failure=reason), None

    def _failed(self, outcome: Outcome) -> Decoded:
        error = outcome.error
        if isinstance(error, TookTooLong):
            return Decoded(None, f"the decoder took longer than {self._seconds:g} seconds")
        if isinstance(error, Died):
            return Decoded(None, "the decoder died on this file")
        assert error is not None
        if isinstance(error, NoAnswerError):
            raise error
        return Decoded(None, safe_reason(error))

    def keys(
        self, chunks: Iterable[Sequence[Entry]]
    ) -> Generator[tuple[Sequence[Entry], list[Keys | None]], None, None]:
        """The keys of entries, a chunk a task.

        A chunk over which a worker hangs or dies is done again file by file; the file that did it
        has no keys.
        """
        if self._workers is None:
            for chunk in chunks:
                yield chunk, [entry_keys(e, self._opener, self._how.key) for e in chunk]
            return
        tasks = ((chunk, _keys, (chunk, self._heads(chunk))) for chunk in chunks)
        ahead = 2 * self._workers.count
        for chunk, outcome in self._workers.run(tasks, self._seconds, ahead):
            if outcome.error is None:
                yield chunk, outcome.value
                continue
            alone = ((entry, _keys, ([entry], self._heads([entry]))) for entry in chunk)
            found = self._workers.run(alone, self._seconds, ahead)
            yield chunk, [each.value[0] if each.error is None else None for _, each in found]

    def _heads(self, chunk: Sequence[Entry]) -> list[bytes | None]:
        """The beginnings of those files that this process alone reads."""
        found: list[bytes | None] = []
        for entry in chunk:
            found.append(None)
            if entry.in_parent and entry.failure is None and entry.facts is None:
                with contextlib.suppress(Exception):  # it fails when it is read whole
                    found[-1] = _all_of(self._opener.head(entry))
        return found

    def close(self) -> None:
        """End the workers."""
        if self._workers is not None:
            self._workers.close()
        self._opener.close()

    def __enter__(self) -> Decoders:
        """Use as a context."""
        return self

    def __exit__(self, *error: Any) -> None:
        """End the workers."""
        with contextlib.suppress(Exception):
            self.close()


_worker: tuple[EntryReader, How] | None = None


def _begin(how: How) -> None:
    global _worker
    _worker = EntryReader(), how


def _decode(entry: Entry, content: bytes | None = None) -> Decoded:
    assert _worker is not None
    reader, how = _worker
    return decode_entry(entry, reader if content is None else _InMemory(content), how)


def _keys(entries: Sequence[Entry], heads: Sequence[bytes | None]) -> list[Keys | None]:
    assert _worker is not None
    reader, how = _worker
    return [
        entry_keys(entry, reader if head is None else _InMemory(head), how.key)
        for entry, head in zip(entries, heads, strict=True)
    ]


class _InMemory:
    """Opens the one entry whose bytes another process has read."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def open(self, entry: Entry) -> Path | BinaryIO:
        if entry.failure is not None:
            raise UnsafeEntryError(entry.failure)
        return io.BytesIO(self._content)

    head = open


def _all_of(source: Path | BinaryIO) -> bytes:
    return source.read_bytes() if isinstance(source, Path) else source.read()
