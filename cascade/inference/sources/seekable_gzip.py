"""A gzipped file in which one can go back, at the price of a few megabytes of memory.

Deflate can only be read forwards. Copies of the decompressor's state (its window of 32 KiB) are
kept every so often on the way; going back starts from the last copy before the place. Where they
become many, every second is dropped, so that their number is bounded whatever the file's size.
"""

from __future__ import annotations

import io
import zlib
from typing import Any, BinaryIO, NamedTuple

CHUNK = 1 << 16
FIRST_SPACING = 4 << 20
MOST_POINTS = 128
MOST_AT_ONCE = 1 << 30
"""A single read of more is refused: no member is so large."""


class _Point(NamedTuple):
    """A place to start from: in the plain bytes, in the file, and the state there."""

    plain: int
    packed: int
    state: Any


class SeekableGzip(io.RawIOBase):
    """The plain bytes of a gzipped file, of one member or several.

    Args:
        raw: the file, at any place; closed with this.
        most: plain bytes that it may have.

    Raises:
        zlib.error: while reading: damaged, or more than ``most``.
        EOFError: while reading: cut short.
    """

    def __init__(self, raw: BinaryIO, most: int) -> None:
        """Begin at the beginning."""
        super().__init__()
        self._raw, self._most = raw, most
        self._spacing = FIRST_SPACING
        self._points: list[_Point] = []
        self._place = 0  # that was asked for
        self._start(_Point(0, 0, zlib.decompressobj(31)))
        self._points.append(_Point(0, 0, zlib.decompressobj(31)))

    def _start(self, point: _Point) -> None:
        self._at, self._packed, self._state = point
        self._plain = b""  # what lies ready from ``_at`` on
        self._ended = False

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place in the plain bytes."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the plain bytes; the end is not known, so not from there."""
        if whence == io.SEEK_CUR:
            offset += self._place
        elif whence != io.SEEK_SET:
            raise io.UnsupportedOperation("the end of a gzipped file is not known")
        if offset < 0:
            raise ValueError("a negative place")
        self._place = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        """See ``io.RawIOBase``."""
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def read(self, size: int = -1) -> bytes:
        """``size`` bytes from the place on, fewer only at the end."""
        if size < 0 or size > MOST_AT_ONCE:
            raise ValueError("a read without measure")
        if self._place < self._at:
            self._start(self._before(self._place))
        while self._at + len(self._plain) <= self._place and self._more():
            pass
        skip = min(self._place - self._at, len(self._plain))
        self._take(skip)
        if self._at < self._place:
            return b""
        parts, missing = [], size
        while missing and (self._plain or self._more()):
            part = self._take(missing)
            parts.append(part)
            missing -= len(part)
        found = b"".join(parts)
        self._place += len(found)
        return found

    def _take(self, size: int) -> bytes:
        part, self._plain = self._plain[:size], self._plain[size:]
        self._at += len(part)
        return part

    def _before(self, place: int) -> _Point:
        point = next(point for point in reversed(self._points) if point.plain <= place)
        return point._replace(state=point.state.copy())

    def _more(self) -> bool:
        """Decompress some more; False at the end. What lay ready is dropped: it was passed."""
        if self._ended:
            return False
        self._at += len(self._plain)
        self._plain = b""
        self._remember()
        while not self._plain:
            rest = self._state.unconsumed_tail
            if not rest:
                self._raw.seek(self._packed)
                rest = self._raw.read(CHUNK)
                self._packed += len(rest)
            if self._state.eof:  # another member may follow, or padding
                rest = (self._state.unused_data + rest).lstrip(b"\0")
                while not rest:
                    self._raw.seek(self._packed)
                    if not (rest := self._raw.read(CHUNK)):
                        self._ended = True
                        return False
                    self._packed += len(rest)
                    rest = rest.lstrip(b"\0")
                self._state = zlib.decompressobj(31)
            elif not rest:
                raise EOFError("the gzipped file is cut short")
            self._plain = self._state.decompress(rest, CHUNK)
        if self._at + len(self._plain) > self._most:
            raise zlib.error("compressed beyond measure")
        return True

    def _remember(self) -> None:
        last = self._points[-1].plain
        if self._at < last + self._spacing or self._state.eof:
            return
        # The copy holds what it has not consumed yet.
        self._points.append(_Point(self._at, self._packed, self._state.copy()))
        if len(self._points) > MOST_POINTS:
            self._points = [self._points[0], *self._points[2::2]]
            self._spacing *= 2

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._raw.close()
        super().close()
