import pytest
import torch
import torchvision.models
from safetensors.torch import save_file

from cascade.errors import InputError
from cascade.models.encoders import (
    ENCODERS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    create_encoder,
    load_weights,
)


def as_rgb(grey):
    """The same picture as torchvision's nets want it: three equal channels, normalised."""
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return (grey.repeat(1, 3, 1, 1) - mean) / std


def resnet_map(net, rgb):
    maps = net.maxpool(net.relu(net.bn1(net.conv1(rgb))))
    return net.layer4(net.layer3(net.layer2(net.layer1(maps))))


TRUNKS = {
    # name: (map of torchvision's own net, tensors of the trunk, names of the head)
    "squeezenet1_1": (
        lambda net, rgb: net.features(rgb),
        50,  # (conv1 + 8 fires of 3) x weight and bias
        ["classifier.1.bias", "classifier.1.weight"],
    ),
    "resnet18": (
        resnet_map,
        120,  # 20 convolutions + 20 batch norms of 5
        ["fc.bias", "fc.weight"],
    ),
    "densenet121": (
        lambda net, rgb: torch.relu(net.features(rgb)),
        725,  # 120 convolutions + 121 batch norms of 5
        ["classifier.bias", "classifier.weight"],
    ),
}


def torchvision_net(name):
    net = getattr(torchvision.models, name)(weights=None)
    generator = torch.Generator().manual_seed(0)
    for key, value in net.state_dict().items():  # statistics that tell a lost tensor
        if key.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return net.eval()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", TRUNKS)
def test_a_grey_image_gives_what_torchvision_gives_for_it_as_rgb(name, suffix, tmp_path):
    reference, tensors, head = TRUNKS[name]
    net = torchvision_net(name)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":  # as DataParallel saves, inside a training checkpoint
        state = {f"module.{key}": value for key, value in net.state_dict().items()}
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        save_file(net.state_dict(), path)
    encoder = create_encoder(name)
    report = load_weights(encoder, path)
    encoder.eval()
    assert report == (tensors, [], head)
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        maps, expected = encoder(images), reference(net, as_rgb(images))
    assert maps.shape[1] == encoder.num_features
    assert torch.equal(maps, expected)


def test_the_published_densenet_names_are_known(tmp_path):
    # densenet121-a639ec97.pth is older than torchvision's code: norm.1 is norm1 today
    net = torchvision_net("densenet121")
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.")
        if "denselayer" in key
        else key: value
        for key, value in net.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")
    assert load_weights(create_encoder("densenet121"), tmp_path / "old.pth").loaded == 725


@pytest.mark.realdata
def test_the_real_squeezenet_weights_load_whole(real_data):
    encoder = create_encoder("squeezenet1_1")
    path = real_data / "weights" / "squeezenet1_1_imagenet_features.safetensors"
    assert load_weights(encoder, path) == (50, [], [])


def test_our_own_names_load_too(tmp_path):
    source, target = create_encoder("tiny", width=4), create_encoder("tiny", width=4)
    state = {f"encoder.{key}": value for key, value in source.state_dict().items()}
    torch.save(state, tmp_path / "own.pth")
    report = load_weights(target, tmp_path / "own.pth")
    assert report == (len(source.state_dict()), [], [])
    images = torch.rand(1, 1, 32, 32)
    assert torch.equal(source.eval()(images), target.eval()(images))


def test_a_tensor_of_another_shape_stays_random_and_is_named(tmp_path):
    encoder = create_encoder("tiny", width=4)
    state = {key: torch.ones_like(value) for key, value in encoder.state_dict().items()}
    state["stages.0.0.0.weight"] = torch.ones(9, 1, 3, 3)
    state["head.weight"] = torch.ones(2, 32)
    save_file(state, tmp_path / "w.safetensors")
    before = encoder.stages[0][0][0].weight.clone()
    report = load_weights(encoder, tmp_path / "w.safetensors")
    assert report.loaded == len(state) - 2
    assert report.missing == ["stages.0.0.0.weight"]
    assert report.unused == ["head.weight", "stages.0.0.0.weight"]
    assert torch.equal(encoder.stages[0][0][0].weight, before)


def write_nothing(path):
    return None


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("absent.pth", write_nothing, "does not exist"),
        ("absent.safetensors", write_nothing, "does not exist"),
        ("text.pth", lambda p: p.write_text("no"), "not a readable weight file"),
        ("text.safetensors", lambda p: p.write_text("no"), "not a readable weight file"),
        ("list.pth", lambda p: torch.save([torch.ones(1)], p), "holds a list, not named weights"),
        ("other.pth", lambda p: torch.save({"a": torch.ones(1)}, p), "another network's weights"),
    ],
)
def test_a_bad_weight_file_is_one_line(name, write, message, tmp_path):
    write(tmp_path / name)
    with pytest.raises(InputError, match=message):
        load_weights(create_encoder("tiny", width=4), tmp_path / name)


STAGES = {"tiny": 4, "squeezenet1_1": 5, "resnet18": 5, "resnet50": 5, "densenet121": 5}


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_says_its_channels(name):
    encoder = create_encoder(name).eval()
    assert len(encoder.stages) == STAGES[name]
    with torch.no_grad():
        assert encoder(torch.rand(1, 1, 64, 64)).shape[:2] == (1, encoder.num_features)


def open_stages(encoder):
    return [all(p.requires_grad for p in stage.parameters()) for stage in encoder.stages]


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_unfreeze_opens_the_last_stages_only(count):
    encoder = create_encoder("tiny", width=4)
    encoder.unfreeze(count)
    closed = 4 - count
    assert open_stages(encoder) == [False] * closed + [True] * count
    assert not any(p.requires_grad for s in encoder.stages[:closed] for p in s.parameters())
    assert [stage.training for stage in encoder.stages] == [False] * closed + [True] * count


def test_unfreeze_none_opens_all_again():
    encoder = create_encoder("tiny", width=4)
    encoder.unfreeze(1)
    encoder.unfreeze(None)
    assert open_stages(encoder) == [True] * 4
    assert all(module.training for module in encoder.modules())


def test_statistics_of_frozen_stages_do_not_move():
    encoder = create_encoder("tiny", width=4)
    encoder.unfreeze(2)
    encoder.train()  # as a training loop would call it
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder(torch.rand(4, 1, 32, 32))
    moved = {
        key.split(".")[1]
        for key, value in encoder.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert moved == {"2", "3"}


def test_errors_list_the_choices():
    with pytest.raises(ValueError, match=r"unknown encoder 'vgg', expected one of \['densenet121'"):
        create_encoder("vgg")
    with pytest.raises(ValueError, match="encoder.unfreeze=5: this encoder has 0 to 4 stages"):
        create_encoder("tiny", width=4).unfreeze(5)
