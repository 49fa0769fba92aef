from __future__ import annotations

import io
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from cascade.errors import InputError
from cascade.io.image import read_image, read_radiograph, resize
from cascade.io.radiograph import Radiograph, note_code

GREY = np.array([[0, 51], [102, 255]], dtype=np.uint8)
GREY_READ = [[0.0, 0.2], [0.4, 1.0]]


def encoded(array, format="PNG", mode=None, **options) -> io.BytesIO:
    image = Image.fromarray(np.asarray(array))
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, format, **options)
    file.seek(0)
    return file


def codes(radiograph: Radiograph) -> list[str]:
    return [note_code(note) for note in radiograph.notes]


def read(file) -> list[list[float]]:
    return read_image(file).pixels.astype(float).round(4).tolist()


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_8_bits(format, mode):
    assert read(encoded(GREY, format, mode)) == GREY_READ


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_dropped(mode):
    assert read(encoded(GREY, "PNG", mode)) == GREY_READ


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_keep_their_depth(format):
    values = np.array([[1000, 1001], [1002, 1004]], dtype=np.uint16)
    assert read(encoded(values, format)) == [[0.0, 0.25], [0.5, 1.0]]


def test_float_tiff():
    assert read(encoded(np.array([[0.5, 1.5]], dtype=np.float32), "TIFF")) == [[0.0, 1.0]]


def test_jpeg():
    values = np.repeat(np.repeat(GREY, 16, 0), 16, 1)
    pixels = read_image(encoded(values, "JPEG", quality=95)).pixels
    np.testing.assert_allclose(pixels[8::16, 8::16], GREY_READ, atol=0.02)


def test_true_colour_is_refused():
    colours = np.array([[[0, 0, 0], [255, 0, 0], [0, 255, 0], [255, 255, 255]]], dtype=np.uint8)
    with pytest.raises(InputError, match="true colour"):
        read_image(encoded(colours))


def test_colour_that_looks_grey_becomes_luminance():
    # 0.299 x 20 + 0.587 x 10 = 11.85
    tinted = np.array([[[0, 0, 0], [20, 10, 0], [100, 100, 100]]], dtype=np.uint8)
    radiograph = read_image(encoded(tinted))
    assert radiograph.pixels.astype(float).round(4).tolist() == [[0.0, 0.1185, 1.0]]
    assert codes(radiograph) == ["colour"]


@pytest.mark.parametrize(
    ("orientation", "shown", "noted"),
    [
        (1, [[0.0, 0.2], [0.4, 1.0]], []),
        (2, [[0.2, 0.0], [1.0, 0.4]], ["mirrored"]),
        (3, [[1.0, 0.4], [0.2, 0.0]], ["turned"]),
        (4, [[0.4, 1.0], [0.0, 0.2]], ["turned", "mirrored"]),
        (5, [[0.0, 0.4], [0.2, 1.0]], ["turned", "mirrored"]),
        (6, [[0.4, 0.0], [1.0, 0.2]], ["turned"]),
        (7, [[1.0, 0.2], [0.4, 0.0]], ["turned", "mirrored"]),
        (8, [[0.2, 1.0], [0.0, 0.4]], ["turned"]),
        (9, [[0.0, 0.2], [0.4, 1.0]], []),  # no such orientation
    ],
)
def test_exif_orientation_is_applied(orientation, shown, noted):
    exif = Image.Exif()
    exif[0x0112] = orientation
    radiograph = read_image(encoded(GREY, "PNG", exif=exif))
    assert radiograph.pixels.astype(float).round(4).tolist() == shown
    assert codes(radiograph) == noted


def test_open_files_are_told_by_content_too(tmp_path):
    assert read_radiograph(encoded(GREY)).pixels.shape == (2, 2)
    with pytest.raises(InputError, match="is empty"):
        read_radiograph(io.BytesIO())
    with pytest.raises(InputError, match="not a DICOM file"):
        read_radiograph(io.BytesIO(b"<html>" * 40))


def test_files_above_the_limit_are_not_read(tmp_path):
    (tmp_path / "x.png").write_bytes(encoded(GREY).getvalue())
    with pytest.raises(InputError, match="more than the limit of 20"):
        read_radiograph(tmp_path / "x.png", max_bytes=20)


def test_a_png_that_claims_to_be_huge_is_refused_before_decoding():
    content = bytearray(encoded(GREY).getvalue())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    with pytest.raises(InputError, match="60000 x 60000 pixels|larger than the limit"):
        read_image(io.BytesIO(bytes(content)))


def test_white_is_zero_is_inverted_at_16_bits():
    values = np.array([[0, 65535]], dtype=np.uint16)
    radiograph = read_image(encoded(values, "TIFF", tiffinfo={262: 0}))
    assert radiograph.pixels.tolist() == [[1.0, 0.0]]
    assert codes(radiograph) == ["white_is_zero"]


def test_the_first_of_several_pages():
    file = io.BytesIO()
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    radiograph = read_image(file)
    assert radiograph.pixels.astype(float).round(4).tolist() == GREY_READ
    assert codes(radiograph) == ["pages"]


def test_the_contract():
    radiograph = read_image(encoded(GREY))
    assert radiograph.pixels.dtype == np.float32
    assert (radiograph.view, radiograph.notes, radiograph.doubts) == ("unknown", (), ())
    assert (radiograph.facts.rows, radiograph.facts.columns) == (2, 2)
    assert codes(read_image(encoded(np.full((3, 2), 9, np.uint8)))) == ["one_shade"]


@pytest.mark.parametrize(
    "content", [b"", b"<html>", encoded(GREY).getvalue()[:40], b"GIF89a" + b"\0" * 40]
)
def test_what_is_no_image_is_refused(content: bytes, tmp_path: Path):
    (tmp_path / "x.png").write_bytes(content)
    for reader in (read_image, read_radiograph):
        with pytest.raises(InputError, match=r"x\.png"):
            reader(tmp_path / "x.png")


def test_a_cut_jpeg_is_refused():
    content = encoded(np.arange(256 * 256, dtype=np.uint8).reshape(256, 256), "JPEG").getvalue()
    with pytest.raises(InputError, match="cannot be decoded"):
        read_image(io.BytesIO(content[: len(content) // 2]))


def test_large_images_are_refused_before_decoding(monkeypatch):
    with pytest.raises(InputError, match="2 x 2 pixels, more than the limit of 3"):
        read_image(encoded(GREY), max_pixels=3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    with pytest.raises(InputError, match="larger than the limit"):
        read_image(encoded(GREY))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP"])
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_flipped_bytes_end_in_a_picture_or_an_input_error(format, data):
    content = bytearray(encoded(np.tile(GREY, (4, 4)), format).getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        radiograph = read_image(io.BytesIO(bytes(content)))
    except InputError:
        return
    assert radiograph.pixels.ndim == 2
    assert 0 <= radiograph.pixels.min() <= radiograph.pixels.max() <= 1


def test_missing_files_are_named(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "a.png")
    with pytest.raises(InputError, match="does not exist"):
        read_radiograph(tmp_path / "a.png")
    with pytest.raises(InputError, match="not a file"):
        read_radiograph(tmp_path)


def test_the_format_is_told_by_content(tmp_path: Path):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 1, 2, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation, dataset.PhotometricInterpretation = 0, "MONOCHROME2"
    dataset.PixelData = bytes([0, 255])
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    dicom = file.getvalue()
    (tmp_path / "a.png").write_bytes(dicom)
    (tmp_path / "noname").write_bytes(dicom)
    (tmp_path / "b.dcm").write_bytes(encoded(np.array([[0, 255]], np.uint8)).getvalue())
    for name in ("a.png", "noname", "b.dcm"):
        assert read_radiograph(tmp_path / name).pixels.tolist() == [[0.0, 1.0]], name
    (tmp_path / "c").write_bytes(b"some text that is neither" * 9)
    with pytest.raises(InputError, match="not a DICOM file|cannot be read"):
        read_radiograph(tmp_path / "c")


# --- the letterbox --------------------------------------------------------------------------------


def test_a_wide_picture_is_centred_between_black_bars():
    square = resize(np.ones((2, 4), dtype=np.float32), 8)
    assert square.shape == (8, 8)
    assert square[:, 0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


def test_a_tall_picture_too():
    square = resize(np.ones((4, 2), dtype=np.float32), 4)
    assert square[0].tolist() == [0, 1, 1, 0]


def test_the_same_size_is_the_same_picture():
    pixels = np.random.default_rng(0).random((5, 5), dtype=np.float32)
    assert (resize(pixels, 5) == pixels).all()


def test_shrinking_averages_and_does_not_alias():
    stripes = np.zeros((512, 512), dtype=np.float32)
    stripes[:, ::2] = 1  # finer than the small picture can show: only its mean may remain
    small = resize(stripes, 64)
    np.testing.assert_allclose(small[4:-4, 4:-4], 0.5, atol=0.02)


def test_shrinking_keeps_the_mean():
    pixels = np.random.default_rng(0).random((600, 600), dtype=np.float32)
    assert resize(pixels, 60).mean() == pytest.approx(pixels.mean(), abs=0.005)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_any_shape_fits(height, width, size):
    square = resize(np.ones((height, width), dtype=np.float32), size)
    assert square.shape == (size, size)
    assert square.dtype == np.float32
    assert square.min() >= 0
    assert square.max() == pytest.approx(1)


def test_what_cannot_be_resized():
    with pytest.raises(ValueError, match="size"):
        resize(np.ones((2, 2), dtype=np.float32), 0)
    with pytest.raises(ValueError, match="shape"):
        resize(np.ones((2, 2, 3), dtype=np.float32), 4)


def test_it_is_fast():
    pixels = np.random.default_rng(0).random((2000, 2000), dtype=np.float32)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        resize(pixels, 224)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.05  # 4 ms on an idle core


@pytest.mark.realdata
def test_real_images(real_data: Path):
    files = sorted((real_data / "openi").rglob("*.png"))
    assert len(files) == 13
    for file in files:
        radiograph = read_radiograph(file)
        assert radiograph.pixels.std() > 0.1
        assert radiograph.notes == ()
