"""The Open-i (Indiana University) chest X-ray collection: XML reports, hand-made MeSH, images.

Reports come from the archive as downloaded (``NLMCXR_reports.tgz``, read as a stream and never
unpacked) or from its folder ``ecgen-radiology``. Images are matched whatever they are called:

- ``CXR1_1_IM-0001-4001.png``, as in ``NLMCXR_png.tgz`` (or ``.dcm``, ``.jpg`` ...);
- ``1_IM-0001-4001.dcm.png``, as in ``projections.csv`` and the Kaggle copy;
- ``CXR368_IM-1832/0.png``, as in R2Gen's copy: the folder is what the names of the study's images
  have in common, and the number counts the report's images in the order of its XML. (The data at
  hand says so: ``CXR2843_IM-1254-1001/1.png`` is a frontal view, as the second image named by that
  report is, while ``projections.csv`` lists the frontal first.)
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from cascade.errors import InputError
from cascade.io.collection import SPLITS, Collection, Image, Study
from cascade.io.files import read_json
from cascade.io.image import RADIOGRAPH_SUFFIXES
from cascade.io.report import SECTIONS, clean_text
from cascade.io.table import VIEW_NAMES, read_csv

ARCHIVE = "NLMCXR_reports.tgz"
FOLDER = "ecgen-radiology"
MAX_REPORT_BYTES = 16 * 2**20
MASKS = "masks"
"""A folder of this name holds truth under the images' own names (the phantom's), not images."""
NO_INDEXING = "no indexing"

_ARCHIVE_SUFFIXES = (".tgz", ".tar.gz", ".tar")
_EXPECTED = (
    f"download {ARCHIVE} (the reports) and NLMCXR_png.tgz (the images) from Open-i, the image "
    "search of the U.S. National Library of Medicine, into {folder}, and unpack the images"
)


@dataclasses.dataclass(frozen=True)
class OpeniReport:
    """One report file: the study (its patient and split still unknown) and its images' names."""

    study: Study
    images: tuple[str, ...]


def read_openi(
    root: str | Path,
    *,
    images: str | Path | None = None,
    projections: str | Path | None = None,
    patients: str | Path | None = None,
    split_file: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """Read the collection with whatever images are present; studies without images are kept.

    A report that nobody indexed (``No Indexing``) gets an empty ``mesh``; other major terms are
    kept in order and spelling, trimmed. Automatic terms are not read.

    Args:
        root: the reports' archive, a folder with it, ``ecgen-radiology``, or a folder with that.
        images: the folder below which the images are (default: the root's).
        projections: CSV of uid, filename, projection (default: ``projections.csv`` in the root,
            if any); an image that it does not name has view ``unknown``.
        patients: CSV of uid, patient_id (default: ``patients.csv`` in the root, if any). Open-i
            tells no patients apart, so without it each study is a patient.
        split_file: JSON of ids by split, such as R2Gen's; a study that it does not name has no
            split and takes part in nothing (default: nobody has one, ``assign_splits`` decides).
        progress: called with the number of reports read.

    Returns:
        The collection. ``info`` says what did not fit: ``rejected`` (a list of file and reason),
        ``images_named``, ``images_found``, ``files_unused`` (image files that no report names, or
        that name an image already found).

    Raises:
        InputError: no reports there, none of them readable, a damaged archive, or a file of
            projections, patients or splits that is not one.
    """
    root = Path(root)
    source = _find_reports(root)
    folder = source.parent if source.is_file() or source.name == FOLDER else source
    image_root = Path(images) if images is not None else folder
    if not image_root.is_dir():
        raise InputError(f"the image folder {image_root} does not exist")

    reports, rejected = _read_reports(source, progress)
    if not reports:
        raise InputError(
            f"none of the {len(rejected)} reports in {source} can be read; "
            f"the first: {rejected[0]['file']}: {rejected[0]['reason']}"
        )
    named = [(report.study.study_id, name) for report in reports for name in report.images]
    found, unused = _match_images(reports, image_root)
    views = _read_views(_beside(folder, projections, "projections.csv"))
    patient_of = _read_patients(_beside(folder, patients, "patients.csv"))
    split_of = {} if split_file is None else _read_splits(Path(split_file))

    studies = [
        dataclasses.replace(
            study,
            patient_id=patient_of.get(study.study_id, study.study_id),
            split=split_of.get(study.study_id),
        )
        for study in (report.study for report in reports)
    ]
    rows = [
        Image(name, study_id, found.get(name), views.get(image_key(name), "unknown"))
        for study_id, name in named
    ]
    info: dict[str, Any] = {
        "source": "openi",
        "reports": source.name,
        "images_named": len(named),
        "images_found": len(found),
        "files_unused": {"count": len(unused), "first": unused[:10]},
        "unindexed": sum(not study.mesh for study in studies),
        "rejected": rejected,
    }
    if split_file is not None:
        known = {study.study_id for study in studies}
        info["split_file"] = {
            "name": Path(split_file).name,
            "unknown_ids": len(set(split_of) - known),
            "studies_outside": len(known - set(split_of)),
        }
    return Collection.build(studies, rows, image_root, info)


def parse_openi_report(content: bytes, name: str) -> OpeniReport:
    """Read one report file; entities and document types are refused before they can expand.

    Args:
        content: the XML.
        name: what to call the file in errors.

    Raises:
        InputError: not XML, hostile XML, or no report of this collection.
    """
    try:
        tree: Element = fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        kind = type(error).__name__.removesuffix("Forbidden")
        raise InputError(f"{name}: XML with a forbidden construct ({kind}) is refused") from error
    except (ParseError, ValueError, LookupError) as error:
        raise InputError(f"{name}: not well-formed XML: {error}") from error
    uid = tree.find("uId")
    study_id = "" if uid is None else uid.get("id", "").strip()
    if not study_id:
        raise InputError(f"{name}: no uId, so not a report of this collection")
    sections: dict[str, str | None] = dict.fromkeys(SECTIONS)
    for element in tree.iter("AbstractText"):
        section = element.get("Label", "").strip().lower()
        text = clean_text("".join(element.itertext()))
        if section in sections and text:
            sections[section] = " ".join(filter(None, (sections[section], text)))
    terms = [clean_text("".join(element.itertext())) for element in tree.findall("MeSH/major")]
    mesh = tuple(term for term in terms if term and term.lower() != NO_INDEXING)
    names = [element.get("id", "").strip() for element in tree.iter("parentImage")]
    images = tuple(dict.fromkeys(image for image in names if image))
    return OpeniReport(Study(study_id, study_id, mesh=mesh, **sections), images)


def image_key(name: str) -> str:
    """What the names of one image have in common in all schemes.

    >>> image_key("CXR1_1_IM-0001-4001.png"), image_key("1_IM-0001-4001.dcm.png")
    ('1_IM-0001-4001', '1_IM-0001-4001')
    """
    suffixes = RADIOGRAPH_SUFFIXES
    while name.lower().endswith(suffixes):
        name = name[: name.rindex(".")]
    name = name.removeprefix("CXR")
    # the archive repeats the number in the two names of its first report
    return re.sub(r"^(\d+)_\1_", r"\1_", name)


# --- reports ------------------------------------------------------------------------------------


def _find_reports(root: Path) -> Path:
    """The archive or the folder of XML files that ``root`` stands for."""
    if root.is_file():
        if root.name.lower().endswith(_ARCHIVE_SUFFIXES):
            return root
        raise InputError(f"{root} is neither a folder nor an archive (.tgz, .tar.gz, .tar)")
    if not root.is_dir():
        raise InputError(f"the folder {root} does not exist: {_EXPECTED.format(folder='it')}")
    folders = (root / FOLDER, root, root / "NLMCXR_reports" / FOLDER)
    for folder in folders:
        if folder.is_dir() and any(folder.glob("*.xml")):
            return folder
    archives = [root / ARCHIVE, *sorted(root.glob("*reports*.tgz"))]
    for archive in archives:
        if archive.is_file():
            return archive
    raise InputError(
        f"{root} holds neither {ARCHIVE} nor {FOLDER}/*.xml: {_EXPECTED.format(folder='it')}"
    )


def _read_reports(
    source: Path, progress: Callable[[int], None] | None
) -> tuple[list[OpeniReport], list[dict[str, str]]]:
    reports: dict[str, OpeniReport] = {}
    images: set[str] = set()
    rejected: list[dict[str, str]] = []
    for number, (name, content) in enumerate(_contents(source), start=1):
        try:
            if isinstance(content, InputError):
                raise content
            report = parse_openi_report(content, name)
            if report.study.study_id in reports:
                raise InputError(f"{name}: study {report.study.study_id} was read already")
            again = images.intersection(report.images)
            if again:
                raise InputError(f"{name}: image {min(again)} belongs to another study already")
        except InputError as error:
            rejected.append({"file": name, "reason": str(error).removeprefix(f"{name}: ")})
            continue
        reports[report.study.study_id] = report
        images.update(report.images)
        if progress is not None:
            progress(number)
    if not reports and not rejected:
        raise InputError(f"{source} holds no XML file: {_EXPECTED.format(folder=source.parent)}")
    ordered = sorted(reports.values(), key=lambda report: _natural(report.study.study_id))
    return ordered, rejected


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key by which CXR2 stands before CXR10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _contents(source: Path) -> Iterator[tuple[str, bytes | InputError]]:
    """Name and content of each XML file, or why it is not taken."""
    if source.is_dir():
        for path in sorted(source.glob("*.xml")):
            try:
                size = path.stat().st_size
                too_large = size > MAX_REPORT_BYTES
                yield path.name, _too_large(size) if too_large else path.read_bytes()
            except OSError as error:
                yield path.name, InputError(f"cannot be read: {error.strerror}")
        return
    count = 0
    try:
        with _opened(source) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = Path(member.name).name
                if not name.lower().endswith(".xml") or name.startswith("."):
                    continue  # folders and whatever else was packed beside the reports
                count += 1
                if not member.isreg():
                    yield name, InputError("not a regular file")
                elif member.size > MAX_REPORT_BYTES:
                    yield name, _too_large(member.size)
                else:
                    file = archive.extractfile(member)
                    yield name, (file or io.BytesIO()).read()
            # tarfile takes a cut at a header for the end; gzip knows better once it is read out
            while stream.read(2**20):
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"{source} is damaged or cut short after {count} reports ({error}): download it again"
        ) from error


def _opened(source: Path) -> BinaryIO:
    """The tar stream of an archive, gzipped or not."""
    with source.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0, os.SEEK_END)
        if not gzipped and file.tell() >= 1024:
            file.seek(-1024, os.SEEK_END)
            if any(file.read()):
                raise tarfile.ReadError("no end-of-archive mark")
    return cast(BinaryIO, gzip.open(source)) if gzipped else source.open("rb")


def _too_large(size: int) -> InputError:
    return InputError(f"{size} bytes are more than the limit of {MAX_REPORT_BYTES}")


# --- images -------------------------------------------------------------------------------------


def _match_images(reports: list[OpeniReport], root: Path) -> tuple[dict[str, str], list[str]]:
    """Path relative to ``root`` by image name, and the image files that were not needed."""
    name_of = {image_key(name): name for report in reports for name in report.images}
    of_study = {image_key(report.study.study_id): report.images for report in reports}
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
            if name is None and key.isdigit():
                name = _numbered(Path(folder).name, int(key), of_study)
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


def _numbered(folder: str, number: int, of_study: dict[str, tuple[str, ...]]) -> str | None:
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


# --- what lies beside ---------------------------------------------------------------------------


def _beside(folder: Path, given: str | Path | None, name: str) -> Path | None:
    if given is not None:
        return Path(given)
    path = folder / name
    return path if path.is_file() else None


def _read_views(path: Path | None) -> dict[str, str]:
    """View by image key."""
    if path is None:
        return {}
    table = read_csv(path, required=("filename", "projection"))
    views = (VIEW_NAMES.get(name.strip().lower(), "unknown") for name in table["projection"])
    return dict(zip(map(image_key, table["filename"].str.strip()), views, strict=True))


def _read_patients(path: Path | None) -> dict[str, str]:
    """Patient by study id."""
    if path is None:
        return {}
    table = read_csv(path, required=("uid", "patient_id"))
    uids, patients = table["uid"].str.strip(), table["patient_id"].str.strip()
    return {
        uid if uid.startswith("CXR") else f"CXR{uid}": patient
        for uid, patient in zip(uids, patients, strict=True)
        if patient
    }


def _read_splits(path: Path) -> dict[str, str]:
    """Split by study id, from lists of ids such as ``CXR1000_IM-0003`` (or R2Gen's records)."""
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
