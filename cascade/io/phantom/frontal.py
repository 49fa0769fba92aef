"""The healthy frontal chest, drawn as a sum of densities."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from cascade.io.phantom.canvas import (
    AXIS,
    TABLE,
    Canvas,
    Field,
    Mask,
    dome,
    smooth_noise,
    step,
)
from cascade.io.phantom.chest import Chest, vertebra_spacing
from cascade.io.phantom.findings import Patient

_HILUM_U = 0.15


@dataclasses.dataclass
class Frontal:
    """The fields of a frontal view that findings change before they are summed.

    All are ``(size, size)``.

    Attributes:
        chest, canvas: what they were drawn from.
        distance: from the midline of what lies in front, always positive.
        left: True on the patient's left of that midline.
        across: share of a lung's width, 0 at the midline and 1 at the ribs.
        depth: v minus the dome's v, negative above the dome.
        cavity: 1 in the lungs' space, whatever fills it.
        air: air passed through.
        density: what does not depend on the air.
        vessels: vessels, seen only through air.
    """

    chest: Chest
    canvas: Canvas
    distance: Field
    left: Mask
    across: Field
    depth: Field
    cavity: Field
    air: Field
    density: Field
    vessels: Field

    def total(self) -> Field:
        """Sum the densities."""
        vessels = self.vessels * self.air
        return self.density - np.float32(0.72) * self.air + np.float32(0.22) * vessels

    def regions(self) -> NDArray[np.uint8]:
        """0 background, 1 right lung, 2 left lung, 3 heart, ``(size, size)``."""
        out = np.where(self.left, np.uint8(2), np.uint8(1))
        out[self.cavity < 0.5] = 0
        heart = self.chest.heart.take(self.canvas.row + TABLE * self.left) > self.distance
        out[heart & (self.depth < 0)] = 3
        return out


def draw_frontal(
    patient: Patient, chest: Chest, canvas: Canvas, rng: np.random.Generator
) -> Frontal:
    """Draw the healthy chest of that geometry."""
    soft = max(0.014, 1.2 * canvas.pixel)
    u, v, row = canvas.u, canvas.v, canvas.row
    front = u - np.float32(chest.middle)
    left = front > 0
    distance = np.abs(front)
    two = row + np.int32(TABLE) * left

    # Lungs: between the mediastinum and the ribs, from the apex to the dome.
    wall = chest.wall.take(two)
    side_distance = np.abs(u)
    across = np.minimum(side_distance / wall, np.float32(1))
    gap = distance - np.float32(0.3)
    fall = gap * gap
    fall *= np.where(gap > 0, np.float32(1), np.float32(0.35))
    fall *= np.where(left, np.float32(chest.bend[1]), np.float32(chest.bend[0]))
    depth = v - np.where(left, np.float32(chest.floor[1]), np.float32(chest.floor[0]))
    depth -= fall
    top = AXIS - chest.apex
    inner_edge = np.where(top < 0.16, 0.20 - 0.13 * np.sqrt(np.clip(top / 0.16, 0, 1)), 0.0)
    inside = step(wall - side_distance, soft)
    inside *= step(-depth, soft * 1.3)
    inside *= canvas.look_up(np.clip(top / soft, 0, 1).astype(np.float32))
    inside *= step(distance - canvas.look_up(inner_edge.astype(np.float32)), soft * 1.5)
    mediastinum = step(chest.silhouette.take(two) - distance, soft * 1.3)
    cavity = inside * (1 - mediastinum)
    # The chest is about elliptical across, so there is most air in mid-lung.
    air = inside * (np.float32(0.45) + np.float32(0.55) * dome((2 * across - 1) ** 2))
    air *= (1 - np.float32(0.88) * mediastinum) * np.float32(chest.air)

    density = np.float32(0.92 + 0.38 * patient.fat) * dome((u / canvas.look_up(chest.tissue)) ** 2)
    below = step(depth, 0.25)
    density += np.float32(0.16) * below
    blood = dome((distance / (chest.silhouette.take(two) + np.float32(1e-3))) ** 2)
    density += np.float32(0.20) * blood * (1 - below)
    density -= np.float32(0.16) * step(0.042 - np.abs(front), soft) * step(-0.16 - v, 0.05)
    _add_ribs(density, patient, chest, canvas, wall, side_distance, across)
    _add_spine(density, patient, chest, canvas)
    _add_shoulders(density, patient, canvas, front)
    if patient.female:
        size = 0.26 + 0.14 * patient.fat
        for sign in (-1, 1):
            breast = (u - np.float32(sign * 0.36)) ** 2 + (v - np.float32(0.24)) ** 2
            density += np.float32(0.10 + 0.1 * patient.fat) * dome(breast * np.float32(1 / size**2))
    if rng.random() < 0.6:  # gas in the stomach, under the left dome
        at, wide, tall = rng.uniform([0.2, 0.1, 0.05], [0.34, 0.2, 0.08]).astype(np.float32)
        gas = np.square((u - at) / wide) + np.square((depth - np.float32(0.13)) / tall)
        density -= np.float32(0.3) * dome(gas) * left
    texture = smooth_noise(rng, 24, canvas.size)
    density += np.float32(0.025) * texture * cavity
    vessels = _vessels(patient, chest, canvas)
    return Frontal(chest, canvas, distance, left, across, depth, cavity, air, density, vessels)


@functools.lru_cache(maxsize=64)
def _rib_table(blur: int) -> Field:
    """Density across one rib and the space to the next, 256 entries.

    Args:
        blur: how many entries a pixel spans; what is finer than that would show as beads.
    """
    from_middle = np.abs(np.linspace(0, 1, 256, endpoint=False) - 0.5)
    # A rib takes 45 % of the spacing; its cortex shows as two brighter edges.
    rib = 0.7 * np.clip((0.225 - from_middle) / 0.05, 0, 1)
    rib += 0.5 * np.exp(-(((from_middle - 0.19) / 0.045) ** 2))
    return np.asarray(gaussian_filter1d(rib, 0.7 * blur, mode="wrap"), dtype=np.float32)


def _rib_profile(phase: Field, spacing: float, pixel: float) -> Field:
    phase -= np.floor(phase)
    phase *= 255.99
    table = _rib_table(max(1, round(pixel / spacing * 32) * 8))
    return table.take(phase.astype(np.int32))


def _add_ribs(
    density: Field,
    patient: Patient,
    chest: Chest,
    canvas: Canvas,
    wall: Field,
    distance: Field,
    across: Field,
) -> None:
    soft = max(0.02, 1.5 * canvas.pixel)
    cage = step(wall + np.float32(0.03) - distance, soft)
    ends = np.clip((AXIS + 0.95) / 0.12, 0, 1) * np.clip((chest.floor[0] + 0.35 - AXIS) / 0.3, 0, 1)
    cage *= canvas.look_up(ends.astype(np.float32))
    # Ribs are seen along their length at the chest wall, hence denser there.
    square = distance * distance
    edge = 1 + np.float32(0.8) * across**6
    back = canvas.v - np.float32(patient.rib_slope) * square - np.float32(0.03) * distance
    shadow = _rib_profile(
        back * np.float32(1 / patient.rib_spacing), patient.rib_spacing, canvas.pixel
    )
    shadow *= edge * np.float32(0.15)
    front = canvas.v + np.float32(patient.rib_slope + 0.25) * distance
    front -= np.float32(0.25) * square
    anterior = _rib_profile(
        front * np.float32(0.88 / patient.rib_spacing), patient.rib_spacing, canvas.pixel
    )
    anterior *= step(distance - np.float32(0.22), 0.16) * np.float32(0.085)
    shadow += anterior
    shadow *= cage
    density += np.float32(patient.rib_contrast * patient.bone) * shadow


def _add_spine(density: Field, patient: Patient, chest: Chest, canvas: Canvas) -> None:
    phase = (AXIS / vertebra_spacing(patient)) % 1.0
    body = 0.7 + 0.3 * np.clip((0.40 - np.abs(phase - 0.5)) / 0.08, 0, 1)
    body += 0.25 * np.exp(-(((np.abs(phase - 0.5) - 0.40) / 0.05) ** 2))
    column = step(
        np.float32(0.078) - np.abs(canvas.u - canvas.look_up(chest.spine)),
        max(0.02, 1.5 * canvas.pixel),
    )
    column *= canvas.look_up((0.18 * patient.bone * body).astype(np.float32))
    density += column


def _add_shoulders(density: Field, patient: Patient, canvas: Canvas, front: Field) -> None:
    distance = np.abs(front)
    bone = np.float32(0.20 * patient.bone)
    # From the breastbone up and outward, bent like an S.
    line = canvas.v - np.float32(-0.54) + np.float32(0.20) * distance
    line += np.float32(0.045) * np.sin(np.float32(6.5) * distance)
    soft = max(0.016, 1.3 * canvas.pixel)
    clavicle = step(np.float32(0.034) - np.abs(line), soft)
    clavicle *= step(distance - np.float32(0.07), 0.03) * step(np.float32(0.84) - distance, 0.03)
    density += bone * clavicle
    # The blade's inner border and the head of the humerus lie beside the lungs.
    blade = canvas.v * np.float32(0.22) + distance - np.float32(0.72)
    blade = step(blade, 0.04) * step(np.float32(0.22) - blade, 0.12)
    blade *= step(canvas.v + np.float32(0.66), 0.1) * step(np.float32(0.12) - canvas.v, 0.2)
    density += bone * np.float32(0.5) * blade
    square = (distance - np.float32(0.95)) ** 2 + (canvas.v + np.float32(0.58)) ** 2
    density += bone * np.float32(1.4) * dome(square * np.float32(1 / 0.0169))
    below = step(canvas.v + np.float32(0.56), 0.12)
    shaft = distance - np.float32(0.97) - np.float32(patient.arms) * (canvas.v + np.float32(0.58))
    shaft *= shaft
    arm = np.float32(0.55 + 0.3 * patient.fat) * dome(shaft * np.float32(1 / 0.03))
    density += below * (arm + bone * np.float32(1.3) * dome(shaft * np.float32(1 / 0.0025)))


def _vessels(patient: Patient, chest: Chest, canvas: Canvas) -> Field:
    """The vessels of both lungs as they branch from the hila, 0 to 1, ``(size, size)``."""
    rng = np.random.Generator(np.random.PCG64(patient.vessel_seed))
    stretch = (chest.floor[0] - chest.apex) / 1.16
    lines: list[NDArray[np.floating]] = []
    widths: list[float] = []
    for sign, low, high in ((-1, -0.1, 0.0), (1, -0.14, -0.04)):
        stems = 8
        angle = np.linspace(-1.25, 1.35, stems) + rng.normal(0, 0.12, stems)
        start = np.column_stack(
            [np.full(stems, _HILUM_U), np.linspace(low - 0.05, high + 0.12, stems)]
        )
        length = rng.uniform(0.22, 0.34, stems)
        width = np.full(stems, 0.030 * patient.hilum)
        for generation in range(3):
            bend = angle + rng.normal(0, 0.2, len(angle))
            middle = start + 0.5 * length[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
            end = middle + 0.5 * length[:, None] * np.column_stack([np.cos(bend), np.sin(bend)])
            branch = np.stack([start, middle, end], axis=1)
            branch[..., 0] = sign * branch[..., 0] + chest.middle
            branch[..., 1] *= stretch
            lines.extend(branch)
            widths.extend((width * (1, 0.55, 0.25)[generation]).tolist())
            start = np.repeat(end, 2, axis=0)
            angle = np.repeat(bend, 2) + np.tile([-0.38, 0.38], len(bend))
            angle = angle + rng.normal(0, 0.12, len(angle))
            length = np.repeat(length, 2) * 0.62
            width = np.repeat(width, 2)
    return canvas.strokes(lines, widths, blur=0.007)
