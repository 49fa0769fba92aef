"""Findings of the lungs, the pleura, the bones and devices, drawn into a frontal view.

Cardiomegaly, the lung volumes and scoliosis are part of the geometry (``chest.build_chest``);
the rest is added here. Each returns what it covers, from which the truth's box is taken.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cascade.io.phantom.canvas import Field, dome, smooth_noise, step
from cascade.io.phantom.chest import token_generator, vertebra_spacing
from cascade.io.phantom.findings import Finding, Patient
from cascade.io.phantom.frontal import Frontal

Points = NDArray[np.floating]
ZONES = {
    "upper lobe": ((0.35, 0.70), (0.22, 0.42)),
    "middle lobe": ((0.06, 0.22), (0.70, 0.84)),
    "lingula": ((0.04, 0.18), (0.62, 0.78)),
    "lower lobe": ((0.45, 0.75), (0.58, 0.72)),
    "base": ((0.30, 0.65), (0.88, 0.95)),
}
"""Where a lobe's findings lie, as shares of the lung's width (0 at the mediastinum) and of its
height (0 at the apex): least and most."""

SIDES = ("right", "left")


def spot(finding: Finding, side: str, rng: np.random.Generator) -> tuple[float, float]:
    """A place in the finding's zone as (across, down) shares of the lung."""
    site = finding.site or str(rng.choice(["upper lobe", "lower lobe"]))
    (low, high), (top, bottom) = ZONES[site]
    return rng.uniform(low, high), rng.uniform(top, bottom)


def _effusion(view: Frontal, finding: Finding, patient: Patient) -> Field:
    """Fluid gathers above the dome and climbs at the ribs: a meniscus."""
    rng = token_generator(finding)
    low, high = {"small": (0.10, 0.15), "moderate": (0.26, 0.33), "large": (0.52, 0.62)}[
        str(finding.degree)
    ]
    across = view.across
    shape = np.float32(0.80) + np.float32(0.35) * across**4
    if finding.degree == "small":
        shape = np.float32(1.55) * across**2 - np.float32(0.35)
    fluid = np.zeros_like(view.air)
    for side in finding.sides:
        chest = view.chest
        number = SIDES.index(side)
        height = rng.uniform(low, high) * (chest.floor[number] - chest.apex)
        # The costophrenic angle lies below the top of the dome.
        corner = chest.dome_v(number, 0.92 * patient.width)
        level = (
            np.float32(corner) - np.float32(height + 0.5 * (corner - chest.floor[number])) * shape
        )
        own = view.left if side == "left" else ~view.left
        fluid += own * step(view.canvas.v - level, 0.05)
    cover = fluid * view.cavity
    view.air *= 1 - np.float32(0.94) * fluid
    view.density += np.float32(0.05) * cover
    return cover


def _pneumothorax(view: Frontal, finding: Finding, patient: Patient) -> Field:
    """Air outside the lung: no vessels there, a thin pleural line, a denser lung."""
    del patient
    rng = token_generator(finding)
    chest = view.chest
    own = view.left if finding.side == "left" else ~view.left
    number = SIDES.index(str(finding.side))
    height = chest.floor[number] - chest.apex
    down = (view.canvas.v - np.float32(chest.apex)) * np.float32(1 / height)
    if finding.site == "apex":
        reach = rng.uniform(0.20, 0.26)
        edge = 1 - np.float32(0.35) * np.clip(np.float32(1) - down * np.float32(1 / 0.55), 0, 1)
        inner = step(edge - view.across, 0.04) * step(down - np.float32(reach), 0.03)
    else:
        edge = np.float32(rng.uniform(0.58, 0.68)) - np.float32(0.08) * (down - 0.5)
        inner = step(edge - view.across, 0.05) * step(down - np.float32(0.16), 0.08)
    free = (1 - inner) * own * view.cavity
    line = 4 * inner * (1 - inner) * own * view.cavity
    view.vessels *= 1 - free
    view.air *= 1 + np.float32(0.28) * free
    view.air *= 1 - np.float32(0.16) * (inner * own)
    view.density += np.float32(0.28) * line
    return free


def _cloud(
    view: Frontal, u: float, v: float, radii: tuple[float, float], rng: np.random.Generator
) -> Field:
    """A soft, uneven blob, 0 to 1."""
    angle = rng.uniform(-0.5, 0.5)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    du, dv = view.canvas.u - np.float32(u), view.canvas.v - np.float32(v)
    square = ((cos * du + sin * dv) / np.float32(radii[0])) ** 2
    square += ((cos * dv - sin * du) / np.float32(radii[1])) ** 2
    lumps = smooth_noise(rng, 24, view.canvas.size)
    square += np.float32(0.25) * lumps
    out = np.exp(-square * np.maximum(square, np.float32(0.6)))
    # Airspaces fill unevenly.
    out *= np.float32(0.85) + np.float32(0.50) * lumps
    return np.asarray(np.clip(out, 0, 1), dtype=np.float32)


def _opacity(view: Frontal, finding: Finding, patient: Patient) -> Field:
    """Airspace filled in part: a cloud, or several small ones where it is patchy."""
    del patient
    rng = token_generator(finding)
    fill = rng.uniform(0.42, 0.50) if finding.degree == "mild" else rng.uniform(0.80, 0.95)
    cover = np.zeros_like(view.air)
    for side in finding.sides:
        number = SIDES.index(side)
        across, down = spot(finding, side, rng)
        if finding.degree == "patchy":
            for _ in range(5):
                u, v = view.chest.place(
                    number,
                    float(np.clip(across + rng.uniform(-0.28, 0.28), 0.1, 0.9)),
                    float(np.clip(down + rng.uniform(-0.14, 0.10), 0.05, 0.95)),
                )
                radius = rng.uniform(0.06, 0.08)
                cover = np.maximum(cover, _cloud(view, u, v, (radius, radius), rng))
        else:
            u, v = view.chest.place(number, across, down)
            wide, tall = rng.uniform(0.19, 0.26), rng.uniform(0.15, 0.20)
            if finding.site in ("middle lobe", "lingula"):
                wide, tall = 0.75 * wide, 0.9 * tall
            cover = np.maximum(cover, _cloud(view, u, v, (wide, tall), rng))
    cover *= view.cavity
    view.air *= 1 - np.float32(fill) * cover
    return cover


def _atelectasis(view: Frontal, finding: Finding, patient: Patient) -> Field:
    """Plates of collapsed lung: thin bands, nearly level; the dome is a little raised."""
    del patient
    rng = token_generator(finding)
    lines: list[Points] = []
    widths: list[float] = []
    for side in finding.sides:
        number = SIDES.index(side)
        bands = 1 if finding.degree == "mild" else int(rng.integers(2, 4))
        centre, down = spot(finding, side, rng)
        for band in range(bands):
            level = down - 0.02 - 0.075 * band
            slant, length = rng.uniform(-0.03, 0.03), rng.uniform(0.36, 0.52)
            begin = float(np.clip(centre - length / 2, 0.02, 0.9))
            shares = begin + np.linspace(0, 1, 5) * min(length, 0.95 - begin)
            # A plate is straight: only its ends are placed.
            ends = [
                view.chest.place(number, float(shares[end]), min(level + slant * tilt, 0.97))
                for end, tilt in ((0, -1.0), (-1, 1.0))
            ]
            lines.append(np.array(ends))
            widths.append(rng.uniform(0.036, 0.046))
    cover = view.canvas.strokes(lines, widths, blur=0.009) * view.cavity
    view.air *= 1 - np.float32(0.70 if finding.degree == "mild" else 0.90) * cover
    return cover


def _round(view: Frontal, finding: Finding, low: float, high: float, density: float) -> Field:
    rng = token_generator(finding)
    canvas = view.canvas
    cover = np.zeros_like(view.air)
    soft = 0.30 if finding.kind == "nodule" else 0.15
    for side in finding.sides:
        number = SIDES.index(side)
        count = 1
        if finding.degree == "multiple":
            count = int(rng.integers(2, 4)) if finding.side == "bilateral" else 3
        placed: list[tuple[float, float]] = []
        for _ in range(40):
            if len(placed) == count:
                break
            across, down = spot(finding, side, rng)
            if finding.site == "base":
                down -= 0.06
            across = max(across, 0.16)
            u, v = view.chest.place(number, across, down)
            if all((u - a) ** 2 + (v - b) ** 2 > (2.6 * high) ** 2 for a, b in placed):
                placed.append((u, v))
        for u, v in placed:
            radius = rng.uniform(low, high)
            rows, columns = canvas.window(u, v, 1.5 * radius)
            du, dv = canvas.u[rows, columns] - u, canvas.v[rows, columns] - v
            reach = np.sqrt(du * du + dv * dv) * np.float32(1 / radius)
            disc = step(1 - reach, soft) * (np.float32(0.45) + np.float32(0.55) * dome(reach**2))
            part = cover[rows, columns]
            np.maximum(part, disc, out=part)
    view.density += np.float32(density) * cover
    return cover


def _nodule(view: Frontal, finding: Finding, patient: Patient) -> Field:
    """Round, as dense as soft tissue."""
    del patient
    return _round(view, finding, 0.068, 0.092, 0.48)


def _granuloma(view: Frontal, finding: Finding, patient: Patient) -> Field:
    """Round, small, with a sharp edge, as dense as bone."""
    return _round(view, finding, 0.038, 0.050, 0.75 * max(patient.bone, 0.9))


def _degenerative(view: Frontal, finding: Finding, patient: Patient) -> Field:
    """Beaks of bone beside narrowed discs, whose end plates are denser."""
    rng = token_generator(finding)
    spacing = vertebra_spacing(patient)
    canvas = view.canvas
    levels = 2 if finding.degree == "mild" else int(rng.integers(5, 7))
    first = int(rng.integers(-3, 1)) if finding.degree == "mild" else -4
    lines: list[Points] = []
    widths: list[float] = []
    for level in range(first, first + levels):
        v = level * spacing
        middle = float(np.interp(v, np.linspace(-2, 2, len(view.chest.spine)), view.chest.spine))
        lines.append(np.array([[middle - 0.085, v], [middle + 0.085, v]]))
        widths.append(0.028)
        both = rng.random() < 0.6
        for sign in (-1, 1) if both else (int(rng.choice([-1, 1])),):
            tip = middle + sign * rng.uniform(0.135, 0.160)
            base = middle + sign * 0.07
            lines.extend(
                np.array([[base, v + 0.034 * up], [tip, v + 0.012 * up]]) for up in (-1, 1)
            )
            widths.extend([0.024, 0.024])
    cover = canvas.strokes(lines, widths, blur=0.008)
    view.density += np.float32(0.60 * max(0.9, patient.bone)) * cover
    return cover


def _curve(points: list[tuple[float, float]], steps: int = 24) -> Points:
    """A smooth line through the points (Catmull-Rom)."""
    knots = np.array([points[0], *points, points[-1]], dtype=float)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False):
        pieces.append(
            0.5
            * (
                2 * b
                + (c - a) * t
                + (2 * a - 5 * b + 4 * c - d) * t**2
                + (3 * b - a - 3 * c + d) * t**3
            )
        )
    return np.concatenate([*pieces, knots[-1:]])


def _catheter(view: Frontal, finding: Finding, patient: Patient) -> Field:
    """A central line from a port or the arm through the subclavian vein to the superior cava."""
    del patient
    rng = token_generator(finding)
    sign = -1 if finding.side == "right" else 1
    middle = view.chest.middle
    tip = (middle - 0.065 - rng.uniform(0, 0.02), rng.uniform(-0.22, -0.02))
    cava = (middle - 0.07, -0.42)
    port = bool(rng.random() < 0.5)
    begin = (sign * rng.uniform(0.40, 0.50), rng.uniform(-0.38, -0.26))
    if port:
        points = [begin, (sign * 0.36, -0.52), (sign * 0.22, -0.62)]
    else:
        points = [
            (sign * 1.1, -0.36),
            (sign * 0.75, -0.52),
            (sign * 0.4, -0.60),
            (sign * 0.2, -0.58),
        ]
    if sign > 0:
        points.append((middle + 0.04, -0.52))
    line = _curve([*points, cava, tip])
    cover = view.canvas.strokes([line], [0.020], least=1.0)
    if port:
        square = (view.canvas.u - begin[0]) ** 2 + (view.canvas.v - begin[1]) ** 2
        cover = np.maximum(cover, np.float32(0.8) * step(np.float32(0.055**2) - square, 0.001))
    view.density += np.float32(0.60) * cover
    return cover


def _clips(view: Frontal, finding: Finding, patient: Patient) -> Field:
    """Short metal strokes; in the mediastinum the wires of a sternotomy as well."""
    rng = token_generator(finding)
    lines: list[Points] = []
    if finding.site == "mediastinum":
        lines.extend(
            np.array([[view.chest.middle - 0.035, v], [view.chest.middle + 0.035, v + 0.012]])
            for v in np.linspace(-0.45, 0.12, 5) + rng.uniform(-0.02, 0.02, 5)
        )
        centre, spread, count = (view.chest.middle + 0.05, 0.05), (0.09, 0.12), 3
    elif finding.site == "abdomen":
        centre, spread, count = (-0.20, view.chest.floor[0] + 0.20), (0.06, 0.05), 5
    else:
        sign = -1 if finding.side == "right" else 1
        centre, spread, count = (sign * (patient.width + 0.07), -0.25), (0.06, 0.10), 5
    for _ in range(count):
        u = centre[0] + rng.uniform(-1, 1) * spread[0]
        v = centre[1] + rng.uniform(-1, 1) * spread[1]
        angle = rng.uniform(0, np.pi)
        reach = 0.026 * np.array([np.cos(angle), np.sin(angle)])
        lines.append(np.array([[u, v] - reach, [u, v] + reach]))
    cover = view.canvas.strokes(lines, [0.020] * len(lines), least=1.2)
    view.density += np.float32(1.1) * cover
    return cover


_DRAW: dict[str, Callable[[Frontal, Finding, Patient], Field]] = {
    "effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "opacity": _opacity,
    "atelectasis": _atelectasis,
    "nodule": _nodule,
    "granuloma": _granuloma,
    "degenerative": _degenerative,
    "catheter": _catheter,
    "clips": _clips,
}


def draw_finding(view: Frontal, finding: Finding, patient: Patient) -> Field | NDArray[np.bool_]:
    """Draw one finding into the view and return what it covers, ``(size, size)``.

    What is part of the geometry is not drawn again; the heart, the lungs or the spine is covered.
    """
    if finding.kind in _DRAW:
        return _DRAW[finding.kind](view, finding, patient)
    if finding.kind == "scoliosis":
        curve = view.canvas.look_up(view.chest.spine)
        near = np.abs(view.canvas.u - curve) < 0.08
        return np.asarray(near & (np.abs(view.canvas.v) < 0.5))
    regions = view.regions()
    return np.asarray(regions == 3 if finding.kind == "cardiomegaly" else regions > 0)
