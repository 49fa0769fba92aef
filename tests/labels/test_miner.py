import itertools
import os
import re
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cascade.labels.lexicon import STATUSES, lines, load_lexicon, read_toml
from cascade.labels.miner import SECTIONS, Mention, mine_sections, mine_text, report_status
from cascade.labels.segment import sentence_spans

LEXICON = load_lexicon()
TRIGGERS = read_toml("triggers.toml")["trigger"]


def statuses(text):
    return [(m.finding, m.status) for m in mine_text(text)]


def words(text):
    return [(m.finding, m.text) for m in mine_text(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No 2.5 cm nodule.", {"nodule": "absent"}),  # a decimal point ends no statement
        ("Possible 1.5 cm nodule.", {"nodule": "uncertain"}),
        ("Atelectasis vs. pneumonia.", {"atelectasis": "uncertain", "pneumonia": "uncertain"}),
        ("Pneumothorax: None.", {"pneumothorax": "absent"}),
        ("Effusion: no.", {"effusion": "absent"}),
        ("Evaluation for mass: no edema.", {"edema": "absent"}),
        ("Effusion that has resolved.", {"effusion": "absent"}),
        ("The nodule that was seen previously is not seen.", {"nodule": "absent"}),
        ("There isn’t an effusion.", {"effusion": "absent"}),
        ("No mass, small effusion.", {"mass": "absent", "effusion": "present"}),
        (
            "No mass, large effusion, or edema.",
            {"mass": "absent", "effusion": "absent", "edema": "absent"},
        ),
        ("Pleural-based density.", {"pleural_plaque": "present"}),
        ("Fluid in the pleural cavity.", {"effusion": "present"}),
        ("Postoperative.", {"post_operative": "present"}),
        ("Cystic fibrosis.", {}),
    ],
)
def test_what_went_wrong_once(text, expected):
    assert report_status(mine_text(text)) == expected


def test_rules_do_not_depend_on_the_order_of_sets():
    program = (
        "from cascade.labels.miner import mine_text;"
        "print(mine_text('Mass cannot be excluded, effusion is possible or atelectasis likely.'))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(printed) == 1


# --- What a mention holds ----------------------------------------------------------------------


def test_a_mention_is_traceable_to_its_characters():
    text = " Heart size is normal.\nThere is NO right-sided  pleural effussion, but a cardiomegly\n"
    assert [text.index(word) for word in ("There", "pleural", "cardio")] == [23, 48, 73]
    assert mine_text(text) == [
        Mention("cardiomegaly", "absent", "findings", 1, 21, "Heart size is normal", (1, 22),
                "{heart} ~4 (normal|unremarkable)", "worded", ""),
        Mention("effusion", "absent", "findings", 48, 65, "pleural effussion", (23, 84),
                "pleural [space] (effusions?|fluids?)", "no", "NO"),
        Mention("cardiomegaly", "present", "findings", 73, 84, "cardiomegly", (23, 84),
                "(cardiomegaly|megalocardia)", "stated", ""),
    ]  # fmt: skip


def test_a_letter_that_grows_when_lowered_moves_no_offset():
    text = "İİ: no EDEMA."
    (mention,) = mine_text(text)
    assert (mention.start, mention.end, mention.text, mention.cue) == (7, 12, "EDEMA", "no")


def test_sections_are_read_in_their_order_and_others_not_at_all():
    sections = {
        "impression": "Edema.",
        "indication": "Pneumonia?",
        "findings": "No mass.",
        "comparison": "Fracture.",
    }
    mentions = mine_sections(sections)
    assert [(m.section, m.finding, m.status) for m in mentions] == [
        ("findings", "mass", "absent"),
        ("impression", "edema", "present"),
    ]
    assert mine_text("Edema.", "impression") == [mentions[1]]


@pytest.mark.parametrize("text", [None, "", " \n", "XXXX.", "Unremarkable.", "...", "1. 2. 3."])
def test_nothing_is_found_where_nothing_is_named(text):
    assert mine_sections({"findings": text, "impression": text}) == []


def test_missing_sections_are_no_error():
    assert mine_sections({}) == []


@pytest.mark.parametrize("order", list(itertools.permutations(STATUSES)))
@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_strongest_mention_is_the_report_s(order, number):
    text = {"present": "Edema.", "uncertain": "Possible edema.", "absent": "No edema."}
    mentions = mine_text(" ".join(text[status] for status in order[:number]))
    strongest = next(status for status in STATUSES if status in order[:number])
    assert report_status(mentions) == {"edema": strongest}


def test_a_report_has_one_status_for_each_finding():
    assert report_status([]) == {}
    text = "No mass or edema. Possible scar. Edema."
    assert report_status(mine_text(text)) == {
        "mass": "absent", "edema": "present", "cicatrix": "uncertain",
    }  # fmt: skip


# --- Which of several matches counts -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the longest of one finding
        ("Large pleural effusion.", [("effusion", "pleural effusion")]),
        ("A calcified granuloma.", [("calcified_granuloma", "calcified granuloma")]),
        # the longer of two findings
        ("Pericardial effusion.", [("pericardial_effusion", "Pericardial effusion")]),
        ("A nodular opacity.", [("nodular_opacity", "nodular opacity")]),
        # each in its place
        ("Pericardial and pleural effusions; an effusion.",
         [("effusion", "pleural effusions"), ("effusion", "effusion")]),
        # words that only look like the finding
        ("Mass effect on the trachea.", []),
        ("Mass effect of the mass.", [("mass", "mass")]),
        ("Joint effusion.", []),
        # in the gap of a longer phrase stands a finding of its own
        ("The heart with small effusion is enlarged.",
         [("cardiomegaly", "heart with small effusion is enlarged"), ("effusion", "effusion")]),
        # one phrase may say two findings
        ("The aorta is calcified.",
         [("atherosclerosis", "aorta is calcified"), ("calcinosis", "aorta is calcified")]),
    ],
)  # fmt: skip
def test_what_lies_within_a_longer_match_is_not_counted_again(text, expected):
    assert words(text) == expected


def test_one_denial_denies_two_findings():
    assert statuses("Heart size and vascularity are normal.") == [
        ("cardiomegaly", "absent"),
        ("congestion", "absent"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The heart is normal in size.", [("cardiomegaly", "absent", "worded")]),
        ("Heart at the upper limits of normal.", [("cardiomegaly", "uncertain", "worded")]),
        ("The heart is enlarged.", [("cardiomegaly", "present", "stated")]),
        ("The heart is not enlarged.", [("cardiomegaly", "absent", "no")]),
        ("The heart is not normal in size.", []),  # says too little
        ("The heart is possibly normal in size.", [("cardiomegaly", "absent", "worded")]),
    ],
)
def test_words_that_give_a_status_themselves(text, expected):
    assert [(m.finding, m.status, m.rule) for m in mine_text(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Edema versus pneumonia.", ["alternative", "alternative"]),
        ("Edema or left pneumonia.", ["alternative", "alternative"]),
        ("Edema/pneumonia.", ["alternative", "alternative"]),
        ("Edema, scar or pneumonia.", ["stated", "alternative", "alternative"]),
        ("No edema or pneumonia.", ["no", "no"]),
        ("Possible edema or pneumonia.", ["possible", "possible"]),
        ("Edema and pneumonia.", ["stated", "stated"]),
        ("Edema or other things that look like pneumonia.", ["stated", "stated"]),
        ("Edema; or pneumonia.", ["stated", "stated"]),
        ("Edema or nothing.", ["stated"]),
    ],
)
def test_two_sides_of_an_alternative_are_doubtful(text, expected):
    assert [m.rule for m in mine_text(text)] == expected


# --- Whatever the text -------------------------------------------------------------------------


def vocabulary():
    """Every word of the lexicon and the triggers."""
    phrases = [
        phrase
        for finding in LEXICON.findings.values()
        for phrase in (*itertools.chain(*finding.phrases.values()), *finding.hidden)
    ]
    phrases += [phrase for trigger in TRIGGERS for phrase in lines(trigger["phrases"])]
    parts = " ".join([*phrases, *LEXICON.groups.values()])
    return sorted(set(re.findall("[a-z]{2,}", parts)))


PIECES = st.one_of(
    st.sampled_from(vocabulary()),
    st.sampled_from(
        ["no", "not", "effusion", "pneumothorax", "heart", "normal", "Cardiomegaly", "may be",
         "or", "and the heart is", "mass", "possible", "effussion", "edema"]
    ),
    st.sampled_from([".", ",", ";", ":", "/", "(", ")", "?", "1.", "2)", "\n", "\n\n", "-", "'s",
                     "XXXX", "2.5", "cm.", "vs.", "İ", "ß", "ǅ", "é", "\x00", "\x1f", "\u2028",
                     "\ufeff", "\ud83e\udec1".encode("utf-16", "surrogatepass").decode("utf-16")]),
    st.text(max_size=5),
)  # fmt: skip
TEXTS = st.lists(st.tuples(PIECES, st.sampled_from([" ", " ", " ", "", "\n"])), max_size=40).map(
    lambda pieces: "".join(itertools.chain(*pieces))
)
RULES = {"stated", "worded", "alternative"} | {trigger["name"] for trigger in TRIGGERS}


@given(TEXTS)
@example("İ No İeffusion")
@example("no 1. effusion 2. mass\x00edema")
def test_mentions_are_true_of_any_text(text):
    spans = sentence_spans(text)
    mentions = mine_text(text, "impression")
    for mention in mentions:
        assert mention.text == text[mention.start : mention.end] != ""
        assert mention.sentence in spans
        first, last = mention.sentence
        assert first <= mention.start < mention.end <= last
        assert mention.cue in text[first:last]
        assert mention.finding in LEXICON.findings
        assert mention.status in STATUSES
        assert mention.rule in RULES
        assert (mention.cue == "") == (mention.rule in {"stated", "worded", "alternative"})
        assert mention.section == "impression"
        finding = LEXICON.findings[mention.finding]
        assert mention.phrase in itertools.chain(*finding.phrases.values())
    assert [m.start for m in mentions] == sorted(m.start for m in mentions)
    assert set(report_status(mentions)) == {m.finding for m in mentions}
    assert mine_text(text, "impression") == mentions


@given(TEXTS, TEXTS)
def test_a_paragraph_does_not_change_the_one_before(first, second):
    alone = mine_text(f"{first.strip()}\n\nEnd.")
    together = mine_text(f"{first.strip()}\n\nEnd.\n\n{second}")
    assert together[: len(alone)] == alone


@given(TEXTS)
def test_sections_are_mined_as_their_texts_are(text):
    expected = [mention for section in SECTIONS for mention in mine_text(text, section)]
    assert mine_sections({"findings": text, "impression": text, "indication": text}) == expected


# --- However long the text ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("piece", "count", "expected"),
    [
        # what is found in each piece of 100,000 characters: a quadratic rule would take minutes
        ("no effusion, ", 7_700, [("effusion", "absent")]),
        ("mass ", 20_000, [("mass", "present")]),
        ("possible effusion or mass, ", 3_700, [("effusion", "uncertain"), ("mass", "uncertain")]),
        ("and the heart is enlarged, ", 3_700, [("cardiomegaly", "present")]),
        ("edema; ", 14_000, [("edema", "present")]),
        ("edema\n", 16_500, [("edema", "present")]),
        ("edema/", 16_500, [("edema", "uncertain")]),
    ],
)
def test_a_sentence_without_a_stop_takes_linear_time(piece, count, expected):
    text = (piece * count).strip()
    assert len(text) > 95_000
    mentions = mine_text(text)
    assert len(mentions) == len(expected) * count
    assert {(m.finding, m.status) for m in mentions} == set(expected)
    assert {m.sentence for m in mentions} == {(0, len(text))}
    assert all(m.text == text[m.start : m.end] for m in mentions[:: len(mentions) // 500])


@pytest.mark.parametrize(
    "piece",
    ["no ", "not ", ", ", "; ", "(", ". ", "and the heart is ", "the ", "a or ", "vs. ",
     "heart size and ", "no change in ", "blunted ", "if ", "x'", "2.5", "İ", "\n", " ", "\x00"],
)  # fmt: skip
def test_many_words_that_name_nothing(piece):
    assert mine_text(piece * (100_000 // len(piece))) == []


def test_a_sentence_of_a_million_characters():
    text = "edema" + " the lungs are clear and" * 41_700 + " no mass"
    assert len(text) > 1_000_000
    assert statuses(text) == [("edema", "present"), ("mass", "absent")]


def test_a_word_of_ten_thousand_letters_is_a_word():
    text = "a" * 10_000 + "effusion, effusion"
    (mention,) = mine_text(text)
    assert (mention.start, mention.end) == (10_010, 10_018)


@pytest.mark.parametrize("filler", ["x", "xyz ", "xyz, ", "xyz; ", "x" * 300 + " ", "x/"])
@pytest.mark.parametrize("length", [480, 970, 995, 1000, 1005, 1990])
def test_wherever_a_long_sentence_is_cut_no_word_is(filler, length):
    begin = (filler * length)[:length] + " "
    text = f"{begin}effusions {begin}massive {begin}mass, {begin}, no edema {begin}"
    found = [(m.finding, m.start, m.status) for m in mine_text(text)]
    assert found == [
        ("effusion", text.index("effusions"), "present"),
        ("mass", text.index("mass,"), "present"),
        ("edema", text.index("edema"), "absent"),
    ]


@pytest.mark.slow
def test_ten_million_characters_of_report():
    report = (
        "1. Heart size is normal.  2. There is no pleural effusion or pneumothorax.\n\n"
        "Dr. XXXX saw a 2 cm. nodule, possible granuloma vs scar! The lungs are clear.\n"
    )
    once = mine_text(report)
    assert [(m.finding, m.status) for m in once] == [
        ("cardiomegaly", "absent"), ("effusion", "absent"), ("pneumothorax", "absent"),
        ("nodule", "present"), ("calcified_granuloma", "uncertain"), ("cicatrix", "uncertain"),
    ]  # fmt: skip
    times = 10_000_000 // len(report)
    many = mine_text(report * times)
    assert len(many) == len(once) * times
    shift = len(report) * (times - 1)
    assert many[-1] == once[-1]._replace(
        start=once[-1].start + shift,
        end=once[-1].end + shift,
        sentence=tuple(offset + shift for offset in once[-1].sentence),
    )
