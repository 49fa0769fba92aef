"""Any image net of timm (the extra ``hub``), with random weights: nothing is downloaded."""

from __future__ import annotations

import difflib
import math
from typing import Any

from torch import Tensor, nn

from cascade.models.encoders.base import Encoder


class TimmEncoder(Encoder):
    """A net of timm behind the encoder's contract; its stages are timm's own groups of layers.

    Args:
        net: made with ``num_classes=0``.
        mean: of its input.
        std: of its input.
        groups: names of the net's parameters, a list a stage.
    """

    def __init__(
        self,
        net: Any,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        groups: list[list[str]],
    ) -> None:
        """All stages open."""
        super().__init__([net], int(net.num_features), rgb=True, mean=mean, std=std)
        self.groups = [set(names) for names in groups]
        self.open_stages = len(groups)

    @property
    def num_stages(self) -> int:
        """How many groups of layers timm knows, the head aside."""
        return len(self.groups)

    def forward(self, images: Tensor) -> Tensor:
        """The feature map of a batch, whichever order timm's net gives it in.

        Raises:
            ValueError: what the net gives is neither a map nor a grid of tokens.
        """
        net: Any = self.stages[0]
        maps = net.forward_features((images - self.mean) / self.std)
        depth = self.num_features
        if maps.ndim == 4:
            nhwc = getattr(net, "output_fmt", "NCHW") == "NHWC"
            return maps.permute(0, 3, 1, 2) if nhwc or maps.shape[1] != depth else maps
        tokens = maps[:, getattr(net, "num_prefix_tokens", 0) :] if maps.ndim == 3 else maps
        embed: Any = getattr(net, "patch_embed", None)
        if tokens.ndim == 3 and hasattr(embed, "dynamic_feat_size"):
            height, width = embed.dynamic_feat_size(tuple(images.shape[2:]))
        else:
            height = width = math.isqrt(tokens.shape[1])
        if tokens.ndim != 3 or height * width != tokens.shape[1]:
            raise ValueError(f"{type(net).__name__} of timm gives no feature map")
        return tokens.permute(0, 2, 1).unflatten(2, (height, width))

    def stage_parameters(self, index: int) -> list[nn.Parameter]:
        """The parameters of one of timm's groups."""
        named = self.stages[0].named_parameters()
        return [parameter for name, parameter in named if name in self.groups[index]]

    def frozen_modules(self) -> list[nn.Module]:
        """Modules that hold parameters, all of them of closed stages."""
        closed = set().union(*self.groups[: self.num_stages - self.open_stages])
        frozen = []
        for module_name, module in self.stages[0].named_modules():
            start = f"{module_name}." if module_name else ""
            names = {f"{start}{name}" for name, _ in module.named_parameters()}
            if names and names <= closed:
                frozen.append(module)
        return frozen


def timm(model: str | None = None, **options: Any) -> Encoder:
    """A net of timm by its name there.

    Args:
        model: such as ``resnet26d``.
        **options: of timm's ``create_model``: ``drop_path_rate``, ``img_size``...

    Raises:
        ValueError: timm is not installed, has no such net, or takes no such option.
    """
    if model is None:
        raise ValueError("encoder=timm needs encoder.model=NAME, a net of timm: resnet26d, ...")
    try:
        import timm as library  # type: ignore[import-not-found, unused-ignore]
        from timm.models import (  # type: ignore[import-not-found, unused-ignore]
            group_parameters,
        )
    except ImportError as error:
        raise ValueError(
            f"the encoder timm:{model} needs timm: pip install 'cascade-cxr[hub]'"
        ) from error
    name = model.split(".")[0]  # "vit_base_patch16_224.dino" names weights, which are not fetched
    if not library.is_model(name):
        close = difflib.get_close_matches(name, library.list_models(), 3)
        hint = f"; close to it: {', '.join(close)}" if close else ""
        raise ValueError(f"timm {library.__version__} has no net {name!r}{hint}")
    options = {"num_classes": 0, **options}
    try:
        net: Any = library.create_model(name, pretrained=False, **options)
        if getattr(net, "dynamic_img_size", None) is False:  # tokens: let pictures have any size
            net = library.create_model(name, pretrained=False, dynamic_img_size=True, **options)
    except TypeError as error:
        raise ValueError(f"timm's {name}: {error}") from error
    config = getattr(net, "pretrained_cfg", {})
    groups = group_parameters(net, net.group_matcher(coarse=True))
    named = [list(groups[index]) for index in sorted(groups)]
    shapes = {name: value.ndim for name, value in net.named_parameters()}
    if len(named) > 1 and all(shapes[name] == 1 for name in named[-1]):
        last = named.pop()  # a last norm is no stage of its own
        named[-1] += last
    return TimmEncoder(net, tuple(config["mean"]), tuple(config["std"]), named)
