import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.text.normalize import (
    create_tokenizer,
    join_annotation,
    join_words,
    split_annotation,
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
    with pytest.raises(ValueError, match=r"unknown tokenizer 'wordpiece'.*'annotation', 'words'"):
        create_tokenizer("wordpiece")
