"""A decoder that looks at the feature map goes round the whole cascade, relabelling included."""

import json

import pandas as pd
import pytest

from cascade.cli.main import dispatch
from cascade.labels.table import read_label_table

SMALL = [
    "data.studies=90",
    "data.size=64",
    "data.image_size=32",
    "data.workers=1",
    "data.views=2",
    "encoder.width=4",
    "decoder.hidden=16",
    "classifier.epochs=1",
    "classifier.next_epochs=1",
    "generator.epochs=1",
    "generator.copies=1",
    "generator.no_repeat=3",
    "labels.min_studies=4",
    "relabel.min_cases=8",
    "relabel.cases_per_cluster=4",
    "relabel.min_cluster=2",
    "evaluate.resamples=20",
    "callbacks=none",
    "trainer=cpu",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "decoder",
    [
        ["decoder=attention_lstm", "decoder.embedding=8", "decoder.doubly_stochastic=1"],
        ["decoder=transformer", "decoder.heads=2", "decoder.layers=1"],
        ["decoder=gpt2", "decoder.heads=2", "decoder.layers=1"],
    ],
    ids=lambda words: words[0],
)
def test_two_rounds_an_evaluation_and_an_archive(decoder, tmp_path):
    out = tmp_path / "demo"
    assert dispatch(["demo", *SMALL, *decoder, f"out={out}"]) == 0
    config = json.loads((out / "model" / "config.json").read_text())
    assert config["decoder"]["name"] == decoder[0].removeprefix("decoder=")
    assert config["no_repeat"] == 3
    first, second = (read_label_table(out / f"round-{n}" / "labels") for n in (1, 2))
    assert len(second.labels) > len(first.labels)
    systems = json.loads((out / "evaluation" / "metrics.json").read_text())["systems"]
    names = [system["name"] for system in systems]
    assert {"round 1", "round 2"} <= set(names)
    assert any(name.startswith("image withheld") for name in names)
    rows = pd.read_json(out / "annotations" / "images" / "part-00000.jsonl", lines=True)
    assert (rows["status"] != "failed").any()
