r"""Free-text reports to sections: headings at the start of a line, within one, or none at all.

What counts as a heading:

- a known name before a colon: in any case at the start of a line, capitalised within one (names
  that a sentence may hold, such as ``EXAM``, there in capitals only). Names may be combined, and a
  parenthesis may stand behind them;
- a known name alone on its line, or in capitals at the start of a line without a colon, where what
  follows does not read on as the same sentence (``FINDINGS The lungs``, not ``FINDINGS ARE``);
- any other words in capitals before a colon at the start of a line. Within findings, impression
  and addendum these name an organ (``LUNGS:``) and stay in the text; elsewhere a section ends,
  and the findings go on if they were begun and there is no impression yet.

Where the text goes:

- findings and impression under one heading are the impression, as in MIMIC-CXR's own sections;
- history and the reason for the examination are the indication;
- an addendum, before or after the report, stands at the end of the impression, behind
  ``Addendum:``, so that whoever reads the impression reads what corrects it;
- a wet read is superseded by the report; where nothing else reads the images, it is the impression;
- technique, recommendations, names and signatures are left out;
- if no heading names the findings, they are whatever stands in no section: before the first
  heading, below ``FINAL REPORT`` or an unknown heading, or in a later paragraph of a history, a
  comparison or a technique; lines there that only name the views are left out.

Every pattern looks at a bounded piece of text from where it starts, so the time is linear in the
length of the report, whatever it holds.
"""

from __future__ import annotations

import dataclasses
import functools
import heapq
import re
from collections.abc import Iterator

SECTIONS = ("findings", "impression", "indication", "comparison")

_ADDENDUM, _WET_READ, _ASIDE, _LOOSE = "addendum", "wet read", "aside", "loose"
_READINGS = ("impression", "findings", _ADDENDUM)
_ONE_PARAGRAPH = ("indication", "comparison", _ASIDE)
_ORGAN, _VIEWS, _RULE = ("an organ",), ("views",), ("a rule",)  # headings that name no section
_PLAIN_ASIDES = ("Technique", "Recommendation")
_EXAM = "(?:exam(?:s|ination)?|stud(?:y|ies)|films?|radiographs?|x-?rays?|tests?|procedure)"
_NAMES = {  # in the order in which a combined heading is taken
    "impression": (
        "(?:final |overall )?impressions?|impres+i?on|conclusions?|opinion|summary|interpretation"
    ),
    "findings": "(?:chest |lung |additional |other )?findings?|findngs",
    "indication": (
        "(?:clinical )?indications?(?: for (?:the |this )?EXAM)?"
        "|(?:past |brief |relevant )?(?:medical |clinical |patient )?history"
        "|history of present illness|(?:signs and )?symptoms"
        "|clinical (?:information|data|details|background|question)"
        "|reasons? for (?:the |this )?EXAM"
    ),
    "comparison": "compari?si?ons?(?: EXAM)?|(?:prior|previous) EXAM",
    _ADDENDUM: r"addend(?:um|a)(?: #?\d{1,2})?",
    _WET_READ: r"wet\x20?reads?(?: version)?(?: #?\d{1,2})?|pfi|preliminary (?:read|findings)",
    _LOOSE: "(?:final |preliminary |radiology )?report",
    _ASIDE: (
        "techniques?|procedure|(?:type of )?exam(?:ination)?(?: type)?|study|(?:number of )?views?"
        "|notifications?|recommendations?|(?:date|time)(?: of EXAM)?|(?:radiation )?dose|contrast"
        "|(?:dictated|transcribed|read|reported|approved|reviewed|(?:electronically )?signed) by"
        "|(?:ordering |referring |attending )?(?:physician|provider|radiologist)"
        "|accession(?: number)?|mrn|(?:patient )?(?:name|age|sex)|dob|date of birth"
    ),
}
_PATTERN = {
    section: names.replace("EXAM", _EXAM).replace(" ", r"[ \t]{1,4}")
    for section, names in _NAMES.items()
}
_EXACT = {section: re.compile(names, re.IGNORECASE) for section, names in _PATTERN.items()}
_ANY = "|".join(_PATTERN.values())
_JOINT = r"[ \t]{0,4}(?:[/&,]|(?<=[ \t])(?i:and|or)(?=[ \t]))[ \t]{0,4}"
_NAME = rf"(?i:{_ANY})(?:{_JOINT}(?i:{_ANY})){{0,3}}"
_TAIL = r"(?:[ \t]{0,4}\([^()\n]{0,60}\))?[ \t]{0,8}"
_READS_ON = (  # behind a heading in capitals without a colon: the start of another sentence
    r"[ \t]{1,8}(?=\d{1,2}[.)]|[A-Z0-9_(][^a-z\n]{0,40}[a-z]|(?:THE|THERE|NO|NONE|NORMAL|CLEAR)\b)"
    "|[ \t]{0,8}[-\u2013\u2014]{1,2}[ \t]"
)
_LINE = re.compile(
    r"^[ \t]{0,200}(?=[A-Za-z]{3}|[_=*-]{6})"
    rf"(?:(?P<name>{_NAME}){_TAIL}(?:(?P<colon>:)|$)"
    rf"|(?P<capitals>(?=[A-Z]{{3}}){_NAME})(?:{_READS_ON})"
    r"|(?P<other>[A-Z][A-Z0-9 \t,/()&#'_-]{1,60}):(?=\s|$)"
    r"|(?P<rule>[_=*-]{6,400})[ \t]{0,200}$)",
    re.MULTILINE,
)
_WITHIN = re.compile(rf"(?<![\w-])(?=[A-Z][A-Za-z]{{2}}[^:\n]{{0,120}}:)(?P<name>{_NAME}){_TAIL}:")
_WORD = re.compile("[a-z]+")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_VIEW_WORDS = frozenset(
    _WORD.findall(
        "a am an and ap at bedside chest cxr dated decubitus erect exam examination film films for"
        " frontal image images lateral m of on one or p pa performed pm portable projection"
        " radiograph radiographs ray rays semi semierect semiupright single study supine the three"
        " two upright view views with x xray"
    )
)
_Heading = tuple[int, int, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Report:
    """The sections of a report; None where it has no such section, or an empty one."""

    findings: str | None = None
    impression: str | None = None
    indication: str | None = None
    comparison: str | None = None


def clean_text(text: str | None) -> str | None:
    r"""Whitespace collapsed, control and invisible characters dropped; None for nothing.

    Half of a surrogate pair, which no file can hold, becomes U+FFFD.

    >>> clean_text("  No acute\n   dis\x00ease. ")
    'No acute disease.'
    """
    if not text:
        return None
    if not text.isascii() or not text.isprintable():
        text = _SURROGATE.sub("\ufffd", _CONTROL.sub("", text))
    return " ".join(text.split()) or None


def parse_report(text: str) -> Report:
    r"""Sort a report's text into its sections, by the rules at the head of this module.

    A section that occurs twice is joined; a report without any heading is all findings.

    >>> parse_report("HISTORY: Cough. FINDINGS: Clear lungs.\nIMPRESSION: Normal.")
    Report(findings='Clear lungs.', impression='Normal.', indication='Cough.', comparison=None)
    >>> parse_report("IMPRESSION: 1. Normal.\nADDENDUM: Nodule on the left.").impression
    '1. Normal. Addendum: Nodule on the left.'
    """
    text = _CONTROL.sub("", _LINE_END.sub("\n", text))
    pieces: list[tuple[str, str, str]] = []  # section, its text, later paragraphs of no heading
    named: set[str] = set()
    section, start = _LOOSE, 0
    for begin, end, found in _headings(text):
        if found in (_ORGAN, _VIEWS) and section in _READINGS:
            continue
        if found == _ORGAN and section == _LOOSE:
            continue
        pieces.append(_piece(section, text[start:begin], named))
        start = end
        if found == _RULE:
            section = _LOOSE if section in (_ADDENDUM, _WET_READ) else section
        elif found in (_ORGAN, _VIEWS):
            reading = "findings" in named and "impression" not in named
            section, start = "findings" if reading else _LOOSE, begin if found == _ORGAN else end
        else:
            section = found[0]
            named.update(found)
    pieces.append(_piece(section, text[start:], named))

    texts: dict[str, list[str]] = {name: [] for name in _NAMES}
    for section, own, later in pieces:
        if section == _LOOSE:
            own, later = "", own
        texts[section].append(own)
        if "findings" not in named:
            texts["findings"].append(_without_titles(later) if named else later)
        else:
            texts[section].append(later)
    cleaned = {name: clean_text(" ".join(parts)) for name, parts in texts.items()}
    addenda = [f"Addendum: {text}" for text in map(clean_text, texts[_ADDENDUM]) if text]
    if not cleaned["findings"] and not cleaned["impression"]:
        cleaned["impression"] = cleaned[_WET_READ]
    cleaned["impression"] = clean_text(" ".join([cleaned["impression"] or "", *addenda]))
    return Report(**{name: cleaned[name] for name in SECTIONS})


def _piece(section: str, text: str, named: set[str]) -> tuple[str, str, str]:
    """A section's text, and apart from it what may be the findings though no heading says so."""
    if section not in _ONE_PARAGRAPH or "impression" in named:  # findings come before it
        return section, text, ""
    own, *later = _PARAGRAPH.split(text.strip(), maxsplit=1)
    return section, own, later[0] if later else ""


def _without_titles(text: str) -> str:
    """The text without leading lines that only name the examination and its views."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not _VIEW_WORDS.issuperset(_WORD.findall(line.lower())):
            return "\n".join(lines[number:])
    return ""


def _headings(text: str) -> Iterator[_Heading]:
    """Where each heading begins and its text starts, and the sections that it names, in order."""
    last = 0
    unknown: _Heading | None = None
    for heading in heapq.merge(
        _line_headings(text), _headings_within(text), key=lambda item: item[:2]
    ):
        begin, end, sections = heading
        if begin < last:  # the heading at the line's start holds this one
            continue
        if unknown and unknown[1] <= begin:  # else a known heading behind a sentence in capitals
            yield unknown
        unknown = heading if sections in (_ORGAN, _VIEWS) else None
        if not unknown:
            last = end
            yield heading
    if unknown:
        yield unknown


def _headings_within(text: str) -> Iterator[_Heading]:
    for match in _WITHIN.finditer(text):
        sections = _sections(match["name"])
        plain = sections[0] not in (_ASIDE, _LOOSE) or match["name"].startswith(_PLAIN_ASIDES)
        if plain or match["name"].isupper():
            yield match.start(), match.end(), sections


def _line_headings(text: str) -> Iterator[_Heading]:
    for match in _LINE.finditer(text):
        begin, end = match.span()
        name = match["name"] or match["capitals"]
        if match["rule"]:
            yield begin, end, _RULE
        elif name:
            in_text = not name[0].isupper() if match["name"] else not name.isupper()
            if match["colon"] or not in_text:  # else a word of the sentence, alone on its line
                yield begin, end, _sections(name)
        else:
            yield begin, end, _unknown(match["other"])


@functools.lru_cache(maxsize=1024)
def _unknown(heading: str) -> tuple[str, ...]:
    """What a heading in capitals names: a section by its first word, views, or an organ."""
    words = _WORD.findall(heading.lower())
    first = _sections(words[0])
    if first and first[0] in SECTIONS:  # FINDINGS ARE AS FOLLOWS:
        return first
    return _VIEWS if _VIEW_WORDS.issuperset(words) else _ORGAN


@functools.lru_cache(maxsize=1024)
def _sections(name: str) -> tuple[str, ...]:
    """The sections that a heading names, the one that its text goes to first."""
    names = [name, *re.split(_JOINT, name)]
    return tuple(
        section
        for section, pattern in _EXACT.items()
        if any(pattern.fullmatch(part.strip()) for part in names)
    )
