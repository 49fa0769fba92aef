"""The values of dcmtk, another reader, on the same files.

dcmtk writes grey of 16 bits and rounds by its own rules, so agreement is within a tolerance that
each test states with its reason. It decodes no JPEG 2000 and ignores pixel padding unless asked.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom.sequence import Sequence

from cascade.io.dicom import read_dicom

ONE_STEP = 1.01 / 255
"""Without a wider output dcmtk interpolates 8-bit data in 255 steps."""

y, x = np.mgrid[0:48, 0:40]
PICTURE = ((np.sin(x / 7) + np.cos(y / 5) + 2) / 4 * 4000 + x).astype(np.int64)


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package dcmtk)")
    return found


def dcmtk(path: Path, *options: str) -> np.ndarray:
    """The picture as dcmtk shows it, in [0, 1]."""
    out = path.with_suffix(".pgm")
    program = tool("dcml2pnm" if "jpls" in path.name else "dcmj2pnm")
    subprocess.run(
        [program, "--write-16-bit-pnm", *options, str(path), str(out)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return read_pgm(out)


def read_pgm(path: Path) -> np.ndarray:
    """Plain or raw PGM, in [0, 1]."""
    content = path.read_bytes()
    lines = [line for line in content.split(b"\n", 6) if not line.startswith(b"#")]
    kind, size, top = lines[0], lines[1].split(), int(lines[2])
    columns, rows = int(size[0]), int(size[1])
    if kind == b"P2":
        body = content.split(str(top).encode() + b"\n", 1)[1]
        values = np.array(body.split(), dtype=np.float64)
    else:
        dtype = np.dtype(">u2") if top > 255 else np.dtype("u1")
        values = np.frombuffer(content[-rows * columns * dtype.itemsize :], dtype)
    return values.reshape(rows, columns) / top


def agrees(path: Path, options: tuple[str, ...], tolerance: float) -> None:
    ours, theirs = read_dicom(path).pixels, dcmtk(path, *options)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=tolerance)


@pytest.fixture
def written(make_dicom, saved, tmp_path):
    """A file of the picture, 12 bits unless said otherwise, with a window over all of it."""

    def write(photometric="MONOCHROME2", bits=12, signed=False, name="x.dcm", **tags) -> Path:
        values = PICTURE * (2**bits - 1) // int(PICTURE.max())
        values = values - 2 ** (bits - 1) if signed else values
        path = tmp_path / name
        dataset = make_dicom(values, photometric, bits, signed, **tags)
        dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "1.2.3"
        path.write_bytes(saved(dataset).getvalue())
        return path

    return write


# --- photometry -----------------------------------------------------------------------------------

WINDOW = {"WindowCenter": 1500, "WindowWidth": 2000}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_scale_by_minimum_and_maximum(written, photometric, bits, signed):
    # two steps of rounding, of 16 bits each
    path = written(photometric, bits, signed)
    agrees(path, ("--min-max-window",), 2 / 255 if bits == 8 else 2 / 4095)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", ["LINEAR", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0.5, 100), (-1, 4000)])
def test_windows(written, photometric, function, slope, intercept):
    rescale = {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "US"}
    path = written(photometric, VOILUTFunction=function, **WINDOW, **rescale)
    agrees(path, ("--use-window", "1"), 1e-3)


def test_voi_lut(written, lut):
    entries = [int(65535 * (i / 255) ** 2) for i in range(256)]
    path = written(bits=8, VOILUTSequence=Sequence([lut(0, 16, entries)]))
    agrees(path, ("--use-voi-lut", "1"), 1e-3)


def test_modality_lut(written, lut):
    entries = [int(65535 * (i / 4095) ** 0.5) for i in range(4096)]
    item = lut(0, 16, entries)
    item.ModalityLUTType = "US"
    path = written(ModalityLUTSequence=Sequence([item]))
    agrees(path, ("--min-max-window",), 1e-3)


# --- transfer syntaxes ----------------------------------------------------------------------------


LOSSLESS = {
    "explicit little": ("dcmconv", "+te"),
    "implicit little": ("dcmconv", "+ti"),
    "explicit big": ("dcmconv", "+tb"),
    "deflated": ("dcmconv", "+td"),
    "RLE": ("dcmcrle",),
    "JPEG lossless": ("dcmcjpeg", "+el"),
    "JPEG lossless SV1": ("dcmcjpeg", "+e1"),
    "JPEG-LS lossless": ("dcmcjpls", "+el"),
}
LOSSY = {
    "JPEG baseline": ("dcmcjpeg", "+eb", "+q", "95"),
    "JPEG extended": ("dcmcjpeg", "+ee", "+q", "95"),
    "JPEG-LS near lossless": ("dcmcjpls", "+en", "+md", "2"),
}


def transcode(path: Path, command: tuple[str, ...]) -> Path:
    out = path.with_name("jpls.dcm" if command[0] == "dcmcjpls" else "transcoded.dcm")
    subprocess.run(
        [tool(command[0]), *command[1:], str(path), str(out)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return out


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("name", LOSSLESS)
def test_what_dcmtk_wrote_without_loss(written, name, bits, signed):
    path = written(bits=bits, signed=signed)
    plain = read_dicom(path)
    radiograph = read_dicom(transcode(path, LOSSLESS[name]))
    assert (radiograph.pixels == plain.pixels).all()
    assert radiograph.notes == plain.notes == ()


@pytest.mark.parametrize("name", LOSSY)
def test_what_dcmtk_wrote_with_loss(written, name):
    bits = 8 if name == "JPEG baseline" else 12
    tags = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
    path = transcode(written(bits=bits, **tags), LOSSY[name])
    # both decode the same stream; the inverse cosine transforms may differ by one step
    agrees(path, ("--use-window", "1"), 2 / 255 if bits == 8 else 4 / 4095)


@pytest.mark.parametrize("name", ["RLE", "JPEG lossless", "explicit big"])
def test_frames_that_dcmtk_wrote(name, make_dicom, saved, tmp_path):
    second = PICTURE.max() - PICTURE
    dataset = make_dicom(PICTURE, bits=16, NumberOfFrames=2, RepresentativeFrameNumber=2)
    dataset.PixelData = np.array([PICTURE, second], np.uint16).tobytes()
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "1.2.3"
    path = tmp_path / "two.dcm"
    path.write_bytes(saved(dataset).getvalue())
    agrees(transcode(path, LOSSLESS[name]), ("--frame", "2", "--min-max-window"), 1e-3)


# --- real files -----------------------------------------------------------------------------------

REAL = {
    # whole 8-bit ranges, shown in 255 steps
    "cr_ap_jpeg.dcm": (("--min-max-window",), ONE_STEP),
    # the two inverse cosine transforms differ by one step in 315 of 1,048,576 pixels
    "cr_fake_monochrome1.dcm": (("--min-max-window",), 2 * ONE_STEP),
    "cr_jpeg_baseline.dcm": (("--min-max-window",), 2 * ONE_STEP),
    "dx_image.dcm": (("--use-window", "1"), ONE_STEP),
    "dx_no_view.dcm": (("--min-max-window",), ONE_STEP),
    "mlut_18.dcm": (("--min-max-window",), 1e-3),
    "test1.dcm": (("--min-max-window",), ONE_STEP),
    "test2.dcm": (("--min-max-window",), ONE_STEP),
    "test3.dcm": (("--min-max-window",), ONE_STEP),
    "vlut_04.dcm": (("--use-voi-lut", "1"), 1e-3),
    # RG1_J2KI.dcm is JPEG 2000, which dcmtk does not decode
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_real_files(real_data: Path, tmp_path: Path, name: str):
    path = tmp_path / name
    shutil.copyfile(real_data / "dicom" / name, path)
    agrees(path, *REAL[name])
