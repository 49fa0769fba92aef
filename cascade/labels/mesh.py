"""MeSH annotations: ``Opacity/lung/base/left/mild`` to disease, location, side, severity, and back.

A term is pieces joined by ``/``. Its disease is the first piece; a term that begins with an organ
(``Lung/hypoinflation``) says nothing until the second, so it keeps two. The other pieces are
qualifiers from a closed vocabulary. The annotation text is what the decoder learns to write.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

NORMAL = "normal"
NO_INDEXING = "no indexing"
"""The mark of a report that nobody indexed: readers give such a study no annotation at all."""
TECHNICAL_QUALITY = "technical quality of image unsatisfactory"
"""Kept in the annotation, but it speaks of the picture and is no disease."""
NON_FINDINGS = frozenset({NO_INDEXING, TECHNICAL_QUALITY})

ANATOMY = frozenset(
    """
    abdomen|adipose tissue|aorta|aorta, thoracic|blood vessels|bone and bones|cardiac shadow
    cervical vertebrae|costophrenic angle|diaphragm|heart|heart atria|heart ventricles|humerus|lung
    lumbar vertebrae|lymph nodes|markings|mediastinum|pleura|pulmonary artery|ribs|shoulder|spine
    sulcus|thoracic vertebrae|thorax|trachea|trachea, carina
    """.strip()
    .replace("\n", "|")
    .replace("    ", "")
    .split("|")
)
"""First pieces that name a place: every one in the 3,955 reports of the Open-i archive."""

SIDES = frozenset({"left", "right", "bilateral"})
SEVERITIES = frozenset({"borderline", "mild", "moderate", "severe", "small", "large"})
LOCATIONS = ANATOMY - {"markings"} | frozenset(
    """
    anterior|aortic valve|apex|azygos lobe|base|breast|bronchi|cardiophrenic angle|clavicle
    coronary vessels|esophagus|hilum|lingula|lower lobe|middle lobe|mitral valve|multilobar|neck
    paratracheal|pleural sinus|posterior|pulmonary alveoli|retrocardiac|sternum|supracardiac
    upper lobe
    """.strip()
    .replace("\n", "|")
    .replace("    ", "")
    .split("|")
)


@dataclasses.dataclass(frozen=True)
class Term:
    """One annotation term, lower case.

    Attributes:
        disease: what is seen.
        location: where, from organ to part.
        side: left, right or bilateral.
        severity: degree or size.
        other: the remaining descriptors (``chronic``, ``multiple``, ``round`` ...).
    """

    disease: str
    location: tuple[str, ...] = ()
    side: tuple[str, ...] = ()
    severity: tuple[str, ...] = ()
    other: tuple[str, ...] = ()


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


def _disease_length(pieces: Sequence[str]) -> int:
    return 2 if pieces[0] in ANATOMY and len(pieces) > 1 else 1


def disease_of(term: str) -> str:
    """The disease of a term, lower case: its first piece, or two where the first names an organ.

    >>> disease_of("Calcified Granuloma/lung/upper lobe/right")
    'calcified granuloma'
    >>> disease_of("Thoracic Vertebrae/degenerative/mild")
    'thoracic vertebrae/degenerative'
    """
    pieces = _pieces(term)
    return "/".join(pieces[: _disease_length(pieces)]) if pieces else ""


def parse_term(term: str) -> Term:
    """Sort the pieces of a term into disease, location, side, severity and the rest.

    >>> parse_term("Opacity/lung/base/left/mild")
    Term(disease='opacity', location=('lung', 'base'), side=('left',), severity=('mild',), other=())
    """
    pieces = _pieces(term)
    if not pieces:
        return Term("")
    length = _disease_length(pieces)
    rest = pieces[length:]
    known = LOCATIONS | SIDES | SEVERITIES
    return Term(
        disease="/".join(pieces[:length]),
        location=tuple(piece for piece in rest if piece in LOCATIONS),
        side=tuple(piece for piece in rest if piece in SIDES),
        severity=tuple(piece for piece in rest if piece in SEVERITIES),
        other=tuple(piece for piece in rest if piece not in known),
    )


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


def diseases_of(mesh: Sequence[str]) -> list[str]:
    """The diseases of an annotation's terms, each once, in order; what is no finding left out.

    >>> diseases_of(["Opacity/lung", "Opacity/round", "No Indexing"])
    ['opacity']
    """
    found = dict.fromkeys(disease_of(term) for term in mesh)
    return [disease for disease in found if disease and disease not in NON_FINDINGS]


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
