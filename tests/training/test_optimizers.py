import pytest
import torch
from torch import nn

from cascade.errors import InputError
from cascade.training.optimizers import create_optimizer, create_schedule


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
