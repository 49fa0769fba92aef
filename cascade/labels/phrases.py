"""A small language for phrases, and a matcher that tries only those whose words are there.

A phrase is words with single spaces between; it matches normalised text (``normalise``): lower
case, hyphens as spaces, punctuation as words of its own. Beyond plain words:

- ``effusions?`` and ``(left|right)`` as in regular expressions;
- ``[word]`` for a word that may be left out;
- ``~3`` stands for up to three words, none of them punctuation;
- ``{heart}`` stands for a named group of alternatives.

Each phrase is filed under one word that any of its matches must contain (its anchor), so that a
sentence meets a handful of the hundreds of phrases.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

_TOKEN = re.compile(r"\d+(?:\.\d+)+|[a-z0-9]+(?:'[a-z]+)?|[.,;:?()/+%]")
_COMMON = frozenset(
    ("heart", "lung", "lungs", "chest", "right", "left", "lobe", "size")
    + ("of", "the", "in", "is", "are", "and", "or", "with", "no")
)
CLOSED = ("and", "but", "or", "nor", "versus", "vs", "which", "that", "may")
"""Words that a gap never spans: what follows them is another finding or another statement."""
_DEEPEST = 50
"""More groups than this within a phrase are groups that name themselves."""
T = TypeVar("T")


class Normalised(NamedTuple):
    """Text in which phrases are looked for, and the way back to the original.

    Attributes:
        text: tokens joined by single spaces.
        starts: where each token begins in ``text``.
        spans: start and end of each token in the original.
    """

    text: str
    starts: list[int]
    spans: list[tuple[int, int]]

    def token_at(self, position: int) -> int:
        """The number of the token that holds a position of ``text``."""
        return bisect_right(self.starts, position) - 1


def normalise(text: str, corrections: Mapping[str, str] | None = None) -> Normalised:
    """Tokens of a sentence, lower case, with spellings corrected.

    >>> normalise("Right-sided effussion, small.", {"effussion": "effusion"}).text
    'right sided effusion , small .'
    """
    words: list[str] = []
    spans: list[tuple[int, int]] = []
    starts: list[int] = []
    position = 0
    for match in _TOKEN.finditer(_lower(text)):
        word = match.group()
        if corrections is not None:
            word = corrections.get(word, word)
        words.append(word)
        spans.append(match.span())
        starts.append(position)
        position += len(word) + 1
    return Normalised(" ".join(words), starts, spans)


def _lower(text: str) -> str:
    """Lower case of the same length: a few letters grow when lowered, and offsets must hold."""
    lower = text.lower().replace("’", "'")
    if len(lower) == len(text):
        return lower
    return "".join(c if len(c.lower()) != 1 else c.lower() for c in text).replace("’", "'")


@dataclasses.dataclass(frozen=True)
class Phrase(Generic[T]):
    """A compiled phrase and what it stands for."""

    source: str
    regex: re.Pattern[str]
    anchors: frozenset[str]
    value: T


class Match(NamedTuple, Generic[T]):
    """A phrase found: tokens ``first`` to ``last`` (exclusive)."""

    first: int
    last: int
    phrase: Phrase[T]


def compile_phrase(
    source: str,
    value: T,
    groups: Mapping[str, str] | None = None,
    closed: Sequence[str] = CLOSED,
) -> Phrase[T]:
    """Compile a phrase; ``closed`` are the words that its gaps never span.

    Raises:
        ValueError: an unknown group, or no word that every match must contain.
    """
    expanded = " ".join(_expand(source, groups or {}).split())
    barred = "|".join(closed)
    parts: list[str] = []
    candidates: list[frozenset[str]] = []
    for element in _elements(expanded):
        if element.startswith("~"):
            parts.append(rf"(?: (?!(?:{barred})(?![\w']))(?=\w)[^ ]+){{0,{int(element[1:])}}}")
        elif element.startswith("["):
            parts.append(f"(?: {_plain(element[1:-1])})?")
        else:
            parts.append(f" {_plain(element)}")
            words = _words(element)
            if words:
                candidates.append(words)
    if not candidates:
        raise ValueError(f"the phrase {source!r} has no word that every match contains")
    anchors = max(candidates, key=_rarity)
    return Phrase(source, re.compile("".join(parts) + r"(?![\w'])"), anchors, value)


def _expand(source: str, groups: Mapping[str, str]) -> str:
    expanded = source
    for _ in range(_DEEPEST):
        found = re.search(r"\{(\w+)\}", expanded)
        if not found:
            return expanded
        if found.group(1) not in groups:
            raise ValueError(f"unknown group {found.group(1)!r} in the phrase {source!r}")
        body = "|".join(part.strip() for part in _branches(groups[found.group(1)]))
        expanded = f"{expanded[: found.start()]}({body}){expanded[found.end() :]}"
    raise ValueError(f"the groups of the phrase {source!r} name each other in a circle")


def _elements(phrase: str) -> list[str]:
    """The parts between spaces that stand outside every bracket."""
    elements, depth = [""], 0
    for character in phrase:
        depth += (character in "([") - (character in ")]")
        if character == " " and depth == 0:
            elements.append("")
        else:
            elements[-1] += character
    return elements


def _plain(element: str) -> str:
    return element.replace("(", "(?:")


def _rarity(words: frozenset[str]) -> tuple[bool, int, int]:
    return (not words & _COMMON, -len(words), min(map(len, words)))


def _words(element: str) -> frozenset[str]:
    """The last words of all that an element matches; nothing where that cannot be listed."""
    strings = _strings(element) or [""]
    if not all(string.split() for string in strings):  # it may match nothing at all
        return frozenset()
    return frozenset(string.split()[-1] for string in strings)


def _strings(element: str) -> list[str] | None:
    """Every string that an element matches, if they are few."""
    parts = re.findall(r"\((?:[^()]|\([^()]*\))*\)\??|[\w ]\?|[\w' ]|.", element)
    options: list[list[str]] = []
    for part in parts:
        optional = part.endswith("?") and len(part) > 1
        body = part[:-1] if optional else part
        if body.startswith("("):
            inner: list[str] = []
            for branch in _branches(body[1:-1]):
                strings = _strings(branch)
                if strings is None:
                    return None
                inner += strings
            options.append(inner + [""] * optional)
        elif re.fullmatch(r"[\w' ]", body):
            options.append([body, ""] if optional else [body])
        else:
            return None
    if sum(map(len, options)) > 400:
        return None
    return ["".join(chosen) for chosen in itertools.product(*options)]


def _branches(body: str) -> list[str]:
    branches, depth = [""], 0
    for character in body:
        depth += (character == "(") - (character == ")")
        if character == "|" and depth == 0:
            branches.append("")
        else:
            branches[-1] += character
    return branches


class Matcher(Generic[T]):
    """Finds every phrase of a list in a sentence."""

    def __init__(self, phrases: Iterable[Phrase[T]]) -> None:
        """File the phrases under their anchors."""
        self.phrases: Sequence[Phrase[T]] = tuple(phrases)
        self._filed: dict[str, list[int]] = {}
        for index, phrase in enumerate(self.phrases):
            for word in phrase.anchors:
                self._filed.setdefault(word, []).append(index)

    @property
    def anchors(self) -> frozenset[str]:
        """Every word that can call a phrase up."""
        return frozenset(self._filed)

    def find(self, sentence: Normalised) -> list[Match[T]]:
        """Every match of every phrase, in the order of the phrases."""
        text = " " + sentence.text
        wanted: set[int] = set()
        for word in set(sentence.text.split(" ")):
            if word in self._filed:
                wanted.update(self._filed[word])
        found = []
        for index in sorted(wanted):  # a set's order differs from one process to the next
            phrase = self.phrases[index]
            for match in phrase.regex.finditer(text):
                # the match begins with the space before its first token
                first = sentence.token_at(match.start())
                last = sentence.token_at(match.end() - 2) + 1
                found.append(Match(first, last, phrase))
        return found
