"""Joint image/text contexts: what the decoder's state holds after an image and its true words.

Shin et al. 2016 run the trained pair over the true annotation and average the top layer's state
over the words. An annotation may name several diseases here; each disease's own words are read
after the image alone, so that a context tells of one disease and not of its neighbours in the
sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cascade.labels.mesh import annotation_terms, disease_of
from cascade.models.decoders import Decoder
from cascade.text.vocabulary import PAD, Vocabulary


def disease_texts(annotation: str, disease: Callable[[str], str] = disease_of) -> dict[str, str]:
    """The part of an annotation text that speaks of each disease, in order.

    Args:
        annotation: terms joined by ``; ``.
        disease: names a term's disease as the label table does.

    >>> disease_texts("opacity/lung/base; cardiomegaly; opacity/lingula")
    {'opacity': 'opacity/lung/base; opacity/lingula', 'cardiomegaly': 'cardiomegaly'}
    """
    parts: dict[str, list[str]] = {}
    for term in annotation_terms(annotation):
        parts.setdefault(disease(term), []).append(term)
    return {name: "; ".join(terms) for name, terms in parts.items()}


@torch.no_grad()
def joint_contexts(
    decoder: Decoder,
    vocabulary: Vocabulary,
    features: Tensor,
    texts: Sequence[str],
    batch_size: int = 256,
) -> np.ndarray:
    """Mean of the top layer's states over each text's words.

    Args:
        decoder: trained, in evaluation mode.
        vocabulary: of the decoder.
        features: ``(N, ...)`` as the decoder takes them, the image that each text describes.
        texts: N non-empty texts.
        batch_size: texts at a time.

    Returns:
        ``(N, H)`` float32.
    """
    contexts = [np.zeros((0, decoder.hidden), dtype=np.float32)]
    most = None if decoder.positions is None else decoder.positions - 1
    for start in range(0, len(texts), batch_size):
        part = texts[start : start + batch_size]
        rows = [torch.tensor(vocabulary.encode(text, most)) for text in part]
        tokens = pad_sequence(rows, batch_first=True, padding_value=PAD)[:, :-1]
        lengths = torch.tensor([len(row) - 1 for row in rows])  # BOS and the words, without EOS
        _, states = decoder(features[start : start + batch_size], tokens)
        places = torch.arange(tokens.shape[1]).unsqueeze(0)
        words = (places >= 1) & (places < lengths.unsqueeze(1))  # state t has read word t
        weights = words.float().unsqueeze(2)
        mean = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)
        contexts.append(mean.numpy().astype(np.float32))
    return np.concatenate(contexts)
