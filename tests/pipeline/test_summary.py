"""The summary page: right counts, nobody's words or names, and a browser takes it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import cascade
from cascade.io.collection import Collection, Image, Study
from cascade.pipeline import collecting
from cascade.pipeline.summary import LEAST_STUDIES, _View, reasons_of, render_summary
from cascade.pipeline.summary_charts import bins_of, count_bars, histogram, share


def study(number, **fields):
    return Study(f"secretstudy{number}", f"secretpatient{number // 2}", **fields)


def build(studies, images=(), **info):
    return Collection.build(studies, images, "/home/somebody/images", info)


@pytest.fixture(scope="module")
def collection():
    """Six studies: two reports are the same, one has no findings, one no report at all."""
    same = {"findings": "Heart is normal.  No effusion.", "impression": "Normal."}
    studies = [
        study(0, **same, mesh=("normal",), split="train"),
        study(1, **(same | {"impression": "normal."}), mesh=("normal",), split="train"),
        study(2, impression="Told to XXXX at XXXX.", mesh=("Opacity/lung",), split="train"),
        study(
            3, findings="One two three four five six.", mesh=("Opacity", "Nodule"), split="train"
        ),
        study(4, findings="Clear, ___ says.", impression="Ok.", split="val", labels={"Edema": 1}),
        study(5, labels={"Edema": -1.0, "Rare": 0.0}, mesh_automatic=("thing",)),
    ]
    images = [
        Image("secretimage0", "secretstudy0", "a.png", "frontal"),
        Image("secretimage1", "secretstudy0", None, "lateral"),
        Image("secretimage2", "secretstudy4", "b.png", "frontal"),
    ]
    return build(
        studies,
        images,
        source="<i>src</i>",
        reports="all.tgz",
        splits={"rule": "by hand", "fractions": [0.8, 0.1, 0.1], "seed": 3},
        made_by={"program": "cascade 1", "commit": "0123abc"},
    )


REJECTED = [
    {"file": "x1.xml", "reason": "no view 'AP' in secretstudy9"},
    ("x2.xml", "no view 'PA' in secretstudy10"),
    ("x3.xml", "study secretpatient0 was read already"),
]


@pytest.fixture(scope="module")
def html(collection):
    return render_summary(collection, REJECTED)


def test_the_notice_stands_before_any_number(html):
    assert html.index(cascade.RESEARCH_NOTICE) < html.index('class="tiles"')


def test_nothing_is_fetched_and_no_script_runs(html):
    assert "default-src 'none'" in html
    assert "<script" not in html
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|@import|url\(""", html)


def test_nobody_is_named_and_no_report_is_shown(html):
    for word in ("secret", "somebody", "effusion", "Told", "three", "says", "x1.xml", "<i>src"):
        assert word not in html, word
    assert "&lt;i&gt;src" in html
    for word in ("0123abc", "by hand; 0.8, 0.1, 0.1; seed 3", "all.tgz"):
        assert word in html


def test_reasons_are_counted_without_what_differs(html):
    assert reasons_of(REJECTED, {"secretpatient0"}) == [
        ("no view … in …", 2),
        ("study … was read already", 1),
    ]
    assert "no view … in …" in html
    assert reasons_of([]) == []
    reasons = reasons_of([("a/b.xml", "a/b.xml: line 3, column 5 of /home/me/b")])
    assert reasons == [("line … column … of …", 1)]


def test_counts_by_hand(collection):
    view = _View(collection, REJECTED)
    tiles = {tile["name"]: (tile["value"], tile["note"]) for tile in view.tiles()}
    assert tiles == {
        "studies": ("6", "of 3 patients"),
        "images found": ("2", "of 3 named (67%)"),
        "with a report": ("83%", "5 have findings or impression"),
        "annotated": ("67%", "4 carry terms by hand"),
        "labelled": ("33%", "2 by the source itself"),
        "rejected": ("3", "files or rows; reasons below"),
    }
    assert view.missing() == {
        "both": "50%",
        "findings": "17%",
        "impression": "17%",
        "neither": "17%",
    }
    splits = [list(row.values()) for row in view.splits()]
    assert splits == [
        ["train", 4, "67%", 2, 1, "50%"],
        ["val", 1, "17%", 1, 1, "–"],
        ["in no split", 1, "17%", 1, 0, "–"],
    ]
    assert [list(row.values()) for row in view.views()][0] == ["frontal", 2, 2, "100%"]
    findings = view.sections()[0]
    assert (findings["there"], findings["missing"], findings["missing_share"]) == (4, 2, "33%")
    assert (findings["median"], findings["marked"]) == ("5", "25%")
    repeats = view.repeats()
    assert (repeats["reports"], repeats["distinct"], repeats["most"]) == (5, 4, 2)
    assert (repeats["alone"], repeats["distinct_share"]) == ("60%", "80%")
    assert view.marks()["share"] == "40%"
    assert ">2 marks in a report: 1<" in view.marks()["svg"]
    terms = view.terms()
    assert (terms["annotated"], terms["none"], terms["normal"]) == (4, 2, "50%")
    assert (terms["kinds"], terms["automatic"]) == (3, 1)
    assert view.labels() == [{"name": "Edema", "present": 1, "absent": 0, "uncertain": 1}]


def test_a_term_of_one_study_is_not_named(collection):
    assert LEAST_STUDIES == 2
    terms = _View(collection, ()).terms()
    assert ">opacity<" in terms["svg"]
    assert "nodule" not in terms["svg"]
    assert terms["hidden"] == 1


def test_a_collection_of_nothing_but_a_name():
    html = render_summary(build([Study("1", "1")]))
    assert "The source has no reports." in html
    assert "No study carries terms by hand" in html
    assert "of 1 patient<" in html
    assert 'id="rejected"' not in html


def test_bins_are_whole_and_hold_everything():
    assert bins_of([]) == []
    assert [tuple(each) for each in bins_of([3, 3])] == [("3", 2)]
    values = [*range(200), 5000]
    bins = bins_of(values, 24)
    assert sum(each.size for each in bins) == len(values)
    assert [each.name for each in bins[:2]] == ["0–9", "10–19"]
    assert bins[-1].name.startswith("≥ ")
    assert len(bins) <= 26


def test_charts_escape_and_take_nothing():
    assert "<b>" not in histogram("<b>", bins_of([1]), "<b>") + count_bars("t", [("<b>", 1)], 1)
    assert "<rect" not in histogram("t", [], "words") + count_bars("t", [], 0)
    assert share(0, 5) == "0%"
    assert share(5, 5) == "100%"


def test_it_is_quick_and_needs_no_torch(tmp_path):
    program = (
        "import sys, time; from cascade.pipeline.summary import render_summary; "
        "from cascade.io.collection import Collection, Study; "
        "text = 'The heart is XXXX in size. No effusion, no pneumothorax. ' * 3; "
        "studies = [Study(str(n), str(n), text + str(n), text, mesh=('Opacity/lung',)) "
        "for n in range(4000)]; collection = Collection.build(studies, [], '.'); "
        "start = time.process_time(); render_summary(collection); "
        "print('torch' in sys.modules, time.process_time() - start)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    torch, seconds = done.stdout.split()
    assert torch == "False"
    assert float(seconds) < 6  # about 1 on an idle core


def test_prepare_writes_it_and_tells_the_commonest_reasons(tmp_path, capsys, monkeypatch):
    studies = [Study(f"s{n}", f"p{n}", findings="Clear.") for n in range(40)]
    rejected = [(f"{n}.xml", f"reason {'abcdefg'[n % 7]}") for n in range(5 * 7 + 1)]
    monkeypatch.setattr(
        collecting, "read_source", lambda data, out: (build(studies, source="x"), rejected)
    )
    settings = {"data": {"name": "x"}, "split": {"fractions": [0.8, 0.1, 0.1], "seed": 0}}
    collecting.prepare(settings, tmp_path / "out")
    told = capsys.readouterr().err.splitlines()
    assert told[2].startswith("36 file(s) rejected")
    assert told[3:] == [
        "  6 × reason a",
        *[f"  5 × reason {letter}" for letter in "bcde"],
        "  10 for other reasons",
    ]
    page = (tmp_path / "out" / "summary.html").read_text(encoding="utf-8")
    assert "reason g" in page
    assert len((tmp_path / "out" / "rejected.csv").read_text().splitlines()) == 37


@pytest.mark.parametrize("width", [500, 1200])
def test_a_browser_shows_it_without_an_error(html, look_at, width):
    probe = """
      var box = document.getElementById("notice").getBoundingClientRect();
      seen.notice = box.height > 10 && box.top < innerHeight;
      seen.wide = document.documentElement.scrollWidth <= innerWidth;
      seen.charts = Array.from(document.querySelectorAll("svg.chart")).filter(
        function (c) { return c.getBoundingClientRect().height > 40; }).length;
    """
    page = html.replace("style-src", "script-src 'unsafe-inline'; style-src", 1)
    assert look_at(page, probe, width) == {"notice": True, "wide": True, "charts": 9}
