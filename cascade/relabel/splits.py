"""How a disease was split: sizes, names, words, stability; what ``contexts.json`` holds."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cascade.relabel.stability import UNSTABLE, Stability

FORMAT_VERSION = 1


class Word(NamedTuple):
    """A piece of annotations: which share of a context's texts has it, and of the others'."""

    text: str
    share: float
    elsewhere: float


def pieces_of(text: str) -> set[str]:
    """The pieces of an annotation text.

    >>> sorted(pieces_of("opacity/lung/left; nodule"))
    ['left', 'lung', 'nodule', 'opacity']
    """
    return {piece.strip() for piece in re.split("[;/]", text)} - {""}


def describe(texts: Sequence[str], words: int = 4) -> str:
    """The commonest pieces of a context's texts, with the share that has each.

    >>> describe(["opacity/lung/left", "opacity/lung/left", "opacity/lung/right"], 2)
    'left 67%, right 33%'
    """
    counts = Counter(piece for text in texts for piece in pieces_of(text))
    common = {piece for piece, count in counts.items() if count == len(texts)}
    telling = [
        (p, c) for p, c in sorted(counts.items(), key=lambda x: (-x[1], x[0])) if p not in common
    ]
    shown = telling[:words] or [(piece, len(texts)) for piece in sorted(common)]
    return ", ".join(f"{piece} {100 * count / len(texts):.0f}%" for piece, count in shown)


def telling_words(own: Sequence[str], others: Sequence[str], most: int = 6) -> list[Word]:
    """Pieces that a context has oftener than the disease's other contexts, the widest apart first.

    >>> telling_words(["opacity/left", "opacity/left"], ["opacity/left", "opacity/right"])
    [Word(text='left', share=1.0, elsewhere=0.5)]
    """
    here = Counter(piece for text in own for piece in pieces_of(text))
    there = Counter(piece for text in others for piece in pieces_of(text))
    words = [
        Word(piece, count / len(own), there[piece] / max(1, len(others)))
        for piece, count in here.items()
    ]
    words = [word for word in words if word.share > word.elsewhere]
    return sorted(words, key=lambda w: (w.elsewhere - w.share, w.text))[:most]


@dataclasses.dataclass(frozen=True)
class Split:
    """The contexts of one disease.

    Attributes:
        disease: its name.
        rows: ``(N,)`` which of the studies that were read carry it.
        texts: N texts, the disease's own words.
        training: ``(N,)`` bool: these shaped the clusters.
        k: contexts; 1 where the disease stayed whole.
        assigned: ``(N,)`` context of each, the largest in training first.
        distance: ``(N,)`` squared distance to the context's centre.
        asked: how many the rule asked for; None where that was for the contexts to say.
        noise: training studies that HDBSCAN found in no cluster.
        stability: of the split.
    """

    disease: str
    rows: np.ndarray
    texts: list[str]
    training: np.ndarray
    k: int
    assigned: np.ndarray
    distance: np.ndarray
    asked: int | None = 1
    noise: int = 0
    stability: Stability = Stability(math.nan, math.nan)

    @classmethod
    def whole(cls, disease: str, rows: np.ndarray, texts: list[str], training: np.ndarray) -> Split:
        """A disease that is not split."""
        nowhere = np.zeros(len(rows), dtype=np.int64)
        return cls(disease, rows, texts, training, 1, nowhere, np.zeros(len(rows)))

    def texts_of(self, context: int) -> list[str]:
        """The training texts of a context."""
        chosen = np.flatnonzero((self.assigned == context) & self.training)
        return [self.texts[i] for i in chosen]

    def description(self, context: int) -> str:
        """A context in words."""
        own = self.texts_of(context)
        return describe(own) if own else "no training study"

    def words(self, context: int) -> list[Word]:
        """The pieces that tell a context from the others of its disease."""
        others = [t for other in range(self.k) if other != context for t in self.texts_of(other)]
        return telling_words(self.texts_of(context), others)

    def typical(self, context: int, most: int) -> list[int]:
        """Training studies nearest to a centre, as places in ``rows``; different texts first."""
        own = np.flatnonzero((self.assigned == context) & self.training)
        order = own[np.argsort(self.distance[own], kind="stable")].tolist()
        seen: set[str] = set()
        first = []
        for place in order:
            if self.texts[place] not in seen:
                first.append(place)
                seen.add(self.texts[place])
        return [*first, *(i for i in order if i not in first)][:most]

    def sizes(self, training: bool) -> list[int]:
        """Studies of each context, training ones or the others."""
        part = self.assigned[self.training == training]
        return np.bincount(part, minlength=self.k).tolist()

    def warning(self) -> str | None:
        """One line where the split is not stable."""
        if not self.stability.unstable:
            return None
        return (
            f"{self.disease}: its {self.k} contexts are not stable (adjusted Rand index "
            f"{self.stability.seeds:.2f} over seeds, {self.stability.bootstrap:.2f} over bootstrap "
            f"draws; below {UNSTABLE} is poor)"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values without a study's name."""
        seeds, bootstrap = (None if math.isnan(v) else round(v, 4) for v in self.stability)
        train, others = self.sizes(True), self.sizes(False)
        return {
            "disease": self.disease,
            "training_studies": int(self.training.sum()),
            "asked": self.asked,
            "contexts": [
                {
                    "name": self.disease if self.k == 1 else f"{self.disease}#{context + 1}",
                    "training": train[context],
                    "validation": others[context],
                    "description": self.description(context),
                    "words": [word._asdict() for word in self.words(context)],
                }
                for context in range(self.k)
            ],
            "noise": self.noise,
            "stability": None
            if seeds is None
            else {
                "seeds": seeds,
                "bootstrap": bootstrap,
                "unstable": self.stability.unstable,
            },
        }
