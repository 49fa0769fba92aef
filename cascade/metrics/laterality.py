"""On which side a sentence puts a finding: left, right, both, or no word of it.

A word of side stands before its finding ("left pleural effusion"), behind it ("atelectasis in the
left base"), within it ("collapse of the left lower lobe") or at the head of the sentence ("on the
left, there is ..."). Each is given to the nearest finding that it can belong to: never across a
new statement ("but", ";", "and there is"), and never across "clear", "normal" or a negation ("the
right lung is clear"). Findings of lung and pleura that stand together share a side ("left effusion
and atelectasis"). What cannot be decided has no side: an error must be sure to be counted as one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cascade.labels.miner import Mention
from cascade.labels.phrases import Normalised


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LEFT, RIGHT = frozenset({"left"}), frozenset({"right"})
BOTH, NEITHER = LEFT | RIGHT, frozenset[str]()

UNSIDED = _words(
    "cardiomegaly enlarged_cardiomediastinum pericardial_effusion epicardial_fat tortuous_aorta "
    "aortic_abnormality atherosclerosis azygos degenerative degenerative_thoracic spondylosis "
    "osteophyte kyphosis bone_density obesity technical copd hyperdistention congestion"
)
"""Findings of the midline or the whole chest: no word of side is theirs."""

_SHARING = _words(
    "atelectasis effusion infiltration mass nodule pneumonia pneumothorax consolidation fibrosis "
    "pleural_thickening pleural_plaque lung_opacity nodular_opacity cicatrix calcified_granuloma "
    "costophrenic_blunting volume_loss infection cavity bulla hemorrhage interstitial_markings "
    "cancer granulomatous_disease"
)
"""Findings of lung and pleura: of two that stand together the second shares the first's side."""

_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|[.,;:?()/&>]")
_SIDE = "left|right|lt|rt|l|r"
_PART = (
    "lungs?|lobes?|bases|apices|sides|hemithoraces|hemithorax|(?:hemi)?diaphragms?|hila|angles|sulci"
    "|zones|lower|upper|mid|apical|basilar|basal|pleural|perihilar|left|right|costophrenic|cp|lateral"
    "|posterior|shoulders|clavicles|nipples|effusions|pneumothoraces"
)
_EXPRESSION = re.compile(
    r"(?<= )(?:"
    # not a side of the chest: a chamber of the heart, a view, the verb
    r"(?P<hidden>(?:left|right)(?: sided)? (?:atri\w+|ventric\w+|cardiac|heart(?! border))"
    r"|(?:left|right) (?:lateral (?:decubitus|views?|projection|films?|radiograph|chest)"
    r"|(?:anterior|posterior) oblique)"
    r"|left in place|(?:was|were|been) left)"
    rf"|(?P<one>{_SIDE})(?: \w+){{0,3}}? (?:(?:greater|larger|more|worse|bigger|less"
    rf"|lesser|smaller)(?: \w+){{0,2}}? than|>)(?: \w+){{0,3}}? (?P<other>{_SIDE})"
    r"|(?P<both>bi ?(?:lateral|laterally|basilar|basal|basally|apical|pulmonary|perihilar|hilar)"
    rf"|both(?: of)?(?: the)?(?: (?!and |or )\w+){{0,2}}? (?:{_PART})"
    r"|(?:greater|greatest|larger|largest|worse|worst|more(?: \w+)?) (?:in|on|at) (?:the )?"
    r"(?:left|right))"
    r"|(?P<left>left|lt|leftwards?|lul|lll|lingular?|levo\w+"
    r"|l(?= (?:sided?|lung|base|lower|upper|pleural|apex) ))"
    r"|(?P<right>right|rt|rightwards?|rul|rml|rll|dextro\w+|middle lobe"
    r"|r(?= (?:sided?|lung|base|lower|upper|pleural|apex) ))"
    r")(?= )"
)
_PLURAL = re.compile(
    r"(?<= )(?:bases|apices|hemithoraces|(?:lower|upper) lobes"
    r"|costophrenic (?:angles|sulci|recesses))(?= )"
)
"""Means both sides where no other word of side stands."""
_CLEAR = re.compile(
    r"(?: (?:and|or) (?:left|right))?(?: (?:sided?|lungs?|lobes?|bases?|apex|apices|hemithorax"
    r"|zones?|upper|lower|mid|middle|costophrenic|cp|pleural|angles?|sulcus|sulci|spaces?"
    r"|hemidiaphragms?))*"
    r"(?: (?:is|are|remains?|appears?))?(?: (?:otherwise|grossly|now|relatively|essentially|well))*"
    r" (?:clear|clean|normal|unremarkable|free|sharp)(?= )"
)
"""What follows a word of side that is no finding's: "the left base is clear"."""
_CLAUSE = re.compile(
    r" (?:;|\.|but|however|although|though|while|whereas|except|otherwise)(?= )"
    r"| (?:, and|,|and) (?=there (?:is|are|has) )"
)
_BARRIER = _words("no none not without clear normal unremarkable negative free")
_BREAK = _words(
    "and or with without in at on of to is are was were has have there that which may could but "
    "from than no not shows demonstrates reveals contains appears reflects reflecting represents "
    "representing suggests suggesting consistent compatible secondary due , ; : . ( ) ? & >"
)
_VERB = _words("is are shows show demonstrates demonstrate has have reveals contains")
_DEGREE = _words("greater larger more worse bigger less lesser smaller than")
_LINK = _words(
    "and or , / & the in of on at as well to a lesser extent sided side lung lungs lobe lobes base "
    "bases basilar basal apex apical upper lower mid middle perihilar hilar hemithorax zone zones "
    "pleural costophrenic angle lateral medial posterior anterior retrocardiac"
)
_PREPOSITION = _words("in at on of within involving near over along throughout")
_TOGETHER = 6
"""Two findings so many words apart can share a side."""
_LONGEST = 4000
"""A sentence of more characters is no sentence, and has no sides: reading it takes their square."""


class _Place(NamedTuple):
    """Tokens ``first`` to ``last`` (exclusive): a word of side, or findings of one span."""

    first: int
    last: int
    sides: frozenset[str] = NEITHER
    findings: frozenset[str] = NEITHER


def laterality(sentence: str, mention: Mention, others: Iterable[Mention] = ()) -> frozenset[str]:
    """The sides on which a sentence puts one finding: of "left" and "right", or none.

    Args:
        sentence: the text of the mention's sentence.
        mention: one mention of it, with the offsets of the section's text.
        others: the sentence's other mentions, to which a word of side may belong instead.

    >>> from cascade.labels.miner import mine_text
    >>> text = "Small left effusion and atelectasis at both bases."
    >>> mentions = mine_text(text)
    >>> [sorted(laterality(text, mention, mentions)) for mention in mentions]
    [['left'], ['left', 'right']]
    """
    if len(sentence) > _LONGEST:
        return NEITHER
    begin = mention.sentence[0]
    spans = {
        (each.finding, each.start - begin, each.end - begin)
        for each in (mention, *others)
        if each.sentence == mention.sentence
    }
    wanted = (mention.finding, mention.start - begin, mention.end - begin)
    return _sentence_sides(sentence, tuple(sorted(spans)))[wanted]


def mention_sides(text: str, mentions: Sequence[Mention]) -> list[frozenset[str]]:
    """The sides of each mention of one text, in their order."""
    by_sentence: dict[tuple[int, int], list[Mention]] = {}
    for mention in mentions:
        by_sentence.setdefault(mention.sentence, []).append(mention)
    return [
        laterality(text[slice(*mention.sentence)], mention, by_sentence[mention.sentence])
        for mention in mentions
    ]


@functools.lru_cache(maxsize=2**14)
def _sentence_sides(
    sentence: str, spans: tuple[tuple[str, int, int], ...]
) -> dict[tuple[str, int, int], frozenset[str]]:
    """(finding, start, end) of each mention to its sides; reports repeat their sentences."""
    words = _tokens(sentence)
    found: dict[tuple[int, int], set[str]] = {}
    for finding, start, end in spans:
        inside = [at for at, (a, b) in enumerate(words.spans) if a < end and start < b]
        if inside and finding not in UNSIDED:
            found.setdefault((inside[0], inside[-1] + 1), set()).add(finding)
    places = [_Place(*span, findings=frozenset(found[span])) for span in sorted(found)]
    sides = {place: set[str]() for place in places}
    expressions = _expressions(words)
    for first, last in _clauses(words, places):
        _assign(
            words.text.split(" ")[: len(words.starts)],
            [place for place in places if first <= place.first < last],
            [side for side in expressions if first <= side.first < last],
            sides,
        )
    decided: dict[tuple[str, int, int], frozenset[str]] = {}
    for finding, start, end in spans:
        own = [
            place
            for place in places
            if finding in place.findings
            and words.spans[place.first][0] < end
            and start < words.spans[place.last - 1][1]
        ]
        decided[(finding, start, end)] = frozenset().union(*(sides[place] for place in own))
    return decided


def _tokens(sentence: str) -> Normalised:
    words, starts, spans, position = [], [], [], 0
    for match in _TOKEN.finditer(sentence.lower() if sentence.isascii() else _lower(sentence)):
        words.append(match.group())
        spans.append(match.span())
        starts.append(position)
        position += len(words[-1]) + 1
    return Normalised(" ".join(words), starts, spans)


def _lower(sentence: str) -> str:
    """Lower case of the same length, so that offsets hold."""
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in sentence)


def _expressions(words: Normalised) -> list[_Place]:
    """The words of side of a sentence, in order."""
    text = f" {words.text} "
    found = []
    for match in _EXPRESSION.finditer(text):
        if match["hidden"] or _CLEAR.match(text, match.end()):
            continue
        if match["one"]:
            one, other = (RIGHT if match[g].startswith("r") else LEFT for g in ("one", "other"))
            sides = one | other
        else:
            sides = BOTH if match["both"] else LEFT if match["left"] else RIGHT
        found.append(_place(words, match, sides))
    if found:
        return found
    return [
        _place(words, match, BOTH)
        for match in _PLURAL.finditer(text)
        if not _CLEAR.match(text, match.end())
    ]


def _place(words: Normalised, match: re.Match[str], sides: frozenset[str]) -> _Place:
    """Tokens of a match in the text that has one space before it."""
    first, last = words.token_at(match.start() - 1), words.token_at(match.end() - 2)
    return _Place(first, last + 1, sides)


def _clauses(words: Normalised, places: Sequence[_Place]) -> list[tuple[int, int]]:
    """The statements of a sentence as tokens; one without a finding belongs to the next."""
    cuts = [words.token_at(m.start()) for m in _CLAUSE.finditer(f" {words.text} ")]
    edges = [0, *cuts, len(words.starts)]
    merged: list[tuple[int, int]] = []
    begin = 0
    for end in edges[1:]:
        if any(begin <= place.first < end for place in places):
            merged.append((begin, end))
            begin = end
    if merged and begin < len(words.starts):
        merged[-1] = (merged[-1][0], len(words.starts))
    return merged


def _assign(
    words: Sequence[str],
    places: Sequence[_Place],
    expressions: Sequence[_Place],
    sides: dict[_Place, set[str]],
) -> None:
    """Give each word of side of one statement to a finding, and let neighbours share."""
    behind: dict[_Place, int] = {}
    outside = []
    for expression in expressions:
        holders = [p for p in places if p.first < expression.last and expression.first < p.last]
        for place in holders:
            sides[place] |= expression.sides
        if not holders:
            outside.append(expression)
    for chain in _chains(words, outside, places):
        before, after = _owners(words, chain, places)
        for expression, place in (*before, *after):
            sides[place] |= expression.sides
        for expression, place in before:
            behind[place] = max(behind.get(place, 0), expression.last)
    own = {place for place in places if sides[place]}
    for previous, place in zip(places, places[1:], strict=False):
        if sides[previous] and not sides[place]:
            gap = words[max(previous.last, behind.get(previous, 0)) : place.first]
            if _together(previous, place, gap):
                sides[place] |= sides[previous]
    for place, following in reversed(list(zip(places, places[1:], strict=False))):
        postposed = following in behind and following in own
        if postposed and not sides[place]:
            gap = words[place.last : following.first]
            if _together(place, following, gap):
                sides[place] |= sides[following]
                own.add(place)
                behind[place] = behind[following]


def _together(one: _Place, other: _Place, gap: Sequence[str]) -> bool:
    sharing = bool(one.findings & _SHARING and other.findings & _SHARING)
    return sharing and len(gap) <= _TOGETHER and not _BARRIER & set(gap)


def _chains(
    words: Sequence[str], expressions: Sequence[_Place], places: Sequence[_Place]
) -> list[list[_Place]]:
    """Words of side that belong together: "right upper and left lower"."""
    chains: list[list[_Place]] = []
    for expression in expressions:
        last = chains[-1][-1] if chains else None
        linked = (
            last is not None
            and _LINK.issuperset(words[last.last : expression.first])
            and not any(last.last <= place.first < expression.first for place in places)
        )
        if linked:
            chains[-1].append(expression)
        else:
            chains.append([expression])
    return chains


def _owners(
    words: Sequence[str], chain: list[_Place], places: Sequence[_Place]
) -> tuple[list[tuple[_Place, _Place]], list[tuple[_Place, _Place]]]:
    """The finding before or after which each word of a chain belongs to."""
    first, last = chain[0].first, chain[-1].last
    before = max((p for p in places if p.last <= first), key=lambda p: p.last, default=None)
    after = min((p for p in places if p.first >= last), key=lambda p: p.first, default=None)
    lead = set(words[before.last if before else 0 : first])
    trail = set(words[last : after.first]) if after else set()
    to_before = [] if before is None or lead & _BARRIER else [(each, before) for each in chain]
    to_after = [] if after is None or trail & _BARRIER else [(each, after) for each in chain]
    if not to_after:
        return to_before, []
    if before is None or not to_before:
        return [], to_after if before is None or not trail & _BREAK else []
    lone = words[chain[-2].last if len(chain) > 1 else before.last : chain[-1].first]
    link = [word for word in lone if word != "the"][-1:]
    # "effusion on the right, and the left base shows an opacity"
    subject = trail & _VERB and not trail & _DEGREE and link in (["and"], [","])
    if trail & _BREAK and not subject:
        return to_before, []
    if len(chain) > 1 and (trail & _BREAK or lead & _PREPOSITION):
        return to_before[:-1], to_after[-1:]
    return [], to_after
