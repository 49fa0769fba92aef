"""One study's draft as a document for people: plain text and PDF; what all documents say alike.

Every document says on top that it is machine-made and unverified, and every page of a PDF does. A
study whose draft is withheld says why, and holds neither draft nor findings: a list of findings
under "not fit to be read" would be read all the same. No document holds a path or a picture.
"""

from __future__ import annotations

import datetime
import hashlib
import textwrap
import unicodedata
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cascade.errors import InputError

TITLE = "Machine-made, unverified draft"

WITHHELD = {
    "needs_reader": "No draft: this study needs a reader.",
    "doubtful": "No draft: this may be no chest radiograph fit to be read by the program.",
    "failed": "No draft: the study could not be read by the program.",
    "duplicate": "No draft: every image of this study came before, in another one.",
}
"""What a document says in place of a draft, by the study's status."""

_WIDTH = 88
_SIDE = 26  # of the names before a value


class Draft(NamedTuple):
    """What a document says of a study.

    Attributes:
        study: the study's name in the results, a hash.
        status: ``draft``, or a key of ``WITHHELD``.
        why: the reasons of a withheld draft.
        sentences: the draft as report sentences; empty unless status is ``draft``.
        annotation: the same in annotation text; empty likewise.
        confidence: of the draft, in [0, 1]; None where it is withheld.
        findings: labels called present at ``operating_point``; None of a model without.
        operating_point: at which they are called.
        probabilities: label to probability in [0, 1]; empty where the draft is withheld.
        contradictions: between draft and probabilities, in words.
        notes: what else is to be known, in words.
        images: how many the study has.
        unread: how many of them could not be read.
        views: of those that were, each once.
        model_id: a hash of the model.
        model_version: of the program that trained it.
        program_version: of the program that annotated.
        time: when, in UTC.
        notice: that this is research software and no medical device.
    """

    study: str
    status: str
    why: tuple[str, ...]
    sentences: str
    annotation: str
    confidence: float | None
    findings: tuple[str, ...] | None
    operating_point: str | None
    probabilities: Mapping[str, float]
    contradictions: tuple[str, ...]
    notes: tuple[str, ...]
    images: int
    unread: int
    views: tuple[str, ...]
    model_id: str
    model_version: str
    program_version: str
    time: datetime.datetime
    notice: str

    @property
    def conclusion(self) -> str:
        """The draft's sentences, or why there are none."""
        if self.status != "draft":
            why = f" Reason: {'; '.join(self.why)}." if self.why else ""
            return WITHHELD[self.status] + why
        return self.sentences or "The draft is empty: no finding is described."

    @property
    def calling(self) -> str:
        """What is called present, and at which operating point; empty where nothing is called."""
        if self.findings is None:
            return ""
        called = ", ".join(self.findings) or "none"
        return f"{called} (operating point {self.operating_point})"


def document_uuid(kind: str, draft: Draft, uids: Iterable[str] = ()) -> uuid.UUID:
    """What names a document: equal for equal model, study, images and words, on any day.

    Args:
        kind: of document, or of what else is to be named.
        draft: what it says. Probabilities do not count: their last digit depends on the machine.
        uids: of the study and of its images, as the document gives them.
    """
    said = [draft.study, draft.model_id, draft.program_version, draft.status, draft.conclusion]
    said += [draft.operating_point or "", *sorted(uids)]
    digest = hashlib.sha256("\0".join([kind, *said]).encode()).digest()
    return uuid.UUID(bytes=digest[:16], version=5)


def facts(draft: Draft) -> list[tuple[str, str]]:
    """What stands at the head of a document: names and values."""
    images = str(draft.images)
    if draft.views:
        images += f" ({', '.join(draft.views)})"
    if draft.unread:
        images += f", {draft.unread} of them not read"
    return [
        ("Study", draft.study),
        ("Images", images),
        ("Model", f"{draft.model_id}, of version {draft.model_version}"),
        ("Program", f"cascade {draft.program_version}"),
        ("Time", draft.time.strftime("%Y-%m-%d %H:%M:%S UTC")),
    ]


def details(draft: Draft) -> list[tuple[str, str]]:
    """What stands below the draft: names and values; nothing where it is withheld."""
    found = []
    if draft.annotation:
        found.append(("Annotation", draft.annotation))
    if draft.confidence is not None:
        found.append(("Confidence of the draft", f"{draft.confidence:.2f}"))
    if draft.calling:
        found.append(("Called present", draft.calling))
    found += [("Contradiction", text) for text in draft.contradictions]
    return found + [("Note", text) for text in draft.notes]


def draft_text(draft: Draft, patient: Sequence[tuple[str, str]] = ()) -> str:
    """The document as plain text.

    Args:
        draft: what it says.
        patient: names and values that say whose study it is, if that may be said.
    """
    lines = [TITLE.upper(), *textwrap.wrap(draft.notice, _WIDTH), ""]
    for name, value in [*patient, *facts(draft)]:
        lines += _entry(name, value)
    lines += ["", "DRAFT", *textwrap.wrap(draft.conclusion, _WIDTH)]
    if below := details(draft):
        lines.append("")
        for name, value in below:
            lines += _entry(name, value)
    if draft.probabilities:
        lines += ["", "PROBABILITIES"]
        lines += [f"{p:.3f}  {label}" for label, p in draft.probabilities.items()]
    lines += ["", *textwrap.wrap(f"{TITLE}. {draft.notice}", _WIDTH)]
    return "\n".join(lines) + "\n"


def _entry(name: str, value: str) -> list[str]:
    return textwrap.wrap(
        " ".join(value.split()),
        _WIDTH,
        initial_indent=f"{name + ':':<{_SIDE}}",
        subsequent_indent=" " * _SIDE,
    ) or [f"{name}:"]


_ASCII = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "•": "-"}
    | {"Ł": "L", "ł": "l", "Đ": "D", "đ": "d", "Œ": "OE", "œ": "oe", "ı": "i"}
)


def latin(text: str) -> str:
    """Text in the characters of a PDF's own fonts (Latin-1); what has no such character is ``?``.

    No font is shipped or looked for, so a PDF is the same on every machine. Accents that Latin-1
    lacks are dropped before a letter is given up.

    >>> latin("Łucja Dvořák, 東京: “opacity” – µ é")
    'Lucja Dvorák, ??: "opacity" - µ é'
    """
    return "".join(_letter(c) for c in unicodedata.normalize("NFC", text).translate(_ASCII))


def _letter(character: str) -> str:
    if not character.isprintable():
        return " "
    for form in (character, unicodedata.normalize("NFKD", character)):
        found = form.encode("latin-1", "ignore").decode("latin-1")
        if found:
            return found
    return "" if unicodedata.combining(character) else "?"


def draft_pdf(draft: Draft, patient: Sequence[tuple[str, str]] = ()) -> bytes:
    """The document as PDF, in the fonts that every reader has.

    Args:
        draft: what it says.
        patient: names and values that say whose study it is, if that may be said.

    Raises:
        InputError: fpdf2 is not installed.
    """
    pdf = _page_class()(draft)
    pdf.add_page()
    for name, value in [*patient, *facts(draft)]:
        pdf.entry(name, value)
    pdf.heading("Draft")
    pdf.paragraph(draft.conclusion)
    if below := details(draft):
        pdf.ln(3)
        for name, value in below:
            pdf.entry(name, value)
    if draft.probabilities:
        pdf.heading("Probabilities")
        for label, probability in draft.probabilities.items():
            pdf.bar(label, probability)
    return bytes(pdf.output())


def _page_class() -> Any:
    """The class of the PDF; made late, since fpdf2 is an extra."""
    try:
        from fpdf import FPDF, XPos, YPos
    except ImportError as error:
        raise InputError("formats=pdf needs fpdf2: pip install 'cascade-cxr[pacs]'") from error

    class Page(FPDF):  # type: ignore[misc, unused-ignore]
        """An A4 page, the warning above and the notice below."""

        def __init__(self, draft: Draft) -> None:
            super().__init__(format="A4", unit="mm")
            self._draft = draft
            self.set_margins(20, 18)
            self.set_auto_page_break(True, 28)
            self.set_title(f"{TITLE}, study {draft.study}")
            self.set_creator(f"cascade {draft.program_version}")
            self.creation_date = draft.time
            self.alias_nb_pages()

        def header(self) -> None:
            self.set_font("Helvetica", "B", 13)
            self.set_text_color(160, 0, 0)
            self._line(TITLE, 7)
            self.set_font("Helvetica", "", 8)
            self._line(self._draft.notice, 4)
            self.set_text_color(0)
            self.ln(4)

        def footer(self) -> None:
            self.set_y(-24)
            self.set_font("Helvetica", "", 7)
            self.set_text_color(160, 0, 0)
            self._line(f"{TITLE}. {self._draft.notice}", 4)
            self.set_text_color(90)
            self._line(f"Study {self._draft.study}, page {self.page_no()} of {{nb}}", 4)
            self.set_text_color(0)

        def heading(self, text: str) -> None:
            self.ln(4)
            self.set_font("Helvetica", "B", 12)
            self._line(text, 7)

        def paragraph(self, text: str) -> None:
            self.set_font("Helvetica", "", 11)
            self._line(text, 5.5)

        def entry(self, name: str, value: str) -> None:
            self.set_font("Helvetica", "B", 9)
            self.cell(46, 5, latin(name))
            self.set_font("Helvetica", "", 9)
            self._line(value, 5)

        def bar(self, label: str, probability: float) -> None:
            self.set_font("Helvetica", "", 9)
            if self.will_page_break(5):
                self.add_page()
            label = latin(label)
            while len(label) > 1 and self.get_string_width(label) > 74:
                label = label[:-1]
            self.cell(76, 5, label)
            self.cell(14, 5, f"{probability:.3f}")
            left, top = self.get_x(), self.get_y() + 1
            self.set_fill_color(225)
            self.rect(left, top, 60, 3, style="F")
            self.set_fill_color(70, 100, 140)
            if probability > 0:
                self.rect(left, top, 60 * min(probability, 1.0), 3, style="F")
            self.ln(5)

        def _line(self, text: str, height: float) -> None:
            self.multi_cell(0, height, latin(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    return Page
