"""CIDEr by hand; METEOR, sacreBLEU and the Treebank tokeniser against themselves; and not run."""

import importlib.util
import math
import shutil
import sys
import time

import numpy as np
import pytest

from cascade.io.openi import read_openi
from cascade.metrics import caption, nlg
from cascade.metrics.caption import Cider, NotRunError
from cascade.metrics.nlg import report_words, spaced_words

needs_java = pytest.mark.skipif(
    shutil.which("java") is None or importlib.util.find_spec("pycocoevalcap") is None,
    reason="needs Java and pycocoevalcap",
)

REFERENCES = [
    "The heart is normal in size. The lungs are clear.",
    "Stable cardiomegaly with mild pulmonary edema.",
    "No focal airspace disease, pleural effusion or pneumothorax.",
    "There is a 1.5 cm nodule (left upper lobe); it isn't calcified.",
]
HYPOTHESES = [
    "Heart size is normal and lungs are clear.",
    "Stable cardiomegaly with mild pulmonary edema.",
    "",
    "A small calcified nodule is in the left upper lobe.",
]


def pairs_of(hypotheses, references, tokenize):
    said = {row: [" ".join(tokenize(text))] for row, text in enumerate(hypotheses)}
    return {row: [" ".join(tokenize(text))] for row, text in enumerate(references)}, said


def test_cider_by_hand():
    # Of two rows: "a" is in both (weight 0), "b" and "a b" in one. Row 1 is its reference: runs of
    # one and two words have cosine 1, longer ones there are none, so (1 + 1) / 4 times 10.
    scores = Cider(["a b", "a c"], spaced_words).score(["a b", "a b"])
    assert scores.tolist() == pytest.approx([5.0, 0.0])


def test_cider_clips_and_penalises_length_and_the_plain_one_does_not():
    # "b b": the run "b" has weight 2 log 2 against log 2 of the reference, "b b" is in no
    # reference, and one pair of words stands against one, so there is no penalty of length.
    cider = Cider(["b x", "c y"], spaced_words)
    assert cider.score(["b b", "c y"], clipped=False)[0] == pytest.approx(10 / 4 * 1 / math.sqrt(2))
    assert cider.score(["b b", "c y"])[0] == pytest.approx(10 / 4 * 1 / (2 * math.sqrt(2)))
    longer = cider.score(["b x z z z", "c y"])[0] / cider.score(["b x z z z", "c y"], clipped=False)
    assert longer[0] == pytest.approx(math.exp(-(3**2) / 72))


def test_cider_of_a_single_row_is_zero_as_every_word_is_everywhere():
    assert Cider(["a b c d"], spaced_words).score(["a b c d"]).tolist() == [0.0]


def test_cider_of_pairs_weighs_words_by_the_references_that_were_counted():
    cider = Cider(["a b", "a c"], spaced_words)
    # In both is "a", of weight 0; "b" and "a b" are in one of two: their cosines are 1, of 4 runs.
    assert cider.score_pairs(["a b", "a"], ["a b", "a b"]).tolist() == pytest.approx([5.0, 0.0])
    # "z" is in none: log 2 - log 1, as if in one.
    assert cider.score_pairs(["z"], ["z"]).tolist() == pytest.approx([2.5])
    assert cider.score(["a b", "a b"])[0] == pytest.approx(5.0)
    with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
        cider.score_pairs(["a"], ["a", "b"])


def test_cider_agrees_with_pycocoevalcap_row_by_row():
    theirs = pytest.importorskip("pycocoevalcap.cider.cider").Cider()
    _, rows = theirs.compute_score(*pairs_of(HYPOTHESES, REFERENCES, report_words))
    scores = Cider(REFERENCES, report_words).score(HYPOTHESES)
    assert scores == pytest.approx(rows, abs=1e-9)
    assert scores[2] == 0


def test_lists_of_different_length_are_refused():
    for score in (
        lambda: Cider(["a", "b"], spaced_words).score(["a"]),
        lambda: caption.meteor_statistics(["a"], ["a", "b"], spaced_words),
        lambda: caption.sacrebleu_counts(["a"], ["a", "b"]),
    ):
        with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
            score()


def test_meteor_by_hand():
    # Four words, all content: three match exactly in two chunks. P = R = 3/4, so the mean is 3/4;
    # 1 - 0.6 (2/3)^0.2 is left of it.
    row = np.zeros(23)
    row[:2], row[4:6], row[20:] = 4, 3, (2, 3, 3)
    expected = 0.75 * (1 - 0.6 * (2 / 3) ** 0.2)
    assert caption.meteor_of_statistics(row) == pytest.approx(expected)
    assert caption.meteor_of_statistics(np.zeros((2, 23))).tolist() == [0.0, 0.0]


@needs_java
@pytest.mark.slow
def test_meteor_is_that_of_its_own_program_row_by_row_and_in_sum():
    from pycocoevalcap.meteor.meteor import Meteor

    program = Meteor()
    value, rows = program.compute_score(*pairs_of(HYPOTHESES, REFERENCES, report_words))
    program.meteor_p.kill()
    found = caption.meteor_statistics(HYPOTHESES, REFERENCES, report_words)
    assert found.shape == (4, caption.METEOR_STATISTICS)
    assert caption.meteor_of_statistics(found) == pytest.approx(rows, abs=1e-9)
    assert caption.meteor_of_statistics(found.sum(axis=0)) == pytest.approx(value, abs=1e-9)


def test_sacrebleu_is_that_of_its_own_corpus_score():
    bleu = pytest.importorskip("sacrebleu.metrics").BLEU(lowercase=True)
    counts = caption.sacrebleu_counts(HYPOTHESES, REFERENCES)
    for rows in ([0, 1, 2, 3], [0], [2], [1, 1, 3]):  # row 0 alone has no run of four: smoothed
        weights = np.bincount(rows, minlength=4).astype(float)
        expected = bleu.corpus_score(
            [HYPOTHESES[row] for row in rows], [[REFERENCES[row] for row in rows]]
        )
        assert 100 * counts.score(weights[None])[0] == pytest.approx(expected.score, abs=1e-6)
    assert counts.signature == str(bleu.get_signature())
    assert "case:lc" in counts.signature
    assert "tok:13a" in counts.signature


@needs_java
def test_treebank_words_are_small_and_without_punctuation():
    texts = ["Heart isn't enlarged (XXXX).\nLungs: clear.", "", "A 1.5 cm nodule; air-space"]
    plain = ["heart is n't enlarged xxxx lungs clear", "", "a 1.5 cm nodule air-space"]
    assert caption.ptb_texts(texts) == plain
    assert caption.ptb_texts(texts[:1], brackets=True) == [
        "heart is n't enlarged -lrb- xxxx -rrb- lungs clear"
    ]


def test_what_is_missing_is_told(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(NotRunError, match="Java is not installed"):
            caption.run_java(["-version"], [], 5, tmp_path)
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(NotRunError, match=r"sacrebleu is not installed \(pip install"):
        caption.sacrebleu_counts(["a"], ["a"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotRunError, match=r"pycocoevalcap is not installed \(pip install"):
        caption.meteor_statistics(["a"], ["a"], spaced_words)


@pytest.fixture
def fake_java(monkeypatch, tmp_path):
    """Puts a shell script where Java is looked for."""

    def make(script):
        path = tmp_path / "java"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(caption.shutil, "which", lambda name: str(path))

    return make


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("cat >/dev/null; echo out of memory >&2; exit 3", "status 3: out of memory"),
        ("exit 1", "status 1: no reason given"),
        ("head -n 1", "answered 1 of 2 lines"),
        ("sed s/.*/words/", "answered what are no statistics"),
        ("sed 's/.*/1 2 3/'", "answered what are no statistics"),
    ],
)
def test_a_crash_or_nonsense_is_a_reason(fake_java, script, reason):
    pytest.importorskip("pycocoevalcap.bleu.bleu")
    fake_java(script)
    with pytest.raises(NotRunError, match=reason):
        caption.meteor_statistics(["a", "b"], ["a", "c"], spaced_words)


def test_a_program_that_hangs_is_ended_with_all_that_it_started(fake_java, tmp_path):
    fake_java(f"(sleep 60; touch {tmp_path}/late) & cat; sleep 60")
    began = time.monotonic()
    with pytest.raises(NotRunError, match="longer than 0.3 seconds"):
        caption.run_java([], ["a"], 0.3, tmp_path)
    assert time.monotonic() - began < 10


def test_equal_pairs_are_scored_once_and_marks_of_the_protocol_are_dropped(fake_java):
    pytest.importorskip("pycocoevalcap.bleu.bleu")
    fake_java(
        r"""n=0; while IFS= read -r line; do n=$((n+1)); """
        r"""case $line in *'||| |||'*'|||'*) exit 9;; esac; """
        r"""echo "$n 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"; done"""
    )
    found = caption.meteor_statistics(["a", "b", "a ||| b", "a"], ["r"] * 4, spaced_words)
    assert found[:, 0].tolist() == [1, 2, 3, 1]


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["report-words", "words-and-stops"])
def test_cider_agrees_with_pycocoevalcap_on_the_openi_archive(real_data, name):
    theirs = pytest.importorskip("pycocoevalcap.cider.cider").Cider()
    tokenize = nlg.TOKENIZERS[name]
    findings = [text for text in read_openi(real_data / "openi").studies["findings"] if text]
    references, hypotheses = findings[:600], findings[1:601]
    value, rows = theirs.compute_score(*pairs_of(hypotheses, references, tokenize))
    scores = Cider(references, tokenize).score(hypotheses)
    assert value > 0.05
    assert scores == pytest.approx(rows, abs=1e-6)
    assert scores.mean() == pytest.approx(value, abs=1e-6)


@pytest.mark.realdata
@needs_java
def test_the_treebank_cut_is_pycocoevalcaps_on_the_openi_archive(real_data):
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    findings = [text for text in read_openi(real_data / "openi").studies["findings"] if text][:600]
    theirs = PTBTokenizer().tokenize({i: [{"caption": x}] for i, x in enumerate(findings)})
    ours = caption.ptb_texts(findings, brackets=True)
    assert ours == [theirs[row][0] for row in range(600)]
