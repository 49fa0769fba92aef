"""A real DICOMweb server on loopback: Debian's Orthanc with its DICOMweb plugin."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PROGRAM = Path("/usr/sbin/Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "reader", "s3cret"


class Orthanc(NamedTuple):
    """A server that runs.

    Attributes:
        root: its own address.
        url: of its DICOMweb service.
        user: who may come in, with ``password``.
        password: of that user.
    """

    root: str
    url: str
    user: str = USER
    password: str = PASSWORD

    @property
    def environ(self) -> dict[str, str]:
        """The credentials as Cascade reads them."""
        return {
            "CASCADE_DICOMWEB_USER": self.user,
            "CASCADE_DICOMWEB_PASSWORD": self.password,
        }

    def ask(self, path: str, body: bytes | None = None) -> Any:
        """The JSON that its own interface gives; with ``body``, what a POST gives."""
        request = urllib.request.Request(self.root + path, data=body)
        manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        manager.add_password(None, self.root, self.user, self.password)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
        with opener.open(request, timeout=30) as response:
            return json.loads(response.read())

    def store(self, path: Path) -> None:
        """Take in a DICOM file."""
        self.ask("/instances", path.read_bytes())


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def run_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Run a server with its data in ``folder``; skip the test where it is not installed."""
    for needed in (PROGRAM, PLUGIN):
        if not needed.is_file():
            pytest.skip(f"{needed} is missing (Debian: apt-get install orthanc orthanc-dicomweb)")
    http, dicom = _free_port(), _free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "OverwriteInstances": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        server = subprocess.Popen(
            [str(PROGRAM), str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder
        )
        orthanc = Orthanc(f"http://127.0.0.1:{http}", f"http://127.0.0.1:{http}/dicom-web")
        try:
            _wait(orthanc, server, folder / "orthanc.log")
            yield orthanc
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait(orthanc: Orthanc, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError):
            orthanc.ask("/system")
            return
        time.sleep(0.1)
    pytest.fail(f"Orthanc does not start: {log.read_text(errors='replace')[-2000:]}")
