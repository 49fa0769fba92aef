"""A contact sheet of the phantom, for people to look at (docs/phantom.png)."""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image, ImageDraw

from cascade.errors import InputError
from cascade.io.phantom.findings import KINDS, draw_findings
from cascade.io.phantom.study import PhantomView, draw_study

_CAPTION = 37  # pixels above a tile for three lines
_SEARCH = 4000  # studies looked through for an example of each finding


def contact_sheet(seed: int = 0, size: int = 128, columns: int = 8) -> Image.Image:
    """Draw normal chests, then each finding alone with its annotation, then lateral views.

    Args:
        seed: of the collection that the examples are from.
        size: pixels along each side of a tile, 64 or more for the captions to fit.
        columns: tiles in a row.

    Returns:
        An 8-bit grey picture, bone bright.

    Raises:
        InputError: ``size`` is below 64 or ``columns`` below 1.
    """
    if size < 64 or columns < 1:
        raise InputError(f"size={size}, columns={columns}: give 64 or more and 1 or more")
    examples: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}
    normal: list[int] = []
    for index in range(_SEARCH):
        shown, _ = draw_findings(seed, index)
        if not shown and len(normal) < columns:
            normal.append(index)
        if len(shown) == 1 and len(examples[shown[0].kind]) < 2:
            examples[shown[0].kind].setdefault(shown[0].mesh, index)
        if len(normal) == columns and all(len(found) == 2 for found in examples.values()):
            break
    tiles = [_tile(seed, index, size, lateral=False) for index in normal]
    for found in examples.values():
        tiles += [_tile(seed, index, size, lateral=False) for index in found.values()]
    missing = -len(tiles) % columns or columns
    tiles += [_tile(seed, index, size, lateral=True) for index in range(missing)]
    rows = -(-len(tiles) // columns)
    sheet = Image.new("L", (columns * size, rows * (size + _CAPTION)))
    draw = ImageDraw.Draw(sheet)
    for number, (view, caption) in enumerate(tiles):
        x, y = number % columns * size, number // columns * (size + _CAPTION)
        sheet.paste(Image.fromarray((view.pixels >> 8).astype(np.uint8)), (x, y + _CAPTION))
        words = textwrap.wrap(caption.replace("/", "/ "), size // 6)[:3]
        draw.text((x + 3, y + 1), "\n".join(words).replace("/ ", "/"), fill=255, font_size=9)
    return sheet


def _tile(seed: int, index: int, size: int, *, lateral: bool) -> tuple[PhantomView, str]:
    study = draw_study(seed, index, size, lateral_share=float(lateral))
    return study.views[-1], study.mesh[0] if len(study.mesh) == 1 else "; ".join(study.mesh)
