"""Whatever an archive writes, no byte of it says whose images they are."""

import logging
import re
import zlib

import pytest

from cascade.inference.archive import annotate_archive
from cascade.inference.prediction import Prediction
from cascade.inference.writers import FORMATS
from tests.inference.documents import SECRETS, write_image


class Sure:
    model_id, version = "sure", "1"

    def predict(self, images, indications=None):
        return [Prediction("opacity", "Opacity.", 0.75, {"opacity": 0.5}) for _ in images]

    predict_studies = predict


def content(path):
    """A file's bytes and what its compressed streams hold."""
    body = path.read_bytes()
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", body, re.DOTALL):
        try:
            body += zlib.decompress(stream.strip(b"\r\n"))
        except zlib.error:
            body += stream
    return body


@pytest.mark.parametrize("identifiers", ["hash", "drop"])
def test_no_identifier_in_any_byte(tmp_path, identifiers, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write_image(source / "1.dcm")
    write_image(source / "2.dcm")  # a copy
    write_image(source / "3.dcm", SOPInstanceUID="1.2.3.4.5.6", PixelData=b"\0\0\1\0\2\0\3\1")
    write_image(source / "4.dcm", StudyInstanceUID="1.2.3.4.5.7", PixelData=b"\0")  # too short
    foot = {"StudyInstanceUID": "1.2.3.4.5.8", "SOPInstanceUID": "1.2.3.4.5.9"}
    write_image(source / "5.dcm", BodyPartExamined="FOOT", **foot)
    formats = ["jsonl", "parquet", "csv", *FORMATS]
    summary = annotate_archive(
        source, Sure(), out, formats=formats, identifiers=identifiers, key="secret"
    )
    assert summary.failures == 1
    files = [path for path in out.rglob("*") if path.is_file()]
    for name in FORMATS:  # a document for each study: one was read, one is damaged, one is a foot
        assert len([path for path in files if path.parent.name == name]) == 3
    heard = (caplog.text + "".join(capfd.readouterr())).encode()
    secrets = [part for secret in SECRETS.values() for part in secret.split("^")]
    secrets += ["1.2.3.4.5.", "2019-03-14", "1948-02-17", "secret"]
    for path in files:
        body = content(path) + str(path.relative_to(out)).encode() + heard
        for secret in secrets:
            assert secret.encode() not in body, (path, secret)
