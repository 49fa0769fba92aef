"""Text scores against values worked out by hand, and against pycocoevalcap."""

import math

import numpy as np
import pytest

from cascade.io.openi import read_openi
from cascade.metrics import nlg
from cascade.metrics.nlg import annotation_words, report_words, spaced_words


def pycoco(hypotheses, references, tokenize):
    bleu = pytest.importorskip("pycocoevalcap.bleu.bleu").Bleu(4)
    rouge = pytest.importorskip("pycocoevalcap.rouge.rouge").Rouge()
    said = {row: [" ".join(tokenize(text))] for row, text in enumerate(hypotheses)}
    meant = {row: [" ".join(tokenize(text))] for row, text in enumerate(references)}
    return bleu.compute_score(meant, said, verbose=0)[0], rouge.compute_score(meant, said)[0]


def test_report_words_keep_numbers_and_drop_punctuation():
    text = "1. Heart size is 1.5 cm/XXXX (normal).\n2. Isn't air-space disease?"
    assert report_words(text) == (
        ["1", "heart", "size", "is", "1.5", "cm", "xxxx", "normal"]
        + ["2", "isn't", "air", "space", "disease"]
    )


def test_annotation_words_part_terms_and_pieces():
    assert annotation_words(" Lung/Hypoinflation;opacity/lower lobe ") == (
        ["lung", "hypoinflation", "opacity", "lower", "lobe"]
    )


def test_words_and_stops_end_every_sentence_once():
    text = "1. Heart size is 1.5 cm.. 2. Isn't (clear)\n 3. Air-space. . Done"
    expected = "heart size is 15 cm . isnt clear . air-space . done ."
    assert " ".join(nlg.words_and_stops(text)) == expected
    assert nlg.words_and_stops(" . ") == []
    assert " ".join(nlg.words_and_stops("At L1. A mass.")) == "at l1 . a mass ."


def test_copied_word_for_word_by_the_words_alone():
    training = ["Heart is normal.", "", "Lungs clear"]
    hypotheses = ["heart is NORMAL", "heart is normal lungs clear", "", "Lungs; clear."]
    assert nlg.copied(hypotheses, training, report_words).tolist() == [True, False, False, True]


def test_corpus_bleu_by_hand():
    # Matches: 4 of 4 words and 2 of 3 pairs, 0 of 2 triples; lengths 4 and 6.
    scores = nlg.corpus_bleu(["a b c d"], ["a b x c d y"], spaced_words)
    brevity = math.exp(1 - 6 / 4)
    assert scores[0] == pytest.approx(brevity)
    assert scores[1] == pytest.approx(brevity * math.sqrt(2 / 3))
    assert scores[2:] == (0.0, 0.0)


def test_corpus_bleu_clips_and_sums_over_rows():
    # Row 1: "the" counts once of 3. Row 2: 2 of 2. So 3 of 5 words, no penalty (5 >= 4).
    scores = nlg.corpus_bleu(["the the the", "a b"], ["the cat", "a b"], spaced_words)
    assert scores[0] == pytest.approx(3 / 5)
    assert scores[1] == pytest.approx(math.sqrt(3 / 5 * 1 / 3))


def test_a_longer_hypothesis_has_no_brevity_penalty():
    assert nlg.corpus_bleu(["a b c d"], ["a b"], spaced_words)[0] == pytest.approx(0.5)


def test_mean_ngram_precision_of_always_normal():
    references = ["normal"] * 712 + ["opacity/lung/base"] * 288
    scores = nlg.mean_ngram_precision(["normal"] * 1000, references, annotation_words)
    assert scores == pytest.approx((0.712, 0.0, 0.0, 0.0))


def test_mean_ngram_precision_averages_rows_not_counts():
    # Row 1: 1 of 1 words, no pair. Row 2: 2 of 4 words, 1 of 3 pairs, 0 of 2, 0 of 1.
    scores = nlg.mean_ngram_precision(["a", "a b x y"], ["a", "a b"], spaced_words)
    assert scores == pytest.approx(((1 + 0.5) / 2, (0 + 1 / 3) / 2, 0.0, 0.0))


def test_empty_hypotheses_count_as_zero():
    hypotheses, references = ["", "a b"], ["a b", "a b"]
    assert nlg.mean_ngram_precision(hypotheses, references, spaced_words)[0] == 0.5
    assert nlg.exact_matches(hypotheses, references, spaced_words).tolist() == [False, True]
    assert nlg.rouge_l(hypotheses, references, spaced_words).tolist() == [0.0, 1.0]
    assert nlg.corpus_bleu(hypotheses, references, spaced_words)[0] == pytest.approx(math.exp(-1))
    assert nlg.empty_count(hypotheses, spaced_words) == 1
    assert nlg.length_ratio(hypotheses, references, spaced_words) == 0.5


def test_nothing_written_at_all_scores_zero():
    assert nlg.corpus_bleu(["", ""], ["a", "b"], spaced_words) == (0.0, 0.0, 0.0, 0.0)
    assert nlg.exact_matches([""], [""], spaced_words).tolist() == [False]
    assert math.isnan(nlg.length_ratio(["a"], [""], spaced_words))


def test_rouge_l_by_hand():
    # Common subsequence "a c": P = 2/3, R = 2/4, b^2 = 1.44.
    expected = 2.44 * (2 / 3) * 0.5 / (0.5 + 1.44 * (2 / 3))
    assert nlg.rouge_l(["a x c"], ["a b c d"], spaced_words)[0] == pytest.approx(expected)


def test_common_subsequence_agrees_with_the_table_method():
    generator = np.random.default_rng(0)
    for _ in range(200):
        first, second = (
            [str(word) for word in generator.integers(4, size=generator.integers(0, 12))]
            for _ in range(2)
        )
        table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
        for i, one in enumerate(first):
            for j, other in enumerate(second):
                table[i + 1, j + 1] = (
                    table[i, j] + 1 if one == other else max(table[i, j + 1], table[i + 1, j])
                )
        assert nlg.common_subsequence(first, second) == table[-1, -1]


def test_lists_of_different_length_are_refused():
    for score in (nlg.corpus_bleu, nlg.rouge_l, nlg.exact_matches, nlg.length_ratio):
        with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
            score(["a"], ["a", "b"], spaced_words)
    with pytest.raises(ValueError, match="no row"):
        nlg.corpus_bleu([], [], spaced_words)


def sentences(count, seed):
    generator = np.random.default_rng(seed)
    words = np.array([*"abcdefgh"])
    return [" ".join(generator.choice(words, generator.integers(5, 20))) for _ in range(count)]


def test_agrees_with_pycocoevalcap_on_made_up_text():
    references = sentences(80, 1)
    hypotheses = [
        text if row % 3 else other
        for row, (text, other) in enumerate(zip(references, sentences(80, 2), strict=True))
    ]
    hypotheses[5] = ""
    bleu, rouge = pycoco(hypotheses, references, spaced_words)
    assert nlg.corpus_bleu(hypotheses, references, spaced_words) == pytest.approx(bleu, abs=1e-6)
    assert nlg.rouge_l(hypotheses, references, spaced_words).mean() == pytest.approx(
        rouge, abs=1e-9
    )


def test_where_no_order_matches_we_say_zero_and_pycocoevalcap_says_nearly_zero():
    hypotheses, references = ["normal"] * 3, ["normal", "normal", "opacity/lung/base"]
    bleu, _ = pycoco(hypotheses, references, annotation_words)
    assert nlg.corpus_bleu(hypotheses, references, annotation_words)[1:] == (0.0, 0.0, 0.0)
    assert 0 < max(bleu[1:]) < 1e-3


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["report-words", "white-space", "words-and-stops"])
def test_agrees_with_pycocoevalcap_on_the_openi_archive(real_data, name):
    tokenize = nlg.TOKENIZERS[name]
    studies = read_openi(real_data / "openi").studies
    findings = [text for text in studies["findings"] if text]
    references, hypotheses = findings[:600], findings[1:601]
    assert len(references) == 600
    bleu, rouge = pycoco(hypotheses, references, tokenize)
    assert min(bleu) > 0.01
    assert nlg.corpus_bleu(hypotheses, references, tokenize) == pytest.approx(bleu, abs=1e-6)
    assert nlg.rouge_l(hypotheses, references, tokenize).mean() == pytest.approx(rouge, abs=1e-6)
