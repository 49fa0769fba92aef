"""Wrong networks are refused before anything is prepared, decoded or claimed."""

import pytest
import torch
from safetensors.torch import save_file

from cascade.cli.checks import check_value
from cascade.models.encoders import create_encoder
from tests.cli.test_bad_input import refused, train


def never(*_):
    raise AssertionError("the work had begun")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["encoder.name=resnet19"], ["unknown encoder 'resnet19'", "resnet18"]),
        (["encoder.weights=absent.pth"], ["absent.pth"]),
        (["encoder.unfreeze=99"], ["99"]),
        (["+encoder.depth=3"], ["the encoder tiny takes no depth"]),
        (["decoder.name=lstn"], ["unknown decoder 'lstn'", "lstm"]),
        (["decoder=transformer", "decoder.heads=7"], ["7"]),
        (["decoder=transformer", "decoder.positions=9"], ["generator.max_length=40"]),
        (["classifier.soft_range=[0.9,0.1]"], ["soft_range"]),
        (["classifier.loss=hinge"], ["one of bce, focal, asymmetric"]),
        (["classifier.calibration=beta"], ["temperature"]),
    ],
    ids=lambda words: words[0],
)
def test_run(cascade, words, expected, monkeypatch):
    monkeypatch.setattr("cascade.pipeline.rounds.prepare", never)
    outcome = cascade("run", "out=new", *words)
    refused(outcome, *expected, out=None)


def test_a_weight_file_of_another_network(cascade, collection, labels, tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.pipeline.stages.build_cache", never)
    path = tmp_path / "nin.safetensors"
    save_file(
        {key: value.clone() for key, value in create_encoder("nin").state_dict().items()}, path
    )
    outcome = train(cascade, collection, labels, "stage=classifier", f"encoder.weights={path}")
    refused(outcome, "nin.safetensors", out=None)


def test_the_random_numbers_of_a_run_are_what_they_were():
    from cascade.pipeline.early import check_networks

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    check_networks(
        {
            "classifier": {},
            "encoder": {"name": "tiny", "width": 4},
            "decoder": {"name": "gru", "embedding": 4, "hidden": 8},
            "generator": {"max_length": 9},
        }
    )
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("key", ["encoder.unfreeze", "classifier.augment.crop"])
def test_what_an_experiment_sets_may_be_taken_back(key):
    """Null is what the shipped groups say of both; an experiment's number does not forbid it."""
    assert check_value(key, None, 2) is None
