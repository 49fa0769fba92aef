"""Collections by name: which reader reads ``data=NAME``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cascade.errors import InputError
from cascade.io.chexpert import read_chexpert
from cascade.io.collection import Collection
from cascade.io.files import read_json
from cascade.io.indiana import read_indiana
from cascade.io.mimic_cxr import read_mimic_cxr
from cascade.io.nih import read_nih
from cascade.io.openi import read_openi
from cascade.io.padchest import read_padchest
from cascade.io.table import read_table
from cascade.pipeline.progress import progress_bar, say

Settings = Mapping[str, Any]


def _root(data: Settings) -> Path:
    root = data.get("root")
    if not root:
        raise InputError(
            f"data={data['name']} needs data.root=PATH: where its download lies "
            "(`cascade prepare --help` shows an example)"
        )
    return Path(root)


def _openi(data: Settings, out: Path, update: Callable[[int], None]) -> Collection:
    return read_openi(
        _root(data),
        images=data.get("images"),
        projections=data.get("projections"),
        patients=data.get("patients"),
        split_file=data.get("split_file"),
        progress=update,
    )


def _indiana(data: Settings, out: Path, update: Callable[[int], None]) -> Collection:
    files = {name: data.get(name) for name in ("reports", "projections", "images", "split_file")}
    return read_indiana(_root(data), progress=update, **files)


def _nih(data: Settings, out: Path, update: Callable[[int], None]) -> Collection:
    return read_nih(_root(data), images=data.get("images"), progress=update)


def _table(data: Settings, out: Path, update: Callable[[int], None]) -> Collection:
    columns = {role: name for role, name in (data.get("columns") or {}).items() if name}
    return read_table(
        _root(data),
        columns=columns or None,
        label_columns=[str(name) for name in data.get("label_columns") or []],
        separator=data["separator"],
        progress=update,
    )


def _mimic_cxr(data: Settings, out: Path, update: Callable[[int], None]) -> Collection:
    return read_mimic_cxr(
        _root(data),
        reports=data.get("reports"),
        images=data.get("images"),
        labels=data["labels"],
        views=[str(name) for name in data.get("view_positions") or []],
        progress=update,
    )


def _chexpert(data: Settings, out: Path, update: Callable[[int], None]) -> Collection:
    return read_chexpert(_root(data), images=data.get("images"), progress=update)


def _padchest(data: Settings, out: Path, update: Callable[[int], None]) -> Collection:
    return read_padchest(_root(data), images=data.get("images"), progress=update)


def phantom_root(data: Settings, out: Path) -> Path:
    """Where the phantom's raw files lie: ``data.root``, or beside the collection."""
    return Path(data["root"]) if data.get("root") else out.with_name(f"{out.name}-raw")


def _phantom(data: Settings, out: Path, update: Callable[[int], None]) -> Collection:
    from cascade.io.phantom import write_phantom

    root = phantom_root(data, out)
    wanted = {key: data[key] for key in ("studies", "size", "seed", "image_format")}
    if (root / "phantom.json").is_file():
        before = read_json(root / "phantom.json")
        for key, value in wanted.items():
            if before.get(key) != value:
                raise InputError(
                    f"{root} holds a phantom of data.{key}={before.get(key)}, not {value}: give "
                    "that to read it, or delete it, or choose another data.root="
                )
    else:
        say(f"drawing {data['studies']} phantom studies into {root}")
        drawn = 0

        def count(more: int) -> None:
            nonlocal drawn
            drawn += more
            update(drawn)

        write_phantom(
            root,
            studies=int(data["studies"]),
            size=int(data["size"]),
            seed=int(data["seed"]),
            image_format=data["image_format"],
            workers=max(1, int(data["workers"])),
            progress=count,
        )
    collection = read_openi(root)
    collection.info["source"] = "phantom"
    return collection


SOURCES: dict[str, Callable[[Settings, Path, Callable[[int], None]], Collection]] = {
    "openi": _openi,
    "indiana": _indiana,
    "nih": _nih,
    "mimic_cxr": _mimic_cxr,
    "chexpert": _chexpert,
    "padchest": _padchest,
    "table": _table,
    "phantom": _phantom,
}


def read_source(data: Settings, out: Path) -> tuple[Collection, list[Any]]:
    """Read the source that ``data.name`` names.

    Returns:
        The collection, and what was rejected: (file, reason) pairs.

    Raises:
        InputError: unknown name, or as the reader.
    """
    name = data.get("name")
    if name not in SOURCES:
        raise InputError(f"unknown data.name {name!r}, expected one of {sorted(SOURCES)}")
    total = int(data["studies"]) if name == "phantom" else 0
    with progress_bar(f"reading {name}", total or None) as update:
        collection = SOURCES[name](data, out, lambda done: update(done, max(total, done)))
    return collection, list(collection.info.pop("rejected", []))
