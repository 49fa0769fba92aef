"""Tokenizers by name, each with its inverse.

``annotation``: the pieces of an annotation text are its tokens, as in Shin et al. 2016, where
"calcified granuloma" is one step of the decoder; ``;`` stands between terms.

``words``: lower case words and punctuation marks of free text. The inverse joins them with the
usual spacing and capitals, so a round trip keeps the words and not the report's own capitals and
spaces.

``cased``: words as they are written and every other sign. The inverse only restores the spacing.

The subword tokenizers, ``bpe`` and ``wordpiece``, are trained: ``cascade.text.subwords``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

SEPARATOR = ";"
_WORD = re.compile(r"[a-z0-9]+(?:[-'./][a-z0-9]+)*|[.,;:?!()%]")
_CASED = re.compile(r"[^\W_]+(?:[-'./,&][^\W_]+)*|\.{3}|_+|[^\w\s]")


class Tokenizer(NamedTuple):
    """A named pair of functions: text to tokens and back."""

    name: str
    split: Callable[[str], list[str]]
    join: Callable[[Sequence[str]], str]


def split_annotation(text: str) -> list[str]:
    """The pieces of an annotation, with ``;`` between terms.

    >>> split_annotation("opacity/lung/base/left; cardiomegaly/mild")
    ['opacity', 'lung', 'base', 'left', ';', 'cardiomegaly', 'mild']
    """
    tokens: list[str] = []
    for term in text.lower().split(SEPARATOR):
        pieces = [" ".join(piece.split()) for piece in term.split("/")]
        pieces = [piece for piece in pieces if piece]
        if pieces and tokens:
            tokens.append(SEPARATOR)
        tokens += pieces
    return tokens


def join_annotation(tokens: Sequence[str]) -> str:
    """The inverse of ``split_annotation``; empty terms are dropped.

    >>> join_annotation(["opacity", "lung", ";", "cardiomegaly", ";"])
    'opacity/lung; cardiomegaly'
    """
    terms: list[list[str]] = [[]]
    for token in tokens:
        if token == SEPARATOR:
            terms.append([])
        else:
            terms[-1].append(token)
    return f"{SEPARATOR} ".join("/".join(term) for term in terms if term)


def split_words(text: str) -> list[str]:
    """Lower case words and punctuation marks.

    >>> split_words("No pleural effusion, x-XXXX.")
    ['no', 'pleural', 'effusion', ',', 'x-xxxx', '.']
    """
    return _WORD.findall(text.lower())


def join_words(tokens: Sequence[str]) -> str:
    """Words and marks as prose: spacing and sentence capitals restored.

    >>> join_words(["no", "pleural", "effusion", ",", "stable", ".", "normal", "heart", "."])
    'No pleural effusion, stable. Normal heart.'
    """
    text = " ".join(tokens)
    text = re.sub(r" ([.,;:?!%)])", r"\1", text)
    text = re.sub(r"\( ", "(", text)
    return capitals(text)


def capitals(text: str) -> str:
    """A capital at the beginning of every sentence.

    >>> capitals("clear lungs. no effusion.")
    'Clear lungs. No effusion.'
    """
    return re.sub(r"(^|[.?!] )([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)


def split_cased(text: str) -> list[str]:
    """Words as written and every other sign that is not white space.

    >>> split_cased("Dr. XXXX: 2.5 cm (stable), CT/PET.")
    ['Dr', '.', 'XXXX', ':', '2.5', 'cm', '(', 'stable', ')', ',', 'CT/PET', '.']
    """
    return _CASED.findall(text)


def join_cased(tokens: Sequence[str]) -> str:
    """The inverse of ``split_cased`` for text in the usual spacing.

    >>> join_cased(["Dr", ".", "XXXX", ":", "(", "2.5", "cm", ")", "."])
    'Dr. XXXX: (2.5 cm).'
    """
    text = " ".join(tokens)
    text = re.sub(r" ([.,;:?!%)\]]|\.{3})", r"\1", text)
    text = re.sub(r"([(\[<]) ", r"\1", text)
    return re.sub(r" ([/'>]) ", r"\1", text)


TOKENIZERS = {
    "annotation": Tokenizer("annotation", split_annotation, join_annotation),
    "words": Tokenizer("words", split_words, join_words),
    "cased": Tokenizer("cased", split_cased, join_cased),
}


def create_tokenizer(name: str) -> Tokenizer:
    """A tokenizer that needs no training, by name.

    Raises:
        ValueError: unknown name.
    """
    if name not in TOKENIZERS:
        raise ValueError(f"unknown tokenizer {name!r}, expected one of {sorted(TOKENIZERS)}")
    return TOKENIZERS[name]
