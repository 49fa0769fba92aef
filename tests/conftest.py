"""Fixtures that every room's tests share."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real radiographs and reports; tests that need it are marked ``realdata``."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CASCADE_REAL_DATA") or beside)
    if not (folder / "README.md").is_file():
        pytest.skip(f"real data not found at {folder} (set CASCADE_REAL_DATA to its folder)")
    return folder


@pytest.fixture
def look_at(tmp_path: Path) -> Callable[..., Any]:
    """Opens a page in headless Chromium: ``look_at(html, probe, width=600)`` gives what is seen.

    ``probe`` is JavaScript that fills ``seen`` once the page has loaded; ``visible(selector)`` and
    ``set(control, value)`` help it. An error on the console fails the test.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")

    def look(html: str, probe: str, width: int = 600) -> Any:
        script = f"""<script>
        addEventListener("load", function () {{
          var seen = {{}};
          var visible = function (what) {{
            return Array.from(document.querySelectorAll(what)).filter(
              function (e) {{ return e.offsetHeight > 0; }}); }};
          var set = function (control, value) {{
            control.value = value; control.dispatchEvent(new Event("input")); }};
          {probe}
          document.title = JSON.stringify(seen);
        }});
        </script>"""
        probed = tmp_path / "probed.html"
        probed.write_text(html.replace("</body>", script + "</body>"), encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
        command += ["--no-first-run", "--disable-background-networking"]
        command += ["--disable-component-update", "--disable-sync"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
        command += [f"--window-size={width},900", "--dump-dom", probed.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "CONSOLE" not in done.stderr, done.stderr
        title = re.search(r"<title>(.*?)</title>", done.stdout)
        assert title is not None
        return json.loads(title[1].replace("&quot;", '"').replace("&amp;", "&"))

    return look
