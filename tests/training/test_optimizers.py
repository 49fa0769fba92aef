import pytest
import torch
from torch import nn

from cascade.errors import InputError
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.training.optimizers import create_optimizer, create_schedule, layer_groups


def parameters(count=1):
    return [nn.Parameter(torch.ones(1)) for _ in range(count)]


def rates(schedule, warmup, steps, lr=2.0, **kwargs):
    """The learning rate of each step."""
    made = create_optimizer(parameters(), steps, "sgd", schedule, warmup, lr=lr, **kwargs)
    (curve,) = made.schedules
    assert curve["interval"] == "step"
    out = []
    for _ in range(steps):
        out.append(made.optimizer.param_groups[0]["lr"])
        made.optimizer.step()
        curve["scheduler"].step()
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
    assert rates("constant", 0.5, 4) == [0.0, 1.0, 2.0, 2.0]


def test_a_step_schedule_falls_by_epochs():
    # 12 steps are 6 epochs: every 2 epochs, 4 steps, the rate is halved
    found = rates("step", 0.0, 12, epochs=6, every=2, drop=0.5)
    assert found == [2.0] * 4 + [1.0] * 4 + [0.5] * 4
    found = rates("step", 0.25, 12, epochs=6, every=2, drop=0.5)
    assert found == pytest.approx([0.0, 2 / 3, 4 / 3, 2.0, *[1.0] * 4, *[0.5] * 4])


def test_the_paper_takes_a_third_each_33_epochs():
    found = rates("step", 0.0, 100, lr=0.9, epochs=100)
    assert found == pytest.approx([0.9] * 33 + [0.3] * 33 + [0.1] * 33 + [1 / 30])


def test_a_plateau_falls_where_the_score_stands_still_and_warmup_stays_below_it():
    made = create_optimizer(
        parameters(), 8, "sgd", "plateau", 0.5, lr=2.0, patience=1, drop=0.5, monitor="val/auroc"
    )
    falling, rising = made.schedules
    assert (falling["interval"], falling["monitor"]) == ("epoch", "val/auroc")
    found = []
    for score in (0.5, 0.6, 0.6, 0.6):  # two steps an epoch; two epochs in vain are one too many
        for _ in range(2):
            found.append(made.optimizer.param_groups[0]["lr"])
            made.optimizer.step()
            rising["scheduler"].step()
        falling["scheduler"].step(score)
    assert found == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0])
    assert made.optimizer.param_groups[0]["lr"] == pytest.approx(1.0)
    made = create_optimizer(parameters(), 8, "sgd", "plateau", 0.0, lr=2.0, monitor="val/loss")
    assert [each["scheduler"].mode for each in made.schedules] == ["min"]


@pytest.mark.parametrize(
    ("name", "kind", "kwargs"),
    [
        ("adamw", torch.optim.AdamW, {"weight_decay": 0.1}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 5e-4}),
        ("rmsprop", torch.optim.RMSprop, {}),
    ],
)
def test_arguments_reach_the_optimizer(name, kind, kwargs):
    made = create_optimizer(parameters(), 1, name, "constant", 0.0, lr=0.5, **kwargs).optimizer
    assert type(made) is kind
    assert {key: made.param_groups[0][key] for key in kwargs} == kwargs


def test_frozen_parameters_are_left_out():
    first, second = parameters(2)
    first.requires_grad_(False)
    made = create_optimizer([first, second], 1, "sgd", "constant", 0.0, lr=0.5)
    assert made.optimizer.param_groups[0]["params"] == [second]


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
    optimizer = made.optimizer
    assert rate_of(optimizer, network.head.weight) == 0.8
    found = [rate_of(optimizer, network.encoder.stage_parameters(i)[0]) for i in range(4)]
    assert found == [0.05, 0.1, 0.2, 0.4]
    optimizer.step()
    made.schedules[0]["scheduler"].step()  # three quarters of each
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
    assert [group["lr"] for group in made.optimizer.param_groups] == [0.4, 0.8]


@pytest.mark.parametrize("decay", [0.0, -1.0, 1.5])
def test_a_decay_that_is_none(decay):
    with pytest.raises(InputError, match=r"layer_decay=.*more than 0, at most 1"):
        layer_groups(staged(), decay)
