"""Encoders by name with one contract: one-channel images in, a feature map out.

``__init__`` builds random weights; ``load_weights`` reads a local file. Nothing is downloaded.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cascade.errors import InputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """A CNN without its head, cut into stages.

    Args:
        stages: run in order; the unit of ``unfreeze``.
        num_features: channels of the last stage.
        rgb: the trunk takes ImageNet-normalised RGB; grey images are repeated over the channels,
            which gives exactly what the trunk would give for the same picture stored as RGB.

    Shape:
        - images: ``(B, 1, H, W)`` in [0, 1]
        - output: ``(B, D, H', W')`` with ``D = self.num_features``
    """

    mean: Tensor
    std: Tensor

    def __init__(self, stages: Iterable[nn.Module], num_features: int, rgb: bool) -> None:
        """All stages open."""
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.num_features = num_features
        self.rgb = rgb
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if rgb else ((0.5,), (0.25,))
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.open_stages = len(self.stages)

    def forward(self, images: Tensor) -> Tensor:
        """The feature map of a batch."""
        maps = (images - self.mean) / self.std
        for stage in self.stages:
            maps = stage(maps)
        return maps

    def unfreeze(self, count: int | None) -> None:
        """Train the last ``count`` stages only; None trains all.

        Raises:
            ValueError: there are not so many stages.
        """
        total = len(self.stages)
        count = total if count is None else count
        if not 0 <= count <= total:
            raise ValueError(f"encoder.unfreeze={count}: this encoder has 0 to {total} stages")
        self.open_stages = count
        for index, stage in enumerate(self.stages):
            stage.requires_grad_(index >= total - count)
        self.train(self.training)

    def train(self, mode: bool = True) -> Encoder:
        """Training mode; frozen stages stay in evaluation mode, their batch statistics fixed."""
        super().train(mode)
        for stage in self.stages[: len(self.stages) - self.open_stages]:
            stage.eval()
        return self


def _tiny(width: int = 24) -> Encoder:
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


def _squeezenet() -> Encoder:
    from torchvision.models import squeezenet1_1

    features = squeezenet1_1(weights=None).features
    # A stage ends before each pooling; the last four Fires are two stages.
    cuts = [0, 3, 6, 9, 11, 13]
    stages = [features[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    return Encoder(stages, 512, rgb=True)


def _resnet(name: str, num_features: int) -> Encoder:
    import torchvision.models

    net = getattr(torchvision.models, name)(weights=None)
    cuts = [("conv1", "bn1", "relu", "maxpool"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)]
    stages = [nn.Sequential(OrderedDict((n, getattr(net, n)) for n in names)) for names in cuts]
    return Encoder(stages, num_features, rgb=True)


def _densenet121() -> Encoder:
    from torchvision.models import densenet121

    features = densenet121(weights=None).features
    cuts = [0, 4, 6, 8, 10, 12]
    stages = [features[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    stages[-1].add_module("relu5", nn.ReLU(inplace=True))  # torchvision applies it outside features
    return Encoder(stages, 1024, rgb=True)


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "tiny": _tiny,
    "squeezenet1_1": _squeezenet,
    "resnet18": lambda: _resnet("resnet18", 512),
    "resnet50": lambda: _resnet("resnet50", 2048),
    "densenet121": _densenet121,
}


def create_encoder(name: str, **kwargs: int) -> Encoder:
    """An encoder with random weights.

    >>> create_encoder("tiny", width=4)(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 32, 2, 2])

    Raises:
        ValueError: unknown name.
    """
    if name not in ENCODERS:
        raise ValueError(f"unknown encoder {name!r}, expected one of {sorted(ENCODERS)}")
    return ENCODERS[name](**kwargs)


class LoadReport(NamedTuple):
    """What a weight file gave: tensors loaded, tensors of the encoder left random, names unused."""

    loaded: int
    missing: list[str]
    unused: list[str]


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"the weight file {path} does not exist") from error
    except Exception as error:  # each reader has its own errors for a bad file
        raise InputError(f"{path} is not a readable weight file: {type(error).__name__}") from error
    if not isinstance(state, dict):
        raise InputError(f"{path} holds a {type(state).__name__}, not named weights")
    for key in ("state_dict", "model"):
        if isinstance(state.get(key), dict):
            state = state[key]
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


_PREFIXES = ("module.", "model.", "encoder.", "backbone.", "features.")
# torchvision's published DenseNet weights are older than its code: "norm.1" is now "norm1".
_OLD_DENSE = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def _strip(name: str) -> str:
    changed = True
    while changed:
        changed = False
        for prefix in _PREFIXES:
            if name.startswith(prefix):
                name, changed = name[len(prefix) :], True
    return _OLD_DENSE.sub(r"\1\2", name)


def load_weights(encoder: Encoder, path: str | Path) -> LoadReport:
    """Load trunk weights from a local safetensors file, or a ``.pth`` read with ``weights_only``.

    Names are matched without ``module.``-like prefixes: ours, or those of the uncut torchvision
    trunk, whose children keep their names within the stages. A tensor of another shape is not
    loaded.

    Raises:
        InputError: not a weight file, or nothing in it fits the encoder.
    """
    state = {_strip(key): value for key, value in _read_state(Path(path)).items()}
    own = encoder.state_dict()
    matched: dict[str, Tensor] = {}
    for key, value in own.items():
        uncut = key.split(".", 2)[2]  # "stages.1.3.squeeze.weight" is "3.squeeze.weight"
        for name in (key, uncut):
            if name in state and state[name].shape == value.shape:
                matched[key] = state.pop(name)
                break
    if not matched:
        raise InputError(f"no tensor of {path} fits this encoder: another network's weights?")
    encoder.load_state_dict(matched, strict=False)
    missing = [key for key in own if key not in matched]
    return LoadReport(len(matched), missing, sorted(state))
