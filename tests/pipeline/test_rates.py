import csv
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import pytest

from cascade.pipeline import rates
from cascade.training.rates import RateTest

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_by_hand():
    found = RateTest([1e-4, 1e-3, 1e-2, 1e-1], [3.0, 2.0, 1.0, float("nan")], 1e-3)
    drawing = ET.fromstring(rates.draw(found, 1e-2, "classifier.optimizer.lr"))
    # from 1e-4 to 1e-2, the last finite one, and from 1 to 3: the middle of both
    mark = drawing.find(f"{SVG}circle")
    assert mark is not None
    assert (float(mark.get("cx")), float(mark.get("cy"))) == (380.0, 175.0)
    line = drawing.find(f"{SVG}polyline")
    assert line is not None
    assert line.get("points") == "60.0,40.0 380.0,175.0 700.0,310.0"
    texts = [text.text for text in drawing.iter(f"{SVG}text")]
    assert texts[:-1] == ["1e-4", "1e-3", "1e-2", "1", "2", "3", "now 0.01"]
    assert texts[-1].endswith("suggested 0.001, where it falls most steeply")
    assert "now" not in rates.draw(found, 1.0, "x").replace("class", "").split("</style>")[1]


@pytest.mark.parametrize("stage", ["classifier", "generator"])
def test_the_files_of_a_test(stage, tmp_path, monkeypatch):
    found, asked = RateTest([0.1, 1.0], [2.0, 1.0], 0.1), []
    monkeypatch.setattr(rates, "find_rate", lambda task, out, settings: asked.append(task) or found)
    monkeypatch.setattr(rates, "classifier_task", lambda *given: ("classifier", given))
    monkeypatch.setattr(rates, "generator_task", lambda *given: ("generator", given))
    reader = SimpleNamespace(classifier="network")
    monkeypatch.setattr(rates, "read_bundle", lambda folder: (reader, {}))
    settings = {stage: {"optimizer": {"lr": 0.5}}}
    context = SimpleNamespace(settings=settings, records=lambda split: split, cache="images")
    assert rates.try_rates(context, "labels", stage, tmp_path, tmp_path / "model") is found
    ((name, given),) = asked
    assert name == stage
    start = given[-1] if stage == "classifier" else given[0]
    assert start == ("network" if stage == "classifier" else reader)
    with open(tmp_path / "find_lr.csv", newline="") as file:
        assert list(csv.reader(file)) == [["lr", "loss"], ["0.1", "2.0"], ["1.0", "1.0"]]
    assert f"{stage}.optimizer.lr" in (tmp_path / "find_lr.svg").read_text(encoding="utf-8")
