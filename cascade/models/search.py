"""Beam search over a batch: what ``generation.py`` hands out is grown here."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cascade.models.decoders import Decoder
from cascade.models.drafts import Drafts, Trace
from cascade.text.vocabulary import BOS, EOS, PAD, UNK

NEVER = (PAD, BOS, UNK)
"""Ids that no draft holds."""

LEAVE = 16
"""Studies that are done leave the batch as soon as they are one in so many."""


def beam_search(
    decoder: Decoder,
    features: Tensor,
    max_length: int,
    width: int,
    length_penalty: float = 0.0,
    prefixes: Sequence[Sequence[int]] | None = None,
    no_repeat: int = 0,
    groups: int = 1,
    diversity: float = 0.0,
    best_only: bool = False,
) -> Drafts:
    """Grow ``groups`` beams of ``width`` for each study.

    A study of which all beams are done leaves the batch, so that the others' steps are cheaper.

    Args:
        decoder: as in ``generation.generate``, and so are those not named here.
        features: likewise.
        max_length: likewise.
        width: hypotheses of each group.
        length_penalty: likewise.
        prefixes: likewise.
        no_repeat: likewise.
        groups: beams that are grown side by side.
        diversity: what a token loses for each earlier group that chose it at the same place.
        best_only: of a single group only the first draft counts: a study is done, too, when
            nothing unfinished can come to rank before its best finished draft. No other draft of
            such a study is to be read.

    Raises:
        ValueError: width or max_length below 1, or more tokens than the decoder has positions.
    """
    if width < 1 or max_length < 1:
        raise ValueError(f"width={width}, max_length={max_length}: both must be at least 1")
    check_positions(decoder, max_length)
    batch, device = len(features), features.device
    each = groups * width
    normalised, state = start(decoder, features, each)
    forced = forced_tokens(prefixes, batch, max_length, device).repeat_interleave(each, dim=0)
    never = torch.tensor(NEVER, device=device)

    # One entry a beam; only of the studies that are still in the batch.
    scores = torch.full((batch, groups, width), -torch.inf, device=device)
    scores[:, :, 0] = 0.0  # the beams of a group begin alike: one of them counts
    counted = torch.zeros_like(scores)
    finished = torch.zeros((batch * each,), dtype=torch.bool, device=device)
    last = torch.full((batch * each,), BOS, dtype=torch.long, device=device)
    history = last.new_zeros((batch * each, 0))
    base = (torch.arange(batch * groups, device=device) * width).view(batch, groups, 1)
    some_finished = False

    trace = Trace(batch * each, device)
    studies: Tensor | None = None  # which are still in the batch; None for all
    all_scores, all_counted = scores, counted

    for position in range(max_length + 1):
        logits, state = decoder.step(normalised, last, state)
        looked = decoder.attention_of(state)
        step = logits.index_fill_(1, never, -torch.inf).log_softmax(dim=1)
        free = None
        if position == max_length:
            step = only_end(step)
        else:
            step = block(step, history, no_repeat)
            if position < forced.shape[1]:
                must = forced[:, position]
                free = must == PAD
                given = ~free & ~finished
                step[given] = -torch.inf
                step[given, must[given]] = 0.0
        if some_finished:  # a finished draft stays as it is
            step.masked_fill_(finished.unsqueeze(1), -torch.inf)
            step[:, PAD].masked_fill_(finished, 0.0)

        origin = None
        if each == 1:
            gained, last = step.max(dim=1)
            scores = scores + gained.view_as(scores)
        else:
            vocabulary = step.shape[1]
            total = (scores.view(-1, 1) + step).view(len(scores), groups, -1)
            if groups == 1:
                scores, index = total.topk(width, dim=2)
            else:
                scores, index = _choose_apart(total, width, vocabulary, diversity)
            origin = (base[: len(scores)] + index // vocabulary).flatten()
            last = (index % vocabulary).flatten()
            gained = step.view(len(scores), groups, -1).gather(2, index).flatten()
            finished, counted = finished[origin], counted.flatten()[origin].view_as(scores)
        counts = ~finished if free is None else ~finished & free
        counted = counted + counts.view_as(scores)
        trace.extend(last, gained, looked, origin)
        finished = finished | (last == EOS)
        if no_repeat:
            before = history if origin is None else history[origin]
            history = torch.cat([before, last.unsqueeze(1)], dim=1)

        done = (finished.view_as(scores) | (scores == -torch.inf)).flatten(1).all(dim=1)
        if best_only and length_penalty >= 0 and each > 1:
            done = done | _settled(scores, counted, finished, length_penalty, max_length)
        leaving, ended = torch.stack([done.sum(), finished.sum()]).tolist()
        some_finished = ended > 0
        if leaving == len(done):
            break
        if leaving * LEAVE < len(done):
            state = state if origin is None else decoder.reorder(state, origin)
            continue
        all_scores = _put(all_scores, studies, scores)
        all_counted = _put(all_counted, studies, counted)
        stay = (~done).nonzero().squeeze(1)
        rows = (stay.unsqueeze(1) * each + torch.arange(each, device=device)).flatten()
        state = decoder.select(state, rows if origin is None else origin[rows])
        normalised, forced, history = normalised[rows], forced[rows], history[rows]
        scores, counted, finished, last = scores[stay], counted[stay], finished[rows], last[rows]
        studies = stay if studies is None else studies[stay]
        trace.keep(rows)
        some_finished = bool(finished.any()) if each > 1 else False

    scores = _put(all_scores, studies, scores)
    counted = _put(all_counted, studies, counted)
    ranked = scores / counted.clamp_min(1) ** length_penalty
    ranked = ranked.masked_fill(scores == -torch.inf, -torch.inf)
    return Drafts(trace, ranked, scores.flatten(), counted.flatten().long())


def start(decoder: Decoder, features: Tensor, each: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Normalised features and first states, ``each`` rows a study; computed once a study."""
    normalised = decoder.normalise(features)
    state = decoder.start(normalised)
    if each == 1:
        return normalised, state
    rows = torch.arange(len(features), device=features.device).repeat_interleave(each)
    return normalised.index_select(0, rows), decoder.select(state, rows)


def forced_tokens(
    prefixes: Sequence[Sequence[int]] | None, batch: int, max_length: int, device: torch.device
) -> Tensor:
    """``(B, T)``: the token that must stand at a place, PAD where any may.

    As many places as the longest prefix has, at most ``max_length``.
    """
    cut = [list(prefix)[:max_length] for prefix in prefixes or []]
    longest = max(map(len, cut), default=0)
    forced = torch.full((batch, longest), PAD, dtype=torch.long)
    for row, prefix in enumerate(cut):
        forced[row, : len(prefix)] = torch.tensor(prefix, dtype=torch.long)
    return forced.to(device)


def check_positions(decoder: Decoder, max_length: int) -> None:
    """Raises ValueError where the decoder cannot read so many tokens."""
    if decoder.positions is not None and max_length + 1 > decoder.positions:
        raise ValueError(
            f"max_length={max_length}: the decoder has {decoder.positions} positions, one of them "
            "for the beginning"
        )


def only_end(step: Tensor) -> Tensor:
    """Nothing but the end may follow, at its own log probability."""
    ended = torch.full_like(step, -torch.inf)
    ended[:, EOS] = step[:, EOS]
    return ended


def block(step: Tensor, history: Tensor, no_repeat: int) -> Tensor:
    """Forbid each token that would write a sequence of ``no_repeat`` tokens a second time."""
    if no_repeat < 1 or history.shape[1] < no_repeat:
        return step
    windows = history.unfold(1, no_repeat, 1)  # (rows, places, no_repeat)
    ending = history[:, history.shape[1] - no_repeat + 1 :].unsqueeze(1)
    again = (windows[..., :-1] == ending).all(dim=2)
    forbidden = torch.zeros_like(step, dtype=torch.int)
    forbidden.scatter_add_(1, windows[..., -1], again.int())
    return step.masked_fill(forbidden > 0, -torch.inf)


def _choose_apart(
    total: Tensor, width: int, vocabulary: int, diversity: float
) -> tuple[Tensor, Tensor]:
    """The best of each group, less ``diversity`` for each earlier choice of the same token."""
    batch, groups, _ = total.shape
    chosen = total.new_zeros(batch, vocabulary)
    best, index = [], []
    for group in range(groups):
        own = total[:, group]
        shunned = own.view(batch, width, vocabulary) - diversity * chosen.unsqueeze(1)
        _, found = shunned.view(batch, -1).topk(width, dim=1)
        tokens = found % vocabulary
        chosen.scatter_add_(1, tokens, (tokens != PAD).to(chosen.dtype))
        best.append(own.gather(1, found))
        index.append(found)
    return torch.stack(best, dim=1), torch.stack(index, dim=1)


def _settled(
    scores: Tensor, counted: Tensor, finished: Tensor, penalty: float, max_length: int
) -> Tensor:
    """``(B,)``: the best finished draft ranks before all that the others may become.

    Log probabilities only fall, and the penalty of the longest draft is the mildest.
    """
    finished = finished.view_as(scores)
    ended = scores / counted.clamp_min(1) ** penalty
    hoped = scores / float(max_length + 1) ** penalty
    best = ended.masked_fill(~finished, -torch.inf).flatten(1).amax(dim=1)
    return best > hoped.masked_fill(finished, -torch.inf).flatten(1).amax(dim=1)


def _put(whole: Tensor, studies: Tensor | None, part: Tensor) -> Tensor:
    """``whole`` with the rows of some studies replaced."""
    return part if studies is None else whole.index_copy(0, studies, part)
