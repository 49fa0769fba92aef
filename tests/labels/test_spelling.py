import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cascade.labels import spelling
from cascade.labels.phrases import normalise
from cascade.labels.spelling import Speller

WORDS = {"effusion", "consolidation", "atelectasis", "edema", "pleural", "planets", "planers"}


def corrected(word, words=frozenset(WORDS), keep=()):
    return Speller(words, keep).get(word, word)


@pytest.mark.parametrize(
    ("slip", "word"),
    [
        ("effuzion", "effusion"),  # a letter for another
        ("effuson", "effusion"),  # one too few
        ("effussion", "effusion"),  # one too many
        ("effusoin", "effusion"),  # neighbours swapped
        ("plueral", "pleural"),
        ("effusio", "effusion"),  # the last
        ("effusionx", "effusion"),
        ("oedema", "edema"),  # known by name, whatever its length
        ("edma", "edema"),
        ("tumour", "tumor"),
        ("haemothorax", "hemothorax"),
    ],
)
def test_one_slip_is_put_right(slip, word):
    assert corrected(slip) == word


@pytest.mark.parametrize(
    "word",
    [
        "effusion",  # right as it is
        "efuzion",  # two slips
        "effzzion",  # side by side
        "noisuffe",
        "effusionxy",
        "edemas",  # short
        "effusions",  # a plural is a word of its own
        "effusiond",
        "planeks",  # one slip from two words
        "effusion2",  # no word
        "effus'ion",
        "",
        "éffusion",
    ],
)
def test_anything_else_stays(word):
    assert corrected(word) == word


def test_the_first_letter_is_right():
    assert corrected("symmetric", {"asymmetric"}) == "symmetric"
    assert corrected("bffusion") == "bffusion"


def test_words_that_others_need_stay():
    assert corrected("lateral", {"laterals"}) == "lateral"
    assert corrected("bilatoral", {"bilateral"}) == "bilateral"
    assert corrected("bilatoral", {"bilateral"}, keep={"bilatoral"}) == "bilatoral"


def test_other_words_that_look_like_a_slip_stay():
    assert corrected("starring", {"scarring"}) == "starring"
    assert corrected("scaring", {"scarring"}) == "scarring"


def test_what_was_asked_once_is_kept_but_not_without_end(monkeypatch):
    monkeypatch.setattr(spelling, "_CACHE_SIZE", len(spelling._KNOWN) + 1)
    speller = Speller(WORDS)
    known = len(speller)
    assert speller.get("effuzion", "effuzion") == "effusion"
    assert speller["effuzion"] == "effusion"
    assert speller.get("consolidetion", "consolidetion") == "consolidation"
    assert len(speller) == known + 1
    assert speller.get("effuzion", "effuzion") == "effusion"


def test_text_is_corrected_where_it_stands():
    sentence = normalise("Small Effuzion and oedema", Speller(WORDS))
    assert sentence.text == "small effusion and edema"
    assert sentence.spans == [(0, 5), (6, 14), (15, 18), (19, 25)]


LETTER = st.sampled_from("abcdefghijklmnopqrstuvwxyz")


@given(st.data())
def test_any_one_slip_behind_the_first_letter(data):
    word = data.draw(st.sampled_from(["effusion", "consolidation", "atelectasis"]))
    place = data.draw(st.integers(1, len(word) - 1))
    letter = data.draw(LETTER)
    rest = {
        "other": letter + word[place + 1 :],
        "more": letter + word[place:],
        "fewer": word[place + 1 :],
        "swapped": word[place + 1 : place + 2] + word[place] + word[place + 2 :],
    }
    slip = word[:place] + rest[data.draw(st.sampled_from(sorted(rest)))]
    assume(slip not in (f"{word}s", f"{word}d") and word != f"{slip}s")  # a plural, an inflection
    assert corrected(slip) == word


@given(st.text(max_size=20))
def test_a_word_stays_or_becomes_a_known_one(word):
    speller = Speller(WORDS)
    first = speller.get(word, word)
    assert first == word or first in WORDS | set(spelling._KNOWN.values())
    assert speller.get(word, word) == first
    assert speller.get(first, first) == first
