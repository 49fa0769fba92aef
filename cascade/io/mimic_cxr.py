"""MIMIC-CXR and MIMIC-CXR-JPG folders to a collection, with whatever of them was downloaded.

Both lay files out alike, below ``files/``: a study's report is ``p10/p10000032/s50414267.txt`` and
its images ``p10/p10000032/s50414267/<dicom_id>.dcm`` (or ``.jpg``). Beside ``files/`` lie the
packed reports (``mimic-cxr-reports.zip``, read in place and never unpacked) and the tables:
``cxr-record-list`` and ``cxr-study-list``, and of the JPG release ``mimic-cxr-2.0.0-split``,
``-metadata``, ``-chexpert`` and ``-negbio``, each ``.csv`` or ``.csv.gz``.

Studies are called ``s50414267`` and patients ``p10000032``, as their folders are.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cascade.errors import InputError
from cascade.io.chexpert import CHEXPERT_LABELS
from cascade.io.collection import Collection, Image, Study
from cascade.io.image import RADIOGRAPH_SUFFIXES
from cascade.io.report import Report, parse_report
from cascade.io.rows import SPLIT_NAMES, VIEW_NAMES, given_labels
from cascade.io.table import read_csv

REPORTS = "mimic-cxr-reports.zip"
LABELLERS = ("chexpert", "negbio", "none")
MAX_REPORT_BYTES = 2**20
MAX_REPORTS_BYTES = 2 * 2**30
"""Of all the reports in an archive together; the real ones are some 200 MB."""

# RuntimeError: a password is asked for, or the compression is an unknown one
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
_STUDY, _PATIENT = re.compile(r"s\d+"), re.compile(r"p\d+")
_IMAGE = re.compile(r"[\w.-]{1,200}", re.ASCII)
_IDS = ("subject_id", "study_id")
_TABLES = {
    "metadata": ("mimic-cxr-*-metadata.csv*", ("dicom_id", *_IDS)),
    "records": ("cxr-record-list.csv*", ("dicom_id", *_IDS)),
    "split": ("mimic-cxr-*-split.csv*", ("dicom_id", *_IDS, "split")),
    "studies": ("cxr-study-list.csv*", _IDS),
    "chexpert": ("mimic-cxr-*-chexpert.csv*", _IDS),
    "negbio": ("mimic-cxr-*-negbio.csv*", _IDS),
}
"""The tables by what they are: how a file is called and the columns it has to have."""
_EXPECTED = (
    "download MIMIC-CXR (reports, DICOM) or MIMIC-CXR-JPG (images, tables) from PhysioNet, and "
    "name the folder that holds files/"
)


@dataclasses.dataclass
class _Found:
    """What is known so far: of each study its patient, its split ...; of each image its study."""

    patients: dict[str, str] = dataclasses.field(default_factory=dict)
    splits: dict[str, str] = dataclasses.field(default_factory=dict)
    reports: dict[str, Report] = dataclasses.field(default_factory=dict)
    labels: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    images: dict[str, str] = dataclasses.field(default_factory=dict)
    positions: dict[str, str] = dataclasses.field(default_factory=dict)
    paths: dict[str, str] = dataclasses.field(default_factory=dict)
    rejected: list[dict[str, str]] = dataclasses.field(default_factory=list)

    def reject(self, file: str, reason: str) -> None:
        """Note a file that cannot be taken; of a name that is not UTF-8 the bytes are shown."""
        shown = file.encode("utf-8", "backslashreplace").decode("utf-8")
        self.rejected.append({"file": shown, "reason": reason})

    def set_once(self, table: str, key: str, value: str) -> None:
        """Put a value where there is none.

        Raises:
            InputError: there is another.
        """
        before = getattr(self, table).setdefault(key, value)
        if before != value:
            what = {"patients": "patient", "images": "study", "splits": "split"}[table]
            raise InputError(f"{key} has another {what} elsewhere ({before}, here {value})")


def read_mimic_cxr(
    root: str | Path,
    *,
    reports: str | Path | None = None,
    images: str | Path | None = None,
    labels: str = "chexpert",
    views: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """Read MIMIC-CXR with whatever reports, images and tables are present.

    A study whose report or images are missing is kept. The official split is kept (its
    ``validate`` is ``val``). Where an image is there as DICOM and as JPEG, the DICOM file is taken.

    Args:
        root: the folder that holds ``files/`` and the tables.
        reports: a zip archive of the reports, or a folder below which they are (default: both
            ``mimic-cxr-reports.zip`` and the text files below the root).
        images: the folder below which the image files are (default: the root).
        labels: whose labels the studies carry: ``chexpert``, ``negbio``, or ``none``.
        views: keep only images of these values of ``ViewPosition``, such as ``["PA", "AP"]``
            (default: all); how many others there were is said in ``info``.
        progress: called with the number of reports read.

    Returns:
        The collection. ``info`` says what was found (``tables``, ``reports_read``), what not
        (``missing``, ``studies_without_report``, ``images_missing``) and what did not fit
        (``rejected``: file and reason).

    Raises:
        InputError: nothing of MIMIC-CXR there, a damaged archive or table, or an unknown name.
    """
    root = Path(root).resolve()
    if labels not in LABELLERS:
        raise InputError(f"unknown labels {labels!r}, expected one of {list(LABELLERS)}")
    image_root = root if images is None else Path(images).resolve()
    for folder in (root, image_root):
        if not folder.is_dir():
            raise InputError(f"the folder {folder} does not exist: {_EXPECTED}")
    if reports is not None and not Path(reports).exists():
        raise InputError(f"the reports {reports} do not exist: {_EXPECTED}")
    found = _Found()
    used = {name: path for name in _TABLES if (path := _table_file(root, name)) is not None}
    for unused in {"chexpert", "negbio"} - {labels}:
        used.pop(unused, None)
    for name, path in used.items():
        _read_table(name, path, found)
    texts, unused_files = _walk(root, image_root, found)
    sources = [root / REPORTS, root] if reports is None else [Path(reports).resolve()]
    _read_reports([source for source in sources if source.exists()], root, texts, found, progress)
    if not found.patients:
        first = [f" (the first: {row['file']}: {row['reason']})" for row in found.rejected[:1]]
        raise InputError(
            f"{root} holds nothing of MIMIC-CXR that can be read{''.join(first)}: {_EXPECTED}"
        )
    wanted = None if not views else {view.strip().upper() for view in views}
    kept = [i for i in found.images if wanted is None or found.positions.get(i) in wanted]
    info: dict[str, Any] = {
        "source": "mimic_cxr",
        "tables": {name: path.name for name, path in used.items()},
        "missing": [name for name in _TABLES if name not in used and name in _asked(labels)],
        "labels": labels if labels in used else None,
        "reports_read": len(found.reports),
        "studies_without_report": len(found.patients) - len(found.reports),
        "images_missing": sum(image not in found.paths for image in kept),
        "files_unused": unused_files,
        "rejected": found.rejected,
    }
    if wanted is not None:
        left = Counter(found.positions.get(i, "none") for i in set(found.images) - set(kept))
        info["images_of_other_views"] = {view: left[view] for view in sorted(left)}
    return Collection.build(_studies(found), _images(found, kept), image_root, info)


def _asked(labels: str) -> list[str]:
    return [name for name in _TABLES if name not in LABELLERS or name == labels]


def _studies(found: _Found) -> Iterator[Study]:
    for study_id in sorted(found.patients):
        report = found.reports.get(study_id, Report())
        yield Study(
            study_id,
            found.patients[study_id],
            findings=report.findings,
            impression=report.impression,
            indication=report.indication,
            comparison=report.comparison,
            split=found.splits.get(study_id),
            labels=found.labels.get(study_id),
        )


def _images(found: _Found, kept: list[str]) -> Iterator[Image]:
    for image in sorted(kept, key=lambda image: (found.images[image], image)):
        view = VIEW_NAMES.get(found.positions.get(image, "").lower(), "unknown")
        yield Image(image, found.images[image], found.paths.get(image), view)


# --- tables -------------------------------------------------------------------------------------


def _table_file(root: Path, name: str) -> Path | None:
    """The table's file: the last version, and of that the unpacked one."""
    files = [path for path in root.glob(_TABLES[name][0]) if path.name.endswith((".csv", ".gz"))]
    plain = sorted(files, key=lambda path: (path.name.removesuffix(".gz"), path.suffix == ".csv"))
    return plain[-1] if plain else None


def _read_table(name: str, path: Path, found: _Found) -> None:
    """Take what a table says of studies and images; rows that contradict are rejected."""
    required = _TABLES[name][1]
    table = read_csv(path, required, [*required, "ViewPosition", *CHEXPERT_LABELS])
    labels = [label for label in CHEXPERT_LABELS if label in table.columns]
    if name in LABELLERS and not labels:
        raise InputError(f"{path} has none of the label columns ({CHEXPERT_LABELS[0]} ...)")
    given = given_labels(table, labels) if name in LABELLERS else [None] * len(table)
    cells = {column: table[column].str.strip().tolist() for column in table.columns}
    seen: set[str] = set()
    for number, row_labels in enumerate(given):
        row = {column: values[number] for column, values in cells.items()}
        try:
            if isinstance(row_labels, str):
                raise InputError(row_labels)
            study_id, patient_id = _named("s", row["study_id"]), _named("p", row["subject_id"])
            image = row.get("dicom_id", "")
            if "dicom_id" in row and not _IMAGE.fullmatch(image):
                raise InputError(f"{image[:80]!r} is no dicom_id")
            key = image or study_id
            if key in seen:
                raise InputError(f"{key} stands in two rows")
            split = SPLIT_NAMES.get(row.get("split", "").lower())
            if "split" in row and split is None:
                raise InputError(f"unknown split {row['split'][:80]!r}")
            found.set_once("patients", study_id, patient_id)
            if image:
                found.set_once("images", image, study_id)
            if split is not None:
                found.set_once("splits", study_id, split)
        except InputError as error:
            found.reject(f"{path.name}:{table.index[number] + 1}", str(error))
            continue
        seen.add(key)
        if row_labels:
            found.labels[study_id] = dict(row_labels)
        if row.get("ViewPosition"):
            found.positions[image] = row["ViewPosition"].upper()


def _named(letter: str, number: str) -> str:
    """``s50414267`` from ``50414267``, or as it is written already."""
    digits = number.removeprefix(letter)
    if not digits.isascii() or not digits.isdigit() or len(digits) > 20:
        raise InputError(f"{number[:80]!r} is no id")
    return f"{letter}{digits}"


# --- files --------------------------------------------------------------------------------------


def _parts(path: PurePosixPath) -> tuple[str, str] | None:
    """The patient and the study of a report or an image's folder, by their names."""
    patient, study = path.parent.name, path.name.removesuffix(".txt")
    fits = _PATIENT.fullmatch(patient) and _STUDY.fullmatch(study)
    return (patient, study) if fits else None


def _walk(root: Path, image_root: Path, found: _Found) -> tuple[list[Path], int]:
    """Note the image files; returns the text files below the root and how many images are unused.

    An image is known by its name; its folder says its study only where no table does.
    """
    texts: list[Path] = []
    unused = 0
    tops = {root, image_root}
    tops = {top for top in tops if not any(top != o and top.is_relative_to(o) for o in tops)}
    for top in sorted(tops):  # one of them, where one lies in the other
        for at, folders, names in os.walk(top):
            folders.sort()
            folder = Path(at)
            place = _parts(PurePosixPath(folder.as_posix()))
            for name in sorted(names):
                suffix = Path(name).suffix.lower()
                if suffix == ".txt" and folder.is_relative_to(root):
                    texts.append(folder / name)
                elif suffix in RADIOGRAPH_SUFFIXES and place and folder.is_relative_to(image_root):
                    unused += not _note_image(folder / name, place, image_root, found)
    return texts, unused


def _note_image(path: Path, place: tuple[str, str], root: Path, found: _Found) -> bool:
    """Take an image file; False where it is not needed."""
    image, (patient_id, study_id) = path.stem, place
    relative = path.relative_to(root).as_posix()
    before = found.paths.get(image)
    if before is not None and (path.suffix.lower() != ".dcm" or before.endswith(".dcm")):
        return False
    try:
        if not _IMAGE.fullmatch(image) or not relative.isprintable():
            raise InputError("its name is no dicom_id")
        found.set_once("images", image, study_id)
        found.set_once("patients", study_id, patient_id)
    except InputError as error:
        found.reject(relative, str(error))
        return False
    found.paths[image] = relative
    return before is None


def _read_reports(
    sources: list[Path],
    root: Path,
    texts: list[Path],
    found: _Found,
    progress: Callable[[int], None] | None,
) -> None:
    """Read the reports; the first of a study counts."""
    for source in sources:
        packed = source.is_file()
        if not packed and source != root:
            texts = [Path(f, name) for f, _, names in os.walk(source) for name in sorted(names)]
        contents = _packed(source) if packed else _unpacked(texts, source)
        for number, (name, content) in enumerate(contents, start=1):
            place = _parts(PurePosixPath(name))
            try:
                if isinstance(content, InputError):
                    raise content
                if place is None or place[1] in found.reports:
                    continue
                report = parse_report(_text(content))
                found.set_once("patients", place[1], place[0])
            except InputError as error:
                found.reject(name, str(error))
                continue
            found.reports[place[1]] = report
            if progress is not None:
                progress(number)


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 (byte {error.start})") from error
    if not text.strip():
        raise InputError("empty")
    return text.replace("\0", " ")


def _unpacked(texts: list[Path], root: Path) -> Iterator[tuple[str, bytes | InputError]]:
    """Name and content of each report file, or why it is not taken."""
    for path in texts:
        name = path.relative_to(root).as_posix()
        if path.suffix.lower() != ".txt" or _parts(PurePosixPath(path.as_posix())) is None:
            continue
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                yield name, InputError("not a regular file")
            elif status.st_size > MAX_REPORT_BYTES:
                yield name, _too_large(status.st_size)
            else:
                yield name, path.read_bytes()
        except OSError as error:
            yield name, InputError(f"cannot be read: {error.strerror}")


def _packed(source: Path) -> Iterator[tuple[str, bytes | InputError]]:
    """Name and content of each report of an archive, or why it is not taken."""
    total = 0
    try:
        archive = zipfile.ZipFile(source)
    except _DAMAGE as error:
        raise InputError(f"{source} is damaged ({error}): download it again") from error
    with archive:
        for member in archive.infolist():
            name = member.filename
            pure = PurePosixPath(name)
            if not name.lower().endswith(".txt"):
                continue
            if pure.is_absolute() or ".." in pure.parts or "\\" in name:
                yield name, InputError("its path leaves the archive")
                continue
            if _parts(pure) is None:
                continue  # LICENSE.txt and whatever else was packed beside the reports
            total += member.file_size
            if total > MAX_REPORTS_BYTES:
                raise InputError(
                    f"{source} unpacks to more than {MAX_REPORTS_BYTES} bytes: it is not "
                    f"{REPORTS}; download that again"
                )
            yield name, _member(archive, member)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | InputError:
    if stat.S_ISLNK(member.external_attr >> 16):
        return InputError("not a regular file")
    if member.file_size > MAX_REPORT_BYTES:
        return _too_large(member.file_size)
    try:
        with archive.open(member) as file:
            return file.read(MAX_REPORT_BYTES + 1)
    except _DAMAGE as error:
        return InputError(f"damaged or locked: {error}")


def _too_large(size: int) -> InputError:
    return InputError(f"{size} bytes are more than the limit of {MAX_REPORT_BYTES}")
