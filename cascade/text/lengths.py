"""How long reports are and how many of them are the same: what a decoder is asked to write."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from cascade.labels.segment import sentence_spans
from cascade.text.marks import share_with_marks

PERCENTILES = (5, 25, 50, 75, 95, 99)
_WORD = re.compile(r"[^\W_]+(?:[-'./][^\W_]+)*")


@dataclasses.dataclass(frozen=True)
class Lengths:
    """The distribution of one count over reports.

    Attributes:
        mean: of the count.
        deviation: standard deviation.
        least: of them.
        most: of them.
        percentiles: by name: ``{"5": ..., "25": ..., ...}``.
        edges: B + 1 edges of the histogram's bins, whole numbers; the last bin holds its right end.
        counts: B counts.
    """

    mean: float
    deviation: float
    least: int
    most: int
    percentiles: dict[str, float]
    edges: list[int]
    counts: list[int]


@dataclasses.dataclass(frozen=True)
class LengthStatistics:
    """Reports by their lengths.

    Attributes:
        reports: those with any text; the others take no part.
        empty: those without.
        distinct: different texts, white space and case aside.
        duplicated: reports whose text another report has, too.
        commonest: how many share the commonest text.
        share_with_marks: of de-identification.
        words: a report; numbers are words, signs are not.
        sentences: a report.
    """

    reports: int
    empty: int
    distinct: int
    duplicated: int
    commonest: int
    share_with_marks: float
    words: Lengths
    sentences: Lengths

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def count_words(text: str) -> int:
    """Words of a report; numbers count, signs do not.

    >>> count_words("No x-XXXX; 2.5 cm - stable.")
    5
    """
    return len(_WORD.findall(text))


def length_statistics(texts: Sequence[str | None], bins: int = 20) -> LengthStatistics:
    """Words and sentences a report, repeated reports, marks.

    Args:
        texts: reports as written; None or nothing but white space is an empty one.
        bins: at most so many in a histogram.

    >>> found = length_statistics(["No effusion. Clear.", "no effusion.  clear.", "Mass.", None])
    >>> found.reports, found.empty, found.distinct, found.duplicated, found.words.mean
    (3, 1, 2, 2, 2.3333333333333335)
    """
    written = [text for text in texts if text and text.strip()]
    same, sizes = np.unique(
        np.array([" ".join(text.lower().split()) for text in written], dtype=object).astype(str),
        return_counts=True,
    )
    return LengthStatistics(
        reports=len(written),
        empty=len(texts) - len(written),
        distinct=len(same),
        duplicated=int(sizes[sizes > 1].sum()),
        commonest=int(sizes.max(initial=0)),
        share_with_marks=share_with_marks(written),
        words=_lengths([count_words(text) for text in written], bins),
        sentences=_lengths([len(sentence_spans(text)) for text in written], bins),
    )


def _lengths(values: list[int], bins: int) -> Lengths:
    if not values:
        nothing = {str(share): float("nan") for share in PERCENTILES}
        return Lengths(float("nan"), float("nan"), 0, 0, nothing, [0, 1], [0])
    counts = np.array(values)
    width = max(1, -(-(int(counts.max()) + 1) // bins))  # whole numbers a bin, 0 and the most in
    edges = np.arange(0, int(counts.max()) + width + 1, width)
    found = np.percentile(counts, PERCENTILES)
    return Lengths(
        float(counts.mean()),
        float(counts.std()),
        int(counts.min()),
        int(counts.max()),
        {str(share): float(value) for share, value in zip(PERCENTILES, found, strict=True)},
        edges.tolist(),
        np.histogram(counts, edges)[0].tolist(),
    )
