import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.text.tokens import (
    create_tokenizer,
    join_annotation,
    join_cased,
    join_words,
    split_annotation,
    split_cased,
    split_words,
)


def test_annotation_pieces_are_tokens():
    text = "Calcified Granuloma/lung/upper  lobe/right; normal"
    assert split_annotation(text) == [
        "calcified granuloma", "lung", "upper lobe", "right", ";", "normal",
    ]  # fmt: skip


def test_annotation_round_trip():
    text = "opacity/lung/base/left/mild; cardiomegaly/mild"
    assert join_annotation(split_annotation(text)) == text


@given(st.text())
def test_annotation_split_is_stable_on_anything(text):
    tokens = split_annotation(text)
    assert split_annotation(join_annotation(tokens)) == tokens


@given(st.text())
def test_words_survive_a_round_trip(text):
    tokens = split_words(text)
    assert split_words(join_words(tokens)) == tokens


def test_words_keep_the_deidentification_mark():
    assert split_words("Chest x-XXXX XXXX.") == ["chest", "x-xxxx", "xxxx", "."]


def test_unknown_tokenizer_lists_the_choices():
    with pytest.raises(
        ValueError, match=r"unknown tokenizer 'wordpiece'.*'annotation', 'cased', 'words'"
    ):
        create_tokenizer("wordpiece")


@pytest.mark.parametrize(
    "text",
    [
        "Heart (XXXX) is 2.5 cm, CT/PET stable. No [old] x-XXXX: patient's 98% O2; done...",
        "A <1 cm nodule & scar.",
        "",
    ],
)
def test_cased_gives_the_usual_spacing_back(text):
    assert join_cased(split_cased(text)) == text


@given(st.text())
def test_cased_keeps_every_sign_but_white_space(text):
    tokens = split_cased(text)
    assert "".join(tokens) == "".join(text.split())
    assert "".join(join_cased(tokens).split()) == "".join(text.split())
