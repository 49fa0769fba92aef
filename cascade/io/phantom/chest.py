"""The geometry of a chest: profiles along its height, which both views are drawn from."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from cascade.io.phantom.canvas import AXIS, TABLE, Field, Pose
from cascade.io.phantom.findings import Finding, Patient

RATIOS = {
    "borderline": (0.500, 0.520),
    "mild": (0.545, 0.575),
    "moderate": (0.600, 0.635),
    "severe": (0.670, 0.720),
}
"""The cardiothoracic ratio of each degree of cardiomegaly; a heart of ordinary size stays below
0.475. The gaps between the bands keep the annotation a function of the image."""

VOLUMES = {
    ("hypoinflation", None): (0.68, 0.75),
    ("hypoinflation", "mild"): (0.80, 0.86),
    ("hyperdistention", "mild"): (1.12, 1.16),
    ("hyperdistention", None): (1.21, 1.28),
}
"""The height of the lungs for each volume; that of ordinary lungs is 0.90 to 1.10."""

_BENDS = {
    ("hypoinflation", None): 1.0,
    ("hypoinflation", "mild"): 1.0,
    ("hyperdistention", "mild"): 0.45,
    ("hyperdistention", None): 0.2,
}  # of the domes, which flatten
_CAGE_TOP = 0.20  # half width of a lung's apex


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
    share = patient.height * pose.breath
    bend, air, width = 2.0, 1.0, patient.width
    for kind in ("hypoinflation", "hyperdistention"):
        if kind in found:
            degree = found[kind].degree
            low, high = VOLUMES[kind, degree]
            share = low + (high - low) * float(token_generator(found[kind]).random())
            bend *= _BENDS[kind, degree]
            air *= 1 + 0.7 * (share - 1)
            width *= 1.02 if kind == "hyperdistention" else 1.0
    height = 1.18 * share
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
    # The spine displaces lung wherever it reaches beyond the mediastinum.
    for row, sign in ((0, -1), (1, 1)):
        reach = (0.078 + sign * (curve - pose.yaw)).astype(np.float32)
        silhouette[row] = np.maximum(silhouette[row], reach)
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


def vertebra_spacing(patient: Patient) -> float:
    """The distance from one disc to the next."""
    return 0.128 * patient.height
