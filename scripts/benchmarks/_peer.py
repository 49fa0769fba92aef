"""The peer of ``decoding.py``: Hugging Face ``generate`` driving the very same network.

A decoder of our own is wrapped as a ``PreTrainedModel`` whose cache is the decoder's state, so that
both searches call the same ``step``. GPT-2 is the library's own ``GPT2LMHeadModel``, with the
decoder's weights and its cache.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import GPT2LMHeadModel, LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions

from cascade.models.decoders import Decoder
from cascade.models.generation import NEVER
from cascade.text.vocabulary import BOS, EOS, PAD

VERSION = transformers.__version__


class EndAt(LogitsProcessor):
    """After ``limit`` words only the end may follow, at its own probability, as in ours."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1] <= self.limit:
            return scores
        ended = torch.full_like(scores, -torch.inf)
        ended[:, EOS] = scores[:, EOS]
        return ended


class Wrapped(PreTrainedModel, GenerationMixin):
    """One of our decoders, one word a call."""

    config_class = transformers.PretrainedConfig
    main_input_name = "input_ids"

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(transformers.PretrainedConfig(bos_token_id=BOS, eos_token_id=EOS))
        self.decoder = decoder
        self.generation_config = transformers.GenerationConfig()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def forward(
        self,
        input_ids: Tensor,
        normalised: Tensor,
        past_key_values: tuple[Tensor, ...] | None = None,
        **_: Any,
    ) -> CausalLMOutputWithCrossAttentions:
        if past_key_values is None:
            past_key_values = self.decoder.start(normalised)
        logits, state = self.decoder.step(normalised, input_ids[:, -1], past_key_values)
        logits[:, NEVER] = -torch.inf
        return CausalLMOutputWithCrossAttentions(
            logits=logits.unsqueeze(1),
            past_key_values=state,  # type: ignore[arg-type]
        )

    def _reorder_cache(self, state: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, ...]:
        return self.decoder.reorder(state, rows)


class MaskedGpt2(GPT2LMHeadModel):
    """GPT-2 as it is, without the ids that no draft holds."""

    def forward(
        self,
        input_ids: Tensor,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        **options: Any,
    ) -> Any:
        read = super().forward(
            input_ids=input_ids,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            **options,
        )
        read.logits[..., NEVER] = -torch.inf
        return read


def peer_of(name: str, decoder: Any) -> PreTrainedModel:
    """The network that ``generate`` drives; it shares the decoder's weights."""
    if name != "gpt2":
        return Wrapped(decoder).eval()
    network = decoder.network
    peer = MaskedGpt2(network.config)
    peer.transformer = network
    peer.tie_weights()
    return peer.eval()


@torch.no_grad()
def peer_generate(
    name: str, decoder: Any, peer: Any, features: Tensor, limit: int, width: int, penalty: float
) -> list[list[int]]:
    """Drafts as ``cascade.models.generation.generate`` makes them: ids without BOS and EOS."""
    normalised = decoder.normalise(features)
    if name == "gpt2":
        places, present = decoder.seen(normalised)
        given = {
            "encoder_hidden_states": decoder.memory(places),
            "encoder_attention_mask": present.long(),
        }
    else:
        given = {"normalised": normalised}
    begin = torch.full((len(features), 1), BOS, device=features.device)
    written = peer.generate(
        begin,
        attention_mask=torch.ones_like(begin),
        **given,
        num_beams=width,
        do_sample=False,
        **({"length_penalty": penalty} if width > 1 else {}),
        max_new_tokens=limit + 1,
        use_cache=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        logits_processor=LogitsProcessorList([EndAt(limit)]),
    )
    return [[t for t in row if t not in (PAD, BOS, EOS)] for row in written.tolist()]
