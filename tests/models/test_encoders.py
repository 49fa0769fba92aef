import functools

import pytest
import torch
import torchvision.models
from safetensors.torch import save_file
from torchvision.models.vision_transformer import interpolate_embeddings

from cascade.models.encoders import (
    ENCODERS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    create_encoder,
    load_weights,
)

STAGES = {
    "tiny": 4,
    "nin": 4,
    "googlenet_bn": 5,
    "squeezenet1_1": 5,
    "resnet18": 5,
    "resnet50": 5,
    "densenet121": 5,
    "efficientnet_b0": 5,
    "convnext_tiny": 5,
    "vit_b_16": 13,
    "swin_t": 5,
}


@functools.cache
def shape_only(name):
    """An encoder without numbers: shapes, stages and gradients can be asked of it in no time."""
    with torch.device("meta"):
        return create_encoder(name)


def as_rgb(grey, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """The same picture as torchvision's nets want it: three equal channels, normalised."""
    mean, std = torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)
    return (grey.repeat(1, 3, 1, 1) - mean) / std


def test_every_encoder_of_the_table_is_tried_here():
    assert set(STAGES) | {"timm"} == set(ENCODERS)


@pytest.mark.parametrize("size", [64, 96, 160])
@pytest.mark.parametrize("name", STAGES)
def test_a_picture_gives_a_map_and_a_vector_of_the_channels_it_says(name, size):
    encoder = shape_only(name)
    maps = encoder(torch.zeros(2, 1, size, size, device="meta"))
    assert maps.ndim == 4
    assert maps.shape[:2] == (2, encoder.num_features)
    assert encoder.pool(maps).shape == (2, encoder.num_features)


@pytest.mark.parametrize("name", STAGES)
def test_a_picture_need_not_be_square(name):
    maps = shape_only(name)(torch.zeros(1, 1, 96, 64, device="meta"))
    assert maps.shape[2] > maps.shape[3] or name == "nin"


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_hold_each_parameter_once(name):
    encoder = shape_only(name)
    assert encoder.num_stages == STAGES[name]
    staged = [id(p) for i in range(encoder.num_stages) for p in encoder.stage_parameters(i)]
    assert len(staged) == len(set(staged))
    assert set(staged) == {id(p) for p in encoder.parameters()}


@pytest.mark.parametrize("name", STAGES)
def test_every_parameter_takes_part(name):
    encoder = shape_only(name)
    encoder.unfreeze(None)
    encoder.train()
    encoder.pool(encoder(torch.zeros(2, 1, 64, 64, device="meta"))).sum().backward()
    idle = [key for key, value in encoder.named_parameters() if value.grad is None]
    encoder.zero_grad()
    assert idle == []


def check_depths(encoder):
    """At each depth the last stages are open, and batch norm and dropout work in them alone."""
    total = encoder.num_stages
    for count in range(total + 1):
        encoder.unfreeze(count)
        encoder.train()  # as a training loop would call it
        opened = [all(p.requires_grad for p in encoder.stage_parameters(i)) for i in range(total)]
        closed = [
            not any(p.requires_grad for p in encoder.stage_parameters(i)) for i in range(total)
        ]
        assert opened == [False] * (total - count) + [True] * count
        assert closed == [not value for value in opened]
        for module in encoder.stages.modules():
            own = list(module.parameters())
            if own and not list(module.children()):
                assert module.training == own[0].requires_grad
    encoder.unfreeze(0)
    drops = [m for m in encoder.modules() if type(m).__name__.startswith(("Drop", "Stochastic"))]
    assert not any(module.training for module in drops)
    encoder.unfreeze(None)
    assert all(p.requires_grad for p in encoder.parameters())


@pytest.mark.parametrize("name", STAGES)
def test_unfreeze_opens_the_last_stages_only(name):
    check_depths(shape_only(name))


def test_statistics_of_frozen_stages_do_not_move():
    encoder = create_encoder("tiny", width=4)
    encoder.unfreeze(2)
    encoder.train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder(torch.rand(4, 1, 32, 32))
    moved = {
        key.split(".")[1]
        for key, value in encoder.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert moved == {"2", "3"}


HEADS = {  # what names the head's tensors, and the layer that is given the pooled vector
    "squeezenet1_1": ("classifier.", None),
    "resnet18": ("fc.", "fc"),
    "resnet50": ("fc.", "fc"),
    "densenet121": ("classifier.", "classifier"),
    "googlenet": ("fc.", "fc"),
    "efficientnet_b0": ("classifier.", "classifier.1"),
    "convnext_tiny": ("classifier.2.", "classifier.2"),
    "swin_t": ("head.", "head"),
    "vit_b_16": ("heads.", None),
}
OURS = {"googlenet": "googlenet_bn"}
# One file format is enough for these.
BIG = ("resnet50", "convnext_tiny", "vit_b_16", "swin_t")


def torchvision_net(name, **options):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net = getattr(torchvision.models, name)(weights=None, **options)
    for key, value in net.state_dict().items():
        if key.endswith("running_var"):  # statistics that tell a lost tensor
            value.copy_(torch.rand(value.shape, generator=generator) * 0.1 + 0.05)
        elif key.endswith("running_mean"):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
        elif key.endswith("layer_scale"):  # 1e-6 would hide the blocks
            value.fill_(1.0)
    return net.eval()


def reference(name, net, rgb):
    """The feature map and the vector that torchvision's own net gives its head."""
    seen = {}

    def keep(key):
        return lambda module, args, *out: seen.__setitem__(key, (out or args)[0])

    if name == "vit_b_16":
        net.encoder.register_forward_hook(keep("tokens"))
        net(rgb)
        side = rgb.shape[2] // 16
        maps = seen["tokens"][:, 1:].permute(0, 2, 1).reshape(len(rgb), -1, side, side)
        return maps, None
    if name == "squeezenet1_1":
        return net.features(rgb), None
    if name == "densenet121":
        net.features.register_forward_hook(lambda m, a, out: seen.setdefault("map", out.relu()))
    else:
        net.avgpool.register_forward_pre_hook(keep("map"))
    net.get_submodule(HEADS[name][1]).register_forward_pre_hook(keep("vector"))
    net(rgb)
    return seen["map"], seen["vector"]


def written(state, path, suffix):
    """A weight file: safetensors, or as DataParallel saves, inside a training checkpoint."""
    file = path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, file)
    return file


@pytest.mark.parametrize(
    ("name", "suffix"),
    [(name, ".safetensors") for name in HEADS]
    + [(name, ".pth") for name in HEADS if name not in BIG],
)
@torch.no_grad()
def test_a_grey_image_gives_what_torchvision_gives_for_it_as_rgb(name, suffix, tmp_path):
    options, ours = {}, {}
    if name == "vit_b_16":
        options = ours = {"image_size": 64}
    if name == "googlenet":  # as its published weights want it
        options = {"transform_input": True, "init_weights": False, "aux_logits": False}
    net = torchvision_net(name, **options)
    path = written(net.state_dict(), tmp_path, suffix)
    encoder = create_encoder(OURS.get(name, name), **ours)
    report = load_weights(encoder, path)
    encoder.eval()
    head = {key for key in net.state_dict() if key.startswith(HEADS[name][0])}
    assert (report.missing, report.mismatched) == ([], [])
    assert {key.removeprefix("module.") for key in report.unused} == head
    assert report.loaded == len(net.state_dict()) - len(head)
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    maps, vector = reference(name, net, as_rgb(images))
    found = encoder(images)
    # the same operations; only googlenet's normalisation takes another way to the same numbers
    exact = name != "googlenet"
    torch.testing.assert_close(found, maps, atol=0 if exact else 1e-2, rtol=0 if exact else 1e-2)
    assert float(found.std()) > 0
    if vector is not None:
        close = 1e-5 if exact else 1e-2
        torch.testing.assert_close(encoder.pool(found), vector, atol=close, rtol=close)


@torch.no_grad()
def test_a_vit_reads_another_size_as_torchvision_interpolates_it(tmp_path):
    net = torchvision_net("vit_b_16", image_size=64)
    state = net.state_dict()
    # the published file is older than torchvision's code: mlp.0 was mlp.linear_1
    old = {
        k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v
        for k, v in state.items()
    }
    assert "encoder.layers.encoder_layer_0.mlp.linear_1.weight" in old
    save_file(old, tmp_path / "w.safetensors")
    wider = torchvision_net("vit_b_16", image_size=96)
    wider.load_state_dict(interpolate_embeddings(96, 16, dict(state)))
    images = torch.rand(1, 1, 96, 96)
    expected, _ = reference("vit_b_16", wider, as_rgb(images))
    for image_size in (64, 96):  # interpolated for each picture, and once while loading
        encoder = create_encoder("vit_b_16", image_size=image_size).eval()
        assert load_weights(encoder, tmp_path / "w.safetensors").missing == []
        torch.testing.assert_close(encoder(images), expected, atol=1e-4, rtol=1e-4)


def test_a_picture_smaller_than_a_patch_is_refused():
    with pytest.raises(ValueError, match="16 pixels or more"):
        shape_only("vit_b_16")(torch.zeros(1, 1, 8, 32, device="meta"))


def kinds(encoder):
    return {type(module).__name__ for module in encoder.modules()}


def test_nin_has_batch_norm_or_dropout():
    with torch.device("meta"):
        batch, bare = create_encoder("nin"), create_encoder("nin", norm="none", dropout=0.5)
    assert ("BatchNorm2d" in kinds(batch), "Dropout" in kinds(batch)) == (True, False)
    assert ("BatchNorm2d" in kinds(bare), "Dropout" in kinds(bare)) == (False, True)
    assert bare(torch.zeros(1, 1, 64, 64, device="meta")).shape[1] == 1024
    # Lin et al.: 11x11, 5x5, 3x3, 3x3, each followed by 1x1
    convolutions = [m.kernel_size[0] for m in bare.modules() if isinstance(m, torch.nn.Conv2d)]
    assert convolutions == [11, 1, 1, 5, 1, 1, 3, 1, 1, 3, 1]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vgg", {}, r"unknown encoder 'vgg', expected one of \['convnext_tiny'.*or timm:NET"),
        ("tiny:x", {}, "unknown encoder 'tiny:x'"),
        ("tiny", {"depth": 3}, "the encoder tiny takes no depth: its options are width"),
        ("resnet18", {"width": 3}, "the encoder resnet18 takes no width: it has no options"),
        ("nin", {"norm": "layer"}, "unknown encoder.norm 'layer'"),
        ("nin", {"dropout": 1.0}, "encoder.dropout=1.0"),
        ("vit_b_16", {"image_size": 8}, "encoder.image_size=8: expected 16 or more"),
        ("timm", {}, "needs encoder.model=NAME"),
        ("timm:resnet18", {"model": "resnet34"}, "which?"),
    ],
)
def test_errors_list_the_choices(name, options, message):
    with pytest.raises(ValueError, match=message):
        create_encoder(name, **options)


def test_a_depth_that_is_not_there():
    with pytest.raises(ValueError, match="encoder.unfreeze=5: this encoder has 0 to 4 stages"):
        create_encoder("tiny", width=4).unfreeze(5)


def test_a_crop_is_the_centre_of_a_larger_picture():
    encoder = create_encoder("tiny", width=4).eval()
    images = torch.rand(2, 1, 36, 40)
    centre = encoder(images[:, :, 2:34, 4:36])
    encoder.crop = 32
    assert torch.equal(encoder(images), centre)
    assert torch.equal(encoder(images[:, :, 2:34, 4:36]), centre)
