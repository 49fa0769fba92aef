"""How well a map of a label says where the label's finding is: the pointing game, and boxes.

A map is an array of places, a box encloses a finding that a person marked. Nothing is learnt from
the boxes: they score maps of networks that saw labels alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

LEVELS = (0.1, 0.25, 0.5)
"""Overlaps asked for, those of ChestX-ray8 that tables print."""

HALF = 0.5
"""Where a map is cut into regions: halfway from its lowest to its highest value."""


class Box(NamedTuple):
    """A rectangle, in shares of the picture's width and height from its upper left corner."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Share of the picture; 0 where right is left of left."""
        return max(self.right - self.left, 0.0) * max(self.bottom - self.top, 0.0)

    def common(self, other: Box) -> float:
        """The area of what both enclose."""
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies in it; left and top belong to it, right and bottom do not."""
        return self.left <= x < self.right and self.top <= y < self.bottom


def iou(detected: Box, true: Box) -> float:
    """Intersection over union, in [0, 1].

    >>> iou(Box(0, 0, 0.5, 0.5), Box(0, 0, 0.5, 1))
    0.5
    """
    common = detected.common(true)
    union = detected.area + true.area - common
    return common / union if union > 0 else 0.0


def iobb(detected: Box, true: Box) -> float:
    """Intersection over the detected box (Wang et al. 2017): a small box within the true one has 1.

    >>> iobb(Box(0, 0, 0.5, 0.5), Box(0, 0, 0.5, 1))
    1.0
    """
    return detected.common(true) / detected.area if detected.area > 0 else 0.0


def pointing(heat: np.ndarray, box: Box) -> float:
    """The pointing game (Zhang et al. 2016) without a tolerance: is the highest place in the box?

    Args:
        heat: ``(H, W)``, finite.
        box: the true one; a place is where its centre is.

    Returns:
        1 or 0; where several places are highest, the share of them that lies in the box, so that a
        map that says nothing scores as a place drawn at random.

    >>> pointing(np.array([[1.0, 5.0], [0.0, 2.0]]), Box(0.5, 0.0, 1.0, 0.5))
    1.0
    """
    height, width = heat.shape
    rows, columns = np.nonzero(heat == heat.max())
    inside = [
        box.holds((x + 0.5) / width, (y + 0.5) / height)
        for y, x in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    return float(np.mean(inside))


def detected_boxes(heat: np.ndarray, threshold: float = HALF) -> list[Box]:
    """The boxes around the regions of a map that reach a height, the highest region first.

    Args:
        heat: ``(H, W)``, finite.
        threshold: in (0, 1], of the way from the lowest to the highest value of this map.

    Returns:
        One box a region; places that share an edge are of one region. None of a map without
        contrast.

    >>> detected_boxes(np.array([[0.0, 1.0, 0.0, 3.0], [0.0, 1.0, 0.0, 4.0]]))
    [Box(left=0.75, top=0.0, right=1.0, bottom=1.0)]
    """
    height, width = heat.shape
    low, high = float(heat.min()), float(heat.max())
    if not high > low:
        return []
    regions, count = ndimage.label((heat - low) / (high - low) >= threshold)
    peaks = ndimage.maximum(heat, regions, range(1, count + 1))
    places = ndimage.find_objects(regions)
    order = np.argsort(-np.asarray(peaks), kind="stable").tolist()
    return [
        Box(
            places[at][1].start / width,
            places[at][0].start / height,
            places[at][1].stop / width,
            places[at][0].stop / height,
        )
        for at in order
    ]


def overlaps(
    detected: Sequence[Box],
    true: Box,
    levels: Sequence[float] = LEVELS,
    measure: Callable[[Box, Box], float] = iou,
) -> tuple[np.ndarray, np.ndarray]:
    """Whether any detected box overlaps the true one by more than each level, and false alarms.

    Args:
        detected: of one map.
        true: of the same label.
        levels: ``L`` overlaps.
        measure: ``iou`` or ``iobb``.

    Returns:
        found ``(L,)``, 1 or 0, and how many of the detected boxes do not reach the level ``(L,)``.
        A second finding of the label elsewhere in the picture counts as a false alarm.
    """
    reached = np.array([measure(box, true) for box in detected])
    over = reached[:, None] > np.asarray(levels)[None, :]
    return over.any(axis=0).astype(float), (~over).sum(axis=0).astype(float)


def random_pointing(box: Box) -> float:
    """What a place drawn at random scores: the share of the picture that the box covers."""
    return box.common(Box(0.0, 0.0, 1.0, 1.0))


def mean_box(boxes: Sequence[Box]) -> Box:
    """The box of the mean edges.

    >>> mean_box([Box(0.0, 0.0, 0.5, 0.5), Box(0.5, 0.5, 1.0, 1.0)])
    Box(left=0.25, top=0.25, right=0.75, bottom=0.75)

    Raises:
        ValueError: no box.
    """
    if not boxes:
        raise ValueError("the mean of no box")
    return Box(*np.mean(np.array(boxes), axis=0).tolist())


def box_at(size: Box, x: float, y: float) -> Box:
    """A box of the size of another around a point; it may stand over the picture's edge."""
    half_width, half_height = (size.right - size.left) / 2, (size.bottom - size.top) / 2
    return Box(x - half_width, y - half_height, x + half_width, y + half_height)
