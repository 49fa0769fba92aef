"""Trivial systems: what a score is worth is seen beside what these get on the same rows.

None of them reads an image the way a radiologist would; some do not look at it at all. Every one is
a ``System`` with ``trivial=True`` and a note of how it was chosen. Nothing here sees the test
references or the test truth, with one exception that says so: ``reference_baselines``, for
predictions that come without training reports.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence

import numpy as np

from cascade.evaluation.detectors import PIXEL_SIDE, detection_baselines, small_pixels
from cascade.evaluation.systems import Rows, System, Training
from cascade.metrics.nlg import ORDERS, Tokenizer, bleu_of_counts, ngrams

FIXED_CANDIDATES = 5000
"""How many of the commonest training reports are tried for the fixed one.

On the Indiana University findings the best of the 200 commonest gets BLEU-4 .148 and the best of
all 2,069 gets .174: too few candidates would flatter whatever stands beside this baseline.
"""

__all__ = [
    "commonest",
    "detection_baselines",
    "fixed_text",
    "label_report_baseline",
    "label_texts",
    "nearest",
    "reference_baselines",
    "text_baselines",
]


def commonest(texts: Sequence[str]) -> list[str]:
    """The different texts, commonest first; ties in alphabetical order.

    >>> commonest(["b", "a", "b", "c"])
    ['b', 'a', 'c']
    """
    counts = Counter(texts)
    return sorted(counts, key=lambda text: (-counts[text], text))


def fixed_text(
    training: Sequence[str],
    validation: Sequence[str],
    tokenize: Tokenizer,
    candidates: int = FIXED_CANDIDATES,
) -> str:
    """The one training report that scores best when it is given for every study of ``validation``.

    Best by the mean of corpus BLEU-1..4, among the ``candidates`` commonest non-empty training
    reports; of equals the commoner one. Without validation reports the training reports stand in.

    Raises:
        ValueError: no training report has a word.
    """
    choices = [text for text in commonest(training) if tokenize(text)][:candidates]
    if not choices:
        raise ValueError("no training report has a word")
    references = [tokenize(text) for text in (validation or training)]
    # How many references hold an n-gram how often: all that a constant hypothesis needs.
    held: dict[tuple[str, ...], Counter[int]] = {}
    for words in references:
        for order in range(1, ORDERS + 1):
            for gram, count in ngrams(words, order).items():
                held.setdefault(gram, Counter())[count] += 1
    meant = sum(map(len, references))
    best, best_score = choices[0], -1.0
    for text in choices:
        words = tokenize(text)
        correct, guessed = np.zeros(ORDERS), np.zeros(ORDERS)
        for order in range(1, ORDERS + 1):
            guessed[order - 1] = max(0, len(words) - order + 1) * len(references)
            for gram, count in ngrams(words, order).items():
                rows = held.get(gram, Counter[int]())
                correct[order - 1] += sum(min(count, there) * n for there, n in rows.items())
        said = np.array(len(words) * len(references))
        score = float(bleu_of_counts(correct, guessed, said, np.array(meant)).mean())
        if score > best_score + 1e-12:
            best, best_score = text, score
    return best


def nearest(training: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Index of the training row of highest cosine similarity to each test row, ``(N,)``.

    Shape:
        - training: ``(M, D)``, test: ``(N, D)``
    """
    reference = _unit(training).T
    rows = _unit(test)
    found = [np.argmax(rows[at : at + 512] @ reference, axis=1) for at in range(0, len(rows), 512)]
    return np.concatenate(found) if found else np.empty(0, dtype=int)


def _unit(vectors: np.ndarray) -> np.ndarray:
    flat = np.asarray(vectors, dtype=np.float32).reshape(len(vectors), -1)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(length > 0, length, 1)


def text_baselines(rows: Rows, training: Training, tokenize: Tokenizer, seed: int) -> list[System]:
    """The trivial writers that the training data allow, in a fixed order."""
    texts = [text for text in training.texts if tokenize(text)]
    if not texts:
        return []
    count = len(rows)
    trivial = functools.partial(System, trivial=True)
    chosen_on = (
        "validation" if training.val_texts else "training (no validation reports were given)"
    )
    drawn = np.random.default_rng(seed).integers(len(texts), size=count)
    systems = [
        trivial(
            "fixed training report",
            [fixed_text(texts, training.val_texts, tokenize)] * count,
            note="One training report for every study: of the different ones (at most "
            f"{FIXED_CANDIDATES}), that of best mean BLEU-1..4 on {chosen_on}.",
        ),
        trivial(
            "commonest training report",
            [commonest(texts)[0]] * count,
            note="The commonest training report for every study.",
        ),
        trivial(
            "random training report",
            [texts[index] for index in drawn],
            note=f"A training report drawn at random for each study (seed {seed}).",
        ),
    ]
    if training.features is not None and training.test_features is not None:
        found = nearest(training.features, training.test_features)
        systems.append(
            trivial(
                "nearest neighbour (encoder features)",
                [training.texts[index] for index in found],
                note="The report of the training study of highest cosine similarity by the pooled "
                "features of the encoder.",
            )
        )
    if training.pixels is not None and training.test_pixels is not None:
        found = nearest(small_pixels(training.pixels), small_pixels(training.test_pixels))
        systems.append(
            trivial(
                "nearest neighbour (pixels)",
                [training.texts[index] for index in found],
                note="The report of the training study whose radiograph, reduced to "
                f"{PIXEL_SIDE} x {PIXEL_SIDE} pixels, correlates best.",
            )
        )
    return systems


def label_texts(training: Training, tokenize: Tokenizer) -> dict[str, str]:
    """The commonest training report among the carriers of each label; empty without labels."""
    if training.labels is None:
        return {}
    chosen = {}
    for name in training.labels.columns:
        carried = np.flatnonzero(training.labels[name].to_numpy(dtype=float) == 1)
        texts = [text for at in carried.tolist() if tokenize(text := training.texts[at])]
        if texts:
            chosen[str(name)] = commonest(texts)[0]
    return chosen


def label_report_baseline(system: System, training: Training, tokenize: Tokenizer) -> System | None:
    """A detector turned writer: its most probable label's commonest training report.

    None where the system has no probabilities or training has no labels.
    """
    chosen = label_texts(training, tokenize)
    if system.probabilities is None:
        return None
    names = [name for name in system.probabilities.columns if name in chosen]
    if not names:
        return None
    best = system.probabilities[names].to_numpy(dtype=float).argmax(axis=1)
    return System(
        f"label's commonest report ({system.name})",
        [chosen[names[place]] for place in best],
        trivial=True,
        note=f"The commonest training report of the label that {system.name} finds most probable: "
        "what its decoder adds is the difference to this.",
    )


def reference_baselines(rows: Rows, tokenize: Tokenizer, seed: int) -> list[System]:
    """Trivial writers made of the references themselves, for predictions without training reports.

    They have seen what they are scored against, so a fixed report here is an upper bound of what a
    fixed training report could get: a system below it has not shown that it reads the image.
    """
    texts = [text for text in rows.references if tokenize(text)]
    if not texts:
        return []
    count = len(rows)
    # A turn of a shuffled order: no study is given its own report (where there are two).
    order = np.random.default_rng(seed).permutation(count)
    other = np.empty(count, dtype=int)
    other[order] = np.roll(order, 1)
    seen = "Made of the references scored here, since no training reports were given"
    return [
        System(
            "fixed report (of the references)",
            [fixed_text(texts, texts, tokenize)] * count,
            trivial=True,
            note=f"One report for every study, best by mean BLEU-1..4. {seen}: an upper bound.",
        ),
        System(
            "commonest report (of the references)",
            [commonest(texts)[0]] * count,
            trivial=True,
            note=f"The commonest report for every study. {seen}.",
        ),
        System(
            "another study's report",
            [rows.references[index] for index in other],
            trivial=True,
            note=f"The reference of another study, by a seeded shuffle (seed {seed}). {seen}.",
        ),
    ]
