"""What the words around a finding make of it: denied, doubtful, past, or asked about.

Triggers in the way of NegEx (Chapman et al. 2001) and ConText (Harkema et al. 2009): a phrase
before or after a finding changes its status as far as its scope reaches. A scope ends where a new
statement begins ("but", a semicolon, "and the heart is ..."). What looks like a negation and is
none ("no change in", "not only") is masked first, and a negated exclusion ("cannot be excluded") is
a doubt.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from cascade.labels.lexicon import lines, read_toml
from cascade.labels.phrases import CLOSED, Match, Matcher, Normalised, compile_phrase

Effect = Literal["mask", "absent", "uncertain", "dropped"]
Direction = Literal["before", "after", "both"]


class Trigger(NamedTuple):
    """One group of phrases with one meaning.

    Attributes:
        name: stands in the mention's rule.
        effect: what becomes of a finding in scope; ``mask`` only hides other triggers, ``dropped``
            means that the text says nothing of the present state.
        direction: which side of the finding the trigger stands on.
        phrases: in the language of ``phrases.py``.
        short: the scope ends at the first comma or conjunction.
    """

    name: str
    effect: Effect
    direction: Direction
    phrases: tuple[str, ...]
    short: bool = False


_VERB = (
    "suggests?|indicates?|represents?|is|are|was|were|has|have|remains?|appears?|shows?"
    "|demonstrates?|reveals?"
)
_SEEN = (
    "seen|identified|noted|present|evident|visuali[sz]ed|visible|demonstrated|appreciated|detected"
    "|observed|found|shown|apparent|suspected|suggested|confirmed|excluded|resolved|cleared|been"
    "|absent"
)
_GRADED = (
    "small|large|tiny|left|right|bilateral|mild|mildly|minimal|minimally|moderate|moderately|chronic|possible"
    "|probable|probably|likely"
)
_CHANGED = (
    "stable|unchanged|persistent|persisting|increased|increasing|decreased|improved|improving"
    "|interval|questionable|suspected|borderline|old|prior|healed|status|s|again|redemonstrated"
)
_NO_OR = r"(?!(?:[^ .;]+ ){0,7}n?or )"
"""No list goes on behind: of "no edema, large effusion, or mass" all is denied."""
_STOP = r"(?<!vs )\."
_NOUNS = r"(?:(?!or |nor |no |and |not )\w+ ){1,5}"
_BOUNDARY = re.compile(
    r" (?:[;:?()](?= |$)"
    r"|(?:but|however|although|though|yet|except|while|whereas|nevertheless|nonetheless|otherwise"
    r"|aside from|apart from|other than|despite|besides|following|after|status post)(?![\w'])"
    rf"|(?:, and|, with|,|and|with|{_STOP}) (?=there (?:{_VERB}) )"
    rf"|(?:, and|, with|,|and|with|{_STOP}) (?=(?:{_CHANGED}) {_NO_OR})"
    rf"|, (?=(?:{_GRADED}) {_NO_OR})"
    rf"|(?:, and|,|and|{_STOP}) (?=(?:the|an?) {_NOUNS}(?:{_VERB}) )"
    rf"|(?:, and|,|and|{_STOP}) (?={_NOUNS}(?:{_VERB}) "
    rf"(?!(?:\w+ ){{0,2}}(?:{_SEEN})\b))"
    rf"|{_STOP} (?=[a-z]))"
)
_GRADED_END = re.compile(
    rf" (?:, and|, with|and|with) (?=(?:{_GRADED}) {_NO_OR})"
    r"| (?:, with|with) (?=an? )"
)
"""Ends a negation ("no effusion and mild edema"), not a doubt ("may be scar and mild edema")."""
_CAUSE = re.compile(r" (?:because|since|secondary to|due to|related to|given)(?![\w'])")
_WHICH = re.compile(r" (?:, (?:which|that|where)|causing|resulting|obscur(?:es?|ing))(?![\w'])")
_COMMA = re.compile(r" (?:,|with|in|on|versus|vs)(?![\w'])")
_DISJUNCTION = re.compile(r" (?:versus|vs(?: \.)?|v|or|and / or|/|alternatively|verses)(?![\w'])")


class Scope(NamedTuple):
    """A trigger at work: tokens ``first`` to ``last`` and the tokens that it reaches."""

    trigger: Trigger
    first: int
    last: int
    reach_from: int
    reach_to: int


class Context(NamedTuple):
    """What surrounds the findings of one sentence."""

    scopes: list[Scope]
    disjunctions: list[int]
    boundaries: list[int]


class ContextReader:
    """Finds triggers and how far they reach."""

    def __init__(self) -> None:
        """Compile the triggers of ``triggers.toml``."""
        content = read_toml("triggers.toml")
        groups, closed = content["groups"], (*CLOSED, "no", "not", "cannot", "without")
        triggers = [
            Trigger(**{**entry, "phrases": lines(entry["phrases"])}) for entry in content["trigger"]
        ]
        phrases = [
            compile_phrase(phrase, trigger, groups, closed)
            for trigger in triggers
            for phrase in trigger.phrases
        ]
        self._matcher: Matcher[Trigger] = Matcher(phrases)

    @property
    def anchors(self) -> frozenset[str]:
        """The words that can call up a trigger."""
        return self._matcher.anchors

    def read(self, sentence: Normalised) -> Context:
        """Triggers, boundaries and disjunctions of a sentence."""
        text = " " + sentence.text
        tokens = len(sentence.starts)
        boundaries = [sentence.token_at(m.start()) for m in _BOUNDARY.finditer(text)]
        relative = [sentence.token_at(m.start()) for m in _WHICH.finditer(text)]
        ends = [
            sentence.token_at(m.start())
            for regex in (_CAUSE, _GRADED_END)
            for m in regex.finditer(text)
        ]
        scopes: list[Scope] = []
        for match in _unmasked(self._matcher.find(sentence)):
            trigger = match.phrase.value
            left = max((b for b in boundaries if b < match.first), default=0)
            right = min((b for b in boundaries if b >= match.last), default=tokens)
            reach_from, reach_to = match.first, right
            if trigger.direction in ("after", "both"):
                reach_from = max(left, max((b for b in relative if b < match.first), default=0))
            if trigger.direction == "after":
                reach_to = match.last
            if trigger.effect == "absent":
                reach_to = min([reach_to, *(e for e in ends if e >= match.last)])
            if trigger.short:
                commas = (sentence.token_at(m.start()) for m in _COMMA.finditer(text))
                reach_to = min([reach_to, *(c for c in commas if c >= match.last)])
            scopes.append(Scope(trigger, match.first, match.last, reach_from, reach_to))
        disjunctions = [sentence.token_at(m.start()) for m in _DISJUNCTION.finditer(text)]
        disjunctions = [d for d in disjunctions if not any(s.first <= d < s.last for s in scopes)]
        return Context(scopes, disjunctions, boundaries)


def _unmasked(matches: list[Match[Trigger]]) -> list[Match[Trigger]]:
    """Triggers that no mask touches and that no longer one overlaps."""
    masks = [m for m in matches if m.phrase.value.effect == "mask"]
    kept: list[Match[Trigger]] = []
    for match in sorted(matches, key=lambda m: (m.first - m.last, m.first)):
        if match.phrase.value.effect == "mask":
            continue
        masked = any(match.first < mask.last and mask.first < match.last for mask in masks)
        if masked or any(_overruled(match, other) for other in kept):
            continue
        kept.append(match)
    return kept


def _overruled(match: Match[Trigger], other: Match[Trigger]) -> bool:
    longer = other.last - other.first > match.last - match.first
    same_side = other.phrase.value.direction in (match.phrase.value.direction, "both")
    return longer and same_side and other.first < match.last and match.first < other.last
