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


class Step(NamedTuple):
    """One place of the texts, for all rows.

    Attributes:
        tokens, gained: ``(R,)`` ids and log probabilities; PAD and 0 in rows that were left.
        origin: ``(R,)`` which row of the place before each row continues; None for itself.
        attention: ``(L, P)`` where the decoder looked, in the rows of the place before.
        where: ``(R,)`` the place of a row in ``attention``; None where it is all of them.
    """

    tokens: Tensor
    gained: Tensor
    origin: Tensor | None
    attention: Tensor | None
    where: Tensor | None


class Trace:
    """What was written so far in each row, and at what price.

    A beam reorders its rows, and rows that are done may be left: only the others are extended.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        """Nothing yet."""
        self.steps: list[Step] = []
        self._all = torch.arange(rows, device=device)
        self._kept: Tensor | None = None
        self._where: Tensor | None = None

    def keep(self, rows: Tensor) -> None:
        """From here on only these, of the rows extended so far, are extended."""
        self._kept = rows if self._kept is None else self._kept[rows]
        self._where = torch.zeros_like(self._all)
        self._where[self._kept] = self._all[: len(self._kept)]

    def extend(
        self, tokens: Tensor, gained: Tensor, attention: Tensor | None, origin: Tensor | None = None
    ) -> None:
        """One place further: row i continues row ``origin[i]``; ``attention`` is in old rows."""
        kept = self._kept
        if kept is not None:
            tokens = torch.full_like(self._all, PAD).index_copy_(0, kept, tokens)
            gained = gained.new_zeros(len(self._all)).index_copy_(0, kept, gained)
            if origin is not None:
                origin = self._all.index_copy(0, kept, kept[origin])
        self.steps.append(Step(tokens, gained, origin, attention, self._where))

    def written(self) -> list[list[int]]:
        """The ids of each row."""
        at, columns = self._all, []
        for step in reversed(self.steps):
            columns.append(step.tokens[at])
            at = at if step.origin is None else step.origin[at]
        return torch.stack(columns[::-1], dim=1).tolist() if columns else [[] for _ in at]


class Drafts:
    """Finished rows: those of study b and group g are ``ranking[b, g]``, the best first."""

    def __init__(self, trace: Trace, ranked: Tensor, total: Tensor, counted: Tensor) -> None:
        """Rank the rows of a trace.

        Args:
            trace: of ``R = B * groups * width`` rows.
            ranked: the scores ``(B, groups, width)``, -inf where there is no draft.
            total: ``(R,)`` log probabilities.
            counted: ``(R,)`` how many tokens they are of.
        """
        batch, groups, width = ranked.shape
        self.trace, self.total, self.counted = trace, total, counted
        self.alive = (ranked > -torch.inf).view(batch, -1)
        # Stable: among equals the first, as ``argmax`` has it.
        order = ranked.argsort(dim=2, descending=True, stable=True)
        base = torch.arange(batch * groups, device=ranked.device).view(batch, groups, 1) * width
        self.ranking = base + order
        self._written = trace.written()

    def text(self, row: int) -> list[int]:
        """The ids of a row."""
        return [token for token in self._written[row] if token not in (PAD, EOS)]

    def pick(self, rows: Tensor) -> Generated:
        """The drafts of some rows."""
        tokens = [self.text(row) for row in rows.tolist()]
        gained, looked = [], []
        at = rows
        for step in reversed(self.trace.steps):
            gained.append(step.gained[at])
            at = at if step.origin is None else step.origin[at]
            if step.attention is not None:
                looked.append(step.attention[at if step.where is None else step.where[at]])
        steps = torch.stack(gained[::-1], dim=1).tolist() if gained else [[]] * len(rows)
        words = [row[: len(text) + 1] for row, text in zip(steps, tokens, strict=True)]
        maps = None
        if looked:
            whole = torch.stack(looked[::-1], dim=1)
            maps = [part[: len(text) + 1] for part, text in zip(whole, tokens, strict=True)]
        return Generated(tokens, self.total[rows], self.counted[rows], words, maps)
