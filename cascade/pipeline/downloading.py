"""``download=true``: the public archives of a source, fetched into ``data.root`` and unpacked."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cascade.errors import CascadeError, InputError
from cascade.io.download import RefusedError, UnreachableError, download
from cascade.io.unpack import is_unpacked, unpack
from cascade.pipeline.progress import say

Settings = Mapping[str, Any]

IMAGE_ARCHIVES = ("png", "dicom")
"""Of the archives by these names ``data.download_images`` chooses one, or none."""


def fetch_archives(data: Settings) -> None:
    """Fetch the archives of ``data.archives`` that are not in ``data.root`` yet.

    Each has ``file`` (its name there), ``url``, ``sha256`` (or null), ``max_gb`` and ``unpack``
    (the folder to unpack it into, or null). What is there already is not fetched again.

    Raises:
        InputError: the source has no archives, no folder is given, or an archive is damaged.
        CascadeError: the host cannot be reached, or as ``cascade.io.download.download``.
    """
    archives = _chosen(data)
    root = _folder(data)
    missing = {name: each for name, each in archives.items() if not _is_there(root, each)}
    made = not root.exists()
    try:
        for name, archive in archives.items():
            _fetch_one(root, name, archive)
    except UnreachableError as error:
        raise CascadeError(f"{error}: {_by_hand(root, missing)}") from error
    finally:
        if made:
            with contextlib.suppress(OSError):  # stays where something came
                root.rmdir()


def _chosen(data: Settings) -> dict[str, Settings]:
    archives = data.get("archives")
    if not archives:
        obtain = data.get("obtain") or "leave download=true away"
        raise InputError(f"data={data['name']} has no archives to download: {obtain}")
    choices = [name for name in archives if name in IMAGE_ARCHIVES]
    images = data.get("download_images")
    if images not in (*choices, "none"):
        raise InputError(
            f"data.download_images={images}: expected one of {', '.join((*choices, 'none'))}"
        )
    return {name: archives[name] for name in archives if name not in choices or name == images}


def _folder(data: Settings) -> Path:
    if not data.get("root"):
        raise InputError("download=true needs data.root=DIR: the folder that the archives go into")
    root = Path(data["root"])
    if root.exists() and not root.is_dir():
        raise InputError(f"data.root={root} is a file: download=true needs a folder")
    return root


def _is_there(root: Path, archive: Settings) -> bool:
    unpacked = archive["unpack"] and is_unpacked(root / archive["unpack"])
    return bool(unpacked) or (root / archive["file"]).is_file()


def _fetch_one(root: Path, name: str, archive: Settings) -> None:
    file, folder = root / archive["file"], archive["unpack"] and root / archive["unpack"]
    if folder and is_unpacked(folder):
        say(f"{folder} is unpacked already")
        return
    there = file.exists()
    say(f"{file} is there already" if there else f"fetching {file.name} from {archive['url']}")
    try:
        with _byte_bar(file.name) as update:
            digest = download(
                archive["url"],
                file,
                sha256=archive["sha256"],
                size=int(archive["max_gb"] * 1e9),
                progress=update,
            )
    except RefusedError as error:
        raise CascadeError(
            f"{error}: look where the file lies now, and give data.archives.{name}.url=ADDRESS"
        ) from error
    if not archive["sha256"] and digest:
        say(f"{file.name}: no checksum is known to compare; its SHA-256 is {digest}")
    if folder:
        with _byte_bar(f"unpacking {file.name}") as update:
            count = unpack(file, folder, progress=update)
        say(f"unpacked {count} files into {folder}; {file} is needed no more")


def _by_hand(root: Path, missing: Mapping[str, Settings]) -> str:
    """What to do on a machine without network."""
    files = " and ".join(f"{each['file']} from {each['url']}" for each in missing.values())
    unpacked = any(each["unpack"] for each in missing.values())
    them = "it" if len(missing) == 1 else "them"
    after = (
        f"run the same command again: it checks and unpacks {them}"
        if unpacked
        else "run the same command without download=true"
    )
    return f"download {files} by another machine, put {them} into {root}, then {after}"


@contextlib.contextmanager
def _byte_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar in megabytes on standard error; nothing where that is no terminal."""
    console = Console(file=sys.stderr)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=None, visible=False)

        def update(done: int, whole: int) -> None:
            progress.update(task, completed=done, total=whole or None, visible=True)

        yield update
