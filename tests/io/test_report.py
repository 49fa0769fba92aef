from __future__ import annotations

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
        ("TECHNIQUE: PA\nFINDINGS: Clear.\nADDENDUM: Seen.", Report("Clear.")),
        ("FINDINGS: A.\nIMPRESSION: B.\nFINDINGS: C.", Report("A. C.", "B.")),
        ("FINDINGS: as in the findings: clear.", Report("as in the findings: clear.")),
        ("FINDINGS: There is no history of TB.", Report("There is no history of TB.")),
        ("FINDINGS:\nIMPRESSION: Normal.", Report(None, "Normal.")),
        ("FINDINGS: Clear.\r\nIMPRESSION: Normal.\r\n", Report("Clear.", "Normal.")),
    ],
)
def test_sections(text, expected):
    assert parse_report(text) == expected


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


def test_a_long_report_takes_no_time():
    text = "FINDINGS: " + "the heart is normal " * 500_000
    assert len(parse_report(text).findings or "") > 9_000_000
