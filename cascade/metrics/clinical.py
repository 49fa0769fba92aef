"""Whether a report says the right things: its mined labels against those of the reference.

Both texts go through the free-text miner (``cascade.labels.miner``), so a figure says what the
miner reads, with the miner's own errors (docs/miner.md). A label is present (1), denied (0),
doubtful (-1) or not mentioned (NaN). Three questions are asked of each study:

- are the labels that the reference asserts present, asserted present (precision, recall, F1);
- does the hypothesis assert what the reference denies, or deny what it asserts (contradiction);
- is a finding that both assert on the same side (side errors).

Everything is kept as sums over rows, so that the bootstrap can weigh the rows.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cascade.labels.label_sets import (
    ABSENT,
    LABEL_SETS,
    NORMAL,
    PRESENT,
    label_values,
)
from cascade.labels.miner import mine_sections
from cascade.metrics.annotation import summarise
from cascade.metrics.classification import ratio
from cascade.metrics.laterality import mention_sides

LABEL_SET = "chestxray14"
COMMON = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Pleural Effusion")
"""The five that CheXpert's competition scored; its name and ChestX-ray14's of the fifth."""


@dataclasses.dataclass(frozen=True)
class ClinicalCounts:
    """What each text says, row by row.

    Attributes:
        names: the ``K`` labels, ``normal`` first.
        hypothesis, reference: ``(N, K)``: 1 present, 0 denied, -1 doubtful, NaN not mentioned.
        sides_compared: ``(N,)``, findings that both texts assert and put on a side.
        sides_wrong: ``(N,)``, those of them without a side in common: left for right.
        sides_unequal: ``(N,)``, those of them whose sides are not the same: one of both counts too.
    """

    names: list[str]
    hypothesis: np.ndarray
    reference: np.ndarray
    sides_compared: np.ndarray
    sides_wrong: np.ndarray
    sides_unequal: np.ndarray

    @property
    def findings(self) -> np.ndarray:
        """``(K,)`` bool: every label but ``normal``."""
        return np.array([name != NORMAL for name in self.names], dtype=bool)

    @property
    def common(self) -> np.ndarray:
        """``(K,)`` bool: the five of ``COMMON``."""
        return np.array([name in COMMON for name in self.names], dtype=bool)

    @property
    def abnormal_rows(self) -> np.ndarray:
        """``(N,)`` bool: studies whose reference has words, and is not read as normal."""
        normal = self.reference[:, self.names.index(NORMAL)]
        return np.asarray(~np.isnan(normal) & (normal != PRESENT))

    @property
    def false_findings(self) -> np.ndarray:
        """``(N, K)`` bool: asserted although the reference denies it; never ``normal``."""
        both = (self.hypothesis == PRESENT) & (self.reference == ABSENT)
        return np.asarray(both & self.findings)

    @property
    def false_denials(self) -> np.ndarray:
        """``(N, K)`` bool: denied although the reference asserts it; never ``normal``."""
        both = (self.hypothesis == ABSENT) & (self.reference == PRESENT)
        return np.asarray(both & self.findings)

    @property
    def both_assert(self) -> np.ndarray:
        """``(N, K)`` bool: both texts assert or deny the label; never ``normal``."""
        stands = [np.isin(side, (PRESENT, ABSENT)) for side in (self.hypothesis, self.reference)]
        return np.asarray(stands[0] & stands[1] & self.findings)


def count_labels(
    hypotheses: Sequence[str], references: Sequence[str], label_set: str = LABEL_SET
) -> ClinicalCounts:
    """Mine both sides and compare them row by row.

    Args:
        hypotheses: ``N`` reports as written by a system; one without a word says nothing.
        references: ``N`` reports.
        label_set: a name of ``LABEL_SETS``.

    >>> counts = count_labels(["Left effusion. No edema."], ["Right effusion with edema."])
    >>> int(counts.sides_wrong[0]), int(counts.false_denials.sum())
    (1, 1)

    Raises:
        ValueError: more hypotheses than references, or fewer; an unknown label set.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    if label_set not in LABEL_SETS:
        raise ValueError(f"unknown label set {label_set!r}, expected one of {sorted(LABEL_SETS)}")
    names = [NORMAL, *LABEL_SETS[label_set].labels]
    said, meant = np.full((2, len(references), len(names)), np.nan)
    sides = np.zeros((len(references), 3), dtype=np.int64)
    for row, texts in enumerate(zip(hypotheses, references, strict=True)):
        (values, places), (true_values, true_places) = (_read(text, label_set) for text in texts)
        said[row], meant[row] = values, true_values
        for finding, true_sides in true_places.items():
            if finding in places:
                found = places[finding]
                sides[row] += 1, not found & true_sides, found != true_sides
    return ClinicalCounts(names, said, meant, sides[:, 0], sides[:, 1], sides[:, 2])


@functools.lru_cache(maxsize=2**13)
def _read(text: str, label_set: str) -> tuple[tuple[float, ...], dict[str, frozenset[str]]]:
    """The value of ``normal`` and each label, and the sides of each finding asserted on a side."""
    mentions = mine_sections({"findings": text})
    labels = LABEL_SETS[label_set]
    values = label_values(mentions, labels, has_text=bool(text.strip()))
    sides: dict[str, frozenset[str]] = {}
    for mention, found in zip(mentions, mention_sides(text, mentions), strict=True):
        if mention.status == "present" and found:
            sides[mention.finding] = sides.get(mention.finding, frozenset()) | found
    row = tuple(values.get(name, np.nan) for name in (NORMAL, *labels.labels))
    return row, sides


def clinical_figures(counts: ClinicalCounts, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every clinical figure under weights ``(R, N)``, ``(R,)`` each; NaN where undefined.

    ``clin_{micro,macro}_{precision,recall,f1}`` are over all labels and ``normal``; with the suffix
    ``_abnormal`` over the findings alone; ``_abnormal_studies`` over the findings, in the studies
    whose reference is not normal; ``clin5_`` over the five common findings; ``clin_f1:LABEL`` is
    of one label. Macro is the mean over the labels that some reference asserts. ``contradiction``
    is a share of studies, ``contradicted_assertions`` of the labels on which both texts take a
    stand, ``side_errors`` and ``side_differences`` of the findings that both put on a side.
    """
    reference, hypothesis = counts.reference == PRESENT, counts.hypothesis == PRESENT
    hits = reference & hypothesis
    values: dict[str, np.ndarray] = {}
    for prefix, suffix, labels, rows in (
        ("clin", "", np.ones_like(counts.findings), None),
        ("clin", "_abnormal", counts.findings, None),
        ("clin", "_abnormal_studies", counts.findings, counts.abnormal_rows),
        ("clin5", "", counts.common, None),
    ):
        chosen = weights if rows is None else weights * rows
        true, said, both = (chosen @ side[:, labels] for side in (reference, hypothesis, hits))
        summary = summarise(true, said, both, np.ones(int(labels.sum()), dtype=bool))
        values |= {
            f"{prefix}_{name}{suffix}": value
            for name, value in summary.items()
            if not name.endswith("_abnormal")
        }
    each = ratio(2 * (weights @ hits), weights @ reference + weights @ hypothesis)
    values |= {f"clin_f1:{name}": each[:, place] for place, name in enumerate(counts.names)}
    wrong = counts.false_findings | counts.false_denials
    values["contradiction"] = ratio(weights @ wrong.any(axis=1), weights.sum(axis=1))
    values["contradicted_assertions"] = ratio(
        weights @ wrong.sum(axis=1), weights @ counts.both_assert.sum(axis=1)
    )
    compared = weights @ counts.sides_compared
    values["side_errors"] = ratio(weights @ counts.sides_wrong, compared)
    values["side_differences"] = ratio(weights @ counts.sides_unequal, compared)
    return values


def label_scores(counts: ClinicalCounts) -> pd.DataFrame:
    """Counts, precision, recall and F1 of each label, over all rows.

    Returns:
        Index ``label``, ``normal`` first; columns support (references that assert it), written
        (hypotheses that do), hits (both), precision = hits / written (NaN if never written), recall
        = hits / support (NaN without support), f1 = 2 hits / (support + written), false_findings
        (asserted, and denied by the reference), false_denials (denied, and asserted by it).
    """
    reference, hypothesis = counts.reference == PRESENT, counts.hypothesis == PRESENT
    support, written = reference.sum(axis=0), hypothesis.sum(axis=0)
    hits = (reference & hypothesis).sum(axis=0)
    return pd.DataFrame(
        {
            "support": support,
            "written": written,
            "hits": hits,
            "precision": ratio(hits, written),
            "recall": ratio(hits, support),
            "f1": ratio(2 * hits, support + written),
            "false_findings": counts.false_findings.sum(axis=0),
            "false_denials": counts.false_denials.sum(axis=0),
        },
        index=pd.Index(counts.names, name="label"),
    )
