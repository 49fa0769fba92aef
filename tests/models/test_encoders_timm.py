import sys

import pytest
import torch

from cascade.models.encoders import create_encoder, load_weights

NETS = {  # a net with: maps, channels last, tokens behind a class token, a head's norm
    "resnet18": 5,
    "swin_tiny_patch4_window7_224": 5,
    "vit_tiny_patch16_224": 13,
    "convnext_atto": 5,
}


def needs_timm():
    return pytest.importorskip("timm", reason="timm (the extra hub) is not installed")


@pytest.mark.parametrize("name", NETS)
def test_a_net_of_timm_keeps_the_contract(name):
    needs_timm()
    encoder = create_encoder(f"timm:{name}").eval()
    assert encoder.num_stages == NETS[name]
    for size, side in ((224, 7), (160, 5)):
        if name.startswith("vit"):
            side *= 2
        with torch.no_grad():
            maps = encoder(torch.rand(1, 1, size, size))
        assert maps.shape == (1, encoder.num_features, side, side)
        assert encoder.pool(maps).shape == (1, encoder.num_features)
    staged = [id(p) for i in range(encoder.num_stages) for p in encoder.stage_parameters(i)]
    assert sorted(staged) == sorted(id(p) for p in encoder.parameters())


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_its_frozen_layers_stay_in_evaluation_mode(name):
    needs_timm()
    encoder = create_encoder(f"timm:{name}", drop_path_rate=0.1)
    for count in range(encoder.num_stages + 1):
        encoder.unfreeze(count)
        encoder.train()
        leaves = [m for m in encoder.stages.modules() if not list(m.children())]
        for module in (m for m in leaves if list(m.parameters())):
            assert module.training == next(module.parameters()).requires_grad
    encoder.unfreeze(0)
    assert not any(m.training for m in encoder.modules() if type(m).__name__ == "DropPath")


@torch.no_grad()
def test_a_grey_image_gives_what_timm_gives_for_it_as_rgb(tmp_path):
    timm = needs_timm()
    net = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=3).eval()
    torch.save({"model": net.state_dict()}, tmp_path / "w.pth")
    encoder = create_encoder("timm", model="vit_tiny_patch16_224.augreg_in21k").eval()
    report = load_weights(encoder, tmp_path / "w.pth")
    assert (report.missing, report.unused) == ([], ["head.bias", "head.weight"])
    images = torch.rand(1, 1, 224, 224)
    tokens = net.forward_features((images.repeat(1, 3, 1, 1) - 0.5) / 0.5)  # this net's own
    expected = tokens[:, 1:].permute(0, 2, 1).reshape(1, 192, 14, 14)
    torch.testing.assert_close(encoder(images), expected, atol=1e-4, rtol=1e-4)


def test_an_unknown_net_and_an_unknown_option_are_named():
    needs_timm()
    with pytest.raises(ValueError, match=r"has no net 'resnet19'; close to it: .*resnet18"):
        create_encoder("timm:resnet19")
    with pytest.raises(ValueError, match="timm's resnet18: .*colour"):
        create_encoder("timm:resnet18", colour=3)


def test_without_timm_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"needs timm: pip install"):
        create_encoder("timm:resnet18")
