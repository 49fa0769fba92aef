"""Decoders by name with one contract: features in, words out, one by one or by teacher forcing.

``__init__`` builds random weights; nothing is downloaded.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from cascade.models.decoders.attention_lstm import AttentionLstmDecoder
from cascade.models.decoders.base import Decoder, MapDecoder, State, Taught
from cascade.models.decoders.gpt2 import Gpt2Decoder
from cascade.models.decoders.hierarchical import HierarchicalLstmDecoder
from cascade.models.decoders.recurrent import CELLS, RecurrentDecoder
from cascade.models.decoders.transformer import TransformerDecoder

__all__ = [
    "CELLS",
    "DECODERS",
    "TRAINING_OPTIONS",
    "Decoder",
    "MapDecoder",
    "RecurrentDecoder",
    "State",
    "Taught",
    "create_decoder",
]

DECODERS: dict[str, Callable[..., Decoder]] = {
    "lstm": functools.partial(RecurrentDecoder, "lstm"),
    "gru": functools.partial(RecurrentDecoder, "gru"),
    "attention_lstm": AttentionLstmDecoder,
    "hierarchical_lstm": HierarchicalLstmDecoder,
    "transformer": TransformerDecoder,
    "gpt2": Gpt2Decoder,
}

TRAINING_OPTIONS = ("folder",)
"""Settings of a decoder that say what its training starts from, not what it is."""


def create_decoder(name: str, vocab_size: int, num_features: int, **options: Any) -> Decoder:
    """A decoder with random weights.

    >>> create_decoder("gru", vocab_size=9, num_features=6, hidden=7).hidden
    7

    Args:
        name: of ``DECODERS``.
        vocab_size: number of ids, the special ones included.
        num_features: size ``D`` of the image features.
        **options: of that decoder.

    Raises:
        ValueError: unknown name, or an option that it does not take.
    """
    if name not in DECODERS:
        raise ValueError(f"unknown decoder {name!r}, expected one of {sorted(DECODERS)}")
    known = [
        key
        for key in inspect.signature(DECODERS[name]).parameters
        if key not in ("vocab_size", "num_features")
    ]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"the decoder {name} takes no {unknown[0]}: its options are {', '.join(known)}"
        )
    return DECODERS[name](vocab_size, num_features, **options)
