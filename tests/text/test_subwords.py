import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.errors import CascadeError, InputError
from cascade.text import subwords
from cascade.text.preparation import Preparation
from cascade.text.subwords import SUBWORDS, alphabet
from cascade.text.tokens import capitals
from cascade.text.vocabulary import BOS, EOS, SPECIAL_TOKENS, UNK, Vocabulary

TEXTS = [
    "1. No acute disease. 2. Stable 2.5 cm nodule.",
    "No pleural effusion, compared to XXXX. No acute disease.",
    "No pleural effusion. The heart is normal in size.",
] * 3
NORMAL = Preparation(normalise=True)
MARKED = Preparation(normalise=True, marks="predict")
SMALL = Preparation(normalise=True, marks="predict", lowercase=True)
WRITTEN = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(["XXXX", " ", ".", "No", "effusion", "x-", "##", "‿", "Ġ", "<eos>",
                         "<mark>", "½", "😀", "(", "5", "cm", "\n", "___", "'"]),
        max_size=25,
    ).map("".join),
)  # fmt: skip


@pytest.fixture(scope="module", params=SUBWORDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def vocabularies(kind):
    return {
        prepare: Vocabulary.build(TEXTS, kind, size=700, prepare=prepare)
        for prepare in (NORMAL, MARKED, SMALL)
    }


def test_the_library_agrees_about_the_bytes(kind):
    from tokenizers.pre_tokenizers import ByteLevel

    assert set(subwords.byte_letters()) == set(ByteLevel.alphabet())


def test_words_that_come_often_are_one_token(kind, vocabularies):
    vocabulary = vocabularies[NORMAL]
    assert vocabulary.tokens[:4] == list(SPECIAL_TOKENS)
    assert set(alphabet(kind)) < set(vocabulary.tokens)
    tokens = [vocabulary.tokens[i] for i in vocabulary.encode("No pleural effusion.")]
    assert tokens == ["<bos>", "ĠNo", "Ġpleural", "Ġeffusion", ".", "<eos>"]


def test_round_trip_is_exact(vocabularies):
    @given(WRITTEN)
    def check(text):
        for prepare, vocabulary in vocabularies.items():
            ids = vocabulary.encode(text)
            assert UNK not in ids
            assert ids[0] == BOS
            assert ids.index(EOS) == len(ids) - 1
            expected = prepare(text)
            expected = capitals(expected) if prepare.lowercase else expected
            assert vocabulary.decode(ids) == expected

    check()


def test_any_ids_decode_to_a_text(vocabularies):
    @given(st.lists(st.integers(0, 699), max_size=30))
    def check(ids):
        for vocabulary in vocabularies.values():
            text = vocabulary.decode(i for i in ids if i < len(vocabulary))
            assert text == " ".join(text.split())
            text.encode()

    check()


def test_each_mark_is_one_token(vocabularies):
    vocabulary = vocabularies[MARKED]
    assert vocabulary.tokens[4] == "<mark>"
    ids = vocabulary.encode("Chest x-XXXX (XXXX), seen ___.")
    assert ids.count(4) == 3
    assert vocabulary.decode(ids) == "Chest XXXX (XXXX), seen XXXX."


def test_order_of_the_texts_does_not_matter(kind, vocabularies):
    again = Vocabulary.build(reversed(TEXTS), kind, size=700, prepare=NORMAL)
    assert again.to_json() == vocabularies[NORMAL].to_json()


def test_another_process_learns_the_same(kind, vocabularies):
    program = (
        "import json, sys; from cascade.text.preparation import Preparation;"
        "from cascade.text.vocabulary import Vocabulary;"
        "v = Vocabulary.build(json.load(sys.stdin), sys.argv[1], size=700,"
        " prepare=Preparation(normalise=True)); print(json.dumps(v.to_json()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, kind],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(found.stdout) == vocabularies[NORMAL].to_json()


def test_json_round_trip_without_training(vocabularies, monkeypatch):
    monkeypatch.setattr(subwords, "train_subwords", None)
    for vocabulary in vocabularies.values():
        again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
        assert again.to_json() == vocabulary.to_json()
        for text in TEXTS:
            assert again.encode(text) == vocabulary.encode(text)


def test_too_small_a_size_says_how_much_is_needed(kind):
    least = {"bpe": 260, "wordpiece": 516}[kind]
    with pytest.raises(InputError, match=f"too small for {kind}, whose letters alone are {least} "):
        Vocabulary.build(TEXTS, kind, size=least - 1)
    vocabulary = Vocabulary.build(TEXTS, kind, size=least)
    assert vocabulary.decode(vocabulary.encode("No mass.")) == "No mass."


def test_min_count_stops_rare_joins(kind):
    often = Vocabulary.build(TEXTS, kind, min_count=1000)
    assert len(often) == {"bpe": 260, "wordpiece": 516}[kind]


def test_damaged_files_are_refused(kind, vocabularies):
    value = vocabularies[NORMAL].to_json()
    tokens = [token for token in value["tokens"] if token != "a"]
    with pytest.raises(InputError, match=f"the {kind} vocabulary lacks letters such as 'a'"):
        Vocabulary.from_json({**value, "tokens": tokens})


@pytest.mark.parametrize("merges", [[["zz", "yy"]], [["a"]], ["abc"]])
def test_merges_of_other_tokens_are_refused(merges):
    value = Vocabulary.build(TEXTS, "bpe", size=260).to_json()
    with pytest.raises(InputError, match="does not fit together"):
        Vocabulary.from_json({**value, "merges": merges})


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(CascadeError, match="pip install tokenizers, or take generator.tokenizer"):
        Vocabulary.build(TEXTS, "bpe")


def test_words_do_not_import_the_library():
    program = (
        "import sys; from cascade.text.vocabulary import Vocabulary;"
        "Vocabulary.build(['a b'], 'words'); assert 'tokenizers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.realdata
def test_every_real_report_comes_back_letter_by_letter(kind, real_data):
    from cascade.io.openi import read_openi

    split_file = real_data / "openi" / "r2gen_split.json"
    studies = read_openi(real_data / "openi", split_file=split_file).studies
    train = studies.loc[studies["split"] == "train", "findings"].dropna()
    vocabulary = Vocabulary.build(train, kind, 2, prepare=NORMAL)
    assert len(vocabulary) == 2000
    for part in ("findings", "impression"):
        for text in studies[part].dropna():
            assert vocabulary.decode(vocabulary.encode(text)) == NORMAL(text)
    assert vocabulary.coverage(studies["impression"].dropna()) == 1.0
