"""Pixel values worked out by hand, one rule a test."""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_voi_lut, apply_windowing
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from cascade.errors import InputError
from cascade.io.dicom import read_dicom, stretch, window


def make_dicom(
    pixels=((0, 4095),), photometric="MONOCHROME2", bits=12, signed=False, syntax=None, **tags
) -> Dataset:
    """The smallest chest radiograph."""
    stored = "int" if signed else "uint"
    array = np.asarray(pixels, dtype=f"{stored}{8 if bits <= 8 else 16}")
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.PatientID = "SECRET"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    dataset.Rows, dataset.Columns = array.shape[-2:] if array.ndim == 2 else array.shape[:2]
    dataset.SamplesPerPixel = 1
    if array.ndim == 3:
        dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = array.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = array.tobytes() + b"\0" * (array.nbytes % 2)
    dataset["PixelData"].VR = "OW" if array.itemsize == 2 else "OB"
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def saved(dataset: Dataset, **options) -> io.BytesIO:
    file = io.BytesIO()
    dataset.save_as(file, **{"enforce_file_format": True, **options})
    file.seek(0)
    return file


def shown(*args, **tags) -> list[list[float]]:
    return read_dicom(make_dicom(*args, **tags)).pixels.astype(float).round(4).tolist()


def lut(first: int, bits: int, entries: list[int], vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


# --- photometry -----------------------------------------------------------------------------------


def test_monochrome2_stays():
    radiograph = read_dicom(make_dicom([[0, 4095]]))
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert radiograph.pixels.dtype == np.float32


def test_monochrome1_is_inverted():
    assert shown([[0, 4095]], "MONOCHROME1") == [[1.0, 0.0]]


def test_presentation_lut_shape_inverse_is_inverted():
    assert shown([[0, 4095]], PresentationLUTShape="INVERSE") == [[1.0, 0.0]]


def test_monochrome1_with_inverse_is_inverted_once():
    assert shown([[0, 4095]], "MONOCHROME1", PresentationLUTShape="INVERSE") == [[1.0, 0.0]]


def test_identity_shape_changes_nothing():
    assert shown([[0, 4095]], PresentationLUTShape="IDENTITY") == [[0.0, 1.0]]


def test_colour_becomes_luminance():
    colours = [[[0, 0, 0], [255, 0, 0], [0, 255, 0], [255, 255, 255]]]
    assert shown(colours, "RGB", bits=8) == [[0.0, 0.299, 0.587, 1.0]]


def test_palette_is_looked_up():
    ramp = np.array([0, 65535, 32768], dtype="<u2").tobytes()
    tags = {}
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = ramp
    pixels = shown([[0, 1, 2, 0]], "PALETTE COLOR", bits=8, **tags)
    assert pixels == [[0.0, 1.0, 0.5, 0.0]]


# --- scale ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "high"), [(8, 200), (10, 1000), (12, 4000), (16, 60000)])
def test_without_a_window_darkest_is_0_and_brightest_1(bits, high):
    assert shown([[high // 2, high // 4 * 3, high]], bits=bits) == [[0.0, 0.5, 1.0]]


def test_signed_pixels():
    assert shown([[-2048, 0, 2048 - 1]], signed=True) == [[0.0, 0.5001, 1.0]]


def test_padding_is_black_and_sets_no_scale():
    tags = {"PixelPaddingValue": 4095}
    assert shown([[4095, 100, 200, 300]], **tags) == [[0.0, 0.0, 0.5, 1.0]]
    assert shown([[4095, 100, 200, 300]], "MONOCHROME1", **tags) == [[0.0, 1.0, 0.5, 0.0]]


def test_padding_range():
    tags = {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 10}
    assert shown([[0, 10, 11, 12]], **tags) == [[0.0, 0.0, 0.0, 1.0]]


def test_negative_padding_written_as_unsigned():
    dataset = make_dicom([[-2000, 0, 10, 20]], signed=True)
    dataset.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    assert read_dicom(dataset).pixels.tolist() == [[0.0, 0.0, 0.5, 1.0]]


def test_padding_over_everything_is_ignored_with_a_note():
    radiograph = read_dicom(make_dicom([[7, 7]], PixelPaddingValue=7))
    assert any("padding" in note for note in radiograph.notes)


def test_one_shade_is_black_with_a_note():
    radiograph = read_dicom(make_dicom([[9, 9]]))
    assert radiograph.pixels.tolist() == [[0.0, 0.0]]
    assert radiograph.notes == ("the picture is of one shade",)


# --- modality LUT and window ----------------------------------------------------------------------


def test_rescale_comes_before_the_window():
    # 10 -> 0, 60 -> 100, 110 -> 200 after rescale; the exact window of 0..200 is [0, 1]
    tags = {"RescaleSlope": 2, "RescaleIntercept": -20, "WindowCenter": 100, "WindowWidth": 200}
    pixels = shown([[10, 60, 110, 200]], VOILUTFunction="LINEAR_EXACT", **tags)
    assert pixels == [[0.0, 0.5, 1.0, 1.0]]


def test_a_negative_slope_turns_the_picture():
    assert shown([[0, 100]], RescaleSlope=-1, RescaleIntercept=100) == [[1.0, 0.0]]


def test_linear_window_is_of_the_standard():
    # C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5); with c 100 and w 101: 49.5 -> 0, 149.5 -> 1
    pixels = shown([[49, 50, 99, 149, 150]], WindowCenter=100, WindowWidth=101)
    assert pixels == [[0.0, 0.005, 0.495, 0.995, 1.0]]


def test_sigmoid_window():
    tags = {"WindowCenter": 100, "WindowWidth": 40, "VOILUTFunction": "SIGMOID"}
    # 1 / (1 + exp(-4 (x - c) / w))
    assert shown([[0, 90, 100, 110, 4095]], **tags) == [[0.0, 0.2689, 0.5, 0.7311, 1.0]]


def test_the_first_of_several_windows():
    tags = {"WindowCenter": [100, 2000], "WindowWidth": [200, 4000]}
    assert shown([[0, 4095, 100]], VOILUTFunction="LINEAR_EXACT", **tags) == [[0.0, 1.0, 0.5]]


def test_inversion_comes_after_the_window():
    tags = {"WindowCenter": 100, "WindowWidth": 200, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown([[0, 50, 4095]], "MONOCHROME1", **tags) == [[1.0, 0.75, 0.0]]


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 100, "WindowWidth": 0},
        {"WindowCenter": 100, "WindowWidth": -5, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": -5000, "WindowWidth": 10},
    ],
)
def test_a_window_of_no_use_is_ignored_with_a_note(tags):
    radiograph = read_dicom(make_dicom([[0, 4095]], **tags))
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert any("window" in note for note in radiograph.notes)


def test_rescale_slope_of_0_is_ignored_with_a_note():
    radiograph = read_dicom(make_dicom([[0, 4095]], RescaleSlope=0, RescaleIntercept=5))
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert radiograph.notes == ("rescale slope of 0: ignored",)


def test_modality_lut():
    item = lut(10, 16, [0, 500, 1000])
    # below the first mapped value the first entry, above the last the last
    pixels = shown([[0, 10, 11, 12, 99]], ModalityLUTSequence=Sequence([item]))
    assert pixels == [[0.0, 0.0, 0.5, 1.0, 1.0]]


def test_voi_lut_scales_by_its_declared_bits_and_wins_over_a_window():
    item = lut(0, 8, [0, 51, 255])
    tags = {"VOILUTSequence": Sequence([item]), "WindowCenter": 1, "WindowWidth": 1}
    assert shown([[0, 1, 2, 9]], **tags) == [[0.0, 0.2, 1.0, 1.0]]


def test_voi_lut_that_does_not_fill_its_bits_is_scaled_by_its_own_peak():
    item = lut(0, 16, [0, 1000, 4000])
    radiograph = read_dicom(make_dicom([[0, 1, 2]], VOILUTSequence=Sequence([item])))
    assert radiograph.pixels.tolist() == [[0.0, 0.25, 1.0]]
    assert len(radiograph.notes) == 1


def test_voi_lut_of_signed_values():
    item = lut(-1, 8, [0, 51, 255], vr="SS")
    tags = {"VOILUTSequence": Sequence([item])}
    assert shown([[-5, -1, 0, 1]], signed=True, **tags) == [[0.0, 0.0, 0.2, 1.0]]


@given(
    center=st.floats(-3000, 3000),
    width=st.floats(1.5, 5000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
@settings(max_examples=50, deadline=None)
@pytest.mark.filterwarnings("ignore:overflow")  # theirs
def test_windows_agree_with_pydicom(center, width, function):
    values = np.arange(0, 4096, 5, dtype=np.uint16)
    dataset = make_dicom([values], VOILUTFunction=function)
    dataset.WindowCenter, dataset.WindowWidth = f"{center:.6f}", f"{width:.6f}"
    theirs = apply_windowing(values, dataset) / 4095
    ours = window(values, float(dataset.WindowCenter), float(dataset.WindowWidth), function)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_voi_lut_agrees_with_pydicom():
    values = np.arange(300, dtype=np.uint16)
    item = lut(20, 12, list(range(0, 4096, 16)))
    dataset = make_dicom([values], VOILUTSequence=Sequence([item]))
    np.testing.assert_allclose(
        read_dicom(dataset).pixels[0], apply_voi_lut(values, dataset) / 4095, atol=1e-6
    )


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1))
def test_stretch_always_ends_in_the_unit_interval(values):
    scaled = stretch(np.array([values], dtype=np.float32))
    assert np.isfinite(scaled).all()
    assert scaled.min() >= 0
    assert scaled.max() <= 1


# --- files ----------------------------------------------------------------------------------------

GRADIENT = (np.add.outer(np.arange(32), np.arange(32)) * 64).astype(np.uint16)
EXPECTED = GRADIENT / GRADIENT.max()


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian],
)
def test_native_transfer_syntaxes(syntax):
    radiograph = read_dicom(saved(make_dicom(GRADIENT, syntax=syntax)))
    np.testing.assert_allclose(radiograph.pixels, EXPECTED, atol=1e-6)
    assert radiograph.facts.transfer_syntax == syntax
    assert radiograph.notes == ()


def test_big_endian():
    dataset = make_dicom(GRADIENT, syntax=ExplicitVRBigEndian)
    dataset.PixelData = GRADIENT.astype(">u2").tobytes()
    np.testing.assert_allclose(read_dicom(saved(dataset)).pixels, EXPECTED, atol=1e-6)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_transfer_syntaxes(syntax):
    dataset = make_dicom(GRADIENT)
    try:
        dataset.compress(syntax, generate_instance_uid=False)
    except RuntimeError as error:
        pytest.skip(f"no encoder of {syntax.name}: {error}")
    radiograph = read_dicom(saved(dataset))
    np.testing.assert_allclose(radiograph.pixels, EXPECTED, atol=1e-6)
    assert radiograph.facts.transfer_syntax == syntax


def test_no_preamble_is_noted(tmp_path: Path):
    dataset = make_dicom([[0, 4095]])
    file = saved(dataset)
    (tmp_path / "bare").write_bytes(file.getvalue()[132:])
    radiograph = read_dicom(tmp_path / "bare")
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert "no DICOM preamble" in radiograph.notes


def test_no_transfer_syntax_is_noted():
    dataset = make_dicom([[0, 4095]])
    del dataset.file_meta
    radiograph = read_dicom(dataset)
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert radiograph.notes == ("no transfer syntax: taken as Explicit VR Little Endian",)
    assert not hasattr(dataset, "file_meta")  # the caller's data set is not changed


def test_the_first_of_several_frames():
    dataset = make_dicom([[0, 4095]], NumberOfFrames=2)
    dataset.PixelData = np.array([[[0, 4095]], [[4095, 0]]], dtype=np.uint16).tobytes()
    radiograph = read_dicom(dataset)
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert radiograph.notes == ("2 frames: the first is taken",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a DICOM file|cannot be read"),
        (b"<html>not found</html>" * 20, "not a DICOM file|cannot be read"),
        (b"\0" * 128 + b"DICM", "no pixel data"),
        (b"\0" * 128 + b"DICM" + b"\xff" * 100, "cannot be read|no pixel data"),
    ],
)
def test_what_is_not_dicom_is_refused(content: bytes, words: str, tmp_path: Path):
    (tmp_path / "x.dcm").write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_dicom(tmp_path / "x.dcm")
    assert "x.dcm" in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        read_dicom(tmp_path / "none.dcm")
    with pytest.raises(InputError, match="not a file"):
        read_dicom(tmp_path)


def test_no_pixel_data():
    dataset = make_dicom()
    del dataset.PixelData
    with pytest.raises(InputError, match="no pixel data"):
        read_dicom(dataset)


def test_no_rows():
    dataset = make_dicom()
    del dataset.Rows
    with pytest.raises(InputError, match="no rows"):
        read_dicom(dataset)


def test_absurd_size_is_refused_before_decoding():
    with pytest.raises(InputError, match="65535 x 65535 pixels, more than"):
        read_dicom(make_dicom(Rows=65535, Columns=65535))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_pixel_data_that_cannot_be_decoded(syntax):
    dataset = make_dicom(GRADIENT)
    if syntax != ExplicitVRLittleEndian:
        from pydicom.encaps import encapsulate

        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([b"garbage!"])
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PixelData = b"\0" * 20
    with pytest.raises(InputError, match="cannot be decoded"):
        read_dicom(dataset)


def test_a_broken_lookup_table_is_an_input_error():
    item = Dataset()
    item.LUTData = b"\0\0"
    with pytest.raises(InputError, match="header cannot be applied"):
        read_dicom(make_dicom(VOILUTSequence=Sequence([item])))


def test_identifiers_are_kept_but_shown_nowhere():
    radiograph = read_dicom(make_dicom())
    assert radiograph.facts.patient_id == "SECRET"
    assert "SECRET" not in repr(radiograph)
    assert radiograph.facts.sop_instance_uid not in repr(radiograph)


def test_warnings_and_log_lines_are_not_passed_on(caplog):
    dataset = make_dicom([[0, 4095]])
    file = saved(dataset)
    content = file.getvalue().replace(b"SECRET", b"SECR\xff\x01")  # not in the character set
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        read_dicom(io.BytesIO(content))
    assert not caplog.records


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_flipped_bytes_end_in_a_picture_or_an_input_error(data):
    content = bytearray(FILE)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        radiograph = read_dicom(io.BytesIO(bytes(content[: cut or None])))
    except InputError:
        return
    assert radiograph.pixels.ndim == 2
    assert 0 <= radiograph.pixels.min() <= radiograph.pixels.max() <= 1


FILE = saved(
    make_dicom(
        GRADIENT[:4, :4], WindowCenter=1000, WindowWidth=2000, RescaleSlope=1, RescaleIntercept=3
    )
).getvalue()


# --- the header's word ----------------------------------------------------------------------------


def code(meaning: str) -> Sequence:
    item = Dataset()
    item.CodeMeaning = meaning
    return Sequence([item])


@pytest.mark.parametrize(
    ("tags", "view"),
    [
        ({"ViewPosition": "PA"}, "frontal"),
        ({"ViewPosition": "AP"}, "frontal"),
        ({"ViewPosition": "LL"}, "lateral"),
        ({"ViewPosition": "LATERAL"}, "lateral"),
        ({"ViewPosition": "LLD"}, "unknown"),
        ({"ViewPosition": "", "ViewCodeSequence": code("postero-anterior")}, "frontal"),
        ({"ViewPosition": "", "ViewCodeSequence": code("left lateral")}, "lateral"),
        ({"ViewPosition": "", "SeriesDescription": "CHEST LAT"}, "lateral"),
        ({"ViewPosition": "", "SeriesDescription": "W033 Chest PA"}, "frontal"),
        ({"ViewPosition": "", "SeriesDescription": "Chest PA and lateral"}, "unknown"),
        ({"ViewPosition": "", "PatientOrientation": ["L", "F"]}, "frontal"),
        ({"ViewPosition": "", "PatientOrientation": ["A", "F"]}, "lateral"),
        ({"ViewPosition": ""}, "unknown"),
    ],
)
def test_view(tags, view):
    assert read_dicom(make_dicom(**tags)).view == view


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({}, ""),
        ({"BodyPartExamined": ""}, ""),
        ({"BodyPartExamined": "THORAX", "Modality": "CR"}, ""),
        ({"Modality": "SC"}, ""),
        ({"Modality": "OT", "BodyPartExamined": "", "StudyDescription": "Chest film"}, ""),
        ({"Modality": "OT", "BodyPartExamined": ""}, "modality OT"),
        ({"Modality": "", "BodyPartExamined": ""}, "no modality"),
        ({"Modality": "CT"}, "not radiography"),
        ({"BodyPartExamined": "HAND"}, "body part HAND"),
    ],
)
def test_doubts(tags, words):
    doubts = read_dicom(make_dicom(**tags)).doubts
    assert (words in doubts[0]) if words else doubts == ()


# --- real files -----------------------------------------------------------------------------------


@pytest.mark.realdata
def test_real_files(real_data: Path):
    read = {path.name: read_dicom(path) for path in sorted((real_data / "dicom").glob("*.dcm"))}
    assert len(read) == 11
    for name, radiograph in read.items():
        assert radiograph.pixels.min() >= 0, name
        assert radiograph.pixels.max() <= 1, name
        assert radiograph.pixels.std() > 0.1, name
        assert bool(radiograph.doubts) == (name in ("vlut_04.dcm", "mlut_18.dcm")), name
    assert read["RG1_J2KI.dcm"].view == "frontal"
    assert read["dx_image.dcm"].view == "lateral"
    assert read["dx_no_view.dcm"].view == "unknown"
    true, fake = read["cr_jpeg_baseline.dcm"].pixels, read["cr_fake_monochrome1.dcm"].pixels
    np.testing.assert_allclose(fake, 1 - true, atol=1e-6)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["vlut_04.dcm", "mlut_18.dcm"])
def test_real_lookup_tables_agree_with_pydicom(real_data: Path, name: str):
    dataset = pydicom.dcmread(real_data / "dicom" / name)
    values = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
    theirs = apply_voi_lut(values, dataset) if "VOILUTSequence" in dataset else values
    ours = read_dicom(dataset).pixels
    scaled = (theirs - theirs.min()) / (int(theirs.max()) - int(theirs.min()))
    np.testing.assert_allclose(ours, scaled, atol=1e-3)
