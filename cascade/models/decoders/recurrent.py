"""LSTM and GRU, conditioned on a study's pooled features.

As in Shin et al. 2016 the features set the state of every layer (hidden and, for an LSTM, cell),
and the forget-gate bias starts at 1. Where the sizes differ the paper uses PCA (``project="pca"``);
unless asked for it, a linear map is learned.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cascade.models.decoders.base import PooledDecoder, State, Taught, open_forget_gates
from cascade.text.vocabulary import PAD

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU}
PROJECTIONS = ("linear", "pca")


class RecurrentDecoder(PooledDecoder):
    """Word by word from an image's pooled features.

    Its state is one tensor ``(L, B, H)`` each: (h, c) of an LSTM, (h,) of a GRU.

    Args:
        cell: ``lstm`` or ``gru``.
        vocab_size: number of ids, the special ones included.
        num_features: size of the image features.
        embedding: size of word vectors.
        hidden: size of the state.
        layers: number of layers.
        dropout: on the features, the embeddings and the outputs.
        inject: feed the features beside each word too, not only as the first state.
        project: how features become the first state: ``linear``, a learned map and tanh, one for
            each layer and part; or ``pca``, the paper's: the standardised features themselves are
            the h and c of every layer, through the leading principal axes of training features
            where there are more of them than ``hidden``, with zeros behind where there are fewer.

    Raises:
        ValueError: unknown cell or projection.

    Shape:
        - features: ``(B, D)``
        - tokens: ``(B, T)``
        - logits: ``(B, T, vocab_size)``
        - states: ``(B, T, H)``, the top layer's hidden state after each word
    """

    axes: Tensor

    def __init__(
        self,
        cell: str,
        vocab_size: int,
        num_features: int,
        embedding: int = 128,
        hidden: int = 256,
        layers: int = 1,
        dropout: float = 0.0,
        inject: bool = False,
        project: str = "linear",
    ) -> None:
        """Random weights, no feature statistics yet."""
        super().__init__(num_features, dropout)
        if cell not in CELLS:
            raise ValueError(f"unknown decoder cell {cell!r}, expected one of {sorted(CELLS)}")
        if project not in PROJECTIONS:
            raise ValueError(
                f"unknown decoder.project={project}, expected one of {', '.join(PROJECTIONS)}"
            )
        self.hidden, self.layers, self.inject = hidden, layers, inject
        self.project = project
        self.embedding = nn.Embedding(vocab_size, embedding, padding_idx=PAD)
        self.parts = 2 if cell == "lstm" else 1
        if project == "pca":
            self.register_buffer("axes", torch.eye(num_features, hidden))
        else:
            self.initial = nn.Linear(num_features, self.parts * layers * hidden)
        inputs = embedding + (num_features if inject else 0)
        self.rnn = CELLS[cell](
            inputs, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )
        self.output = nn.Linear(hidden, vocab_size)
        if cell == "lstm":
            open_forget_gates(self.rnn, hidden)

    def set_feature_statistics(self, features: Tensor) -> None:
        """Standardise by training features ``(N, D)``, and find their axes where asked to."""
        super().set_feature_statistics(features)
        count = len(self.feature_mean)
        if self.project == "pca" and count > self.hidden:
            from sklearn.decomposition import PCA

            kept = min(self.hidden, len(features))  # as many axes as there are studies, at most
            standard = (features - self.feature_mean) / self.feature_scale
            found = PCA(kept, svd_solver="full").fit(standard.numpy()).components_
            self.axes.zero_()
            self.axes[:, :kept] = torch.from_numpy(found.T)

    def start(self, normalised: Tensor) -> State:
        """The first state, ``(L, B, H)`` each."""
        if self.project == "pca":
            whole = (normalised @ self.axes).expand(self.layers, -1, -1).contiguous()
            return (whole,) * self.parts
        flat = torch.tanh(self.initial(normalised))
        parts = flat.view(len(normalised), self.parts, self.layers, self.hidden)
        return tuple(part.transpose(0, 1).contiguous() for part in parts.unbind(1))

    def _inputs(self, tokens: Tensor, normalised: Tensor) -> Tensor:
        words = self.dropout(self.embedding(tokens))
        if not self.inject:
            return words
        beside = normalised.unsqueeze(1).expand(-1, tokens.shape[1], -1)
        return torch.cat([words, beside], dim=2)

    def _recur(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, after = self.rnn(inputs, state if self.parts == 2 else state[0])
        return outputs, after if isinstance(after, tuple) else (after,)

    def teach(self, features: Tensor, tokens: Tensor) -> Taught:
        """Teacher forcing: logits of each next word, and the states, given the true words."""
        normalised = self.normalise(features)
        states, _ = self._recur(self._inputs(tokens, normalised), self.start(normalised))
        return Taught(self.output(self.dropout(states)), states, None)

    def step(self, normalised: Tensor, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One word further: ``(B,)`` tokens in, ``(B, vocab_size)`` logits and a new state out."""
        outputs, after = self._recur(self._inputs(tokens.unsqueeze(1), normalised), state)
        return self.output(outputs[:, 0]), after

    def reorder(self, state: State, rows: Tensor) -> State:
        """The state of other rows."""
        return tuple(part.index_select(1, rows) for part in state)

    def select(self, state: State, rows: Tensor) -> State:
        """Likewise; the state holds nothing else of an image."""
        return self.reorder(state, rows)
