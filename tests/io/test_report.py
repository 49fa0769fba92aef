from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.io.report import SECTIONS, Report, clean_text, parse_report


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Report()),
        ("No heading at all.", Report(findings="No heading at all.")),
        ("FINDINGS: Clear.\nIMPRESSION: Normal.", Report("Clear.", "Normal.")),
        (
            "Findings:\n  Clear\n  lungs.\n\nImpression:\n Normal.",
            Report("Clear lungs.", "Normal."),
        ),
        ("FINDINGS\nClear.\nIMPRESSION\nNormal.", Report("Clear.", "Normal.")),
        ("FINDINGS: Clear. IMPRESSION: Normal.", Report("Clear.", "Normal.")),
        ("HISTORY: Cough. COMPARISON: None.", Report(None, None, "Cough.", "None.")),
        ("Reason for exam: fall\nConclusion: ok", Report(None, "ok", "fall")),
        ("CLINICAL  HISTORY: Pain.", Report(indication="Pain.")),
        ("Clear lungs. IMPRESSION: Normal.", Report("Clear lungs.", "Normal.")),
        ("FINAL REPORT\nEXAM: Chest\nFINDINGS: Clear.", Report("Clear.")),
        ("FINDINGS: A.\nIMPRESSION: B.\nFINDINGS: C.", Report("A. C.", "B.")),
        ("FINDINGS: as in the findings: clear.", Report("as in the findings: clear.")),
        ("FINDINGS: There is no history of TB.", Report("There is no history of TB.")),
        ("FINDINGS:\nIMPRESSION: Normal.", Report(None, "Normal.")),
        ("FINDINGS: Clear.\r\nIMPRESSION: Normal.\r\n", Report("Clear.", "Normal.")),
        ("FINDINGS\rClear.\rIMPRESSION\rNormal.", Report("Clear.", "Normal.")),
        ("FINDINGS\x0bClear.\x0cIMPRESSION\u2028Normal.", Report("Clear.", "Normal.")),
        # two names before one colon
        ("FINDINGS AND IMPRESSION: Clear.", Report(impression="Clear.")),
        ("IMPRESSION/FINDINGS\nClear.", Report(impression="Clear.")),
        ("FINDINGS/ IMPRESSION: Clear.", Report(impression="Clear.")),
        ("Findings & Impression: Clear.", Report(impression="Clear.")),
        ("INDICATION/CLINICAL HISTORY: Fall.", Report(indication="Fall.")),
        ("Seen. History and Comparison: None.", Report("Seen.", indication="None.")),
        ("TECHNIQUE AND FINDINGS: PA. Clear.", Report("PA. Clear.")),
        # capitals without a colon, and capitals that are prose
        (
            "FINDINGS The lungs are clear.\nIMPRESSION 1. No.",
            Report("The lungs are clear.", "1. No."),
        ),
        (
            "FINDINGS THE LUNGS ARE CLEAR.\nIMPRESSION NORMAL",
            Report("THE LUNGS ARE CLEAR.", "NORMAL"),
        ),
        ("IMPRESSION - Normal.", Report(impression="Normal.")),
        ("INDICATION ___F with cough.", Report(indication="___F with cough.")),
        ("HISTORY OF TB.\nFINDINGS ARE NEW.", Report("HISTORY OF TB. FINDINGS ARE NEW.")),
        ("THE LUNGS ARE CLEAR IMPRESSION: NORMAL", Report("THE LUNGS ARE CLEAR", "NORMAL")),
        ("It has no\nimpression\non it.", Report("It has no impression on it.")),
        # names that stand for another
        ("CONCLUSION: Normal.", Report(impression="Normal.")),
        ("REASON FOR THIS EXAMINATION: Fall.", Report(indication="Fall.")),
        ("Clinical Information: Fall.", Report(indication="Fall.")),
        ("COMPARISON STUDY (CT): None.", Report(comparison="None.")),
        ("RECOMMENDATION(S): CT.\nIMPRESSION(S): A.", Report(impression="A.")),
        ("FINDINGS ARE AS FOLLOWS:\nClear.", Report("Clear.")),
        # numbered impressions
        (
            "IMPRESSION:\n 1. Clear.\n 2. Tube:\n in place.",
            Report(None, "1. Clear. 2. Tube: in place."),
        ),
        # headings that nobody knows
        (
            "FINDINGS:\nLUNGS: Clear.\nHEART: Big.\nIMPRESSION: A.",
            Report("LUNGS: Clear. HEART: Big.", "A."),
        ),
        (
            "INDICATION: Fall.\nLUNGS: Clear.\nIMPRESSION: A.",
            Report("LUNGS: Clear.", "A.", "Fall."),
        ),
        ("FINDINGS: A.\nCONTRAST: No.\nBONES: B.\nIMPRESSION: C.", Report("A. BONES: B.", "C.")),
        ("HISTORY: Fall.\nPORTABLE AP CHEST: Clear.", Report("Clear.", indication="Fall.")),
        ("IMPRESSION: A.\nDICTATED BY: ___", Report(impression="A.")),
        # findings that no heading names
        ("TECHNIQUE: PA.\n\nClear.\n\nIMPRESSION: A.", Report("Clear.", "A.")),
        (
            "INDICATION:\n\n Fall.\n\nCOMPARISON: None.\n\nPA and lateral views.\nClear.",
            Report("Clear.", None, "Fall.", "None."),
        ),
        ("HISTORY: Fall.\n\nPain.\n\nFINDINGS: Clear.", Report("Clear.", indication="Fall. Pain.")),
        ("IMPRESSION: A.\n\nEXAM: B.\n\nJohn Smith, MD", Report(impression="A.")),
        ("PA and lateral views of the chest", Report("PA and lateral views of the chest")),
        ("EXAM: CHEST 2 VIEWS INDICATION: Fall. FINDINGS: A.", Report("A.", indication="Fall.")),
        ("TECHNIQUE: PA. Findings: In a Study: A.", Report("In a Study: A.")),
    ],
)
def test_sections(text, expected):
    assert parse_report(text) == expected


MIMIC = """\
 WET READ: ___ ___ ___ 9:15 AM
   Mild edema.
 ______________________________________________________________________________
                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough  // pneumonia?

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___

 FINDINGS:

 No edema: the lungs are clear.
 TUBES: none.

 IMPRESSION:

 1. Clear.
 2. No tubes.

 NOTIFICATION:  ___ by phone.
"""


def test_a_report_as_mimic_cxr_prints_it():
    assert parse_report(MIMIC) == Report(
        findings="No edema: the lungs are clear. TUBES: none.",
        impression="1. Clear. 2. No tubes.",
        indication="___ year old woman with cough // pneumonia?",
        comparison="___",
    )
    assert parse_report(MIMIC.replace("\n", "\r\n")) == parse_report(MIMIC)


def test_a_title_is_no_finding():
    text = (
        "FINAL REPORT\n AP CHEST, 9:23 A.M., ON ___\n\n HISTORY:  Fall.\n\n IMPRESSION:  Clear.\n"
    )
    assert parse_report(text) == Report(None, "Clear.", "Fall.")


@pytest.mark.parametrize(
    "text",
    [
        "FINDINGS: Clear.\nIMPRESSION: B.\nADDENDUM: Old.",
        "FINDINGS: Clear.\nIMPRESSION: B.\n------------\nAddendum:\nOld.",
        "FINDINGS: Clear. IMPRESSION: B. ADDENDUM #1: Old.",
        " ADDENDUM  Old.\n __________\n    FINAL REPORT\n FINDINGS: Clear.\n IMPRESSION: B.",
        "ADDENDUM\nOld.\nFINAL REPORT\nClear.\nIMPRESSION: B.",
    ],
)
def test_an_addendum_stands_at_the_end_of_the_impression(text):
    assert parse_report(text) == Report("Clear.", "B. Addendum: Old.")


def test_several_addenda_and_one_without_an_impression():
    assert parse_report("ADDENDUM: A.\nFINDINGS: B.\nADDENDUM: C.") == Report(
        "B.", "Addendum: A. Addendum: C."
    )


def test_a_wet_read_counts_only_alone():
    assert parse_report("WET READ: Clear.") == Report(impression="Clear.")
    assert parse_report("WET READ VERSION #1\nEdema.\nFINDINGS: Clear.") == Report("Clear.")


def test_lines_drawn_below_headings_are_no_text():
    text = "FINDINGS\n--------\nClear.\nIMPRESSION\n==========\nNormal."
    assert parse_report(text) == Report("Clear.", "Normal.")


def test_control_characters_are_dropped():
    text = "\ufeffFIND\x00INGS:\x00 No\x07 ed\u200bema\x7f\ud800.\x1cIMPRESSION:\x85A\u00a0B."
    assert parse_report(text) == Report("No edema\ufffd.", "A B.")
    assert clean_text("\x00\x1b\ufeff") is None
    assert clean_text("Gr\u00f6\u00dfe  5 \u00b5m") == "Gr\u00f6\u00dfe 5 \u00b5m"


@given(st.text())
def test_any_text_is_parsed_and_clean(text):
    report = parse_report(text)
    for section in SECTIONS:
        value = getattr(report, section)
        assert value is None or (value and value == " ".join(value.split()))


WORDS = st.text(alphabet="abcdefg ,.", min_size=1).filter(str.strip)


@given(WORDS, WORDS, st.sampled_from(["\n", " ", "\n\n", "\r\n"]))
def test_nothing_of_a_section_is_lost(findings, impression, gap):
    report = parse_report(f"FINDINGS: {findings}{gap}IMPRESSION: {impression}")
    assert report == Report(clean_text(findings), clean_text(impression))


PIECES = st.sampled_from(
    ["FINDINGS", "Impression", "history", " AND ", "/", ":", "\n", "\n\n", " ", "Clear. ", "LUNGS",
     "ADDENDUM", "WET READ", "FINAL REPORT", "(", ")", "____", "______", "1. ", "\r\n", "\x00"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_mixture_of_headings_is_parsed(text):
    report = parse_report(text)
    kept = "".join(getattr(report, section) or "" for section in SECTIONS)
    assert "IMPRESSION:" not in kept
    assert "\x00" not in kept


@given(WORDS, st.sampled_from(["LUNGS", "XYZ", "CHEST", "NOTE 1"]), WORDS)
def test_an_unknown_heading_swallows_nothing_that_follows(words, heading, more):
    report = parse_report(f"{heading}: {words}\nIMPRESSION: {more}\nCOMPARISON: {words}")
    assert (report.impression, report.comparison) == (clean_text(more), clean_text(words))


HOSTILE = [
    "the heart is normal ", " ", "\n", "\r", ":", "A", "Fin:", "Fin\n", "FINDINGS", "FINDINGS: ",
    "FINDINGS:\n", "Findings ", "FINDINGS/", "HISTORY AND ", "CLINICAL      ", "_", "______\n",
    "ABC:\n", "COMPARISON:\n\n x\n", "IMPRESSION (", "IMPRESSION - ", "Reason for the ", "\x00",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_is_linear_whatever_the_text(unit):
    parse_report(unit * (1_000_000 // len(unit)))  # warms up
    start = time.process_time()
    parse_report(unit * (1_000_000 // len(unit)))
    assert time.process_time() - start < 10  # at most 1 s on an idle core; squared it were an hour


def test_a_long_report_takes_no_time():
    text = "FINDINGS: " + "the heart is normal " * 500_000
    start = time.process_time()
    assert len(parse_report(text).findings or "") > 9_000_000
    assert time.process_time() - start < 20  # half a second on an idle core
