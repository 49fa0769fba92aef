"""Grids, soft edges and exposure: what both views are drawn with.

The plane of a view reaches from -1 to 1 across the image, x to the image's right and y down; the
patient's right side is at negative x of a frontal view. A view is the sum of what the beam passes
through, so that shadows add up as they do in a radiograph.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
TABLE = 2048
"""Entries of a profile along v; it covers v from -2 to 2."""
AXIS: Field = np.linspace(-2, 2, TABLE, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Pose:
    """How the patient stood: image point = scale * rotation(angle) * anatomy point + shift.

    Attributes:
        angle: in the image plane, in radians.
        scale: magnification.
        shift: (x, y) in half image widths.
        yaw: turn about the body's long axis, as the sideways shift of what lies in front.
        breath: inspiration, 1 for a full one; it stretches ordinary lungs.
    """

    angle: float
    scale: float
    shift: tuple[float, float]
    yaw: float
    breath: float


@dataclasses.dataclass(frozen=True)
class Exposure:
    """How the film was exposed and developed; see ``develop``."""

    centre: float
    latitude: float
    gamma: float
    noise: float
    slope: tuple[float, float]
    haze: float
    border: tuple[float, float, float, float]
    marker: tuple[float, float, float] | None


@functools.lru_cache(maxsize=4)
def _plane(size: int) -> tuple[Field, Field]:
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    x, y = np.meshgrid(axis, axis)
    return np.ascontiguousarray(x), np.ascontiguousarray(y)


@dataclasses.dataclass(frozen=True)
class Canvas:
    """The anatomy coordinates of each pixel.

    Attributes:
        size: pixels along each side.
        pose: how the patient stood.
        u: sideways, ``(size, size)``.
        v: down, ``(size, size)``.
        row: index into a profile table for each pixel's v, ``(size, size)``.
        pixel: the width of a pixel in anatomy units.
    """

    size: int
    pose: Pose
    u: Field
    v: Field
    row: NDArray[np.int32]
    pixel: float

    @classmethod
    def of(cls, size: int, pose: Pose) -> Canvas:
        """The canvas of a pose."""
        x, y = _plane(size)
        cos = np.float32(np.cos(pose.angle) / pose.scale)
        sin = np.float32(np.sin(pose.angle) / pose.scale)
        x0, y0 = np.float32(pose.shift[0]), np.float32(pose.shift[1])
        u = cos * x + sin * y - (cos * x0 + sin * y0)
        v = cos * y - sin * x - (cos * y0 - sin * x0)
        row = ((v + 2) * ((TABLE - 1) / 4) + 0.5).astype(np.int32)
        np.clip(row, 0, TABLE - 1, out=row)
        return cls(size, pose, u, v, row, 2 / size / pose.scale)

    def to_pixels(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Anatomy points ``(N, 2)`` as (column, row) in pixels; the edges are 0 and size."""
        cos, sin = np.cos(self.pose.angle), np.sin(self.pose.angle)
        turn = self.pose.scale * np.array([[cos, -sin], [sin, cos]])
        xy = np.asarray(points, dtype=np.float64) @ turn.T + np.array(self.pose.shift)
        return (xy + 1) * (self.size / 2)

    def window(self, u: float, v: float, radius: float) -> tuple[slice, slice]:
        """The rows and columns that hold a disc, for drawing small things cheaply."""
        column, row = self.to_pixels(np.array([[u, v]]))[0]
        reach = radius / self.pixel + 1
        low = [int(max(0, min(self.size - 1, np.floor(c - reach)))) for c in (row, column)]
        high = [int(max(1, min(self.size, np.ceil(c + reach)))) for c in (row, column)]
        return slice(low[0], max(high[0], low[0] + 1)), slice(low[1], max(high[1], low[1] + 1))

    def look_up(self, table: Field) -> Field:
        """A profile along v, read at each pixel."""
        return table.take(self.row)

    def strokes(
        self,
        lines: list[NDArray[np.floating]],
        widths: list[float],
        least: float = 0.0,
        blur: float = 0.0,
    ) -> Field:
        """Polylines of anatomy points, drawn with soft edges, 0 to 1, ``(size, size)``.

        Args:
            lines: arrays ``(N, 2)``.
            widths: of each line, in anatomy units.
            least: the least width of a line in pixels.
            blur: radius of a blur, in anatomy units.
        """
        over = 2
        picture = Image.new("L", (self.size * over, self.size * over))
        draw = ImageDraw.Draw(picture)
        points = (self.to_pixels(np.concatenate(lines)) * over).ravel().tolist()
        begin = 0
        for line, width in zip(lines, widths, strict=True):
            end = begin + 2 * len(line)
            pixels = max(width / self.pixel, least) * over
            # A line thinner than the drawing's pixel is drawn fainter instead.
            draw.line(
                points[begin:end],
                fill=int(255 * min(1.0, pixels)),
                width=max(1, round(pixels)),
                joint="curve" if pixels > 3 else None,
            )
            begin = end
        picture = picture.reduce(over)
        if blur:
            picture = picture.filter(ImageFilter.BoxBlur(blur / self.pixel))
        return np.asarray(picture, dtype=np.float32) * np.float32(1 / 255)


def step(distance: Field, soft: float) -> Field:
    """0 for distances below ``-soft / 2``, 1 above ``soft / 2``, linear between."""
    out = distance * np.float32(1 / soft)
    out += np.float32(0.5)
    return np.clip(out, 0, 1, out=out)


def dome(square: Field) -> Field:
    """The thickness of an ellipsoid: sqrt(1 - r^2) of a squared radius, 0 outside."""
    out = 1 - square
    np.maximum(out, 0, out=out)
    return np.sqrt(out, out=out)


def smooth_noise(rng: np.random.Generator, cells: int, size: int) -> Field:
    """Noise that varies over ``1 / cells`` of the image, ``(size, size)``, unit variance or so."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def draw_pose(rng: np.random.Generator) -> Pose:
    """An ordinary patient's stance."""
    uniform = rng.uniform
    return Pose(
        angle=float(np.clip(rng.normal(0, 0.045), -0.11, 0.11)),
        scale=uniform(0.88, 1.12),
        shift=(uniform(-0.10, 0.10), uniform(-0.14, 0.14)),
        yaw=float(np.clip(rng.normal(0, 0.02), -0.045, 0.045)),
        breath=uniform(0.94, 1.05),
    )


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """An ordinary film, now and then a poor one."""
    uniform = rng.uniform
    border = [0.0, 0.0, 0.0, 0.0]
    if rng.random() < 0.3:
        border = [uniform(0, 0.05) * (rng.random() < 0.6) for _ in range(4)]
    return Exposure(
        centre=uniform(0.74, 1.08),
        latitude=uniform(0.24, 0.36),
        gamma=uniform(0.75, 1.35),
        noise=uniform(0.008, 0.028),
        slope=(uniform(-0.10, 0.10), uniform(-0.10, 0.10)),
        haze=uniform(0.0, 0.10),
        border=(border[0], border[1], border[2], border[3]),
        marker=(uniform(0.84, 0.95), uniform(0.03, 0.2), uniform(0.7, 1.0))
        if rng.random() < 0.7
        else None,
    )


def develop(
    density: Field, canvas: Canvas, exposure: Exposure, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Expose and develop: summed density to 16-bit pixels, bone bright.

    The characteristic curve is a sigmoid; quantum noise grows where little of the beam arrives.

    Shape:
        - density: ``(size, size)``, 0 for air
        - output: ``(size, size)``, 0 to 65535
    """
    size = canvas.size
    x, y = _plane(size)
    light = density + (np.float32(exposure.slope[0]) * x + np.float32(exposure.slope[1]) * y)
    light += np.float32(0.03) * smooth_noise(rng, 5, size)
    noise = rng.standard_normal((size, size), dtype=np.float32)
    noise *= np.float32(exposure.noise) * (np.float32(0.6) + np.float32(0.5) * density)
    light += noise
    light -= np.float32(exposure.centre)
    light *= np.float32(-1 / exposure.latitude)
    np.exp(light, out=light)
    light += 1
    np.reciprocal(light, out=light)
    np.power(light, np.float32(exposure.gamma), out=light)
    light *= np.float32(1 - exposure.haze)
    light += np.float32(exposure.haze)
    left, top, right, bottom = (round(share * size) for share in exposure.border)
    light[:, :left] = 0
    light[:top] = 0
    light[:, size - right :] = 0
    light[size - bottom :] = 0
    if exposure.marker is not None:  # a lead L beside the patient's left shoulder
        column, row = (int(share * size) for share in exposure.marker[:2])
        tall, thick = max(3, size // 22), max(1, size // 100)
        light[row : row + tall, column : column + thick] = exposure.marker[2]
        light[row + tall - thick : row + tall, column : column + tall // 2] = exposure.marker[2]
    light *= np.float32(65535)
    np.clip(light, 0, 65535, out=light)
    return light.astype(np.uint16)
