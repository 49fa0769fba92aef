"""Every mistake ends in one line that names the thing and the remedy, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess

import pytest

QUICK = (
    "encoder.width=4",
    "data.image_size=16",
    "data.workers=0",
    "classifier.epochs=1",
    "classifier.augment=null",
    "callbacks=none",
    "trainer=cpu",
)
NOWHERE = "does not exist"


def refused(outcome, *words, status=2, out="new"):
    """Check status and line, and that nothing was left at ``out``."""
    line = outcome.line
    assert outcome.status == status, line
    for word in words:
        assert word in line
    assert "internal error" not in line
    if out is not None:
        assert not os.path.lexists(out)
    return line


# --- settings, as they are written


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mine"], ["mine needs collection=", "--help"]),
        (["annotate", "source=x"], ["annotate needs model="]),
        (["mine", "collection=c", "labels.min_study=3"], ["'labels.min_study'", "min_studies'?"]),
        (["mine", "collection=c", "labesl=terms"], ["'labesl'", "did you mean 'labels'?"]),
        (["mine", "collection=c", "+labels.min=3"], ["unknown setting 'labels.min'", "--cfg job"]),
        (["mine", "collection=c", "~labels.min_studies"], ["labels.min_studies is needed"]),
        (["mine", "collection=c", "labels=null"], ["choice of null"]),
        (
            ["mine", "collection=c", "labels=term"],
            ["'term' for labels", "patterns, terms, text.", "'terms'?"],
        ),
        (["mine", "collection=c", "labels.min_studies=few"], ["min_studies=few", "a whole number"]),
        (["mine", "collection=c", "labels.include=opacity"], ["labels.include=[A,B]"]),
        (["mine", "collection=c", "labels.fit_on=trian"], ["one of train, all", "'train'?"]),
        (["mine", "collection=c", "seed=-1"], ["seed=-1", "0 or more"]),
        (["mine", "collection="], ["collection=: expected a text"]),
        (["mine", "collection=c", "foo"], ["cannot read 'foo'", "KEY=VALUE"]),
        (["mine", "collection=c", "a=["], ["cannot read", "'['", "KEY=[A,B]"]),
        (["mine", "collection=a,b"], ["-m runs each", "\"collection='a,b'\""]),
        (["mine", "--collection=c"], ["'--collection=c'", "without dashes, collection=c"]),
        (
            ["train", "encoder=densnet121"],
            ["'densnet121' for encoder", "vit_b_16.", "'densenet121'?"],
        ),
        (["run", "classifier.epochs=abc"], ["classifier.epochs=abc", "a whole number, 1 or more"]),
        (["run", "classifier.epochs=1.5"], ["classifier.epochs=1.5", "a whole number"]),
        (["run", "classifier.epochs=null"], ["classifier.epochs=null", "a whole number"]),
        (["run", "data.image_size=-3"], ["data.image_size=-3", "16 or more"]),
        (["run", "rounds=0"], ["rounds=0", "1 or more"]),
        (["run", "stop.patience=0"], ["stop.patience=0", "1 or more"]),
        (["run", "stop.score=blue"], ["one of bleu, auroc", "'bleu'?"]),
        (["run", "relabel.rule=gab"], ["one of count, paper, gap, hdbscan", "'gap'?"]),
        (["run", "relabel.most_clusters=1"], ["most_clusters=1", "2 or more"]),
        (["run", "relabel.repeats=-1"], ["repeats=-1", "0 or more"]),
        (["run", "classifier.dropout=1"], ["classifier.dropout=1", "less than 1"]),
        (["run", "classifier.optimizer.lr=0"], ["more than 0"]),
        (["run", "generator.optimizer.name=adam"], ["adamw, sgd, rmsprop", "'adamw'?"]),
        (["run", "optimizer=sgd"], ["optimizer@classifier.optimizer"]),
        (
            ["run", "classifier.pooling=avg"],
            ["classifier.pooling=avg", "mean, max, lse, noisy_or, gated_attention"],
        ),
        (["run", "classifier.fusion=sum"], ["one of mean, max, attention"]),
        (["run", "classifier.lse_r=0"], ["classifier.lse_r=0", "more than 0"]),
        (["run", "relabel.shuffle=2"], ["relabel.shuffle=2", "true or false"]),
        (["run", "classifier.augment=3"], ["classifier.augment=3", "classifier.augment.rotation="]),
        (["run", "trainer.max_epochs=3"], ["trainer.max_epochs", "classifier.epochs"]),
        (["run", "+trainer.max_epochs=3"], ["trainer.max_epochs", "classifier.epochs"]),
        (["run", "experiment=nih"], ["'nih' for experiment"]),
        (["run", "split.fractions=[a,b]"], ["split.fractions=", "a list of numbers"]),
        (["train", "stage=clasifier", "collection=c", "label_table=l"], ["'classifier'?"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_setting_is_named_with_what_would_be_right(cascade, words, expected):
    refused(cascade(*words, "out=new"), *expected)


def test_an_unknown_command_is_answered_with_the_nearest(cascade):
    refused(cascade("trian", "out=new"), "'trian'", "did you mean 'train'?", "cascade --help")


def test_a_failed_command_takes_away_the_folders_above_out_that_it_made(cascade, tmp_path):
    (tmp_path / "kept").mkdir()
    for out in ("new/a/b", "kept/a/b"):
        refused(cascade("mine", "collection=nowhere", f"out={out}"), NOWHERE, out="new")
    refused(cascade("mine", "collection=nowhere"), NOWHERE, out="outputs")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert not any((tmp_path / "kept").iterdir())


def test_an_empty_out_that_was_there_stays(cascade, tmp_path):
    (tmp_path / "mine").mkdir()
    refused(cascade("mine", "collection=nowhere", "out=mine"), NOWHERE)
    assert (tmp_path / "mine").is_dir()


def test_debug_shows_the_traceback(cascade):
    from cascade.errors import InputError

    with pytest.raises(InputError):
        cascade("mine", "collection=nowhere", "debug=true", "out=new")


# --- paths


@pytest.mark.parametrize(
    "words",
    [
        ["mine", "collection=nowhere"],
        ["prepare", "data=openi", "data.root=nowhere"],
        ["prepare", "data=nih", "data.root=nowhere"],
        ["annotate", "source=nowhere", "model=m"],
        ["evaluate", "model=nowhere"],
        ["train", "collection=nowhere", "label_table=l"],
        ["run", "collection=nowhere"],
    ],
    ids=" ".join,
)
def test_a_missing_folder_is_named(cascade, words):
    refused(cascade(*words, "out=new"), "nowhere", NOWHERE)


def test_real_data_needs_its_root(cascade):
    refused(cascade("prepare", "data=openi", "out=new"), "data.root=PATH")


def test_a_file_in_the_way_of_out(cascade, collection, tmp_path):
    (tmp_path / "file").write_text("kept")
    for out in ("file", "file/below"):
        outcome = cascade("mine", f"collection={collection}", "labels.min_studies=1", f"out={out}")
        refused(outcome, out, "in the way")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("command", ["prepare", "mine"])
def test_an_out_that_is_not_empty_is_refused_before_any_work(
    cascade, collection, tmp_path, command
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("kept")
    words = [f"collection={collection}"] if command == "mine" else ["data=phantom"]
    refused(cascade(command, *words, "out=full"), "full is not empty", "another out=")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    assert not (tmp_path / "full-raw").exists()


# --- what is read


XML = """<eCitation><uId id="CXR{0}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="FINDINGS">Clear.</AbstractText></Abstract></Article></MedlineCitation>
<MeSH><major>normal</major></MeSH></eCitation>"""


@pytest.fixture
def openi(tmp_path):
    """Thirty reports without images."""
    folder = tmp_path / "raw" / "ecgen-radiology"
    folder.mkdir(parents=True)
    for number in range(1, 31):
        (folder / f"{number}.xml").write_text(XML.format(number))
    return folder


def test_one_bad_xml_among_good_ones_is_a_row(cascade, openi, tmp_path):
    (openi / "7.xml").write_text("this is no XML")
    outcome = cascade("prepare", "data=openi", "data.root=raw", "out=new")
    assert outcome.status == 0, outcome.err
    assert "1 file(s) rejected" in outcome.err
    rows = (tmp_path / "new" / "rejected.csv").read_text().splitlines()
    assert len(rows) == 2
    assert "7.xml" in rows[1]
    assert "not well-formed XML" in rows[1]


def test_only_bad_xml_is_an_error(cascade, openi):
    for path in openi.iterdir():
        path.write_text("this is no XML")
    refused(cascade("prepare", "data=openi", "data.root=raw", "out=new"), "1.xml", "well-formed")


def test_a_source_without_reports(cascade, tmp_path):
    (tmp_path / "raw").mkdir()
    outcome = cascade("prepare", "data=openi", "data.root=raw", "out=new")
    refused(outcome, "raw holds neither", "download")


def test_an_empty_table(cascade, tmp_path):
    (tmp_path / "table.csv").write_text("image,report\n")
    outcome = cascade("prepare", "data=table", "data.root=table.csv", "out=new")
    refused(outcome, "table.csv holds no rows")


def test_a_folder_that_is_no_collection(cascade, tmp_path):
    (tmp_path / "empty").mkdir()
    outcome = cascade("mine", "collection=empty", "out=new")
    refused(outcome, "empty is not a collection", "cascade prepare")


def test_wrong_fractions_are_seen_before_anything_is_drawn(cascade):
    outcome = cascade("prepare", "split.fractions=[0.5,0.1,0.1]", "out=new")
    refused(outcome, "[0.5, 0.1, 0.1]", "add up to 1")
    assert "drawing" not in outcome.err


def test_a_phantom_too_small_to_split_leaves_no_drawing(cascade, tmp_path):
    small = ("data.studies=2", "data.size=32", "data.workers=1")
    refused(cascade("prepare", *small, "out=new"), "no study fell into the", "add studies")
    assert not (tmp_path / "new-raw").exists()


def test_a_phantom_of_other_settings_is_not_read_for_this_one(cascade, tmp_path):
    (tmp_path / "raw").mkdir()
    facts = {"studies": 2, "size": 32, "seed": 0, "image_format": "dicom"}
    (tmp_path / "raw" / "phantom.json").write_text(json.dumps(facts))
    outcome = cascade("prepare", "data.root=raw", "data.size=32", "data.studies=9", "out=new")
    refused(outcome, "data.studies=2, not 9", "another data.root=")


# --- labels


def test_a_label_that_no_study_carries(cascade, collection):
    words = ("mine", f"collection={collection}", "labels.include=[opacty]", "out=new")
    refused(cascade(*words), "'opacty'", "'opacity'")


def test_a_threshold_that_no_label_reaches(cascade, collection):
    words = ("mine", f"collection={collection}", "labels.min_studies=99", "out=new")
    refused(cascade(*words), "99", "most frequent by 4", "lower labels.min_studies")


def train(cascade, collection, labels, *words):
    return cascade(
        "train", f"collection={collection}", f"label_table={labels}", *QUICK, "out=new", *words
    )


def test_a_label_without_a_positive_in_training(cascade, make, tmp_path):
    # The fourth study of ten, a validation study, is the only one with a nodule.
    mesh = lambda number: ("Nodule/lung",) if number == 9 else ("normal",)  # noqa: E731
    collection = make.collection(tmp_path / "collection", mesh=mesh)
    labels = make.labels(tmp_path / "labels", collection, include=["nodule"])
    refused(
        train(cascade, collection, labels), "'nodule'", "no training study", "labels.min_studies"
    )


def test_a_label_table_of_another_collection(cascade, make, labels, tmp_path):
    collection = make.collection(tmp_path / "collection", prefix="other")
    refused(train(cascade, collection, labels), "is the label table of this collection?")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_studies(cascade, make, tmp_path, split):
    splits = ("train",) * 6 + ("val",) * 3 + ("test",) * 3
    splits = tuple("test" if name == split else name for name in splits)
    collection = make.collection(tmp_path / "collection", splits=splits)
    labels = make.labels(tmp_path / "labels", collection, fit_on="all")
    refused(train(cascade, collection, labels), f"no study of the {split} split")


def test_a_label_table_that_is_none(cascade, collection, tmp_path):
    (tmp_path / "empty").mkdir()
    outcome = train(cascade, collection, "empty")
    refused(outcome, "empty is not a label table", "cascade mine")


# --- images


def test_only_bad_images_are_an_error(cascade, make, tmp_path):
    collection = make.collection(tmp_path / "collection", broken=range(12))
    labels = make.labels(tmp_path / "labels", collection)
    refused(train(cascade, collection, labels), "none of the 12 image files", "the first:")
    assert not any((tmp_path / "collection" / "cache").glob("*"))


def test_training_goes_on_past_a_bad_image_and_refuses_other_settings_later(
    cascade, make, tmp_path
):
    collection = make.collection(tmp_path / "collection", broken=[2])
    labels = make.labels(tmp_path / "labels", collection)
    outcome = train(cascade, collection, labels)
    assert outcome.status == 0, outcome.err
    assert "is2 could not be read" in " ".join(outcome.err.split())
    assert (tmp_path / "new" / "model" / "config.json").is_file()

    outcome = train(cascade, collection, labels, "classifier.batch_size=7")
    refused(outcome, "classifier.batch_size=", "now it is 7", "another out=", out=None)
    assert (tmp_path / "new" / "model" / "config.json").is_file()


def test_one_bad_image_of_an_archive_is_a_row(cascade, collection, bundle, tmp_path):
    shutil.copytree(collection.with_name("collection-images"), tmp_path / "archive")
    (tmp_path / "archive" / "broken.png").write_bytes(b"not an image")
    outcome = cascade("annotate", "source=archive", f"model={bundle}", "workers=0", "out=new")
    assert "1 file(s) failed" in outcome.line
    assert outcome.status == 1
    rows = (tmp_path / "new" / "images" / "part-00000.jsonl").read_text().splitlines()
    assert len(rows) == 13
    assert [json.loads(row)["path"] for row in rows if "failed" in row] == ["broken.png"]


def test_an_archive_with_every_option(cascade, collection, bundle, tmp_path):
    source = collection.with_name("collection-images")
    words = ["workers=1", "order=ready", "limit=5", "device=cpu+cpu", "formats=[jsonl,csv]"]
    words += ["shard_rows=2", "file_paths=hash", "identifiers=drop", "quarantine=bad"]
    words += ["abstain_below=0.5", "file_seconds=null", "file_memory_mb=1024"]
    outcome = cascade("annotate", f"source={source}", f"model={bundle}", "out=new", *words)
    assert outcome.status == 0, outcome.err
    table = outcome.out.splitlines()
    assert table[0] == "files       5"
    assert "  abstained 5, needs a reader" in table  # a model without a decoder is sure of nothing
    assert len(list((tmp_path / "new" / "images").glob("*.csv"))) == 3


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("formats=[word]", ("formats=word", "expected some of jsonl, parquet, csv")),
        ("formats=[]", ("formats", "at least one of jsonl")),
        ("formats=[jsonl,text]", ("CASCADE_IDENTIFIER_KEY",)),
        ("order=size", ("order=size", "path, ready")),
        ("identifiers=hide", ("identifiers=hide", "keep, hash, drop")),
        ("push=5", ("push: expected the address of a DICOMweb server",)),
        ("push=https://pacs.example", ("push= sends DICOM SRs: add sr or tid1500 to formats=",)),
        ("since=monday", ("since=monday", "2019-12-31")),
        ("abstain_below=2", ("abstain_below=2", "auto, none")),
        ("device=cuda:77", ("device=cuda:77",)),
        ("modality=[CR]", ("the filters leave out every image", "no modality is given")),
        ("file_seconds=0", ("file_seconds=0", "more than 0")),
    ],
)
def test_options_of_an_archive_that_cannot_be(
    cascade, collection, bundle, tmp_path, word, parts, monkeypatch
):
    monkeypatch.delenv("CASCADE_IDENTIFIER_KEY", raising=False)
    source = collection.with_name("collection-images")
    outcome = cascade("annotate", f"source={source}", f"model={bundle}", "out=new", word)
    assert outcome.status == 2
    for part in parts:
        assert part in outcome.line
    assert not (tmp_path / "new" / "annotations.json").exists()


def test_an_archive_without_images(cascade, bundle, tmp_path):
    (tmp_path / "archive").mkdir()
    outcome = cascade("annotate", "source=archive", f"model={bundle}", "out=new")
    refused(outcome, "no image file in archive", "DICOM, PNG")


# --- bundles


@pytest.fixture
def own_bundle(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "own")


def annotate(cascade, collection, model, *words):
    source = collection.with_name("collection-images")
    return cascade("annotate", f"source={source}", f"model={model}", "out=new", *words)


def test_a_bundle_of_another_version(cascade, collection, own_bundle):
    config = json.loads((own_bundle / "config.json").read_text())
    (own_bundle / "config.json").write_text(json.dumps(config | {"format_version": 99}))
    refused(annotate(cascade, collection, own_bundle), "own has format 99", "train it again")


def test_damaged_weights(cascade, collection, own_bundle):
    weights = own_bundle / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(annotate(cascade, collection, own_bundle), "model.safetensors", "damaged")


def test_a_folder_that_is_no_bundle(cascade, collection, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(annotate(cascade, collection, "empty"), "empty is not a model bundle", "model/ folder")


def test_a_device_that_is_not_there(cascade, collection, bundle):
    outcome = annotate(cascade, collection, bundle, "device=gpu")
    refused(outcome, "device=gpu", "device=auto")


def evaluate(cascade, collection, labels, model, *words):
    return cascade(
        "evaluate",
        f"model={model}",
        f"collection={collection}",
        f"label_table={labels}",
        "data.workers=0",
        "evaluate.resamples=10",
        "out=new",
        *words,
    )


def test_indications_for_a_model_that_reads_none(cascade, collection, bundle, tmp_path):
    (tmp_path / "i.csv").write_text("path,indication\n")
    refused(annotate(cascade, collection, bundle, "indications=i.csv"), "reads no indication")
    refused(annotate(cascade, collection, bundle, "indications=no.csv"), "indications=no.csv does")


def test_a_bundle_of_other_labels_than_the_table(cascade, make, collection, labels, tmp_path):
    model = make.bundle(tmp_path / "other", diseases=("normal", "nodule"))
    refused(evaluate(cascade, collection, labels, model), "other was trained on other labels")


def test_scoring_a_split_without_studies(cascade, make, bundle, tmp_path):
    splits = ("train",) * 8 + ("val",) * 4
    collection = make.collection(tmp_path / "collection", splits=splits)
    labels = make.labels(tmp_path / "labels", collection)
    refused(evaluate(cascade, collection, labels, bundle), "no study of the test split")


def test_scoring_a_split_without_positives_says_that_nothing_can_be_told(
    cascade, make, bundle, tmp_path
):
    # Test studies are all normal: no label is both present and absent, and no figure is made up.
    mesh = lambda n: ("Opacity/lung",) if n % 2 and n < 10 else ("normal",)  # noqa: E731
    collection = make.collection(tmp_path / "collection", mesh=mesh)
    labels = make.labels(tmp_path / "labels", collection)
    outcome = evaluate(cascade, collection, labels, bundle)
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "new" / "index.html").is_file()


def test_relabelling_needs_a_decoder(cascade, collection, labels, bundle):
    outcome = cascade(
        "relabel",
        f"model={bundle}",
        f"collection={collection}",
        f"label_table={labels}",
        "data.workers=0",
        "out=new",
    )
    refused(outcome, "has no decoder", "generator's bundle")


# --- the disk, and Ctrl-C


@pytest.fixture
def full_disk(tmp_path):
    """A mounted disk without a byte left."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount a small disk here")
    try:
        with contextlib.suppress(OSError), open(place / "filler", "wb", 0) as file:
            while True:
                file.write(b"x" * 4096)
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(cascade, collection, labels, full_disk):
    out = full_disk / "new"
    words = (f"collection={collection}", "labels.min_studies=1", f"out={out}")
    refused(cascade("mine", *words), "no space left", "another out=", status=1, out=out)
    cache = f"data.cache={full_disk}/cache"  # decoded images are written through a memory map
    refused(train(cascade, collection, labels, cache), "no space left", status=1)
    assert [path.name for path in full_disk.rglob("*") if path.is_file()] == ["filler"]


def test_a_disk_that_fills_up_at_the_last_moment(cascade, collection, monkeypatch, tmp_path):
    def no_space(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cascade.io.files.os.fsync", no_space)
    words = (f"collection={collection}", "labels.min_studies=1", "out=new")
    refused(cascade("mine", *words), "no space left", "another out=", status=1)
    assert not any(tmp_path.iterdir())


def test_ctrl_c_says_how_to_go_on(cascade, collection, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("cascade.pipeline.mining.mine", interrupted)
    outcome = cascade("mine", f"collection={collection}", "out=new")
    refused(outcome, "interrupted", "goes on", status=130)


def test_an_error_of_ours_says_that_it_is_one(cascade, collection, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("cascade.pipeline.mining.mine", broken)
    outcome = cascade("mine", f"collection={collection}", "out=new")
    assert outcome.status == 1
    assert outcome.line.startswith("internal error, please report it: RuntimeError: two lines")
