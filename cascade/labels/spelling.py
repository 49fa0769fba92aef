"""Misspelt words of the lexicon put right: one slip in a long word, or a slip known by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_MIN_LENGTH = 7
_CACHE_SIZE = 2**16
_KNOWN = {
    "oedema": "edema",
    "edma": "edema",
    "efusion": "effusion",
    "pneumothroax": "pneumothorax",
    "pneumothoraxes": "pneumothoraces",
    "atelectatis": "atelectasis",
    "atalectasis": "atelectasis",
    "atelectisis": "atelectasis",
    "atlectasis": "atelectasis",
    "atelectases": "atelectasis",
    "infiltate": "infiltrate",
    "infilterate": "infiltrate",
    "infiltrats": "infiltrates",
    "cardiomegly": "cardiomegaly",
    "cardiomeagly": "cardiomegaly",
    "emphysemia": "emphysema",
    "noduel": "nodule",
    "nodul": "nodule",
    "haemothorax": "hemothorax",
    "tumour": "tumor",
}
_NO_SLIPS = frozenset(
    ("capacity", "capacities", "starring", "modules", "perfusion", "infusion", "hemithorax")
    + ("injection", "injections", "overlay", "parenchyma")
)
"""Words of their own that stand one slip from a word of the lexicon."""


class Speller(dict[str, str]):
    """A mapping from a word to its correction, for ``normalise``; it fills itself as it is asked.

    A word of seven letters or more that is one insertion, deletion, substitution or swap of
    neighbours away from exactly one word of the lexicon's content words is taken for it, if the
    first letter is right ("symmetric" is no misspelt "asymmetric"). Words that triggers need are
    never changed.
    """

    def __init__(self, words: Iterable[str], keep: Iterable[str] = ()) -> None:
        """Index the words by their deletions."""
        super().__init__(_KNOWN)
        self._words = frozenset(words)
        self._keep = self._words | frozenset(keep) | _NO_SLIPS
        self._longest = max(map(len, self._words), default=0)
        self._by_deletion: dict[str, set[str]] = {}
        for word in self._words:
            if len(word) >= _MIN_LENGTH:
                for form in {word, *_deletions(word)}:
                    self._by_deletion.setdefault(form, set()).add(word)

    def get(self, word: str, default: str) -> str:  # type: ignore[override]
        """The corrected word, or the word itself."""
        known = super().get(word)
        if known is None:
            fits = _MIN_LENGTH <= len(word) <= self._longest + 1
            if not fits or word in self._keep or not word.isalpha():
                return default
            known = self._correct(word)
            if len(self) < _CACHE_SIZE:
                self[word] = known
        return known

    def _correct(self, word: str) -> str:
        near = {
            target
            for form in (word, *_deletions(word))
            for target in self._by_deletion.get(form, ())
            if target[0] == word[0] and _one_slip(word, target)
        }
        # a plural or an inflection is a word of its own
        if len(near) != 1 or _inflected(word, *near):
            return word
        return near.pop()


def _deletions(word: str) -> Iterator[str]:
    return (word[:i] + word[i + 1 :] for i in range(len(word)))


def _one_slip(a: str, b: str) -> bool:
    """Whether one insertion, deletion, substitution or swap turns a into b."""
    if abs(len(a) - len(b)) > 1:
        return False
    if len(a) != len(b):
        longer, shorter = (a, b) if len(a) > len(b) else (b, a)
        return any(form == shorter for form in _deletions(longer))
    differ = [i for i in range(len(a)) if a[i] != b[i]]
    if len(differ) == 1:
        return True
    return (
        len(differ) == 2
        and differ[1] == differ[0] + 1
        and a[differ[0]] == b[differ[1]]
        and (a[differ[1]] == b[differ[0]])
    )


def _inflected(word: str, target: str) -> bool:
    longer, shorter = (word, target) if len(word) > len(target) else (target, word)
    return longer.startswith(shorter) and longer[len(shorter) :] in ("s", "d")
