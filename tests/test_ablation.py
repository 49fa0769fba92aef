"""The arithmetic of ``scripts/ablation.py``; its training is the pipeline's."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "ablation.py"


@pytest.fixture(scope="module")
def ablation():
    spec = importlib.util.spec_from_file_location("ablation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))  # it imports what scripts share
        spec.loader.exec_module(module)
    return module


def scores(**systems):
    """Three seeds' figures of every metric, and draws that stay within .01 of their mean."""
    values = {name.replace("_", " "): np.array(found) for name, found in systems.items()}
    return SimpleNamespace(
        by_seed=lambda name, metric: values[name],
        drawn=lambda name, metric: values[name].mean() + np.array([-0.01, 0.0, 0.01]),
    )


def test_differences_are_paired_by_seed(ablation):
    found = scores(old_2=[0.1, 0.2, 0.3], contexts_2=[0.2, 0.3, 0.4])
    lines, holds = ablation.differences_table(found, ["old 2", "contexts 2"])
    assert len(lines) == 3
    # the seeds scatter by .1, their differences not at all
    assert "**+0.100 (+0.100 to +0.100; +0.100 to +0.100)**" in lines[2]
    assert lines[2].startswith("| round 2: the true contexts, less round 2: the old labels again |")
    assert len(holds) == len(ablation.METRICS)
    assert all(gains for gains, _ in holds)


def test_a_difference_that_one_interval_doubts_is_not_bold(ablation):
    found = scores(old_2=[0.1, 0.2, 0.3], contexts_2=[0.1, 0.4, 0.3])
    lines, holds = ablation.differences_table(found, ["old 2", "contexts 2"])
    assert holds == []
    assert "**" not in lines[2]
    # mean .2 / 3; t(2) = 4.303 times .1155 / sqrt(3)
    assert "+0.067 (-0.220 to +0.354; +0.067 to +0.067)" in lines[2]


def test_the_verdict_says_a_negative_result_plainly(ablation):
    assert "add nothing that 5 seeds can show" in ablation.verdict([], 5, 14)
    worse = ablation.verdict([(False, "AUROC -0.1")], 5, 14)
    assert "add nothing" in worse
    assert "Worse by both intervals:\n\n- AUROC -0.1" in worse
    better = ablation.verdict([(True, "exact +0.1"), (False, "AUROC -0.1")], 5, 14)
    assert "add nothing" not in better
    assert "better by both intervals: 1; worse by both: 1." in better
    assert "Better:\n\n- exact +0.1\n\nWorse:\n\n- AUROC -0.1" in better


def test_what_speaks_for_the_contexts_is_counted(ablation):
    systems = ["first 1", "contexts 2", "shuffled 2", "old 2", "contexts 3", "old 3"]
    # contexts 2 against old and shuffled, contexts 3 against old
    assert ablation.compared_with_controls(systems) == 3 * len(ablation.METRICS)


def test_means_and_spread_of_seeds(ablation):
    values = {metric: [0.1, 0.2, 0.3] for metric in ablation.METRICS}
    values["macro_auroc"] = [np.nan] * 3
    line = ablation.figures_line("x", values)
    assert line.startswith("| x | 0.200 ± 0.100 | ")
    assert line.endswith(" |  |")


def test_an_arm_begins_where_another_ended(ablation, tmp_path):
    round_1 = tmp_path / "first" / "round-1" / "classifier"
    (round_1 / "checkpoints").mkdir(parents=True)
    (round_1 / "config.yaml").write_text("of another relabelling")
    (round_1 / "metrics.csv").write_text("kept")
    out = tmp_path / "arm"
    ablation.start_from(tmp_path / "first", out)
    assert sorted(p.name for p in (out / "round-1").rglob("*")) == ["classifier", "metrics.csv"]
    (out / "round-1" / "classifier" / "metrics.csv").write_text("its own")
    ablation.start_from(tmp_path / "first", out)
    assert (out / "round-1" / "classifier" / "metrics.csv").read_text() == "its own"
