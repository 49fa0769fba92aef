"""Drafts while they are written, row by row, and as they are handed out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cascade.text.vocabulary import EOS, PAD


class Generated(NamedTuple):
    """Drafts of a batch.

    Attributes:
        tokens: for each study its ids, without BOS and EOS.
        log_probabilities: ``(B,)`` natural log of the draft's probability, its EOS included.
        lengths: ``(B,)`` tokens that the probability counts, the EOS included.
        words: for each study the log probability of each of its tokens and of the EOS; 0 where the
            token was given. They add up to ``log_probabilities``.
        attention: for each study ``(T + 1, P)``, where each of them looked; None where the decoder
            looks nowhere.
    """

    tokens: list[list[int]]
    log_probabilities: Tensor
    lengths: Tensor
    words: list[list[float]]
    attention: list[Tensor] | None

    @property
    def confidences(self) -> Tensor:
        """``(B,)`` in (0, 1]: the geometric mean probability of a token."""
        return (self.log_probabilities / self.lengths.clamp_min(1)).exp()

    def select(self, rows: Sequence[int]) -> Generated:
        """Some of the drafts."""
        chosen = list(rows)
        return Generated(
            [self.tokens[row] for row in chosen],
            self.log_probabilities[chosen],
            self.lengths[chosen],
            [self.words[row] for row in chosen],
            None if self.attention is None else [self.attention[row] for row in chosen],
        )

    @staticmethod
    def join(parts: Sequence[Generated]) -> Generated:
        """The drafts of several batches, in order; at least one batch."""
        looked = [part.attention for part in parts]
        return Generated(
            [tokens for part in parts for tokens in part.tokens],
            torch.cat([part.log_probabilities for part in parts]),
            torch.cat([part.lengths for part in parts]),
            [words for part in parts for words in part.words],
            None if looked[0] is None else [one for each in looked for one in each or ()],
        )


class Trace:
    """What was written so far in each row, and at what price; a beam reorders its rows."""

    def __init__(self, like: Tensor) -> None:
        """Nothing yet, in as many rows as ``like`` has ids."""
        self.history = like.new_zeros((len(like), 0))
        self.total = torch.zeros(len(like), device=like.device)
        self.counted = torch.zeros_like(like)
        self.steps: list[tuple[Tensor | None, Tensor, Tensor | None]] = []

    def extend(
        self,
        tokens: Tensor,
        gained: Tensor,
        counts: Tensor,
        attention: Tensor | None,
        origin: Tensor | None = None,
    ) -> None:
        """One place further: row i continues row ``origin[i]``; ``attention`` is in old rows."""
        if origin is not None:
            self.history, self.counted = self.history[origin], self.counted[origin]
            self.total = self.total[origin]
        self.history = torch.cat([self.history, tokens.unsqueeze(1)], dim=1)
        self.total, self.counted = self.total + gained, self.counted + counts
        self.steps.append((origin, gained, attention))


class Drafts:
    """Finished rows: those of study b and group g are ``ranking[b, g]``, the best first."""

    def __init__(self, trace: Trace, ranked: Tensor) -> None:
        """``ranked`` are the scores ``(B, groups, width)``, -inf where there is no draft."""
        batch, groups, width = ranked.shape
        self.trace = trace
        self.alive = (ranked > -torch.inf).view(batch, -1)
        # Stable: among equals the first, as ``argmax`` has it.
        order = ranked.argsort(dim=2, descending=True, stable=True)
        base = torch.arange(batch * groups, device=ranked.device).view(batch, groups, 1) * width
        self.ranking = base + order
        self._written = trace.history.tolist()

    def text(self, row: int) -> list[int]:
        """The ids of a row."""
        return [token for token in self._written[row] if token not in (PAD, EOS)]

    def pick(self, rows: Tensor) -> Generated:
        """The drafts of some rows."""
        tokens = [self.text(row) for row in rows.tolist()]
        gained, looked = [], []
        at = rows
        for origin, step, attention in reversed(self.trace.steps):
            gained.append(step[at])
            at = at if origin is None else origin[at]
            if attention is not None:
                looked.append(attention[at])
        steps = torch.stack(gained[::-1], dim=1).tolist() if gained else [[]] * len(rows)
        words = [row[: len(text) + 1] for row, text in zip(steps, tokens, strict=True)]
        maps = None
        if looked:
            whole = torch.stack(looked[::-1], dim=1)
            maps = [part[: len(text) + 1] for part, text in zip(whole, tokens, strict=True)]
        return Generated(tokens, self.trace.total[rows], self.trace.counted[rows], words, maps)
