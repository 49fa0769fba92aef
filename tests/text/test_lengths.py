import json
import math

import pytest

from cascade.text.lengths import count_words, length_statistics


def test_words():
    assert count_words("1. No x-XXXX; 2.5 cm (stable).") == 6
    assert count_words(" . - ") == 0


def test_statistics_by_hand():
    found = length_statistics(
        ["Aa bb. Cc dd.", "aa Bb.  cc dd.", "Mass XXXX", "a b c d e f", "", None, " "]
    )
    assert (found.reports, found.empty, found.distinct, found.duplicated) == (4, 3, 3, 2)
    assert found.commonest == 2
    assert found.share_with_marks == 0.25
    words = found.words  # 4, 4, 2, 6
    assert (words.mean, words.least, words.most) == (4.0, 2, 6)
    assert words.deviation == pytest.approx(math.sqrt(2))
    assert words.percentiles["50"] == 4.0
    assert words.edges == [0, 1, 2, 3, 4, 5, 6, 7]
    assert words.counts == [0, 0, 1, 0, 2, 0, 1]
    assert (found.sentences.mean, found.sentences.counts) == (1.5, [0, 2, 2])
    json.dumps(found.to_json())


def test_bins_are_whole_and_at_most_so_many():
    found = length_statistics(["a " * n for n in range(1, 101)], bins=10).words
    assert len(found.counts) <= 10
    assert sum(found.counts) == 100
    assert found.edges[0] == 0
    assert found.edges[-1] > 100


def test_no_reports():
    found = length_statistics([None])
    assert (found.reports, found.empty, found.distinct, found.words.counts) == (0, 1, 0, [0])
    assert math.isnan(found.words.mean)


@pytest.mark.realdata
def test_real_impressions(real_data):
    from cascade.io.openi import read_openi

    found = length_statistics(read_openi(real_data / "openi").studies["impression"].tolist())
    assert found.reports > 3800
    assert 0.2 < found.duplicated / found.reports < 0.7
    assert 5 <= found.words.percentiles["50"] < 15
