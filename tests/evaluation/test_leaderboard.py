"""The leaderboard: pooled seeds, ranks, rows kept apart, differences that hold, and its page."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re

import numpy as np
import pandas as pd
import pytest

import cascade
from cascade.errors import InputError
from cascade.evaluation.charts import Mark
from cascade.evaluation.leaderboard import (
    Curve,
    Entry,
    RowsKey,
    beats_trivial,
    build_leaderboard,
    find_metric,
)
from cascade.evaluation.leaderboard_charts import Axis, curve_plot, front, pareto_plot, setting_plot
from cascade.evaluation.leaderboard_differences import Answers, resample
from cascade.evaluation.leaderboard_page import render_leaderboard
from cascade.evaluation.leaderboard_tables import (
    format_leaderboard,
    leaderboard_table,
    write_leaderboard,
)
from cascade.evaluation.significance import Difference, Figure

ROWS = RowsKey("test", 40, "annotation", "annotation-words", "a" * 64)
STUDIES = [f"s{row}" for row in range(40)]
REFERENCES = ["normal" if row % 2 else "opacity" for row in range(40)]


def written(right):
    """Drafts of which the first ``right`` are the reference."""
    return [text if row < right else "mass" for row, text in enumerate(REFERENCES)]


def entry(name, exact, *, seed=1, width=8, right=None, trivial=0.2, holds=None, **changes):
    """A run whose exact share is given; with ``right`` its predictions give that figure."""
    answers = None
    if right is not None:
        answers = Answers(STUDIES, None, REFERENCES, written(right))
        assert exact == right / 40
    tests = {}
    if holds is not None:
        low, high = (0.01, 0.5) if holds else (-0.1, 0.5)
        tests["exact"] = Difference("exact", "commonest", "round 1", exact - trivial, low, high)
    made = Entry(
        name,
        settings={"encoder.width": width, "lr": 0.1},
        seed=seed,
        system="round 1",
        figures={"exact": Figure(exact, exact - 0.1, exact + 0.1), "macro_auroc": Figure(exact)},
        trivial={"commonest": {"exact": Figure(trivial)}, "prevalence": {"exact": Figure(0.0)}},
        tests=tests,
        rows=ROWS,
        labels="one",
        cost={"parameters": 1000.0 * width, "training_seconds": 10.0 + width, "bundle_mb": 2.0},
        curves=[Curve(1, "classifier", "val/auroc", (1, 2), (0.5, exact))],
        answers=lambda: answers,
    )
    return dataclasses.replace(made, **changes)


def ranked(board, group=0):
    return [(c.rank, c.label, c.seeds) for c in board.groups[group].configurations]


# --- pooling and ranks


def test_runs_that_differ_by_seed_are_one_row_with_the_mean_and_its_interval():
    entries = [
        entry("a", 0.5, seed=1),
        entry("b", 0.6, seed=2),
        entry("c", 0.7, seed=3),
        entry("d", 0.9, width=24),
    ]
    board = build_leaderboard(entries, "exact")
    assert board.differing == ["encoder.width"]
    assert ranked(board) == [(1, "encoder.width=24", 1), (2, "encoder.width=8", 3)]
    one, three = board.groups[0].configurations
    score = three.score("exact")
    assert score.value == pytest.approx(0.6)
    # Student's t of two degrees of freedom: 4.3027 * 0.1 / sqrt(3)
    assert (score.low, score.high) == pytest.approx((0.6 - 0.24841, 0.6 + 0.24841), abs=1e-4)
    assert three.deviation["exact"] == pytest.approx(0.1)
    assert one.score("exact") == Figure(0.9, 0.8, 1.0), "of one seed: the bootstrap's"
    assert math.isnan(one.deviation["exact"])
    assert three.cost["training_seconds"] == 18


def test_the_same_seed_twice_counts_once_and_is_said():
    board = build_leaderboard([entry("a", 0.5), entry("b", 0.9)], "exact")
    assert ranked(board) == [(1, "a", 1)]
    assert board.notes == ["b has the settings and the seed of a, which alone counts."]


def test_less_is_better_where_it_is():
    entries = [
        entry("a", 0.5, figures={"macro_brier": Figure(0.3)}),
        entry("b", 0.5, width=24, figures={"macro_brier": Figure(0.1)}),
    ]
    entries[0].trivial = entries[1].trivial = {
        "one": {"macro_brier": Figure(0.2)},
        "two": {"macro_brier": Figure(0.4)},
    }
    board = build_leaderboard(entries, "brier")
    assert [label for _, label, _ in ranked(board)] == ["encoder.width=24", "encoder.width=8"]
    group = board.groups[0]
    assert group.trivial["macro_brier"] == ("one", 0.2)
    assert [beats_trivial(group, c) for c in group.configurations] == [True, False]


def test_equal_scores_share_a_rank_and_what_lacks_the_figure_comes_last():
    entries = [entry("a", 0.5), entry("b", 0.5, width=16), entry("c", 0.4, width=24)]
    entries.append(entry("d", 0.9, width=32, figures={"bleu4": Figure(0.1)}))
    assert [rank for rank, *_ in ranked(build_leaderboard(entries, "exact"))] == [1, 1, 3, None]


def test_a_metric_is_found_as_people_write_it():
    known = ["exact", "macro_auroc", "bleu4", "macro_f1_abnormal", "length_ratio"]
    names = {"auroc": "macro_auroc", "BLEU-4": "bleu4", "f1_abnormal": "macro_f1_abnormal"}
    assert {name: find_metric(name, known) for name in names} == names
    with pytest.raises(InputError, match="metric=rouge: no run has it; there are exact"):
        find_metric("rouge", known)
    with pytest.raises(InputError, match="neither more nor less of it is better"):
        find_metric("length_ratio", known)


def test_without_a_metric_the_abnormal_decide():
    figures = {"exact": Figure(0.9), "macro_f1_abnormal": Figure(0.1), "macro_auroc": Figure(0.5)}
    assert build_leaderboard([entry("a", 0, figures=figures)]).groups[0].metric == (
        "macro_f1_abnormal"
    )
    rows = dataclasses.replace(ROWS, kind="report")
    figures = {"bleu4": Figure(0.1), "clin_macro_f1_abnormal": Figure(0.2)}
    new = entry("new", 0, rows=rows, figures=figures)
    old = entry("old", 0, rows=rows, figures={"bleu4": Figure(0.3)}, width=24)
    assert build_leaderboard([new]).groups[0].metric == "clin_macro_f1_abnormal"
    assert build_leaderboard([new, old]).groups[0].metric == "bleu4", "the first that both have"


# --- rows


@pytest.mark.parametrize(
    "other",
    [{"split": "val"}, {"studies": 39}, {"kind": "report"}, {"tokenizer": "x"}, {"sha256": "b"}],
    ids=str,
)
def test_other_rows_are_another_table(other):
    strange = entry("c", 0.9, rows=dataclasses.replace(ROWS, **other))
    entries = [entry("a", 0.5), entry("b", 0.6, width=24), strange]
    board = build_leaderboard(entries, "exact")
    assert [len(group.configurations) for group in board.groups] == [2, 1]
    assert [rank for rank, *_ in ranked(board, 1)] == [1]
    assert "2 tables: the runs were scored on different rows" in format_leaderboard(board)
    with pytest.raises(InputError, match="scored on different rows, not to be ranked: 40 studies"):
        build_leaderboard(entries, "exact", strict=True)


def test_rows_that_cannot_be_told_are_nobody_elses():
    unknown = [
        entry(name, 0.5, rows=dataclasses.replace(ROWS, sha256=f"unknown: {name}"))
        for name in ("a", "b")
    ]
    board = build_leaderboard(unknown, "exact")
    assert len(board.groups) == 2
    assert "cannot be told" in board.groups[0].notes[0]


def test_other_labels_part_detection_and_not_text():
    entries = [entry("a", 0.5), entry("b", 0.6, width=24, labels="two")]
    assert len(build_leaderboard(entries, "auroc").groups) == 2
    board = build_leaderboard(entries, "exact")
    assert len(board.groups) == 1
    assert not board.groups[0].same_labels
    assert "different labels" in " ".join(board.groups[0].notes)


# --- differences


def test_a_paired_difference_holds_where_its_interval_leaves_out_zero():
    entries = [
        entry("a", 1.0, right=40),
        entry("b", 0.975, right=39, width=16),
        entry("c", 0.25, right=10, width=24),
    ]
    board = build_leaderboard(entries, "exact", resamples=300)
    first, near, far = (c.first for c in board.groups[0].configurations)
    assert first is None
    assert near.paired
    assert not near.holds
    assert near.value == pytest.approx(-0.025)
    assert near.rows[1] == 0
    assert far.holds
    assert far.rows[0] < -0.75 < far.rows[1] < 0
    assert far.basis == "paired rows, one seed"
    assert "each study as its own patient" in board.groups[0].notes[0]


def test_with_several_seeds_a_difference_must_hold_over_these_too():
    entries = [entry(f"a{seed}", r / 40, seed=seed, right=r) for seed, r in ((1, 40), (2, 30))]
    entries += [
        entry(f"b{seed}", r / 40, seed=seed, right=r, width=24) for seed, r in ((1, 30), (2, 22))
    ]
    comparison = build_leaderboard(entries, "exact").groups[0].configurations[1].first
    assert comparison.rows[1] < 0, "with other patients it would stay"
    assert comparison.seeds[1] > 0, "with other trainings it might not"
    assert not comparison.holds
    assert comparison.basis == "paired rows, and over seeds"


def test_patients_are_drawn_with_all_their_studies():
    patients = [f"p{row // 20}" for row in range(40)]
    two = [Answers(STUDIES, patients, REFERENCES, written(right)) for right in (40, 20)]
    reading = {
        name: ((lambda found=found: found), value)
        for name, found, value in (("a", two[0], 1.0), ("b", two[1], 0.5))
    }
    samples = resample(reading, "exact", "annotation", "annotation-words", 200, 0)
    assert not samples.notes
    assert set(samples.draws["b"].tolist()) == {0.0, 0.5, 1.0}, "of two patients, one all wrong"


def test_rows_in_another_order_are_put_in_order():
    order = np.random.default_rng(0).permutation(40)
    shuffled = Answers(
        [STUDIES[i] for i in order],
        None,
        [REFERENCES[i] for i in order],
        [written(10)[i] for i in order],
    )
    reading = {
        "a": (lambda: Answers(STUDIES, None, REFERENCES, written(10)), 0.25),
        "b": (lambda: shuffled, 0.25),
    }
    draws = resample(reading, "exact", "annotation", "annotation-words", 50, 0).draws
    assert draws["a"].tolist() == draws["b"].tolist()


def test_detection_is_paired_where_the_truth_is_known():
    truth = pd.DataFrame({"opacity": [1.0, 0.0] * 20})
    good = pd.DataFrame({"opacity": [0.9, 0.1] * 20})
    bad = pd.DataFrame({"opacity": [0.5, 0.5] * 20})
    entries = []
    for name, scores, value in (("a", good, 1.0), ("b", bad, 0.5)):
        answers = Answers(STUDIES, None, None, None, truth, scores)
        entries.append(entry(name, value, width=len(entries), answers=lambda a=answers: a))
    comparison = build_leaderboard(entries, "auroc").groups[0].configurations[1].first
    assert comparison.paired
    assert comparison.rows == (-0.5, -0.5)
    assert comparison.holds


def test_predictions_that_do_not_give_the_stated_figure_are_not_paired():
    answers = Answers(STUDIES, None, REFERENCES, written(20))
    entries = [
        entry("a", 0.9, right=36),
        entry("b", 0.4, width=24, answers=lambda: answers),
    ]
    group = build_leaderboard(entries, "exact").groups[0]
    comparison = group.configurations[1].first
    assert not comparison.paired
    assert comparison.holds, "0.3 to 0.5 lies apart from 0.8 to 1.0"
    assert comparison.basis == "not paired: intervals apart"
    assert "the predictions of b do not give the figure" in " ".join(group.notes)


def test_without_predictions_seeds_are_compared():
    entries = [entry(f"a{s}", value, seed=s) for s, value in enumerate((0.80, 0.82, 0.84))]
    entries += [entry(f"b{s}", v, seed=s, width=24) for s, v in enumerate((0.30, 0.32, 0.34))]
    comparison = build_leaderboard(entries, "exact").groups[0].configurations[1].first
    assert (comparison.basis, comparison.holds) == ("not paired: over seeds", True)
    assert comparison.value == pytest.approx(-0.5)


def test_a_verdict_beside_trivial_needs_every_seed():
    def against(*holds):
        entries = [entry(f"a{s}", 0.5, seed=s, holds=held) for s, held in enumerate(holds)]
        c = build_leaderboard(entries, "exact").groups[0].configurations[0]
        return c.against_trivial, c.tested

    assert against(True) == ("better", "")
    assert against(True, True) == ("better", "in each of 2 seeds")
    assert against(True, False) == ("unclear", "1 better, 0 worse of 2 seeds")
    assert against(True, None) == ("", "not tested")


# --- as files


@pytest.fixture(scope="module")
def board():
    entries = [
        entry("s/0", 0.75, right=30, seed=1, width=8, holds=True, page="/x/s/0/evaluation/i.html"),
        entry("s/1", 0.8, right=32, seed=2, width=8, holds=True),
        entry("s/2", 0.1, right=4, seed=1, width=24, holds=False),
        entry("s/3", 0.1, right=4, seed=2, width=24, holds=False),
        entry("other <b>", 0.5, rows=dataclasses.replace(ROWS, split="val")),
        Entry("job 5", "failed", "out of <memory>", overrides=["encoder.width=9999"]),
    ]
    return build_leaderboard(entries, "exact", resamples=100)


def test_the_csv_has_a_row_a_configuration_the_trivial_and_the_failed(board):
    text = leaderboard_table(board).to_csv(index=False)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(r["table"], r["rank"], r["status"]) for r in rows] == [
        ("1", "1", "done"),
        ("1", "2", "done"),
        ("1", "", "trivial"),
        ("2", "1", "done"),
        ("2", "", "trivial"),
        ("", "", "failed"),
    ]
    assert rows[0]["encoder.width"] == "8"
    assert rows[0]["runs"] == "s/0; s/1"
    assert float(rows[0]["exact"]) == pytest.approx(0.775)
    assert rows[0]["against_trivial"] == "better"
    assert rows[1]["to_first_holds"] == "True"
    assert float(rows[1]["to_first"]) == pytest.approx(-0.675)
    assert float(rows[2]["exact"]) == 0.2
    assert rows[5]["reason"] == "out of <memory>"


def test_the_terminal_shows_the_trivial_system_at_its_place(board):
    text = format_leaderboard(board, 120)
    assert max(map(len, text.splitlines())) <= 120
    names = ("encoder.width=8", "best trivial: commonest", "encoder.width=24")
    lines = [line for line in text.splitlines() if line.startswith("│")]
    lines = [line for line in lines if any(name in line for name in names)]
    assert all(name in line for name, line in zip(names, lines, strict=False))
    assert "0.775" in lines[0]
    assert "worse" in lines[2]
    assert "out of <memory>" in text
    assert "(encoder.width=9999)" in text


@pytest.fixture(scope="module")
def html(board, tmp_path_factory):
    return render_leaderboard(board, tmp_path_factory.mktemp("out"))


def test_the_notice_stands_before_any_figure_and_nothing_is_fetched(html):
    assert html.index(cascade.RESEARCH_NOTICE) < html.index("<table")
    assert "default-src 'none'" in html
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", html)
    assert not re.search(r"@import|url\(", html)


def test_the_page_says_what_holds_and_what_was_left_out(html):
    assert "2 tables: the runs were scored on different rows" in html
    assert "First by Exact: encoder.width=8, 0.775." in html
    assert "It stands above the best trivial system, commonest (0.200), and the difference" in html
    assert "out of &lt;memory&gt;" in html
    assert "other &lt;b&gt;" in html
    assert "<b>”" not in html
    for title in ("score by encoder.width", "val/auroc of the classifier", "score against"):
        assert title in html


def test_nothing_wins_against_nothing(tmp_path):
    board = build_leaderboard([entry("a", 0.1), entry("b", 0.15, width=24)], "exact")
    html = render_leaderboard(board, tmp_path)
    assert "No configuration is above the best trivial system, commonest (0.200)" in html
    assert html.index("best trivial system of each figure") < html.index('class="leads"')


def test_a_board_of_nothing_is_a_page_too(tmp_path):
    board = build_leaderboard([Entry("a", "unfinished", "nothing in it")])
    table, page = write_leaderboard(board, tmp_path / "out")
    assert "No run has been evaluated yet." in page.read_text()
    assert "nothing in it" in table.read_text()
    assert "nothing in it" in format_leaderboard(board)


# --- charts


def test_axes_are_logarithmic_where_values_lie_far_apart():
    axis = Axis([0.001, 0.1], 0, 100, log=True)
    assert axis.log
    assert axis(0.01) == pytest.approx(50)
    assert axis.ticks == pytest.approx([0.001, 0.01, 0.1])
    assert not Axis([0.0, 0.1], 0, 100, log=True).log
    assert not Axis([1, 10], 0, 100, log=True).log
    assert Axis([3.0, 3.0], 0, 100)(3.0) == pytest.approx(50, abs=20)
    assert len(Axis([2e6, 9e7], 0, 100, log=True).ticks) > 1


def test_the_front_is_what_none_beats_in_both():
    assert front([(1, 0.5), (2, 0.4), (3, 0.9), (3, 0.8)], 1) == [0, 2]
    assert front([(1, 0.5), (2, 0.4), (3, 0.9)], -1) == [0, 1]


def test_charts_escape_and_take_words_and_single_points():
    mark = Mark("<i>", "c0", Figure(0.5))
    svg = setting_plot("<key>", [("a<b", mark), ("other", mark), ("other", mark)], 0.2)
    assert "<b" not in svg.replace("<best", "")
    assert "&lt;key&gt;" in svg
    assert svg.count("<circle") == 3
    assert "<circle" in curve_plot("t", [("c0", "one epoch", [1], [0.5])])
    assert "nan" not in pareto_plot("s", [(1.0, 1, mark), (100.0, 2, mark)], 1, None)


# --- in a browser


def test_a_browser_shows_it_without_an_error(look_at, board, tmp_path):
    page = write_leaderboard(board, tmp_path / "out")[-1]
    probe = """
      var box = document.getElementById("notice").getBoundingClientRect();
      seen.notice = box.height > 10 && box.top < innerHeight;
      seen.wide = document.documentElement.scrollWidth <= innerWidth;
      var table = document.getElementById("table-1-rows"), body = table.tBodies[0];
      var first = function () { return body.rows[0].cells[1].textContent.trim(); };
      seen.leads = first();
      var width = table.querySelectorAll("th button")[1];
      width.click(); width.click();
      seen.widest = first();
      seen.last = body.rows[body.rows.length - 1].cells[1].textContent;
      table.querySelectorAll("th button")[3].click(); seen.sorted = first();
      var input = document.querySelector("input[data-filter=table-1-rows]");
      input.value = "1, 2"; input.dispatchEvent(new Event("input"));
      seen.both = Array.from(body.rows).filter(function (r) { return !r.hidden; }).length;
      input.value = "0.775"; input.dispatchEvent(new Event("input"));
      seen.left = Array.from(body.rows).filter(function (r) { return !r.hidden; }).length;
      seen.charts = Array.from(document.querySelectorAll("svg.chart")).every(
        function (s) { return s.getBoundingClientRect().height > 20; });
    """
    assert look_at(page.read_text(), probe) == {
        "notice": True,
        "wide": True,
        "leads": "8",
        "widest": "24",
        "last": "best trivial system of each figure",
        "sorted": "8",
        "both": 3,
        "left": 2,
        "charts": True,
    }
