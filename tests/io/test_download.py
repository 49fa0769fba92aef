"""Against a real server on loopback that misbehaves as asked."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

import cascade.io.download as module
from cascade.errors import CascadeError, InputError
from cascade.io.download import RefusedError, UnreachableError, download

CONTENT = bytes(range(256)) * 1500  # 384,000 bytes, several blocks
SUM = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_GET(self):
        self.server.serve(self)


class Server(ThreadingHTTPServer):
    """Serves ``content``; each entry of ``cuts`` ends one answer after so many bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.modified = CONTENT, '"first"', None
        self.ranges, self.length, self.minds_if_range = True, True, True
        self.cuts, self.statuses, self.location, self.delay = [], [], None, 0.0
        self.asked = []

    def url(self, name="file.tgz"):
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"

    def handle_error(self, request, client_address):
        pass  # a client that has gone away

    def serve(self, handler):
        headers = handler.headers
        self.asked.append(headers.get("Range"))
        time.sleep(self.delay)
        if self.statuses:
            handler.send_error(self.statuses.pop(0))
            return
        if self.location and not handler.path.startswith("/there"):
            handler.send_response(302)
            handler.send_header("Location", self.location)
            handler.end_headers()
            return
        start, wanted = 0, re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        fresh = headers.get("If-Range") in (None, self.etag, self.modified)
        if wanted and self.ranges and (fresh or not self.minds_if_range):
            start = int(wanted[1])
            if start >= len(self.content):
                handler.send_error(416)
                return
            handler.send_response(206)
            last = len(self.content) - 1
            handler.send_header("Content-Range", f"bytes {start}-{last}/{len(self.content)}")
        else:
            handler.send_response(200)
        if self.etag:
            handler.send_header("ETag", self.etag)
        if self.modified:
            handler.send_header("Last-Modified", self.modified)
        if self.length:
            handler.send_header("Content-Length", str(len(self.content) - start))
        handler.end_headers()
        body = self.content[start:]
        handler.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    waits = []
    monkeypatch.setattr(module, "_wait", waits.append)
    with Server() as found:
        found.waits = waits
        thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole(server, tmp_path):
    seen = []
    path = tmp_path / "new" / "file.tgz"
    found = download(server.url(), path, sha256=SUM, progress=lambda *two: seen.append(two))
    assert found == SUM
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["file.tgz"]
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert server.asked == [None]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_sum_of_a_file_is_told_where_none_was_asked_for(server, tmp_path):
    assert download(server.url(), tmp_path / "f") == SUM
    assert download(server.url(), tmp_path / "f") is None
    assert server.asked == [None]


def test_a_file_that_is_there_is_left_alone(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    before = path.stat().st_mtime_ns
    assert download("http://127.0.0.1:1/f", path, sha256=SUM.upper()) == SUM
    assert path.stat().st_mtime_ns == before


def test_another_file_in_its_place_is_not_deleted(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"half")
    with pytest.raises(InputError, match=f"SHA-256 .*expected {SUM}.*delete it"):
        download("http://127.0.0.1:1/f", path, sha256=SUM)
    assert path.read_bytes() == b"half"
    with pytest.raises(InputError, match="in the way"):
        download("http://127.0.0.1:1/f", tmp_path)


def test_a_cut_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.cuts = [100_000, 50_000]
    assert download(server.url(), tmp_path / "f", sha256=SUM) == SUM
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert server.waits == [1, 1]  # each attempt got further
    assert names(tmp_path) == ["f"]


def test_a_later_call_goes_on_with_the_part(server, tmp_path):
    server.cuts = [100_000]
    with pytest.raises(CascadeError, match="100000 bytes are kept"):
        download(server.url(), tmp_path / "f", attempts=1)
    assert names(tmp_path) == ["f.part", "f.part.json"]
    assert download(server.url(), tmp_path / "f") == SUM
    assert server.asked == [None, "bytes=100000-"]
    assert names(tmp_path) == ["f"]


def test_an_interrupt_leaves_a_part_to_go_on_with(server, tmp_path):
    def stop(done, total):
        if done > 200_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server.url(), tmp_path / "f", sha256=SUM, progress=stop)
    part = (tmp_path / "f.part").read_bytes()
    assert len(part) > 200_000
    assert CONTENT.startswith(part)
    assert download(server.url(), tmp_path / "f", sha256=SUM) == SUM
    assert server.asked == [None, f"bytes={len(part)}-"]


def test_a_whole_part_is_not_fetched_again(server, tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT)
    state = {"url": server.url(), "validator": '"first"', "total": len(CONTENT)}
    (tmp_path / "f.part.json").write_text(json.dumps(state))
    assert download(server.url(), tmp_path / "f") == SUM
    assert server.asked == []


def test_a_server_without_ranges_begins_again(server, tmp_path):
    server.ranges = False
    server.cuts = [100_000]
    assert download(server.url(), tmp_path / "f", sha256=SUM) == SUM
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def cut_once(server, path):
    server.cuts = [100_000]
    with pytest.raises(CascadeError, match="broke off"):
        download(server.url(), path, attempts=1)


@pytest.mark.parametrize("minds", [True, False])
def test_a_changed_file_is_not_glued_to_the_old_half(server, tmp_path, minds):
    cut_once(server, tmp_path / "f")
    server.content, server.etag = bytes(reversed(CONTENT)), '"second"'
    server.minds_if_range = minds
    download(server.url(), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == server.content
    assert server.asked[1] == "bytes=100000-"


def test_a_date_tells_a_changed_file_too(server, tmp_path):
    server.etag, server.modified = 'W/"weak"', "Sat, 01 Jan 2022 00:00:00 GMT"
    cut_once(server, tmp_path / "f")
    state = json.loads((tmp_path / "f.part.json").read_text())
    assert state["validator"] == server.modified
    server.content, server.modified = CONTENT[::-1], "Sun, 02 Jan 2022 00:00:00 GMT"
    download(server.url(), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == server.content


def test_a_file_that_has_become_shorter(server, tmp_path):
    cut_once(server, tmp_path / "f")
    server.content, server.minds_if_range = b"short", False
    download(server.url(), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"short"
    assert server.asked == [None, "bytes=100000-", None]


def test_without_tag_and_date_only_a_checksum_lets_it_go_on(server, tmp_path):
    server.etag = None
    cut_once(server, tmp_path / "f")
    assert download(server.url(), tmp_path / "f", sha256=SUM) == SUM
    cut_once(server, tmp_path / "g")
    assert download(server.url(), tmp_path / "g") == SUM
    assert server.asked == [None, "bytes=100000-", None, None]


@pytest.mark.parametrize("state", ["", "{}", "[]", '{"url": 1, "validator": 2, "total": "x"}'])
def test_a_part_of_unknown_origin_is_begun_again(server, tmp_path, state):
    (tmp_path / "f.part").write_bytes(b"something else")
    (tmp_path / "f.part.json").write_text(state)
    assert download(server.url(), tmp_path / "f", sha256=SUM) == SUM
    assert server.asked == [None]


def test_a_part_from_another_address_is_begun_again(server, tmp_path):
    cut_once(server, tmp_path / "f")
    download(server.url("other.tgz"), tmp_path / "f")
    assert server.asked == [None, None]


def test_a_wrong_checksum_names_both_and_leaves_nothing(server, tmp_path):
    with pytest.raises(CascadeError, match=f"SHA-256 {SUM}, expected {'0' * 64}"):
        download(server.url(), tmp_path / "f", sha256="0" * 64)
    assert names(tmp_path) == []


def test_a_file_that_is_too_large_is_not_taken(server, tmp_path):
    with pytest.raises(CascadeError, match="384000 bytes more than the limit of 1000"):
        download(server.url(), tmp_path / "f", size=1000)
    server.length = False
    with pytest.raises(CascadeError, match="more than the limit of 1000"):
        download(server.url(), tmp_path / "f", size=1000)
    assert names(tmp_path) == []
    assert download(server.url(), tmp_path / "f", size=len(CONTENT)) == SUM


def test_a_disk_that_cannot_hold_it_is_told_before(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=7))
    with pytest.raises(CascadeError, match="384000 bytes are to come, 7 are free") as caught:
        download(server.url(), tmp_path / "f")
    assert not isinstance(caught.value, InputError)
    assert names(tmp_path) == []


def test_a_disk_that_fills_up(server, tmp_path, monkeypatch):
    def advance(job, block):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module._Job, "advance", advance)
    with pytest.raises(CascadeError, match="no space left .* goes on where it stopped"):
        download(server.url(), tmp_path / "f")


def test_what_the_host_does_not_have(server, tmp_path):
    server.statuses = [404]
    with pytest.raises(RefusedError, match=r"file\.tgz answers 404 Not Found"):
        download(server.url(), tmp_path / "f")
    assert server.asked == [None]
    assert names(tmp_path) == []


def test_a_host_that_is_busy_is_asked_again(server, tmp_path):
    server.statuses = [503, 429, 500]
    assert download(server.url(), tmp_path / "f") == SUM
    assert server.waits == [1, 2, 4]
    server.statuses = [503] * 9
    with pytest.raises(CascadeError, match=r"broke off 3 times \(503"):
        download(server.url(), tmp_path / "g", attempts=3)
    assert names(tmp_path) == ["f"]


def test_redirects_stay_on_the_web(server, tmp_path):
    server.location = server.url("there")
    assert download(server.url(), tmp_path / "f") == SUM
    for away in ("file:///etc/passwd", "ftp://host.invalid/f", "data:,x"):
        server.location = away
        with pytest.raises(RefusedError, match=f"leads to {away}.*not followed"):
            download(server.url(), tmp_path / "g")
    server.location = server.url()  # round and round
    with pytest.raises(RefusedError, match="not followed"):
        download(server.url(), tmp_path / "g")
    assert names(tmp_path) == ["f"]


def test_no_way_back_from_https():
    request = module.urllib.request.Request("https://host.invalid/f")
    with pytest.raises(module.urllib.error.HTTPError):
        module._Redirects().redirect_request(request, None, 302, "", {}, "http://host.invalid/f")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://h/f",
        "f.tgz",
        "http://",
        "http://h:x/f",
        "http://h/a b",
        "http://h/ü",
    ],
)
def test_other_addresses_are_refused(tmp_path, url):
    with pytest.raises(InputError, match=r"expected http\(s\)://HOST/FILE"):
        download(url, tmp_path / "f")
    assert names(tmp_path) == []


def test_a_sum_that_is_none(tmp_path):
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        download("http://h/f", tmp_path / "f", sha256="abc")


def test_a_port_where_nobody_listens(server, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/f"
        with pytest.raises(UnreachableError, match="cannot reach 127.0.0.1") as caught:
            download(url, tmp_path / "f")
    assert caught.value.host == "127.0.0.1"
    assert server.waits == []  # nothing would change in a few seconds
    assert names(tmp_path) == []


def test_a_network_that_goes_away_in_the_middle(server, tmp_path, monkeypatch):
    opened = module._opened

    def once(job, headers):
        if server.asked:
            raise UnreachableError("127.0.0.1", "Network is unreachable")
        return opened(job, headers)

    monkeypatch.setattr(module, "_opened", once)
    server.cuts = [100_000]
    with pytest.raises(CascadeError, match=r"3 times \(the connection was lost\); 100000"):
        download(server.url(), tmp_path / "f", attempts=3)
    monkeypatch.undo()
    assert download(server.url(), tmp_path / "f") == SUM


def test_a_silent_server_is_given_up(server, tmp_path):
    server.delay = 0.5
    with pytest.raises(CascadeError, match=r"broke off 2 times \(no answer in time\)"):
        download(server.url(), tmp_path / "f", timeout=0.05, attempts=2)
    assert names(tmp_path) == []


def test_two_processes_do_not_write_one_part(server, tmp_path):
    with (tmp_path / "f.part").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is fetching"):
            download(server.url(), tmp_path / "f")


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder"):
        download("http://127.0.0.1:1/f", tmp_path / "file" / "f")
