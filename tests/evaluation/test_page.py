"""The page: what it shows, what it keeps to itself, and that a browser takes it."""

import base64
import dataclasses
import io
import math
import re

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from PIL import Image

import cascade
from cascade.evaluation import charts, examples, page, page_detection, page_marks, page_scores
from cascade.evaluation.definitions import CHARTED, HEADLINE, MEANINGS
from cascade.evaluation.page_common import Look, difference_view
from cascade.evaluation.page_findings import clinical_section, confusion_table
from cascade.evaluation.scoring import METRICS, evaluate
from cascade.evaluation.significance import Difference, Figure
from cascade.evaluation.systems import Rows, System, Training
from cascade.evaluation.tables import write_evaluation


@pytest.fixture(scope="module")
def html(evaluation):
    return page.render_page(evaluation)


REFERENCES = [
    "Left pleural effusion. The heart is enlarged.",
    "No pleural effusion. The lungs are clear.",
    "No pneumothorax.",
    "Large <right> pneumothorax. No edema.",
]
WRITTEN = [
    "Right pleural effusion. Cardiomegaly.",  # the other side
    "Small pleural effusion.",  # contradicts
    "No pneumothorax.",
    "Nodule in the right lung.",  # misses one, adds one
]


@pytest.fixture(scope="module")
def report():
    """Free text, four studies: an agreement, a contradiction, a side error, a finding missed."""
    rows = Rows([*"abcd"], [*"abcd"], REFERENCES)
    return evaluate(rows, [System("draft", WRITTEN)], kind="report", resamples=20)


@pytest.fixture(scope="module")
def detection():
    """One label of three, decided at 0.5 by validation: 3 hits, 1 missed, 1 false alarm, 5 right.

    ``normal`` is its opposite, ``rare`` has no positive among the validation studies.
    """
    present = [1.0] * 4 + [0.0] * 6
    scores = [0.9, 0.8, 0.7, 0.2, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1]

    def table(column, rare):
        values = {"normal": [1 - x for x in column], "opacity": column, "rare": rare}
        return pd.DataFrame(values)

    asked = []

    def saliency(row, label):
        asked.append((row, label))
        return None if row == 9 else np.zeros((8, 8)) if row == 8 else np.eye(8)

    ids = [f"s{number}" for number in range(10)]
    rows = Rows(
        ids,
        ids,
        [""] * 10,
        table(present, [1.0] + [0.0] * 9),
        image=lambda row: np.full((16, 8), 0.5),
        saliency=saliency,
    )
    val = table([1.0, 1.0, 0.0, 0.0], [0.0] * 4)
    system = System(
        "model",
        probabilities=table(scores, [0.3] * 10),
        val_probabilities=table([0.7, 0.5, 0.3, 0.1], [0.3] * 4),
    )
    training = Training(["x"] * 4, labels=val, val_labels=val)
    return evaluate(rows, [system], training, resamples=20), asked


def test_the_notice_stands_before_any_figure(html):
    assert html.index(cascade.RESEARCH_NOTICE) < html.index("<table")
    assert "unverified" in cascade.RESEARCH_NOTICE


def test_nothing_is_fetched(html):
    assert "default-src 'none'" in html
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", html)
    assert not re.search(r"@import|url\(", html)


def test_the_page_names_how_it_was_done(html):
    for text in ("annotation-words", "0123abc", "Seed", "Mean n-gram precision", "Corpus BLEU"):
        assert text in html
    assert "of best mean BLEU-1..4 on validation" in html
    assert "METEOR: left out (evaluate.meteor=never)" in html
    assert "CIDEr: annotation-words; " in html
    assert "hernia" in html  # the label without a positive is named


def test_ids_are_shown_only_when_asked_for(evaluation, html):
    assert "secret-" not in html
    assert "patient-" not in html
    assert re.search(r"row \d+", html)
    assert "secret-" in page.render_page(evaluation, show_ids=True)


def test_notes_and_texts_are_escaped(evaluation):
    rows = Rows(["1", "2"], ["1", "2"], ["<script>alert(1)</script>", "b & c"], split="<b>")
    system = System("a<i>", ["<img src=x>", ""], note="x<y")
    html = page.render_page(evaluate(rows, [system], kind="report", resamples=10))
    for raw in ("<script>alert", "<img src=x>", "a<i>", "x<y", "<b>”"):
        assert raw not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "(wrote nothing)" in html


def test_labels_are_escaped_in_attributes_and_charts():
    nasty = """a"><img src=x onerror='1'>"""
    truth = pd.DataFrame({nasty: [1.0, 0.0], "b": [0.0, 1.0]})
    rows = Rows(["1", "2"], ["1", "2"], [f"{nasty}/left", "b"], truth)
    html = page.render_page(evaluate(rows, [System("s", [nasty, "b"], truth)], resamples=0))
    assert "<img src=x" not in html
    assert "onerror='1'" not in html


def test_pictures_are_small_and_true():
    assert examples.picture(None) is None
    pixels = np.linspace(0, 1, 400 * 200, dtype=np.float32).reshape(400, 200)
    head, _, body = examples.picture(pixels).partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(body))) as image:
        assert image.size == (96, 192)
        assert image.mode == "L"
        assert image.getpixel((0, 0)) < 5
        assert image.getpixel((95, 191)) > 250
    assert examples.picture(np.full((2, 2), np.nan)) is not None


def test_terms_beside_the_reference():
    marked = page_marks.mark_terms(
        "opacity/lung/base/right; cardiomegaly/mild; nodule",
        "opacity/lung/base/left; cardiomegaly/mild; scoliosis",
    )
    assert [(piece.text, piece.verdict) for piece in marked] == [
        ("opacity/lung/base/right", "side"),
        ("cardiomegaly/mild", "agree"),
        ("nodule", "contradict"),
        ("scoliosis", "missed"),
    ]
    assert marked[0].why == "reference: opacity/lung/base/left"
    assert [piece.verdict for piece in page_marks.mark_terms("", "normal")] == ["missed"]
    both = page_marks.mark_terms("opacity/bilateral", "opacity/left")
    assert [piece.verdict for piece in both] == ["partly"]


def marked(text, other, **options):
    pieces = page_marks.mark_report(text, other, **options)
    assert "".join(piece.text for piece in pieces) == text
    return [(piece.text, piece.verdict) for piece in pieces if piece.verdict]


def test_findings_of_free_text_beside_the_reference():
    assert marked(WRITTEN[0], REFERENCES[0]) == [
        ("pleural effusion", "side"),
        ("Cardiomegaly", "agree"),
    ]
    assert marked(WRITTEN[1], REFERENCES[1]) == [("pleural effusion", "contradict")]
    assert marked(WRITTEN[2], REFERENCES[2]) == [("pneumothorax", "agree")]
    assert marked(WRITTEN[3], REFERENCES[3]) == [("Nodule", "alone")]
    # Seen from the reference: what it asserts alone is missed, what it denies alone is left.
    assert marked(REFERENCES[3], WRITTEN[3], missing="missed") == [("pneumothorax", "missed")]
    assert marked("Possible nodule.", "No nodule.") == [("nodule", "partly")]
    assert marked("", "No nodule.") == []


def test_why_a_finding_is_marked_is_told():
    why = {p.text: p.why for p in page_marks.mark_report(WRITTEN[0], REFERENCES[0])}
    assert why["pleural effusion"] == "effusion: right; the reference: left"
    assert page_marks.mark_report("No mass.", "Mass.")[1].why == (
        "mass: denied; the reference: asserted"
    )


def test_examples_are_best_worst_and_random(evaluation):
    chosen = examples.choose_rows(evaluation)
    rows = {kind: [c.row for c in chosen if c.kind == kind] for kind in ("best", "worst", "random")}
    assert {kind: len(found) for kind, found in rows.items()} == {
        "best": 4,  # no fifth reference
        "worst": 4,
        "random": 8,
    }
    assert len({c.row for c in chosen}) == 16
    said, meant = evaluation.main.hypotheses, evaluation.rows.references
    assert all(said[row] == meant[row] for row in rows["best"])
    assert all(said[row] != meant[row] for row in rows["worst"][:1])
    assert len({meant[row] for row in rows["best"]}) == 4
    assert all(c.score == 1 for c in chosen if c.kind == "best")


def test_examples_are_found_by_labels_of_either_text(evaluation, report, detection):
    assert examples.labels_of(report, 0) == ["Cardiomegaly", "Effusion"]
    assert examples.labels_of(report, 3) == ["Nodule", "Pneumothorax"]
    row = evaluation.rows.references.index("normal")
    assert "normal" in examples.labels_of(evaluation, row)
    assert examples.labels_of(detection[0], 0) == ["opacity", "rare"]


def test_example_probabilities_keep_what_is_true(evaluation):
    found = examples.label_probabilities(evaluation, 5)
    assert len(found) == 5
    assert {p["label"] for p in found if p["true"]} == {
        label for label in evaluation.rows.labels if evaluation.rows.truth.iloc[5][label] == 1
    }


def test_verdicts_follow_the_interval():
    def verdict(low, high):
        return difference_view(Difference("exact", "a", "b", (low + high) / 2, low, high))

    assert verdict(0.1, 0.2)["verdict"] == "better"
    assert verdict(-0.2, -0.1)["verdict"] == "worse"
    assert verdict(-0.1, 0.2)["verdict"] == "unclear"
    assert verdict(math.nan, math.nan)["verdict"] == ""
    assert verdict(-0.2, -0.1)["range"] == "−0.200 to −0.100"


def test_every_metric_has_words_and_every_panel_a_chart(html):
    assert {*HEADLINE, *CHARTED, *page_scores.STRATA_METRICS} <= METRICS.keys()
    assert {*HEADLINE, *CHARTED} <= MEANINGS.keys()
    assert html.count('class="chart"') == 6
    # five labels, one undefined; no validation answers, hence no decisions
    assert html.count('class="chart unit"') == 4 + 4 + 5


def test_decisions_and_operating_points(detection):
    found = page_detection.section(Look(detection[0]))
    decisions = {grid["name"]: grid for grid in found["panels"]}["Decisions"]
    cells = {
        one["label"]: [[cell["count"] for cell in row["cells"]] for row in one["rows"]]
        for one in decisions["figures"]
    }
    assert cells["opacity"] == [[3, 1], [1, 5]]
    assert "rare" not in cells  # validation has no positive one, hence no threshold
    rows = {
        (row["point"], row["label"], row["system"]["name"]): row
        for row in found["operating"]["rows"]
    }
    best = rows["best F1", "opacity", "model"]
    assert best["threshold"]["text"] == "0.500"
    assert best["validation"] == "2 pos."
    assert [cell["text"] for cell in best["cells"]] == ["0.75", "0.83", "0.75", "0.75"]
    assert rows["best F1", "rare", "model"]["reason"] == "validation has no positive"


def test_saliency_is_asked_for_the_likeliest_abnormal_label_of_the_examples(detection):
    evaluation, asked = detection
    asked.clear()
    html = page.render_page(evaluation)
    assert len(asked) == 10
    assert dict(asked)[0] == "opacity"  # 0.9, beside rare 0.3
    assert dict(asked)[5] == "rare"  # normal is likelier, and no finding
    assert html.count('<img class="heat"') == 8
    assert html.count("no place raises the score") == 1
    assert "no localisation of disease" in html


def test_the_page_names_what_made_the_map(detection):
    evaluation, _ = detection
    assert "(Grad-CAM, Selvaraju" in page.render_page(evaluation)
    rows = dataclasses.replace(evaluation.rows, saliency_pooling="lse")
    html = page.render_page(dataclasses.replace(evaluation, rows=rows))
    assert "its own map, pooling lse" in html
    assert "Grad-CAM" not in html


def test_without_a_model_nothing_is_said_of_saliency(html, report):
    for text in (html, page.render_page(report)):
        assert "Grad-CAM" not in text
        assert 'id="heat"' not in text


def test_an_overlay_is_the_more_opaque_the_higher():
    _, _, body = examples.overlay(np.tile(np.array([[0.0, 0.5, 1.0, np.nan]]), (4, 1))).partition(
        ","
    )
    with Image.open(io.BytesIO(base64.b64decode(body))) as image:
        pixels = np.asarray(image.convert("RGBA"))
    assert (pixels[..., :3] == examples.HEAT_COLOUR).all()
    alpha = pixels[0, :, 3].tolist()
    assert alpha[0] == alpha[3] == 0
    assert 80 < alpha[1] < 110
    assert alpha[2] == examples.MOST_OPAQUE


def test_confusion_by_hand():
    names = ["normal", "a", "b", "c"]
    reference = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0]])
    written = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1]])
    table = confusion_table(names, reference == 1, written == 1, most=3)
    assert table["columns"] == ["a", "normal", "b", "another", "nothing"]
    counts = {row["name"]: [cell["count"] for cell in row["cells"]] for row in table["rows"]}
    assert counts == {
        "a": [0, 1, 0, 1, 1],  # once normal instead, once c, once nothing
        "normal": [0, 2, 0, 0, 0],
        "b": [0, 0, 1, 0, 0],
        "nothing missed": [0, 0, 0, 1, 1],  # c once too much; one study right
    }
    assert [cell["hit"] for cell in table["rows"][0]["cells"]] == [True] + [False] * 4
    assert confusion_table(["a"], np.zeros((2, 1), bool), np.zeros((2, 1), bool)) is None


def test_what_a_report_says_is_counted(report):
    found = clinical_section(Look(report))
    rows = {row["name"]: [cell["sort"] for cell in row["cells"]] for row in found["rows"]}
    # support, written, hits, precision, recall, F1, trivial, false findings, false denials
    assert rows["Effusion"][:6] == [1, 2, 1, 0.5, 1.0, pytest.approx(2 / 3)]
    assert rows["Effusion"][7:] == [1, 0]
    assert rows["Pneumothorax"][:3] == [1, 0, 0]
    stands = found["stands"]["rows"][0]["cells"]
    assert stands[0]["sort"] == 0.25  # one study of four
    assert "1 of 1" in stands[2]["below"]  # side errors, with their pairs
    assert [cell["sort"] for cell in stands[3:]] == [1, 0]


def test_a_page_of_reports_shows_them(report):
    html = page.render_page(report)
    assert 'id="clinical"' in html
    assert '<mark class="said side" title="effusion: right; the reference: left">' in html
    assert 'id="diseases"' not in html
    assert "Large &lt;right&gt; " in html
    assert 'class="said missed"' in html


def test_strata_have_kinds_and_the_best_trivial_system(evaluation):
    found = page_scores.strata(Look(evaluation))
    assert list(found["kinds"]) == ["normal", "label", "findings", "length"]
    rows = {(row["kind"], row["name"]): row for row in found["rows"]}
    normal = evaluation.strata.set_index(["system", "stratum"]).loc[("round 2", "normal")]
    place = found["columns"].index("ROUGE-L")
    assert rows["normal", "normal"]["studies"] == normal["studies"]
    assert rows["normal", "normal"]["cells"][place]["sort"] == normal["rouge_l"]
    place = found["columns"].index("AUROC (macro)")
    whole = evaluation.figure("round 2", "macro_auroc").value
    assert rows["normal", "all"]["cells"][place]["sort"] == whole


def test_ticks_are_round_and_cover():
    for low, high in ((0, 0.003), (0, 1), (0.4, 0.93), (0, 0)):
        steps = charts.ticks(low, high)
        assert steps[0] <= low
        assert steps[-1] >= high
        assert len(steps) <= 7


def test_charts_take_what_is_missing():
    nothing = charts.Mark("a <b>", "c0", Figure(math.nan))
    assert "<circle" not in charts.dot_plot("t", [nothing])
    assert "a &lt;b&gt;" in charts.dot_plot("t", [charts.Mark("a <b>", "c0", Figure(0.5))])
    assert "<rect" not in charts.bar_chart("t", [("d", [nothing])])
    assert "<polyline" not in charts.unit_plot("t", [("c0", np.empty(0), np.empty(0))])
    assert "bar c0" not in charts.score_bars("t", [("d", Figure(math.nan), math.nan)])


def test_the_unit_square_has_its_corners():
    steps = np.array([0.0, 0.5, 1.0])
    ranges = np.array([[0.5, 0.25, 0.75], [1.0, math.nan, math.nan]])
    svg = charts.unit_plot("t", [("c0", steps, steps), ("ct", steps, steps)], ranges=ranges)
    assert svg.count('points="20.0,140.0 87.0,73.0 154.0,6.0"') == 2
    assert svg.count("range c0") == 1
    assert "<circle" not in svg
    dotted = charts.unit_plot("t", [("c0", steps, steps), ("ct", steps, steps)], dots=True)
    assert dotted.count("<circle") == 3  # the main system's alone


def test_a_large_evaluation_stays_small():
    generator = np.random.default_rng(0)
    count, labels = 1500, [f"label {number}" for number in range(20)]
    truth = pd.DataFrame(generator.integers(0, 2, (count, 20)).astype(float), columns=labels)
    ids = [str(number) for number in range(count)]
    rows = Rows(ids, ids, ["normal"] * count, truth, image=lambda row: generator.random((512, 512)))
    systems = [
        System(
            f"s{n}", ["normal"] * count, pd.DataFrame(generator.random((count, 20)), columns=labels)
        )
        for n in range(3)
    ]
    html = page.render_page(evaluate(rows, systems, resamples=0))
    assert len(html) < 3_000_000


def test_a_browser_shows_it_without_an_error(look_at, evaluation, tmp_path):
    path = next(p for p in write_evaluation(evaluation, tmp_path / "out") if p.suffix == ".html")
    probe = """
      var box = document.getElementById("notice").getBoundingClientRect();
      seen.notice = box.height > 10 && box.top < innerHeight;
      seen.wide = document.documentElement.scrollWidth <= innerWidth;
      var table = document.getElementById("label-table");
      table.querySelectorAll("th button")[1].click();
      seen.first = table.tBodies[0].rows[0].cells[0].textContent;
      table.querySelectorAll("th button")[1].click();
      seen.last = table.tBodies[0].rows[0].cells[0].textContent;
      set(document.querySelector("input[data-filter=label-table]"), "nod");
      seen.left = visible("#label-table tbody tr").length;
      document.querySelector("button[data-show=worst]").click();
      seen.worst = visible(".example").length;
      seen.told = document.getElementById("example-count").textContent;
      document.querySelector("button[data-show=all]").click();
      set(document.getElementById("example-label"), "cardiomegaly");
      seen.labelled = visible(".example").every(
        function (e) { return /cardiomegaly/.test(e.textContent); });
      seen.some = visible(".example").length < document.querySelectorAll(".example").length;
      set(document.getElementById("example-label"), "");
      set(document.getElementById("example-filter"), "nodule");
      seen.words = visible(".example").every(
        function (e) { return /nodule/.test(e.textContent); });
      set(document.getElementById("example-filter"), "");
      var rows = function () {
        return visible(".example").map(function (e) { return Number(e.dataset.row); }); };
      var chosen = rows().join();
      set(document.getElementById("example-sort"), "row up");
      var sorted = rows();
      seen.sorted = sorted.every(function (r, at) { return at === 0 || sorted[at - 1] < r; });
      set(document.getElementById("example-sort"), "score up");
      seen.worst_first = Number(visible(".example")[0].dataset.score) < 1;
      set(document.getElementById("example-sort"), "");
      seen.restored = rows().join() === chosen;
      seen.strata = visible("#strata-table tbody tr").length;
      set(document.querySelector("select[data-filter=strata-table]"), "findings");
      seen.findings = visible("#strata-table tbody tr").map(
        function (r) { return r.cells[0].textContent; }).join();
      seen.panes = visible(".pane").length;
      document.getElementById("panel-3").click();
      seen.pane = visible(".pane")[0].className;
    """
    assert look_at(path.read_text(encoding="utf-8"), probe) == {
        "notice": True,
        "wide": True,
        "first": "opacity",
        "last": "hernia",
        "left": 1,
        "worst": 4,
        "told": "4 of 16 shown",
        "labelled": True,
        "some": True,
        "words": True,
        "sorted": True,
        "worst_first": True,
        "restored": True,
        "strata": 3,
        "findings": "0,1,2",
        "panes": 1,
        "pane": "pane pane-3",
    }


@pytest.mark.parametrize("which", ["report", "detection"])
def test_a_phone_shows_it_without_scrolling_sideways(look_at, which, request, tmp_path):
    evaluation = request.getfixturevalue(which)
    html = page.render_page(evaluation[0] if which == "detection" else evaluation)
    framed = (
        "<!doctype html><html><head><title></title></head><body><iframe id='phone' "
        f"style='width:400px;height:800px;border:0' srcdoc='{escape(html)}'></iframe></body></html>"
    )
    probe = """
      var phone = document.getElementById("phone"), page = phone.contentDocument;
      seen.width = phone.contentWindow.innerWidth;
      seen.wide = page.documentElement.scrollWidth;
      var heat = page.getElementById("heat"), film = page.querySelector("img.heat");
      if (heat) {
        seen.heat = film.offsetHeight === film.previousElementSibling.offsetHeight;
        heat.click();
        seen.off = film.offsetHeight;
      }
    """
    seen = look_at(framed, probe)
    assert seen["width"] == 400
    assert seen["wide"] <= 400
    if which == "detection":
        assert (seen["heat"], seen["off"]) == (True, 0)
