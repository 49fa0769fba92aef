"""MeSH annotations: ``Opacity/lung/base/left/mild`` to disease, location, side, severity, and back.

A term is pieces joined by ``/``. The first says what is seen; where it names an organ
(``Lung/hypoinflation``) it says nothing until the finding is named, so the disease keeps both. The
other pieces are qualifiers, each of exactly one kind of a closed vocabulary: every piece of the
3,955 reports of the Open-i archive. The annotation text is what the decoder learns to write.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

NORMAL = "normal"
NO_INDEXING = "no indexing"
"""The mark of a report that nobody indexed: readers give such a study no annotation at all."""
TECHNICAL_QUALITY = "technical quality of image unsatisfactory"
"""Kept in the annotation, but it speaks of the picture and is no disease."""
NON_FINDINGS = frozenset({NO_INDEXING, TECHNICAL_QUALITY})


def _vocabulary(words: str) -> frozenset[str]:
    return frozenset(word.strip() for line in words.splitlines() for word in line.split("|")) - {""}


ANATOMY = _vocabulary("""
    abdomen|adipose tissue|aorta|aorta, thoracic|blood vessels|bone and bones|cardiac shadow
    cervical vertebrae|costophrenic angle|diaphragm|heart|heart atria|heart ventricles|humerus|lung
    lumbar vertebrae|lymph nodes|markings|mediastinum|pleura|pulmonary artery|ribs|shoulder|spine
    sulcus|thoracic vertebrae|thorax|trachea|trachea, carina
""")
"""First pieces that name a place, not a finding."""

SIDES = _vocabulary("left|right|bilateral")
SEVERITIES = _vocabulary("borderline|mild|moderate|severe|small|large")
LOCATIONS = (ANATOMY - {"markings"}) | _vocabulary("""
    anterior|aortic valve|apex|azygos lobe|base|breast|breast implants|bronchi|cardiophrenic angle
    clavicle|coronary vessels|esophagus|hilum|lingula|lower lobe|middle lobe|mitral valve|multilobar
    neck|paratracheal|pleural sinus|posterior|pulmonary alveoli|retrocardiac|sternum|supracardiac
    upper lobe
""")
FINDINGS = _vocabulary("""
    abnormal|blunted|bronchovascular|degenerative|elevated|enlarged|flattened|hyperdistention
    hypoinflation|interstitial|irregular|obscured|prominent|reticular|tortuous
""")
"""Descriptors that say what is wrong with an organ."""
DESCRIPTORS = FINDINGS | _vocabulary("""
    acute|chronic|diffuse|focal|healed|multiple|patchy|round|scattered|streaky
""")
"""What is neither a place, a side nor a degree: findings of an organ, spread, shape, course."""

_PARTS = frozenset({"blood vessels", "hilum", "lymph nodes"})
"""Parts that take the organ's place: an enlarged hilum is not an enlarged lung."""


@dataclasses.dataclass(frozen=True)
class Term:
    """One annotation term, lower case.

    Attributes:
        disease: what is seen.
        location: where, from organ to part.
        side: left, right or bilateral.
        severity: degree or size.
        descriptors: the rest (``chronic``, ``multiple``, ``round`` ...), and whatever the
            vocabulary does not know (``unknown_pieces``).
    """

    disease: str
    location: tuple[str, ...] = ()
    side: tuple[str, ...] = ()
    severity: tuple[str, ...] = ()
    descriptors: tuple[str, ...] = ()


class Slots(NamedTuple):
    """The context of a disease: every location, side and severity said of it, in order."""

    location: tuple[str, ...] = ()
    side: tuple[str, ...] = ()
    severity: tuple[str, ...] = ()


def _pieces(term: str) -> list[str]:
    """The pieces of a term, lower case, whitespace collapsed, empty ones left out."""
    # a semicolon would end the term in an annotation text
    pieces = (" ".join(piece.split()) for piece in term.lower().replace(";", ",").split("/"))
    return [piece for piece in pieces if piece]


def _finding_places(pieces: Sequence[str]) -> tuple[int, ...]:
    """Where the pieces of the disease stand in a term, in the order in which they name it."""
    if pieces[0] not in ANATOMY:
        return (0,)
    organ = 0
    for place, piece in enumerate(pieces[1:], start=1):
        if piece in _PARTS and pieces[0] != "markings":
            organ = place
        elif piece in FINDINGS or not _is_known(piece):
            return (organ, place)
    # no finding: a place or a degree says it all (lung/azygos lobe, heart/small), a side does not
    said = (place for place, piece in enumerate(pieces) if place and piece not in SIDES)
    return (0, *list(said)[:1])


def disease_of(term: str) -> str:
    """The disease of a term, lower case: its first piece; after an organ also the finding.

    The finding is the first piece that says what is wrong: sides, degrees, positions and the like
    before it are passed over, so that a raised diaphragm is one disease on either side.

    >>> disease_of("Calcified Granuloma/lung/upper lobe/right")
    'calcified granuloma'
    >>> disease_of("Thoracic Vertebrae/degenerative/mild")
    'thoracic vertebrae/degenerative'
    >>> disease_of("Diaphragm/right/elevated"), disease_of("Lung/hilum/left/prominent")
    ('diaphragm/elevated', 'hilum/prominent')
    """
    pieces = _pieces(term)
    return "/".join(pieces[place] for place in _finding_places(pieces)) if pieces else ""


def paper_disease_of(term: str) -> str:
    """The disease by the letter of Shin et al. 2016: the first piece, or two after an organ.

    It gives their counts, and ``diaphragm/right`` for a raised right diaphragm.

    >>> paper_disease_of("Diaphragm/right/elevated"), paper_disease_of("Opacity/left")
    ('diaphragm/right', 'opacity')
    """
    pieces = _pieces(term)
    return "/".join(pieces[: 2 if pieces[0] in ANATOMY else 1]) if pieces else ""


DISEASES: dict[str, Callable[[str], str]] = {"finding": disease_of, "paper": paper_disease_of}
"""What ``labels.disease`` may name. Texts are always scored by ``finding``."""


def parse_term(term: str) -> Term:
    """Sort the pieces of a term into disease, location, side, severity and the rest.

    >>> parse_term("Opacity/lung/base/left/mild")
    Term(disease='opacity', location=('lung', 'base'), side=('left',), severity=('mild',), \
descriptors=())
    """
    pieces = _pieces(term)
    if not pieces:
        return Term("")
    places = _finding_places(pieces)
    rest = [piece for place, piece in enumerate(pieces) if place not in places]
    return Term(
        disease="/".join(pieces[place] for place in places),
        location=tuple(piece for piece in rest if piece in LOCATIONS),
        side=tuple(piece for piece in rest if piece in SIDES),
        severity=tuple(piece for piece in rest if piece in SEVERITIES),
        descriptors=tuple(piece for piece in rest if piece in DESCRIPTORS or not _is_known(piece)),
    )


def _is_known(piece: str) -> bool:
    return piece in LOCATIONS or piece in SIDES or piece in SEVERITIES or piece in DESCRIPTORS


def unknown_pieces(mesh: Sequence[str]) -> list[str]:
    """The qualifiers of an annotation that the vocabulary does not know, each once, in order.

    First pieces are not judged: what a disease may be called is open.

    >>> unknown_pieces(["Opacity/lung/left upper/mild", "Blister/apex"])
    ['left upper']
    """
    rest = (piece for term in mesh for piece in _pieces(term)[1:])
    return list(dict.fromkeys(piece for piece in rest if not _is_known(piece)))


def annotation_text(mesh: Sequence[str]) -> str:
    """The annotation as the decoder writes it and as it is scored.

    >>> annotation_text(["Opacity/lung/base/left", "Cardiomegaly/mild "])
    'opacity/lung/base/left; cardiomegaly/mild'
    >>> annotation_text([])
    ''
    """
    terms = ("/".join(_pieces(term)) for term in mesh)
    return "; ".join(term for term in terms if term)


def annotation_terms(text: str) -> list[str]:
    """The terms of an annotation text; empty terms and stray separators are passed over.

    >>> annotation_terms("opacity/lung ;; cardiomegaly/ /mild;")
    ['opacity/lung', 'cardiomegaly/mild']
    """
    terms = ("/".join(_pieces(term)) for term in text.split(";"))
    return [term for term in terms if term]


def diseases_of(mesh: Sequence[str], disease: Callable[[str], str] = disease_of) -> list[str]:
    """The diseases of an annotation's terms, each once, in order; what is no finding left out.

    Args:
        mesh: the terms.
        disease: one of ``DISEASES``.

    >>> diseases_of(["Opacity/lung", "Opacity/round", "No Indexing"])
    ['opacity']
    """
    found = dict.fromkeys(disease(term) for term in mesh)
    return [name for name in found if name and name not in NON_FINDINGS]


def annotation_diseases(text: str) -> list[str]:
    """The diseases of an annotation text, each once, in order.

    >>> annotation_diseases("lung/hypoinflation; opacity/left; opacity/right")
    ['lung/hypoinflation', 'opacity']
    """
    return diseases_of(annotation_terms(text))


def annotation_slots(text: str) -> dict[str, Slots]:
    """The context of each disease of an annotation text; terms of one disease are joined.

    >>> annotation_slots("opacity/lung/base/left; opacity/lung/right/mild")["opacity"]
    Slots(location=('lung', 'base'), side=('left', 'right'), severity=('mild',))
    """
    slots: dict[str, Slots] = {}
    for written in annotation_terms(text):
        term = parse_term(written)
        if term.disease in NON_FINDINGS:
            continue
        old = slots.get(term.disease, Slots())
        new = (term.location, term.side, term.severity)
        slots[term.disease] = Slots(
            *(tuple(dict.fromkeys(a + b)) for a, b in zip(old, new, strict=True))
        )
    return slots
