"""Sentences of a report as character spans: what negation and the decoder's text both cut by.

Reports are not newspaper prose. A full stop may close "2.5 cm." and go on, stand in "Dr. XXXX",
"10:30 a.m." or "no. 3", follow a list number, or miss the space after it ("effusion.The heart");
whole reports come in lower case from other systems; and sentences begin with a mark of
de-identification. The rules are a handful of regular expressions, linear in the text's length.
"""

from __future__ import annotations

import re

_CLOSERS = "\"'”’)]"
_CANDIDATE = re.compile(
    r"[.?!]++(?:\s++[.?!]++(?!\d))*[\"'”’)\]]*+"  # ". ." at the end of a report is one stop
    r"|\n[ \t\r]*+\n"  # an empty line
    r"|\n(?=[ \t]*+(?:\(?\d{1,2}[.)](?![\d.])|[-*•][ \t]))"  # a line that begins an item
    r"|(?<=\s)\(?\d{1,2}\)(?=\s)"  # 2) in the running text
)
_START = re.compile(r"\s*+(?:\(?(\d{1,2})[.)](?![\d.])\s*+)?")
_SPACE = re.compile(r"\s*+")
_NUMBER = re.compile(r"\(?(\d{1,2})[.)](?![\d.])")
_WORD = re.compile(r"[\w.]*\Z")
_LAST_WORD = re.compile(r"(\w+)\s*\Z")
_TITLE = re.compile(r"(?:\b(?:dr|mr|mrs|ms|prof)\.?|\b[A-Z]\.)\s*\Z", re.IGNORECASE)
_COMMON_START = re.compile(r"(?:the|there|this|these|no|heart|lungs?|stable)\b")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A stop after these never ends a sentence,
_NEVER = _words("dr mr mrs ms prof vs e.g i.e eg ie cf approx viz resp incl")
# after these only before a capital or the like,
_SOMETIMES = _words(
    "cm mm ml cc mg kg in ft etc a.m p.m am pm hr hrs min sec wk wks yr yrs mo mos "
    "rt lt ant post lat inf sup bilat med dist prox st pt pts dept hosp ca"
)
# and after these not before a number.
_BEFORE_NUMBER = _words("no nos fig figs vol ser se im img acc approx p pp ca")
# "rib 2." is not item two, even where item one went before.
_COUNTED = _words(
    "grade stage type level class rib ribs no number series image of to by at and or than "
    "from is are was category zone segment size the x"
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Where the sentences of a report stand: ``text[start:end]`` of each, in order.

    Spans hold no white space at their ends. Together they hold every other character except the
    numbers of a list, which belong to no sentence.

    >>> text = "1. Stable 2.5 cm nodule.No effusion. 2. XXXX vs. scar, see Dr. XXXX."
    >>> [text[start:end] for start, end in sentence_spans(text)]
    ['Stable 2.5 cm nodule.', 'No effusion.', 'XXXX vs. scar, see Dr. XXXX.']
    """
    spans: list[tuple[int, int]] = []
    start, item = _begin(text, 0, 0)
    for match in _CANDIDATE.finditer(text):
        first, last = match.span()
        if first < start:  # the stop of a list number
            continue
        mark = text[first]
        if mark in ".?!":
            number = _item_before_stop(text, first, item, start) if item else None
            if number is not None:
                end = last = number
            elif _ends(text, first, last):
                end = last
            else:
                continue
        elif mark == "\n":
            if not _begins_item(text, last, item):
                continue
            end = first
        else:
            if int(match.group().strip("()")) != item:
                continue
            end = last = first
        _append(spans, text, start, end)
        start, item = _begin(text, last, item)
    _append(spans, text, start, len(text))
    return spans


def _begin(text: str, position: int, item: int) -> tuple[int, int]:
    """First character of the sentence from ``position`` on, and the list number to expect next."""
    match = _START.match(text, position)
    assert match is not None  # it matches nothing at all, too
    number = match.group(1)
    return match.end(), item if number is None else int(number) + 1


def _append(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    length = len(text[start:end].rstrip())
    if length:
        spans.append((start, start + length))


def _begins_item(text: str, position: int, item: int) -> bool:
    """Whether a line break divides: before a number only if the list goes on or begins there.

    Wrapped lines may begin with any number: "measures 2 by", "10. Stable" have none.
    """
    number = _NUMBER.match(text, _skip(text, position))
    return number is None or int(number.group(1)) in (1, item)


def _item_before_stop(text: str, stop: int, item: int, start: int) -> int | None:
    """Where the list number before this stop begins, if "disease 2. Stable" has one there."""
    if item < 2 or text[stop - 1 : stop] not in tuple("0123456789"):
        return None
    begin = stop - len(str(item))
    if begin <= start or text[begin:stop] != str(item) or not text[begin - 1].isspace():
        return None
    following = text[_skip(text, stop + 1) : _skip(text, stop + 1) + 1]
    word = _LAST_WORD.search(text, max(start, begin - 16), begin)
    if not following.isalpha() or (word and word.group(1).lower() in _COUNTED):
        return None
    return begin


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


def _ends(text: str, first: int, last: int) -> bool:
    """Whether the marks ``text[first:last]`` end a sentence."""
    if text[last : last + 1] == " " and text[last + 1 : last + 2].isupper():
        ending = text[max(0, first - 5) : first]
        if len(ending) == 5 and ending.isalpha() and ending != "pprox":
            return True  # most stops; no other abbreviation below is so long
    position = _skip(text, last)
    if position == len(text):
        return True
    following = text[position]
    if position == last:
        return _ends_without_space(text, first, position)
    if text[first] != "." or text.startswith("..", first) or text[last - 1] in _CLOSERS:
        return not following.islower()
    word = _word_before(text, first)
    lower = word.lower()
    if lower in _NEVER or (following.isdigit() and lower in _BEFORE_NUMBER):
        return False
    if lower in _SOMETIMES or ("." in word and not word[0].isdigit()):  # U.S. study
        return not following.islower()
    if len(word) == 1 and word.isalpha():  # E. coli, Dr. J. Smith, but: hepatitis C. No change
        return not following.islower() and not _TITLE.search(text[max(0, first - 8) : first - 1])
    return following not in ",;:"


def _ends_without_space(text: str, first: int, position: int) -> bool:
    following, next_one = text[position], text[position + 1 : position + 2]
    if text[first] != ".":
        return following.isupper()
    word = _word_before(text, first)
    lower = word.lower()
    if lower in _NEVER or (len(word) < 2 and not word.isdigit()):
        return False
    if following.isupper():  # not in M.D. or XXXX.XXXX
        if "." in word and not word[0].isdigit() and lower not in _SOMETIMES:
            return False
        return next_one.islower() or word[-1].islower()
    if following.isdigit():  # disease.2. Stable
        return word.isalpha() and _NUMBER.match(text, position) is not None
    if following.islower():
        return len(word) > 2 and _COMMON_START.match(text, position) is not None
    return text.startswith(("___", "[**"), position)


def _word_before(text: str, position: int) -> str:
    match = _WORD.search(text, max(0, position - 12), position)
    assert match is not None
    return match.group()
