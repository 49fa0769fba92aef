"""The evaluation as one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cascade.evaluation.scoring import Evaluation


def render_page(evaluation: Evaluation, *, show_ids: bool = False) -> str:
    return "<html></html>"
