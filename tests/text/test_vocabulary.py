import json
import math

import pytest

from cascade.errors import InputError
from cascade.text.preparation import Preparation
from cascade.text.vocabulary import (
    BOS,
    EOS,
    PAD,
    SPECIAL_TOKENS,
    TOKENIZER_NAMES,
    UNK,
    Vocabulary,
)

TEXTS = ["opacity/left", "opacity/right", "opacity/left; nodule"]


def test_special_ids_differ():
    assert len({PAD, BOS, EOS, UNK}) == 4


def test_order_is_by_count_then_by_letters():
    vocabulary = Vocabulary.build(TEXTS, "annotation")
    assert vocabulary.tokens[4:] == ["opacity", "left", ";", "nodule", "right"]


def test_rare_tokens_become_unknown():
    vocabulary = Vocabulary.build(TEXTS, "annotation", min_count=2)
    assert vocabulary.encode("nodule/left") == [BOS, UNK, 5, EOS]
    assert vocabulary.decode([BOS, UNK, 5, EOS]) == "left"


def test_cut_keeps_begin_and_end():
    vocabulary = Vocabulary.build(TEXTS, "annotation")
    assert vocabulary.encode("opacity/left; nodule", max_length=2) == [BOS, 4, 5, EOS]


def test_decode_stops_at_the_first_end():
    vocabulary = Vocabulary.build(TEXTS, "annotation")
    assert vocabulary.decode([4, EOS, 5]) == "opacity"


def test_json_round_trip():
    vocabulary = Vocabulary.build(TEXTS, "annotation")
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again.tokens == vocabulary.tokens
    assert again.tokenizer.name == "annotation"


def test_a_report_cannot_smuggle_a_special_token():
    vocabulary = Vocabulary.build(["<eos>/left"], "annotation")
    assert vocabulary.tokens.count("<eos>") == 1


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["<pad>", "<bos>", "<eos>", "a"], "begins with"),
        (["<pad>", "<bos>", "<eos>", "<unk>", "a", "a"], "twice"),
    ],
)
def test_bad_token_lists(tokens, message):
    with pytest.raises(InputError, match=message):
        Vocabulary(tokens, "words")


def test_no_text_is_an_error():
    with pytest.raises(InputError, match="no training text"):
        Vocabulary.build(["", " "], "annotation")


def test_size_keeps_the_commonest():
    vocabulary = Vocabulary.build(TEXTS, "annotation", size=6)
    assert vocabulary.tokens[4:] == ["opacity", "left"]
    with pytest.raises(InputError, match="vocabulary_size=4 leaves no room for words"):
        Vocabulary.build(TEXTS, "annotation", size=4)


def test_a_min_count_that_leaves_nothing():
    with pytest.raises(InputError, match="no word occurs 9 times .* lower generator.min_count"):
        Vocabulary.build(TEXTS, "annotation", min_count=9)


def test_unknown_tokenizer_lists_the_choices():
    with pytest.raises(ValueError, match="unknown tokenizer 'bert', expected one of .*'bpe'"):
        Vocabulary.build(["a"], "bert")


def test_coverage_counts_tokens():
    vocabulary = Vocabulary.build(["No mass.", "No mass."], "words", min_count=2)
    assert vocabulary.coverage(["No nodule.", "No mass."]) == 5 / 6
    assert math.isnan(vocabulary.coverage([]))
    assert vocabulary.ids.keys() == {*SPECIAL_TOKENS, "no", "mass", "."}


def test_an_old_file_loads_as_before():
    old = {"tokenizer": "words", "tokens": [*SPECIAL_TOKENS, "no", "xxxx", "."]}
    vocabulary = Vocabulary.from_json(old)
    assert vocabulary.to_json() == old
    assert vocabulary.encode("No  XXXX’.") == [BOS, 4, 5, 6, EOS]
    assert vocabulary.decode([BOS, 4, 5, 6, EOS]) == "No xxxx."


@pytest.mark.parametrize("name", ["words", "cased"])
def test_marks_to_predict_are_one_token(name):
    prepare = Preparation(normalise=True, marks="predict")
    vocabulary = Vocabulary.build(["No x-XXXX (XXXX)."], name, prepare=prepare)
    assert vocabulary.tokens[:5] == [*SPECIAL_TOKENS, "<mark>"]
    again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again.prepare == prepare
    ids = again.encode("No x-XXXX (___).")
    assert ids.count(4) == 2
    assert again.decode(ids) == "No XXXX (XXXX)."


def test_marks_to_drop_leave_the_target():
    prepare = Preparation(marks="drop")
    vocabulary = Vocabulary.build(["Stable XXXX. XXXX are clear."], "words", prepare=prepare)
    assert vocabulary.tokens[4:] == [".", "stable"]
    assert vocabulary.encode("XXXX.") == [BOS, EOS]


def test_a_mark_token_in_a_report_is_text():
    vocabulary = Vocabulary.build(["<mark>/left"], "annotation")
    assert "<mark>" not in vocabulary.ids


@pytest.mark.parametrize("name", ["marks", "list_numbers"])
def test_unknown_preparation(name):
    value = {"tokenizer": "words", "tokens": [*SPECIAL_TOKENS, "a"], "prepare": {name: "hide"}}
    with pytest.raises(ValueError, match=f"unknown {name} 'hide', expected one of"):
        Vocabulary.from_json(value)


def test_every_tokenizer_keeps_the_contract():
    texts = ["opacity left", "opacity right. No effusion."]
    for name in TOKENIZER_NAMES:
        vocabulary = Vocabulary.build(texts, name, prepare=Preparation(normalise=True))
        assert vocabulary.tokens[:4] == list(SPECIAL_TOKENS)
        assert len(vocabulary) == len(vocabulary.tokens)
        ids = vocabulary.encode(texts[0])
        assert (ids[0], ids[-1]) == (BOS, EOS)
        assert vocabulary.decode(ids).lower() == texts[0]
        assert vocabulary.encode(texts[1], max_length=1) == [*vocabulary.encode(texts[1])[:2], EOS]
        assert Vocabulary.from_json(vocabulary.to_json()).to_json() == vocabulary.to_json()
        assert vocabulary.coverage(texts) == 1.0


@pytest.mark.parametrize(
    "value",
    [
        3,
        {},
        {"tokenizer": "words", "tokens": "a"},
        {"tokenizer": "words", "tokens": [*SPECIAL_TOKENS, 5]},
        {"tokenizer": ["words"], "tokens": [*SPECIAL_TOKENS, "a"]},
        {"tokenizer": "words", "tokens": [*SPECIAL_TOKENS, "a"], "prepare": 5},
        {"tokenizer": "words", "tokens": [*SPECIAL_TOKENS, "a"], "merges": 5},
    ],
)
def test_other_content_is_refused(value):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Vocabulary.from_json(value)
