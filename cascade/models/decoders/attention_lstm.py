"""An LSTM that looks at places of the feature map: Show, Attend and Tell (Xu et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cascade.models.decoders.base import MapDecoder, State, Taught, open_forget_gates
from cascade.text.vocabulary import PAD


class AttentionLstmDecoder(MapDecoder):
    """Soft attention, gated, over the places of a feature map, before each word.

    Its state is ``(h, c, keys, weights)``: the LSTM's ``(L, B, H)`` each, the projected places
    ``(B, P, A)``, which stay as they are, and where the last step looked ``(B, P)``.

    Args:
        vocab_size: number of ids, the special ones included.
        num_features: channels of the map.
        embedding: size of word vectors.
        hidden: size of the state.
        layers: number of layers.
        attention: size ``A`` of the space in which places and state are compared.
        dropout: on the features, the embeddings and before the output.
        doubly_stochastic: weight of the penalty that asks each place to be looked at once in a
            text (equation 14); 0 for none. It is a mean over places, so that it does not depend on
            the size of the map.
    """

    def __init__(
        self,
        vocab_size: int,
        num_features: int,
        embedding: int = 128,
        hidden: int = 256,
        layers: int = 1,
        attention: int = 128,
        dropout: float = 0.0,
        doubly_stochastic: float = 0.0,
    ) -> None:
        """Random weights, no feature statistics yet."""
        super().__init__(num_features, dropout)
        self.hidden, self.layers = hidden, layers
        self.doubly_stochastic = doubly_stochastic
        seen = num_features + self.beside
        self.embedding = nn.Embedding(vocab_size, embedding, padding_idx=PAD)
        self.initial = nn.Linear(seen, 2 * layers * hidden)
        self.keys = nn.Linear(seen, attention)
        self.query = nn.Linear(hidden, attention, bias=False)
        self.score = nn.Linear(attention, 1, bias=False)
        self.gate = nn.Linear(hidden, 1)
        self.rnn = nn.LSTM(embedding + seen, hidden, layers, dropout=dropout if layers > 1 else 0.0)
        self.from_state = nn.Linear(hidden, embedding)
        self.from_context = nn.Linear(seen, embedding, bias=False)
        self.output = nn.Linear(embedding, vocab_size)
        open_forget_gates(self.rnn, hidden)

    def start(self, normalised: Tensor) -> State:
        """The first state, from the mean of the places."""
        places, present = self.seen(normalised)
        here = present.unsqueeze(2)
        mean = (places * here).sum(dim=1) / here.sum(dim=1).clamp_min(1)
        flat = torch.tanh(self.initial(mean)).view(len(places), 2, self.layers, self.hidden)
        h, c = (part.transpose(0, 1).contiguous() for part in flat.unbind(1))
        return h, c, self.keys(places), torch.zeros_like(places[..., 0])

    def _step(self, normalised: Tensor, word: Tensor, state: State) -> tuple[Tensor, State]:
        """``word`` is a vector ``(B, E)``; gives what the output layer reads ``(B, E)``."""
        h, c, keys, _ = state
        places, present = self.seen(normalised)
        scores = self.score(torch.tanh(keys + self.query(h[-1]).unsqueeze(1))).squeeze(2)
        weights = scores.masked_fill(~present, -torch.inf).softmax(dim=1)
        context = torch.bmm(weights.unsqueeze(1), places).squeeze(1)
        context = torch.sigmoid(self.gate(h[-1])) * context
        outputs, (h, c) = self.rnn(torch.cat([word, context], dim=1).unsqueeze(0), (h, c))
        deep = word + self.from_state(outputs[0]) + self.from_context(context)
        return self.dropout(deep), (h, c, keys, weights)

    def step(self, normalised: Tensor, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One word further."""
        deep, after = self._step(normalised, self.dropout(self.embedding(tokens)), state)
        return self.output(deep), after

    def teach(self, features: Tensor, tokens: Tensor) -> Taught:
        """Teacher forcing; the words are read one by one, each after a look at the places."""
        normalised = self.normalise(features)
        state = self.start(normalised)
        words = self.dropout(self.embedding(tokens))
        deep, states, looked = [], [], []
        for word in words.unbind(1):
            read, state = self._step(normalised, word, state)
            deep.append(read)
            states.append(state[0][-1])
            looked.append(state[3])
        logits = self.output(torch.stack(deep, dim=1))
        return Taught(logits, torch.stack(states, dim=1), torch.stack(looked, dim=1))

    def reorder(self, state: State, rows: Tensor) -> State:
        """The state of other rows; the keys are the image's and need no moving."""
        h, c, keys, weights = state
        return h.index_select(1, rows), c.index_select(1, rows), keys, weights[rows]

    def select(self, state: State, rows: Tensor) -> State:
        """The state of any rows, keys included."""
        h, c, keys, weights = state
        return h.index_select(1, rows), c.index_select(1, rows), keys[rows], weights[rows]

    def attention_of(self, state: State) -> Tensor:
        """Where the last step looked; sums to 1."""
        return state[3]

    def extra_loss(self, taught: Taught, targets: Tensor) -> Tensor | None:
        """The doubly stochastic penalty over the words of each text, its end included."""
        if self.doubly_stochastic == 0 or taught.attention is None:
            return None
        words = (targets != PAD).unsqueeze(2)
        looked = (taught.attention * words).sum(dim=1)
        return self.doubly_stochastic * (1.0 - looked).square().mean()
