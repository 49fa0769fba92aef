"""One system's scores as sums over rows, so that any weighting of the rows is a product.

The point figures (all weights 1), the strata (weights 1 and 0) and the bootstrap (how often each
study was drawn) are the same function of other weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from cascade.evaluation.captions import CaptionScores
from cascade.evaluation.significance import Difference
from cascade.metrics import annotation, calibration, classification, clinical, nlg

Kind = Literal["annotation", "report"]
"""What the texts are: annotations of terms, or free text (which has no disease figures)."""

METRICS: dict[str, str] = {
    "precision1": "P-1",
    "precision2": "P-2",
    "precision3": "P-3",
    "precision4": "P-4",
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "exact": "Exact",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "cider_plain": "CIDEr plain",
    "sacrebleu": "sacreBLEU",
    "length_ratio": "Length",
    "copied": "Copied",
    "micro_f1_abnormal": "F1 abnormal (micro)",
    "macro_f1_abnormal": "F1 abnormal (macro)",
    "macro_recall_abnormal": "Recall abnormal (macro)",
    "clin_micro_f1": "Clin F1 (micro)",
    "clin_macro_f1": "Clin F1 (macro)",
    "clin_micro_f1_abnormal": "Clin F1 abnormal (micro)",
    "clin_macro_f1_abnormal": "Clin F1 abnormal (macro)",
    "clin_macro_recall_abnormal": "Clin recall abnormal (macro)",
    "clin_macro_f1_abnormal_studies": "Clin F1 abnormal studies (macro)",
    "clin5_micro_f1": "Clin F1 of five (micro)",
    "clin5_macro_f1": "Clin F1 of five (macro)",
    "contradiction": "Contradiction ↓",
    "contradicted_assertions": "Contradicted assertions ↓",
    "side_errors": "Side errors ↓",
    "macro_auroc": "AUROC (macro)",
    "macro_average_precision": "AP (macro)",
}
"""The figures that have intervals and are compared, and what tables call them."""

NEITHER_IS_BETTER = frozenset(("length_ratio", "copied"))
"""Figures that describe a system and do not rank it."""

LESS_IS_BETTER = frozenset(
    (
        *("contradiction", "contradicted_assertions", "side_errors", "side_differences"),
        *("macro_brier", "macro_calibration_error"),
    )
)


def sign(metric: str) -> int:
    """1 where more is better, -1 where less is.

    >>> sign("bleu4"), sign("contradiction")
    (1, -1)
    """
    return -1 if metric in LESS_IS_BETTER else 1


def verdict(difference: Difference) -> str:
    """What a difference says of its second system: better, worse, unclear; '' with no interval.

    >>> verdict(Difference("contradiction", "one", "other", -0.2, -0.3, -0.1))
    'better'
    """
    if math.isnan(difference.low):
        return ""
    if not difference.holds:
        return "unclear"
    return "better" if sign(difference.metric) * difference.value > 0 else "worse"


class TextScores:
    """One system's text as sums over rows: every figure of it under weights is a product."""

    def __init__(
        self, hypotheses: Sequence[str], references: Sequence[str], tokenizer: str, kind: Kind
    ) -> None:
        """Count once what every weighting needs."""
        tokenize = nlg.TOKENIZERS[tokenizer]
        self.counts = nlg.count_ngrams(hypotheses, references, tokenize)
        self.rouge = nlg.rouge_l(hypotheses, references, tokenize)
        self.exact = nlg.exact_matches(hypotheses, references, tokenize)
        self.distinct = nlg.distinct_count(hypotheses, tokenize)
        self.empty = nlg.empty_count(hypotheses, tokenize)
        self.captions: CaptionScores | None = None
        self.matrix: annotation.DiseaseMatrix | None = None
        self.clinical: clinical.ClinicalCounts | None = None
        if kind == "report":
            self.clinical = clinical.count_labels(hypotheses, references)
        if kind == "annotation":
            self.matrix = annotation.disease_matrix(hypotheses, references)
            self.slots = annotation.slot_counts(hypotheses, references)

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every figure under weights ``(R, N)``, ``(R,)`` each."""
        total = weights.sum(axis=1)
        said = weights @ self.counts.hypothesis_length
        meant = weights @ self.counts.reference_length
        bleu = nlg.bleu_of_counts(
            weights @ self.counts.correct, weights @ self.counts.guessed, said, meant
        )
        precision = weights @ nlg.row_precision(self.counts) / total[:, None]
        values = {f"precision{n + 1}": precision[:, n] for n in range(nlg.ORDERS)}
        values |= {f"bleu{n + 1}": bleu[:, n] for n in range(nlg.ORDERS)}
        values["exact"] = weights @ self.exact / total
        values["rouge_l"] = weights @ self.rouge / total
        values["length_ratio"] = classification.ratio(said, meant)
        if self.captions is not None:
            values |= self.captions.figures(weights)
        if self.clinical is not None:
            values |= clinical.clinical_figures(self.clinical, weights)
        if self.matrix is not None:
            values |= annotation.summarise(
                weights @ self.matrix.reference,
                weights @ self.matrix.hypothesis,
                weights @ (self.matrix.reference & self.matrix.hypothesis),
                self.matrix.abnormal,
            )
            for place, slot in enumerate(annotation.SLOTS):
                compared, right, stated, stated_right = (weights @ self.slots[:, place]).T
                values[f"slot_accuracy:{slot}"] = classification.ratio(right, compared)
                values[f"slot_stated_accuracy:{slot}"] = classification.ratio(stated_right, stated)
        return values


class DetectionScores:
    """One system's probabilities; ranking and calibration of each label under weights."""

    def __init__(self, truth: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> None:
        """Keep truth and probabilities, ``(N, K)`` each, of ``K`` names."""
        self.truth, self.probabilities, self.names = truth, probabilities, list(names)

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """``METRIC:LABEL``, and ``macro_METRIC``: its mean over the labels that have an AUROC."""
        values: dict[str, np.ndarray] = {}
        defined = np.ones((len(weights), len(self.names)), dtype=bool)
        for metric, score in (
            ("auroc", classification.weighted_auroc),
            ("average_precision", classification.weighted_average_precision),
            ("brier", calibration.weighted_brier),
            ("calibration_error", calibration.weighted_calibration_error),
        ):
            columns = [
                score(self.truth[:, place], self.probabilities[:, place], weights)
                for place in range(len(self.names))
            ]
            values |= {f"{metric}:{n}": c for n, c in zip(self.names, columns, strict=True)}
            stacked = np.stack(columns, axis=1)
            # A label that nobody carries is easily calibrated: it enters no mean.
            defined &= ~np.isnan(stacked)
            total = np.where(defined, stacked, 0).sum(axis=1)
            values[f"macro_{metric}"] = classification.ratio(total, defined.sum(axis=1))
        return values
