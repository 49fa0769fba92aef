"""Every experiment of ``conf/experiment`` goes round the whole cascade on one batch a stage."""

import csv
import json

import numpy as np
import pytest
import yaml
from PIL import Image

from cascade.cli.explain import conf_dir
from cascade.cli.main import dispatch
from cascade.io.phantom import write_phantom
from cascade.labels.table import read_label_table

FAST = [
    "trainer=fast",
    "trainer.accelerator=cpu",
    "callbacks=none",
    "data.workers=1",
    "classifier.workers=0",
    "classifier.epochs=1",
    "classifier.next_epochs=1",
    "classifier.batch_size=8",
    "generator.epochs=1",
    "generator.copies=1",
    "generator.batch_size=8",
    "evaluate.resamples=10",
    "evaluate.meteor=never",
]
SMALL_DRAFTS = ["generator.max_length=8", "generator.min_count=1", "labels.min_studies=2"]
PAPER = [
    "data.image_size=48",
    "classifier.augment.crop=40",
    "classifier.optimizer.lr=0.0001",  # one batch of a deep net of random weights may run away
    "labels.min_images=2",
    "decoder.hidden=24",
    "relabel.cases_per_cluster=1000",  # two contexts of each disease that is frequent enough
    "relabel.min_cluster=8",
]
NIH = [
    "data.image_size=48",
    "labels.min_studies=2",
    "decoder.hidden=8",
    "decoder.embedding=8",
    "relabel.min_cases=6",
    "relabel.cases_per_cluster=3",
    "relabel.min_cluster=1",
]
RUNS = {
    "shin2016_lstm": ("openi", PAPER),
    "shin2016_gru": ("openi", [*PAPER, "encoder=nin", "data.image_size=72"]),
    "nih14_squeezenet": ("nih", NIH),
    "nih14_densenet121": ("nih", NIH),
    "openi_report_attention": (
        "openi",
        ["data.image_size=32", "decoder.hidden=8", "decoder.embedding=8", *SMALL_DRAFTS],
    ),
    "openi_report_transformer": (
        "openi",
        ["data.image_size=32", "decoder.hidden=8", "decoder.heads=2", *SMALL_DRAFTS],
    ),
    "phantom": (
        "phantom",
        [
            *("data.studies=60", "data.size=48", "data.image_size=32", "encoder.width=4"),
            *("decoder.hidden=8", "labels.min_studies=2", "relabel.min_cases=6"),
            *("relabel.cases_per_cluster=3", "relabel.min_cluster=1"),
        ],
    ),
    "tajbakhsh_depth": ("nih", [*NIH, "encoder.unfreeze=1", "split.train_share=0.5"]),
}
ROUNDS_OF_ONE = {"openi_report_attention", "openi_report_transformer", "tajbakhsh_depth"}


@pytest.fixture(scope="module")
def openi(tmp_path_factory):
    root = tmp_path_factory.mktemp("openi")
    write_phantom(root / "raw", studies=70, size=48, image_format="png")
    return root / "raw"


@pytest.fixture(scope="module")
def nih(tmp_path_factory):
    """Sixty noisy pictures of sixty patients in NIH's reduced layout; each label in each split."""
    root = tmp_path_factory.mktemp("nih")
    (root / "images").mkdir()
    generator = np.random.default_rng(0)
    kinds = ["No Finding", "Effusion", "Mass|Effusion", "Nodule"]
    splits = ["train", "train", "train", "val", "test"]
    with open(root / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "patient_id", "view", "sex", "age", "labels", "official"])
        for row in range(60):
            name = f"{row:03d}.png"
            pixels = generator.integers(0, 255, (48, 48), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / name)
            split = splits[row // 4 % 5]
            table.writerow([name, row, "PA", "F", 50, kinds[row % 4], split])
    return root


def test_every_experiment_is_tried_here():
    assert {file.stem for file in (conf_dir() / "experiment").glob("*.yaml")} == set(RUNS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUNS)
def test_it_runs(name, request, tmp_path):
    kind, words = RUNS[name]
    root = [] if kind == "phantom" else [f"data.root={request.getfixturevalue(kind)}"]
    out = tmp_path / "run"
    assert dispatch(["run", f"experiment={name}", *FAST, *words, *root, f"out={out}"]) == 0
    made = sorted(folder.name for folder in out.glob("round-*"))
    assert made == (["round-1"] if name in ROUNDS_OF_ONE else ["round-1", "round-2"])
    assert (out / "evaluation" / "index.html").is_file()
    config = json.loads((out / "model" / "config.json").read_text())
    asked = yaml.safe_load((out / "config.yaml").read_text())
    assert config["encoder"]["name"] == asked["encoder"]["name"]
    assert config["decoder"]["name"] == asked["decoder"]["name"]
    assert (
        config["crop"] == asked["classifier"]["augment"]["crop"]
        if name != "tajbakhsh_depth"
        else True
    )
    if name.startswith("shin2016"):
        assert read_label_table(out / "round-1" / "labels").exclusive
        assert config["decoding"] == "sample"
        assert config["first_word"] == "label"


@pytest.mark.slow
def test_the_depth_is_a_sweep(nih, tmp_path, capsys):
    words = [word for word in NIH if not word.startswith("encoder")]
    swept = ["encoder.unfreeze=0,1", "split.train_share=1.0", "seed=1"]
    out = tmp_path / "sweep"
    command = ["run", "-m", "experiment=tajbakhsh_depth", *FAST, *words, *swept]
    assert dispatch([*command, f"data.root={nih}", f"out={out}"]) == 0
    jobs = [json.loads((out / str(n) / "job.json").read_text()) for n in (0, 1)]
    assert [job["status"] for job in jobs] == ["done", "done"]
    assert not (out / "2").exists()
