"""GPT-2 of the transformers library, with attention over the feature map; nothing is downloaded.

Built from settings, or after the ``config.json`` of a local folder whose ``model.safetensors`` the
training then starts from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cascade.models.decoders.base import MapDecoder, State, Taught
from cascade.models.decoders.gpt2_folder import END_OF_TEXT, read_json, read_weights, sizes_of
from cascade.text.subwords import SUBWORDS
from cascade.text.vocabulary import BOS, EOS, SPECIAL_TOKENS, Vocabulary

NEW = ("crossattention", "ln_cross_attn", "wte")
"""What the published weights lack (attention over an image), and what follows the vocabulary."""


class Gpt2Decoder(MapDecoder):
    """A GPT-2 with cross-attention; the words' vectors are the output's too.

    Its state is keys and values of the words so far and of the places, for each layer.

    Args:
        vocab_size: number of ids, the special ones included.
        num_features: channels of the map.
        hidden: size of words and states.
        layers: number of blocks.
        heads: of the attention; they divide ``hidden``.
        positions: most tokens, BOS included.
        inner: size within a block; None for four times ``hidden``.
        activation: of the linear layers.
        dropout: everywhere.
        folder: of a GPT-2 as transformers saves it; its sizes take the place of those above.

    Raises:
        ValueError: no transformers library, heads that do not divide ``hidden``, a folder of
            something else.
    """

    positions: int

    def __init__(
        self,
        vocab_size: int,
        num_features: int,
        hidden: int = 256,
        layers: int = 4,
        heads: int = 4,
        positions: int = 256,
        inner: int | None = None,
        activation: str = "gelu_new",
        dropout: float = 0.1,
        folder: str | None = None,
    ) -> None:
        """Random weights, no feature statistics yet."""
        super().__init__(num_features, dropout)
        try:
            from transformers import GPT2Config, GPT2Model
        except ImportError as error:
            raise ValueError(
                f"decoder=gpt2 needs the transformers library ({error}): pip install transformers, "
                "or take decoder=transformer"
            ) from error
        sizes: dict[str, Any] = {
            "hidden": hidden,
            "layers": layers,
            "heads": heads,
            "positions": positions,
            "inner": inner,
            "activation": activation,
        }
        self.folder = Path(folder) if folder is not None else None
        if self.folder is not None:
            sizes = sizes_of(self.folder)
        if sizes["hidden"] % sizes["heads"]:
            raise ValueError(
                f"decoder.heads={sizes['heads']} do not divide decoder.hidden={sizes['hidden']}"
            )
        self._sizes, self._rate = sizes, dropout
        self.hidden, self.positions = sizes["hidden"], sizes["positions"]
        self.layers = sizes["layers"]
        config = GPT2Config(
            vocab_size=vocab_size,
            n_embd=sizes["hidden"],
            n_layer=sizes["layers"],
            n_head=sizes["heads"],
            n_positions=sizes["positions"],
            n_inner=sizes["inner"],
            activation_function=sizes["activation"],
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            add_cross_attention=True,
            bos_token_id=BOS,
            eos_token_id=EOS,
        )
        self.memory = nn.Linear(num_features + self.beside, self.hidden)
        try:
            self.network: Any = GPT2Model(config)
        except KeyError as error:
            raise ValueError(f"unknown decoder.activation={sizes['activation']}") from error

    def resolved(self) -> dict[str, Any]:
        """The sizes, also where they are a folder's."""
        return dict(self._sizes)

    def start(self, normalised: Tensor) -> State:
        """No words yet: ``(keys, values, keys of places, values of places)`` a block."""
        places, _ = self.seen(normalised)
        memory = self.memory(places)
        state: list[Tensor] = []
        for block in self.network.h:
            keys, values = self._heads(block.crossattention.c_attn(memory), 2)
            state += [keys[:, :, :0], values[:, :, :0], keys, values]
        return tuple(state)

    def _check(self, total: int) -> None:
        if total > self.positions:
            raise ValueError(f"{total} tokens: the decoder has {self.positions} positions")

    def _score(self, states: Tensor) -> Tensor:
        return nn.functional.linear(states, self.network.wte.weight)

    def step(self, normalised: Tensor, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One word further: it alone is computed.

        The library's own forward makes masks and copies keys and values, those of the places too,
        at every word; this goes through the same layers without.
        """
        past = state[0].shape[2]
        self._check(past + 1)
        network = self.network
        where = torch.tensor([past], device=tokens.device)
        words = network.drop(network.wte(tokens).unsqueeze(1) + network.wpe(where))
        visible = self.seen(normalised)[1][:, None, None]
        after: list[Tensor] = []
        for layer, block in enumerate(network.h):
            keys, values, *places = state[4 * layer : 4 * layer + 4]
            own = block.attn
            asked, *new = self._heads(own.c_attn(block.ln_1(words)), 3)
            keys, values = torch.cat([keys, new[0]], dim=2), torch.cat([values, new[1]], dim=2)
            words = words + own.resid_dropout(own.c_proj(self._look(asked, keys, values)))
            cross = block.crossattention
            (asked,) = self._heads(cross.q_attn(block.ln_cross_attn(words)), 1)
            read = self._look(asked, places[0], places[1], visible)
            words = words + cross.resid_dropout(cross.c_proj(read))
            words = words + block.mlp(block.ln_2(words))
            after += [keys, values, *places]
        return self._score(network.ln_f(words[:, 0])), tuple(after)

    def _heads(self, value: Tensor, parts: int) -> list[Tensor]:
        """``(B, T, parts H)`` as so many ``(B, heads, T, H / heads)``."""
        heads = self._sizes["heads"]
        return [
            part.unflatten(2, (heads, -1)).transpose(1, 2) for part in value.chunk(parts, dim=2)
        ]

    def _look(
        self, asked: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None = None
    ) -> Tensor:
        rate = self._rate if self.training else 0.0
        read = nn.functional.scaled_dot_product_attention(
            asked, keys, values, attn_mask=visible, dropout_p=rate
        )
        return read.transpose(1, 2).flatten(2)

    def teach(self, features: Tensor, tokens: Tensor) -> Taught:
        """Teacher forcing, all words at once, by the library's own forward."""
        from transformers import DynamicCache, EncoderDecoderCache

        self._check(tokens.shape[1])
        normalised = self.normalise(features)
        state = self.start(normalised)
        looked = DynamicCache()
        for layer in range(self.layers):
            looked.update(state[4 * layer + 2], state[4 * layer + 3], layer)
        _, present = self.seen(normalised)
        read = self.network(
            input_ids=tokens,
            past_key_values=EncoderDecoderCache(DynamicCache(), looked),
            # Only its shape is read: keys and values of the places are in the cache.
            encoder_hidden_states=normalised[..., :1],
            encoder_attention_mask=present.long(),
            use_cache=True,
        )
        states = read.last_hidden_state
        return Taught(self._score(states), states, None)

    def reorder(self, state: State, rows: Tensor) -> State:
        """The state of other rows; keys and values of the places are the image's."""
        return tuple(
            part if number % 4 > 1 else part.index_select(0, rows)
            for number, part in enumerate(state)
        )

    def select(self, state: State, rows: Tensor) -> State:
        """The state of any rows, keys and values of the places included."""
        return tuple(part.index_select(0, rows) for part in state)

    def load_initial(self, vocabulary: Vocabulary) -> str | None:
        """Load the folder's weights; a token that GPT-2 has too gets its vector.

        Raises:
            ValueError: no ``model.safetensors``, or one that does not fit.
        """
        if self.folder is None:
            return None
        weights = read_weights(self.folder)
        own = self.network.state_dict()
        kept = {n: w for n, w in weights.items() if n in own and not n.startswith(NEW[2])}
        missing = [n for n in own if n not in kept and not any(part in n for part in NEW)]
        wrong = [n for n, w in kept.items() if w.shape != own[n].shape]
        if missing or wrong or "wte.weight" not in weights:
            first = [*missing, *wrong, "wte.weight"][0]
            raise ValueError(
                f"{self.folder}/model.safetensors does not fit its config.json: {first}"
            )
        self.network.load_state_dict(kept, strict=False)
        known = self._take_words(weights["wte.weight"].float(), vocabulary)
        return f"{self.folder}: GPT-2, {known} of {len(vocabulary)} tokens known to it"

    @torch.no_grad()
    def _take_words(self, vectors: Tensor, vocabulary: Vocabulary) -> int:
        """Vectors of tokens by their names; all others start at the mean of the known ones."""
        assert self.folder is not None
        words = self.folder / "vocab.json"
        names = read_json(words) if words.is_file() else {}
        table = self.network.wte.weight
        table.copy_(vectors.mean(dim=0) + 0.02 * torch.randn_like(table) * vectors.std())
        pieces = vocabulary.tokenizer.name in SUBWORDS
        end = names.get(END_OF_TEXT)
        known = 0
        for index, token in enumerate(vocabulary.tokens):
            spellings = (token,) if pieces else (f"Ġ{token}", token)
            at = next((names[word] for word in spellings if word in names), None)
            if token in SPECIAL_TOKENS:
                at = end if index in (BOS, EOS) else None
            if isinstance(at, int) and 0 <= at < len(vectors):
                table[index] = vectors[at]
                known += 1
        return known
