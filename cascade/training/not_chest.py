"""Pictures that are no chest radiographs, drawn by a program, to tell chests from other things.

None is copied from anywhere: noise, patterns, shapes, writing, simple bodies and limbs; and spoilt
training pictures, of which a small part is blown up or whose pieces lie in disorder.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

Picture = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Picture]


def _grid(side: int) -> tuple[Picture, Picture]:
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return y, x


def _turned(generator: np.random.Generator, side: int) -> tuple[Picture, Picture]:
    """Places along and across a random direction."""
    y, x = _grid(side)
    angle = generator.uniform(0, np.pi)
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _even(generator: np.random.Generator, side: int) -> Picture:
    """One grey, or a ramp, a trace of noise."""
    along, _ = _turned(generator, side)
    ramp = generator.choice([0.0, 0.4]) * along
    return generator.uniform() + ramp + generator.normal(0, generator.uniform(0, 0.05), ramp.shape)


def _noise(generator: np.random.Generator, side: int) -> Picture:
    """Noise of any grain, clouds among it."""
    return gaussian_filter(
        generator.normal(0, 1, (side, side)), generator.choice([0, 1, 2, 4, 8, 12]) * side / 64
    )


def _grating(generator: np.random.Generator, side: int) -> Picture:
    """Stripes, or two crossing sets of them, soft or sharp."""
    along, across = _turned(generator, side)
    wave = np.sin(generator.uniform(3, 50) * along + generator.uniform(0, 6))
    if generator.random() < 0.5:
        wave = wave * np.sin(generator.uniform(3, 50) * across + generator.uniform(0, 6))
    return np.sign(wave) if generator.random() < 0.5 else wave


def _shapes(generator: np.random.Generator, side: int) -> Picture:
    """Some discs, boxes and half planes, one over the other."""
    picture = np.full((side, side), generator.uniform())
    for _ in range(generator.integers(1, 12)):
        along, across = _turned(generator, side)
        along, across = along - generator.uniform(-0.8, 0.8), across - generator.uniform(-0.8, 0.8)
        reach = generator.uniform(0.1, 0.7)
        inside = [
            along**2 + across**2 < reach**2,
            (abs(along) < reach) & (abs(across) < generator.uniform(0.1, 0.7)),
            along > reach,
        ][generator.integers(3)]
        picture[inside] = generator.uniform()
    return picture


def _writing(generator: np.random.Generator, side: int) -> Picture:
    """Lines of scribble, dark on light or light on dark."""
    picture = np.zeros((side, side))
    height = int(generator.integers(max(3, side // 16), max(4, side // 5)))
    for top in range(side // 16, side - height, height + max(1, height // 2)):
        length = int(side * generator.uniform(0.3, 0.95))
        steps = gaussian_filter(generator.normal(0, 1, length), 1)
        rows = top + (height * (0.5 + 0.6 * steps)).clip(0, height - 1).astype(int)
        kept = generator.random(length) < 0.85
        picture[rows[kept], (side // 32 + np.arange(length))[kept].clip(0, side - 1)] = 1.0
    return gaussian_filter(picture, 0.4)


def _body(generator: np.random.Generator, side: int) -> Picture:
    """An outline with organs in it, as a slice through a head or a trunk might be: ellipses."""
    y, x = _grid(side)
    picture = np.zeros((side, side))
    wide, high = generator.uniform(0.4, 0.95, 2)
    shell = (x / wide) ** 2 + (y / high) ** 2
    picture[shell < 1] = generator.uniform(0.4, 1)
    if generator.random() < 0.6:
        picture[shell < generator.uniform(0.6, 0.95)] = generator.uniform(0.1, 0.6)
    for _ in range(generator.integers(0, 10)):
        along, across = _turned(generator, side)
        along, across = along - generator.uniform(-0.5, 0.5), across - generator.uniform(-0.5, 0.5)
        long, short = generator.uniform(0.05, 0.4, 2)
        picture[((along / long) ** 2 + (across / short) ** 2 < 1) & (shell < 0.9)] += (
            generator.uniform(-0.4, 0.5)
        )
    return gaussian_filter(picture, generator.uniform(0, 1.5) * side / 64)


def _limb(generator: np.random.Generator, side: int) -> Picture:
    """Soft tissue with one to three long bones in it."""
    along, across = _turned(generator, side)
    middle = across - generator.uniform(-0.3, 0.3) - generator.uniform(-0.2, 0.2) * along
    wide = generator.uniform(0.25, 0.7) * (1 + generator.uniform(-0.4, 0.4) * along)
    picture = 0.4 * np.sqrt((1 - (middle / wide) ** 2).clip(0))
    for _ in range(generator.integers(1, 4)):
        shaft = generator.uniform(0.05, 0.18) * (1 + generator.uniform(0, 1) * along**2)
        bone = (middle - generator.uniform(-0.25, 0.25)) / shaft
        picture += generator.uniform(0.2, 0.5) * (abs(bone) < 1) * (0.5 + 0.5 * bone**2)
        if generator.random() < 0.5:
            picture[along > generator.uniform(-0.6, 1.2)] *= 0.6  # a joint, or the end
    return gaussian_filter(picture, generator.uniform(0.3, 1.5) * side / 64)


DRAWN: dict[str, Draw] = {
    "even": _even,
    "noise": _noise,
    "grating": _grating,
    "shapes": _shapes,
    "writing": _writing,
    "body": _body,
    "limb": _limb,
}
"""Kinds that are drawn; ``SPOILT`` are made from training pictures."""
SPOILT = ("part", "disorder")


def draw_not_chest(kind: str, generator: np.random.Generator, side: int) -> NDArray[np.float32]:
    """A picture of a kind of ``DRAWN``: ``(side, side)`` from 0 to 1, some of them inverted."""
    picture = DRAWN[kind](generator, side)
    low, high = picture.min(), picture.max()
    picture = (picture - low) / (high - low) if high > low + 1e-6 else np.clip(picture, 0, 1)
    if generator.random() < 0.3:
        picture = 1 - picture
    return picture.astype(np.float32)


def spoil(
    kind: str, picture: NDArray[np.float32], generator: np.random.Generator
) -> NDArray[np.float32]:
    """A training picture ``(side, side)`` that shows a chest no longer.

    Args:
        kind: ``part``, a quarter of its width or less blown up; ``disorder``, its sixteenths
            changed about and turned.
        picture: from 0 to 1.
        generator: of the draws.
    """
    side = len(picture)
    if kind == "part":
        width = int(generator.integers(max(4, side // 8), side // 4 + 1))
        top, left = generator.integers(0, side - width + 1, 2)
        return zoom(picture[top : top + width, left : left + width], side / width, order=1)[
            :side, :side
        ]
    piece = side // 4
    pieces = [
        np.rot90(picture[i * piece : (i + 1) * piece, j * piece : (j + 1) * piece], k)
        for (i, j), k in zip(np.ndindex(4, 4), generator.integers(0, 4, 16), strict=True)
    ]
    order = generator.permutation(16)
    return np.block([[pieces[order[4 * i + j]] for j in range(4)] for i in range(4)])
