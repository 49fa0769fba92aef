"""One training in several processes: the first leads the command, the others do only the fits.

When a stage trains, the leader sends the others the call of its fit, and all of them make it;
Lightning's DDP joins their gradients. Everything else (preparing, mining, files, evaluation) is
done once, by the leader. The others are started by the leader, or beside it by ``torchrun``, on
one machine or on many that share their disks.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from cascade.errors import InputError

Settings = Mapping[str, Any]
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""So long the others wait for the leader's next fit."""
GRACE = 15.0
"""Seconds in which a leader that failed has ended."""

STRATEGIES = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_false",
    "ddp_find_unused_parameters_true",
)

EPOCH: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": True}
"""How training's metrics are logged: once an epoch, the mean over the studies of all processes."""


class _Team:
    """What this process knows of the others."""

    control: Any = None
    """Their group for words instead of gradients; None while there is none."""
    followers: tuple[subprocess.Popen[bytes], ...] = ()
    environment: Mapping[str, str] = {}
    fitting: bool = False
    broken: bool = False


def launched() -> bool:
    """Whether ``torchrun``, or a leader of ours, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def count_processes(settings: Settings) -> int:
    """How many processes a training of these settings has.

    Raises:
        InputError: a strategy other than DDP; several machines without ``torchrun``.
    """
    trainer = settings["trainer"]
    if launched():
        count = int(os.environ["WORLD_SIZE"])
    else:
        count = _count_devices(trainer.get("devices", 1), str(trainer.get("accelerator", "auto")))
        nodes = int(trainer.get("num_nodes") or 1)
        if nodes > 1:
            raise InputError(
                f"trainer.num_nodes={nodes}: start the command on each machine by torchrun, which "
                "says how many there are (docs/scaling.md)"
            )
    strategy = trainer.get("strategy", "auto")
    if count > 1 and strategy not in STRATEGIES:
        raise InputError(
            f"trainer.strategy={strategy}: several processes train by one of {list(STRATEGIES)}"
        )
    return count


def check_processes(settings: Settings) -> int:
    """``count_processes``; refuses, before any work, batches that they cannot share evenly.

    Raises:
        InputError: as there, or a batch size that is no multiple of their number.
    """
    count = count_processes(settings)
    for stage in ("classifier", "generator"):
        size = int(settings[stage]["batch_size"])
        if size % count:
            raise InputError(
                f"{stage}.batch_size={size}: {count} processes share each batch, so take a "
                f"multiple of {count}"
            )
    return count


def _count_devices(devices: Any, accelerator: str) -> int:
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, int) and devices >= 1:
        return devices
    if isinstance(devices, str) and devices.isdigit():
        return int(devices)
    return max(1, torch.cuda.device_count()) if accelerator in ("auto", "gpu", "cuda") else 1


def jointly(fit: Callable[P, R]) -> Callable[P, R]:
    """Let a fit run in as many processes as its ``settings`` say.

    Its arguments are sent to the others, but for ``progress``. It has to return the same in all.
    """
    signature = inspect.signature(fit)

    @functools.wraps(fit)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        count = check_processes(bound.arguments["settings"])
        if count == 1 or _Team.fitting:
            return fit(*args, **kwargs)
        if _Team.control is None:
            _launch(count)
        given = dict(bound.arguments)
        given.pop("progress", None)
        _tell((fit.__module__, fit.__name__, given))
        with _fitting():
            return fit(*args, **kwargs)

    return call


@contextlib.contextmanager
def _fitting() -> Iterator[None]:
    _Team.fitting, _Team.broken = True, True
    try:
        with _within(_Team.environment):
            yield
        _Team.broken = False
    finally:
        _Team.fitting = False


@contextlib.contextmanager
def _within(environment: Mapping[str, str]) -> Iterator[None]:
    """For a while only: what else the leader starts is no part of the training."""
    before = {key: os.environ.get(key) for key in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def _launch(count: int) -> None:
    """Start the others on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "cascade",  # Lightning then takes the processes as they are
    }
    if sys.platform == "linux":
        shared["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    ranks = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    words = [sys.executable, "-m", "cascade.training.together"]
    _Team.environment = ranks[0]
    _Team.followers = tuple(
        subprocess.Popen(words, env={**os.environ, **rank}, stdin=subprocess.DEVNULL)
        for rank in ranks[1:]
    )
    with _within(ranks[0]):
        join()


def join() -> None:
    """Meet the others, as the environment says (``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``, ...)."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    # Gradients take NCCL where they are on a GPU, else gloo.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    _Team.control = dist.new_group(backend="gloo", timeout=PATIENCE)


def follow() -> int:
    """What every process but the leader does: fit when told to. Returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader hears it and ends
    logging.getLogger("cascade").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # the leader says the same
    join()
    while True:
        try:
            task = _hear()
        except RuntimeError:  # the leader has ended without a word
            return 0
        if task is None:
            dist.destroy_process_group()
            return 0
        module, name, given = task
        try:
            with _fitting():
                getattr(sys.modules.get(module) or __import__(module, fromlist=[name]), name)(
                    **given
                )
        except BaseException:
            if _leader_ends():  # it met the same, and says so
                return 0
            traceback.print_exc()
            return 1


def _leader_ends() -> bool:
    """Whether the leader goes, within some seconds; it does not where it waits for this process."""

    def listen() -> None:
        with contextlib.suppress(RuntimeError):
            _hear()

    listening = threading.Thread(target=listen, daemon=True)
    listening.start()
    listening.join(GRACE)
    return not listening.is_alive()


def dismiss() -> None:
    """Let the others go; where a fit failed they are ended instead, for they may wait for it."""
    if _Team.control is None:
        return
    if not _Team.broken:
        _tell(None)
    for process in _Team.followers:
        if _Team.broken:
            process.kill()
        process.wait()
    with contextlib.suppress(RuntimeError):
        dist.destroy_process_group()
    _Team.control, _Team.followers, _Team.environment = None, (), {}
    _Team.broken = False


def _tell(task: tuple[str, str, dict[str, Any]] | None) -> None:
    dist.broadcast_object_list([task], 0, _Team.control, torch.device("cpu"))


def _hear() -> tuple[str, str, dict[str, Any]] | None:
    task: list[Any] = [None]
    dist.broadcast_object_list(task, 0, _Team.control, torch.device("cpu"))
    heard: tuple[str, str, dict[str, Any]] | None = task[0]
    return heard


def gather(value: T) -> list[T]:
    """What every process has, by rank; that of this one where it is alone."""
    if not _Team.fitting:
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, _Team.control)
    return values


class StudyMean:
    """A mean over the studies of an epoch, of all processes, who may have unlike numbers.

    Lightning's own takes the mean of the numbers as a whole number and is wrong there.
    """

    def __init__(self) -> None:
        """Of none so far."""
        self._parts: list[tuple[float, int]] = []

    def add(self, mean: Tensor, count: int) -> None:
        """Of so many studies more."""
        self._parts.append((float(mean.detach()), count))

    def take(self) -> float:
        """The mean, the same in every process; begins anew."""
        parts = list(itertools.chain(*gather(self._parts)))
        self._parts = []
        return sum(mean * count for mean, count in parts) / sum(count for _, count in parts)


def trainer_settings(settings: Settings) -> dict[str, Any]:
    """The arguments of Lightning's Trainer, with the processes that there are."""
    trainer = dict(settings["trainer"])
    if _Team.fitting:
        world, local = dist.get_world_size(), int(os.environ["LOCAL_WORLD_SIZE"])
        if not isinstance(trainer.get("devices"), list):
            trainer["devices"] = local
        trainer["num_nodes"] = world // local
        if trainer.get("strategy", "auto") == "auto":
            trainer["strategy"] = "ddp"
    return trainer


if __name__ == "__main__":
    from cascade.training import together  # the module that the fits know, not this second copy

    sys.exit(together.follow())
