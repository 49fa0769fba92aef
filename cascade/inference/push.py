"""SRs to a DICOMweb server (STOW-RS), each once, whatever interrupts.

``OUT/pushed.jsonl`` remembers what the server has taken: a line a document, written to disk before
the next one is sent. A document whose line was lost in a power failure is sent again; it is the
same instance, of which a server keeps one.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pydicom

from cascade.errors import InputError
from cascade.inference.dicomweb import (
    ATTEMPTS,
    FIRST_WAIT,
    NoAnswerError,
    check_url,
    connect,
    patiently,
)
from cascade.inference.privacy import short_hash
from cascade.io.files import explain_write_errors

PUSHABLE = ("sr", "tid1500")
"""Formats that a DICOMweb server takes."""

PUSHED = "pushed.jsonl"
_GIVE_UP = 3  # documents one after the other to which the server did not answer


class Pushed(NamedTuple):
    """What became of a document: None, or why the server has not got it, without identifiers."""

    file: Path
    reason: str | None


@dataclasses.dataclass(frozen=True)
class PushSummary:
    """What became of an output's documents.

    Attributes:
        sent: now.
        already: by an earlier run.
        failed: how many for each reason.
    """

    sent: int
    already: int
    failed: dict[str, int]

    def __str__(self) -> str:
        """Lines to print.

        >>> print(PushSummary(2, 1, {"HTTP 409": 1}))
        4 documents: 2 sent, 1 sent before, 1 failed
        failed: 1 x HTTP 409
        """
        failed = sum(self.failed.values())
        parts = [f"{self.sent} sent"]
        parts += [f"{self.already} sent before"] if self.already else []
        parts += [f"{failed} failed"] if failed else []
        lines = [f"{self.sent + self.already + failed} documents: {', '.join(parts)}"]
        lines += [f"failed: {count} x {reason}" for reason, count in self.failed.items()]
        return "\n".join(lines)


def check_push(
    url: str, formats: Sequence[str], identifiers: str, environ: Mapping[str, str] = os.environ
) -> None:
    """Refuse, before hours of work, what cannot be pushed after them.

    Hashed or dropped UIDs belong to no image of the server: a document that carries them would
    stand alone under a patient that does not exist.

    Raises:
        InputError: no address; no DICOM among the formats; UIDs that are not the images' own; no
            dicomweb-client.
    """
    check_url(url, "push")
    if not set(formats) & set(PUSHABLE):
        raise InputError(f"push= sends DICOM SRs: add {' or '.join(PUSHABLE)} to formats=")
    if identifiers != "keep":
        raise InputError(
            f"push= needs identifiers=keep: with identifiers={identifiers} the SRs would refer to "
            "images that the server has not got"
        )
    connect(url, environ)  # what is missing shows now


def push(
    files: Iterable[Path],
    client: Any,
    *,
    attempts: int = ATTEMPTS,
    wait: float = FIRST_WAIT,
) -> Iterator[Pushed]:
    """Send documents one by one; what became of each is told as soon as it is known.

    Args:
        files: DICOM files.
        client: of ``cascade.inference.dicomweb.connect``.
        attempts: how often a server that does not answer is asked.
        wait: seconds before the second time, doubled each time.

    Raises:
        NoAnswerError: the server answered to none of three documents in a row.
        InputError: it does not let us in.
    """
    silent = 0
    for file in files:
        try:
            reason = _send(file, client, attempts, wait)
            silent = 0
        except NoAnswerError as error:
            silent += 1
            if silent == _GIVE_UP:
                raise
            reason = str(error)
        yield Pushed(file, reason)


def _send(file: Path, client: Any, attempts: int, wait: float) -> str | None:
    import requests

    try:
        dataset = pydicom.dcmread(file)
    except Exception as error:
        return f"the document cannot be read: {type(error).__name__}"
    try:
        answer = patiently(lambda: client.store_instances([dataset]), attempts, wait)
    except requests.HTTPError as error:
        return _refusal(error.response)
    except requests.RequestException as error:
        return f"the server's answer cannot be read: {type(error).__name__}"
    failed = answer.get("FailedSOPSequence")
    return f"refused: failure reason {_code(failed[0])}" if failed else None


def _refusal(response: Any) -> str:
    status = f"refused: HTTP {response.status_code}"
    try:
        (item, *_) = response.json()["00081198"]["Value"]
        return f"{status}, failure reason {int(item['00081197']['Value'][0]):04X}"
    except Exception:  # no answer in the words of DICOM
        return status


def _code(item: Any) -> str:
    reason = item.get("FailureReason")
    return "unknown" if reason is None else f"{int(reason):04X}"


def push_documents(
    out: Path,
    url: str,
    *,
    environ: Mapping[str, str] = os.environ,
    attempts: int = ATTEMPTS,
    wait: float = FIRST_WAIT,
    progress: Callable[[int, int], None] | None = None,
) -> PushSummary:
    """Send the SRs of ``out`` that the server has not got.

    Args:
        out: where ``cascade annotate`` wrote ``sr/`` and ``tid1500/``.
        url: of the DICOMweb server.
        environ: where the credentials may stand (``cascade.inference.dicomweb``).
        attempts: how often a server that does not answer is asked.
        wait: seconds before the second time, doubled each time.
        progress: called after each document with how many are done and how many there are.

    Raises:
        NoAnswerError: the server does not answer; the same call goes on.
        InputError: no such address; the server does not let us in.
    """
    url = check_url(url, "push")
    client = connect(url, environ)
    files = [path for name in PUSHABLE for path in sorted((out / name).glob("*.dcm"))]
    log = out / PUSHED
    known = _read_log(log)
    todo = [(path, mark) for path in files if (mark := _mark(path, url)) not in known]
    marks = dict(todo)
    sent, failed = 0, Counter[str]()
    already = len(files) - len(todo)
    with explain_write_errors(log):
        for done, pushed in enumerate(push(marks, client, attempts=attempts, wait=wait), 1):
            if pushed.reason is None:
                sent += 1
                _remember(log, f"{pushed.file.parent.name}/{pushed.file.name}", marks[pushed.file])
            else:
                failed[pushed.reason] += 1
            if progress is not None:
                progress(already + done, len(files))
    return PushSummary(sent, already, dict(failed))


def _mark(path: Path, url: str) -> str:
    """What tells a document on a server: one written again with other words is another."""
    try:
        instance = str(pydicom.filereader.read_file_meta_info(path).MediaStorageSOPInstanceUID)
    except Exception:  # told when it is sent
        instance = "unknown"
    return short_hash(f"{url} {path.parent.name} {instance}")


def _read_log(log: Path) -> set[str]:
    if not log.is_file():
        return set()
    marks = set()
    with log.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                marks.add(json.loads(line)["pushed"])
            except (ValueError, KeyError, TypeError):  # cut off by a kill
                continue
    return marks


def _remember(log: Path, file: str, mark: str) -> None:
    with log.open("ab") as stream:
        if stream.tell() and not _ends_whole(log):
            stream.write(b"\n")
        stream.write(json.dumps({"file": file, "pushed": mark}).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _ends_whole(log: Path) -> bool:
    with log.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
