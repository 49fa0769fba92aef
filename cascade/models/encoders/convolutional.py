"""Convolutional encoders: our own, the paper's, and torchvision's trunks cut into stages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from cascade.models.encoders.base import Encoder


def tiny(width: int = 24) -> Encoder:
    """Four stages, seven 3x3 convolutions; for the demo, two CPU cores and 64 to 160 px."""

    def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    widths = [width, width * 2, width * 4, width * 8]
    stages: list[nn.Module] = [nn.Sequential(block(1, width, 2))]
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        stages.append(nn.Sequential(block(inputs, outputs, 2), block(outputs, outputs, 1)))
    return Encoder(stages, widths[-1], rgb=False)


def nin(norm: str = "batch", dropout: float = 0.0) -> Encoder:
    """Network in Network (Lin et al. 2014) for ImageNet, without its last 1x1 convolution.

    That convolution gives the class scores, whose mean over the map is what a linear head gives on
    the mean of the map. Shin et al. 2016 train it with batch norm or with dropout.

    Args:
        norm: ``batch`` after each convolution, or ``none``.
        dropout: after each of the first three blocks, 0.5 in the paper of Lin et al.

    Raises:
        ValueError: unknown ``norm``, or a dropout outside [0, 1).
    """
    if norm not in ("batch", "none"):
        raise ValueError(f"unknown encoder.norm {norm!r}, expected 'batch' or 'none'")
    if not 0 <= dropout < 1:
        raise ValueError(f"encoder.dropout={dropout}: expected 0 or more, less than 1")

    def unit(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
        bare = norm == "none"
        conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=bare)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        if bare:
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # bias=True makes one
            return [conv, nn.ReLU(inplace=True)]
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    # inputs, outputs, kernel, stride, padding, how many 1x1 convolutions follow
    blocks = [(3, 96, 11, 4, 2, 2), (96, 256, 5, 1, 2, 2), (256, 384, 3, 1, 1, 2)]
    blocks.append((384, 1024, 3, 1, 1, 1))
    stages: list[nn.Module] = []
    for inputs, outputs, kernel, stride, padding, follow in blocks:
        layers: list[nn.Module] = []
        if stages:
            layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            if dropout:
                layers.append(nn.Dropout(dropout))
        layers += unit(inputs, outputs, kernel, stride, padding)
        for _ in range(follow):
            layers += unit(outputs, outputs, 1, 1, 0)
        stages.append(nn.Sequential(*layers))
    return Encoder(stages, 1024, rgb=True)


def squeezenet1_1() -> Encoder:
    """SqueezeNet 1.1; a stage ends before each pooling, the last four Fires are two stages."""
    from torchvision.models import squeezenet1_1

    stages = _slices(squeezenet1_1(weights=None).features, [0, 3, 6, 9, 11, 13])
    return Encoder(stages, 512, rgb=True, torchvision="squeezenet1_1")


def resnet18() -> Encoder:
    """ResNet-18; the stem and four stages."""
    return _resnet("resnet18", 512)


def resnet50() -> Encoder:
    """ResNet-50; the stem and four stages."""
    return _resnet("resnet50", 2048)


def _resnet(name: str, num_features: int) -> Encoder:
    import torchvision.models

    net = getattr(torchvision.models, name)(weights=None)
    cuts = [("conv1", "bn1", "relu", "maxpool"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)]
    return Encoder(_named(net, cuts), num_features, rgb=True, torchvision=name)


def densenet121() -> Encoder:
    """DenseNet-121, CheXNet's; the stem and four blocks, each with the transition after it."""
    from torchvision.models import densenet121

    stages = _slices(densenet121(weights=None).features, [0, 4, 6, 8, 10, 12])
    stages[-1].add_module("relu5", nn.ReLU(inplace=True))  # torchvision applies it outside features
    return Encoder(stages, 1024, rgb=True, torchvision="densenet121")


def googlenet_bn() -> Encoder:
    """GoogLeNet (Szegedy et al. 2015) with batch norm after each convolution, no auxiliary heads.

    The published weights take RGB normalised to [-1, 1]: torchvision converts ImageNet's
    normalisation to that (``transform_input``), here it is the encoder's own.
    """
    from torchvision.models import googlenet

    net = googlenet(weights=None, aux_logits=False, init_weights=True)
    cuts = [
        ("conv1",),
        ("maxpool1", "conv2", "conv3"),
        ("maxpool2", "inception3a", "inception3b"),
        ("maxpool3", *(f"inception4{letter}" for letter in "abcde")),
        ("maxpool4", "inception5a", "inception5b"),
    ]
    half = (0.5, 0.5, 0.5)
    stages = _named(net, cuts)
    return Encoder(stages, 1024, rgb=True, mean=half, std=half, torchvision="googlenet")


def efficientnet_b0() -> Encoder:
    """EfficientNet-B0; a stage is what works at one resolution."""
    from torchvision.models import efficientnet_b0

    stages = _slices(efficientnet_b0(weights=None).features, [0, 2, 3, 4, 6, 9])
    return Encoder(stages, 1280, rgb=True, torchvision="efficientnet_b0")


def convnext_tiny() -> Encoder:
    """ConvNeXt-T; the stem and four stages, each after its own downsampling.

    Its head normalises the pooled vector, so ``pool`` does.
    """
    from torchvision.models import convnext_tiny

    stages = _slices(convnext_tiny(weights=None).features, [0, 1, 2, 4, 6, 8])
    norm = nn.LayerNorm(768, eps=1e-6)
    return Encoder(stages, 768, rgb=True, pool_norm=norm, torchvision="convnext_tiny")


def _slices(features: nn.Sequential, cuts: Sequence[int]) -> list[nn.Module]:
    """Stages of a sequence; its children keep their names in them."""
    return [features[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]


def _named(net: nn.Module, cuts: Sequence[Sequence[str]]) -> list[nn.Module]:
    """Stages of a net's children, which keep their names in them."""
    return [nn.Sequential(OrderedDict((n, getattr(net, n)) for n in names)) for names in cuts]
