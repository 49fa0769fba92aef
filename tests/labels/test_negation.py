import itertools
import re
from collections import Counter

import pytest

from cascade.labels.lexicon import STATUSES, lines, load_lexicon, read_toml
from cascade.labels.miner import mine_text
from cascade.labels.negation import ContextReader, Trigger
from cascade.labels.phrases import CLOSED, Matcher, compile_phrase, normalise

READER = ContextReader()
LEXICON = load_lexicon()
TRIGGERS = read_toml("triggers.toml")


def scopes(text):
    """Trigger, its tokens and the tokens that it reaches."""
    found = READER.read(normalise(text)).scopes
    return {(s.trigger.name, s.first, s.last, s.reach_from, s.reach_to) for s in found}


def boundaries(text):
    return READER.read(normalise(text)).boundaries


def disjunctions(text):
    return READER.read(normalise(text)).disjunctions


def mined(text):
    return [(m.finding, m.status, m.rule, m.cue) for m in mine_text(text)]


def statuses(text):
    return {m.finding: m.status for m in mine_text(text)}


# --- Where a scope begins and ends -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # before: to the end, or to the next statement
        ("no effusion or mass", {("no", 0, 1, 0, 4)}),
        ("no effusion or mass ; small nodule", {("no", 0, 1, 0, 4)}),
        ("edema but no effusion", {("no", 2, 3, 2, 4)}),
        # after: back to the beginning, or to the statement before
        ("edema ; effusion resolved", {("not seen", 3, 4, 1, 4), ("no", 3, 4, 3, 4)}),
        # both
        ("mass but effusion unlikely", {("unlikely", 3, 4, 1, 4)}),
        ("unlikely effusion but mass", {("unlikely", 0, 1, 0, 2)}),
        # what is denied ends before its cause, what is doubtful does not
        ("no effusion because of edema", {("no", 0, 1, 0, 2)}),
        ("no effusion secondary to edema", {("no", 0, 1, 0, 2)}),
        ("likely effusion due to edema", {("likely", 0, 1, 0, 5)}),
        # and before a finding with a grade of its own, which a doubt may hold too
        ("no mass and mild edema", {("no", 0, 1, 0, 2)}),
        ("no mass , and mild edema", {("no", 0, 1, 0, 2)}),
        ("no mass with a small nodule", {("no", 0, 1, 0, 2)}),
        ("no mass with large nodules", {("no", 0, 1, 0, 2)}),
        ("no mass and mild edema or scar", {("no", 0, 1, 0, 7)}),
        ("likely mass and mild edema", {("likely", 0, 1, 0, 5)}),
        # short scopes
        ("possible effusion , edema", {("possible", 0, 1, 0, 2)}),
        ("possible effusion with edema", {("possible", 0, 1, 0, 2)}),
        ("possible effusion in edema", {("possible", 0, 1, 0, 2)}),
        ("possible effusion versus edema", {("possible", 0, 1, 0, 2)}),
        ("possible effusion or edema", {("possible", 0, 1, 0, 4)}),
        ("probable effusion , edema", {("probable finding", 0, 1, 0, 2)}),
        ("borderline effusion , edema", {("borderline", 0, 1, 0, 2)}),
        ("less likely effusion , edema", {("less likely", 0, 2, 0, 3)}),
        ("without scar and lacking mass", {("no", 0, 1, 0, 5), ("no", 3, 4, 3, 5)}),
        # a longer trigger on the same side overrules the shorter ("not"), one as long does not
        ("we do not show mass", {("no", 1, 3, 1, 5), ("no", 2, 4, 2, 5)}),
        ("mass is not seen", {("not seen", 2, 4, 0, 4), ("no", 1, 3, 1, 4)}),
        # masked
        ("no change in mass", set()),
        ("not only mass", set()),
        ("mass has not resolved", set()),
        ("no change in mass , no effusion", {("no", 5, 6, 5, 7)}),
        ("a mass", set()),
        ("", set()),
    ],
)  # fmt: skip
def test_a_trigger_reaches_as_far_as_its_statement(text, expected):
    assert scopes(text) == expected


@pytest.mark.parametrize(
    "border",
    [";", ":", "(", ")", "?", "but", "however", "although", "though", "yet", "except", "while",
     "whereas", "nevertheless", "nonetheless", "otherwise", "aside from", "apart from",
     "other than", "despite", "besides", "following", "after", "status post"],
)  # fmt: skip
def test_a_scope_ends_at_a_border(border):
    text = f"no mass {border} edema"
    assert boundaries(text) == [2]
    assert statuses(text) == {"mass": "absent", "edema": "present"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no mass , and the heart is big", [2]),
        ("no mass , the heart is big", [2]),
        ("no mass and the lungs are clear", [2]),
        ("no mass and lungs are clear", [2]),
        ("no mass , there is edema", [2]),
        ("no mass and there are scars", [2]),
        ("no mass . edema", [2]),
        ("no mass .", []),
        ("no mass , stable edema", [2]),
        ("no mass , mild edema", [2]),
        ("no mass , however , edema ; scar", [3, 6]),
        # a list goes on
        ("no mass , edema , or scar", []),
        ("no mass , mild edema or scar", []),
        ("no mass and edema are seen", []),
        ("no mass and edema", []),
        ("no mass and mild edema", []),  # ends a denial, yet begins no statement
        ("no mass with a small nodule", []),
        ("no mass or the edema is old", []),
        ("no butter or afterglow", []),
    ],
)
def test_a_statement_begins_with_its_own_subject_and_verb(text, expected):
    assert boundaries(text) == expected


def test_the_heart_behind_a_denial_is_its_own_statement():
    text = "No effusion, and the heart is enlarged."
    assert statuses(text) == {"effusion": "absent", "cardiomegaly": "present"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("edema or mass", [1]),
        ("edema versus mass", [1]),
        ("edema vs mass", [1]),
        ("edema / mass", [1]),
        ("edema , alternatively mass", [2]),
        ("edema and / or mass", [1]),
        ("edema or mass or scar", [1, 3]),
        ("edema and mass", []),
        ("order edema", []),
        ("r / o edema", []),  # the stroke is the trigger's own
    ],
)
def test_disjunctions(text, expected):
    assert disjunctions(text) == expected


# --- Each trigger ------------------------------------------------------------------------------

RULED = [
    ("We cannot exclude edema.", "edema", "uncertain", "cannot exclude", "cannot exclude"),
    ("It is not certain whether edema is there.", "edema", "uncertain", "not certain",
     "not certain whether"),
    ("Unlikely edema.", "edema", "uncertain", "unlikely", "Unlikely"),
    ("Edema is unlikely.", "edema", "uncertain", "unlikely", "unlikely"),
    ("Less likely edema.", "edema", "uncertain", "less likely", "Less likely"),
    ("No edema.", "edema", "absent", "no", "No"),
    ("The lungs are free of edema.", "edema", "absent", "no", "free of"),
    ("The film fails to show edema.", "edema", "absent", "no", "fails to show"),
    ("Interval removal of the pacemaker.", "support_devices", "absent", "no",
     "Interval removal of"),
    ("Edema is not seen.", "edema", "absent", "not seen", "not seen"),
    ("Edema has resolved.", "edema", "absent", "not seen", "has resolved"),
    ("Edema is no longer present.", "edema", "absent", "not seen", "no longer present"),
    ("This may be edema.", "edema", "uncertain", "may", "may be"),
    ("Concerning for edema.", "edema", "uncertain", "may", "Concerning for"),
    ("R/O edema.", "edema", "uncertain", "may", "R/O"),
    ("Suggestive of edema.", "edema", "uncertain", "suggests", "Suggestive of"),
    ("Probably edema.", "edema", "uncertain", "likely", "Probably"),
    ("Possible edema.", "edema", "uncertain", "possible", "Possible"),
    ("Possibility of edema.", "edema", "uncertain", "possible", "Possibility of"),
    ("Highly suggestive of edema.", "edema", "uncertain", "probable", "Highly suggestive of"),
    ("Probable edema.", "edema", "uncertain", "probable finding", "Probable"),
    ("Borderline edema.", "edema", "uncertain", "borderline", "Borderline"),
    ("Edema is suspected.", "edema", "uncertain", "is possible", "is suspected"),
    ("Edema may be present.", "edema", "uncertain", "is possible", "may be present"),
]  # fmt: skip
DROPPED = [
    ("history", "History of edema."),
    ("history", "Recently treated for edema."),
    ("question", "Evaluate for edema."),
    ("question", "If there is concern for edema, a CT may help."),
    ("question", "CT is recommended to exclude edema."),
]
MASKED = [
    ("no change", "No change in the edema."),
    ("no change", "Edema without significant interval change."),
    ("no change", "Not only edema."),
    ("no change", "Edema, not seen on the prior study."),
    ("not without", "Not without edema."),
    ("not without", "Edema has not completely resolved."),
]


@pytest.mark.parametrize(("text", "finding", "status", "rule", "cue"), RULED)
def test_a_trigger_decides_and_is_the_cue(text, finding, status, rule, cue):
    assert mined(text) == [(finding, status, rule, cue)]


@pytest.mark.parametrize(("name", "text"), DROPPED)
def test_what_is_past_or_asked_says_nothing(name, text):
    assert mined(text) == []
    assert name in {scope[0] for scope in scopes(text)}


@pytest.mark.parametrize(("name", "text"), MASKED)
def test_what_looks_like_a_denial_and_is_none(name, text):
    assert mined(text) == [("edema", "present", "stated", "")]


def test_each_group_of_triggers_is_tried_above():
    tried = {rule for _, _, _, rule, _ in RULED} | {name for name, _ in DROPPED + MASKED}
    assert {trigger["name"] for trigger in TRIGGERS["trigger"]} == tried


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # a denial outweighs a doubt
        ("No possible edema.", {"edema": "absent"}),
        ("Possibly no edema.", {"edema": "absent"}),
        # the past outweighs both
        ("No history of edema.", {}),
        # each statement for itself
        ("Mass is not seen but edema is seen.", {"mass": "absent", "edema": "present"}),
        ("No mass; possible edema, scar.",
         {"mass": "absent", "edema": "uncertain", "cicatrix": "present"}),
        ("Edema rather than pneumonia.", {"edema": "present", "pneumonia": "absent"}),
        # what is denied has a cause
        ("No effusion because of edema.", {"effusion": "absent", "edema": "present"}),
    ],
)  # fmt: skip
def test_triggers_side_by_side(text, expected):
    assert statuses(text) == expected


# --- The files ---------------------------------------------------------------------------------


def expand(source, groups):
    """Strings that a phrase describes, some of them where they are many: another reading of it."""
    while "{" in source:
        source = re.sub(r"\{(\w+)\}", lambda name: f"({groups[name[1]]})", source)
    position = 0

    def sequences(closer):
        nonlocal position
        strings, finished = [""], []
        while position < len(source) and source[position] != closer:
            character = source[position]
            position += 1
            if character == "|":
                finished, strings = finished + strings, [""]
                continue
            options = [character]
            if character in "([":
                options = sequences(")" if character == "(" else "]")
                options = options + [""] * (character == "[")
            elif character == "~":
                options = [" ".join(["word"] * n) for n in range(int(source[position]) + 1)]
                position += 1
            if source[position : position + 1] == "?":
                options = [*options, ""]
                position += 1
            joined = (a + b for a, b in itertools.product(strings, options))
            strings = list(itertools.islice(joined, 2000))
        position += 1
        return finished + strings

    return sorted({" ".join(string.split()) for string in sequences("")})


def test_the_expansion_of_a_phrase():
    assert expand("[a] ~1 bs?", {}) == ["a b", "a bs", "a word b", "a word bs", "b", "bs",
                                        "word b", "word bs"]  # fmt: skip
    assert expand("{x} c", {"x": "a|b(d|e)?"}) == ["a c", "b c", "bd c", "be c"]


def whole_matches(source, groups, closed):
    """How many of a phrase's own strings it matches from end to end, and how many there are."""
    matcher = Matcher([compile_phrase(source, None, groups, closed)])
    strings = expand(source, groups)
    sentences = [normalise(string) for string in strings]
    hits = sum(
        any((m.first, m.last) == (0, len(sentence.starts)) for m in matcher.find(sentence))
        for sentence in sentences
    )
    return hits, len(strings)


def test_every_phrase_of_the_lexicon_matches_strings_of_its_own():
    dead = [
        (name, phrase)
        for name, finding in LEXICON.findings.items()
        for phrase in (*itertools.chain(*finding.phrases.values()), *finding.hidden)
        if not whole_matches(phrase, LEXICON.groups, CLOSED)[0]
    ]
    assert dead == []


def test_every_phrase_of_the_triggers_matches_strings_of_its_own():
    closed = (*CLOSED, "no", "not", "cannot", "without")
    dead = [
        (trigger["name"], phrase)
        for trigger in TRIGGERS["trigger"]
        for phrase in lines(trigger["phrases"])
        if not whole_matches(phrase, TRIGGERS["groups"], closed)[0]
    ]
    assert dead == []


def test_no_phrase_stands_twice_within_a_finding_or_a_trigger():
    listed = {
        name: [*itertools.chain(*finding.phrases.values()), *finding.hidden]
        for name, finding in LEXICON.findings.items()
    }
    for trigger in TRIGGERS["trigger"]:
        listed[f"trigger {trigger['name']}"] = list(lines(trigger["phrases"]))
    twice = {
        name: [phrase for phrase, count in Counter(phrases).items() if count > 1]
        for name, phrases in listed.items()
    }
    assert {name: phrases for name, phrases in twice.items() if phrases} == {}


def test_the_lexicon_s_entries_hold_only_what_is_read():
    entries = read_toml("lexicon.toml")["findings"]
    known = {*STATUSES, "hidden", "broader", "remark"}
    assert {name: set(entry) - known for name, entry in entries.items() if set(entry) - known} == {}
    assert all(re.fullmatch("[a-z][a-z_]*", name) for name in entries)
    assert all(any(finding.phrases.values()) for finding in LEXICON.findings.values())
    broader = {finding.broader for finding in LEXICON.findings.values()} - {None}
    assert broader <= set(LEXICON.findings)


def test_a_name_stands_for_one_effect_and_once_on_each_side():
    triggers = [Trigger(**entry) for entry in TRIGGERS["trigger"]]
    assert max(Counter((trigger.name, trigger.direction) for trigger in triggers).values()) == 1
    assert len({(t.name, t.effect) for t in triggers}) == len({t.name for t in triggers})
    assert {t.effect for t in triggers} == {"mask", "absent", "uncertain", "dropped"}
    assert {t.direction for t in triggers} == {"before", "after", "both"}
