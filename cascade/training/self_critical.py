"""Self-critical training (Rennie et al. 2017): a drawn draft against the decoder's greedy one.

The gradient makes a draft that was drawn likelier by as much as it is worth more than the greedy
one, and less likely where it is worth less. Drawing is without dropout, so that the probabilities
that are changed are those that were drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cascade.models.generation import NEVER, sample
from cascade.models.reader import Reader
from cascade.text.vocabulary import BOS, EOS, PAD
from cascade.training.rewards import Reward


class SelfCritical(NamedTuple):
    """How the epochs after those of cross entropy are trained.

    Attributes:
        epochs: how many; 0 for none.
        reward: of the drafts.
        lr: constant.
        weight: of the cross entropy beside it, in [0, 1]; 1 less it is that of the reward.
    """

    epochs: int
    reward: Reward
    lr: float
    weight: float

    @classmethod
    def of_settings(cls, options: Any, reward: Reward) -> SelfCritical:
        """Of the settings ``generator.self_critical``."""
        return cls(int(options["epochs"]), reward, float(options["lr"]), float(options["weight"]))


class Critique(NamedTuple):
    """The loss of a batch, and what its drafts were worth in the mean."""

    loss: Tensor
    drawn: float
    greedy: float


def self_critical_loss(
    reader: Reader,
    features: Tensor,
    scores: Tensor,
    references: Sequence[str],
    reward: Reward,
    seed: int,
) -> Critique:
    """Draw a draft of each study and compare it with the greedy one.

    Args:
        reader: its decoder gets the gradient.
        features: as the decoder takes them, joined with what it is conditioned on.
        scores: label probabilities, for the first word.
        references: as written.
        reward: of drafts.
        seed: of the draws.

    Returns:
        The loss: minus the difference in reward times the log probability, a mean over the tokens
        that were drawn. A first word that was given and an end that was forced were not.

    Raises:
        ValueError: the reader has no decoder.
    """
    decoder, vocabulary = reader.decoder, reader.vocabulary
    if decoder is None or vocabulary is None:
        raise ValueError("this model has no decoder to train")
    was_training = decoder.training
    decoder.eval()
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.rand(len(features), generator=generator)
    draws = int(torch.randint(2**62, (1,), generator=generator))
    prefixes = reader.prefixes(scores)
    with torch.no_grad():
        greedy = reader.draft(features, scores, width=1).tokens
        found = sample(
            decoder,
            features,
            reader.max_length,
            seed=draws,
            prefixes=prefixes,
            offsets=offsets,
        )
    drawn = [generated.tokens[0] for generated in found]
    worth = reward([vocabulary.decode(ids) for ids in drawn], references)
    least = reward([vocabulary.decode(ids) for ids in greedy], references)
    gain = torch.from_numpy(worth - least).to(features)
    given = [0] * len(drawn) if prefixes is None else [len(prefix) for prefix in prefixes]
    tokens, counts = _as_drawn(drawn, given, reader.max_length)
    tokens, counts = tokens.to(features.device), counts.to(features.device)
    # cuDNN has no gradient of a recurrent network in evaluation mode; torch's own kernels have.
    with torch.backends.cudnn.flags(enabled=False):
        logits = decoder.teach(features, tokens[:, :-1]).logits
    decoder.train(was_training)
    logits = logits.index_fill(2, torch.tensor(NEVER, device=logits.device), -torch.inf)
    targets = tokens[:, 1:]
    # What is not counted may be a token that is never drawn: of log probability -inf.
    picked = torch.where(counts, targets, torch.full_like(targets, EOS))
    logs = logits.log_softmax(dim=2).gather(2, picked.unsqueeze(2)).squeeze(2)
    total = (gain.unsqueeze(1) * logs * counts).sum()
    return Critique(-total / counts.sum().clamp_min(1), float(worth.mean()), float(least.mean()))


def _as_drawn(
    drawn: Sequence[Sequence[int]], given: Sequence[int], max_length: int
) -> tuple[Tensor, Tensor]:
    """Tokens ``(B, T + 1)`` from BOS to EOS, and which of those after BOS were drawn ``(B, T)``."""
    longest = max(map(len, drawn), default=0) + 1
    tokens = torch.full((len(drawn), longest + 1), PAD)
    counts = torch.zeros(len(drawn), longest, dtype=torch.bool)
    tokens[:, 0] = BOS
    for row, (text, start) in enumerate(zip(drawn, given, strict=True)):
        tokens[row, 1 : len(text) + 2] = torch.tensor([*text, EOS])
        counts[row, min(start, len(text)) : len(text) + (len(text) < max_length)] = True
    return tokens, counts
