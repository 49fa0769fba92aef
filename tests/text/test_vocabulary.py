import pytest

from cascade.errors import InputError
from cascade.text.vocabulary import BOS, EOS, PAD, UNK, Vocabulary

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
