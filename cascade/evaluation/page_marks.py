"""How a text stands beside its reference, piece by piece, for the page's examples.

Verdicts: ``agree``, ``contradict``, ``side`` (left for right), ``partly`` (a doubt, or other words
about the same disease), ``alone`` (asserted, and the reference does not speak of it), ``missed``
(asserted by the reference alone), or none.
"""

from __future__ import annotations

import dataclasses
import functools

from cascade.labels import mesh
from cascade.labels.label_sets import ABSENT, PRESENT, UNCERTAIN, LabelSet, label_values
from cascade.labels.lexicon import load_lexicon
from cascade.labels.miner import Mention, mine_text
from cascade.metrics.laterality import mention_sides

PRIORITY = ("contradict", "side", "missed", "alone", "partly", "agree", "")
"""Of findings named by the same words the first of these is shown."""
_SAYS = {PRESENT: "asserted", ABSENT: "denied", UNCERTAIN: "doubtful"}


@dataclasses.dataclass(frozen=True)
class Piece:
    """A piece of a text, its verdict ('' for none), and in words why."""

    text: str
    verdict: str = ""
    why: str = ""


def mark_terms(hypothesis: str, reference: str) -> list[Piece]:
    """Each term of an annotation beside the reference's terms.

    ``agree``: the reference has the term; ``side``: it has the disease on other sides alone;
    ``partly``: it says other things about the disease; ``contradict``: it does not name the
    disease. Then, as ``missed``, each disease of the reference that the hypothesis does not name.

    >>> [piece.verdict for piece in mark_terms("nodule; opacity/left", "opacity/right; scoliosis")]
    ['contradict', 'side', 'missed']
    """
    terms = set(mesh.annotation_terms(reference))
    slots = mesh.annotation_slots(reference)
    diseases = mesh.annotation_diseases(reference)
    pieces = []
    for written in mesh.annotation_terms(hypothesis):
        term = mesh.parse_term(written)
        if written in terms:
            pieces.append(Piece(written, "agree", "as in the reference"))
        elif term.disease not in diseases:
            pieces.append(Piece(written, "contradict", "not in the reference"))
        else:
            said, meant = _sides(term.side), _sides(slots[term.disease].side)
            other = said and meant and not said & meant
            meaning = [each for each in terms if mesh.disease_of(each) == term.disease]
            why = f"reference: {'; '.join(sorted(meaning))}"
            pieces.append(Piece(written, "side" if other else "partly", why))
    named = set(mesh.annotation_diseases(hypothesis))
    missed = [name for name in diseases if name not in named]
    return pieces + [Piece(name, "missed", "in the reference alone") for name in missed]


def _sides(words: tuple[str, ...]) -> set[str]:
    return {"left", "right"} if "bilateral" in words else set(words)


def mark_report(text: str, other: str, missing: str = "alone") -> list[Piece]:
    """A free text cut into pieces, its findings marked by what the other text says of them.

    A finding on which both take a stand agrees or contradicts; one that both assert on no side in
    common is a side error. What the miner reads decides (docs/miner.md).

    Args:
        text: what is shown.
        other: what it is held against.
        missing: the verdict of a finding that ``text`` asserts and ``other`` does not mention:
            "alone" for a hypothesis, "missed" for the reference.

    >>> [(piece.text, piece.verdict) for piece in mark_report("No mass.", "A mass is seen.")]
    [('No ', ''), ('mass', 'contradict'), ('.', '')]
    """
    remarks = load_lexicon().remarks  # of the picture or the patient, not findings
    mentions = [mention for mention in mine_text(text) if mention.finding not in remarks]
    found = {mention: _judge(mention, text, other, missing) for mention in mentions}
    cuts = sorted({0, len(text), *(m.start for m in mentions), *(m.end for m in mentions)})
    pieces: list[Piece] = []
    for start, end in zip(cuts, cuts[1:], strict=False):
        over = [found[m] for m in mentions if m.start <= start and end <= m.end]
        verdict = min((v for v, _ in over), key=PRIORITY.index, default="")
        why = "; ".join(dict.fromkeys(why for v, why in over if v == verdict and why))
        if pieces and pieces[-1].verdict == verdict:  # two findings in one run of words
            start -= len(pieces[-1].text)
            why = "; ".join(dict.fromkeys(each for each in (pieces.pop().why, why) if each))
        pieces.append(Piece(text[start:end], verdict, why))
    return pieces


def _judge(mention: Mention, text: str, other: str, missing: str) -> tuple[str, str]:
    finding = mention.finding
    value = label_values([mention], _every_finding())[finding]
    (_, own_sides), (said, sides) = _read(text), _read(other)
    name = finding.replace("_", " ")
    where = "the reference" if missing == "alone" else "the text"
    if finding not in said:
        if value != PRESENT:
            return "", ""
        return missing, f"{name}: asserted; {where} does not mention it"
    why = f"{name}: {_SAYS[value]}; {where}: {_SAYS[said[finding]]}"
    if UNCERTAIN in (value, said[finding]):
        return "partly", why
    if value != said[finding]:
        return "contradict", why
    mine, theirs = own_sides.get(finding), sides.get(finding)
    if value == PRESENT and mine and theirs and not mine & theirs:
        told = [" and ".join(sorted(each)) for each in (mine, theirs)]
        return "side", f"{name}: {told[0]}; {where}: {told[1]}"
    return "agree", why


@functools.lru_cache(maxsize=256)
def _read(text: str) -> tuple[dict[str, float], dict[str, frozenset[str]]]:
    """The value of each finding, and the sides of each asserted one."""
    mentions = mine_text(text)
    sides: dict[str, frozenset[str]] = {}
    for mention, found in zip(mentions, mention_sides(text, mentions), strict=True):
        if mention.status == "present" and found:
            sides[mention.finding] = sides.get(mention.finding, frozenset()) | found
    values = label_values(mentions, _every_finding(), has_text=False)
    return values, sides


@functools.cache
def _every_finding() -> LabelSet:
    """Each finding of the lexicon as a label of its own."""
    findings = {name: (name,) for name in load_lexicon().findings}
    return LabelSet(findings, frozenset(), narrow=False, source="the lexicon")
