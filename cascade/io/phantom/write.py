"""Writing the phantom as a raw download of Open-i would lie on disk."""

from __future__ import annotations

import csv
import hashlib
import io
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from cascade import __version__
from cascade.errors import InputError
from cascade.io.files import atomic_directory, write_json
from cascade.io.phantom.findings import check_seed_and_index, generator
from cascade.io.phantom.study import PhantomStudy, PhantomView, draw_study

FORMAT_VERSION = 1
_UID_ROOT = "2.25."  # UUID-derived UIDs need no registered root
_CHUNK = 16
Row = tuple[object, ...]

_XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
   <meta type="rr"/>
   <uId id="{uid}"/>
   <pmcId id="{number}"/>
   <docSource>CXR</docSource>
   <IUXRId id="{number}"/>
   <publisher>Cascade phantom</publisher>
   <title>Cascade phantom chest radiographs (synthetic)</title>
   <note>Drawn by a program; no patient.</note>
   <subset>CXR</subset>
   <MedlineCitation Owner="Cascade" Status="synthetic">
      <Article PubModel="Electronic">
         <ArticleTitle>Cascade phantom chest radiographs (synthetic)</ArticleTitle>
         <Abstract>
{sections}
         </Abstract>
         <Language>eng</Language>
      </Article>
   </MedlineCitation>
   <MeSH>
{terms}
   </MeSH>
{images}
</eCitation>
"""
_XML_IMAGE = """   <parentImage id="{image_id}">
      <figureId>F{number}</figureId>
      <caption>{caption}</caption>
      <panel type="single">
         <url>/phantom/images/{image_id}.jpg</url>
         <imgModality>7</imgModality>
      </panel>
   </parentImage>"""


def write_phantom(
    directory: str | Path,
    *,
    studies: int,
    size: int = 128,
    seed: int = 0,
    image_format: Literal["dicom", "png"] = "dicom",
    lateral_share: float = 0.3,
    monochrome1_share: float = 0.15,
    workers: int = 1,
    masks: bool = False,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a phantom collection, whole or not at all.

    The directory then holds ``ecgen-radiology/CXR1.xml`` ..., ``images/`` (DICOM or PNG),
    ``projections.csv``, ``patients.csv``, ``truth/boxes.csv``, ``truth/masks/`` on request and
    ``phantom.json``.

    Args:
        directory: where; must not exist or be empty.
        studies: how many, 1 or more.
        size: pixels along each side of an image.
        seed: study ``i`` of a seed is the same in a collection of any size.
        image_format: ``dicom`` (12, 14 or 16 bits stored, CR or DX) or ``png`` (16 bits).
        lateral_share: the share of studies with a lateral view as well, 0 to 1.
        monochrome1_share: the share of DICOM files that store bone dark, 0 to 1; a PNG never does.
        workers: processes that draw; the files are the same for any number.
        masks: whether to write the regions (0 background, 1 right lung, 2 left lung, 3 heart) of
            the frontal views as 8-bit PNG.
        progress: called with the number of studies finished since the last call.

    Raises:
        InputError: an argument is out of its range, or the directory is not empty.
        CascadeError: the disk is full.
    """
    if studies < 1:
        raise InputError(f"studies={studies}: give 1 or more")
    if image_format not in ("dicom", "png"):
        raise InputError(f"unknown image_format {image_format!r}, expected one of ['dicom', 'png']")
    if not 0 <= monochrome1_share <= 1:
        raise InputError(f"monochrome1_share={monochrome1_share} is no share: give 0 to 1")
    if workers < 1:
        raise InputError(f"workers={workers}: give 1 or more")
    check_seed_and_index(seed, 0)
    draw_study(seed, 0, size, lateral_share)  # refuses a bad size or share before any work

    with atomic_directory(directory) as root:
        for name in ("ecgen-radiology", "images", "truth", *(["truth/masks"] if masks else [])):
            (root / name).mkdir()
        write_one = partial(
            _write_study,
            root=root,
            seed=seed,
            size=size,
            image_format=image_format,
            lateral_share=lateral_share,
            monochrome1_share=monochrome1_share,
            masks=masks,
        )
        projections: list[Row] = []
        patients: list[Row] = []
        boxes: list[Row] = []
        for image_rows, patient_row, box_rows in _each(write_one, studies, workers):
            projections += image_rows
            patients.append(patient_row)
            boxes += box_rows
            if progress is not None:
                progress(1)
        _write_csv(root / "projections.csv", ("uid", "filename", "projection"), projections)
        _write_csv(root / "patients.csv", ("uid", "patient_id"), patients)
        _write_csv(
            root / "truth" / "boxes.csv", ("image_id", "finding", "x0", "y0", "x1", "y1"), boxes
        )
        write_json(
            root / "phantom.json",
            {
                "format_version": FORMAT_VERSION,
                "cascade_version": __version__,
                "seed": seed,
                "studies": studies,
                "patients": len({row[1] for row in patients}),
                "images": len(projections),
                "size": size,
                "image_format": image_format,
                "lateral_share": lateral_share,
                "monochrome1_share": monochrome1_share,
            },
        )


Written = tuple[list[Row], Row, list[Row]]


def _each(write_one: Callable[[int], Written], studies: int, workers: int) -> Iterator[Written]:
    if workers == 1:
        yield from map(write_one, range(studies))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        yield from pool.map(write_one, range(studies), chunksize=_CHUNK)


def _write_study(
    index: int,
    *,
    root: Path,
    seed: int,
    size: int,
    image_format: str,
    lateral_share: float,
    monochrome1_share: float,
    masks: bool,
) -> Written:
    study = draw_study(seed, index, size, lateral_share)
    suffix = ".dcm" if image_format == "dicom" else ".png"
    (root / "ecgen-radiology" / f"{study.study_id}.xml").write_text(study_xml(study), "utf-8")
    rng = generator(seed, "file", index)
    for number, view in enumerate(study.views, 1):
        path = root / "images" / (view.image_id + suffix)
        # Drawn for either format, so that the format does not change what follows.
        inverted = bool(rng.random() < monochrome1_share)
        bits = int(rng.choice([12, 14, 16]))
        if image_format == "dicom":
            dataset = to_dicom(study, number, seed=seed, bits=bits, inverted=inverted)
            dataset.save_as(path, enforce_file_format=True)
        else:
            Image.fromarray(view.pixels).save(path, compress_level=1)
        if masks and view.regions is not None:
            Image.fromarray(view.regions).save(root / "truth" / "masks" / f"{view.image_id}.png")
    return (
        [(study.study_id, view.image_id + suffix, view.view.capitalize()) for view in study.views],
        (study.study_id, study.patient.patient_id),
        [
            (view.image_id, box.finding, box.x0, box.y0, box.x1, box.y1)
            for view in study.views
            for box in view.boxes
        ],
    )


def study_xml(study: PhantomStudy) -> str:
    """The study in the XML of Open-i's ecgen-radiology archive."""
    report = study.report
    sections = (
        ("COMPARISON", report.comparison),
        ("INDICATION", report.indication),
        ("FINDINGS", report.findings),
        ("IMPRESSION", report.impression),
    )
    return _XML.format(
        uid=study.study_id,
        number=study.index + 1,
        sections="\n".join(
            # Open-i keeps an empty element where a section is missing.
            f'            <AbstractText Label="{label}">{escape(text)}</AbstractText>'
            if text
            else f'            <AbstractText Label="{label}"/>'
            for label, text in sections
        ),
        terms="\n".join(f"      <major>{escape(term)}</major>" for term in study.mesh),
        images="\n".join(
            _XML_IMAGE.format(image_id=view.image_id, number=number, caption=_caption(study.views))
            for number, view in enumerate(study.views, 1)
        ),
    )


def _caption(views: tuple[PhantomView, ...]) -> str:
    return "Xray Chest PA and Lateral" if len(views) > 1 else "Xray Chest PA"


def _uid(*parts: object) -> UID:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return UID(_UID_ROOT + str(int.from_bytes(digest[:16], "big")))


def to_dicom(
    study: PhantomStudy, number: int, *, seed: int, bits: int = 12, inverted: bool = False
) -> Dataset:
    """Make one view of a study a DICOM data set, ready for ``save_as``.

    Args:
        study: the study.
        number: the view's, from 1.
        seed: of the collection; part of what makes the UIDs unique.
        bits: stored, 8 to 16 of the 16 allocated.
        inverted: whether to store bone dark, as MONOCHROME1.
    """
    view = study.views[number - 1]
    frontal = view.view == "frontal"
    stored: NDArray[np.uint16] = view.pixels >> np.uint16(16 - bits)
    if inverted:
        stored = np.uint16(2**bits - 1) - stored
    digital = bits > 12
    # A study's files share the size in their names, so that two sizes are not the same instance.
    key = (seed, study.study_id, view.pixels.shape[0])
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = (
        DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
    )
    meta.MediaStorageSOPInstanceUID = _uid(*key, number)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = Dataset()
    data.file_meta = meta
    data.SpecificCharacterSet = "ISO_IR 100"
    data.ImageType = ["DERIVED", "PRIMARY"]
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.StudyDate = data.ContentDate = "20200101"
    data.StudyTime = data.ContentTime = "120000"
    data.AccessionNumber = f"{study.index + 1:06d}"
    data.Modality = "DX" if digital else "CR"
    data.Manufacturer = "Cascade phantom"
    data.StudyDescription = "Synthetic chest radiograph"
    data.ReferringPhysicianName = ""
    data.PatientName = f"Phantom^{study.patient.patient_id}"
    data.PatientID = study.patient.patient_id
    data.PatientBirthDate = ""
    data.PatientSex = "F" if study.patient.female else "M"
    data.PatientAge = f"{study.patient.age:03d}Y"
    data.BodyPartExamined = "CHEST"
    data.ViewPosition = "PA" if frontal else "LL"
    data.PatientOrientation = ["L", "F"] if frontal else ["P", "F"]
    data.Laterality = ""
    data.StudyInstanceUID = _uid(seed, study.study_id)
    data.SeriesInstanceUID = _uid(*key, "series", number)
    data.StudyID = study.study_id
    data.SeriesNumber = number
    data.InstanceNumber = 1
    if digital:
        data.ImageLaterality = "U"
        data.PresentationIntentType = "FOR PRESENTATION"
        data.PixelIntensityRelationship = "LOG"
        data.PixelIntensityRelationshipSign = 1 if inverted else -1
        data.RescaleIntercept, data.RescaleSlope, data.RescaleType = 0, 1, "US"
        data.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
        data.LossyImageCompression = "00"
        data.BurnedInAnnotation = "NO"
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    data.Rows, data.Columns = view.pixels.shape
    data.PixelSpacing = data.ImagerPixelSpacing = [round(430 / view.pixels.shape[0], 4)] * 2
    data.BitsAllocated = 16
    data.BitsStored = bits
    data.HighBit = bits - 1
    data.PixelRepresentation = 0
    data.WindowCenter = 2 ** (bits - 1)
    data.WindowWidth = 2**bits
    data.PixelData = stored.astype("<u2").tobytes()
    return data


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[Row]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), "utf-8")
