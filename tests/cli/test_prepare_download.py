"""``cascade prepare download=true`` from a server on loopback to a collection."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import socket
import tarfile
import threading

import pandas as pd
import pytest
from PIL import Image as Picture

XML = """<eCitation><uId id="CXR{0}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="FINDINGS">The heart is normal.</AbstractText>
<AbstractText Label="IMPRESSION">No acute disease {0}.</AbstractText>
</Abstract></Article></MedlineCitation>
<MeSH><major>normal</major></MeSH><parentImage id="CXR{0}_1_IM-000{0}-1001"/></eCitation>"""
STUDIES = 30


def tgz(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def png(shade):
    buffer = io.BytesIO()
    Picture.new("L", (4, 4), shade).save(buffer, "PNG")
    return buffer.getvalue()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture
def site(tmp_path_factory, monkeypatch):
    """Its folder, the words that point ``data=openi`` to it, and the sums."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path_factory.mktemp("site")
    reports = {f"ecgen-radiology/{n}.xml": XML.format(n).encode() for n in range(1, STUDIES + 1)}
    images = {f"CXR{n}_1_IM-000{n}-1001.png": png(n) for n in range(1, 4)}
    sums = tgz(folder / "r.tgz", reports), tgz(folder / "p.tgz", images)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        yield folder, base, words(base, sums[0]), sums
        server.shutdown()


def words(base, reports_sum):
    return [
        "prepare",
        "data=openi",
        "download=true",
        "data.root=raw",
        "out=new",
        f"data.archives.reports.url={base}/r.tgz",
        f"data.archives.reports.sha256={reports_sum}",
        f"data.archives.png.url={base}/p.tgz",
    ]


def test_from_nothing_to_a_collection(cascade, site, tmp_path):
    _, base, asked, sums = site
    outcome = cascade(*asked)
    assert outcome.status == 0, outcome.err
    assert f"fetching NLMCXR_reports.tgz from {base}/r.tgz" in outcome.err
    assert f"its SHA-256 is {sums[1]}" in outcome.err
    assert "unpacked 3 files into raw/NLMCXR_png" in outcome.err
    assert "3 of 30 named images found" in outcome.err
    raw = sorted(path.name for path in (tmp_path / "raw").iterdir())
    assert raw == ["NLMCXR_png", "NLMCXR_png.tgz", "NLMCXR_reports.tgz"]
    images = pd.read_parquet(tmp_path / "new" / "images.parquet")
    assert images["path"].dropna().iloc[0] == "NLMCXR_png/CXR1_1_IM-0001-1001.png"


def test_what_is_there_is_not_fetched_again(cascade, site, tmp_path):
    folder, _, asked, _ = site
    assert cascade(*asked).status == 0
    for path in folder.iterdir():
        path.unlink()
    (tmp_path / "raw" / "NLMCXR_png.tgz").unlink()  # unpacked, so needed no more
    outcome = cascade(*asked, "out=again")
    assert outcome.status == 0, outcome.err
    assert "raw/NLMCXR_png is unpacked already" in outcome.err
    assert "raw/NLMCXR_reports.tgz is there already" in outcome.err


def test_the_reports_alone(cascade, site, tmp_path):
    outcome = cascade(*site[2], "data.download_images=none")
    assert outcome.status == 0, outcome.err
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["NLMCXR_reports.tgz"]


def test_a_wrong_sum_stops_before_the_reading(cascade, site, tmp_path):
    outcome = cascade(*site[2], "data.archives.png.sha256=" + "f" * 64)
    assert outcome.status == 1
    assert f"SHA-256 {site[3][1]}, expected {'f' * 64}" in outcome.line
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["NLMCXR_reports.tgz"]


def test_an_address_that_is_gone(cascade, site, tmp_path):
    outcome = cascade(*site[2], f"data.archives.reports.url={site[1]}/gone.tgz")
    assert outcome.status == 1
    assert "gone.tgz answers 404" in outcome.line
    assert "data.archives.reports.url=ADDRESS" in outcome.line
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "raw").exists()


def test_an_archive_that_is_none(cascade, site, tmp_path):
    (site[0] / "p.tgz").write_bytes(b"<html>please log in</html>")
    outcome = cascade(*site[2])
    assert outcome.status == 2
    assert "NLMCXR_png.tgz is damaged, cut short or no archive" in outcome.line


def test_without_a_network_it_says_what_to_bring(cascade, site, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
        asked = words(nowhere, site[3][0])
        outcome = cascade(*asked)
        assert outcome.status == 1
        for part in (
            "cannot reach 127.0.0.1 (Connection refused)",
            f"download NLMCXR_reports.tgz from {nowhere}/r.tgz",
            f"and NLMCXR_png.tgz from {nowhere}/p.tgz by another machine, put them into raw",
            "run the same command again",
        ):
            assert part in outcome.line
        assert not (tmp_path / "new").exists()
        assert not (tmp_path / "raw").exists()
        alone = cascade(*asked, "data.download_images=none").line
        assert alone.endswith("put it into raw, then run the same command without download=true")

        # and following the advice works, still without a network
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw" / "NLMCXR_reports.tgz").write_bytes((site[0] / "r.tgz").read_bytes())
        (tmp_path / "raw" / "NLMCXR_png.tgz").write_bytes((site[0] / "p.tgz").read_bytes())
        outcome = cascade(*asked)
        assert outcome.status == 0, outcome.err
        assert "3 of 30 named images found" in outcome.err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["data=openi"], "download=true needs data.root=DIR"),
        (["data=openi", "data.root=r", "data.download_images=jpg"], "one of png, dicom, none"),
        (["data=openi", "data.root=file"], "is a file: download=true needs a folder"),
        (["data=nih", "data.root=r"], "https://nihcc.app.box.com/v/ChestXray-NIHCC"),
        (["data=table", "data.root=r"], "data=table has no archives"),
        (["data=phantom"], "data=phantom has no archives"),
        (["data=openi", "data.root=r", "data.archives.reports.url='ftp://h/f'"], "http(s)://"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_downloaded(cascade, tmp_path, given, expected):
    (tmp_path / "file").write_text("")
    outcome = cascade("prepare", "download=true", "out=new", *given)
    assert outcome.status == 2
    assert expected in outcome.line
    assert not (tmp_path / "new").exists()


def test_the_help_tells_how(cascade):
    text = cascade("prepare", "--help").out
    for word in ("download=true", "data.download_images=png|dicom|none", "summary.html"):
        assert word in text
