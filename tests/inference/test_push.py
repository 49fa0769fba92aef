import http.server
import json
import threading

import pydicom
import pytest

from cascade.errors import CascadeError, InputError
from cascade.inference.dicomweb import NoAnswerError, check_url, connect, patiently
from cascade.inference.push import PUSHED, PushSummary, check_push, push, push_documents
from cascade.inference.writers import create_writers
from tests.inference.documents import INSTANCE, STUDY, header, study_result, write_image
from tests.orthanc import run_orthanc


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with run_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


def documents(out, *names, **tags):
    """The SRs of studies of these names, in ``out``."""
    for number, name in enumerate(names):
        uids = {"SOPInstanceUID": f"{INSTANCE}.{number}"} if number else {}
        for writer in create_writers(["sr", "tid1500"], identifiers="keep"):
            assert writer.write(study_result(header(**uids, **tags), study=name), out) is None


class Server:
    """Answers POSTs with what it is told to; remembers what it was sent."""

    def __init__(self):
        self.answers, self.seen = [], []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.seen.append((self.path, self.headers.get("Authorization"), body))
                status, headers, text = server.answers.pop(0) if server.answers else (200, {}, "")
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/dicom-web"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def send(out, server, environ=None, **settings):
    settings = {"attempts": 3, "wait": 0.0} | settings
    return push_documents(out, server.url, environ=environ or {}, **settings)


def test_orthanc_takes_the_reports_beside_their_images(tmp_path, orthanc):
    write_image(tmp_path / "image.dcm")
    orthanc.store(tmp_path / "image.dcm")
    documents(tmp_path, "a")
    told = []
    summary = push_documents(
        tmp_path, orthanc.url, environ=orthanc.environ, progress=lambda *now: told.append(now)
    )
    assert summary == PushSummary(2, 0, {})
    assert told == [(1, 2), (2, 2)]
    (study,) = orthanc.ask("/studies?expand")
    assert study["MainDicomTags"]["StudyInstanceUID"] == STUDY
    assert study["PatientMainDicomTags"]["PatientID"] == "P123456"
    series = [orthanc.ask(f"/series/{name}")["MainDicomTags"] for name in study["Series"]]
    assert sorted(one["Modality"] for one in series) == ["DX", "SR", "SR"]
    before = orthanc.ask("/statistics")["CountInstances"]
    # the same call again sends nothing; without its log it sends the same instances
    assert push_documents(tmp_path, orthanc.url, environ=orthanc.environ) == PushSummary(0, 2, {})
    (tmp_path / PUSHED).unlink()
    assert push_documents(tmp_path, orthanc.url, environ=orthanc.environ) == PushSummary(2, 0, {})
    assert orthanc.ask("/statistics")["CountInstances"] == before == 3


def test_orthanc_gives_back_what_it_was_sent(tmp_path, orthanc):
    documents(tmp_path, "a", StudyInstanceUID="1.2.3.77")
    push_documents(tmp_path, orthanc.url, environ=orthanc.environ)
    sent = pydicom.dcmread(tmp_path / "sr" / "a.dcm")
    client = connect(orthanc.url, orthanc.environ)
    back = client.retrieve_instance(
        sent.StudyInstanceUID, sent.SeriesInstanceUID, sent.SOPInstanceUID
    )
    assert back == sent
    assert back.VerificationFlag == "UNVERIFIED"


def test_orthanc_lets_nobody_in_without_a_password(tmp_path, orthanc):
    documents(tmp_path, "a")
    with pytest.raises(InputError, match="HTTP 401"):
        push_documents(tmp_path, orthanc.url, environ={})
    assert not (tmp_path / PUSHED).exists()


def test_credentials(tmp_path, server):
    documents(tmp_path, "a")
    named = {"CASCADE_DICOMWEB_USER": "Jürgen", "CASCADE_DICOMWEB_PASSWORD": "pä:ss"}
    send(tmp_path, server, named)
    assert server.seen[0][:2] == ("/dicom-web/studies", "Basic SsO8cmdlbjpww6Q6c3M=")
    (tmp_path / PUSHED).unlink()
    send(tmp_path, server, named | {"CASCADE_DICOMWEB_TOKEN": "abc"})
    assert server.seen[2][1] == "Bearer abc"
    with pytest.raises(InputError, match="CASCADE_DICOMWEB_PASSWORD"):
        send(tmp_path, server, {"CASCADE_DICOMWEB_USER": "me"})


def test_a_busy_server_is_asked_again(tmp_path, server):
    documents(tmp_path, "a")
    server.answers = [(503, {"Retry-After": "0"}, ""), (502, {}, "")]
    assert send(tmp_path, server) == PushSummary(2, 0, {})
    assert len(server.seen) == 4


def test_what_is_refused_is_told_and_sent_again_next_time(tmp_path, server):
    documents(tmp_path, "a", "b")
    item = {"00081197": {"vr": "US", "Value": [272]}}
    answer = json.dumps({"00081198": {"vr": "SQ", "Value": [item]}})
    kind = {"Content-Type": "application/dicom+json"}
    server.answers = [(409, kind, answer), (400, {}, "P123456"), (202, kind, answer)]
    summary = send(tmp_path, server)
    assert summary.sent == 1
    assert summary.failed == {
        "refused: HTTP 409, failure reason 0110": 1,
        "refused: HTTP 400": 1,
        "refused: failure reason 0110": 1,
    }
    assert send(tmp_path, server) == PushSummary(3, 1, {})


def test_an_interruption_costs_nothing(tmp_path, server):
    documents(tmp_path, "a", "b")

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send(tmp_path, server, progress=stop)
    with (tmp_path / PUSHED).open("a") as log:
        log.write('{"file": "sr/')  # a line that a kill has cut off
    assert send(tmp_path, server) == PushSummary(1, 3, {})
    assert send(tmp_path, server) == PushSummary(0, 4, {})
    assert len(server.seen) == 4
    # another server has nothing yet; a document of other words is another
    other = server.url.replace("127.0.0.1", "localhost")
    assert push_documents(tmp_path, other, environ={}).sent == 4
    documents(tmp_path, "a", StudyInstanceUID="1.2.3.4")
    assert send(tmp_path, server) == PushSummary(2, 2, {})


def test_a_server_that_is_gone(tmp_path, server):
    documents(tmp_path, "a", "b")
    server.answers = [(503, {}, "")] * 6 + [(200, {}, "")] * 2
    summary = send(tmp_path, server)
    assert (summary.sent, sum(summary.failed.values())) == (2, 2)
    server.answers = [(503, {}, "")] * 100
    documents(tmp_path, "c", "d")
    with pytest.raises(NoAnswerError, match=r"did not answer 3 times \(HTTP 503\)"):
        send(tmp_path, server)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(CascadeError, match=r"did not answer 2 times \(ConnectionError\)") as error:
        send(tmp_path, server, attempts=2)
    assert STUDY not in str(error.value)


def test_waits_double():
    import requests

    waits = []

    def call():
        raise requests.ConnectionError

    with pytest.raises(NoAnswerError):
        patiently(call, 9, 1.0, waits.append)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_file_that_is_none(tmp_path, server):
    (tmp_path / "sr").mkdir()
    (tmp_path / "sr" / "a.dcm").write_bytes(b"no DICOM")
    (pushed,) = push([tmp_path / "sr" / "a.dcm"], connect(server.url, {}))
    assert pushed.reason == "the document cannot be read: InvalidDicomError"


def test_what_is_refused_before_the_work():
    url = "https://pacs.example/dicom-web"
    check_push(url, ["jsonl", "sr"], "keep", {})
    with pytest.raises(InputError, match=r"add sr or tid1500 to formats="):
        check_push(url, ["jsonl"], "keep", {})
    for identifiers in ("hash", "drop"):
        with pytest.raises(InputError, match="push= needs identifiers=keep"):
            check_push(url, ["sr"], identifiers, {})
    for wrong in (
        "pacs.example",
        "ftp://pacs.example",
        "https://",
        "http://a:b/",
        "https://a/?b=c",
    ):
        with pytest.raises(InputError, match="push: expected the address"):
            check_url(wrong, "push")
