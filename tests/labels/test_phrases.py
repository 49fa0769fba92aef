import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cascade.labels.phrases import CLOSED, Match, Matcher, compile_phrase, normalise


def found(source, text, groups=None, **options):
    """The words that a phrase matches, in reading order."""
    sentence = normalise(text)
    tokens = sentence.text.split(" ")
    matches = Matcher([compile_phrase(source, None, groups, **options)]).find(sentence)
    return [" ".join(tokens[m.first : m.last]) for m in sorted(matches, key=lambda m: m.first)]


# --- Normalised text ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("  \n\t", ""),
        ("No EFFUSION.", "no effusion ."),
        ("Right-sided port-a-cath", "right sided port a cath"),
        ("w/o 2.5 cm (50%) mass", "w / o 2.5 cm ( 50 % ) mass"),
        ("Paget's disease; a 'mass'?", "paget's disease ; a mass ?"),
        ("an_effusion & é café—mass", "an effusion caf mass"),
        ("a\x00b\u200bc\u2028d", "a b c d"),
    ],
)
def test_tokens_are_lower_case_words_and_marks(text, expected):
    assert normalise(text).text == expected


def test_spans_lead_back_to_the_original_after_a_correction():
    sentence = normalise("Right-sided  effussion, small.", {"effussion": "effusion"})
    assert sentence.text == "right sided effusion , small ."
    assert sentence.starts == [0, 6, 12, 21, 23, 29]
    assert sentence.spans == [(0, 5), (6, 11), (13, 22), (22, 23), (24, 29), (29, 30)]


def test_letters_that_grow_when_lowered_move_nothing():
    # "İ" becomes two characters in lower case
    assert len("İ".lower()) == 2
    sentence = normalise("İ No İİ EFFUSION")
    assert sentence.text == "no effusion"
    assert sentence.spans == [(2, 4), (8, 16)]


def test_token_at_holds_for_every_character_of_a_token():
    sentence = normalise("no mass .")
    assert [sentence.token_at(position) for position in (0, 1, 3, 6, 8)] == [0, 0, 1, 1, 2]


@given(st.text())
@example("İÀ Kelvin K 1.5'a")
def test_every_token_stands_where_its_span_says(text):
    sentence = normalise(text)
    tokens = sentence.text.split(" ") if sentence.text else []
    assert [text[start:end].lower() for start, end in sentence.spans] == tokens
    ends = [0, *(end for _, end in sentence.spans)]
    assert all(
        end <= start < stop for end, (start, stop) in zip(ends, sentence.spans, strict=False)
    )
    for number, (start, token) in enumerate(zip(sentence.starts, tokens, strict=True)):
        assert sentence.text[start : start + len(token)] == token
        assert {sentence.token_at(p) for p in range(start, start + len(token))} == {number}


# --- The language ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        # whole words only
        ("mass", "Mass, massive masses, biomass, mass-like.", ["mass", "mass"]),
        ("mass", "The mass's edge", []),
        ("paget('s)?", "Paget's or paget", ["paget's", "paget"]),
        ("effusions?", "An effusion, effusions, effusionss", ["effusion", "effusions"]),
        ("w / o", "w/o effusion", ["w / o"]),
        # groups of words
        ("(left|right) lung", "Left lung, right lung, left lungs", ["left lung", "right lung"]),
        ("atelecta(sis|tic)", "atelectasis atelectatic atelecta", ["atelectasis", "atelectatic"]),
        ("big (heart|(left|right) lung)", "big right lung, big lung", ["big right lung"]),
        # words that may be left out
        ("kerley [b] lines", "Kerley lines, Kerley B lines, Kerley C lines",
         ["kerley lines", "kerley b lines"]),
        ("chance [of] [a]", "chance; chance of; chance a; chance of a mass",
         ["chance", "chance of", "chance a", "chance of a"]),
        ("[a] scar", "a scar, no scar", ["a scar", "scar"]),
        ("big [(left|right) lung]", "big right lung", ["big right lung"]),
        # gaps
        ("heart ~2 enlarged", "heart enlarged", ["heart enlarged"]),
        ("heart ~2 enlarged", "heart is mildly enlarged", ["heart is mildly enlarged"]),
        ("heart ~2 enlarged", "heart is not at all enlarged", []),
        ("heart ~2 enlarged", "heart is not, enlarged", []),
        ("heart ~2 enlarged", "heart enlarged enlarged", ["heart enlarged enlarged"]),
        ("heart ~2 enlarged", "heart heart is so enlarged", ["heart is so enlarged"]),
        ("heart ~1 enlarged", "heart it's enlarged", ["heart it's enlarged"]),
        ("~1 heart", "a big heart", ["big heart"]),
        # no gap spans a word that begins something else, but it may span "band" or "order"
        ("heart ~2 enlarged", "heart and enlarged", []),
        ("heart ~2 enlarged", "heart is but enlarged", []),
        ("heart ~2 enlarged", "heart band order enlarged", ["heart band order enlarged"]),
        # a phrase may name the word itself
        ("heart and ~2 enlarged", "heart and lung enlarged", ["heart and lung enlarged"]),
    ],
)  # fmt: skip
def test_the_language_of_phrases(source, text, expected):
    assert found(source, text) == expected


@pytest.mark.parametrize("word", CLOSED)
def test_no_gap_spans_a_closed_word(word):
    assert found("heart ~3 enlarged", f"heart is {word} enlarged") == []


def test_closed_words_may_be_others():
    assert found("heart ~2 enlarged", "heart and enlarged", closed=("not",)) != []
    assert found("heart ~2 enlarged", "heart not enlarged", closed=("not",)) == []


def test_groups_stand_for_their_alternatives_and_may_name_each_other():
    groups = {"organ": "heart|{lungs}|spleen", "lungs": "(left|right) lung"}
    text = "big heart, big left lung, big spleen, big lung"
    assert found("big {organ}", text, groups) == ["big heart", "big left lung", "big spleen"]


def test_alternatives_of_a_group_may_stand_on_lines():
    assert found("big {organ}", "big spleen", {"organ": "heart |\n spleen"}) == ["big spleen"]


@pytest.mark.parametrize(
    ("source", "anchors"),
    [
        ("enlargement of the heart", {"enlargement"}),  # the others are common
        ("(left|right) effusion", {"effusion"}),
        ("[large] bleb", {"bleb"}),
        ("bleb ~3 of the lung", {"bleb"}),
        ("(pleural space|fissures?)", {"space", "fissure", "fissures"}),
        ("(a|b|c) (spleen|liver)", {"spleen", "liver"}),  # the fewest
        ("bone island", {"island"}),  # the longest
        ("of the lung", {"lung"}),  # all are common
    ],
)
def test_a_phrase_is_filed_under_its_rarest_words(source, anchors):
    assert compile_phrase(source, None).anchors == anchors


@pytest.mark.parametrize("source", ["", "~3", "[large]", "[a] ~2 [b]", "ha.+", "[a|b]"])
def test_a_phrase_without_a_certain_word_is_refused(source):
    with pytest.raises(ValueError, match="has no word that every match contains") as caught:
        compile_phrase(source, None)
    assert repr(source) in str(caught.value)


def test_an_unknown_group_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown group 'lung' in the phrase '{lung} mass'"):
        compile_phrase("{lung} mass", None, {"heart": "heart"})


# --- The matcher -------------------------------------------------------------------------------


def test_matches_carry_tokens_and_value():
    phrase = compile_phrase("big (heart|lung)", "meaning")
    matcher = Matcher([phrase, compile_phrase("spleen", "other")])
    assert matcher.anchors == {"big", "spleen"}
    # 0 a, 1 big, 2 heart, 3 comma, 4 big, 5 lung
    sentence = normalise("A big heart, big lung")
    assert sorted(matcher.find(sentence)) == [Match(1, 3, phrase), Match(4, 6, phrase)]
    assert phrase.value == "meaning"
    assert matcher.find(normalise("")) == []


def test_a_corrected_word_calls_its_phrase_up():
    phrase = compile_phrase("pleural effusion", None)
    sentence = normalise("A plueral efusion", {"efusion": "effusion", "plueral": "pleural"})
    assert Matcher([phrase]).find(sentence) == [Match(1, 3, phrase)]


PHRASES = [
    compile_phrase(source, source)
    for source in (
        "heart ~2 (big|large)", "(left|right) heart", "[big] heart", "hearts?", "big ~1 and ~1 big",
        "heart , left", "left [big] (heart|lung)",
    )
]  # fmt: skip
WORDS = st.lists(
    st.sampled_from(["heart", "hearts", "left", "right", "big", "large", "and", ",", "lung"]),
    max_size=12,
)


@given(WORDS)
def test_filing_under_anchors_loses_no_match(words):
    sentence = normalise(" ".join(words))
    tokens = sentence.text.split(" ")
    matched = sorted(
        (match.phrase.source, " " + " ".join(tokens[match.first : match.last]))
        for match in Matcher(PHRASES).find(sentence)
    )
    everywhere = sorted(
        (phrase.source, text.group())
        for phrase in PHRASES
        for text in re.finditer(phrase.regex, " " + sentence.text)
    )
    assert matched == everywhere
