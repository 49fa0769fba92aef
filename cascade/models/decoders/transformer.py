"""A small pre-norm transformer that looks at the feature map (Vaswani et al. 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from cascade.models.decoders.base import MapDecoder, State, Taught
from cascade.text.vocabulary import PAD


class Block(nn.Module):
    """Self-attention, attention over the places, two linear layers; each after its own norm.

    Shape:
        - words: ``(B, T, H)``
        - keys, values: ``(B, heads, S, H / heads)``
    """

    def __init__(self, hidden: int, heads: int, feedforward: int, dropout: float) -> None:
        """Random weights."""
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.norm_self, self.norm_cross, self.norm_forward = (
            nn.LayerNorm(hidden) for _ in range(3)
        )
        self.read_self = nn.Linear(hidden, 3 * hidden)
        self.write_self = nn.Linear(hidden, hidden)
        self.ask_cross = nn.Linear(hidden, hidden)
        self.read_cross = nn.Linear(hidden, 2 * hidden)
        self.write_cross = nn.Linear(hidden, hidden)
        self.forward_in = nn.Linear(hidden, feedforward)
        self.forward_out = nn.Linear(feedforward, hidden)
        self.dropout = nn.Dropout(dropout)

    def _split(self, value: Tensor) -> Tensor:
        return value.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def look_up(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the places; once for an image."""
        keys, values = self.read_cross(memory).chunk(2, dim=2)
        return self._split(keys), self._split(values)

    def forward(
        self,
        words: Tensor,
        past: tuple[Tensor, Tensor] | None,
        places: tuple[Tensor, Tensor],
        present: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """All words at once (``past`` None: each sees those before it), or one after ``past``.

        Returns:
            The words, keys and values of all words so far, and the mean over the heads of where
            each word looked ``(B, T, P)``.
        """
        asked, keys, values = self.read_self(self.norm_self(words)).chunk(3, dim=2)
        asked, keys, values = self._split(asked), self._split(keys), self._split(values)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        rate = self.rate if self.training else 0.0
        read = F.scaled_dot_product_attention(
            asked, keys, values, dropout_p=rate, is_causal=past is None
        )
        words = words + self.dropout(self.write_self(read.transpose(1, 2).flatten(2)))

        asked = self._split(self.ask_cross(self.norm_cross(words)))
        scores = asked @ places[0].transpose(2, 3) / asked.shape[3] ** 0.5
        weights = scores.masked_fill(~present[:, None, None], -torch.inf).softmax(dim=3)
        read = (self.dropout(weights) @ places[1]).transpose(1, 2).flatten(2)
        words = words + self.dropout(self.write_cross(read))

        inner = self.dropout(F.gelu(self.forward_in(self.norm_forward(words))))
        return words + self.dropout(self.forward_out(inner)), (keys, values), weights.mean(dim=1)


class TransformerDecoder(MapDecoder):
    """Words attend to the words before them and to the places of the feature map.

    Its state is keys and values of the words so far and of the places, for each layer, so that a
    step reads one word; and where the last layer's last word looked, mean over the heads.

    Args:
        vocab_size: number of ids, the special ones included.
        num_features: channels of the map.
        hidden: size of words and states.
        layers: number of blocks.
        heads: of the attention; they divide ``hidden``.
        positions: most tokens, BOS included; each has a learned vector.
        feedforward: size within a block; None for four times ``hidden``.
        dropout: everywhere.

    Raises:
        ValueError: heads that do not divide ``hidden``.
    """

    positions: int

    def __init__(
        self,
        vocab_size: int,
        num_features: int,
        hidden: int = 256,
        layers: int = 3,
        heads: int = 4,
        positions: int = 256,
        feedforward: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        """Random weights, no feature statistics yet."""
        super().__init__(num_features, dropout)
        if hidden % heads:
            raise ValueError(f"decoder.heads={heads} do not divide decoder.hidden={hidden}")
        self.hidden, self.positions = hidden, positions
        self.embedding = nn.Embedding(vocab_size, hidden, padding_idx=PAD)
        self.position = nn.Embedding(positions, hidden)
        for table in (self.embedding, self.position):
            nn.init.normal_(table.weight, std=0.02)
        self.embedding.weight.data[PAD] = 0.0
        self.memory = nn.Sequential(
            nn.Linear(num_features + self.beside, hidden), nn.LayerNorm(hidden)
        )
        self.blocks = nn.ModuleList(
            Block(hidden, heads, feedforward or 4 * hidden, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, vocab_size)

    def _each(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def start(self, normalised: Tensor) -> State:
        """No words yet: ``(keys, values, keys of places, values of places)`` a block, then weights.

        The keys and values of the places are all that is read of the image from here on.
        """
        places, _ = self.seen(normalised)
        memory = self.memory(places)
        state: list[Tensor] = []
        for block in self._each():
            keys, values = block.look_up(memory)
            state += [keys[:, :, :0], values[:, :, :0], keys, values]
        return (*state, torch.zeros_like(places[..., 0]))

    def _words(self, tokens: Tensor, first: int) -> Tensor:
        last = first + tokens.shape[1]
        if last > self.positions:
            raise ValueError(f"{last} tokens: the decoder has {self.positions} positions")
        places = torch.arange(first, last, device=tokens.device)
        return self.dropout(self.embedding(tokens) + self.position(places))

    def step(self, normalised: Tensor, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One word further: it alone is computed."""
        _, present = self.seen(normalised)
        words = self._words(tokens.unsqueeze(1), state[0].shape[2])
        after: list[Tensor] = []
        looked = state[-1].unsqueeze(1)
        for number, block in enumerate(self._each()):
            keys, values, *places = state[4 * number : 4 * number + 4]
            words, past, looked = block(words, (keys, values), places, present)
            after += [*past, *places]
        return self.output(self.norm(words[:, 0])), (*after, looked[:, 0])

    def teach(self, features: Tensor, tokens: Tensor) -> Taught:
        """Teacher forcing, all words at once."""
        places, present = self.seen(self.normalise(features))
        memory = self.memory(places)
        words, looked = self._words(tokens, 0), None
        for block in self._each():
            words, _, looked = block(words, None, block.look_up(memory), present)
        states = self.norm(words)
        return Taught(self.output(states), states, looked)

    def reorder(self, state: State, rows: Tensor) -> State:
        """The state of other rows; keys and values of the places are the image's."""
        moved = [
            part if number % 4 > 1 else part.index_select(0, rows)
            for number, part in enumerate(state[:-1])
        ]
        return (*moved, state[-1].index_select(0, rows))

    def select(self, state: State, rows: Tensor) -> State:
        """The state of any rows, keys and values of the places included."""
        return tuple(part.index_select(0, rows) for part in state)

    def attention_of(self, state: State) -> Tensor:
        """Where the last word looked, mean over the heads of the last block; sums to 1."""
        return state[-1]
