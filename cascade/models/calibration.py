"""From label scores to probabilities that mean what they say, as fitted on validation.

``cascade.training.calibrate`` fits; this applies, on any device, and goes to JSON and back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cascade.models.heads import probabilities

METHODS = ("none", "temperature", "platt", "isotonic")


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well the probabilities of the diseases agreed with the validation studies.

    Each is a mean over the diseases that validation has both present and absent; None where there
    is no such disease, or too few patients for folds.

    Attributes:
        studies: of validation.
        error: expected calibration error of the scores as trained.
        brier: their Brier score.
        calibrated_error: of calibrated scores, each study's by a calibration that was fitted on
            other patients (cross-fitting).
        calibrated_brier: likewise.
    """

    studies: int
    error: float | None = None
    brier: float | None = None
    calibrated_error: float | None = None
    calibrated_brier: float | None = None


class Calibration(nn.Module):
    """Scores to probabilities: a line through each score, then softmax or sigmoid, then knots.

    Args:
        exclusive: softmax or sigmoid.
        method: of ``METHODS``, the name of what was fitted.
        scale: K numbers above 0, one over the temperature of each label; None: 1.
        bias: K numbers; None: 0.
        knots: for each label None, or rising places in [0, 1] and the values there, between which
            probabilities are interpolated; None: none. Exclusive labels are made to add up to 1
            again.
        kept: labels left as they were: too few of a class in validation.
        agreement: how well it did.

    Shape:
        - logits: ``(B, K)``
        - output: ``(B, K)`` in [0, 1]
    """

    scale: Tensor | None
    bias: Tensor | None
    places: Tensor | None
    values: Tensor | None

    def __init__(
        self,
        exclusive: bool,
        method: str = "none",
        scale: Sequence[float] | None = None,
        bias: Sequence[float] | None = None,
        knots: Sequence[tuple[Sequence[float], Sequence[float]] | None] | None = None,
        kept: Sequence[str] = (),
        agreement: Agreement | None = None,
    ) -> None:
        """Hold the numbers; they are no weights, and stand in no state dict.

        Raises:
            ValueError: unknown method, or numbers that cannot be.
        """
        super().__init__()
        if method not in METHODS:
            raise ValueError(f"unknown calibration {method!r}, expected one of {list(METHODS)}")
        if scale is not None and not all(value > 0 for value in scale):
            raise ValueError("a calibration's scale has to be more than 0")
        self.exclusive, self.method = exclusive, method
        self.kept, self.agreement = list(kept), agreement
        self.knots = [None if k is None else (list(k[0]), list(k[1])) for k in knots or ()]
        places, values = _padded(self.knots) if self.knots else (None, None)
        numbers = (
            ("scale", None if scale is None else torch.tensor(scale, dtype=torch.float32)),
            ("bias", None if bias is None else torch.tensor(bias, dtype=torch.float32)),
            ("places", places),
            ("values", values),
        )
        for name, tensor in numbers:
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Probabilities of the labels."""
        if self.scale is not None:
            logits = logits * self.scale
        if self.bias is not None:
            logits = logits + self.bias
        found = probabilities(logits, self.exclusive)
        if self.places is None or self.values is None:
            return found
        bent = interpolated(found, self.places, self.values)
        if not self.exclusive:
            return bent
        total = bent.sum(dim=1, keepdim=True)
        return torch.where(total > 0, bent / total.clamp(min=1e-12), found)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "method": self.method,
            "scale": None if self.scale is None else self.scale.tolist(),
            "bias": None if self.bias is None else self.bias.tolist(),
            "knots": [None if k is None else list(k) for k in self.knots] or None,
            "kept": self.kept,
            "agreement": None if self.agreement is None else dataclasses.asdict(self.agreement),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None, exclusive: bool, count: int) -> Calibration:
        """Of a bundle's config; None, as bundles of before have it: nothing was fitted.

        Raises:
            KeyError, TypeError, ValueError: not a calibration of ``count`` labels.
        """
        if value is None:
            return cls(exclusive)
        for key in ("scale", "bias", "knots"):
            if value[key] is not None and len(value[key]) != count:
                raise ValueError(f"the calibration's {key} is not of {count} labels")
        agreement = value["agreement"]
        return cls(
            exclusive,
            value["method"],
            value["scale"],
            value["bias"],
            value["knots"],
            value["kept"],
            None if agreement is None else Agreement(**agreement),
        )


def _padded(
    knots: Sequence[tuple[Sequence[float], Sequence[float]] | None],
) -> tuple[Tensor, Tensor]:
    """Knots as two tensors ``(K, P)``, filled up by the last one; None leaves a label as it is."""
    lines = [([0.0, 1.0], [0.0, 1.0]) if pair is None else pair for pair in knots]
    width = max(len(places) for places, _ in lines)
    out = []
    for side in (0, 1):
        rows = [[*line[side], *[line[side][-1]] * (width - len(line[side]))] for line in lines]
        out.append(torch.tensor(rows, dtype=torch.float32))
    return out[0], out[1]


def interpolated(found: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Each column of ``found`` on the line through its knots, flat beyond the outer ones.

    Shape:
        - found: ``(B, K)``
        - places, values: ``(K, P)``, places rising
        - output: ``(B, K)``

    >>> places, values = torch.tensor([[0.0, 0.5]]), torch.tensor([[0.2, 0.4]])
    >>> interpolated(torch.tensor([[0.25], [0.9]]), places, values)
    tensor([[0.3000],
            [0.4000]])
    """
    columns = found.T.contiguous().to(places.dtype)
    after = torch.searchsorted(places, columns).clamp(max=places.shape[1] - 1)
    before = (after - 1).clamp(min=0)
    left, right = places.gather(1, before), places.gather(1, after)
    low, high = values.gather(1, before), values.gather(1, after)
    width = right - left
    share = torch.where(
        width > 0, (columns - left) / width.clamp(min=1e-12), torch.ones_like(width)
    )
    return torch.lerp(low, high, share.clamp(0, 1)).T.contiguous()
