"""Free text to mentions of findings, and mentions to labels: every label traceable to its words.

The method is that of NegBio (Peng et al. 2018) and the CheXpert labeler (Irvin et al. 2019):
phrases of a lexicon, negation and doubt by rule, the strongest mention decides for the report. It
needs no parser: scopes are cut at the borders of statements (``negation.py``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from cascade.labels.lexicon import STATUSES, Status, load_lexicon
from cascade.labels.negation import Context, ContextReader, Scope
from cascade.labels.phrases import Match, Matcher, Phrase, compile_phrase, normalise
from cascade.labels.segment import sentence_spans
from cascade.labels.spelling import Speller

SECTIONS = ("findings", "impression")
"""What is mined. An indication asks and a comparison tells of other days: neither asserts."""

_STRENGTH: Mapping[str, int] = {status: -rank for rank, status in enumerate(STATUSES)}
_CACHE_SIZE = 2**16
_CACHE_LENGTH = 400
_PIECE = 1000
"""A sentence is read so many characters at a time: reading one takes time in its square."""
_CUTS = tuple(re.compile(f".*{cut}", re.DOTALL) for cut in (r"[\n.;:?]\s", r",\s", "[^A-Za-z0-9']"))
_WORD = re.compile("[A-Za-z0-9']*")


class Mention(NamedTuple):
    """One finding named in a report.

    Attributes:
        finding: its name in the lexicon.
        status: ``present``, ``absent`` or ``uncertain``.
        section: where it stands.
        start: the first character of the words in the section's text.
        end: one past the last.
        text: the words as written.
        sentence: first and last (exclusive) character of the sentence.
        phrase: the lexicon's phrase that found it.
        rule: what decided the status: ``stated``, ``worded`` (the phrase itself says so), or the
            group of triggers, such as ``no`` or ``may``.
        cue: the trigger as written, empty where there is none.
    """

    finding: str
    status: Status
    section: str
    start: int
    end: int
    text: str
    sentence: tuple[int, int]
    phrase: str
    rule: str
    cue: str


class _Found(NamedTuple):
    """A mention within its sentence; offsets count from the sentence's first character."""

    finding: str
    status: Status
    start: int
    end: int
    phrase: str
    rule: str
    cue: tuple[int, int] | None


class _Meaning(NamedTuple):
    """What a phrase says; ``hidden`` for one that only looks like the finding."""

    finding: str
    status: Status | Literal["hidden"]


@functools.cache
def _tools() -> tuple[Matcher[_Meaning], ContextReader, Speller]:
    lexicon = load_lexicon()
    phrases: list[Phrase[_Meaning]] = []
    for name, finding in lexicon.findings.items():
        worded: list[tuple[_Meaning, tuple[str, ...]]] = [
            (_Meaning(name, status), lines) for status, lines in finding.phrases.items()
        ]
        for meaning, lines in (*worded, (_Meaning(name, "hidden"), finding.hidden)):
            phrases += [compile_phrase(line, meaning, lexicon.groups) for line in lines]
    matcher = Matcher(phrases)
    reader = ContextReader()
    return matcher, reader, Speller(matcher.anchors, reader.anchors)


def mine_sections(sections: Mapping[str, str | None]) -> list[Mention]:
    """The mentions of a report in reading order.

    Only ``findings`` and ``impression`` are read.

    >>> [(m.finding, m.status, m.rule) for m in mine_sections({"impression": "No effusion."})]
    [('effusion', 'absent', 'no')]
    """
    return [
        mention
        for section in SECTIONS
        for mention in mine_text(sections.get(section) or "", section)
    ]


def mine_text(text: str, section: str = "findings") -> list[Mention]:
    """The mentions of one section's text, in reading order."""
    mentions = []
    for start, end in sentence_spans(text):
        for begin, stop in _pieces(text, start, end):
            piece = text[begin:stop]
            found = _mine_short(piece) if stop - begin <= _CACHE_LENGTH else _mine_sentence(piece)
            for each in found:
                first, last = begin + each.start, begin + each.end
                cue = "" if each.cue is None else piece[each.cue[0] : each.cue[1]]
                mentions.append(
                    Mention(
                        each.finding,
                        each.status,
                        section,
                        first,
                        last,
                        text[first:last],
                        (start, end),
                        each.phrase,
                        each.rule,
                        cue,
                    )
                )
    return mentions


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A sentence whole, or cut behind the last stop, comma or word of every so many characters."""
    while end - start > _PIECE:
        stop = start + _PIECE
        cuts = (cut.match(text, start + _PIECE // 2, stop) for cut in _CUTS)
        cut = next(filter(None, cuts), None) or _WORD.match(text, stop, end)
        assert cut is not None  # a word of any length, or of none
        yield start, cut.end()
        start = cut.end()
    yield start, end


def report_status(mentions: Iterable[Mention]) -> dict[str, Status]:
    """What the whole report says of each finding it names: present before uncertain before absent.

    >>> text = "No edema. Small effusion. Effusion may be loculated. Mass is possible."
    >>> report_status(mine_text(text))
    {'edema': 'absent', 'effusion': 'present', 'mass': 'uncertain'}
    """
    status: dict[str, Status] = {}
    for mention in mentions:
        before = status.get(mention.finding)
        if before is None or _STRENGTH[mention.status] > _STRENGTH[before]:
            status[mention.finding] = mention.status
    return status


@functools.lru_cache(maxsize=_CACHE_SIZE)
def _mine_short(sentence: str) -> tuple[_Found, ...]:
    """Reports repeat their sentences: each is read once."""
    return _mine_sentence(sentence)


def _mine_sentence(sentence: str) -> tuple[_Found, ...]:
    matcher, reader, speller = _tools()
    words = normalise(sentence, speller)
    matches = _longest(matcher.find(words))
    if not matches:
        return ()
    context = reader.read(words)
    alternatives = _alternatives(matches, context)
    found = []
    for match in matches:
        meaning = match.phrase.value
        decided = _decide(match, context, alternatives)
        if decided is None:
            continue
        status, rule, cue = decided
        span = (words.spans[match.first][0], words.spans[match.last - 1][1])
        cue_span = (
            None if cue is None else (words.spans[cue.first][0], words.spans[cue.last - 1][1])
        )
        source = match.phrase.source
        found.append(_Found(meaning.finding, status, *span, source, rule, cue_span))
    return tuple(found)


def _longest(matches: Sequence[Match[_Meaning]]) -> list[Match[_Meaning]]:
    """Without what lies within a longer match, or looks only like a finding; in reading order."""
    hidden = [m for m in matches if m.phrase.value.status == "hidden"]
    real = [m for m in matches if m.phrase.value.status != "hidden"]
    for lookalike in hidden:
        real = [m for m in real if not _hides(lookalike, m)]
    kept: list[Match[_Meaning]] = []
    real.sort(key=lambda m: (m.first - m.last, m.first, -_STRENGTH[m.phrase.value.status]))
    for match in real:
        if not any(_swallows(other, match) for other in kept):
            kept.append(match)
    return sorted(kept, key=lambda m: (m.first, m.last, m.phrase.value.finding))


def _hides(lookalike: Match[_Meaning], match: Match[_Meaning]) -> bool:
    same = lookalike.phrase.value.finding == match.phrase.value.finding
    return same and lookalike.first <= match.first and match.last <= lookalike.last


def _swallows(longer: Match[_Meaning], match: Match[_Meaning]) -> bool:
    """Whether ``match`` is only a part of what the longer one says."""
    same = longer.phrase.value.finding == match.phrase.value.finding
    if same and match.first < longer.last and longer.first < match.last:
        return True
    inside = longer.first <= match.first and match.last <= longer.last
    if not inside or longer.last - longer.first == match.last - match.first:
        return False
    if longer.phrase.value.status == match.phrase.value.status == "absent":
        return False  # "heart size and vascularity are normal" denies two findings
    # what stands in the gap of a phrase, touching neither end, is a finding of its own
    touches = match.first == longer.first or match.last == longer.last
    return touches or "~" not in longer.phrase.source


def _decide(
    match: Match[_Meaning], context: Context, alternatives: Container[Match[_Meaning]]
) -> tuple[Status, str, Scope | None] | None:
    """Status, rule and cue of a match; None where the text says nothing of the present state."""
    worded = match.phrase.value.status
    effects: dict[str, Scope] = {}
    for scope in context.scopes:
        if _reaches(scope, match):
            before = effects.get(scope.trigger.effect)
            if before is None or _distance(scope, match) < _distance(before, match):
                effects[scope.trigger.effect] = scope
    if "dropped" in effects:
        return None
    if worded == "absent":
        if "absent" in effects:  # "the heart is not normal in size" says little: leave it
            return None
        return "absent", "worded", None
    if "absent" in effects:
        return "absent", effects["absent"].trigger.name, effects["absent"]
    if "uncertain" in effects:
        return "uncertain", effects["uncertain"].trigger.name, effects["uncertain"]
    if worded == "uncertain":
        return "uncertain", "worded", None
    if match in alternatives:
        return "uncertain", "alternative", None
    return "present", "stated", None


def _reaches(scope: Scope, match: Match[_Meaning]) -> bool:
    if scope.trigger.direction != "before" and match.last <= scope.first:
        return match.first >= scope.reach_from
    if scope.trigger.direction == "after":
        return False
    return scope.first < match.last <= scope.reach_to


def _distance(scope: Scope, match: Match[_Meaning]) -> int:
    return min(abs(match.first - scope.last), abs(scope.first - match.last))


def _alternatives(
    matches: Sequence[Match[_Meaning]], context: Context
) -> frozenset[Match[_Meaning]]:
    """The findings that are one side of "X versus Y" or "X or Y"."""
    sides: set[Match[_Meaning]] = set()
    for position in context.disjunctions:
        before = [m for m in matches if position - 3 <= m.last <= position]
        after = [m for m in matches if position < m.first <= position + 4]
        if not before or not after:
            continue
        left = max(before, key=lambda m: m.last)
        right = min(after, key=lambda m: m.first)
        if not any(left.last <= b <= right.first for b in context.boundaries):
            sides |= {left, right}
    return frozenset(sides)
