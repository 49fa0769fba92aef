"""Shares of batches by hand; two processes on the CPU against one."""

import csv
import itertools
import os
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cascade.cli.explain import conf_dir
from cascade.data.datamodule import (
    Share,
    StudyDataModule,
    TrainingBatches,
    training_sampler,
    validation_batches,
)
from cascade.data.datasets import StudyDataset
from cascade.data.transforms import Augment
from cascade.errors import InputError
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.training import together
from cascade.training.fit_classifier import fit_classifier
from cascade.training.fit_generator import fit_generator


def test_one_process_takes_whole_batches():
    assert list(TrainingBatches([4, 1, 0, 3, 2], 2, True)) == [[4, 1], [0, 3]]
    assert list(TrainingBatches([4, 1, 0, 3, 2], 2, False)) == [[4, 1], [0, 3], [2]]


def test_processes_take_the_same_steps_as_one():
    for count, size, world, drop_last in itertools.product(
        range(1, 20), (6, 12), (1, 2, 3), (True, False)
    ):
        draws = list(training_sampler(count, None, 7))
        whole = list(TrainingBatches(draws, size, drop_last))
        each = [
            TrainingBatches(draws, size, drop_last, Share(rank, world)) for rank in range(world)
        ]
        parts = [list(batches) for batches in each]
        assert {len(part) for part in parts} == {len(batches) for batches in each}
        for number, step in enumerate(zip(*parts, strict=True)):
            assert len({len(part) for part in step}) == 1  # as many: DDP takes the plain mean
            joined = Counter(itertools.chain(*step))
            assert max(joined.values()) == 1  # no study twice in an epoch without weights
            lost = Counter(whole[number]) - joined
            assert not joined - Counter(whole[number])
            assert lost.total() == (len(whole[number]) % world)


def test_a_batch_that_cannot_be_shared():
    with pytest.raises(InputError, match="batch_size=4: no multiple of 3 processes"):
        TrainingBatches([0, 1, 2, 3], 4, False, Share(0, 3))


def test_every_study_is_validated_once_and_no_process_waits():
    assert [validation_batches(7, 2, Share(rank, 3)) for rank in range(3)] == [
        [[0], [3, 6]],
        [[1], [4]],
        [[2], [5]],
    ]
    for count, size, world in itertools.product(range(1, 40), (1, 2, 5), (1, 2, 3, 4)):
        if count < world:
            continue
        parts = [validation_batches(count, size, Share(rank, world)) for rank in range(world)]
        assert len({len(part) for part in parts}) == 1
        assert all(batch for part in parts for batch in part)
        seen = [study for part in parts for batch in part for study in batch]
        assert sorted(seen) == list(range(count))


def test_too_few_studies_to_validate_on():
    with pytest.raises(InputError, match="2 validation studies are too few for 3 processes"):
        validation_batches(2, 4, Share(0, 3))


def test_each_process_draws_its_own_pictures_of_its_own_studies(tiny):
    learn = StudyDataset(tiny.train, tiny.cache, tiny.table)
    images, names = [], []
    for rank in (0, 1):
        data = StudyDataModule(learn, learn, 8, augment=Augment(), seed=3)
        data.trainer = SimpleNamespace(
            global_rank=rank, world_size=2, current_epoch=1, training=True
        )
        batches = list(data.train_dataloader())
        names.append([study for batch in batches for study in batch.study_ids])
        same = batches[0]._replace(images=torch.full((4, 1, 1, 8, 8), 0.5))
        images.append(data.on_after_batch_transfer(same, 0).images)
    assert not set(names[0]) & set(names[1])
    assert len(names[0]) == len(set(names[0])) == 12
    assert not torch.equal(*images)


def test_a_job_of_a_sweep_reads_within_its_cores(tiny, monkeypatch):
    learn = StudyDataset(tiny.train, tiny.cache, tiny.table)
    data = StudyDataModule(learn, learn, 8, workers=2)
    assert data.train_dataloader().num_workers == 2
    monkeypatch.setenv("CASCADE_CORES", "1")
    assert data.train_dataloader().num_workers == data.val_dataloader().num_workers == 1
    assert StudyDataModule(learn, learn, 8).train_dataloader().num_workers == 0


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"devices": 2, "strategy": "fsdp"}, "trainer.strategy=fsdp: several processes train by"),
        ({"num_nodes": 4}, "trainer.num_nodes=4: start the command on each machine by torchrun"),
        ({"devices": 3}, "classifier.batch_size=8: 3 processes share each batch"),
    ],
)
def test_processes_that_settings_cannot_have(trainer, message, settings, tiny, tmp_path):
    settings["trainer"].update(trainer)
    with pytest.raises(InputError, match=message):
        fit_classifier(tmp_path, tiny.train, tiny.val, tiny.cache, tiny.table, settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("devices", "accelerator", "count"),
    [(1, "cpu", 1), ("2", "cpu", 2), ([0, 3], "gpu", 2), ("auto", "cpu", 1), (-1, "cpu", 1)],
)
def test_processes_are_counted(devices, accelerator, count):
    trainer = {"devices": devices, "accelerator": accelerator}
    assert together.count_processes({"trainer": trainer}) == count


def test_torchrun_says_how_many_there_are(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "0")
    assert together.count_processes({"trainer": {"devices": 1, "num_nodes": 2}}) == 4


def test_alone_there_is_nothing_to_gather():
    assert together.gather("x") == ["x"]


# --- two processes


def rows(directory):
    with open(directory / "metrics.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture
def without_chance(settings):
    """No dropout, no augmentation, no batch norm: what one and two processes draw differs there."""
    sgd = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0}
    for stage in ("classifier", "generator"):
        settings[stage]["optimizer"] = {**sgd, "schedule": "linear", "warmup": 0.0}
        settings[stage]["augment"] = None
    settings["encoder"] = {"name": "squeezenet1_1"}
    settings["classifier"].update(dropout=0.0, epochs=3)
    settings["decoder"]["dropout"] = 0.0
    return settings


def fit_both(out, tiny, settings):
    """Both stages; the second on features that no training can change."""
    settings = {**settings, "seed": 5}
    fit_classifier(out / "c", tiny.train, tiny.val, tiny.cache, tiny.table, settings)
    torch.manual_seed(0)
    network = StudyClassifier(create_encoder("tiny", width=4), 2).eval()
    reader = Reader(network, tiny.table.labels, False)
    fit_generator(out / "g", reader, tiny.train, tiny.val, tiny.cache, tiny.table, settings)


@pytest.mark.slow
def test_two_processes_train_and_validate_as_one(tiny, without_chance, tmp_path):
    """23 studies to learn from and 11 to validate on: neither is even.

    The classifier's loss is a mean over studies, so the mean of two halves is that of the whole:
    equal but for rounding. The decoder's is a mean over words, and halves of a batch do not hold
    equally many, so it is equal only about.
    """
    tiny.train, tiny.val = tiny.train.select(range(23)), tiny.val.select(range(11))
    fit_both(tmp_path / "1", tiny, without_chance)
    trainer = {**without_chance["trainer"], "devices": 2, "strategy": "ddp"}
    try:
        fit_both(tmp_path / "2", tiny, {**without_chance, "trainer": trainer})
    finally:
        together.dismiss()
    for one, two in zip(rows(tmp_path / "1/c"), rows(tmp_path / "2/c"), strict=True):
        assert (one["step"], one["lr"]) == (two["step"], two["lr"])
        assert two["val/auroc"] == pytest.approx(one["val/auroc"], abs=1e-6)
        assert two["val/loss"] == pytest.approx(one["val/loss"], rel=1e-4)
        assert two["train/loss"] == pytest.approx(one["train/loss"], rel=1e-4)
    for one, two in zip(rows(tmp_path / "1/g"), rows(tmp_path / "2/g"), strict=True):
        assert one["step"] == two["step"]
        assert two["val/loss"] == pytest.approx(one["val/loss"], rel=0.05)
        assert two["train/loss"] == pytest.approx(one["train/loss"], rel=0.05)
        assert two["val/bleu"] == pytest.approx(one["val/bleu"], abs=0.05)


@pytest.mark.slow
def test_torchrun_runs_the_whole_cascade_once(tmp_path):
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    words += ["-m", "cascade", "run", "data=phantom", "data.studies=60", "data.image_size=32"]
    words += ["data.size=64", "rounds=1", "trainer=cpu", "classifier.epochs=1", "encoder.width=4"]
    words += ["generator.epochs=1", "decoder.hidden=16", "labels.min_studies=4"]
    words += ["evaluate.resamples=20", f"out={tmp_path / 'run'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("60 phantom studies") == 1  # told, and done, once
    assert done.stdout.count("evaluation page:") == 1
    assert " ".join(done.stderr.split()).count("on 2 processes of the CPU") == 2  # both stages
    assert (tmp_path / "run" / "evaluation" / "index.html").is_file()


def test_the_shipped_trainer_is_of_two_processes():
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", ["trainer=ddp_cpu", "collection=x", "label_table=x"])
    trainer = OmegaConf.to_container(config.trainer)
    assert together.count_processes({"trainer": trainer}) == 2
