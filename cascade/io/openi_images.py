"""What lies beside the reports of the Open-i collection: images, views, patients, splits.

Both ways to the reports (``openi``, ``indiana``) match images here, whatever they are called:

- ``CXR1_1_IM-0001-4001.png``, as in ``NLMCXR_png.tgz`` (or ``.dcm``, ``.jpg`` ...);
- ``1_IM-0001-4001.dcm.png``, as in ``projections.csv`` and the Kaggle copy;
- ``CXR368_IM-1832/0.png``, as in R2Gen's copy: the folder is what the names of the study's images
  have in common, and the number counts the report's images in the order of its XML, which is the
  order of their names. (The data at hand says so: ``CXR2843_IM-1254-1001/1.png`` is a frontal view,
  as the second image named by that report is, while ``projections.csv`` lists the frontal first.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cascade.errors import InputError
from cascade.io.collection import SPLITS
from cascade.io.files import read_json
from cascade.io.image import RADIOGRAPH_SUFFIXES
from cascade.io.table import VIEW_NAMES, read_csv

MASKS = "masks"
"""A folder of this name holds truth under the images' own names (the phantom's), not images."""

_TWICE = re.compile(r"(\d+)_\1_")  # the archive repeats the number in the names of its first report


def image_key(name: str) -> str:
    """What the names of one image have in common in all schemes.

    >>> image_key("CXR1_1_IM-0001-4001.png"), image_key("1_IM-0001-4001.dcm.png")
    ('1_IM-0001-4001', '1_IM-0001-4001')
    """
    while name.lower().endswith(RADIOGRAPH_SUFFIXES):
        name = name[: name.rindex(".")]
    name = name.removeprefix("CXR")
    twice = _TWICE.match(name)
    return name[len(twice[1]) + 1 :] if twice else name


def image_name(key: str) -> str:
    """The name by which the XML archive knows the image of a key.

    >>> image_name("10_IM-0002-1001"), image_name("1_IM-0001-4001")
    ('CXR10_IM-0002-1001', 'CXR1_1_IM-0001-4001')
    """
    return f"CXR1_{key}" if key.startswith("1_") else f"CXR{key}"


def match_images(
    names: Mapping[str, Sequence[str]], root: Path
) -> tuple[dict[str, str], list[str]]:
    """Find the image files below a folder.

    Args:
        names: the images of each study, in the order of the archive.
        root: the folder.

    Returns:
        Path relative to ``root`` by image name, and the image files that were not needed.
    """
    name_of = {image_key(name): name for images in names.values() for name in images}
    of_study = {image_key(study_id): images for study_id, images in names.items()}
    found: dict[str, str] = {}
    numbered: list[tuple[str, str]] = []
    unused: list[str] = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        for file in sorted(files):
            if not file.lower().endswith(RADIOGRAPH_SUFFIXES):
                continue
            path = Path(folder, file).relative_to(root).as_posix()
            key = image_key(file)
            name = name_of.get(key)
            if Path(folder).name == MASKS:
                name, key = None, ""
            if name is None and key.isascii() and key.isdigit():
                name = _numbered(Path(folder).name, int(key[:9]), of_study)
                if name is not None:
                    numbered.append((name, path))
                    continue
            if name is None or name in found:
                unused.append(path)
            else:
                found[name] = path
    for name, path in numbered:  # a file that carries the image's own name comes first
        if name in found:
            unused.append(path)
        else:
            found[name] = path
    return found, unused


def _numbered(folder: str, number: int, of_study: Mapping[str, Sequence[str]]) -> str | None:
    """The image that file ``number`` of one of R2Gen's folders is."""
    key = image_key(folder)
    images = of_study.get(key.split("_")[0], ())
    belongs = [
        image
        for image in images
        if image_key(image) == key or image_key(image).startswith(f"{key}-")
    ]
    # R2Gen names the folder by its first two images; in a few studies a third is called otherwise
    return images[number] if belongs and number < len(images) else None


def natural_order(name: str) -> list[tuple[int, str]]:
    """A sort key by which CXR2 stands before CXR10."""
    # digits by their number, not as int: an id of five thousand of them is no error
    parts = re.split(r"(\d+)", name)
    return [(len(part.lstrip("0")) if part.isdecimal() else -1, part) for part in parts]


def beside(folder: Path, given: str | Path | None, name: str) -> Path | None:
    """The file that was given, or the one of this name in the folder, or none."""
    if given is not None:
        return Path(given)
    path = folder / name
    return path if path.is_file() else None


def read_views(path: Path | None) -> dict[str, str]:
    """View by image key, from a CSV of filename and projection; none without a file.

    Raises:
        InputError: not such a file.
    """
    if path is None:
        return {}
    table = read_csv(path, required=("filename", "projection"))
    return {
        image_key(file.strip()): view_of(projection)
        for file, projection in zip(table["filename"], table["projection"], strict=True)
    }


def view_of(projection: str) -> str:
    """The view that a projection is."""
    return VIEW_NAMES.get(projection.strip().lower(), "unknown")


def read_patients(path: Path | None) -> dict[str, str]:
    """Patient by study id, from a CSV of uid and patient_id; none without a file.

    Raises:
        InputError: not such a file.
    """
    if path is None:
        return {}
    table = read_csv(path, required=("uid", "patient_id"))
    uids, patients = table["uid"].str.strip(), table["patient_id"].str.strip()
    return {
        uid if uid.startswith("CXR") else f"CXR{uid}": patient
        for uid, patient in zip(uids, patients, strict=True)
        if patient
    }


def read_splits(path: str | Path | None) -> dict[str, str]:
    """Split by study id, from lists of ids such as ``CXR1000_IM-0003`` (or R2Gen's records).

    Raises:
        InputError: not such a file, or a study in two splits.
    """
    if path is None:
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not set(content) <= set(SPLITS) or not content:
        raise InputError(f"{path} is not a split file: expected lists of ids under {list(SPLITS)}")
    splits: dict[str, str] = {}
    for split, entries in content.items():
        for entry in entries if isinstance(entries, list) else [None]:
            written = entry.get("id") if isinstance(entry, dict) else entry
            if not isinstance(written, str):
                raise InputError(f"{path}: {split} must be a list of study ids")
            study_id = written.split("_")[0]
            if splits.setdefault(study_id, split) != split:
                raise InputError(
                    f"{path}: study {study_id} stands in {splits[study_id]} and {split}"
                )
    return splits


def split_info(
    path: str | Path | None, splits: Mapping[str, str], study_ids: set[str]
) -> dict[str, Any]:
    """What ``collection.json`` says of a split file, if there is one: what did not fit it."""
    if path is None:
        return {}
    return {
        "split_file": {
            "name": Path(path).name,
            "unknown_ids": len(set(splits) - study_ids),
            "studies_outside": len(study_ids - set(splits)),
        }
    }
