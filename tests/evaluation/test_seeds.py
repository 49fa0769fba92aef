"""Several seeds: mean, spread and interval by hand, and what may not be pooled."""

import math

import pytest

from cascade.errors import InputError
from cascade.evaluation.seeds import pool_seeds, spread
from cascade.evaluation.tables import as_json


def document(value, studies=10, name="cnn"):
    return {
        "meta": {"split": "test", "studies": studies},
        "systems": [{"name": name, "figures": {"bleu1": {"value": value}}}],
    }


def test_spread_of_three_runs():
    found = spread([0.2, 0.4, 0.9])
    assert found.mean == pytest.approx(0.5)
    assert found.sd == pytest.approx((0.13) ** 0.5)  # (0.09 + 0.01 + 0.16) / 2
    reach = 4.302653 * 0.13**0.5 / 3**0.5  # t of 2 degrees of freedom, two-sided 95%
    assert (found.low, found.high) == pytest.approx((0.5 - reach, 0.5 + reach))


def test_one_run_has_a_mean_and_no_spread():
    found = spread([0.3, math.nan])
    assert (found.mean, found.n) == (0.3, 1)
    assert all(math.isnan(value) for value in (found.sd, found.low, found.high))
    assert math.isnan(spread([]).mean)


def test_equal_runs_do_not_scatter():
    found = spread([0.25, 0.25])
    assert (found.sd, found.low, found.high) == (0.0, 0.25, 0.25)


def test_runs_are_pooled_by_system_and_metric():
    found = pool_seeds([document(0.1), document(0.3), document(None), document(0.5, name="other")])
    assert found["cnn"]["bleu1"].mean == pytest.approx(0.2)
    assert found["cnn"]["bleu1"].n == 2
    assert found["other"]["bleu1"].n == 1


def test_a_real_evaluation_is_pooled(evaluation):
    written = as_json(evaluation)
    found = pool_seeds([written, written])
    value = evaluation.figure("round 2", "macro_auroc").value
    assert found["round 2"]["macro_auroc"].mean == pytest.approx(value, abs=1e-6)
    assert found["round 2"]["macro_auroc"].sd == 0


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "no evaluation to pool"),
        ([document(0.1), document(0.1, studies=9)], "evaluation 2 has studies 9"),
        ([{"meta": {}}], "evaluation 1 is not a metrics.json"),
        ([[1]], "evaluation 1 is not a metrics.json"),
    ],
)
def test_what_cannot_be_pooled(documents, message):
    with pytest.raises(InputError, match=message):
        pool_seeds(documents)
