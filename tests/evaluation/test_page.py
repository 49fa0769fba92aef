"""The page: what it shows, what it keeps to itself, and that a browser takes it."""

import base64
import io
import math
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import cascade
from cascade.evaluation import charts, examples, page
from cascade.evaluation.scoring import METRICS, evaluate
from cascade.evaluation.significance import Difference, Figure
from cascade.evaluation.systems import Rows, System
from cascade.evaluation.tables import write_evaluation


@pytest.fixture(scope="module")
def html(evaluation):
    return page.render_page(evaluation)


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


def test_pictures_are_small_and_true():
    assert examples.picture(None) is None
    pixels = np.linspace(0, 1, 400 * 200, dtype=np.float32).reshape(400, 200)
    head, _, body = examples.picture(pixels).partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(body))) as image:
        assert image.size == (96, 192)
        assert image.mode == "L"
        assert image.getpixel((0, 0)) < 5
        assert image.getpixel((95, 191)) > 250
    assert examples.picture(np.full((2, 2), np.nan)) is not None


def test_terms_beside_the_reference():
    marked = examples.mark_terms(
        "opacity/lung/base/right; cardiomegaly/mild; nodule",
        "opacity/lung/base/left; cardiomegaly/mild; scoliosis",
    )
    assert [(piece.text, piece.verdict) for piece in marked] == [
        ("opacity/lung/base/right", "partly"),
        ("cardiomegaly/mild", "agree"),
        ("nodule", "contradict"),
        ("scoliosis", "missed"),
    ]
    assert [piece.verdict for piece in examples.mark_terms("", "normal")] == ["missed"]


def test_examples_are_best_worst_and_random(evaluation):
    chosen = examples.choose_rows(evaluation)
    assert {kind: len(rows) for kind, rows in chosen.items()} == {
        "best": 4,
        "worst": 4,
        "random": 4,
    }
    every = [row for rows in chosen.values() for row in rows]
    assert len(set(every)) == 12
    said, meant = evaluation.main.hypotheses, evaluation.rows.references
    assert all(said[row] == meant[row] for row in chosen["best"])
    assert all(said[row] != meant[row] for row in chosen["worst"][:1])
    assert len({meant[row] for row in chosen["best"]}) == 4


def test_example_probabilities_keep_what_is_true(evaluation):
    found = examples.label_probabilities(evaluation, 5)
    assert len(found) == 5
    assert {p["label"] for p in found if p["true"]} == {
        label for label in evaluation.rows.labels if evaluation.rows.truth.iloc[5][label] == 1
    }


def test_verdicts_follow_the_interval():
    def verdict(low, high):
        return page.difference_view(Difference("exact", "a", "b", (low + high) / 2, low, high))

    assert verdict(0.1, 0.2)["verdict"] == "better"
    assert verdict(-0.2, -0.1)["verdict"] == "worse"
    assert verdict(-0.1, 0.2)["verdict"] == "unclear"
    assert verdict(math.nan, math.nan)["verdict"] == ""
    assert verdict(-0.2, -0.1)["range"] == "−0.200 to −0.100"


def test_every_metric_has_words_and_every_panel_a_chart(html):
    assert {*page.HEADLINE, *page.CHARTED} <= METRICS.keys()
    assert {*page.HEADLINE, *page.CHARTED} <= page.MEANINGS.keys()
    assert html.count('class="chart"') == 6
    assert html.count('class="chart roc"') == 4  # five labels, one undefined


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
    assert "<polyline" not in charts.roc_plot("t", [("c0", np.empty(0), np.empty(0))])


def test_long_curves_are_thinned():
    steps = np.linspace(0, 1, 5000)
    svg = charts.roc_plot("t", [("c0", steps, steps)])
    assert len(svg) < 4000
    assert "155.0,5.0" in svg  # the corner stays


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


@pytest.fixture
def browser():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    return found


def test_a_browser_shows_it_without_an_error(browser, evaluation, tmp_path):
    path = write_evaluation(evaluation, tmp_path / "out")[-1]
    # The probe works every control and leaves what it saw in the document.
    probe = """<script>
    addEventListener("load", function () {
      var seen = {}, box = document.getElementById("notice").getBoundingClientRect();
      seen.notice = box.height > 10 && box.top < innerHeight;
      seen.wide = document.documentElement.scrollWidth <= innerWidth;
      var table = document.getElementById("label-table");
      table.querySelectorAll("th button")[1].click();
      seen.first = table.tBodies[0].rows[0].cells[0].textContent;
      table.querySelectorAll("th button")[1].click();
      seen.last = table.tBodies[0].rows[0].cells[0].textContent;
      var input = document.querySelector("input[data-filter=label-table]");
      input.value = "nod"; input.dispatchEvent(new Event("input"));
      seen.left = Array.from(table.tBodies[0].rows).filter(
        function (r) { return !r.hidden; }).length;
      document.querySelector("button[data-show=worst]").click();
      seen.worst = Array.from(document.querySelectorAll(".example")).filter(
        function (e) { return e.offsetHeight > 0; }).length;
      document.title = JSON.stringify(seen);
    });
    </script>"""
    probed = tmp_path / "probed.html"
    probed.write_text(path.read_text().replace("</body>", probe + "</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--enable-logging=stderr", "--window-size=600,900", "--dump-dom"]
    done = subprocess.run(
        [*command, probed.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    assert title[1] == (
        '{"notice":true,"wide":true,"first":"opacity","last":"hernia","left":1,"worst":4}'
    )
