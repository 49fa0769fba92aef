"""Clinical figures of an evaluation: directions, tables, page; and what a fixed report earns."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from cascade.evaluation import tables
from cascade.evaluation.page import render_page
from cascade.evaluation.predictions import evaluate_predictions
from cascade.evaluation.scoring import evaluate
from cascade.evaluation.significance import Difference
from cascade.evaluation.statistics import METRICS, TextScores, sign, verdict
from cascade.evaluation.systems import Rows, System
from cascade.io.openi import read_openi
from cascade.metrics.clinical import clinical_figures, count_labels

REFERENCES = [
    "Heart size is normal. No effusion.",
    "Cardiomegaly. Left pleural effusion.",
    "No effusion. Right lower lobe pneumonia.",
    "Normal heart size. Lungs are clear.",
] * 6
WRONG = [
    "Cardiomegaly. Right effusion.",
    "Heart size is normal. Right pleural effusion.",
    "Large effusion.",
    "Cardiomegaly.",
] * 6


@pytest.fixture(scope="module")
def found():
    ids = [str(number) for number in range(len(REFERENCES))]
    systems = [System("worse", WRONG), System("better", REFERENCES)]
    return evaluate(Rows(ids, ids, REFERENCES), systems, kind="report", resamples=50)


def test_figures_are_those_of_the_metrics(found):
    counts = count_labels(WRONG, REFERENCES)
    values = clinical_figures(counts, np.ones((1, len(WRONG))))
    for name in (m for m in METRICS if m.startswith(("clin", "contra", "side"))):
        assert found.figure("worse", name).value == pytest.approx(values[name][0]), name
    assert found.figure("worse", "contradiction").value == 1
    assert found.figure("worse", "side_errors").value == 1
    assert found.figure("better", "clin_macro_f1_abnormal").value == 1
    f1 = found.figure("worse", "clin_micro_f1_abnormal")
    assert f1.low <= f1.value <= f1.high
    assert f1.low < f1.high


def test_every_trivial_system_has_them(found):
    for system in found.systems:
        assert not math.isnan(found.figure(system.name, "clin_micro_f1").value), system.name
        assert not math.isnan(found.figure(system.name, "contradiction").value), system.name


def test_fewer_contradictions_are_better(found):
    assert {sign(metric) for metric in METRICS if "↓" in METRICS[metric]} == {-1}
    assert {sign(metric) for metric in METRICS if "↓" not in METRICS[metric]} == {1}
    rounds = {d.metric: d for d in found.differences if (d.first, d.second) == ("worse", "better")}
    assert rounds["contradiction"].value == -1
    assert verdict(rounds["contradiction"]) == "better"
    assert verdict(rounds["side_errors"]) == "better"
    assert verdict(rounds["bleu1"]) == "better"
    assert found.best("contradiction") == 0
    assert found.best("bleu1") == 1
    assert math.isnan(found.best("macro_auroc"))


def test_the_trivial_rival_is_the_one_of_fewest_contradictions(found):
    trivial = [s.name for s in found.systems if s.trivial]
    fewest = min(found.figure(name, "contradiction").value for name in trivial)
    most = max(found.figure(name, "contradiction").value for name in trivial)
    rival = [d for d in found.differences if d.metric == "contradiction" and d.first in trivial]
    assert fewest < most
    assert found.figure(rival[0].first, "contradiction").value == fewest


@pytest.mark.parametrize(
    ("metric", "value", "told"),
    [("bleu4", 0.2, "better"), ("contradiction", 0.2, "worse"), ("side_errors", -0.2, "better")],
)
def test_verdict(metric, value, told):
    assert verdict(Difference(metric, "a", "b", value, value - 0.1, value + 0.1)) == told
    assert verdict(Difference(metric, "a", "b", value, -1, 1)) == "unclear"
    assert verdict(Difference(metric, "a", "b", value, math.nan, math.nan)) == ""


def test_files(found, tmp_path):
    written = tables.write_evaluation(found, tmp_path)
    table = pd.read_csv(next(path for path in written if path.name == "clinical.csv"))
    row = table.set_index(["system", "label"]).loc[("worse", "Effusion")]
    assert row[["support", "written", "hits"]].tolist() == [6, 18, 6]
    assert row[["precision", "recall", "f1"]].tolist() == pytest.approx([1 / 3, 1, 1 / 2], abs=1e-5)
    assert row["f1_low"] <= row["f1"] <= row["f1_high"]
    assert row["false_findings"] == 12
    differences = pd.read_csv(tmp_path / "differences_table.csv")
    own = differences[(differences["first"] == "worse") & (differences["second"] == "better")]
    assert own.set_index("metric").loc["contradiction", "verdict"] == "better"
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    worse = next(system for system in metrics["systems"] if system["name"] == "worse")
    assert worse["figures"]["contradiction"]["value"] == 1
    assert not any(":" in name for name in worse["figures"])
    assert len(metrics["clinical"]) == 15 * len(metrics["systems"])
    assert any("both put on a side: worse 6, better 12" in note for note in metrics["notes"])


def test_the_page_and_the_terminal_say_which_way_is_better(found):
    page = render_page(found)
    assert "Contradiction ↓" in page
    assert "left for right" in page
    text = tables.format_tables(found, width=130)
    assert "What the reports say" in text
    assert "lower is better" in text
    line = next(line for line in text.splitlines() if re.match(r"│ Contradiction ↓ +│ worse", line))
    assert "-1.000" in line
    assert "worse" not in line.rsplit("│", 2)[1]


def test_annotations_keep_their_disease_figures(evaluation, tmp_path):
    assert evaluation.clinical.empty
    assert math.isnan(evaluation.figure("round 2", "clin_micro_f1").value)
    assert math.isnan(evaluation.figure("round 2", "contradiction").value)
    assert "What the reports say" not in tables.format_tables(evaluation)
    names = [path.name for path in tables.write_evaluation(evaluation, tmp_path)]
    assert "clinical.csv" not in names
    assert not any("put on a side" in note for note in evaluation.notes)


def test_what_needs_a_hub_is_named(found, evaluation):
    told = str(found.meta["not_run"])
    assert "CheXbert F1" in told
    assert "RadGraph F1" in told
    assert "downloads nothing" in told
    assert "CheXbert" not in str(evaluation.meta["not_run"])


def test_strata_weigh_clinical_figures():
    text = TextScores(WRONG, REFERENCES, "report-words", "report")
    assert text.clinical is not None
    weights = text.clinical.abnormal_rows[None, :].astype(float)
    assert text.figures(weights)["contradiction"].tolist() == [1.0]


FIXED = (
    "The heart is normal in size. The mediastinum is unremarkable. The lungs are clear. There is "
    "no pleural effusion or pneumothorax."
)


@pytest.mark.realdata
def test_a_fixed_report_reads_well_and_finds_nothing(real_data):
    """On the 590 test studies of the field's split of Indiana University reports (findings)."""
    ids = json.loads((real_data / "openi" / "r2gen_split.json").read_text())["test"]
    studies = read_openi(real_data / "openi").studies
    number = studies["study_id"].str.replace(r"\D", "", regex=True)
    findings = dict(zip(number, studies["findings"], strict=True))
    patients = [re.match(r"CXR(\d+)_", study)[1] for study in ids]
    references = [findings[patient] for patient in patients]
    table = pd.DataFrame({"study_id": ids, "patient_id": patients, "reference": references})
    fixed = evaluate_predictions(table.assign(hypothesis=FIXED), resamples=100, name="fixed")
    shifted = [*references[1:], references[0]]
    other = evaluate_predictions(table.assign(hypothesis=shifted), resamples=100, name="other")

    def value(evaluation, metric):
        return evaluation.figure(evaluation.main.name, metric).value

    assert value(fixed, "bleu4") == pytest.approx(0.123, abs=0.01)
    assert value(fixed, "bleu4") > 1.3 * value(other, "bleu4")
    # by the words it is the better reader; a micro score that counts normal agrees
    assert value(fixed, "clin_micro_f1") == pytest.approx(0.63, abs=0.03)
    assert value(fixed, "clin_micro_f1") > value(other, "clin_micro_f1") + 0.1
    # and it finds nothing at all
    assert value(fixed, "clin_macro_f1") < 0.07
    for metric in ("clin_micro_f1_abnormal", "clin_macro_f1_abnormal", "clin5_micro_f1"):
        assert value(fixed, metric) == 0
        assert 0 < value(other, metric) < 0.05
    assert 0.05 < value(fixed, "contradiction") < 0.10
    assert value(fixed, "contradiction") < value(other, "contradiction") < 0.16
    support = fixed.clinical[fixed.clinical["system"] == "fixed"].set_index("label")["support"]
    assert support["normal"] == pytest.approx(328, abs=15)
    assert support.drop("normal").sum() == pytest.approx(117, abs=15)
