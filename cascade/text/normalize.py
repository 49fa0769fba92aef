"""One spelling for what reports spell in several ways, before a decoder learns them.

What is scored is the report as written; only what the decoder is trained on is normalised.
``normalize`` keeps letters, case, numbers, units and marks of de-identification, and changes:

================================  ===================================================  ===========
what                              into                                                 can be undone
================================  ===================================================  ===========
white space and line breaks       one space; none at the ends                          no
control and invisible characters  nothing; half a surrogate pair likewise              no
curly quotes, dashes, ellipses    ``" ' - ...``                                        no
ligatures, wide letters           plain letters                                        no
``&lt;`` and ``<BR>``             ``<`` and a space, as a browser shows them           no
``clear .The``                    ``clear. The``                                       no
``abnormality. .``, ``seen..``    one stop                                             no
``8mm``, ``2x3 cms``, ``.5 cm``   ``8 mm``, ``2 x 3 cm``, ``0.5 cm``                   no
list numbers ``1)``, ``(1)``      ``1.``, or nothing with ``list_numbers="drop"``      no
================================  ===================================================  ===========

Unicode's own NFKC is not used: it makes ``cm²`` cm2, ``1½`` 11⁄2 and ``°`` disappear into other
signs. Those characters stay. What follows normalisation can be undone exactly: a subword
tokenizer gives a normalised text back letter by letter (``cascade.text.subwords``).
"""

from __future__ import annotations

import re
import unicodedata

from cascade.labels.segment import sentence_spans

LIST_NUMBERS = ("keep", "drop")

_SAME = {
    "'": "‘’‚‛′`´",
    '"': "“”„‟″«»",
    "-": "‐‑‒–—―−﹣",
    "x": "×",
    "µ": "μ",  # the micro sign, which Latin-1 has, for the Greek letter
    "...": "…",
    "ff": "ﬀ",
    "fi": "ﬁ",
    "fl": "ﬂ",
    "ffi": "ﬃ",
    "ffl": "ﬄ",
    "st": "ﬅﬆ",
}
_TABLE: dict[int, str] = {ord(odd): plain for plain, odds in _SAME.items() for odd in odds}
_TABLE |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # wide ASCII
_INVISIBLE = {"Cc", "Cf", "Cs"}
_ENTITY = re.compile(r"&(?:amp;)*(lt|gt|amp|quot|nbsp);")
_ENTITIES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "nbsp": " "}
_BREAK = re.compile(r"<br ?/?>", re.IGNORECASE)
_UNIT = r"(?:mm|cm|ml|cc|mg|kg)"
_REPAIRS = [
    (re.compile(r"([.?!])(?: \.(?!\d))+"), r"\1"),  # the stop that a form's last field leaves
    (re.compile(r"(?<!\.)\.\.(?!\.)"), "."),
    (re.compile(r" (?=[,;:?!)\]]|\.(?!\d))"), ""),
    (re.compile(r"(?<=[(\[]) "), ""),
    (re.compile(rf"(?<=\d)(?={_UNIT}s?\b)"), " "),
    (re.compile(rf"(?<=\d )({_UNIT})s\b"), r"\1"),
    (re.compile(r"(?<=\d) ?[xX] ?(?=\d)"), " x "),
    (re.compile(r"(?<![\w.,])\.(?=\d)"), "0."),
]


def normalize(text: str, list_numbers: str = "keep") -> str:
    r"""A report in the one spelling that the table above says.

    ``normalize(normalize(text)) == normalize(text)``.

    >>> normalize("1)No effusion .The  heart’s size\n is 8mm . .")
    "1. No effusion. The heart's size is 8 mm."
    >>> normalize("1. No acute disease 2. Stable nodule.", list_numbers="drop")
    'No acute disease. Stable nodule.'

    Raises:
        ValueError: ``list_numbers`` is neither ``keep`` nor ``drop``.
    """
    if list_numbers not in LIST_NUMBERS:
        raise ValueError(f"unknown list_numbers {list_numbers!r}, expected one of {LIST_NUMBERS}")
    text = _plain_characters(text)
    for _ in range(8):  # what one repair leaves may be another's business; twice as a rule
        before = text
        for pattern, replacement in _REPAIRS:
            text = pattern.sub(replacement, text)
        text = _sentences_apart(text, list_numbers == "keep")
        if text == before:
            break
    return text


def _plain_characters(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", text).translate(_TABLE)
        text = "".join(
            " " if letter.isspace() else letter
            for letter in text
            if letter.isspace() or unicodedata.category(letter) not in _INVISIBLE
        )
    if "&" in text:
        text = _ENTITY.sub(lambda match: _ENTITIES[match.group(1)], text)
    if "<" in text:
        text = _BREAK.sub(" ", text)
    return " ".join(text.split())


def _sentences_apart(text: str, keep: bool) -> str:
    """Sentences one space apart, list numbers alike or gone."""
    parts: list[str] = []
    position = 0
    for start, end in sentence_spans(text):
        numbers = re.findall(r"\d+", text[position:start])
        if keep:
            parts += [f"{number}." for number in numbers]
        elif numbers and parts and parts[-1][-1].isalnum():
            parts[-1] += "."  # the number was all that divided them
        parts.append(text[start:end])
        position = end
    if keep:
        parts += [f"{number}." for number in re.findall(r"\d+", text[position:])]
    return " ".join(parts)
