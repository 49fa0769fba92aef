"""A DICOMweb server as a source: against a fake one for its whims, and against a real Orthanc."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from cascade.errors import CascadeError, InputError
from cascade.inference import dicomweb
from cascade.inference.decode import Decoders, How, read_entry
from cascade.inference.dicomweb import NoAnswerError, open_session
from cascade.inference.privacy import short_hash
from cascade.inference.sources import Entry, EntryReader, UnsafeEntryError, open_source
from cascade.inference.sources import dicomweb as source_module
from cascade.inference.sources.dicomweb import first_part
from cascade.io.dicom import read_dicom
from cascade.io.phantom import draw_study
from cascade.io.phantom.write import to_dicom
from tests.orthanc import run_orthanc

pytest.importorskip("dicomweb_client")


def json_of(**tags):
    return {tag.removeprefix("t"): {"vr": "UI", "Value": [value]} for tag, value in tags.items()}


STUDIES = [json_of(t0020000D=f"1.{n}", t00080020="20200101") for n in range(5)]


class Server:
    """A fake; what it does is in its attributes."""

    def __init__(self):
        self.asked, self.answers, self.signed = [], [], []
        self.page, self.offsets = 2, True
        self.image = b"--b\r\nContent-Type: application/dicom\r\n\r\nBYTES\r\n--b--"
        self.kind = 'multipart/related; type="application/dicom"; boundary=b'

    def answer(self, path, query):
        """Status, headers and body."""
        if self.answers:
            return self.answers.pop(0)
        if path.endswith("/studies"):
            return self._some(STUDIES, query)
        if path.endswith("/series"):
            study = path.split("/")[-2]
            modality = "CT" if study == "1.1" else "DX"
            found = [json_of(t0020000E=f"{study}.1", t00080060=modality, t00180015="CHEST")]
            return self._some(found, query)
        if path.endswith("/instances"):
            return self._some([json_of(t00080018=path.split("/")[-2] + ".9")], query)
        return 200, {"Content-Type": self.kind}, self.image

    def _some(self, all_of_them, query):
        start = int(query.get("offset", ["0"])[0]) if self.offsets else 0
        page = all_of_them[start : start + self.page]
        if not page:
            return 204, {}, b""
        return 200, {"Content-Type": "application/dicom+json"}, json.dumps(page).encode()


@pytest.fixture
def server():
    fake = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            fake.asked.append(self.path)
            fake.signed.append(self.headers.get("Authorization"))
            status, headers, body = fake.answer(parts.path, parse_qs(parts.query))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{http.server_port}/dicom-web"
    yield fake
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture(autouse=True)
def no_credentials_no_waiting(monkeypatch):
    for name in (dicomweb.TOKEN, dicomweb.USER, dicomweb.PASSWORD):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dicomweb.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(dicomweb.patiently, "__defaults__", (5, 1.0, lambda seconds: None))


def entries_of(source, ignored=None):
    return list(source.entries(ignored if ignored is not None else [0]))


def test_studies_come_page_by_page(server):
    ignored = [0]
    found = entries_of(open_source(server.url, key="k"), ignored)
    assert [e.facts.study_uid for e in found] == ["1.0", "1.2", "1.3", "1.4"]
    assert ignored == [1]  # the series of another modality
    first = found[0]
    uids = ("1.0", "1.0.1", "1.0.1.9")
    hashes = [short_hash(uid, "k") for uid in uids]
    assert first.path == "studies/{}/series/{}/instances/{}".format(*hashes)
    assert first.url == server.url + "/studies/{}/series/{}/instances/{}".format(*uids)
    assert first.facts[3:] == ("DX", "CHEST", "20200101")
    assert Entry.from_json(first.to_json()) == Entry(first.path, url=first.url)
    asked = [
        parse_qs(urlsplit(path).query)["offset"] for path in server.asked if "/series" not in path
    ]
    assert asked == [["0"], ["2"], ["4"], ["5"]]


def test_a_query_is_passed_on(server):
    source = open_source(server.url, query={"StudyDate": 20200101})
    entries_of(source)
    assert parse_qs(urlsplit(server.asked[0]).query)["StudyDate"] == ["20200101"]
    assert source.description != open_source(server.url).description
    assert "1.0" not in source.description


def test_a_server_that_knows_no_offset(server):
    server.offsets = False
    with pytest.raises(CascadeError, match="the same page again"):
        entries_of(open_source(server.url))


def test_a_busy_server_is_asked_again(server):
    server.answers = [(503, {"Retry-After": "0"}, b""), (429, {}, b"")]
    assert len(entries_of(open_source(server.url))) == 4


def test_a_server_that_is_never_ready(server):
    server.answers = [(503, {}, b"")] * 5
    with pytest.raises(NoAnswerError, match="did not answer 5 times .HTTP 503."):
        entries_of(open_source(server.url))


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, b"", "does not understand the query .HTTP 400."),
        (401, b"", "lets nobody in"),
        (200, b"<html>1.2.3</html>", "gives no list"),
    ],
)
def test_a_server_that_refuses(server, status, body, message):
    server.answers = [(status, {"Content-Type": "application/dicom+json"}, body)]
    with pytest.raises(CascadeError, match=message) as caught:
        entries_of(open_source(server.url))
    assert "1.2.3" not in str(caught.value)


def fetch(server, path="/studies/1.2/series/3/instances/4"):
    return EntryReader().open(Entry("x", url=server.url + path)).read()


def test_an_image_is_fetched(server):
    assert fetch(server) == b"BYTES"
    server.kind, server.image = "application/dicom", b"WHOLE"
    assert fetch(server) == b"WHOLE"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, {}, b""), "refuses it: HTTP 404"),
        ((200, {"Content-Type": "text/html"}, b"<html>"), "something else"),
        ((200, {"Content-Type": "multipart/related"}, b"x"), "no boundary"),
        ((200, {"Content-Type": "multipart/related; boundary=b"}, b"--b\r\n\r\nBY"), "cut short"),
        ((200, {"Content-Type": "multipart/related; boundary=b"}, b""), "cut short"),
        ((200, {"Content-Type": "application/dicom"}, b""), "empty"),
    ],
)
def test_an_image_that_is_none(server, answer, message):
    server.answers = [answer]
    with pytest.raises(UnsafeEntryError, match=message) as caught:
        fetch(server)
    assert "1.2" not in str(caught.value)


def test_an_endless_answer_is_cut(server, monkeypatch):
    monkeypatch.setattr(dicomweb, "MAX_ANSWER_BYTES", 1000)
    server.image = b"--b\r\n\r\n" + bytes(5000) + b"\r\n--b--"
    with pytest.raises(UnsafeEntryError, match="larger than"):
        fetch(server)


def test_another_host_is_never_asked(server):
    server.answers = [(302, {"Location": "http://localhost:9/steal"}, b"")]
    with pytest.raises(InputError, match="sends us to another one"):
        fetch(server)


def test_credentials(server, monkeypatch):
    monkeypatch.setenv(dicomweb.TOKEN, "t0ken")
    fetch(server)
    assert server.signed == ["Bearer t0ken"]
    with pytest.raises(InputError, match="would travel unencrypted"):
        open_session("http://pacs.example/dicom-web")
    open_session("https://pacs.example/dicom-web")
    with pytest.raises(InputError, match="no name or password in the address"):
        open_source("https://me:secret@pacs.example/")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_server_that_falls_silent_stops_the_work(server, monkeypatch, workers):
    monkeypatch.setattr(dicomweb, "FIRST_WAIT", 0.0)
    entry = Entry("x", url="http://127.0.0.1:9/dicom-web/studies/1/series/1/instances/1")

    class Item:
        pass

    item = Item()
    item.entry = entry
    with Decoders(How(read_entry), workers=workers) as decoders, pytest.raises(NoAnswerError):
        list(decoders.decode([item]))


def test_the_facts_of_a_listing_spare_the_header(server):
    with Decoders(How(read_entry, key="k")) as decoders:
        entries = entries_of(open_source(server.url))
        asked = len(server.asked)
        ((_, keys),) = decoders.keys([entries[:1]])
    assert keys[0].study_uid == short_hash("1.0", "k")
    assert len(server.asked) == asked


def test_parts():
    body = b"preamble\r\n--b\r\nA: 1\r\n\r\none\r\n\r\ntwo\r\n--b\r\n\r\nsecond\r\n--b--\r\n"
    assert first_part("multipart/related; boundary=b", body) == b"one\r\n\r\ntwo"
    assert first_part('multipart/related; boundary="b"', b"--b\r\n\r\n\r\n--b--") == b""


# --- a real server ------------------------------------------------------------------------------


def dicom_bytes(dataset):
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def test_orthanc_gives_what_was_stored(tmp_path, monkeypatch):
    with run_orthanc(tmp_path / "orthanc") as orthanc:
        for name, value in orthanc.environ.items():
            monkeypatch.setenv(name, value)
        stored = {}
        for index in range(3):
            study = draw_study(0, index, 64, 1.0)
            for number in (1, 2):
                dataset = to_dicom(study, number, seed=0)
                if number == 2:
                    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
                path = tmp_path / f"{index}-{number}.dcm"
                path.write_bytes(dicom_bytes(dataset))
                orthanc.store(path)
                stored[dataset.SOPInstanceUID] = read_dicom(path)
        monkeypatch.setattr(source_module, "PAGE", 2)
        found = entries_of(open_source(orthanc.url))
        assert {e.facts.sop_uid for e in found} == stored.keys()
        reader = EntryReader()
        for entry in found:
            read, want = read_dicom(reader.open(entry)), stored[entry.facts.sop_uid]
            assert np.array_equal(read.pixels, want.pixels)
            assert (read.view, read.facts) == (want.view, want.facts)
        reader.close()
        query = {"PatientID": draw_study(0, 0, 64, 1.0).patient.patient_id}
        some = entries_of(open_source(orthanc.url, query=query))
        assert 0 < len(some) < len(found)


@pytest.mark.realdata
def test_orthanc_and_the_real_files(tmp_path, monkeypatch, real_data: Path):
    with run_orthanc(tmp_path / "orthanc") as orthanc:
        for name, value in orthanc.environ.items():
            monkeypatch.setenv(name, value)
        want = {}
        for file in sorted((real_data / "dicom").glob("*.dcm")):
            radiograph = read_dicom(file)
            uid = radiograph.facts.sop_instance_uid
            # Of two studies with one SOP Instance UID (test1, dx_no_view) Orthanc gives neither.
            if uid not in want:
                want[uid] = radiograph
                orthanc.store(file)
        found = {e.facts.sop_uid: e for e in entries_of(open_source(orthanc.url))}
        reader = EntryReader()
        assert found.keys() == want.keys()
        for uid, entry in found.items():
            assert np.array_equal(read_dicom(reader.open(entry)).pixels, want[uid].pixels)
        assert len(found) == 9
        reader.close()
