"""The images of a DICOMweb server: listed by QIDO-RS, fetched by WADO-RS (PS3.18).

Studies are asked for page by page, then the series of each, then the instances of those series that
may hold radiographs. An instance's name in the results is made of hashes; its address, which holds
UIDs, is kept in the index until the work is finished.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cascade.errors import CascadeError, InputError
from cascade.inference.dicomweb import (
    SECONDS,
    TooLongAnAnswerError,
    check_url,
    connect,
    open_session,
    patiently,
)
from cascade.inference.privacy import short_hash
from cascade.inference.sources.entry import Entry, UnsafeEntryError, too_large
from cascade.io.dicom.keys import Keys

if TYPE_CHECKING:
    import requests

MODALITIES = ("CR", "DX", "RG", "OT", "SC")
"""Series of these are asked for, and those that name no modality."""

PAGE = 100
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_MODALITY, _BODY_PART, _DATE = "00080060", "00180015", "00080020"


class DicomwebSource:
    """A server's images.

    Attributes:
        name, description: see ``Source``.

    Args:
        url: ``https://host/dicom-web``.
        query: DICOM keyword to value, of the studies that are asked for.
        key: of the hashes that name images.

    Raises:
        InputError: no address, or credentials that cannot be used.
    """

    def __init__(self, url: str, query: Mapping[str, str], key: str = "") -> None:
        """Connect; nothing is asked yet."""
        self._url = check_url(url, "source")
        self._query = {str(name): str(value) for name, value in query.items()}
        self._key = key
        self._client = connect(self._url)
        host = urlsplit(self._url).netloc
        asked = short_hash(f"{self._url} {sorted(self._query.items())}", key)
        self.name = self._url
        self.description = f"DICOMweb {host} ({asked})"

    def entries(self, ignored: list[int]) -> Iterator[Entry]:
        """See ``Source``; a series of another modality counts as one ignored file.

        Raises:
            InputError: the server does not let us in, or does not understand the query.
            CascadeError: it does not answer.
        """
        for study in self._pages("studies", search_filters=self._query):
            study_uid = _value(study, _STUDY)
            if not study_uid:
                ignored[0] += 1
                continue
            for series in self._pages("series", study_instance_uid=study_uid):
                series_uid, modality = _value(series, _SERIES), _value(series, _MODALITY)
                if not series_uid or (modality and modality.upper() not in MODALITIES):
                    ignored[0] += 1
                    continue
                about = Keys(
                    study_uid=study_uid,
                    series_uid=series_uid,
                    modality=modality,
                    body_part=_value(series, _BODY_PART),
                    study_date=_value(study, _DATE),
                )
                yield from self._instances(about, ignored)

    def _instances(self, about: Keys, ignored: list[int]) -> Iterator[Entry]:
        found = self._pages(
            "instances",
            study_instance_uid=about.study_uid,
            series_instance_uid=about.series_uid,
        )
        for instance in found:
            uid = _value(instance, _INSTANCE)
            if not uid:
                ignored[0] += 1
                continue
            uids = {"studies": about.study_uid, "series": about.series_uid, "instances": uid}
            yield Entry(
                "/".join(f"{kind}/{short_hash(str(u), self._key)}" for kind, u in uids.items()),
                url="/".join([self._url, *(f"{kind}/{u}" for kind, u in uids.items())]),
                facts=about._replace(sop_uid=uid),
            )

    def _pages(self, kind: str, **asked: Any) -> Iterator[dict[str, Any]]:
        """What the server finds, a page at a time; a server may give fewer than it is asked for."""
        search = getattr(self._client, f"search_for_{kind}")
        offset, last = 0, None
        while True:
            page = self._ask(lambda at=offset: search(limit=PAGE, offset=at, **asked))
            if page and page == last:
                raise CascadeError(
                    "the DICOMweb server gives the same page again and again: it knows no offset"
                )
            yield from page
            if not page:
                return
            offset, last = offset + len(page), page

    def _ask(self, call: Any) -> list[dict[str, Any]]:
        import requests

        try:
            found = patiently(call)
        except CascadeError:
            raise
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            raise InputError(
                f"the DICOMweb server does not understand the query (HTTP {status}): see query="
            ) from None
        except (TooLongAnAnswerError, requests.RequestException, ValueError, TypeError) as error:
            raise CascadeError(
                f"the DICOMweb server gives no list ({type(error).__name__}): is the address that "
                "of its DICOMweb service?"
            ) from None
        return [record for record in found if isinstance(record, dict)]


def _value(record: Mapping[str, Any], tag: str) -> str | None:
    """The first value of a tag in DICOM JSON, as text; None where there is none."""
    try:
        value = record[tag]["Value"][0]
    except (KeyError, IndexError, TypeError):
        return None
    text = str(value).strip("\0 ") if isinstance(value, (str, int)) else ""
    return text or None


class Fetcher:
    """Fetches instances; keeps the connection to the last server open."""

    def __init__(self) -> None:
        """Begin with no connection."""
        self._session: requests.Session | None = None
        self._host: str | None = None

    def fetch(self, url: str) -> bytes:
        """One instance, in the transfer syntax in which it lies.

        Raises:
            UnsafeEntryError: the server has it not, refuses it, or gives something else.
            NoAnswerError: it does not answer.
            InputError: it does not let us in.
        """
        import requests

        host = urlsplit(url).netloc
        if self._session is None or host != self._host:
            self.close()
            self._session, self._host = open_session(url), host
        session = self._session

        def get() -> requests.Response:
            response = session.get(url, headers={"Accept": _ACCEPT}, timeout=SECONDS)
            response.raise_for_status()
            return response

        try:
            response = patiently(get)
        except TooLongAnAnswerError:
            raise UnsafeEntryError(too_large()) from None
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            raise UnsafeEntryError(f"the DICOMweb server refuses it: HTTP {status}") from None
        except requests.RequestException as error:
            kind = type(error).__name__
            raise UnsafeEntryError(f"the DICOMweb server's answer cannot be read: {kind}") from None
        return first_part(response.headers.get("Content-Type", ""), response.content)

    def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            self._session.close()
        self._session = None


def first_part(content_type: str, body: bytes) -> bytes:
    r"""The first part of a multipart answer; the whole of one that is not in parts.

    >>> first_part("multipart/related; boundary=x", b"--x\r\nA: b\r\n\r\nDICM\r\n--x--")
    b'DICM'
    >>> first_part("application/dicom", b"DICM")
    b'DICM'

    Raises:
        UnsafeEntryError: it has no part.
    """
    from email.message import Message

    header = Message()
    header["Content-Type"] = content_type
    if header.get_content_maintype() != "multipart":
        if header.get_content_type() in ("text/html", "application/json"):
            raise UnsafeEntryError("the DICOMweb server gives something else than an image")
        return body
    boundary = header.get_boundary()
    if not boundary:
        raise UnsafeEntryError("the DICOMweb server's answer has no boundary")
    mark = b"--" + boundary.encode("latin-1", "replace")
    start = body.find(mark)
    head_end = body.find(b"\r\n\r\n", start)
    end = body.find(b"\r\n" + mark, head_end + 2)
    if start < 0 or head_end < 0 or end < 0:
        raise UnsafeEntryError("the DICOMweb server's answer is cut short")
    return body[head_end + 4 : end]
