"""The Open-i (Indiana University) chest X-ray collection: XML reports, hand-made MeSH, images.

Reports come from the archive as downloaded (``NLMCXR_reports.tgz``, read as a stream and never
unpacked) or from its folder ``ecgen-radiology``, one at a time (``iter_openi``) or all with their
images (``read_openi``). ``openi_images`` says how image files are matched.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from cascade.errors import InputError
from cascade.io.collection import Collection, Image, Study
from cascade.io.openi_archive import EXPECTED, FOLDER, contents, find_reports
from cascade.io.openi_images import (
    beside,
    image_key,
    match_images,
    natural_order,
    read_patients,
    read_splits,
    read_views,
    split_info,
)
from cascade.io.report import SECTIONS, clean_text

MAX_REPORT_BYTES = 16 * 2**20
MAX_ARCHIVE_BYTES = 256 * 2**20
"""What an archive may unpack to, twelve times the true one: a small file can hide terabytes."""
NO_INDEXING = "no indexing"

_READ = frozenset({"uId", "AbstractText", "parentImage", "major", "automatic", "caption"})
_DECLARED = re.compile(rb"""^<\?xml[^>]{1,80}encoding=["']([\w.-]{1,40})""")
_ENTITY = re.compile(rb"<!ENTITY\s+(?:%\s+)?([\w.:-]{1,40})\s+(SYSTEM|PUBLIC)?")


@dataclasses.dataclass(frozen=True)
class OpeniReport:
    """One report file.

    Attributes:
        study: the study; its patient and split are still unknown.
        images: the names of its images, in order.
        captions: what is printed below each of them.
    """

    study: Study
    images: tuple[str, ...]
    captions: tuple[str | None, ...] = ()


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A file that is no report of the collection, and why."""

    file: str
    reason: str


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
    kept in order and spelling, trimmed, and automatic terms apart from them.

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
    source = find_reports(root)
    folder = source.parent if source.is_file() or source.name == FOLDER else source
    image_root = Path(images) if images is not None else folder
    if not image_root.is_dir():
        raise InputError(f"the image folder {image_root} does not exist")

    reports: list[OpeniReport] = []
    rejected: list[dict[str, str]] = []
    for item in iter_openi(source):
        if isinstance(item, Rejected):
            rejected.append(dataclasses.asdict(item))
            continue
        reports.append(item)
        if progress is not None:
            progress(len(reports))
    if not reports:
        raise InputError(
            f"none of the {len(rejected)} reports in {source} can be read; "
            f"the first: {rejected[0]['file']}: {rejected[0]['reason']}"
        )
    reports.sort(key=lambda report: natural_order(report.study.study_id))
    names = {report.study.study_id: report.images for report in reports}
    found, unused = match_images(names, image_root)
    views = read_views(beside(folder, projections, "projections.csv"))
    patient_of = read_patients(beside(folder, patients, "patients.csv"))
    split_of = read_splits(split_file)

    studies = [
        dataclasses.replace(
            study,
            patient_id=patient_of.get(study.study_id, study.study_id),
            split=split_of.get(study.study_id),
        )
        for study in (report.study for report in reports)
    ]
    rows = [
        Image(
            image_id=name,
            study_id=report.study.study_id,
            path=found.get(name),
            view=views.get(image_key(name), "unknown"),
            caption=caption,
        )
        for report in reports
        for name, caption in zip(report.images, report.captions, strict=True)
    ]
    info: dict[str, Any] = {
        "source": "openi",
        "reports": source.name,
        "images_named": len(rows),
        "images_found": len(found),
        "files_unused": {"count": len(unused), "first": unused[:10]},
        "unindexed": sum(not study.mesh for study in studies),
        "rejected": rejected,
        **split_info(split_file, split_of, set(names)),
    }
    return Collection.build(studies, rows, image_root, info)


def iter_openi(root: str | Path) -> Iterator[OpeniReport | Rejected]:
    """Read the reports one at a time, in the order of the archive or of the file names.

    Nothing is held but the ids: each study and each image comes once, and a file that repeats one
    is rejected.

    Args:
        root: as for ``read_openi``.

    Yields:
        Each report file, or why it is none.

    Raises:
        InputError: no reports there, or an archive that is damaged or unpacks to more than
            ``MAX_ARCHIVE_BYTES``.
    """
    source = find_reports(Path(root))
    return _iterate(source)


def _iterate(source: Path) -> Iterator[OpeniReport | Rejected]:
    studies: set[str] = set()
    images: set[str] = set()
    name = None
    for name, content in contents(source, MAX_REPORT_BYTES, MAX_ARCHIVE_BYTES):
        try:
            if isinstance(content, InputError):
                raise content
            report = parse_openi_report(content, name)
            if report.study.study_id in studies:
                raise InputError(f"study {report.study.study_id} was read already")
            again = images.intersection(report.images)
            if again:
                raise InputError(f"image {min(again)} belongs to another study already")
        except InputError as error:
            yield Rejected(name, str(error).removeprefix(f"{name}: "))
            continue
        studies.add(report.study.study_id)
        images.update(report.images)
        yield report
    if name is None:
        raise InputError(f"{source} holds no XML file: {EXPECTED.format(folder=source.parent)}")


def parse_openi_report(content: bytes, name: str) -> OpeniReport:
    """Read one report file; entities and document types are refused before they can expand.

    Args:
        content: the XML.
        name: what to call the file in errors.

    Raises:
        InputError: not XML, hostile XML, or no report of this collection.
    """
    parser = DefusedXMLParser(target=object(), forbid_dtd=True)
    read = _Read(parser.parser)
    try:
        parser.feed(content)
        parser.close()
    except DefusedXmlException as error:
        raise InputError(
            f"{name}: XML with a forbidden construct ({_forbidden(content)}) is refused"
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        reason = _wrong_bytes(content) or str(error)
        raise InputError(f"{name}: not well-formed XML: {reason}") from error
    if not read.study_id:
        raise InputError(f"{name}: no uId, so not a report of this collection")
    study = Study(
        study_id=read.study_id,
        patient_id=read.study_id,
        findings=clean_text(" ".join(read.sections["findings"])),
        impression=clean_text(" ".join(read.sections["impression"])),
        indication=clean_text(" ".join(read.sections["indication"])),
        comparison=clean_text(" ".join(read.sections["comparison"])),
        mesh=tuple(term for term in read.terms["major"] if term.lower() != NO_INDEXING),
        mesh_automatic=tuple(read.terms["automatic"]),
    )
    return OpeniReport(study, tuple(read.images), tuple(read.images.values()))


class _Read:
    """What is read of a report, filled by the parser's events.

    Most of a file is elements that nobody wants, and a tree of a hostile one takes thirty times
    its size: so there is no tree, and ends are listened to only within a text.
    """

    def __init__(self, expat: Any) -> None:
        self.study_id = ""
        self.sections: dict[str, list[str]] = {section: [] for section in SECTIONS}
        self.terms: dict[str, list[str]] = {"major": [], "automatic": []}
        self.images: dict[str, str | None] = {}
        self._image = ""  # the last one named: captions follow theirs
        self._into: list[str] = []  # what the text that is being read will be added to
        self._text: list[str] = []
        self._open = 0  # elements open within that text, its own with them
        self._expat = expat
        expat.ordered_attributes = False
        expat.DefaultHandlerExpand = None  # only a document type needs it, and none is accepted
        expat.StartElementHandler = self._start

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._open:
            self._open += 1
        elif name not in _READ:
            pass
        elif name == "AbstractText":
            into = self.sections.get(attributes.get("Label", "").strip().lower())
            if into is not None:
                self._begin(into)
        elif name == "parentImage":
            self._image = attributes.get("id", "").strip()
            if self._image:
                self.images.setdefault(self._image, None)
        elif name == "uId":
            self.study_id = self.study_id or clean_text(attributes.get("id")) or ""
        else:
            self._begin(self.terms.get(name, []))

    def _begin(self, into: list[str]) -> None:
        self._into, self._text, self._open = into, [], 1
        self._expat.CharacterDataHandler = self._text.append
        self._expat.EndElementHandler = self._end

    def _end(self, name: str) -> None:
        self._open -= 1
        if self._open:
            return
        self._expat.CharacterDataHandler = None
        self._expat.EndElementHandler = None
        text = clean_text("".join(self._text))
        if text:
            self._into.append(text)
        if name == "caption" and self._image and not self.images[self._image]:
            self.images[self._image] = text


def _forbidden(content: bytes) -> str:
    """What a document type is there for, by its first entity."""
    entity = _ENTITY.search(content.replace(b"\x00", b""), 0, 2**16)
    if entity is None:
        return "DTD"
    kind = "external entity" if entity[2] else "entity"
    return f"DTD that declares the {kind} {entity[1].decode(errors='replace')!r}"


def _wrong_bytes(content: bytes) -> str | None:
    """Where the bytes are not of the encoding that the file claims, if that is what is wrong."""
    declared = _DECLARED.match(content)
    if declared is None or declared[1].lower() in (b"utf-8", b"utf8"):
        try:
            content.decode()
        except UnicodeDecodeError as error:
            return f"byte {error.start} is not UTF-8, as it is declared"
    return None
