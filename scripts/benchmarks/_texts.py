"""Texts of the phantom and features that carry their words, for ``decoding.py`` and ``gpu.py``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cascade.io.phantom.findings import draw_findings, draw_patient, first_study, generator
from cascade.io.phantom.language import write_report
from cascade.labels.mesh import annotation_text
from cascade.models.decoders import Decoder, create_decoder
from cascade.models.decoders.hierarchical import HierarchicalLstmDecoder
from cascade.text.tokens import split_annotation, split_words
from cascade.text.vocabulary import BOS, EOS, PAD

SPECIAL = 4
VOCABULARY, FEATURES, SIDE = 1000, 512, 7
"""About the words of Open-i's reports that are not rare; what resnet18 gives of 224 px."""

TRAINING = {
    "lstm": (300, 1e-2),
    "gru": (300, 1e-2),
    "attention_lstm": (120, 1e-2),
    "hierarchical_lstm": (240, 5e-3),
    "transformer": (120, 2e-3),
    "gpt2": (120, 2e-3),
}
"""Batches of 16 and highest learning rate after which most drafts end where texts do."""

KINDS = {"annotations": (9, 24, 15), "reports": (45, 75, 60)}
"""Fewest and most tokens of the texts chosen, and the length that a draft aims at."""


class Texts(NamedTuple):
    """Some texts of a kind.

    Attributes:
        tokens: ``(N, T)`` from BOS to EOS, padded.
        maps: ``(N, D, 7, 7)``: noise, and in all places a random mixture of the text's words.
        ends: ids that end a sentence or a term.
    """

    tokens: Tensor
    maps: Tensor
    ends: list[int]


def draw_texts(kind: str, count: int) -> Texts:
    """Texts of a length within the bounds of ``KINDS``; the same each time."""
    low, high, _ = KINDS[kind]
    chosen: list[list[str]] = []
    index = 0
    while len(chosen) < count:
        words = _words(kind, index)
        index += 1
        if low <= len(words) <= high:
            chosen.append(words)
    ids = {word: number for number, word in enumerate(sorted({w for t in chosen for w in t}))}
    tokens = torch.full((count, high + 2), PAD)
    bags = torch.zeros(count, len(ids))
    for row, words in enumerate(chosen):
        numbers = [ids[word] for word in words]
        tokens[row, : len(words) + 2] = torch.tensor(
            [BOS, *(number + SPECIAL for number in numbers), EOS]
        )
        bags[row, numbers] = 1.0
    random = torch.Generator().manual_seed(0)
    mixture = bags @ torch.randn(len(ids), FEATURES, generator=random)
    noise = torch.randn(count, FEATURES, SIDE, SIDE, generator=random)
    ends = [ids[word] + SPECIAL for word in (".", ";") if word in ids]
    return Texts(tokens, mixture[:, :, None, None] + noise, ends)


def _words(kind: str, index: int) -> list[str]:
    shown, has_prior = draw_findings(0, index)
    if kind == "annotations":
        return split_annotation(annotation_text([each.mesh for each in shown] or ["normal"]))
    patient = draw_patient(0, first_study(0, index))
    report = write_report(shown, patient, has_prior, generator(0, "text", index))
    return split_words(" ".join(filter(None, (report.findings, report.impression))))


def features_of(decoder: Decoder, maps: Tensor) -> Tensor:
    """The maps, or their means where the decoder reads pooled features."""
    return maps if decoder.input == "map" else maps.mean(dim=(2, 3))


def taught_decoder(
    name: str, texts: Texts, share: float = 1.0, kept: Path | None = None, **options: object
) -> Decoder:
    """A decoder of its default sizes, briefly trained, ready to generate.

    Args:
        name: of ``DECODERS``.
        texts: that it learns.
        share: of the steps of ``TRAINING``; 0 leaves random weights.
        kept: a file of the weights; read where it is there, else written.
        **options: of the decoder.
    """
    torch.manual_seed(0)
    decoder = create_decoder(name, VOCABULARY, FEATURES, **options)
    features = features_of(decoder, texts.maps)
    decoder.set_feature_statistics(features)
    if isinstance(decoder, HierarchicalLstmDecoder):
        decoder.sentence_ends[texts.ends] = True
    if kept is not None and kept.is_file():
        decoder.load_state_dict(load_file(kept))
        return decoder.eval()
    steps, rate = TRAINING.get(name, (120, 2e-3))
    steps = round(share * steps)
    optimizer = torch.optim.AdamW(decoder.parameters(), rate)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=max(steps, 2))
    random = torch.Generator().manual_seed(0)
    decoder.train()
    for _ in range(steps):
        rows = torch.randint(len(texts.tokens), (16,), generator=random)
        tokens = texts.tokens[rows]
        logits = decoder.teach(features[rows], tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        rates.step()
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_file(decoder.state_dict(), kept)
    return decoder.eval()


def endless(decoder: Decoder) -> Decoder:
    """The end is never the likeliest next token."""
    with torch.no_grad():
        if hasattr(decoder, "output"):
            decoder.output.bias[EOS] = -100.0  # type: ignore[union-attr, operator]
        else:
            decoder.network.wte.weight[EOS] = 0.0  # GPT-2: words' vectors are the output's, too
    return decoder
