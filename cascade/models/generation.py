"""Free-running generation: beam search (greedy is a beam of one), sampling, and distinct drafts.

All of it goes through a decoder's ``step``, whose state holds what was read, so that the cost of a
token does not grow with the text before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cascade.models.decoders import Decoder
from cascade.models.drafts import Drafts, Generated, Trace
from cascade.models.search import (
    NEVER,
    beam_search,
    block,
    check_positions,
    forced_tokens,
    start,
)
from cascade.text.vocabulary import BOS, EOS, PAD

__all__ = ["NEVER", "generate", "generate_diverse", "sample"]


@torch.no_grad()
def generate(
    decoder: Decoder,
    features: Tensor,
    max_length: int,
    width: int = 1,
    length_penalty: float = 0.0,
    prefixes: Sequence[Sequence[int]] | None = None,
    no_repeat: int = 0,
) -> Generated:
    """The likeliest drafts found by beam search (greedy with ``width=1``).

    Args:
        decoder: in evaluation mode.
        features: as the decoder takes them, ``(B, ...)``.
        max_length: most tokens of a draft, EOS not counted; a longer one is cut.
        width: hypotheses kept for each study.
        length_penalty: finished drafts are ranked by log p / length ** penalty.
        prefixes: for each study tokens that the draft must begin with (Shin et al. 2016 give the
            CNN's label as the first word). They are not counted in the probability.
        no_repeat: no sequence of so many tokens is written twice; 0 allows it. Probabilities stay
            the decoder's own.

    Raises:
        ValueError: width or max_length below 1, or more tokens than the decoder has positions.
    """
    drafts = beam_search(
        decoder,
        features,
        max_length,
        width,
        length_penalty,
        prefixes,
        no_repeat,
        best_only=True,
    )
    return drafts.pick(drafts.ranking[:, 0, 0])


@torch.no_grad()
def generate_diverse(
    decoder: Decoder,
    features: Tensor,
    max_length: int,
    count: int,
    width: int = 1,
    length_penalty: float = 0.0,
    prefixes: Sequence[Sequence[int]] | None = None,
    no_repeat: int = 0,
    diversity: float = 1.0,
) -> list[Generated]:
    """Distinct drafts of each study by diverse beam search (Vijayakumar et al. 2018).

    Groups of beams are grown side by side; a group shuns the tokens that the groups before it
    choose at the same place. The first group is plain beam search.

    Args:
        decoder: as in ``generate``, and so are those not named here.
        features: likewise.
        max_length: likewise.
        count: groups, each of which gives at most one draft.
        width: hypotheses of each group.
        length_penalty: as in ``generate``.
        prefixes: likewise.
        no_repeat: likewise.
        diversity: what a token loses, in log probability, for each group that chose it.

    Returns:
        For each study its drafts in the order of their groups, ``count`` at most and no two alike.
        The probabilities are the decoder's own.

    Raises:
        ValueError: as ``generate``, and a count below 1.
    """
    if count < 1:
        raise ValueError(f"count={count}: at least 1 draft")
    drafts = beam_search(
        decoder, features, max_length, width, length_penalty, prefixes, no_repeat, count, diversity
    )
    found = []
    for ranking, alive in zip(drafts.ranking.tolist(), drafts.alive.tolist(), strict=True):
        chosen: dict[tuple[int, ...], int] = {}
        for group in ranking:
            for row in group:
                text = tuple(drafts.text(row))
                if alive[row % len(alive)] and text not in chosen:
                    chosen[text] = row
                    break
        found.append(drafts.pick(torch.tensor(list(chosen.values()), device=features.device)))
    return found


@torch.no_grad()
def sample(
    decoder: Decoder,
    features: Tensor,
    max_length: int,
    count: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    prefixes: Sequence[Sequence[int]] | None = None,
    no_repeat: int = 0,
    offsets: Tensor | None = None,
) -> list[Generated]:
    """Drafts drawn at random.

    The random numbers depend on the seed, the number of the draft and the place in it alone, so
    that a study's drafts do not depend on its neighbours in the batch.

    Args:
        decoder: in evaluation mode.
        features: as the decoder takes them, ``(B, ...)``.
        max_length: most tokens of a draft, EOS not counted.
        count: drafts to draw for each study.
        temperature: above 0; below 1 sharpens.
        top_p: draw among the likeliest tokens that together reach this probability (Holtzman et al.
            2020).
        seed: of the draws.
        prefixes: as in ``generate``.
        no_repeat: likewise.
        offsets: ``(B,)``, what is added to a study's random numbers, modulo 1; None for nothing,
            so that all studies are drawn with the same numbers.

    Returns:
        For each study its drafts, the likeliest first; of equal ones only one. The probabilities
        are the decoder's own, at temperature 1 and over all tokens.

    Raises:
        ValueError: count or max_length below 1, temperature 0 or less, top_p outside (0, 1].
    """
    if count < 1 or max_length < 1:
        raise ValueError(f"count={count}, max_length={max_length}: both must be at least 1")
    if temperature <= 0 or not 0 < top_p <= 1:
        raise ValueError(f"temperature={temperature}, top_p={top_p}: expected > 0 and in (0, 1]")
    check_positions(decoder, max_length)
    batch, device = len(features), features.device
    draws = torch.rand(count, max_length, generator=torch.Generator().manual_seed(seed))
    draws = draws.to(device).repeat(batch, 1)
    if offsets is not None:
        draws = (draws + offsets.to(draws).repeat_interleave(count).unsqueeze(1)) % 1.0
    normalised, state = start(decoder, features, count)
    forced = forced_tokens(prefixes, batch, max_length, device).repeat_interleave(count, dim=0)
    rows = batch * count
    last = torch.full((rows,), BOS, dtype=torch.long, device=device)
    finished = torch.zeros(rows, dtype=torch.bool, device=device)
    history = last.new_zeros((rows, 0))
    total, counted = torch.zeros(rows, device=device), torch.zeros_like(last)
    trace = Trace(rows, device)
    for position in range(max_length + 1):
        logits, state = decoder.step(normalised, last, state)
        logits[:, NEVER] = -torch.inf
        own = logits.log_softmax(dim=-1)
        given = torch.zeros_like(finished)
        if position == max_length:
            last = torch.full_like(last, EOS)
        else:
            allowed = block(own, history, no_repeat)
            last = _draw(allowed / temperature, top_p, draws[:, position])
            if position < forced.shape[1]:
                given = forced[:, position] != PAD
                last = torch.where(given, forced[:, position], last)
        idle = finished | given
        gained = own.gather(1, last.unsqueeze(1)).squeeze(1).masked_fill(idle, 0.0)
        last = last.masked_fill(finished, PAD)
        trace.extend(last, gained, decoder.attention_of(state))
        history = torch.cat([history, last.unsqueeze(1)], dim=1) if no_repeat else history
        total, counted = total + gained, counted + (~idle).long()
        finished = finished | (last == EOS)
        if bool(finished.all()):
            break
    drafts = Drafts(trace, total.view(batch, 1, count), total, counted)
    found = []
    for row in range(batch):
        order = drafts.ranking[row, 0].tolist()
        chosen = {tuple(drafts.text(place)): place for place in reversed(order)}
        kept = sorted(chosen.values(), key=order.index)
        found.append(drafts.pick(torch.tensor(kept, device=device)))
    return found


def _draw(logits: Tensor, top_p: float, draws: Tensor) -> Tensor:
    """A token a row: the one at which the summed probabilities, largest first, pass the draw."""
    probabilities, tokens = logits.softmax(dim=1).sort(dim=1, descending=True, stable=True)
    before = probabilities.cumsum(dim=1) - probabilities
    kept = probabilities.masked_fill((before >= top_p) & (before > 0), 0.0)
    summed = kept.cumsum(dim=1)
    index = (summed <= draws.unsqueeze(1) * summed[:, -1:]).sum(dim=1)
    index = torch.minimum(index, (kept > 0).sum(dim=1) - 1)
    return tokens.gather(1, index.unsqueeze(1)).squeeze(1)
