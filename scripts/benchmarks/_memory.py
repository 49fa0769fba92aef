"""How much memory the tensors made within a block hold at once."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class HeldMemory(TorchDispatchMode):
    """Counts the storages that operations make, from their making to their end.

    Scratch space within an operation is not seen.

    Attributes:
        held, peak: bytes now, and the most at once.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run the operation and look at what it made."""
        given = {
            key(part) for part in tree_leaves((args, kwargs)) if isinstance(part, torch.Tensor)
        }
        made = operation(*args, **(kwargs or {}))
        for part in tree_leaves(made):
            if isinstance(part, torch.Tensor) and key(part) not in given | self._known:
                self._add(part.untyped_storage())
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        self._known.add(address)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._drop, address, size)

    def _drop(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.held -= size


def key(tensor: torch.Tensor) -> int:
    """Which storage."""
    return tensor.untyped_storage()._cdata
