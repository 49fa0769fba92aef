"""Annotations as draft sentences, and free text as sentences.

An annotation is terse (``pleural effusion/left/small``); a radiologist edits prose. The wording
here is by rule, so that a sentence says what the annotation says and nothing else.
"""

from __future__ import annotations

import re

from cascade.labels.segment import sentence_spans

SIDES = {"right", "left", "bilateral"}
SEVERITIES = ("borderline", "mild", "moderate", "severe", "small", "large")
_NO_ARTICLE = re.compile(
    r"^(scoliosis|cardiomegaly|emphysema|hyperdistention|hypoinflation|spondylosis|kyphosis"
    r"|atherosclerosis|pulmonary (edema|congestion|atelectasis|emphysema)|pneumonia|degenerative"
    r"|tortuosity|elevation|blunting|enlargement|prominence|flattening|volume loss|thickening)"
)
_ANATOMY_FIRST = {
    "lung": "of the lungs",
    "spine": "of the spine",
    "thoracic vertebrae": "of the thoracic spine",
    "lumbar vertebrae": "of the lumbar spine",
    "aorta": "of the aorta",
    "aorta, thoracic": "of the thoracic aorta",
    "markings": "markings",
    "diaphragm": "of the diaphragm",
    "mediastinum": "of the mediastinum",
    "costophrenic angle": "of the costophrenic angle",
    "cardiac shadow": "of the cardiac shadow",
}
_ADJECTIVES = {
    "tortuous": "tortuosity",
    "elevated": "elevation",
    "degenerative": "degenerative change",
    "blunted": "blunting",
    "enlarged": "enlargement",
    "prominent": "prominence",
    "flattened": "flattening",
}


def term_sentence(term: str) -> str:
    """One sentence for one annotation term.

    >>> term_sentence("pleural effusion/left/small")
    'There is a small left pleural effusion.'
    >>> term_sentence("opacity/lung/base/left/mild")
    'There is a mild left opacity in the lung base.'
    >>> term_sentence("lung/hypoinflation")
    'There is hypoinflation of the lungs.'
    """
    pieces = [piece.strip() for piece in term.lower().split("/") if piece.strip()]
    if not pieces:
        return ""
    if pieces == ["normal"]:
        return "No acute cardiopulmonary abnormality is identified."
    noun, rest, tail = pieces[0], pieces[1:], ""
    if noun in _ANATOMY_FIRST and rest:
        tail = _ANATOMY_FIRST[noun]
        noun, rest = _ADJECTIVES.get(rest[0], rest[0]), rest[1:]
    if ", " in noun:  # "catheters, indwelling" is an index entry, not prose
        first, second = noun.split(", ", 1)
        noun = f"{second} {first}"
    severities = [piece for piece in rest if piece in SEVERITIES]
    sides = [piece for piece in rest if piece in SIDES]
    multiple = "multiple" in rest
    places = [p for p in rest if p not in SEVERITIES and p not in SIDES and p != "multiple"]
    place = ""
    if places:
        where = " ".join(places)
        place = f"in the {where}"
    words = [*severities, *(["multiple"] if multiple else []), *sides, noun, tail, place]
    phrase = " ".join(word for word in words if word)
    if multiple or noun.endswith("s") and not noun.endswith("is"):
        plural = phrase if noun.endswith("s") else phrase.replace(noun, _plural(noun), 1)
        return f"There are {plural}."
    if _NO_ARTICLE.match(noun):
        return f"There is {phrase}."
    article = "an" if phrase[0] in "aeiou" else "a"
    return f"There is {article} {phrase}."


def _plural(noun: str) -> str:
    return noun[:-1] + "ies" if noun.endswith("y") else noun + "s"


def annotation_sentences(annotation: str) -> str:
    """Draft sentences for a whole annotation text; empty for an empty one.

    >>> annotation_sentences("cardiomegaly/mild; nodule/lung/upper lobe/right")
    'There is mild cardiomegaly. There is a right nodule in the lung upper lobe.'
    """
    return " ".join(filter(None, (term_sentence(term) for term in annotation.split(";"))))


def split_sentences(text: str) -> list[str]:
    r"""Sentences of free text, as ``cascade.labels.segment`` divides it, without list numbers.

    White space within a sentence is one space.

    >>> split_sentences("Heart size normal. No effusion.")
    ['Heart size normal.', 'No effusion.']
    >>> split_sentences("1. A 2.5 cm nodule.The heart\n is normal. 2. See Dr. XXXX.")
    ['A 2.5 cm nodule.', 'The heart is normal.', 'See Dr. XXXX.']
    """
    return [" ".join(text[start:end].split()) for start, end in sentence_spans(text)]
