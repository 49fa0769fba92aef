"""A DICOMweb server: how it is reached, who we are to it, and patience with it.

``CASCADE_DICOMWEB_TOKEN`` is sent as a bearer token; else ``CASCADE_DICOMWEB_USER`` and
``CASCADE_DICOMWEB_PASSWORD`` as basic authentication. They stand in the environment and not on the
command line, where every user of the machine and every log of commands would see them.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from cascade.errors import CascadeError, InputError

if TYPE_CHECKING:
    import requests

TOKEN, USER, PASSWORD = (
    "CASCADE_DICOMWEB_TOKEN",
    "CASCADE_DICOMWEB_USER",
    "CASCADE_DICOMWEB_PASSWORD",
)
ATTEMPTS = 5
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
SECONDS = (10.0, 300.0)  # to connect, and to wait for the next bytes
MAX_ANSWER_BYTES = (1 << 30) + (1 << 20)
"""A longer answer is refused: no file that is read is so large, nor any list."""
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})

T = TypeVar("T")


class TooLongAnAnswerError(Exception):
    """The server gave more than ``MAX_ANSWER_BYTES``."""


class NoAnswerError(CascadeError):
    """The server cannot be reached, or is busy at every attempt."""


def check_url(url: str, option: str) -> str:
    """A server's address without a slash at its end.

    Args:
        url: ``https://host/dicom-web``.
        option: how the user gave it, for the message.

    >>> check_url("https://pacs.example/dicom-web/", "push")
    'https://pacs.example/dicom-web'
    >>> check_url("https://me:secret@pacs.example/", "push")
    Traceback (most recent call last):
    cascade.errors.InputError: push: no name or password in the address, set \
CASCADE_DICOMWEB_USER and CASCADE_DICOMWEB_PASSWORD

    Raises:
        InputError: it is none, or holds a password.
    """
    try:
        parts = urlsplit(str(url))
        host, named = parts.hostname, parts.username or parts.password
        _ = parts.port
    except ValueError:
        host, named = None, None
        parts = urlsplit("")
    if named:
        raise InputError(f"{option}: no name or password in the address, set {USER} and {PASSWORD}")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise InputError(
            f"{option}: expected the address of a DICOMweb server, https://host/dicom-web"
        )
    return urlunsplit(parts._replace(path=parts.path.rstrip("/")))


def connect(url: str, environ: Mapping[str, str] = os.environ) -> Any:
    """A ``dicomweb_client.DICOMwebClient``, with the credentials of the environment.

    It does not retry by itself: ``patiently`` does.

    Args:
        url: of ``check_url``.
        environ: where the credentials may stand.

    Raises:
        InputError: dicomweb-client is not installed, a user is named without a password, or a
            secret would travel unencrypted.
    """
    session = open_session(url, environ)
    from dicomweb_client.web import DICOMwebClient

    # its log lines name studies
    logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)
    client = DICOMwebClient(url, session=session, timeout=SECONDS)
    client.set_http_retry_params(retry=False)
    return client


def open_session(url: str, environ: Mapping[str, str] = os.environ) -> requests.Session:
    """A session that speaks to this server alone, signs what it asks, and takes no endless answer.

    Where the server sends us to another host nothing is asked there, signed or not.

    Args:
        url: of the server, or below it.
        environ: where the credentials may stand.

    Raises:
        InputError: as ``connect``.
    """
    try:
        import dicomweb_client  # noqa: F401 - one extra brings both
        import requests
        from requests.adapters import HTTPAdapter
    except ImportError as error:
        raise InputError(
            "DICOMweb needs dicomweb-client: pip install 'cascade-cxr[pacs]'"
        ) from error

    class Measured(HTTPAdapter):
        """Reads an answer as far as it may go, whatever length it declares."""

        def send(self, request: Any, stream: bool = False, *args: Any, **kwargs: Any) -> Any:
            response = super().send(request, True, *args, **kwargs)
            if stream:
                return response
            parts, size = [], 0
            for part in response.iter_content(1 << 16):
                parts.append(part)
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    response.close()
                    raise TooLongAnAnswerError
            response._content = b"".join(parts)
            return response

    parts = urlsplit(url)
    session = requests.Session()
    session.auth = _credentials(environ)
    if parts.scheme == "http" and _has_credentials(environ) and not _is_loopback(parts.hostname):
        raise InputError(
            "the credentials would travel unencrypted: take https://, or a tunnel that ends on "
            "this machine (ssh -L)"
        )
    session.adapters.clear()
    session.mount(f"{parts.scheme}://{parts.netloc}/", Measured())
    return session


def _has_credentials(environ: Mapping[str, str]) -> bool:
    return bool(environ.get(TOKEN) or environ.get(USER))


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def _credentials(environ: Mapping[str, str]) -> Callable[[Any], Any]:
    token, user, password = (environ.get(name) for name in (TOKEN, USER, PASSWORD))
    if user and password is None:
        raise InputError(f"{USER} is set without {PASSWORD}")

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        from requests.auth import HTTPBasicAuth

        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        elif user:
            # in UTF-8 (RFC 7617), where requests would take Latin-1
            HTTPBasicAuth(user.encode(), (password or "").encode())(request)
        return request

    # A function even where there is nothing to say, so that no ~/.netrc speaks for the user.
    return sign


def patiently(
    call: Callable[[], T],
    attempts: int = ATTEMPTS,
    wait: float = FIRST_WAIT,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call until it answers: a lost connection or a busy server is asked again, later each time.

    Args:
        call: asks the server.
        attempts: how often at most.
        wait: seconds before the second attempt; doubled from one to the next, a minute at most.
        sleep: waits.

    Raises:
        NoAnswerError: it did not answer at the last attempt.
        InputError: it does not let us in, or sends us to another server.
        requests.HTTPError: it refused what was asked.
    """
    import requests

    for attempt in range(1, attempts + 1):
        try:
            return call()
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in (401, 403):
                raise InputError(
                    f"the DICOMweb server lets nobody in so (HTTP {status}): "
                    f"set {TOKEN}, or {USER} and {PASSWORD}"
                ) from None
            if status not in _BUSY:
                raise
            why, asked = f"HTTP {status}", _retry_after(error.response)
        except requests.exceptions.InvalidSchema:
            raise InputError(
                "the DICOMweb server sends us to another one, where nothing is asked: give the "
                "address of that one"
            ) from None
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            # its message holds the address that was asked for, and with it UIDs
            why, asked = type(error).__name__, None
        if attempt < attempts:
            sleep(min(asked if asked is not None else wait * 2 ** (attempt - 1), LONGEST_WAIT))
    raise NoAnswerError(
        f"the DICOMweb server did not answer {attempts} times ({why}): the same command goes on"
    )


def _retry_after(response: Any) -> float | None:
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):  # none, or a date
        return None
