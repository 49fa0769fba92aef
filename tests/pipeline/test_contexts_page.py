import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cascade.data.datasets import StudyRecords
from cascade.labels.table import Label, LabelTable
from cascade.pipeline.contexts_page import write_contexts
from cascade.relabel.composite import Refined
from cascade.relabel.splits import Split
from cascade.relabel.stability import Stability

TEXTS = ["nodule/<left>", "nodule/right", "nodule/right", "nodule/<left>"]
OPTIONS = {
    "rule": "count",
    "min_cases": 3,
    "cases_per_cluster": 2,
    "min_cluster": 1,
    "most_clusters": 8,
    "references": 20,
    "repeats": 5,
    "keep_whole": True,
    "shuffle": False,
}


def write(folder, stable=0.9, show_ids=False, **changes):
    """Four studies with a nodule, the last of validation, and one disease that stays whole."""
    nodule = Split(
        "nodule",
        np.arange(4),
        TEXTS,
        np.array([True, True, True, False]),
        2,
        np.array([1, 0, 0, 1]),
        np.zeros(4),
        2,
        stability=Stability(0.95, stable),
    )
    edema = Split.whole("edema", np.array([0]), ["edema"], np.array([True]))
    values = pd.DataFrame({"nodule": [1.0] * 4}, index=list("abcd"), dtype=np.float32)
    table = LabelTable(values, [Label("nodule", "nodule")], False, {"name": "contexts"})
    train = StudyRecords(
        ["secret-a", "secret-b", "secret-c"], ["p"] * 3, TEXTS[:3], [[0], [1], [2]]
    )
    cache = SimpleNamespace(pixels=np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8))
    settings = {
        "relabel": {**OPTIONS, **changes},
        "evaluate": {"show_ids": show_ids},
        "seed": 3,
    }
    write_contexts(Refined(table, [nodule, edema]), train, cache, settings, folder)
    return (folder / "contexts.html").read_text(encoding="utf-8")


def test_the_page_shows_each_context_with_training_pictures(tmp_path):
    html = write(tmp_path)
    assert html.count("<article") == 2
    assert html.count("data:image/") == 3  # two different texts, one of them twice; none of val
    assert "nodule#1 <small>· 2 training, 0 validation" in html
    assert "nodule#2 <small>· 1 training, 1 validation" in html
    assert "nodule/&lt;left&gt;" in html  # text is text
    assert "<left>" not in html
    assert "Research software, not a medical device" in html
    assert "http://" not in html
    assert "https://" not in html
    assert 'class="warning"' not in html
    assert ">stable<" in html


def test_study_ids_only_where_asked_for(tmp_path):
    assert "secret" not in write(tmp_path / "a")
    assert "secret" not in (tmp_path / "a" / "contexts.json").read_text()
    assert write(tmp_path / "b", show_ids=True).count("secret-") == 3


def test_an_unstable_split_and_a_control_are_said(tmp_path):
    html = write(tmp_path / "a", stable=0.3)
    assert "nodule: its 2 contexts are not stable" in html
    assert ">unstable<" in html
    assert "dealt to the contexts at random" in write(tmp_path / "b", shuffle=True)


@pytest.mark.parametrize("rule", ["count", "paper", "gap", "hdbscan"])
def test_the_rule_is_told_with_its_settings(tmp_path, rule):
    html = write(tmp_path, rule=rule)
    facts = html[html.index('class="facts"') :]
    assert f"<dd>{rule}: " in facts
    assert "{" not in facts
    if rule == "gap":
        assert "at most 8, 20 uniform draws" in facts


def test_the_file_beside_the_table(tmp_path):
    write(tmp_path)
    found = json.loads((tmp_path / "contexts.json").read_text())
    assert found["rule"] == {**OPTIONS, "seed": 3}
    assert [entry["disease"] for entry in found["diseases"]] == ["nodule", "edema"]
    assert found["diseases"][0]["stability"]["bootstrap"] == 0.9
    assert found["unstable_below"] == 0.65


@pytest.mark.parametrize("width", [500, 1200])
def test_a_browser_shows_it_without_an_error(look_at, tmp_path, width):
    html = write(tmp_path / "out")
    probe = """
      var box = document.getElementById("notice").getBoundingClientRect();
      seen.notice = box.height > 10 && box.top < innerHeight;
      seen.wide = document.documentElement.scrollWidth <= innerWidth;
      seen.pictures = Array.from(document.images).filter(
        function (i) { return i.naturalWidth > 0 && i.getBoundingClientRect().width > 60; }).length;
    """
    page = html.replace("style-src", "script-src 'unsafe-inline'; style-src", 1)
    assert look_at(page, probe, width) == {"notice": True, "wide": True, "pictures": 3}
