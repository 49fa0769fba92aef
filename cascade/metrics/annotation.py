"""Whether an annotation names the right diseases, and where it puts them.

An annotation is terms joined by ``; ``, each ``disease/piece/piece`` (``cascade.labels.mesh``). A
disease counts once a study, however many terms name it. ``normal`` is counted as a disease of its
own; since most studies are normal, the figures that matter are also given without it (abnormal).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cascade.labels import mesh
from cascade.labels.table import NORMAL
from cascade.metrics.classification import ratio

SLOTS = ("location", "side", "severity")
"""What an annotation says of a disease besides its name, scored apart."""


@dataclasses.dataclass(frozen=True)
class DiseaseMatrix:
    """Which diseases each text names.

    Attributes:
        names: the ``D`` diseases of either side, commonest in the references first.
        reference, hypothesis: ``(N, D)`` bool.
    """

    names: list[str]
    reference: np.ndarray
    hypothesis: np.ndarray

    @property
    def abnormal(self) -> np.ndarray:
        """``(D,)`` bool: every disease but ``normal``."""
        return np.array([name != NORMAL for name in self.names], dtype=bool)


def disease_matrix(hypotheses: Sequence[str], references: Sequence[str]) -> DiseaseMatrix:
    """Find the diseases of both sides.

    Raises:
        ValueError: more hypotheses than references, or fewer.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    meant = [set(mesh.annotation_diseases(text)) for text in references]
    said = [set(mesh.annotation_diseases(text)) for text in hypotheses]
    support = pd.Series([name for names in meant for name in names], dtype=object).value_counts()
    every = set(support.index).union(*said)
    names = sorted(every, key=lambda name: (-int(support.get(name, 0)), name))
    place = {name: at for at, name in enumerate(names)}
    reference = np.zeros((len(references), len(names)), dtype=bool)
    hypothesis = np.zeros_like(reference)
    for row in range(len(references)):
        reference[row, [place[name] for name in meant[row]]] = True
        hypothesis[row, [place[name] for name in said[row]]] = True
    return DiseaseMatrix(names, reference, hypothesis)


def disease_scores(matrix: DiseaseMatrix) -> pd.DataFrame:
    """Counts, precision, recall and F1 of each disease.

    Returns:
        Index ``disease``; columns support (studies whose reference names it), written (whose
        hypothesis does), hits (both), precision = hits / written (NaN if never written), recall =
        hits / support (NaN without support), f1 = 2 hits / (support + written).
    """
    support = matrix.reference.sum(axis=0)
    written = matrix.hypothesis.sum(axis=0)
    hits = (matrix.reference & matrix.hypothesis).sum(axis=0)
    return pd.DataFrame(
        {
            "support": support,
            "written": written,
            "hits": hits,
            "precision": ratio(hits, written),
            "recall": ratio(hits, support),
            "f1": ratio(2 * hits, support + written),
        },
        index=pd.Index(matrix.names, name="disease"),
    )


def summarise(
    support: np.ndarray, written: np.ndarray, hits: np.ndarray, abnormal: np.ndarray
) -> dict[str, np.ndarray]:
    """Micro and macro figures of summed counts; leading axes are kept (resamples).

    ``micro_*`` sums over diseases first; ``macro_*`` averages over the diseases with support (one
    of them that is never written has precision 0); ``*_abnormal`` leaves ``normal`` out. A disease
    that is written but has no support lowers micro precision and enters no macro mean.

    Shape:
        - support, written, hits: ``(..., D)``; abnormal: ``(D,)`` bool
        - each output: ``(...)`` in [0, 1], NaN where undefined
    """
    figures: dict[str, np.ndarray] = {}
    for suffix, chosen in (("", np.ones_like(abnormal)), ("_abnormal", abnormal)):
        true, said, both = (side[..., chosen] for side in (support, written, hits))
        totals = (side.sum(axis=-1) for side in (true, said, both))
        all_true, all_said, all_both = totals
        figures[f"micro_precision{suffix}"] = ratio(all_both, all_said)
        figures[f"micro_recall{suffix}"] = ratio(all_both, all_true)
        figures[f"micro_f1{suffix}"] = ratio(2 * all_both, all_true + all_said)
        supported = true > 0
        count = supported.sum(axis=-1)
        for name, above, below in (
            ("precision", both, said),
            ("recall", both, true),
            ("f1", 2 * both, true + said),
        ):
            each = np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)
            figures[f"macro_{name}{suffix}"] = ratio((each * supported).sum(axis=-1), count)
    return figures


def disease_summary(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """``summarise`` of texts: micro and macro precision, recall and F1, with and without normal.

    Raises:
        ValueError: more hypotheses than references, or fewer.
    """
    matrix = disease_matrix(hypotheses, references)
    figures = summarise(
        matrix.reference.sum(axis=0),
        matrix.hypothesis.sum(axis=0),
        (matrix.reference & matrix.hypothesis).sum(axis=0),
        matrix.abnormal,
    )
    return {name: float(value) for name, value in figures.items()}


SLOT_COUNTS = ("compared", "right", "stated", "stated_right")


def slot_counts(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """What ``slot_scores`` sums, row by row, so that rows can be weighed.

    Shape:
        - output: ``(N, S, 4)`` of ``SLOTS`` and ``SLOT_COUNTS``

    Raises:
        ValueError: more hypotheses than references, or fewer.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    counts = np.zeros((len(references), len(SLOTS), len(SLOT_COUNTS)))
    for row, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
        said, meant = mesh.annotation_slots(hypothesis), mesh.annotation_slots(reference)
        for disease in sorted((said.keys() & meant.keys()) - {NORMAL}):
            for place, slot in enumerate(SLOTS):
                true = set(getattr(meant[disease], slot))
                same = set(getattr(said[disease], slot)) == true
                counts[row, place] += (1, same, bool(true), same and bool(true))
    return counts


def slot_scores(hypotheses: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
    """Location, side and severity of the diseases that both texts name, each scored apart.

    A slot is right when both say the same set of words of it; saying nothing where the reference
    says nothing is right too, so the figures over stated slots alone are given beside.

    Returns:
        Index ``slot``; columns compared (a disease of a study that both name, ``normal`` aside),
        right, accuracy = right / compared, stated (of these, where the reference says something),
        stated_right, stated_accuracy; NaN where nothing was compared.

    Raises:
        ValueError: more hypotheses than references, or fewer.
    """
    counts = slot_counts(hypotheses, references).sum(axis=0).astype(int)
    table = pd.DataFrame(counts, index=pd.Index(SLOTS, name="slot"), columns=list(SLOT_COUNTS))
    table["accuracy"] = ratio(table["right"].to_numpy(), table["compared"].to_numpy())
    table["stated_accuracy"] = ratio(table["stated_right"].to_numpy(), table["stated"].to_numpy())
    order = ["compared", "right", "accuracy", "stated", "stated_right", "stated_accuracy"]
    return table[order]
