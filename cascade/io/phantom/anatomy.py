"""The frontal chest: its geometry as profiles, and its drawing as a sum of densities."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from cascade.io.phantom.canvas import AXIS, TABLE, Canvas, Field, Pose, dome, smooth_noise, step
from cascade.io.phantom.findings import Finding, Patient

RATIOS = {
    "borderline": (0.500, 0.520),
    "mild": (0.545, 0.575),
    "moderate": (0.600, 0.635),
    "severe": (0.670, 0.720),
}
"""The cardiothoracic ratio of each degree of cardiomegaly; a heart of ordinary size stays below
0.475. The gaps between the bands keep the annotation a function of the image."""

_CAGE_TOP = 0.20  # half width of a lung's apex
_HILUM_U, _HILUM_V = 0.15, -0.12


def by_kind(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    """The findings by kind; a study has at most one of each."""
    return {finding.kind: finding for finding in findings}


def token_generator(finding: Finding) -> np.random.Generator:
    """The random generator of a finding's exact place and shape."""
    return np.random.Generator(np.random.PCG64(finding.token))


@dataclasses.dataclass
class Chest:
    """The geometry of one frontal view; tables run along ``AXIS``, row 0 right and row 1 left.

    Attributes:
        apex: v of the lungs' tops.
        floor: v of each dome's top, (right, left).
        bend: curvature of each dome, (right, left).
        wall: distance from the midline to each lung's outer border, ``(2, TABLE)``.
        silhouette: distance from the midline to the mediastinum's border, ``(2, TABLE)``.
        heart: the heart's share of that, 0 above and below it, ``(2, TABLE)``.
        spine: u of the spine's middle, ``(TABLE,)``.
        middle: u of the midline of what lies in front, by yaw.
        ratio: the cardiothoracic ratio.
        tissue: half width of the body, ``(TABLE,)``.
        air: how dark the lungs are as a factor near 1.
    """

    apex: float
    floor: tuple[float, float]
    bend: tuple[float, float]
    wall: Field
    silhouette: Field
    heart: Field
    spine: Field
    middle: float
    ratio: float
    tissue: Field
    air: float

    def dome_v(self, side: int, distance: float) -> float:
        """The v of a dome at a distance from the midline; side 0 is the right."""
        return self.floor[side] + self.bend[side] * _fall(distance)

    def place(self, side: int, across: float, down: float) -> tuple[float, float]:
        """The point of a lung at shares of its width and height.

        Args:
            side: 0 the patient's right, 1 left.
            across: 0 at the mediastinum, 1 at the ribs.
            down: 0 at the apex, 1 at the dome.
        """
        v = self.apex + down * (self.floor[side] - self.apex)
        row = int((v + 2) * (TABLE - 1) / 4)
        inner, outer = float(self.silhouette[side, row]), float(self.wall[side, row])
        distance = inner + across * (outer - inner)
        v = self.apex + down * (self.dome_v(side, distance) - self.apex)
        return (-1, 1)[side] * distance, v


def _fall(distance: float) -> float:
    gap = distance - 0.3
    return gap * gap * (1.0 if gap > 0 else 0.35)


def build_chest(patient: Patient, pose: Pose, findings: tuple[Finding, ...]) -> Chest:
    """Work out the geometry that the patient, the pose and the findings give."""
    found = by_kind(findings)
    height = 1.18 * patient.height * pose.breath
    bend, air, width = 2.0, 1.0, patient.width
    if "hypoinflation" in found:
        mild = found["hypoinflation"].degree == "mild"
        height *= 0.81 if mild else 0.70
        air *= 0.90 if mild else 0.82
    if "hyperdistention" in found:
        mild = found["hyperdistention"].degree == "mild"
        height *= 1.13 if mild else 1.22
        bend *= 0.45 if mild else 0.2
        air *= 1.08 if mild else 1.18
        width *= 1.02
    apex = -0.80
    floor = [apex + height, apex + height + 0.05]
    if "atelectasis" in found and found["atelectasis"].degree is None:
        lost = found["atelectasis"]
        if lost.site == "base":
            for side in lost.sides:
                floor[side == "left"] -= 0.05
    lowest = max(floor)

    t = np.clip((AXIS - apex) / (lowest + 0.2 - apex), 0, 1)
    shape = np.power(1 - np.power(1 - t, 2.2), 0.62) - 0.05 * np.clip(t - 0.8, 0, 1) / 0.2
    wall = _CAGE_TOP + (width - _CAGE_TOP) * shape
    walls = np.stack([wall, wall]).astype(np.float32)

    if "cardiomegaly" in found:
        low, high = RATIOS[str(found["cardiomegaly"].degree)]
        ratio = low + (high - low) * float(token_generator(found["cardiomegaly"]).random())
    else:
        ratio = patient.heart
    heart_width = ratio * 2 * float(wall.max())
    left_width = heart_width * patient.heart_left
    right_width = heart_width - left_width
    heart = np.zeros((2, TABLE), dtype=np.float32)
    # The heart rests on the domes; a larger one is also a taller one.
    for row, half, level, tall in (
        (0, right_width, lowest - 0.20, 0.30),
        (1, left_width, lowest - 0.11, 0.34 + 0.30 * left_width),
    ):
        up = (AXIS - level) / np.where(level > AXIS, tall, 0.32)
        heart[row] = half * np.power(np.clip(1 - up * up, 0, None), 0.75)
    silhouette = np.empty((2, TABLE), dtype=np.float32)
    upper = 0.075 + 0.02 * np.clip((AXIS + 0.9) / 0.8, 0, 1)
    knob = patient.knob * np.exp(-(((AXIS + 0.40) / 0.075) ** 2))
    trunk = 0.045 * np.exp(-(((AXIS + 0.20) / 0.08) ** 2))
    silhouette[0] = np.maximum(upper, heart[0])
    silhouette[1] = np.maximum(upper + knob + trunk, heart[1])

    curve: NDArray[np.floating] = 0.012 * np.sin(2.2 * AXIS + patient.vessel_seed % 7)
    if "scoliosis" in found:
        bow = 0.085 if found["scoliosis"].degree == "mild" else 0.16
        toward = -1.0 if found["scoliosis"].side == "right" else 1.0
        curve = curve + toward * bow * (
            np.exp(-(((AXIS - 0.02) / 0.30) ** 2)) - 0.45 * np.exp(-(((AXIS - 0.75) / 0.25) ** 2))
        )
    spread = 0.14 + 0.12 * patient.fat
    tissue = np.interp(
        AXIS,
        [-2, -1.02, -0.92, -0.74, -0.45, -0.2, 0.3, 2.0],
        np.array([0.24, 0.26, 0.42, 1.15, 1.0, width + spread, width + spread, 0.8 + spread]),
    )
    return Chest(
        apex=apex,
        floor=(floor[0], floor[1]),
        bend=(bend, bend * 0.95),
        wall=walls,
        silhouette=silhouette,
        heart=heart,
        spine=curve.astype(np.float32),
        middle=pose.yaw,
        ratio=ratio,
        tissue=tissue.astype(np.float32),
        air=air,
    )


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
    left: Mask_
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


Mask_ = NDArray[np.bool_]


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
            density += np.float32(0.20 + 0.1 * patient.fat) * dome(breast * np.float32(1 / size**2))
    if rng.random() < 0.6:  # gas in the stomach, under the left dome
        at, wide, tall = rng.uniform([0.2, 0.1, 0.05], [0.34, 0.2, 0.08]).astype(np.float32)
        gas = np.square((u - at) / wide) + np.square((depth - np.float32(0.13)) / tall)
        density -= np.float32(0.3) * dome(gas) * left
    texture = smooth_noise(rng, 24, canvas.size)
    density += np.float32(0.035) * texture * cavity
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
    table = _rib_table(round(pixel / spacing * 32) * 8)
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


def vertebra_spacing(patient: Patient) -> float:
    """The distance from one disc to the next."""
    return 0.128 * patient.height


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
