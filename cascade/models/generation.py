"""Free-running generation: beam search over a decoder's steps, greedy being a beam of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cascade.models.decoders import RecurrentDecoder, State
from cascade.text.vocabulary import BOS, EOS, PAD, UNK


class Generated(NamedTuple):
    """Drafts of a batch.

    Attributes:
        tokens: for each study its ids, without BOS and EOS.
        log_probabilities: ``(B,)`` natural log of the draft's probability, its EOS included.
        lengths: ``(B,)`` tokens that the probability counts, the EOS included.
    """

    tokens: list[list[int]]
    log_probabilities: Tensor
    lengths: Tensor

    @property
    def confidences(self) -> Tensor:
        """``(B,)`` in (0, 1]: the geometric mean probability of a token."""
        return (self.log_probabilities / self.lengths.clamp_min(1)).exp()


def _reorder(state: State, rows: Tensor) -> State:
    return tuple(part.index_select(1, rows) for part in state)


@torch.no_grad()
def generate(
    decoder: RecurrentDecoder,
    features: Tensor,
    max_length: int,
    width: int = 1,
    length_penalty: float = 0.0,
    prefixes: Sequence[Sequence[int]] | None = None,
) -> Generated:
    """The likeliest drafts found by beam search (greedy with ``width=1``).

    Args:
        decoder: in evaluation mode.
        features: ``(B, D)``.
        max_length: most tokens of a draft, EOS not counted; a longer one is cut.
        width: hypotheses kept for each study.
        length_penalty: finished drafts are ranked by log p / length ** penalty.
        prefixes: for each study tokens that the draft must begin with (Shin et al. 2016 give the
            CNN's label as the first word). They are not counted in the probability.

    Raises:
        ValueError: width or max_length below 1.
    """
    if width < 1 or max_length < 1:
        raise ValueError(f"width={width}, max_length={max_length}: both must be at least 1")
    batch, device = len(features), features.device
    normalised = decoder.normalise(features).repeat_interleave(width, dim=0)
    state = decoder.start(normalised)
    forced = torch.full((batch, max_length), PAD, dtype=torch.long, device=device)
    for row, prefix in enumerate(prefixes or []):
        cut = list(prefix)[:max_length]
        forced[row, : len(cut)] = torch.tensor(cut, dtype=torch.long, device=device)
    forced = forced.repeat_interleave(width, dim=0)

    rows = batch * width
    scores = torch.full((batch, width), -torch.inf, device=device)
    scores[:, 0] = 0.0  # the beams of a study begin alike: one of them counts
    counted = torch.zeros(rows, dtype=torch.long, device=device)
    finished = torch.zeros(rows, dtype=torch.bool, device=device)
    history = torch.full((rows, 0), PAD, dtype=torch.long, device=device)
    last = torch.full((rows,), BOS, dtype=torch.long, device=device)
    base = (torch.arange(batch, device=device) * width).unsqueeze(1)

    for position in range(max_length + 1):
        logits, state = decoder.step(normalised, last, state)
        logits[:, [PAD, BOS, UNK]] = -torch.inf
        step = logits.log_softmax(dim=-1)
        if position == max_length:  # only the end may follow
            only_end = torch.full_like(step, -torch.inf)
            only_end[:, EOS] = step[:, EOS]
            step = only_end
        else:
            must = forced[:, position]
            given = (must != PAD) & ~finished
            step[given] = -torch.inf
            step[given, must[given]] = 0.0
        step[finished] = -torch.inf
        step[finished, PAD] = 0.0  # a finished draft stays as it is

        vocabulary = step.shape[1]
        total = (scores.view(rows, 1) + step).view(batch, width * vocabulary)
        best, index = total.topk(width, dim=1)
        origin = (base + index // vocabulary).flatten()
        last = (index % vocabulary).flatten()
        scores = best
        was_forced = (
            forced[origin, position] != PAD if position < max_length else torch.zeros_like(finished)
        )
        counted = counted[origin] + (~finished[origin] & ~was_forced).long()
        finished = finished[origin] | (last == EOS)
        history = torch.cat([history[origin], last.unsqueeze(1)], dim=1)
        state = _reorder(state, origin) if width > 1 else state
        if bool((finished | (scores.flatten() == -torch.inf)).all()):
            break

    ranked = scores / counted.view(batch, width).clamp_min(1).float() ** length_penalty
    winner = ranked.masked_fill(scores == -torch.inf, -torch.inf).argmax(dim=1)
    chosen = base.squeeze(1) + winner
    tokens = [
        [token for token in row if token not in (PAD, EOS)] for row in history[chosen].tolist()
    ]
    return Generated(tokens, scores.flatten()[chosen], counted[chosen])
