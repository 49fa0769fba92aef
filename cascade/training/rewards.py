"""What a draft is worth, study by study: the rewards of self-critical training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cascade.errors import InputError
from cascade.labels import mesh
from cascade.metrics.caption import Cider
from cascade.metrics.clinical import PRESENT, count_labels
from cascade.metrics.nlg import annotation_words, report_words

END = "<end>"
"""Counts as a word, so that a draft that breaks off is not worth a whole one."""

Reward = Callable[[Sequence[str], Sequence[str]], np.ndarray]
"""Drafts and their references, as written, to values in [0, 1], the higher the better."""


class CiderReward:
    """A tenth of CIDEr-D, its words weighed by the training references alone.

    The end of a text counts as a word, and so the figure is not quite that of the tables.

    Args:
        texts: the training references.
        annotation: whether they are annotations; else they are reports.
    """

    def __init__(self, texts: Sequence[str], annotation: bool) -> None:
        """Count once in how many training references each run of words occurs."""
        tokenize = annotation_words if annotation else report_words
        self._cider = Cider(texts, lambda text: [*tokenize(text), END])

    def __call__(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """``(N,)`` in [0, 1]."""
        return self._cider.score_pairs(hypotheses, references) / 10


class LabelReward:
    """F1 of what a draft names: the diseases of an annotation, the mined labels of a report.

    Both texts naming nothing is 1, one of them alone 0.

    >>> LabelReward([], True)(["opacity/left; edema"], ["opacity"]).tolist()
    [0.6666666666666666]
    >>> LabelReward([], False)(["Large heart. No effusion."], ["Cardiomegaly."]).tolist()
    [1.0]
    """

    def __init__(self, texts: Sequence[str], annotation: bool) -> None:
        """``texts`` are not looked at."""
        self._annotation = annotation

    def __call__(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """``(N,)`` in [0, 1]."""
        if self._annotation:
            said = [set(mesh.annotation_diseases(text)) for text in hypotheses]
            meant = [set(mesh.annotation_diseases(text)) for text in references]
            both = [len(one & other) for one, other in zip(said, meant, strict=True)]
            total = [len(one) + len(other) for one, other in zip(said, meant, strict=True)]
            hits, named = np.array(both), np.array(total)
        else:
            counts = count_labels(hypotheses, references)
            stated, true = counts.hypothesis == PRESENT, counts.reference == PRESENT
            hits = (stated & true).sum(axis=1)
            named = stated.sum(axis=1) + true.sum(axis=1)
        return np.where(named > 0, 2 * hits / np.maximum(named, 1), 1.0)


REWARDS: dict[str, Callable[[Sequence[str], bool], Reward]] = {
    "cider": CiderReward,
    "labels": LabelReward,
}


def create_reward(name: str, texts: Sequence[str], target: str) -> Reward:
    """A reward by name.

    Args:
        name: of ``REWARDS``.
        texts: the training references.
        target: ``generator.target``.

    Raises:
        InputError: unknown name.
    """
    if name not in REWARDS:
        raise InputError(
            f"unknown generator.self_critical.reward={name}: expected one of {', '.join(REWARDS)}"
        )
    return REWARDS[name](texts, target == "annotation")
