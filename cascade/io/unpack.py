"""A tar archive into a folder, trusting nothing that it says about where its files belong."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from cascade.errors import InputError
from cascade.io.files import PARTIAL_PREFIX, atomic_directory

MOST_GROWTH = 30
"""A gzipped archive of images may unpack to so many times its own size ..."""
ALWAYS_ALLOWED = 2**28
"""... or to so many bytes, whichever is more: beyond both it is taken for a trap."""
MOST_FILES = 2_000_000
CHUNK = 2**20


def is_unpacked(folder: Path) -> bool:
    """Whether an archive was unpacked here: the folder appears only once it is whole."""
    return folder.is_dir() and any(folder.iterdir())


def unpack(
    archive: str | Path,
    folder: str | Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Unpack the regular files of a ``.tar``, ``.tgz`` or ``.tar.gz``; whole or not at all.

    Args:
        archive: what to unpack.
        folder: where to; may exist only as an empty folder.
        progress: called with the bytes of the archive that were read, and all of them.

    Returns:
        How many files it held.

    Raises:
        InputError: no tar archive, a damaged or cut one, one whose files would leave the folder,
            one with links or devices, or one that grows beyond measure.
        CascadeError: the disk is full.
    """
    archive, folder = Path(archive), Path(folder)
    size = archive.stat().st_size
    count = written = 0
    for left in folder.parent.glob(f"{PARTIAL_PREFIX}{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)  # of a run that was killed
    with atomic_directory(folder) as partial, archive.open("rb") as raw:
        try:
            stream = _stream(raw, size)
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    if member.isdir():
                        continue
                    target = _target(archive, member, partial)
                    count, written = count + 1, written + member.size
                    if written > max(MOST_GROWTH * size, ALWAYS_ALLOWED) or count > MOST_FILES:
                        raise InputError(
                            f"{archive} holds too much for its size ({written} bytes in {count} "
                            "files): not unpacked"
                        )
                    target.parent.mkdir(parents=True, exist_ok=True)
                    source = tar.extractfile(member)
                    assert source is not None
                    with target.open("wb") as file:
                        shutil.copyfileobj(source, file, CHUNK)
                    if progress is not None:
                        progress(raw.tell(), size)
            # as above: gzip knows better once it is read out
            while stream.read(CHUNK):
                pass
            if not count:
                raise tarfile.ReadError("no file in it")
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{archive} is damaged, cut short or no archive ({error}): delete it, and the same "
                "command fetches it again"
            ) from error
    return count


def _stream(raw: BinaryIO, size: int) -> BinaryIO:
    """The tar stream of an archive, gzipped or not."""
    zipped = raw.read(2) == b"\x1f\x8b"
    if not zipped and size >= 1024:
        raw.seek(-1024, os.SEEK_END)
        if any(raw.read()):  # tarfile takes a cut at a header for the end
            raise tarfile.ReadError("no end-of-archive mark")
    raw.seek(0)
    return cast(BinaryIO, gzip.open(raw)) if zipped else raw


def _target(archive: Path, member: tarfile.TarInfo, folder: Path) -> Path:
    """Where a member goes, refused where that is no regular file inside the folder."""
    if not member.isreg():
        raise InputError(f"{archive}: {member.name!r} is a link or a device: not unpacked")
    try:
        inside = tarfile.data_filter(member, str(folder))
    except tarfile.FilterError as error:
        raise InputError(f"{archive}: {member.name!r} leaves its folder: not unpacked") from error
    return folder / inside.name
