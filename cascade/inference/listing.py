"""From a source to the index: every file written down once, sorted into its study, filtered.

The listing streams: a few hundred entries are in memory at a time. What an interrupted listing has
written down is not looked into again.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from cascade.errors import InputError
from cascade.inference.decode import Decoders
from cascade.inference.index import Index
from cascade.inference.sources import Entry
from cascade.io.dicom.keys import Keys

_CHUNK = 32
"""Files whose headers are read by one task, so that the tasks' own cost does not count."""


@dataclasses.dataclass(frozen=True)
class Filters:
    """Which files are read. One that does not say what is asked for is left out.

    Attributes:
        since, until: first and last study date, ``YYYYMMDD``.
        modality: such as ``CR``, ``DX``.
        body_part: such as ``CHEST``.
    """

    since: str | None = None
    until: str | None = None
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()

    @classmethod
    def parse(
        cls,
        since: Any = None,
        until: Any = None,
        modality: Sequence[str] = (),
        body_part: Sequence[str] = (),
    ) -> Filters:
        """From settings, dates as ``2019-12-31`` or ``20191231``.

        >>> Filters.parse(since="2019-12-31", modality=["cr"])
        Filters(since='20191231', until=None, modality=('CR',), body_part=())

        Raises:
            InputError: no date, or dates in the wrong order.
        """
        found = cls(
            _date("since", since), _date("until", until), _words(modality), _words(body_part)
        )
        if found.since and found.until and found.since > found.until:
            raise InputError(f"since={since} is after until={until}")
        return found

    def refuse(self, keys: Keys | None) -> str | None:
        """Why a file is left out; None where it is read.

        A file whose header cannot be read is not left out: that it fails is told when it is read.

        >>> Filters(modality=("CR",)).refuse(Keys(modality="MG"))
        'another modality'
        >>> Filters(modality=("CR",)).refuse(Keys())
        'no modality is given'
        """
        if keys is None:
            return None
        if self.since or self.until:
            date = re.sub(r"\D", "", keys.study_date or "")
            if len(date) != 8:
                return "no study date is given"
            if (self.since and date < self.since) or (self.until and date > self.until):
                return "another study date"
        for name, value, wanted in (
            ("modality", keys.modality, self.modality),
            ("body part", keys.body_part, self.body_part),
        ):
            if wanted and not value:
                return f"no {name} is given"
            if wanted and str(value).upper() not in wanted:
                return f"another {name}"
        return None


def _words(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(value).strip().upper() for value in values)


def _date(name: str, value: Any) -> str | None:
    if value is None:
        return None
    digits = re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)", str(value).strip())
    if digits is None:
        raise InputError(f"{name}={value}: expected a date as 2019-12-31 or 20191231")
    return "".join(digits.groups())


def list_into(
    index: Index,
    entries: Iterable[Entry],
    decoders: Decoders,
    filters: Filters,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write down the entries of a source.

    Args:
        index: receives them.
        entries: of the source, streamed.
        decoders: read the headers.
        filters: leave files out.
        limit: stop after so many files that are not left out, in the order of the listing.
        progress: called with the number of files so far.
    """
    kept, filtered = index.counts()
    chunks = filter(None, map(index.unknown, _chunks(entries, _CHUNK)))
    for chunk, found in decoders.keys(chunks):
        records = [(e, keys, filters.refuse(keys)) for e, keys in zip(chunk, found, strict=True)]
        taken = []
        for record in records:
            if limit is not None and kept >= limit:
                break
            taken.append(record)
            kept += record[2] is None
            filtered += record[2] is not None
        index.add(taken)
        if progress is not None:
            progress(kept + filtered)
        if limit is not None and kept >= limit:
            return


def _chunks(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    remaining = iter(entries)
    while chunk := list(islice(remaining, size)):
        yield chunk
