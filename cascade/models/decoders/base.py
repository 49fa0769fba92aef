"""What every decoder is: teacher forcing, one step further, and a state that a beam can reorder."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from cascade.text.vocabulary import Vocabulary

State = tuple[Tensor, ...]
"""All that a decoder remembers of the words so far; what is in it is the decoder's own affair."""


class Taught(NamedTuple):
    """What teacher forcing gives.

    Attributes:
        logits: ``(B, T, vocab_size)`` of each next word.
        states: ``(B, T, H)``, the top layer's state after each word.
        attention: ``(B, T, P)`` over the places of the feature map, or None.
    """

    logits: Tensor
    states: Tensor
    attention: Tensor | None


class Decoder(nn.Module):
    """Word by word from an image's features; the contract of all decoders.

    Attributes:
        input: ``pooled``: features are ``(B, D)``; ``map``: they are those of ``MapDecoder``.
        hidden: size ``H`` of the states.
        positions: most tokens that it can read, BOS included; None where there is no limit.

    Shape:
        - tokens: ``(B, T)``, from BOS on
        - logits: ``(B, T, vocab_size)``
        - states: ``(B, T, H)``
    """

    input: ClassVar[str] = "pooled"
    hidden: int
    positions: int | None = None
    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, num_features: int) -> None:
        """No feature statistics yet."""
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(num_features))
        self.register_buffer("feature_scale", torch.ones(num_features))

    def set_feature_statistics(self, features: Tensor) -> None:
        """Standardise by the mean and deviation of training features.

        Channels that the decoder has beyond those of ``features`` (of a condition) stay as they
        are.
        """
        raise NotImplementedError

    def _standardise_by(self, mean: Tensor, scale: Tensor) -> None:
        self.feature_mean.zero_()[: len(mean)] = mean.to(self.feature_mean)
        self.feature_scale.fill_(1.0)[: len(scale)] = scale.to(self.feature_scale).clamp_min(1e-3)

    def normalise(self, features: Tensor) -> Tensor:
        """Standardised features, rows first; done once for an image, before ``start``."""
        raise NotImplementedError

    def start(self, normalised: Tensor) -> State:
        """The state before the first token."""
        raise NotImplementedError

    def step(self, normalised: Tensor, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One word further: ``(B,)`` tokens in, ``(B, vocab_size)`` logits and a new state out."""
        raise NotImplementedError

    def teach(self, features: Tensor, tokens: Tensor) -> Taught:
        """Teacher forcing: logits of each next word, and the states, given the true words."""
        raise NotImplementedError

    def forward(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and states by teacher forcing."""
        taught = self.teach(features, tokens)
        return taught.logits, taught.states

    def reorder(self, state: State, rows: Tensor) -> State:
        """The state of other rows; a row is only ever replaced by a row of the same image."""
        raise NotImplementedError

    def select(self, state: State, rows: Tensor) -> State:
        """The state of any rows, other images' too: what belongs to the image moves along."""
        raise NotImplementedError

    def attention_of(self, state: State) -> Tensor | None:
        """``(B, P)``: where the last step looked, or None."""
        return None

    def extra_loss(self, taught: Taught, targets: Tensor) -> Tensor | None:
        """What training adds to the loss of the words, or None.

        Args:
            taught: of the batch.
            targets: ``(B, T)``, the next words, padded.
        """
        return None

    def load_initial(self, vocabulary: Vocabulary) -> str | None:
        """Load the weights that training starts from, where there are any; says what it found.

        Raises:
            ValueError: a file that does not fit.
        """
        return None

    def resolved(self) -> dict[str, Any]:
        """Settings that this decoder has read elsewhere and that a bundle needs to rebuild it."""
        return {}


class PooledDecoder(Decoder):
    """A decoder of pooled features, ``(B, D)``.

    Args:
        num_features: ``D``.
        dropout: on the features too.
    """

    def __init__(self, num_features: int, dropout: float) -> None:
        """No feature statistics yet."""
        super().__init__(num_features)
        self.dropout = nn.Dropout(dropout)

    def set_feature_statistics(self, features: Tensor) -> None:
        """Standardise by the mean and deviation of training features ``(N, D)``."""
        self._standardise_by(features.mean(dim=0), features.std(dim=0, correction=0))

    def normalise(self, features: Tensor) -> Tensor:
        """Standardised features; done once for an image, before ``start``."""
        return self.dropout((features - self.feature_mean) / self.feature_scale)


class MapDecoder(Decoder):
    """A decoder that looks at the places of a feature map.

    Features may be maps of several views, of one, or pooled vectors, which count as a map of one
    place. A view that a study lacks is NaN; nothing looks there. Beside its features a place has
    its row and column from -1 to 1, since "left" is a matter of place.

    Shape:
        - features: ``(B, V, D, H', W')``, ``(B, D, H', W')`` or ``(B, D)``
        - normalised: ``(B, P, D + 3)`` with ``P = V H' W'``: features, row, column, and 1 where
          there is something to see
    """

    input: ClassVar[str] = "map"
    beside = 2
    """Channels that a place has beside its features."""

    def __init__(self, num_features: int, dropout: float) -> None:
        """``dropout`` is on the features too."""
        super().__init__(num_features)
        self.dropout = nn.Dropout(dropout)

    def set_feature_statistics(self, features: Tensor) -> None:
        """Standardise by the mean and deviation over all places of training features."""
        count = 0
        channels = features.shape[channel_axis(features)]
        total = torch.zeros(channels, dtype=torch.float64)
        squares, centre = torch.zeros_like(total), torch.zeros_like(total)
        for part in features.split(64):  # half precision must not be blown up at once
            places = _places(part).flatten(0, 1).double()
            places = places[~places.isnan().any(dim=1)]
            if count == 0 and len(places):
                centre = places.mean(dim=0)  # near the mean: squares do not cancel
            count += len(places)
            total += (places - centre).sum(dim=0)
            squares += (places - centre).square().sum(dim=0)
        shift = total / max(count, 1)
        deviation = (squares / max(count, 1) - shift.square()).clamp_min(0).sqrt()
        self._standardise_by(centre + shift, deviation)

    def normalise(self, features: Tensor) -> Tensor:
        """Standardised places, each with where it is and whether there is anything."""
        places = _places(features).float()
        present = ~places.isnan().any(dim=2, keepdim=True)
        seen = self.dropout((places - self.feature_mean) / self.feature_scale)
        seen = seen.masked_fill(~present, 0.0)
        height, width = features.shape[-2:] if features.dim() > 2 else (1, 1)
        rows, columns = (_axis(size, places) for size in (height, width))
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=2).flatten(0, 1)
        views = places.shape[1] // len(grid)
        where = grid.repeat(views, 1).unsqueeze(0).expand(len(places), -1, -1)
        return torch.cat([seen, where, present.float()], dim=2)

    @staticmethod
    def seen(normalised: Tensor) -> tuple[Tensor, Tensor]:
        """What stands at each place ``(B, P, D + 2)``, and whether anything does ``(B, P)``."""
        return normalised[..., :-1], normalised[..., -1] > 0.5


def _places(features: Tensor) -> Tensor:
    """``(B, P, D)``."""
    if features.dim() == 2:
        return features.unsqueeze(1)
    if features.dim() == 4:
        features = features.unsqueeze(1)
    return features.permute(0, 1, 3, 4, 2).flatten(1, 3)


def _axis(size: int, like: Tensor) -> Tensor:
    if size == 1:
        return like.new_zeros(1)
    return torch.linspace(-1.0, 1.0, size, device=like.device)


def channel_axis(features: Tensor) -> int:
    """Where the channels of pooled features, maps or maps of several views are."""
    return 2 if features.dim() == 5 else 1


def open_forget_gates(network: nn.Module, hidden: int) -> None:
    """Start the forget-gate biases of an LSTM at 1: of its two biases of a gate one is 1, one 0."""
    for name, bias in network.named_parameters():
        if name.startswith("bias"):
            bias.data[hidden : 2 * hidden] = 1.0 if "_ih" in name else 0.0
