"""Bootstrap by patient: what is drawn, what an interval is, what a paired difference is."""

import math

import numpy as np
import pytest

from cascade.evaluation import significance as s


def share(right):
    return lambda weights: {"share": weights @ right / weights.sum(axis=1)}


def test_patients_bring_all_their_studies():
    draws = s.Resampling(["a", "a", "b", "c"], resamples=50, seed=1)
    weights = np.concatenate(list(draws.weights()))
    assert weights.shape == (50, 4)
    assert (weights[:, 0] == weights[:, 1]).all()
    # Three draws of three patients: a counts once in the sum, though it has two studies.
    assert (weights[:, 1:].sum(axis=1) == 3).all()


def test_draws_repeat_by_seed_and_do_not_depend_on_chunks(monkeypatch):
    ids = [str(number) for number in range(10)]
    first = np.concatenate(list(s.Resampling(ids, 30, seed=5).weights()))
    monkeypatch.setattr(s, "CHUNK_CELLS", 70)
    chunks = list(s.Resampling(ids, 30, seed=5).weights())
    assert [len(chunk) for chunk in chunks] == [7, 7, 7, 7, 2]
    assert (np.concatenate(chunks) == first).all()
    assert (np.concatenate(list(s.Resampling(ids, 30, seed=6).weights())) != first).any()


def test_interval_agrees_with_the_binomial():
    right = np.r_[np.ones(60), np.zeros(40)]
    found = s.bootstrap(share(right), [str(number) for number in range(100)], 4000)["share"]
    assert found.value == 0.6
    width = 1.96 * math.sqrt(0.6 * 0.4 / 100)
    assert found.low == pytest.approx(0.6 - width, abs=0.015)
    assert found.high == pytest.approx(0.6 + width, abs=0.015)


def test_studies_of_one_patient_widen_the_interval():
    right = np.repeat(np.r_[np.ones(12), np.zeros(8)], 5)
    alone = s.bootstrap(share(right), [str(n) for n in range(100)])["share"]
    together = s.bootstrap(share(right), [str(n // 5) for n in range(100)])["share"]
    assert together.high - together.low > 1.8 * (alone.high - alone.low)


def test_one_patient_has_no_interval():
    found = s.bootstrap(share(np.array([1.0, 0.0])), ["a", "a"])["share"]
    assert found.value == 0.5
    assert math.isnan(found.low)
    difference = s.paired_bootstrap(share(np.ones(2)), share(np.zeros(2)), ["a", "a"])["share"]
    assert not difference.holds


def test_patients_without_an_id_count_as_one():
    assert s.Resampling([None, None, "a"], 5).patients == 2


def test_a_paired_difference_is_narrower_than_its_parts():
    generator = np.random.default_rng(0)
    first = (generator.random(300) < 0.5).astype(float)
    second = first.copy()
    second[:15] = 1.0  # better on a few rows, the same on all others
    ids = [str(number) for number in range(300)]
    found = s.paired_bootstrap(share(first), share(second), ids)["share"]
    assert found.value == pytest.approx((second - first).mean())
    assert found.holds
    single = s.bootstrap(share(first), ids)["share"]
    assert found.high - found.low < (single.high - single.low) / 2


def test_no_difference_does_not_hold():
    right = np.r_[np.ones(5), np.zeros(5)]
    ids = [str(number) for number in range(10)]
    found = s.paired_bootstrap(share(right), share(right[::-1].copy()), ids)["share"]
    assert found.value == 0
    assert found.low < 0 < found.high
    assert not found.holds


def test_undefined_resamples_are_passed_over():
    assert s.interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert all(math.isnan(end) for end in s.interval(np.array([np.nan])))
    assert math.isnan(s.figure(float("nan"), np.array([1.0])).low)


def test_mcnemar_by_hand():
    first = np.array([True, True, True, False, False, False])
    second = np.array([True, False, False, False, False, True])
    found = s.mcnemar(first, second)
    assert (found.both, found.first_only, found.second_only, found.neither) == (1, 2, 1, 2)
    # Three rows that they disagree on: a split as uneven as 2 to 1 is certain.
    assert found.p == 1.0
    assert s.mcnemar(np.ones(8, bool), np.zeros(8, bool)).p == pytest.approx(2 / 2**8)


def test_systems_that_never_disagree_do_not_differ():
    assert s.mcnemar(np.ones(3, bool), np.ones(3, bool)).p == 1.0
    with pytest.raises(ValueError, match="3 rows of the first system, 2 of the second"):
        s.mcnemar(np.ones(3, bool), np.ones(2, bool))


def test_p_values_are_corrected_for_their_number():
    # The k-th smallest of three times 3 / k, never falling.
    assert s.adjusted([0.03, 0.01, 0.5]) == pytest.approx([0.045, 0.03, 0.5])
    assert s.adjusted([]) == []
