import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.text.marks import (
    apply_marks,
    canonical_marks,
    drop_marks,
    has_marks,
    share_with_marks,
)


@pytest.mark.parametrize(
    "text",
    ["XXXX", "x-XXXX", "XXXX-XXXX", "seen XXXX.", "XXXX's", "4XXXX", "___", "at ___.",
     "[**Last Name (un) 12**]", "xxxx", "dual-XXXX"],
)  # fmt: skip
def test_marks_are_seen(text):
    assert has_marks(text)


@pytest.mark.parametrize("text", ["", "Xx ray", "XXX", "a_b", "[old]", "x-ray", "[**open"])
def test_other_text_has_none(text):
    assert not has_marks(text)
    assert apply_marks(text, "drop") == apply_marks(text, "predict") == text


def test_share():
    assert share_with_marks(["XXXX", "clear", "___", "clear"]) == 0.5
    assert share_with_marks([]) == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Chest x-XXXX XXXX.", "Chest XXXX XXXX."),
        ("XXXX-A-XXXX terminating", "XXXX terminating"),
        ("Dual-XXXX device, XXXX-filled", "Dual XXXX device, XXXX filled"),
        ("XXXX/granulomas and 3rd-5XXXX ribs", "XXXX granulomas and 3rd XXXX ribs"),
        ("on 02/010/XXXX. At XXXXPM (XXXX), 'XXXX'", "on XXXX. At XXXX PM (XXXX), ' XXXX'"),
        ("the XXXX's heart", "the XXXX heart"),
        ("Dr. XXXX<XXXX>technologist", "Dr. XXXX technologist"),
        ("___ and [**2101-1-1**],___", "XXXX and XXXX, XXXX"),
    ],
)
def test_every_mark_is_one_word(text, expected):
    assert canonical_marks(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There is XXXX scarring.", "There is scarring."),
        ("Compared to XXXX, it is stable.", "Compared, it is stable."),
        ("Compared to the XXXX. Clear.", "Compared. Clear."),
        ("No effusion (XXXX).", "No effusion."),
        ("Heart XXXX, mediastinum, XXXX, bones.", "Heart, mediastinum, bones."),
        # The subject, or all words, were the mark.
        ("XXXX are clear. Heart normal.", "Heart normal."),
        ("XXXX XXXX. Heart normal.", "Heart normal."),
        ("XXXX opacity at the base.", "Opacity at the base."),
        # A hole that cannot be closed without saying another thing.
        ("No XXXX of effusion. Clear.", "Clear."),
        ("No evidence of XXXX, disease. Clear.", "Clear."),
        ("Told to XXXX at XXXX p.m. Clear.", "Clear."),
        # Lists are numbered anew.
        ("1. XXXX. 2. Clear. 3. Stable.", "1. Clear. 2. Stable."),
        ("XXXX.", ""),
    ],
)
def test_dropping_tidies_the_sentence(text, expected):
    assert drop_marks(text) == expected


def test_keeping_changes_nothing():
    assert apply_marks("Chest  x-XXXX .", "keep") == "Chest  x-XXXX ."


def test_unknown_way():
    with pytest.raises(ValueError, match="unknown marks 'hide', expected one of"):
        apply_marks("", "hide")


PIECES = st.sampled_from(
    ["XXXX", "x-", "___", "[**a**]", " ", "-", "/", "<", "(", ")", ",", ".", "the ", "of ", "1. ",
     "effusion", "'s", "5", "A"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=20).map("".join)))
def test_dropping_leaves_no_mark_and_one_form_stays_one_form(text):
    assert not has_marks(drop_marks(text))
    once = canonical_marks(text)
    assert canonical_marks(once) == once


@pytest.mark.realdata
def test_a_third_of_the_real_reports_hold_a_mark(real_data):
    from cascade.io.openi import read_openi

    studies = read_openi(real_data / "openi").studies
    texts = [
        f"{findings or ''} {impression or ''}"
        for findings, impression in zip(studies["findings"], studies["impression"], strict=True)
    ]
    assert 0.35 < share_with_marks(texts) < 0.55
    assert not any(has_marks(drop_marks(text)) for text in texts)
