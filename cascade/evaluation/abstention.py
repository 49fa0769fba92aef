"""What a model's abstention does on a split that it was not chosen on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cascade.metrics.selective import select
from cascade.models.reader import Reader
from cascade.training.abstain import draft_quality


def abstention_row(
    name: str,
    reader: Reader,
    drafts: Sequence[str],
    references: Sequence[str],
    confidences: Sequence[float],
    target: str,
) -> dict[str, Any]:
    """What the bundle's threshold does to the drafts of a split; a row of ``abstention.csv``.

    Quality and areas are those of ``cascade.metrics.selective``. A bundle without a threshold
    withholds nothing; its areas say how well its confidence ranks.
    """
    threshold = (reader.abstention or {}).get("threshold")
    quality = draft_quality(drafts, references, target)
    found = select(np.asarray(confidences), quality, 0.0 if threshold is None else threshold)
    return {"system": name, "threshold": threshold, **found._asdict()}


def abstention_words(row: Mapping[str, Any]) -> str:
    """A row of ``abstention.csv`` in words."""
    ranked = (
        f"area under the risk-coverage curve {row['area']:.3f} (random order {row['random']:.3f}, "
        f"best {row['best']:.3f})"
    )
    if row["threshold"] is None:
        return f"the bundle has no threshold; {ranked}"
    return (
        f"confidence below {row['threshold']:.4f}, chosen on validation: keeps "
        f"{row['coverage']:.3f} of the drafts, whose F1 of findings is {row['kept']:.3f}, of the "
        f"withheld {row['withheld']:.3f}, of all {row['quality']:.3f}; {ranked}"
    )
