"""How alike two texts are: BLEU under both definitions, ROUGE-L, exact match.

Strings in, numbers out. Every score depends on how words are cut, so the tokeniser is an argument
and has a name (``TOKENIZERS``) that belongs beside each printed figure. A hypothesis without words
is a wrong answer: it counts as zero in every mean and is never left out.

CIDEr, METEOR and sacreBLEU are in ``caption.py``.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

Tokenizer = Callable[[str], list[str]]

ORDERS = 4
"""BLEU counts n-grams of one to four words."""
ROUGE_BETA = 1.2
"""The weight of recall in ROUGE-L, as in pycocoevalcap."""

_ANNOTATION_MARKS = str.maketrans("/;", "  ")
_STOPS = re.compile(r"\.{2,}")
_LIST_NUMBER = re.compile(r"(?:^|\.? )[1-5]\. ")
_DROPPED = re.compile(r"""[.,:;?!"'*%^&_+<>=@()\[\]{}/\\]""")
_REPORT_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+(?:['’][^\W\d_]+)?")


def annotation_words(text: str) -> list[str]:
    """The words of an annotation: lower case, ``/`` and ``;`` as white space.

    >>> annotation_words("Opacity/lung/base/left; Cardiomegaly/mild")
    ['opacity', 'lung', 'base', 'left', 'cardiomegaly', 'mild']
    """
    return text.lower().translate(_ANNOTATION_MARKS).split()


def report_words(text: str) -> list[str]:
    """The words and numbers of a report: lower case, all punctuation dropped.

    A full stop is no word, so that ending every sentence earns nothing. A decimal number and a word
    with an apostrophe are one word each; a hyphen parts words.

    >>> report_words("No focal air-space disease. A 1.5 cm nodule; heart isn't enlarged.")[:8]
    ['no', 'focal', 'air', 'space', 'disease', 'a', '1.5', 'cm']
    """
    return _REPORT_WORD.findall(text.lower())


def spaced_words(text: str) -> list[str]:
    """Cut at white space and nowhere else: for text that is tokenised already.

    >>> spaced_words("Heart size is normal .")
    ['Heart', 'size', 'is', 'normal', '.']
    """
    return text.split()


def words_and_stops(text: str) -> list[str]:
    """As the field cuts Indiana University reports: small, and the end of a sentence is a word.

    Other punctuation is dropped without parting words (``1.5`` becomes ``15``, ``isn't`` becomes
    ``isnt``, a hyphen stays); so are the numbers 1 to 5 that begin the points of a list. This is
    what R2Gen's cleaning of these reports comes to: of the 3,425 findings of the Open-i archive 12
    are cut otherwise (R2Gen writes a second stop after an empty sentence, and glues "L1. A" to
    "la").

    >>> " ".join(words_and_stops("1. Heart size, normal. No air-space disease."))
    'heart size normal . no air-space disease .'
    """
    text = _LIST_NUMBER.sub(". ", _STOPS.sub(".", text)).strip().lower()
    sentences = [_DROPPED.sub("", sentence) for sentence in text.split(". ")]
    words = [[*sentence.split(), "."] for sentence in sentences if sentence.split()]
    return [word for sentence in words for word in sentence]


TOKENIZERS: dict[str, Tokenizer] = {
    "annotation-words": annotation_words,
    "report-words": report_words,
    "white-space": spaced_words,
    "words-and-stops": words_and_stops,
}
"""The tokenisers by the names that tables print."""


@dataclasses.dataclass(frozen=True)
class NgramCounts:
    """What BLEU needs to know of each row; sums over rows are all that corpus BLEU needs.

    Attributes:
        correct: ``(N, 4)``, n-grams of the hypothesis that the reference has too, each counted at
            most as often as the reference has it.
        guessed: ``(N, 4)``, n-grams of the hypothesis.
        hypothesis_length: ``(N,)``, its words.
        reference_length: ``(N,)``, the reference's words.
    """

    correct: np.ndarray
    guessed: np.ndarray
    hypothesis_length: np.ndarray
    reference_length: np.ndarray


def ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """How often each run of ``order`` words occurs.

    >>> ngrams(["a", "b", "a", "b"], 2)[("a", "b")]
    2
    """
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def count_ngrams(
    hypotheses: Sequence[str], references: Sequence[str], tokenize: Tokenizer
) -> NgramCounts:
    """Count the clipped n-gram matches of each row.

    Raises:
        ValueError: more hypotheses than references, or fewer.
    """
    _check_lengths(hypotheses, references)
    rows = len(references)
    correct = np.zeros((rows, ORDERS), dtype=np.int64)
    guessed = np.zeros((rows, ORDERS), dtype=np.int64)
    lengths = np.zeros((rows, 2), dtype=np.int64)
    for row, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
        said, meant = tokenize(hypothesis), tokenize(reference)
        lengths[row] = len(said), len(meant)
        for order in range(1, ORDERS + 1):
            matches = ngrams(said, order) & ngrams(meant, order)
            correct[row, order - 1] = matches.total()
            guessed[row, order - 1] = max(0, len(said) - order + 1)
    return NgramCounts(correct, guessed, lengths[:, 0], lengths[:, 1])


def bleu_of_counts(
    correct: np.ndarray,
    guessed: np.ndarray,
    hypothesis_length: np.ndarray,
    reference_length: np.ndarray,
) -> np.ndarray:
    """Corpus BLEU-1..4 of summed counts.

    BLEU-n is the geometric mean of the precisions of orders 1 to n, times exp(1 - r/h) where
    the hypotheses' words h are fewer than the references' r (Papineni et al. 2002, one reference a
    row).
    Without smoothing: an order without a match makes BLEU of that order and above exactly 0.

    Shape:
        - correct, guessed: ``(..., 4)``
        - hypothesis_length, reference_length: ``(...)``
        - output: ``(..., 4)`` in [0, 1]
    """
    correct, guessed = np.asarray(correct, dtype=float), np.asarray(guessed, dtype=float)
    said = np.asarray(hypothesis_length, dtype=float)
    meant = np.asarray(reference_length, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(guessed > 0, correct / guessed, 0.0)
        mean_log = np.cumsum(np.log(precision), axis=-1) / np.arange(1, ORDERS + 1)
        brevity = np.where(said > 0, np.exp(np.minimum(0.0, 1.0 - meant / said)), 0.0)
    return np.asarray(np.exp(mean_log) * brevity[..., None])


def corpus_bleu(
    hypotheses: Sequence[str], references: Sequence[str], tokenize: Tokenizer
) -> tuple[float, float, float, float]:
    """Corpus BLEU-1..4 with brevity penalty, one reference a row, each in [0, 1].

    Agrees with pycocoevalcap's ``Bleu`` to 1e-6 where every order has a match. Where one has none,
    this is 0 and pycocoevalcap prints what its smoothing leaves (at most about 0.001).

    >>> corpus_bleu(["the heart is normal"], ["the heart is normal"], spaced_words)
    (1.0, 1.0, 1.0, 1.0)

    Raises:
        ValueError: more hypotheses than references, or fewer, or none at all.
    """
    _check_some(references)
    counts = count_ngrams(hypotheses, references, tokenize)
    one, two, three, four = bleu_of_counts(
        counts.correct.sum(axis=0),
        counts.guessed.sum(axis=0),
        counts.hypothesis_length.sum(),
        counts.reference_length.sum(),
    ).tolist()
    return one, two, three, four


def row_precision(counts: NgramCounts) -> np.ndarray:
    """Clipped n-gram precision of each row, ``(N, 4)`` in [0, 1].

    A row whose hypothesis has no n-gram of that order gets 0: one word never scores as two.
    """
    guessed = np.maximum(counts.guessed, 1)
    return np.asarray(counts.correct / guessed)


def mean_ngram_precision(
    hypotheses: Sequence[str], references: Sequence[str], tokenize: Tokenizer
) -> tuple[float, float, float, float]:
    """The mean over rows of each row's clipped n-gram precision, orders 1 to 4, each in [0, 1].

    This is what the printed figures of Shin et al. 2016 read as (they call it BLEU). There is no
    brevity penalty and no geometric mean; a row whose hypothesis is shorter than n words counts as
    0 at order n, whatever its reference.

    Always saying "normal" is right of every normal study, and has no second word:

    >>> references = ["normal", "normal", "opacity/lung"]
    >>> mean_ngram_precision(["normal"] * 3, references, annotation_words)[1:]
    (0.0, 0.0, 0.0)

    Raises:
        ValueError: more hypotheses than references, or fewer, or none at all.
    """
    _check_some(references)
    means = row_precision(count_ngrams(hypotheses, references, tokenize)).mean(axis=0)
    one, two, three, four = means.tolist()
    return one, two, three, four


def exact_matches(
    hypotheses: Sequence[str], references: Sequence[str], tokenize: Tokenizer
) -> np.ndarray:
    """``(N,)`` bool: the same words in the same order, and at least one.

    Raises:
        ValueError: more hypotheses than references, or fewer.
    """
    _check_lengths(hypotheses, references)
    pairs = zip(hypotheses, references, strict=True)
    return np.array(
        [bool(words := tokenize(said)) and words == tokenize(meant) for said, meant in pairs],
        dtype=bool,
    )


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence (bit-parallel, after Hyyro 2004).

    >>> common_subsequence("the heart is not enlarged".split(), "heart enlarged".split())
    2
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(first)) - 1
    free = everywhere
    for word in second:
        taken = free & places.get(word, 0)
        free = ((free + taken) | (free - taken)) & everywhere
    return len(first) - free.bit_count()


def rouge_l(
    hypotheses: Sequence[str], references: Sequence[str], tokenize: Tokenizer
) -> np.ndarray:
    """ROUGE-L of each row, ``(N,)`` in [0, 1]; the corpus figure is the mean.

    With P and R the longest common subsequence over the hypothesis's and the reference's words:
    (1 + b^2) P R / (R + b^2 P), b = 1.2 (Lin 2004, as pycocoevalcap computes it).

    Raises:
        ValueError: more hypotheses than references, or fewer.
    """
    _check_lengths(hypotheses, references)
    scores = np.zeros(len(references))
    for row, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
        said, meant = tokenize(hypothesis), tokenize(reference)
        common = common_subsequence(said, meant)
        if common:
            precision, recall = common / len(said), common / len(meant)
            weight = ROUGE_BETA**2
            scores[row] = (1 + weight) * precision * recall / (recall + weight * precision)
    return scores


def distinct_count(hypotheses: Sequence[str], tokenize: Tokenizer) -> int:
    """How many different texts were written, by their words.

    >>> distinct_count(["normal", "Normal", "opacity/lung"], annotation_words)
    2
    """
    return len({tuple(tokenize(hypothesis)) for hypothesis in hypotheses})


def copied(hypotheses: Sequence[str], training: Sequence[str], tokenize: Tokenizer) -> np.ndarray:
    """Which hypotheses stand word for word among the training reports, ``(N,)`` bool.

    A text without a word is copied from nowhere.

    >>> copied(["Clear lungs.", "clear lung"], ["Normal heart.", "clear lungs"], report_words)
    array([ True, False])
    """
    known = {tuple(tokenize(text)) for text in training} - {()}
    return np.array([tuple(tokenize(text)) in known for text in hypotheses], dtype=bool)


def length_ratio(
    hypotheses: Sequence[str], references: Sequence[str], tokenize: Tokenizer
) -> float:
    """Words written over words of the references; NaN where the references have none.

    Raises:
        ValueError: more hypotheses than references, or fewer.
    """
    _check_lengths(hypotheses, references)
    said = sum(len(tokenize(text)) for text in hypotheses)
    meant = sum(len(tokenize(text)) for text in references)
    return said / meant if meant else float("nan")


def empty_count(hypotheses: Sequence[str], tokenize: Tokenizer) -> int:
    """How many hypotheses have no word."""
    return sum(not tokenize(text) for text in hypotheses)


def _check_lengths(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")


def _check_some(references: Sequence[str]) -> None:
    if not len(references):
        raise ValueError("no row to score")
