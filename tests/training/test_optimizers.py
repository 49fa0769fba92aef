import pytest
import torch
from torch import nn

from cascade.errors import InputError
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.training.optimizers import create_optimizer, create_schedule, layer_groups


def parameters(count=1):
    return [nn.Parameter(torch.ones(1)) for _ in range(count)]


def rates(schedule, warmup, steps, lr=2.0):
    """The learning rate of each step."""
    made = create_optimizer(parameters(), steps, "sgd", schedule, warmup, lr=lr)
    assert made["lr_scheduler"]["interval"] == "step"
    out = []
    for _ in range(steps):
        out.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    return out


def test_cosine_with_warmup_by_hand():
    # two steps of warmup, then lr x (1 + cos(pi x share done)) / 2 over the other eight
    found = rates("cosine", 0.2, 10)
    assert found[:3] == [0.0, 1.0, 2.0]
    assert found[6] == pytest.approx(1.0)  # half of the eight done
    assert found[4] == pytest.approx(1 + 2**-0.5)  # a quarter


def test_linear_and_constant_by_hand():
    assert rates("linear", 0.0, 4) == pytest.approx([2.0, 1.5, 1.0, 0.5])
    assert rates("constant", 0.0, 3) == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("name", "kind", "kwargs"),
    [
        ("adamw", torch.optim.AdamW, {"weight_decay": 0.1}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 5e-4}),
        ("rmsprop", torch.optim.RMSprop, {}),
    ],
)
def test_arguments_reach_the_optimizer(name, kind, kwargs):
    made = create_optimizer(parameters(), 1, name, "constant", 0.0, lr=0.5, **kwargs)["optimizer"]
    assert type(made) is kind
    assert {key: made.param_groups[0][key] for key in kwargs} == kwargs


def test_frozen_parameters_are_left_out():
    first, second = parameters(2)
    first.requires_grad_(False)
    made = create_optimizer([first, second], 1, "sgd", "constant", 0.0, lr=0.5)
    assert made["optimizer"].param_groups[0]["params"] == [second]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "adam"},
            r"unknown optimizer 'adam', expected one of \['adamw', 'rmsprop', 'sgd'",
        ),
        ({"schedule": "cosin"}, r"unknown schedule 'cosin', expected one of \[.*'cosine'"),
        ({"beta": 0.5}, "optimizer sgd: .*beta"),
        ({"lr": -1.0}, "optimizer sgd: Invalid learning rate"),
    ],
)
def test_errors_are_the_users(arguments, message):
    given = {"name": "sgd", "schedule": "constant", "warmup": 0.0, "lr": 0.5, **arguments}
    with pytest.raises(InputError, match=message):
        create_optimizer(parameters(), 1, **given)


def test_nothing_to_train():
    frozen = parameters()[0].requires_grad_(False)
    with pytest.raises(InputError, match="every parameter is frozen"):
        create_optimizer([frozen], 1, "sgd", "constant", 0.0, lr=0.5)


def test_an_unknown_schedule_alone():
    with pytest.raises(InputError, match="unknown schedule"):
        create_schedule(torch.optim.SGD(parameters(), lr=1.0), "x", 0, 1)


def staged():
    """Four stages and a head."""
    return StudyClassifier(create_encoder("tiny", width=4), 2)


def rate_of(optimizer, parameter):
    return next(
        group["lr"]
        for group in optimizer.param_groups
        if any(parameter is held for held in group["params"])
    )


def test_the_rate_falls_with_the_distance_from_the_head():
    network = staged()
    groups = layer_groups(network, 0.5)
    made = create_optimizer(groups, 4, "sgd", "linear", 0.0, lr=0.8)
    optimizer = made["optimizer"]
    assert rate_of(optimizer, network.head.weight) == 0.8
    found = [rate_of(optimizer, network.encoder.stage_parameters(i)[0]) for i in range(4)]
    assert found == [0.05, 0.1, 0.2, 0.4]
    optimizer.step()
    made["lr_scheduler"]["scheduler"].step()  # three quarters of each
    assert rate_of(optimizer, network.head.weight) == pytest.approx(0.6)
    assert rate_of(optimizer, network.encoder.stage_parameters(0)[0]) == pytest.approx(0.0375)


def test_every_parameter_is_in_one_group():
    network = StudyClassifier(create_encoder("tiny", width=4), 2)
    for decay, count in ((0.5, 5), (1.0, 1)):
        groups = layer_groups(network, decay)
        assert len(groups) == count
        held = [id(parameter) for group in groups for parameter in group.parameters]
        assert sorted(held) == sorted(id(parameter) for parameter in network.parameters())


def test_closed_stages_have_no_group():
    network = staged()
    network.encoder.unfreeze(1)
    made = create_optimizer(layer_groups(network, 0.5), 1, "sgd", "constant", 0.0, lr=0.8)
    assert [group["lr"] for group in made["optimizer"].param_groups] == [0.4, 0.8]


@pytest.mark.parametrize("decay", [0.0, -1.0, 1.5])
def test_a_decay_that_is_none(decay):
    with pytest.raises(InputError, match=r"layer_decay=.*more than 0, at most 1"):
        layer_groups(staged(), decay)
