"""Every transfer syntax by hand-made values; another reader's word is in test_second_reader."""

from __future__ import annotations

import base64
import io
import zlib

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cascade.errors import InputError
from cascade.io.dicom import TRANSFER_SYNTAXES, Radiograph, note_code, read_dicom
from cascade.io.dicom.codestreams import Codestream, read_codestream

GRADIENT = (np.add.outer(np.arange(32), np.arange(32)) * 64).astype(np.uint16)
GRADIENT_8 = (np.add.outer(np.arange(8), np.arange(8)) * 16).astype(np.uint8)
# (row + column) x 256 over 8 x 8 pixels, 16 bits, reversible, by OpenJPH 0.26.3
HTJ2K_8X8 = base64.b64decode(
    "/0//UQApQAAAAAAIAAAACAAAAAAAAAAAAAAACAAAAAgAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB"
    "/1wAEyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAFsAAf+TwAAm3/YFB3QA"
    "AADAABNAABMAHvkDB3QAHvkDB3QAwAATwAATgH748QKCdAB+9OMAo1QAwAAqYAAVQP7+/v6qcYJ1AP79/f3AMYHstgD/"
    "2Q=="
)


def codes(radiograph: Radiograph) -> list[str]:
    return [note_code(note) for note in radiograph.notes]


def jpeg(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=100, **options)
    return file.getvalue()


def compressed(dataset, syntax: UID, *frames: bytes):
    """The data set with frames that somebody else has compressed."""
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(list(frames))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def test_the_table_is_what_pydicom_decodes():
    from pydicom.pixels.decoders.base import _PIXEL_DATA_DECODERS

    assert set(TRANSFER_SYNTAXES) == set(_PIXEL_DATA_DECODERS)


@pytest.mark.parametrize("syntax", list(TRANSFER_SYNTAXES), ids=lambda uid: uid.name)
def test_a_missing_plugin_is_named(make_dicom, monkeypatch, syntax):
    family, packages = TRANSFER_SYNTAXES[syntax]
    if family == "native":
        assert packages == ()
        return
    frame = {"jpeg": jpeg(GRADIENT_8), "htj2k": HTJ2K_8X8}.get(family)
    if frame is None:
        dataset = make_dicom(GRADIENT)
        lossless = {"rle": RLELossless, "jpeg-ls": JPEGLSLossless, "jpeg2000": JPEG2000Lossless}
        dataset.compress(lossless[family])
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset = compressed(make_dicom(GRADIENT_8, bits=8), syntax, frame)
    monkeypatch.setattr(get_decoder(syntax), "_available", {})
    with pytest.raises(InputError, match=f"pip install {packages[0]}"):
        read_dicom(dataset)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_syntaxes_lose_nothing(make_dicom, saved, syntax, bits, signed):
    low = -(2 ** (bits - 1)) if signed else 0
    values = np.linspace(low, low + 2**bits - 1, 32 * 32).astype(np.int64).reshape(32, 32)
    dataset = make_dicom(values, bits=bits, signed=signed)
    plain = read_dicom(saved(dataset)).pixels
    np.testing.assert_allclose(plain, (values - low) / (2**bits - 1), atol=1e-6)
    dataset.compress(syntax, generate_instance_uid=False)
    radiograph = read_dicom(saved(dataset))
    assert (radiograph.pixels == plain).all()
    assert radiograph.notes == ()


def test_near_lossless_stays_within_its_error(make_dicom, saved):
    dataset = make_dicom(GRADIENT)
    dataset.compress(JPEGLSNearLossless, jls_error=3, generate_instance_uid=False)
    tags = {"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "LINEAR_EXACT"}
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    pixels = read_dicom(saved(dataset)).pixels
    np.testing.assert_allclose(pixels * 4096, GRADIENT, atol=3.01)


def test_lossy_jpeg_2000_does_not_wrap(make_dicom, saved):
    # white beside black at full range: a wavelet overshoots, and must be cut and not wrapped
    values = np.zeros((32, 32), np.uint16)
    values[:, 16:] = 4095
    dataset = make_dicom(values)
    dataset.compress(JPEG2000, j2k_cr=[20], generate_instance_uid=False)
    pixels = read_dicom(saved(dataset)).pixels
    assert pixels[:, :12].max() < 0.2
    assert pixels[:, 20:].min() > 0.8


def test_jpeg_baseline(make_dicom, saved):
    dataset = compressed(make_dicom(GRADIENT_8, bits=8), JPEGBaseline8Bit, jpeg(GRADIENT_8))
    radiograph = read_dicom(saved(dataset))
    np.testing.assert_allclose(radiograph.pixels * 224, GRADIENT_8, atol=3)
    assert radiograph.notes == ()


def test_8_bit_jpeg_in_cells_declared_as_16(make_dicom, saved):
    dataset = compressed(make_dicom(GRADIENT_8, bits=12), JPEGBaseline8Bit, jpeg(GRADIENT_8))
    dataset.BitsAllocated = 16
    radiograph = read_dicom(saved(dataset))
    np.testing.assert_allclose(radiograph.pixels * 224, GRADIENT_8, atol=3)
    assert codes(radiograph) == ["codestream_bits"]


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
def test_high_throughput_jpeg_2000(make_dicom, saved, syntax):
    values = np.add.outer(np.arange(8), np.arange(8)) * 256
    dataset = compressed(make_dicom(values, bits=16), syntax, HTJ2K_8X8)
    radiograph = read_dicom(saved(dataset))
    np.testing.assert_allclose(radiograph.pixels * 14 * 256, values, atol=1e-3)
    assert radiograph.notes == ()


def test_a_grey_jpeg_in_three_channels(make_dicom, saved):
    grey = np.repeat(GRADIENT_8[..., None], 3, axis=2)
    dataset = compressed(make_dicom(grey, "YBR_FULL_422", bits=8), JPEGBaseline8Bit, jpeg(grey))
    radiograph = read_dicom(saved(dataset))
    np.testing.assert_allclose(radiograph.pixels * 224, GRADIENT_8, atol=5)


def test_three_channels_declared_as_one(make_dicom, saved):
    grey = np.repeat(GRADIENT_8[..., None], 3, axis=2)
    dataset = compressed(make_dicom(GRADIENT_8, bits=8), JPEGBaseline8Bit, jpeg(grey))
    radiograph = read_dicom(saved(dataset))
    np.testing.assert_allclose(radiograph.pixels * 224, GRADIENT_8, atol=5)
    assert {"samples", "photometric"} <= set(codes(radiograph))


def test_big_endian_bytes_in_words(make_dicom, saved):
    # 8-bit pixels as OW: in big endian the bytes of each word are swapped
    dataset = make_dicom([[1, 2, 3, 5]], bits=8, syntax=ExplicitVRBigEndian)
    dataset.PixelData = bytes([2, 1, 5, 3])
    dataset["PixelData"].VR = "OW"
    assert read_dicom(saved(dataset)).pixels.tolist() == [[0.0, 0.25, 0.5, 1.0]]


# --- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless])
@pytest.mark.parametrize(
    ("tags", "shown"),
    [
        ({}, [0.0, 0.5, 1.0]),
        ({"RepresentativeFrameNumber": 2}, [1.0, 0.5, 0.0]),
        ({"RepresentativeFrameNumber": 9}, [0.0, 0.5, 1.0]),
    ],
)
def test_the_representative_frame_else_the_first(make_dicom, saved, syntax, tags, shown):
    first, second = np.tile([0, 2, 4], (16, 8)), np.tile([4, 2, 0], (16, 8))
    dataset = make_dicom(first, NumberOfFrames=2, **tags)
    dataset.PixelData = np.array([first, second], np.uint16).tobytes()
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    radiograph = read_dicom(saved(dataset))
    assert (radiograph.pixels == np.tile(shown, (16, 8))).all()
    assert codes(radiograph) == ["frames"]


def test_a_frame_in_several_fragments(make_dicom, saved):
    content = jpeg(GRADIENT_8)
    dataset = compressed(make_dicom(GRADIENT_8, bits=8), JPEGBaseline8Bit, content)
    dataset.PixelData = encapsulate([content], fragments_per_frame=3)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    assert read_dicom(saved(dataset)).pixels.max() == 1


# --- what the compressed data says of itself ------------------------------------------------------


def test_heads_of_codestreams(make_dicom):
    assert read_codestream(jpeg(GRADIENT_8)) == Codestream("jpeg", 8, 8, 1, 8)
    progressive = jpeg(GRADIENT_8, progressive=True)
    assert read_codestream(progressive) == Codestream("jpeg-extended", 8, 8, 1, 8)
    assert read_codestream(HTJ2K_8X8) == Codestream("htj2k", 8, 8, 1, 16)
    for cut in range(40):
        assert read_codestream(HTJ2K_8X8[:cut]) is None
        assert read_codestream(jpeg(GRADIENT_8)[:cut]) is None


@pytest.mark.parametrize("length", [0, 2**31, 20])
def test_boxes_around_a_codestream_are_passed_over(make_dicom, length):
    # pydicom 3.0.2 would go round for ever at a box of length 0
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + length.to_bytes(4, "big") + b"ftypjp2 " + bytes(8)
    values = np.add.outer(np.arange(8), np.arange(8)) * 256
    dataset = compressed(make_dicom(values, bits=16), HTJ2KLossless, boxes + HTJ2K_8X8)
    np.testing.assert_allclose(read_dicom(dataset).pixels * 14 * 256, values, atol=1e-3)
    with pytest.raises(InputError, match="no JPEG codestream in it"):
        read_dicom(compressed(make_dicom(values, bits=16), HTJ2KLossless, boxes))


@pytest.mark.parametrize("size", [(8, 16), (4, 8), (65535, 8)])
def test_a_codestream_of_another_size_is_refused_before_decoding(make_dicom, monkeypatch, size):
    monkeypatch.setattr("cascade.io.dicom.decode.get_decoder", None)  # decoding would fail
    content = bytearray(jpeg(GRADIENT_8))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = size[0].to_bytes(2, "big") + size[1].to_bytes(2, "big")
    dataset = compressed(make_dicom(GRADIENT_8, bits=8), JPEGBaseline8Bit, bytes(content))
    said = rf"the compressed picture is {size[0]} x {size[1]} pixels, the header says 8 x 8"
    with pytest.raises(InputError, match=said):
        read_dicom(dataset)


def test_an_rle_frame_longer_than_any_of_its_size_is_refused(make_dicom):
    header = b"\x01\0\0\0\x40\0\0\0" + bytes(56)
    bomb = header + b"\x81\0" * 5000  # each pair of bytes would make 128
    dataset = compressed(make_dicom(GRADIENT_8, bits=8), RLELossless, bomb)
    with pytest.raises(InputError, match="longer than any of its size"):
        read_dicom(dataset)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x02\0\0\0" + b"\x40\0\0\0\x50\0\0\0" + bytes(200),  # two segments for one
        b"\x01\0\0\0" + b"\x10\0\0\0" + bytes(200),  # a segment within the header
        b"\x01\0\0\0" + b"\xff\xff\0\0" + bytes(200),  # a segment beyond the end
        b"\x01\0\0\0\x40\0\0\0" + bytes(56) + b"\x7f" + bytes(9),  # 128 bytes of nine
    ],
)
def test_a_broken_rle_frame_is_an_input_error(make_dicom, frame, capfd):
    # the decoder of pylibjpeg-rle panics at the last one, which is no Exception to Python
    dataset = compressed(make_dicom(GRADIENT_8, bits=8), RLELossless, b"12")
    item = b"\xfe\xff\0\xe0"
    dataset.PixelData = item + bytes(4) + item + len(frame).to_bytes(4, "little") + frame
    with pytest.raises(InputError, match="cannot be decoded"):
        read_dicom(dataset)


@pytest.mark.parametrize(
    ("declared", "frame", "read_as"),
    [
        (JPEG2000Lossless, jpeg(GRADIENT_8), "JPEG Baseline"),
        (RLELossless, jpeg(GRADIENT_8), "JPEG Baseline"),
        (ExplicitVRLittleEndian, jpeg(GRADIENT_8), "JPEG Baseline"),
    ],
)
def test_the_codestream_is_believed_over_the_declared_syntax(make_dicom, declared, frame, read_as):
    dataset = compressed(make_dicom(GRADIENT_8, bits=8), declared, frame)
    radiograph = read_dicom(dataset)
    np.testing.assert_allclose(radiograph.pixels * 224, GRADIENT_8, atol=3)
    assert codes(radiograph) == ["codestream_syntax"]
    assert read_as in radiograph.notes[0]


def test_compressed_data_without_a_declared_syntax(make_dicom, saved):
    dataset = compressed(make_dicom(GRADIENT_8, bits=8), JPEGBaseline8Bit, jpeg(GRADIENT_8))
    content = saved(dataset).getvalue()
    length = int.from_bytes(content[140:144], "little")  # of the file meta information
    bare = content[144 + length :]
    radiograph = read_dicom(io.BytesIO(bare))
    np.testing.assert_allclose(radiograph.pixels * 224, GRADIENT_8, atol=3)
    assert codes(radiograph) == ["no_preamble", "no_transfer_syntax"]


@pytest.mark.parametrize(
    ("syntax", "words"),
    [
        (MPEG2MPML, "MPEG2 Main Profile / Main Level: a video"),
        (UID("1.2.840.10008.1.2.4.94"), "JPIP Referenced: not read"),
        (UID("1.2.3.4.5"), "that this program does not know: not read"),
    ],
)
def test_other_transfer_syntaxes_are_refused_by_name(make_dicom, syntax, words):
    with pytest.raises(InputError, match=words):
        read_dicom(make_dicom(syntax=syntax))


def test_a_compressed_syntax_without_fragments(make_dicom):
    with pytest.raises(InputError, match="not in fragments"):
        read_dicom(make_dicom(GRADIENT, syntax=JPEGExtended12Bit))


# --- deflated -------------------------------------------------------------------------------------


def test_a_deflated_bomb_is_refused_while_it_inflates(make_dicom, saved):
    content = saved(make_dicom(syntax=DeflatedExplicitVRLittleEndian)).getvalue()
    start = content.index(b"DICM") + 4
    start += 12 + int.from_bytes(content[start + 8 : start + 12], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(2_000_000)) + packer.flush()
    with pytest.raises(InputError, match="inflates to more than the limit of 800000 bytes"):
        read_dicom(io.BytesIO(content[:start] + bomb), max_pixels=100_000)


def test_deflated_garbage_is_refused(make_dicom, saved):
    content = saved(make_dicom(syntax=DeflatedExplicitVRLittleEndian)).getvalue()
    with pytest.raises(InputError, match="cannot be read as DICOM|holds no pixel data"):
        read_dicom(io.BytesIO(content[:-30] + b"\xff" * 30))
