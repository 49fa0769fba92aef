"""One study of the phantom: images, report, annotation and truth."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from cascade.errors import InputError
from cascade.io.phantom.canvas import Canvas, develop, draw_exposure, draw_pose
from cascade.io.phantom.chest import build_chest
from cascade.io.phantom.findings import (
    Finding,
    Patient,
    check_seed_and_index,
    draw_findings,
    draw_patient,
    first_study,
    generator,
)
from cascade.io.phantom.frontal import draw_frontal
from cascade.io.phantom.language import Report, write_report
from cascade.io.phantom.lateral import draw_lateral
from cascade.io.phantom.overlays import draw_finding

MIN_SIZE, MAX_SIZE = 32, 4096


@dataclasses.dataclass(frozen=True)
class Box:
    """What a finding covers, in pixels: ``x0 <= x < x1`` and ``y0 <= y < y1``."""

    finding: str
    x0: int
    y0: int
    x1: int
    y1: int


@dataclasses.dataclass(frozen=True)
class PhantomView:
    """One image of a study.

    Attributes:
        image_id: as Open-i names images, ``CXR12_IM-0012-1001``.
        view: ``frontal`` or ``lateral``.
        pixels: ``(size, size)``, 0 to 65535, bone bright.
        boxes: one a finding that can be seen in this view, in the order of the annotation.
        regions: 0 background, 1 right lung, 2 left lung, 3 heart, ``(size, size)``; None for a
            lateral view. The patient's right lung is at the image's left. A lung's region is its
            space down to the dome, whatever fills it.
        ratio: the cardiothoracic ratio drawn; the heart's width over the rib cage's.
    """

    image_id: str
    view: str
    pixels: NDArray[np.uint16]
    boxes: tuple[Box, ...]
    regions: NDArray[np.uint8] | None
    ratio: float


@dataclasses.dataclass(frozen=True)
class PhantomStudy:
    """A study with everything that is known about it.

    Attributes:
        study_id: ``CXR1`` for index 0.
        index: the number of the study, from 0.
        patient: whose it is; several studies may be the same patient's.
        has_prior: whether this patient has an earlier study.
        shown: what is drawn, in the order of ``KINDS``; empty where normal.
        mesh: the annotation, ``("normal",)`` where nothing is found.
        report: the sections; None where a section is missing.
        views: a frontal view, then perhaps a lateral one.
    """

    study_id: str
    index: int
    patient: Patient
    has_prior: bool
    shown: tuple[Finding, ...]
    mesh: tuple[str, ...]
    report: Report
    views: tuple[PhantomView, ...]


def draw_study(seed: int, index: int, size: int = 128, lateral_share: float = 0.3) -> PhantomStudy:
    """Draw study ``index`` of the phantom collection ``seed``.

    The study is the same whatever else is drawn; a larger ``size`` shows the same study finer.

    Args:
        seed: of the collection, 0 or more.
        index: of the study, 0 or more.
        size: pixels along each side, 32 to 4096.
        lateral_share: the share of studies that also have a lateral view, 0 to 1.

    Raises:
        InputError: an argument is out of its range.
    """
    check_seed_and_index(seed, index)
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise InputError(f"size={size} is out of range: give {MIN_SIZE} to {MAX_SIZE} pixels")
    if not 0 <= lateral_share <= 1:
        raise InputError(f"lateral_share={lateral_share} is no share: give 0 to 1")
    patient = draw_patient(seed, first_study(seed, index))
    shown, has_prior = draw_findings(seed, index)
    report = write_report(shown, patient, has_prior, generator(seed, "text", index))
    study_id = f"CXR{index + 1}"
    name = f"{study_id}_IM-{index % 9999 + 1:04d}"
    pose_rng = generator(seed, "pose", index)
    has_lateral = bool(pose_rng.random() < lateral_share)
    views = [_frontal(seed, index, size, patient, shown, f"{name}-1001", pose_rng)]
    if has_lateral:
        views.append(_lateral(seed, index, size, patient, shown, f"{name}-2001", pose_rng))
    return PhantomStudy(
        study_id=study_id,
        index=index,
        patient=patient,
        has_prior=has_prior,
        shown=shown,
        mesh=tuple(finding.mesh for finding in shown) or ("normal",),
        report=report,
        views=tuple(views),
    )


def _frontal(
    seed: int,
    index: int,
    size: int,
    patient: Patient,
    shown: tuple[Finding, ...],
    image_id: str,
    rng: np.random.Generator,
) -> PhantomView:
    pose = draw_pose(rng)
    exposure = draw_exposure(rng)
    chest = build_chest(patient, pose, shown)
    canvas = Canvas.of(size, pose)
    texture = generator(seed, "texture", 2 * index)
    view = draw_frontal(patient, chest, canvas, texture)
    boxes = [_box(finding, draw_finding(view, finding, patient)) for finding in shown]
    return PhantomView(
        image_id=image_id,
        view="frontal",
        pixels=develop(view.total(), canvas, exposure, texture),
        boxes=tuple(box for box in boxes if box),
        regions=view.regions(),
        ratio=chest.ratio,
    )


def _lateral(
    seed: int,
    index: int,
    size: int,
    patient: Patient,
    shown: tuple[Finding, ...],
    image_id: str,
    rng: np.random.Generator,
) -> PhantomView:
    pose = draw_pose(rng)
    exposure = draw_exposure(rng)
    chest = build_chest(patient, pose, shown)
    canvas = Canvas.of(size, pose)
    texture = generator(seed, "texture", 2 * index + 1)
    density, covered = draw_lateral(patient, chest, shown, canvas, texture)
    boxes = [_box(finding, cover) for finding, cover in covered]
    return PhantomView(
        image_id=image_id,
        view="lateral",
        pixels=develop(density, canvas, dataclasses.replace(exposure, marker=None), texture),
        boxes=tuple(box for box in boxes if box),
        regions=None,
        ratio=chest.ratio,
    )


def _box(finding: Finding, cover: NDArray[np.float32] | NDArray[np.bool_]) -> Box | None:
    """The box around what is covered by more than 0.3; None where that is outside the image."""
    seen = cover if cover.dtype == np.bool_ else cover > 0.3
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        return None
    return Box(finding.mesh, int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
