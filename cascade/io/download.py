"""One large file over HTTP, fetched so that a cut connection costs only what had not come yet.

What has come lies in ``NAME.part``; ``NAME.part.json`` says of which version of the file it is, so
that the second half of a changed file is never glued to the first half of the old one. The file
gets its name only when it is whole and its checksum is right.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from cascade import __version__
from cascade.errors import CascadeError, InputError
from cascade.io.files import write_json

SCHEMES = ("http", "https")
CHUNK = 2**16
LONGEST_WAIT = 30.0
"""Seconds between two attempts, at most."""
WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}
"""HTTP answers that pass."""


class UnreachableError(CascadeError):
    """No connection to the host at all, so that trying again at once would not help.

    Attributes:
        host: which one.
        reason: in the system's words.
    """

    def __init__(self, host: str, reason: str) -> None:
        """Remember both, for a message that knows the remedy."""
        super().__init__(f"cannot reach {host} ({reason})")
        self.host, self.reason = host, reason


class RefusedError(CascadeError):
    """The host answered, but not with the file."""


class _BrokenError(Exception):
    """An attempt that ended early, and that another may better."""


@dataclasses.dataclass
class _Job:
    """A download under way: where the part lies, what is known of the file, what came so far."""

    url: str
    part: Path
    file: BinaryIO
    limit: int | None
    trusted: bool  # a checksum will tell whether the halves belong together
    timeout: float
    progress: Callable[[int, int], None] | None
    validator: str | None = None
    total: int | None = None
    done: int = 0
    digest: Any = dataclasses.field(default_factory=hashlib.sha256)

    @property
    def state(self) -> Path:
        return _state_of(self.part)

    def restart(self) -> None:
        """Forget what came."""
        self.file.truncate(0)
        self.done, self.digest = 0, hashlib.sha256()
        self.validator = self.total = None

    def advance(self, block: bytes) -> None:
        """Take in a block that is in the file."""
        self.done += len(block)
        self.digest.update(block)


def download(
    url: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    timeout: float = 30,
    attempts: int = 5,
) -> str | None:
    """Fetch ``url`` into ``path``, going on where an earlier call stopped.

    A file that is there already stays as it is; where a checksum is given it has to be right.

    Args:
        url: http or https; redirects may lead from the first to the second, not back.
        path: where the file goes; its folder is made.
        sha256: what it has to be, in hexadecimal.
        size: the most bytes that it may have.
        progress: called with the bytes that are there and all of them (0 where nobody told).
        timeout: seconds of silence after which the connection counts as broken.
        attempts: how often in a row to try without getting any further.

    Returns:
        The SHA-256 of the file; None for a file that was there and that nothing was asked of.

    Raises:
        InputError: the address is no http(s) address, another file lies at ``path``, the folder
            may not be written, or another process is fetching the same file.
        UnreachableError: there was no connection at all.
        RefusedError: the host does not give the file.
        CascadeError: broken off too often, too large, a wrong checksum, or the disk is full.
    """
    path = Path(path)
    _check_url(url)
    wanted = _checked_sum(sha256)
    if path.exists():
        return _check_present(path, wanted)
    part = path.with_name(path.name + ".part")
    with _explain_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part) as file:
            try:
                if path.exists():  # another process has just finished it
                    return _check_present(path, wanted)
                job = _Job(url, part, file, size, wanted is not None, timeout, progress)
                _take_up(job)
                _fetch(job, attempts)
                found = job.digest.hexdigest()
                if wanted is not None and found != wanted:
                    job.restart()
                    raise CascadeError(
                        f"{url} has the SHA-256 {found}, expected {wanted}: what came was removed"
                    )
                file.flush()
                os.fsync(file.fileno())
                os.replace(part, path)
                _state_of(part).unlink(missing_ok=True)
            finally:
                file.flush()
                if part.exists() and not part.stat().st_size:
                    part.unlink()
                    _state_of(part).unlink(missing_ok=True)
    return found


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_present(path: Path, wanted: str | None) -> str | None:
    if not path.is_file():
        raise InputError(f"{path} is in the way of the download: move it")
    if wanted is None:
        return None
    found = sha256_of(path)
    if found != wanted:
        raise InputError(
            f"{path} has the SHA-256 {found}, expected {wanted}: it is damaged, cut short or "
            "another version; delete it, and the same command fetches it again"
        )
    return found


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        named = parts.scheme in SCHEMES and bool(parts.hostname)
        _ = parts.port  # refused here where it is no number
    except ValueError:
        named = False
    if not named or not re.fullmatch(r"[!-~]+", url):
        raise InputError(f"{url!r} is no address to download from: expected http(s)://HOST/FILE")


def _checked_sum(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    wanted = sha256.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", wanted):
        raise InputError(f"{sha256!r} is no SHA-256: expected 64 hexadecimal digits, or null")
    return wanted


# --- what lies on the disk ----------------------------------------------------------------------


def _state_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


@contextlib.contextmanager
def _explain_disk(path: Path) -> Iterator[None]:
    """A full disk or a forbidden folder as one line; a network's errors do not come this far."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(path) from error
        reason = error.strerror or str(error)
        raise InputError(f"cannot write {path}: {reason}; choose another folder") from error


def _no_space(path: Path, more: str = "") -> CascadeError:
    return CascadeError(
        f"no space left on the disk that holds {path}{more}: free some, and the same command goes "
        "on where it stopped"
    )


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """The part file, open for appending, to one process at a time."""
    with part.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another process is fetching into {part}: wait until it is done"
            ) from error
        except OSError:
            pass  # a file system without locks
        yield file


def _take_up(job: _Job) -> None:
    """Find out what of the file is there already, or that nothing of use is."""
    try:
        state = json.loads(job.state.read_text(encoding="utf-8"))
        same = state["url"] == job.url
        validator, total = state["validator"], state["total"]
        assert isinstance(validator, str | None)
        assert isinstance(total, int | None)
    except (OSError, ValueError, TypeError, KeyError, AssertionError):
        same = False
    if not same or (validator is None and not job.trusted):
        job.restart()
        return
    job.validator, job.total = validator, total
    job.file.seek(0)
    while block := job.file.read(CHUNK):
        job.advance(block)
    if total is not None and job.done > total:
        job.restart()


def _remember(job: _Job) -> None:
    state = {"url": job.url, "validator": job.validator, "total": job.total}
    write_json(job.state, state)


# --- what comes over the network ----------------------------------------------------------------


def _fetch(job: _Job, attempts: int) -> None:
    """Attempt after attempt until the file is whole."""
    furthest, failures, connected = job.done, 0, False
    while job.total is None or job.done < job.total:
        try:
            _attempt(job)
            return
        except UnreachableError:
            if not connected:
                raise
            failure = "the connection was lost"
        except _BrokenError as error:
            connected, failure = True, str(error)
        failures = 1 if job.done > furthest else failures + 1
        furthest = max(furthest, job.done)
        if failures >= attempts:
            kept = f"; {job.done} bytes are kept, the same command goes on" if job.done else ""
            raise CascadeError(f"{job.url} broke off {failures} times ({failure}){kept}")
        _wait(min(2.0 ** (failures - 1), LONGEST_WAIT))


def _wait(seconds: float) -> None:
    time.sleep(seconds)


def _attempt(job: _Job) -> None:
    """Ask for what is missing and append it.

    Raises:
        _BrokenError: it ended early.
        CascadeError: it will not go better another time.
    """
    asked = job.done
    headers = {"User-Agent": f"cascade/{__version__}"}
    if asked:
        headers["Range"] = f"bytes={asked}-"
        if job.validator is not None:
            headers["If-Range"] = job.validator
    with _opened(job, headers) as response:
        _begin(job, response)
        if job.progress is not None:
            job.progress(job.done, job.total or 0)
        while block := _read(response):
            if job.limit is not None and job.done + len(block) > job.limit:
                job.restart()
                raise _too_large(job)
            job.file.write(block)
            job.advance(block)
            if job.progress is not None:
                job.progress(job.done, job.total or 0)
    if job.total is not None and job.done < job.total:
        raise _BrokenError(f"{job.done} of {job.total} bytes came")


def _begin(job: _Job, response: http.client.HTTPResponse) -> None:
    """Compare the answer with what is there; start again where the two do not fit."""
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    # a weak tag does not promise the same bytes
    validator = etag if etag and not etag.startswith("W/") else modified
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        total = None if found is None or found[2] == "*" else int(found[2])
        # a partial answer may leave out what the whole one said
        validator = job.validator if validator is None else validator
        total = job.total if total is None else total
        changed = job.validator not in (None, validator) or job.total not in (None, total)
        if found is None or int(found[1]) != job.done or changed:
            job.restart()
            raise _BrokenError("the file has changed on the host")
    elif response.status == 200:
        job.restart()
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
    else:
        raise RefusedError(f"{job.url} answers {response.status} {response.reason}")
    job.validator, job.total = validator, total
    if total is not None:
        if job.limit is not None and total > job.limit:
            job.restart()
            raise _too_large(job, total)
        free = shutil.disk_usage(job.part.parent).free
        if total - job.done > free:
            raise _no_space(job.part, f" ({total - job.done} bytes are to come, {free} are free)")
    _remember(job)


def _too_large(job: _Job, total: int | None = None) -> CascadeError:
    what = f"has {total} bytes" if total else "sends"
    return CascadeError(f"{job.url} {what} more than the limit of {job.limit}: not taken")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenError(_reason(error)) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https only, and from https never back to http."""

    def redirect_request(  # type: ignore[no-untyped-def]
        self, req, fp, code, msg, headers, newurl
    ) -> urllib.request.Request | None:
        """As the base class, or an error."""
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in SCHEMES or (before, after) == ("https", "http"):
            raise urllib.error.HTTPError(newurl, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Like ``urllib.request``'s own, without its handlers for file:, ftp: and data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _opened(job: _Job, headers: dict[str, str]) -> http.client.HTTPResponse:
    """The answer to a request, or the error that says what to make of its failure."""
    request = urllib.request.Request(job.url, headers=headers)
    try:
        return _opener().open(request, timeout=job.timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # there is less of it than we have: another file
            job.restart()
            raise _BrokenError("the file has changed on the host") from error
        if error.code in WORTH_ANOTHER_TRY:
            raise _BrokenError(f"{error.code} {error.msg}") from error
        if 300 <= error.code < 400:
            raise RefusedError(
                f"{job.url} leads to {error.filename}, which is not followed: only http and "
                "https are, and https never back to http"
            ) from error
        raise RefusedError(f"{job.url} answers {error.code} {error.msg}") from error
    except urllib.error.URLError as error:
        host = urlsplit(job.url).hostname or job.url
        raise UnreachableError(host, _reason(error)) from error
    except http.client.InvalidURL as error:
        raise InputError(f"{job.url!r} is no address to download from: {error}") from error
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """An error of the network in a few words."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "no answer in time"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())
