"""The lateral chest: the patient faces the image's left; drawn more simply than the frontal."""

from __future__ import annotations

import numpy as np

from cascade.io.phantom.canvas import AXIS, Canvas, Field, dome, smooth_noise, step
from cascade.io.phantom.chest import Chest, by_kind, token_generator, vertebra_spacing
from cascade.io.phantom.findings import Finding, Patient
from cascade.io.phantom.overlays import spot

_DEPTHS = {  # u of a lobe's findings: the front of the chest is at negative u
    "upper lobe": (-0.20, 0.15),
    "middle lobe": (-0.36, -0.15),
    "lingula": (-0.36, -0.15),
    "lower lobe": (0.20, 0.36),
    "base": (0.14, 0.36),
}
Covered = list[tuple[Finding, Field]]


def draw_lateral(
    patient: Patient,
    chest: Chest,
    findings: tuple[Finding, ...],
    canvas: Canvas,
    rng: np.random.Generator,
) -> tuple[Field, Covered]:
    """Draw the lateral view.

    Returns:
        The density ``(size, size)``, and the findings seen in this view with what each covers.
    """
    found = by_kind(findings)
    u, v = canvas.u, canvas.v
    soft = max(0.016, 1.3 * canvas.pixel)
    deep = 0.62 + 0.08 * patient.fat + (0.06 if "hyperdistention" in found else 0.0)
    height = chest.floor[0] - chest.apex
    # The front wall runs from the neck to the belly, the back wall along the spine.
    share = np.clip((AXIS - chest.apex) / 1.2, -0.3, 1.3)
    front = -(0.10 + (deep - 0.10) * np.power(np.clip(share + 0.05, 0, 1.2), 0.55))
    back = 0.30 + 0.26 * np.sin(np.pi * np.clip(0.15 + 0.72 * share, 0, 1))
    spine = back - 0.06
    front_at, back_at = (
        canvas.look_up(front.astype(np.float32)),
        canvas.look_up(back.astype(np.float32)),
    )
    skin = 0.10 + 0.12 * patient.fat
    middle = (front_at + back_at) * np.float32(0.5)
    half = (back_at - front_at) * np.float32(0.5)
    density = np.float32(1.15 + 0.4 * patient.fat) * dome(
        ((u - middle) / (half + np.float32(skin + 0.08))) ** 2
    )
    lean = u - np.float32(0.12)
    over = v - np.float32(chest.apex) - np.float32(0.9) * lean * lean
    top = step(over - np.float32(0.02), 0.08)
    # Raised arms and shoulders cover the apices.
    density += (
        np.float32(0.5) * step(-over - np.float32(0.05), 0.35) * dome((u / np.float32(0.95)) ** 2)
    )
    inside = step(u - front_at - np.float32(0.04), soft) * step(back_at - u, soft) * top
    ahead = u + np.float32(0.10)
    bend = np.float32(0.55 * chest.bend[0])
    depths = [v - np.float32(floor) - bend * ahead * ahead for floor in chest.floor]
    air = 0.5 * inside * (step(-depths[0], soft) + step(-depths[1], soft))
    across = (u - front_at) / (back_at - front_at)
    air *= np.float32(0.5) + np.float32(0.5) * dome((2 * across - 1) ** 2)
    air *= np.float32(chest.air)

    floor = max(chest.floor)
    size = np.float32(0.26 + 0.6 * (chest.ratio - 0.42))
    # Tilted: its lower end lies in front, on the dome.
    du, dv = u - (size - np.float32(0.50)), v - np.float32(floor - 0.20)
    along = (du + np.float32(0.35) * dv) * (1 / size)
    tall = (dv - np.float32(0.2) * du) * np.float32(1 / 0.33)
    heart = dome(along * along + tall * tall)
    hilum = dome(((u - np.float32(0.04)) / 0.13) ** 2 + ((v + np.float32(0.10)) / 0.18) ** 2)
    air *= 1 - np.float32(0.85) * heart
    density += np.float32(0.12 * patient.hilum) * hilum * inside
    density += np.float32(0.12) * step(np.minimum(depths[0], depths[1]), 0.2)
    column = step(np.float32(0.085) - np.abs(u - canvas.look_up(spine.astype(np.float32))), soft)
    phase = (AXIS / vertebra_spacing(patient)) % 1.0
    body = 0.35 + 0.65 * np.clip((0.40 - np.abs(phase - 0.5)) / 0.08, 0, 1)
    body += 0.3 * np.exp(-(((np.abs(phase - 0.5) - 0.40) / 0.05) ** 2))
    density += column * canvas.look_up((0.24 * patient.bone * body).astype(np.float32))
    sternum = step(np.float32(0.03) - np.abs(u - front_at - np.float32(0.03)), soft)
    density += np.float32(0.16 * patient.bone) * sternum * step(v + 0.6, 0.1) * step(0.3 - v, 0.1)
    ribs = np.sin((v - np.float32(0.5) * u) * np.float32(2 * np.pi / patient.rib_spacing))
    density += np.float32(0.05 * patient.rib_contrast) * np.maximum(ribs, 0) * inside

    covered: Covered = []
    if "effusion" in found:
        finding = found["effusion"]
        rise = {"small": 0.12, "moderate": 0.30, "large": 0.58}[str(finding.degree)] * height
        corner = floor + float(bend) * 0.2
        level = np.float32(corner - 0.6 * rise) - np.float32(rise) * np.maximum(across - 0.4, 0)
        fluid = step(v - level, 0.05) * inside
        if finding.degree == "small":
            fluid *= step(across - np.float32(0.6), 0.2)
        air *= 1 - np.float32(0.75 if len(finding.sides) == 2 else 0.5) * fluid
        covered.append((finding, fluid))
    for kind, strength in (("opacity", 0.4), ("nodule", 0.26), ("granuloma", 0.5)):
        if kind in found:
            covered.append((found[kind], _focus(found[kind], canvas, chest, height, inside)))
            density += np.float32(strength) * covered[-1][1]
    if "degenerative" in found:
        finding = found["degenerative"]
        cover = np.zeros_like(density)
        levels = range(-1, 1) if finding.degree == "mild" else range(-2, 4)
        for level_number in levels:
            at = level_number * vertebra_spacing(patient)
            where = float(np.interp(at, AXIS, spine)) - 0.095
            square = ((u - where) / 0.045) ** 2 + ((v - at) / 0.03) ** 2
            cover = np.maximum(cover, dome(square))
        density += np.float32(0.35 * patient.bone) * cover
        covered.append((finding, cover))
    density -= np.float32(0.62) * air
    density += np.float32(0.05) * smooth_noise(rng, 20, canvas.size) * air
    return density, covered


def _focus(finding: Finding, canvas: Canvas, chest: Chest, height: float, inside: Field) -> Field:
    rng = token_generator(finding)
    cover = np.zeros_like(inside)
    radius = {"opacity": 0.12, "nodule": 0.054, "granuloma": 0.035}[finding.kind]
    for side in finding.sides:
        _, down = spot(finding, side, rng)
        low, high = _DEPTHS[finding.site or "upper lobe"]
        at_u, at_v = rng.uniform(low, high), chest.apex + down * height
        square = ((canvas.u - at_u) ** 2 + (canvas.v - at_v) ** 2) * np.float32(1 / radius**2)
        one = np.exp(-square) if finding.kind == "opacity" else dome(square)
        cover = np.maximum(cover, one)
    return np.asarray(cover * inside, dtype=np.float32)
