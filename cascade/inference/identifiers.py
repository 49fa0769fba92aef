"""What becomes of identifiers: ``identifiers=keep``, ``hash`` or ``drop``.

=======================  ==================  ======================  ===========================
of the header            keep                hash                    drop
=======================  ==================  ======================  ===========================
patient's ID             as it stands        16 hex digits           left out
accession number         as it stands        16 hex digits           left out
study, series, SOP UID   as they stand       a UID made from each    a UID made from each by a
                                                                     secret that is thrown away
name, birth date, sex,   as they stand       left out                left out
study date and time,
study ID, physician
=======================  ==================  ======================  ===========================

Hashes are keyed (HMAC-SHA256) by the secret in ``CASCADE_IDENTIFIER_KEY``: whoever holds it gets
the same hashes for the same patient in every run, nobody else can find out whom they stand for.
Patients' IDs are short and can all be tried, so documents are not written with hashes that no
secret keys; the tables, whose only hashes are those of UIDs, are. ``drop`` keys by a secret of one
output (``output_key``): its hashes join the rows of that output and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydicom.dataset import Dataset

from cascade.errors import InputError
from cascade.inference.privacy import short_hash
from cascade.io.dicom.evidence import IDENTIFYING, UIDS, load_evidence

IDENTIFIERS = ("keep", "hash", "drop")
KEY_VARIABLE = "CASCADE_IDENTIFIER_KEY"


def hash_uid(uid: str, key: str = "") -> str:
    """A UID that stands for another: ``2.25.`` and a number made from it (PS3.5 B.2).

    >>> hash_uid("1.2.840") == hash_uid("1.2.840"), hash_uid("1.2.840") == hash_uid("1.2.841")
    (True, False)
    >>> hash_uid("1.2.840", "secret")[:5], len(hash_uid("1.2.840", "secret")) <= 44
    ('2.25.', True)
    """
    digest = hmac.new(key.encode() or b"\0", uid.encode(), hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def output_key(
    identifiers: str, stored: str | None = None, environ: Mapping[str, str] = os.environ
) -> str:
    """The secret that keys an output's hashes.

    Args:
        identifiers: a name of ``IDENTIFIERS``.
        stored: what an earlier call gave for the same output, which ``drop`` takes again, so that
            an interrupted run goes on with the same hashes. To be kept with the unfinished work
            and deleted with it.
        environ: where ``CASCADE_IDENTIFIER_KEY`` may stand.

    >>> output_key("hash", environ={"CASCADE_IDENTIFIER_KEY": "secret"})
    'secret'
    >>> output_key("drop", environ={}) == output_key("drop", environ={})
    False
    """
    if identifiers == "drop":
        return stored or secrets.token_hex(32)
    return environ.get(KEY_VARIABLE, "")


class Identifiers(NamedTuple):
    """The policy: which of ``IDENTIFIERS``, and the secret that keys hashes.

    >>> Identifiers("hash", "secret").check()
    >>> Identifiers("hush").check()
    Traceback (most recent call last):
    cascade.errors.InputError: identifiers=hush: expected one of keep, hash, drop
    """

    name: str = "hash"
    key: str = ""

    def check(self, documents: bool = False) -> None:
        """Refuse what cannot be done.

        Args:
            documents: whether documents are written, or tables alone.

        Raises:
            InputError: no such policy, or hashes in documents without a secret.
        """
        if self.name not in IDENTIFIERS:
            raise InputError(f"identifiers={self.name}: expected one of {', '.join(IDENTIFIERS)}")
        if documents and self.name != "keep" and not self.key:
            raise InputError(
                f"identifiers=hash writes documents only with a secret in {KEY_VARIABLE} (any long "
                "random text, kept apart from the results): set it, or take identifiers=drop"
            )

    def apply(self, evidence: Dataset) -> Dataset:
        """A header's tags as documents may show them; ``evidence`` is left as it is."""
        shown = Dataset()
        for element in evidence:
            if element.keyword not in IDENTIFYING or self.name == "keep":
                shown.add(element)
        if self.name == "keep":
            return shown
        for keyword in UIDS:
            if uid := evidence.get(keyword):
                setattr(shown, keyword, hash_uid(str(uid), self.key))
        if self.name == "hash":
            for keyword in ("PatientID", "AccessionNumber"):
                if value := evidence.get(keyword):
                    setattr(shown, keyword, short_hash(f"{keyword} {value}", self.key))
        return shown

    def of_row(self, evidence: str | None) -> dict[str, Any]:
        """What a study's row says beyond its hash: nothing, except with ``keep``.

        Args:
            evidence: of one of its images (``read_evidence``).
        """
        if self.name != "keep":
            return {}
        header = load_evidence(evidence) if evidence else Dataset()
        return {
            "patient_id": _text(header, "PatientID"),
            "study_instance_uid": _text(header, "StudyInstanceUID"),
            "accession_number": _text(header, "AccessionNumber"),
        }


def _text(header: Dataset, keyword: str) -> str | None:
    return str(header.get(keyword) or "") or None
