"""When a reader abstains: the confidence below which a draft is withheld, chosen on validation."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cascade.errors import InputError
from cascade.metrics.selective import choose_cut, select
from cascade.models.reader import Reader
from cascade.training.report_generator import FeatureDataset
from cascade.training.rewards import create_reward

log = logging.getLogger(__name__)

LEAST = 20
"""With fewer validation drafts no threshold is chosen."""
QUALITY = "F1 of what a draft names: diseases of an annotation, mined labels of a report"


def wanted_coverage(options: Mapping[str, Any]) -> float | None:
    """``generator.coverage``; None where no threshold is asked for.

    Raises:
        InputError: no share.
    """
    found = options.get("coverage")
    if found is None:
        return None
    try:
        share = float(found)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 < share <= 1:
        raise InputError(
            f"generator.coverage={found}: expected null (no draft is withheld), or the share of "
            "drafts that are kept, above 0 and at most 1"
        )
    return share


def draft_quality(drafts: Sequence[str], references: Sequence[str], target: str) -> np.ndarray:
    """``(N,)`` in [0, 1]: F1 of what each draft names, normal among it (``LabelReward``)."""
    return create_reward("labels", [], target)(drafts, references)


def choose_abstention(
    drafts: Sequence[str],
    references: Sequence[str],
    confidences: Sequence[float],
    target: str,
    coverage: float,
) -> dict[str, Any]:
    """What a bundle keeps of its abstention: plain values.

    Args:
        drafts: of validation.
        references: likewise.
        confidences: of the drafts.
        target: which text they are.
        coverage: the share of drafts to keep.

    Returns:
        ``threshold``: a draft of less confidence is withheld; None where there is none, for the
        ``reason``: fewer than ``LEAST`` drafts, or a confidence that does not put good drafts
        before bad ones. ``coverage`` as wanted, and of validation what ``Selection`` has.
    """
    out: dict[str, Any] = {"threshold": None, "wanted": coverage, "studies": len(drafts)}
    if len(drafts) < LEAST:
        return out | {"reason": f"fewer than {LEAST} validation drafts"}
    sure = np.asarray(confidences, dtype=float)
    quality = draft_quality(drafts, references, target)
    cut = choose_cut(sure, coverage)
    found = select(sure, quality, cut)
    out |= {k: None if math.isnan(v) else round(v, 6) for k, v in found._asdict().items()}
    if not found.area < found.random:
        reason = "on validation the confidence ranks drafts no better than chance"
        log.warning("no draft will be withheld: %s", reason)
        return out | {"reason": reason}
    return out | {"threshold": cut}


@torch.no_grad()
def write_drafts(
    reader: Reader, data: FeatureDataset, batch_size: int, device: str = "cpu"
) -> tuple[list[str], list[float]]:
    """The drafts of features, as ``annotate`` writes them, and their confidences."""
    vocabulary = reader.vocabulary
    assert vocabulary is not None
    reader = reader.eval().to(device)
    drafts: list[str] = []
    confidences: list[float] = []
    for start in range(0, len(data), batch_size):
        batch = data.__getitems__(range(start, min(start + batch_size, len(data))))
        features = batch.features.to(device)
        if reader.condition is not None:
            asked = batch.indications
            features = reader.condition.join(features, None if asked is None else asked.to(device))
        generated = reader.draft(features, batch.scores.to(device))
        drafts += [vocabulary.decode(ids) for ids in generated.tokens]
        confidences += generated.confidences.tolist()
    reader.cpu()
    return drafts, confidences
