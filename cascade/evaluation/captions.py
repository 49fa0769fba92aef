"""CIDEr, METEOR, sacreBLEU and the share copied, as sums over rows; and what was not run, and why.

All are optional but CIDEr: a figure that cannot be worked out is named with its reason
(``Captions.not_run``), and nothing stands in its place.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np

from cascade.errors import InputError
from cascade.metrics import caption, nlg
from cascade.metrics.caption import METEOR_SECONDS, NotRunError

METEOR_CHOICES = ("reports", "always", "never")
"""Values of ``evaluate.meteor``: METEOR for free text alone, for annotations too, or not at all."""


@dataclasses.dataclass
class CaptionScores:
    """One system's rows; what is None was not run.

    Attributes:
        cider, cider_plain: ``(N,)``, each row's score; the words are weighed by the references of
            all rows scored, in the strata and under every resample.
        meteor: ``(N, 23)``, METEOR's statistics: the corpus figure is that of their weighted sums.
        sacrebleu: counts of n-grams, likewise.
        copied: ``(N,)`` bool.
    """

    cider: np.ndarray
    cider_plain: np.ndarray
    meteor: np.ndarray | None = None
    sacrebleu: caption.SacreCounts | None = None
    copied: np.ndarray | None = None

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every figure that was run under weights ``(R, N)``, ``(R,)`` each."""
        total = weights.sum(axis=1)
        values = {
            "cider": weights @ self.cider / total,
            "cider_plain": weights @ self.cider_plain / total,
        }
        if self.meteor is not None:
            values["meteor"] = caption.meteor_of_statistics(weights @ self.meteor)
        if self.sacrebleu is not None:
            values["sacrebleu"] = self.sacrebleu.score(weights)
        if self.copied is not None:
            values["copied"] = weights @ self.copied / total
        return values


@dataclasses.dataclass
class Captions:
    """The scores of all systems, and what is to be said of them.

    Attributes:
        scores: system -> its scores.
        tokenizers: figure -> how its words are cut.
        not_run: figure -> why it is not there.
        seconds: figure -> how long it took, of those that are slow.
    """

    scores: dict[str, CaptionScores]
    tokenizers: dict[str, str]
    not_run: dict[str, str]
    seconds: dict[str, float]


def caption_scores(
    systems: Mapping[str, Sequence[str]],
    references: Sequence[str],
    tokenizer: str,
    training: Sequence[str] | None = None,
    *,
    kind: str = "report",
    meteor: str = "never",
    meteor_seconds: float = METEOR_SECONDS,
) -> Captions:
    """Score the texts of systems by all caption metrics that can be run here.

    Args:
        systems: name -> ``N`` hypotheses.
        references: ``N`` of them.
        tokenizer: a name of ``nlg.TOKENIZERS``; sacreBLEU has its own.
        training: the training reports, for the share copied; None where they are unknown.
        kind: "report" or "annotation".
        meteor: of ``METEOR_CHOICES``. All systems are scored by one process of Java.
        meteor_seconds: how long that may take; then METEOR is not run, which is said.

    Raises:
        InputError: ``meteor`` is none of its choices.
    """
    if meteor not in METEOR_CHOICES:
        raise InputError(f"evaluate.meteor={meteor}: expected one of {', '.join(METEOR_CHOICES)}")
    tokenize = nlg.TOKENIZERS[tokenizer]
    cider = caption.Cider(references, tokenize)
    found = {
        name: CaptionScores(cider.score(texts), cider.score(texts, clipped=False))
        for name, texts in systems.items()
    }
    tokenizers = dict.fromkeys(("P-n", "BLEU-n", "ROUGE-L", "CIDEr"), tokenizer)
    not_run: dict[str, str] = {}
    seconds: dict[str, float] = {}
    if training is None:
        not_run["Copied"] = "no training reports were given"
    else:
        for name, texts in systems.items():
            found[name].copied = nlg.copied(texts, training, tokenize)
    try:
        for name, texts in systems.items():
            found[name].sacrebleu = counts = caption.sacrebleu_counts(texts, references)
            tokenizers["sacreBLEU"] = counts.signature
    except NotRunError as error:
        not_run["sacreBLEU"] = str(error)
    try:
        began = time.monotonic()
        _add_meteor(found, systems, references, tokenize, kind, meteor, meteor_seconds)
        seconds["METEOR"] = round(time.monotonic() - began, 1)
        tokenizers["METEOR"] = f"{tokenizer}, then METEOR 1.5's own -norm"
    except NotRunError as error:
        not_run["METEOR"] = str(error)
    return Captions(found, tokenizers, not_run, seconds)


def _add_meteor(
    found: dict[str, CaptionScores],
    systems: Mapping[str, Sequence[str]],
    references: Sequence[str],
    tokenize: nlg.Tokenizer,
    kind: str,
    meteor: str,
    seconds: float,
) -> None:
    if meteor == "never":
        raise NotRunError("left out (evaluate.meteor=never)")
    if meteor == "reports" and kind != "report":
        raise NotRunError("left out for annotations (evaluate.meteor=always runs it)")
    said = [text for texts in systems.values() for text in texts]
    try:
        rows = caption.meteor_statistics(said, [*references] * len(systems), tokenize, seconds)
    except NotRunError as error:
        late = "took longer" in str(error)
        raise NotRunError(f"{error}{' (evaluate.meteor_seconds)' * late}") from error
    for place, name in enumerate(systems):
        found[name].meteor = rows[place * len(references) : (place + 1) * len(references)]
