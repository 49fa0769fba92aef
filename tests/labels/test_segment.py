import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cascade.labels.segment import sentence_spans


def sentences(text):
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n ", []),
        ("Heart size normal", ["Heart size normal"]),
        ("Heart size normal. No effusion.", ["Heart size normal.", "No effusion."]),
        # Abbreviations.
        ("Told to Dr. XXXX by XXXX. Stable.", ["Told to Dr. XXXX by XXXX.", "Stable."]),
        ("Scar vs. Granuloma. Stable.", ["Scar vs. Granuloma.", "Stable."]),
        ("A finding, e.g. CT. Stable.", ["A finding, e.g. CT.", "Stable."]),
        ("A 3 cm. nodule. Stable.", ["A 3 cm. nodule.", "Stable."]),
        ("It measures 3 cm. The heart is big.", ["It measures 3 cm.", "The heart is big."]),
        ("See image no. 3. No effusion.", ["See image no. 3.", "No effusion."]),
        ("Effusion? No. Heart normal.", ["Effusion?", "No.", "Heart normal."]),
        ("Read by Dr. J. Smith. Stable.", ["Read by Dr. J. Smith.", "Stable."]),
        ("Hepatitis C. No effusion.", ["Hepatitis C.", "No effusion."]),
        ("An E. coli pneumonia.", ["An E. coli pneumonia."]),
        # Decimals and times.
        ("A 2.5 cm nodule. 1.5 cm before.", ["A 2.5 cm nodule.", "1.5 cm before."]),
        ("Seen at 10:30 a.m. on XXXX. Stable.", ["Seen at 10:30 a.m. on XXXX.", "Stable."]),
        ("Seen at 10:30 a.m. Stable.", ["Seen at 10:30 a.m.", "Stable."]),
        # Lists.
        ("1. No acute disease. 2. Stable", ["No acute disease.", "Stable"]),
        ("1.No acute disease.2. Stable", ["No acute disease.", "Stable"]),
        ("1. No acute disease 2. Stable heart", ["No acute disease", "Stable heart"]),
        ("1. Fracture of rib 2. Stable heart", ["Fracture of rib 2.", "Stable heart"]),
        ("(1) Clear lungs. (2) Big heart.", ["Clear lungs.", "Big heart."]),
        ("1) clear lungs; 2) big heart", ["clear lungs;", "big heart"]),
        ("1. Clear lungs\n2. Big heart\n- scar", ["Clear lungs", "Big heart", "- scar"]),
        ("1. It measures\n10. Stable", ["It measures\n10.", "Stable"]),
        ("1.", []),
        # A space too few, a space too many, ellipses, other marks.
        ("No effusion.The heart is normal.", ["No effusion.", "The heart is normal."]),
        ("no effusion.the heart is normal.", ["no effusion.", "the heart is normal."]),
        ("no effusion . heart is normal .", ["no effusion .", "heart is normal ."]),
        ("No acute abnormality. .", ["No acute abnormality. ."]),
        ("Probably normal... but see CT... No more.", ["Probably normal... but see CT...",
                                                        "No more."]),
        ("Is it (approx. 3 cm) new? Yes! Done.", ["Is it (approx. 3 cm) new?", "Yes!", "Done."]),
        ("A U.S. study. M.D. Smith.", ["A U.S. study.", "M.D.", "Smith."]),
        ("Heart normal\n\nLungs clear", ["Heart normal", "Lungs clear"]),
        ("The heart\nis normal.", ["The heart\nis normal."]),
        # Marks of de-identification.
        ("Comparison XXXX. XXXX are clear.", ["Comparison XXXX.", "XXXX are clear."]),
        ("Chest x-XXXX XXXX. x-XXXX done.", ["Chest x-XXXX XXXX.", "x-XXXX done."]),
        ("Seen ___. ___ is clear.[**Name**] told.", ["Seen ___.", "___ is clear.",
                                                      "[**Name**] told."]),
    ],
)  # fmt: skip
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_spans_are_offsets_into_the_text_as_given():
    assert sentence_spans("  1. Clear.  2. Big ") == [(5, 11), (16, 19)]


PIECES = st.sampled_from(
    ["1. ", "2.", "(3) ", "2) ", ".", "...", " ", "\n", "\n\n", "cm. ", "Dr. ", "XXXX", "2.5", "a",
     "The ", "no. ", "___", "?", ")", '"', "effusion", "a.m."]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
@example("1. . 2. .5")
def test_spans_cover_everything_but_space_and_list_numbers(text):
    spans = sentence_spans(text)
    position = 0
    for start, end in [*spans, (len(text), len(text))]:
        assert start >= position
        between = text[position:start]
        assert re.fullmatch(r"(?:\s|\(?\d{1,2}[.)])*", between)
        if start < end:
            assert text[start:end] == text[start:end].strip()
        position = end


@pytest.mark.parametrize("piece", [". ", "a", "1. ", "\n ", ". 1", "...5", "(1) ", " ", "a.m. "])
def test_time_is_linear_in_the_length(piece):
    started = time.perf_counter()
    sentence_spans(piece * 50_000)
    assert time.perf_counter() - started < 5  # a quadratic rule would take minutes


@pytest.mark.realdata
def test_real_reports_leave_no_stop_inside_a_sentence(real_data):
    from cascade.io.openi import read_openi

    studies = read_openi(real_data / "openi").studies
    texts = [text for part in ("findings", "impression") for text in studies[part] if text]
    found = [sentence for text in texts for sentence in sentences(text)]
    assert 22_500 < len(found) < 23_200
    inside = [s for s in found if re.search(r"[a-z]{3}[.?!] ?[A-Z]", s)]
    assert inside == []
