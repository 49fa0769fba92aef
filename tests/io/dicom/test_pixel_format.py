"""Missing and wrong tags: what is taken instead, said in a note."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from cascade.errors import InputError
from cascade.io.dicom import NOTES, Radiograph, note_code, read_dicom
from cascade.io.radiograph import Notes


def codes(radiograph: Radiograph) -> list[str]:
    return [note_code(note) for note in radiograph.notes]


@pytest.mark.parametrize(
    ("gone", "noted"),
    [
        ("PhotometricInterpretation", "photometric"),
        ("SamplesPerPixel", "samples"),
        ("BitsAllocated", "bits_allocated"),
        ("BitsStored", "bits_stored"),
        ("HighBit", "high_bit"),
        ("PixelRepresentation", "pixel_representation"),
    ],
)
def test_a_missing_tag_is_noted(make_dicom, gone, noted):
    dataset = make_dicom([[0, 1024, 4095]])
    del dataset[gone]
    radiograph = read_dicom(dataset)
    assert radiograph.pixels.astype(float).round(4).tolist() == [[0.0, 0.2501, 1.0]]
    assert codes(radiograph) == [noted]


@pytest.mark.parametrize(
    ("keyword", "value", "noted"),
    [
        ("PhotometricInterpretation", "GREY", "photometric"),
        ("PhotometricInterpretation", "RGB", "photometric"),
        ("SamplesPerPixel", 2, "samples"),
        ("BitsStored", 24, "bits_stored"),
        ("BitsStored", 0, "bits_stored"),
        ("HighBit", 3, "high_bit"),
        ("HighBit", 16, "high_bit"),
        ("PixelRepresentation", 7, "pixel_representation"),
        ("NumberOfFrames", 0, "number_of_frames"),
        ("NumberOfFrames", -3, "number_of_frames"),
    ],
)
def test_a_wrong_value_is_noted(make_dicom, keyword, value, noted):
    radiograph = read_dicom(make_dicom([[0, 1024, 4095]], **{keyword: value}))
    assert radiograph.pixels.astype(float).round(4).tolist() == [[0.0, 0.2501, 1.0]]
    assert codes(radiograph) == [noted]


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")  # pydicom, when it is set
@pytest.mark.parametrize("written", ["monochrome1", " MONOCHROME1 ", "MONOCHROME 1"])
def test_a_photometric_interpretation_in_another_spelling(make_dicom, written):
    assert read_dicom(make_dicom([[0, 1]], written)).pixels.tolist() == [[1.0, 0.0]]


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")  # pydicom, when it is set
@pytest.mark.parametrize("written", ["PALETTE_COLOR", "palette color"])
def test_a_palette_in_another_spelling_still_needs_its_tables(make_dicom, written):
    with pytest.raises(InputError, match="header cannot be applied"):
        read_dicom(make_dicom([[0, 1]], written, bits=8))


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, ImplicitVRLittleEndian])
def test_a_number_of_the_wrong_value_representation(make_dicom, saved, syntax):
    dataset = make_dicom([[0, 1]], syntax=syntax)
    big = syntax == ExplicitVRBigEndian
    if big:
        dataset.PixelData = np.array([[0, 1]], ">u2").tobytes()
    del dataset.Rows
    dataset.add_new("Rows", "OB", (1).to_bytes(2, "big" if big else "little"))
    radiograph = read_dicom(saved(dataset))
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert set(codes(radiograph)) <= {"wrong_vr"}  # implicit VR says no representation at all


def test_rows_as_text(make_dicom):
    dataset = make_dicom([[0, 1]])
    del dataset.Rows
    dataset.add_new("Rows", "LO", "1")
    assert read_dicom(dataset).pixels.tolist() == [[0.0, 1.0]]


# --- bits -----------------------------------------------------------------------------------------


def test_overlays_in_the_unused_bits_are_cleared(make_dicom):
    dataset = make_dicom([[0xF000, 0x1000 | 2048, 4095]])  # 12 bits stored, bits 12 to 15 drawn on
    assert read_dicom(dataset).pixels.astype(float).round(4).tolist() == [[0.0, 0.5001, 1.0]]


def test_overlay_planes_are_not_drawn(make_dicom):
    plain = make_dicom([[0, 100, 200]])
    marked = make_dicom([[0, 100, 200]])
    for element, vr, value in (
        (0x0010, "US", 1),
        (0x0011, "US", 3),
        (0x0040, "CS", "G"),
        (0x0050, "SS", [1, 1]),
        (0x0100, "US", 1),
        (0x0102, "US", 0),
        (0x3000, "OW", b"\7\0"),
    ):
        marked.add_new((0x6000, element), vr, value)
    assert (read_dicom(marked).pixels == read_dicom(plain).pixels).all()


def test_a_high_bit_below_the_top_and_bits_below_it(make_dicom):
    # 8 bits of 16, from bit 4 to bit 11; the others are noise
    cells = [[0xF00F, (100 << 4) | 0x100B & 0xF00F, (200 << 4) | 5]]
    dataset = make_dicom(cells, BitsStored=8, HighBit=11)
    assert read_dicom(dataset).pixels.tolist() == [[0.0, 0.5, 1.0]]


def test_the_sign_is_that_of_the_high_bit(make_dicom):
    # 12 bits in 16, two's complement of 12 bits with nothing above: -2048, -1, 2047
    dataset = make_dicom([[0x0800, 0x0FFF, 0x07FF]])
    dataset.PixelRepresentation = 1
    assert read_dicom(dataset).pixels.astype(float).round(4).tolist() == [[0.0, 0.4999, 1.0]]


def test_the_sign_of_a_shifted_value(make_dicom):
    # 8 bits at bits 4 to 11: -1 is 0xFF0, -128 is 0x800, 127 is 0x7F0
    dataset = make_dicom([[0x0800, 0x0FF0, 0x07F0]], BitsStored=8, HighBit=11)
    dataset.PixelRepresentation = 1
    assert read_dicom(dataset).pixels.astype(float).round(4).tolist() == [[0.0, 0.498, 1.0]]


def test_32_bits(make_dicom):
    dataset = make_dicom([[0, 0]], BitsAllocated=32, BitsStored=32, HighBit=31)
    dataset.PixelData = np.array([[0, 4_000_000_000]], "<u4").tobytes()
    assert read_dicom(dataset).pixels.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("bits", [12, 24, 64])
def test_other_cells_are_refused(make_dicom, bits):
    with pytest.raises(InputError, match=f"allocates {bits} bits a value: 1, 8, 16 and 32"):
        read_dicom(make_dicom([[0, 1]], BitsAllocated=bits))


def test_float_pixels(make_dicom):
    dataset = make_dicom([[0, 0]])
    del dataset.PixelData
    dataset.FloatPixelData = np.array([[0.5, 1.5]], "<f4").tobytes()
    assert read_dicom(dataset).pixels.tolist() == [[0.0, 1.0]]


# --- length ---------------------------------------------------------------------------------------


def test_pixel_data_a_little_short_ends_in_padding(make_dicom):
    dataset = make_dicom(np.arange(1, 201).reshape(10, 20))
    dataset.PixelData = dataset.PixelData[:-4]  # the last two of 200 pixels
    radiograph = read_dicom(dataset)
    assert codes(radiograph) == ["pixel_data_short"]
    # the scale is 1..198: what is missing sets none, and is black
    assert radiograph.pixels[-1, -3:].tolist() == [1.0, 0.0, 0.0]
    assert radiograph.pixels[0, 0] == 0


def test_pixel_data_far_too_short_is_refused(make_dicom):
    dataset = make_dicom(np.arange(200).reshape(10, 20))
    dataset.PixelData = dataset.PixelData[:-6]
    with pytest.raises(InputError, match="394 of 400 bytes are there"):
        read_dicom(dataset)


def test_pixel_data_longer_than_declared(make_dicom):
    dataset = make_dicom([[0, 4095]])
    dataset.PixelData += bytes(2)
    radiograph = read_dicom(dataset)
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert codes(radiograph) == ["pixel_data_long"]
    assert radiograph.doubts == ()


def test_pixel_data_of_twice_the_length_is_a_doubt(make_dicom):
    dataset = make_dicom([[0, 4095]])
    dataset.PixelData *= 2
    assert "twice" in read_dicom(dataset).doubts[0]


def test_a_file_cut_within_its_pixel_data(make_dicom, saved):
    content = saved(make_dicom(np.arange(200).reshape(10, 20))).getvalue()
    assert codes(read_dicom(io.BytesIO(content[:-4]))) == ["pixel_data_short"]
    with pytest.raises(InputError, match="200 of 400 bytes"):
        read_dicom(io.BytesIO(content[:-200]))


# --- limits ---------------------------------------------------------------------------------------


def test_a_declared_hundred_gigabytes_are_refused_before_anything_is_reserved(make_dicom):
    dataset = make_dicom(Rows=10_000, Columns=10_000, NumberOfFrames=1000)
    with pytest.raises(InputError, match="1000 frames of 10000 x 10000 pixels, more than"):
        read_dicom(dataset)


def test_files_above_the_limit_are_not_read(make_dicom, saved, tmp_path):
    file = saved(make_dicom())
    size = len(file.getvalue())
    with pytest.raises(InputError, match=f"of {size} bytes, more than the limit of 99"):
        read_dicom(file, max_bytes=99)
    (tmp_path / "x.dcm").write_bytes(file.getvalue())
    with pytest.raises(InputError, match=r"x\.dcm is of"):
        read_dicom(tmp_path / "x.dcm", max_bytes=99)


def test_a_header_of_endless_elements_is_refused(make_dicom, saved, monkeypatch):
    monkeypatch.setattr("cascade.io.dicom.header.MAX_ELEMENTS", 10)
    with pytest.raises(InputError, match="more than 10 data elements"):
        read_dicom(saved(make_dicom()))


# --- the table of notes ---------------------------------------------------------------------------


def test_notes_are_of_the_table_and_said_once():
    notes = Notes()
    notes.add("one_shade")
    notes.add("one_shade")
    assert notes == [f"one_shade: {NOTES['one_shade']}"]
    with pytest.raises(KeyError):
        notes.add("nonsense")


def test_no_value_of_the_header_is_quoted(make_dicom):
    tags = {"VOILUTFunction": "SECRET", "WindowCenter": 1, "WindowWidth": 9}
    radiograph = read_dicom(make_dicom([[0, 9]], "SECRET2", **tags))
    assert len(radiograph.notes) == 2
    assert "SECRET" not in " ".join(radiograph.notes)
