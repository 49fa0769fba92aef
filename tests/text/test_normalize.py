import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cascade.text.normalize import normalize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Characters.
        ("The patient’s “old” film – see… ﬁlm", 'The patient\'s "old" film - see... film'),
        ("ＣＴ　scan", "CT scan"),
        ("\ufeffClear\x00 lu\u00adngs\u200b.\ud800", "Clear lungs."),
        ("e\u0301", "é"),
        ("A 3 cm² scar, 1½ cm, 37°, ±2 μm", "A 3 cm² scar, 1½ cm, 37°, ±2 µm"),
        ("previously<BR>described &lt;1 &amp;lt;2 &amp; 3", "previously described <1 <2 & 3"),
        # Space and stops.
        ("  Heart\n is\tnormal.\u00a0", "Heart is normal."),
        ("Clear .No effusion.The heart .", "Clear. No effusion. The heart."),
        ("No acute abnormality. . Clear. .", "No acute abnormality. Clear."),
        ("Seen XXXX.. But wait...", "Seen XXXX. But wait..."),
        ("lungs ( clear ) , heart", "lungs (clear), heart"),
        # Units.
        ("8mm, 2.5cms and 2x3 X 4 cm, .5 cm", "8 mm, 2.5 cm and 2 x 3 x 4 cm, 0.5 cm"),
        ("3 × 4mm", "3 x 4 mm"),
        ("T12 and No.5", "T12 and No.5"),
        # Lists.
        ("1)Clear.2. Stable (3) Big", "1. Clear. 2. Stable 3. Big"),
        ("1. Clear\n2. Stable", "1. Clear 2. Stable"),
        ("", ""),
    ],
)
def test_normalize(text, expected):
    assert normalize(text) == expected


def test_list_numbers_may_be_left_out():
    text = "1. No acute disease 2. Stable 2.5 cm nodule. 3) Scar"
    assert normalize(text, "drop") == "No acute disease. Stable 2.5 cm nodule. Scar"


def test_unknown_list_numbers():
    with pytest.raises(ValueError, match="unknown list_numbers 'hide', expected one of"):
        normalize("", "hide")


PIECES = st.sampled_from(
    ["1. ", "2.", "(3) ", "2) ", ".", "...", " ", "\n", "cm", "Dr. ", "XXXX", "2.5", "a", "The ",
     "x", "3", "&amp;", "lt;", "<br>", "(", ")", ",", "effusion", "’", "½", ". ."]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=20).map("".join)), st.booleans())
@example("(1) 2. x2)y.Z", True)
def test_twice_is_once(text, keep):
    once = normalize(text, "keep" if keep else "drop")
    assert normalize(once, "keep" if keep else "drop") == once


@given(st.text())
def test_letters_and_digits_stay(text):
    def letters(value):
        return [c for c in value if c.isascii() and c.isalpha() and c not in "xX"]

    plain = "".join(c for c in text if c.isascii() and c not in "&<")
    assert letters(normalize(plain)) == letters(plain)
