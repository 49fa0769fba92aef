"""Marks of de-identification: what stands where a name, a date or any other word was taken out.

Open-i writes ``XXXX`` (also ``x-XXXX``, ``XXXX's``, ``XXXX/XXXX``, ``4XXXX``), MIMIC ``___``, older
MIMIC notes ``[**Last Name 123**]``. A third of the Open-i reports hold one. Three ways to train:

``keep``: marks are ordinary words, as written.

``drop``: marks leave what the decoder learns, and the sentence around them is tidied; a sentence
that has lost its subject, what a preposition governs, or all its words leaves with them. Never so
in a reference. What is left may say more than was written ("which is XXXX a hernia"): compare.

``predict``: each mark becomes the one token ``<mark>`` of the vocabulary, which the decoder may
write and a draft shows as ``XXXX``: "here stood something that I was not shown".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cascade.labels.segment import sentence_spans

MARKS = ("keep", "drop", "predict")
MARK_TOKEN = "<mark>"
SHOWN = "XXXX"

_BRACKETED = r"\[\*\*[^\[\]]*\*\*\]"
_MARK = re.compile(rf"X{{4,}}|x{{4,}}|_{{2,}}|{_BRACKETED}")
# Digits and single letters at a mark are a part of what was taken out: x-XXXX, 4XXXX, 02/010/XXXX.
_PIECE = rf"(?:X{{4,}}|x{{4,}}|_{{2,}}|{_BRACKETED})"
_WHOLE = re.compile(
    rf"(?:(?<![^\W_])(?:[^\W\d_]|\d{{1,8}})[-/]){{0,4}}(?:(?<!\w)\d{{1,4}})?{_PIECE}"
    rf"(?:[-/<>]*{_PIECE}|[-/](?:[^\W\d_]|\d{{1,8}})(?![^\W_])|'?[st](?![^\W_])|\d{{1,4}}(?!\w))*"
)
_OPENERS = "([<{"  # not the quotes, which close as well
_AFTER_OPENER = re.compile(rf"(?<=[{re.escape(_OPENERS)}]) (?={SHOWN})")
_DANGLING = re.compile(
    r"(?:(?:^|[ ,(])(?:a|an|and|as|at|between|by|dated|dr\.?|for|from|in|is|of|on|or|per|since|"
    r"than|the|to|versus|via|vs\.?|was|with))+(?=\s*(?:[.,;:?!)]|$))",
    re.IGNORECASE,
)
_TIDY = [
    (re.compile(r"[(\[<\"'][\s,;/-]*[)\]>\"']"), ""),
    (re.compile(r"\s+(?=[.,;:?!)])"), ""),
    (re.compile(r"([(\[]) +"), r"\1"),
    (re.compile(r"(?:[,;:]\s*)+(?=[.?!)]|$)"), ""),
    (re.compile(r"([,;:])(?:\s*[,;:])+"), r"\1"),
    (re.compile(r"(?<=\w)[-/](?=[\s.,;:?!)]|$)|(?<![\w])[-/](?=\w)"), ""),
]
# What cannot begin a sentence: its subject was the mark.
_HEADLESS = re.compile(
    r"[\W_]*(?:and|are|as|at|but|by|can|has|have|is|may|of|or|than|to|was|were|which|will|with)\b",
    re.IGNORECASE,
)
# A hole that nothing closes: "no XXXX of effusion", "told to XXXX at noon", "no evidence of XXXX,".
_HOLE = re.compile(
    r"\b(?:a|an|at|by|for|from|has|have|in|no|of|on|or|the|this|to|with|without) \0[\s\0]*"
    r"(?:and|are|at|be|by|from|has|have|in|is|of|on|or|to|was|were|with)\b|\bof \0[\s\0]*,",
    re.IGNORECASE,
)
_LETTERS = re.compile(r"[^\W\d_]{2,}")


def has_marks(text: str) -> bool:
    """Whether a report holds a mark.

    >>> has_marks("Comparison: XXXX."), has_marks("Seen on [**2101-1-1**]."), has_marks("Xx.")
    (True, True, False)
    """
    return _MARK.search(text) is not None


def share_with_marks(texts: Sequence[str]) -> float:
    """Share in [0, 1] of the texts that hold a mark; 0 without texts."""
    return sum(map(has_marks, texts)) / len(texts) if texts else 0.0


def apply_marks(text: str, marks: str) -> str:
    """A training target under one of the three ways.

    Raises:
        ValueError: unknown way.
    """
    if marks not in MARKS:
        raise ValueError(f"unknown marks {marks!r}, expected one of {MARKS}")
    if marks == "keep" or not has_marks(text):
        return text
    return drop_marks(text) if marks == "drop" else canonical_marks(text)


def canonical_marks(text: str) -> str:
    """Every mark as ``XXXX``, a word of its own; what is glued to it stands beside it.

    >>> canonical_marks("Chest x-XXXX by Dr. ___ (XXXX-A-XXXX), dual-XXXX, XXXX/CT at 4XXXX.")
    'Chest XXXX by Dr. XXXX (XXXX), dual XXXX, XXXX CT at XXXX.'
    """
    before = None
    while text != before:  # "XXXX'sXXXX" takes two
        before = text
        text = _WHOLE.sub(f"\0{SHOWN}\0", text)
        text = re.sub(rf"(?<=[^\s\0])[-/]*(?=\0{SHOWN})", _before, text)
        text = re.sub(rf"({SHOWN}\0)[-/<>]*(?=[\w(\[<\0])", r"\1 ", text)
        text = opened(" ".join(text.replace("\0", "").split()))
    return text


def opened(text: str) -> str:
    """No space between an opening bracket and a mark, so that text has one form around marks.

    >>> opened("( XXXX), seen XXXX")
    '(XXXX), seen XXXX'
    """
    return _AFTER_OPENER.sub("", text)


def _before(match: re.Match[str]) -> str:
    return "" if match.string[match.start() - 1] in _OPENERS else " "


def drop_marks(text: str) -> str:
    """A report without its marks, tidied; sentences that cannot do without one are left out.

    A list whose items are left out is numbered anew.

    >>> drop_marks("Compared to XXXX, the heart is large. XXXX are clear. Told Dr. XXXX at XXXX.")
    'Compared, the heart is large. Told.'
    >>> drop_marks("1. XXXX. 2. No effusion (XXXX).")
    '1. No effusion.'
    """
    parts: list[str] = []
    position, item, begins_item = 0, 0, False
    for start, end in sentence_spans(text):
        numbers = re.findall(r"\d+", text[position:start])
        if numbers:
            item = item or int(numbers[0])
            begins_item = True
        position = end
        sentence = _without_marks(text[start:end])
        if not sentence:
            continue
        if begins_item:
            parts.append(f"{item}.")
            item, begins_item = item + 1, False
        parts.append(sentence)
    return " ".join(parts)


def _without_marks(sentence: str) -> str:
    if not has_marks(sentence):
        return sentence
    first = _WHOLE.search(sentence)
    headed = first is None or bool(_LETTERS.search(sentence[: first.start()]))
    text = _WHOLE.sub("\0", sentence)
    if _HOLE.search(text):
        return ""
    text = " ".join(text.replace("\0", " ").split())
    for _ in range(4):
        before = text
        for pattern, replacement in _TIDY:
            text = pattern.sub(replacement, text)
        text = " ".join(_DANGLING.sub("", text).split())
        if text == before:
            break
    text = text.lstrip(".,;:?!-/)] ")
    if not _LETTERS.search(text) or (not headed and _HEADLESS.match(text)):
        return ""
    if not headed:
        text = text[0].upper() + text[1:]
    return text
