"""The pictures that the check of view and orientation learns from.

Whatever is turned or inverted is made of the training pictures, exactly and in other poses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cascade.data.transforms import Augment
from cascade.models.view_check import SIDE
from cascade.training.not_chest import DRAWN, SPOILT, draw_not_chest, spoil

LEAST_OTHERS = 90
"""So many pictures of other things are drawn for the smallest collection."""


def turned(images: Tensor, degrees: int) -> Tensor:
    """Pictures turned clockwise by a multiple of 90 degrees, exactly."""
    return torch.rot90(images, -(degrees // 90), dims=(2, 3))


def inverted(images: Tensor) -> Tensor:
    """Pictures with bone dark; the black bars that made a picture square stay black."""
    some = images > 0
    inside = some.any(dim=3, keepdim=True) & some.any(dim=2, keepdim=True)
    return (1 - images) * inside


def _both(images: Tensor, degrees: int) -> Tensor:
    return turned(inverted(images), degrees)


VARIANTS: dict[str, Callable[[Tensor], Tensor]] = {
    "inverted": inverted,
    **{f"turned{by}": partial(turned, degrees=by) for by in (90, 180, 270)},
    **{f"inverted_turned{by}": partial(_both, degrees=by) for by in (90, 180, 270)},
}
"""What is made of upright pictures."""
POSES = {
    name: (name.startswith("inverted"), int(name.partition("turned")[2] or 0))
    for name in ("frontal", *VARIANTS)
}
"""Whether each is dark where it should be bright, and how far it is turned."""


def reshaped(images: Tensor, generator: np.random.Generator) -> Tensor:
    """Each picture cut to another shape, at most a fifth narrower or lower, and barred again."""
    height, width = images.shape[2:]
    shaped = torch.zeros_like(images)
    for row, share in enumerate(generator.uniform(-0.2, 0.2, len(images))):
        rows = height - round(height * max(share, 0))
        columns = width - round(width * max(-share, 0))
        top, left = (height - rows) // 2, (width - columns) // 2
        inside = (row, slice(None), slice(top, top + rows), slice(left, left + columns))
        shaped[inside] = images[inside]
    return shaped


class Pictures(NamedTuple):
    """Pictures of every class.

    Attributes:
        images: ``(P, 1, SIDE, SIDE)`` in [0, 1].
        names: ``(P,)`` the class of each.
        owners: ``(P,)`` the upright picture that each was made from; -1 for none.
    """

    images: Tensor
    names: NDArray[np.str_]
    owners: NDArray[np.int64]


def training_pictures(frontal: Tensor, lateral: Tensor, seed: int) -> Pictures:
    """The pictures as they are, in other poses and exposures, inverted, turned, and what is none.

    The owners count the frontal pictures, then the lateral ones. The frontal ones as they are and
    then their variants, in the order of ``VARIANTS``, stand first.

    Args:
        frontal: upright training pictures.
        lateral: likewise; may be none.
        seed: of what is drawn.

    Shape:
        - frontal: ``(N, 1, SIDE, SIDE)`` in [0, 1]
        - lateral: ``(M, 1, SIDE, SIDE)``
    """
    generator = np.random.default_rng(seed)
    augment = Augment(rotation=7, shift=0.05, scale=0.12, exposure=0.3, seed=seed)

    def another(images: Tensor) -> Tensor:
        """The same pictures in other pose, exposure and shape."""
        return reshaped(augment(images), generator)

    parts = [("frontal", frontal)]
    parts += [(name, change(frontal)) for name, change in VARIANTS.items()]
    parts += [("frontal", another(frontal)) for _ in range(2)]
    parts += [(name, change(another(frontal))) for name, change in VARIANTS.items()]
    owners = [np.arange(len(frontal))] * len(parts)
    if len(lateral):
        either = another(lateral.flip(3))  # a lateral may face either side
        sides = [("lateral", lateral), ("lateral", another(lateral)), ("lateral", either)]
        sides += [(name, change(lateral)) for name, change in VARIANTS.items()]
        owners += [len(frontal) + np.arange(len(lateral))] * len(sides)
        parts += sides
    parts.append(("other", _others(torch.cat([frontal, lateral]), generator)))
    owners.append(np.full(len(parts[-1][1]), -1))
    names = np.concatenate([np.full(len(images), name) for name, images in parts])
    return Pictures(torch.cat([images for _, images in parts]), names, np.concatenate(owners))


def _others(upright: Tensor, generator: np.random.Generator) -> Tensor:
    """Pictures that are no chest, twice as many as there are chests and some at least."""
    each = -(-max(2 * len(upright), LEAST_OTHERS) // len((*DRAWN, *SPOILT)))
    drawn = [draw_not_chest(kind, generator, SIDE) for kind in DRAWN for _ in range(each)]
    flat = upright[:, 0].numpy()
    spoilt = [
        spoil(kind, flat[generator.integers(len(flat))], generator)
        for kind in SPOILT
        for _ in range(each)
    ]
    return torch.from_numpy(np.stack([*drawn, *spoilt]).astype(np.float32)).unsqueeze(1)
