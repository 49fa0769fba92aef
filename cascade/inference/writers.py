"""Documents of each study, by name: ``formats=[sr,tid1500,fhir,text,pdf]``.

Files lie in ``OUT/NAME/`` and are named by the study's hash, whatever becomes of identifiers inside
them, so that a listing of a folder names nobody. Pictures are written by ``previews=true`` alone.
"""

from __future__ import annotations

import datetime
import importlib.util
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from cascade.errors import CascadeError, InputError
from cascade.inference.identifiers import Identifiers, output_key
from cascade.inference.privacy import safe_text, short_hash
from cascade.inference.results import StudyResult, Writer
from cascade.io.dicom.evidence import load_evidence
from cascade.io.draft_document import WITHHELD, Draft, draft_pdf, draft_text
from cascade.io.fhir import fhir_bundle
from cascade.io.files import atomic_path
from cascade.io.structured_report import NO_IMAGES, basic_text_sr, measurement_report_sr

Headers = Sequence[Dataset]
Make = Callable[[Draft, Headers, bool], bytes | None]


class _Format(NamedTuple):
    """How a kind of document is made.

    Attributes:
        suffix: of its files.
        make: the document of a draft, the headers of its images as they may be shown, and whether
            identifiers are kept; None where there can be none.
        without: why there is none, then.
        needs: what must be installed, as it is imported.
    """

    suffix: str
    make: Make
    without: str = ""
    needs: str | None = None


def _text(draft: Draft, headers: Headers, keep: bool) -> bytes:
    return draft_text(draft, _patient(headers)).encode()


def _pdf(draft: Draft, headers: Headers, keep: bool) -> bytes:
    return draft_pdf(draft, _patient(headers))


def _fhir(draft: Draft, headers: Headers, keep: bool) -> bytes:
    return fhir_bundle(draft, headers, patient=keep).encode()


def _sr(draft: Draft, headers: Headers, keep: bool) -> bytes | None:
    return basic_text_sr(draft, headers)


def _tid1500(draft: Draft, headers: Headers, keep: bool) -> bytes | None:
    return measurement_report_sr(draft, headers)


FORMATS: dict[str, _Format] = {
    "sr": _Format(".dcm", _sr, NO_IMAGES, "highdicom"),
    "tid1500": _Format(".dcm", _tid1500, NO_IMAGES, "highdicom"),
    "fhir": _Format(".json", _fhir, needs="fhir.resources"),
    "text": _Format(".txt", _text),
    "pdf": _Format(".pdf", _pdf, needs="fpdf"),
}
"""Kinds of document."""

TABLES = ("jsonl", "parquet", "csv")
"""Formats that are tables: the archive writes those itself."""


def create_writers(
    formats: Iterable[str], *, identifiers: str = "hash", key: str = "", previews: bool = False
) -> list[Writer]:
    """The writers of documents among ``formats``; tables are passed over.

    Args:
        formats: names of ``FORMATS`` and ``TABLES``.
        identifiers: a name of ``cascade.inference.identifiers.IDENTIFIERS``.
        key: the output's secret (``output_key``).
        previews: whether each image is written as a PNG too, with whatever is burned into it.

    Raises:
        InputError: no such format or policy; documents with hashes that no secret keys; a package
            that is not installed.
    """
    names = list(dict.fromkeys(formats))
    for name in names:
        if name not in FORMATS and name not in TABLES:
            raise InputError(f"formats={name}: expected some of {', '.join((*TABLES, *FORMATS))}")
    wanted = [name for name in names if name in FORMATS]
    if identifiers == "drop" and not key:
        key = output_key(identifiers)
    policy = Identifiers(identifiers, key)
    policy.check(documents=bool(wanted))
    for name in wanted:
        needs = FORMATS[name].needs
        if needs is not None and not _installed(needs):
            raise InputError(
                f"formats={name} needs {needs}, which is not installed: "
                "pip install 'cascade-cxr[pacs]'"
            )
    writers: list[Writer] = [_DocumentWriter(name, FORMATS[name], policy) for name in wanted]
    return [*writers, _PreviewWriter()] if previews else writers


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


class _DocumentWriter:
    """Writes one document a study."""

    def __init__(self, name: str, form: _Format, identifiers: Identifiers) -> None:
        self.name = name
        self.needs_evidence = True
        self.needs_pictures = False
        self._form = form
        self._identifiers = identifiers

    def write(self, result: StudyResult, out: Path) -> str | None:
        """See ``Writer``."""
        headers = [
            self._identifiers.apply(load_evidence(evidence))
            for evidence in result.evidence
            if evidence is not None
        ]
        draft = draft_of(result)
        try:
            body = self._form.make(draft, headers, self._identifiers.name == "keep")
        except CascadeError:
            raise
        except Exception as error:  # of a header that no library foresaw: one study, not the run
            return f"{type(error).__name__} while it was made"
        if body is None:
            return self._form.without
        with atomic_path(out / self.name / f"{draft.study}{self._form.suffix}") as partial:
            partial.write_bytes(body)
        return None


class _PreviewWriter:
    """Writes each image that was read as the network saw it, an 8-bit PNG."""

    name = "previews"
    needs_evidence = False
    needs_pictures = True

    def write(self, result: StudyResult, out: Path) -> str | None:
        """See ``Writer``."""
        study, written = study_name(result), 0
        for number, picture in enumerate(result.pictures or [], 1):
            if picture is None or not picture.size:
                continue
            with atomic_path(out / self.name / f"{study}-{number}.png") as partial:
                Image.fromarray(_grey(picture)).save(partial, format="PNG")
            written += 1
        return None if written else "no image of the study could be read"


def _grey(picture: np.ndarray) -> np.ndarray:
    if picture.dtype == np.uint8:
        return picture
    return np.rint(np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8)


def draft_of(result: StudyResult) -> Draft:
    """What documents say of a study, from its row: without paths, notes and header values."""
    row, images = result.row, result.images
    names = [str(image.get("path")) for image in images if image.get("path")]
    status = row["status"] if row["status"] in ("draft", *WITHHELD) else "failed"
    shown = status == "draft"
    why = {
        "needs_reader": _phrases(row.get("abstained")),
        "doubtful": _phrases(row.get("doubts")),
        "failed": _phrases(row.get("reason")),
    }.get(status, [])
    findings = row.get("findings") if shown else None
    return Draft(
        study=study_name(result),
        status=status,
        why=tuple(dict.fromkeys(safe_text(phrase, names) for phrase in why)),
        sentences=(row.get("sentences") or "") if shown else "",
        annotation=(row.get("annotation") or "") if shown else "",
        confidence=row.get("confidence") if shown else None,
        findings=None if findings is None else tuple(findings),
        operating_point=row.get("operating_point") if shown else None,
        probabilities=dict(row.get("probabilities") or {}) if shown else {},
        contradictions=tuple(_phrases(row.get("contradictions"))) if shown else (),
        notes=tuple(safe_text(n, names) for n in _phrases(row.get("notes"))) if shown else (),
        images=len(images),
        unread=sum(image.get("status") == "failed" for image in images),
        views=tuple(dict.fromkeys(str(i["view"]) for i in images if i.get("view"))),
        model_id=str(row["model_id"]),
        model_version=str(row["model_version"]),
        program_version=str(row["program_version"]),
        time=_time(row.get("time")),
        notice=str(row["notice"]),
    )


def study_name(result: StudyResult) -> str:
    """The study's name in the results, fit for a file: its hash, or one of its first path."""
    name = str(result.row.get("study") or "")
    if re.fullmatch(r"[0-9A-Za-z_-]{1,64}", name):
        return name
    paths = [str(image.get("path")) for image in result.images]
    return short_hash(name or "\n".join(paths[:1]))


def _phrases(value: Any) -> list[str]:
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(phrase) for phrase in value]


def _time(value: Any) -> datetime.datetime:
    if not value:
        return datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    time = value if isinstance(value, datetime.datetime) else datetime.datetime.fromisoformat(value)
    return time.astimezone(datetime.UTC) if time.tzinfo else time.replace(tzinfo=datetime.UTC)


def _patient(headers: Headers) -> list[tuple[str, str]]:
    """What says whose study it is, as far as the headers still say it."""
    names = {
        "PatientName": "Patient's name",
        "PatientID": "Patient's ID",
        "PatientBirthDate": "Born",
        "PatientSex": "Sex",
        "StudyDate": "Study date",
        "AccessionNumber": "Accession number",
    }
    header = headers[0] if headers else Dataset()
    return [(name, str(header.get(k))) for k, name in names.items() if header.get(k)]
