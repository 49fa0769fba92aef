"""``engine=ray``: the same operators as a Ray Data pipeline, on the machines of a cluster.

Decoding and the network are actors in pools; the driver alone writes. It lists, hands out studies
by their rank, and records what comes back. Machines must see the source under the same paths; only
the driver needs the output directory.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from cascade.errors import CascadeError, InputError
from cascade.inference.decode import Decoders
from cascade.inference.engines.operators import EngineParts, predict_images, read_studies
from cascade.inference.index import FileWork, Index, Instance, StudyWork, WorkReader
from cascade.inference.prediction import PredictorProtocol
from cascade.inference.privacy import safe_reason
from cascade.inference.sources import Entry
from cascade.inference.studies import ReadImage, ReadStudy, read_image
from cascade.inference.workers import cores

Load = Callable[[], PredictorProtocol]
_STUDIES = 8
"""Studies a task: enough that its own cost does not count."""


class RayEngine:
    """Reads studies on a cluster.

    Args:
        parts: the predictor among them is the driver's and only says what the model is.
        load: loads the predictor on another machine; picklable.
        address: of the cluster; None: the one that ``RAY_ADDRESS`` names, else one begun here.
        workers: actors that decode, each with a process of its own beside it; None: as many as the
            cluster has CPUs beside the network.
    """

    def __init__(
        self, parts: EngineParts, load: Load, address: str | None = None, workers: int | None = 1
    ) -> None:
        """Connect to the cluster.

        Raises:
            InputError: Ray is not installed, or no cluster is there.
        """
        self._parts, self._load = parts, load
        self._ray = _connect(address, max(1, workers or cores()) + 2)
        found = self._ray.cluster_resources()
        self._cards = int(found.get("GPU", 0))
        free = int(found.get("CPU", 1)) - max(1, self._cards)
        self._workers = max(1, free if workers is None else workers)

    def read(self, index: Index, claim: Callable[[ReadImage], None]) -> Iterator[list[ReadStudy]]:
        """See ``Engine``.

        Images of one study that repeat each other are told where it is read; one that repeats an
        image of another study is told here, after the network has seen it.
        """
        from ray.data import DataContext
        from ray.exceptions import RayError, RayTaskError

        DataContext.get_current().enable_progress_bars = False
        DataContext.get_current().execution_options.preserve_order = self._parts.in_order
        pipeline = self._pipeline(index)
        batches = iter(pipeline.iter_batches(batch_size=None, batch_format="pyarrow"))
        while True:
            try:
                batch = next(batches, None)
            except RayError as error:
                cause = safe_reason(error.cause if isinstance(error, RayTaskError) else error)
                raise CascadeError(
                    f"the cluster failed ({cause}); what was done before is kept: run again "
                    "to go on"
                ) from error
            if batch is None:
                return
            studies = [pickle.loads(study) for study in batch["study"].to_pylist()]
            for study in studies:
                for image in study.images:
                    if image.repeats is None:
                        claim(image)
            if studies:
                yield studies

    def _pipeline(self, index: Index) -> Any:
        from ray.data import ActorPoolStrategy
        from ray.data import range as ray_range

        parts, ray = self._parts, self._ray
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        reader = ray.remote(WorkReader).options(num_cpus=0, scheduling_strategy=here)
        work = reader.remote(index.path)
        ranks = ray_range(
            index.last_rank() + 1, override_num_blocks=max(1, index.last_rank() // _STUDIES)
        )
        decoded = ranks.map_batches(
            DecodeStudies,
            fn_constructor_args=(work, parts.decoders.settings(), parts.key, parts.pictures),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=self._workers),
            num_cpus=1,
        )
        return decoded.map_batches(
            PredictStudies,
            fn_constructor_args=(self._load, _Network.of(parts)),
            batch_size=max(1, parts.batch_size),
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=max(1, self._cards)),
            num_gpus=1 if self._cards else 0,
            num_cpus=1,
        )


def _connect(address: str | None, cpus: int) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves
    try:
        import ray
        import ray.data

        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
    except ImportError as error:
        raise InputError("engine=ray needs Ray: pip install 'cascade-cxr[ray]'") from error
    if not ray.is_initialized():
        begun_here = address is None and "RAY_ADDRESS" not in os.environ
        options: dict[str, Any] = {"include_dashboard": False, "num_cpus": cpus}
        try:
            ray.init(address, log_to_driver=False, **(options if begun_here else {}))
        except (ConnectionError, ValueError) as error:
            reason = str(error).splitlines()[0][:160] if str(error) else ""
            raise InputError(f"ray_address={address}: no cluster there: {reason}") from error
    return ray


class _Network(NamedTuple):
    """What an actor must know to let the network read."""

    batch_size: int
    indications: Any

    @classmethod
    def of(cls, parts: EngineParts) -> _Network:
        return cls(parts.batch_size, parts.indications)


class _Piece(NamedTuple):
    study: StudyWork
    file: FileWork

    @property
    def entry(self) -> Entry:
        return self.file.entry


class DecodeStudies:
    """An actor: ranks of studies to decoded studies.

    A file that kills its decoder or hangs costs itself alone here too: the actor decodes in a
    process beside it.
    """

    def __init__(self, work: Any, settings: dict[str, Any], key: str, pictures: bool) -> None:
        """Begin the process that decodes."""
        self._work, self._key, self._pictures = work, key, pictures
        self._decoders = Decoders(**settings)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Decode a batch of studies."""
        import ray

        studies = ray.get(self._work.studies.remote(batch["id"].to_pylist()))
        read = {study.rank: ReadStudy(study) for study in studies}
        pieces = (_Piece(study, file) for study in studies for file in study.files)
        for piece, decoded in self._decoders.decode(pieces, ahead=4):
            image = read_image(piece.file, decoded, self._key, self._pictures)
            read[piece.study.rank].images.append(image)
        return _table(list(read.values()))


class PredictStudies:
    """An actor: decoded studies to studies that the network has read."""

    def __init__(self, load: Load, network: _Network) -> None:
        """Load the model."""
        self._predictor, self._network = load(), network
        self._views = int(getattr(self._predictor, "views", 1))

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Read a batch of studies."""
        studies = [pickle.loads(study) for study in batch["study"].to_pylist()]
        size, asked = self._network
        for study in studies:
            _mark_repeats(study)
        images = [image for study in studies for image in study.images if not image.settled]
        for start in range(0, len(images), size):
            predict_images(images[start : start + size], self._predictor, asked)
        read_studies(studies, self._predictor, self._views, size, asked)
        return _table(studies)


def _mark_repeats(study: ReadStudy) -> None:
    first: dict[Instance, ReadImage] = {}
    for image in study.images:
        if image.instance is not None:
            original = first.setdefault(image.instance, image)
            if original is not image:
                image.repeats, image.original = original.file.path, original


def _table(studies: Sequence[ReadStudy]) -> pa.Table:
    data = [pickle.dumps(study, protocol=pickle.HIGHEST_PROTOCOL) for study in studies]
    return pa.table({"study": pa.array(data, pa.large_binary())})
