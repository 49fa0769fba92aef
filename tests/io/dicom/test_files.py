"""Files of every kind, whole and broken."""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from cascade.errors import InputError
from cascade.io.dicom import Radiograph, note_code, read_dicom


def codes(radiograph: Radiograph) -> list[str]:
    return [note_code(note) for note in radiograph.notes]


GRADIENT = (np.add.outer(np.arange(32), np.arange(32)) * 64).astype(np.uint16)
EXPECTED = GRADIENT / GRADIENT.max()


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian],
)
def test_native_transfer_syntaxes(make_dicom, saved, syntax):
    radiograph = read_dicom(saved(make_dicom(GRADIENT, syntax=syntax)))
    np.testing.assert_allclose(radiograph.pixels, EXPECTED, atol=1e-6)
    assert radiograph.facts.transfer_syntax == syntax
    assert radiograph.notes == ()


def test_big_endian(make_dicom, saved):
    dataset = make_dicom(GRADIENT, syntax=ExplicitVRBigEndian)
    dataset.PixelData = GRADIENT.astype(">u2").tobytes()
    np.testing.assert_allclose(read_dicom(saved(dataset)).pixels, EXPECTED, atol=1e-6)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_transfer_syntaxes(make_dicom, saved, syntax):
    dataset = make_dicom(GRADIENT)
    try:
        dataset.compress(syntax, generate_instance_uid=False)
    except RuntimeError as error:
        pytest.skip(f"no encoder of {syntax.name}: {error}")
    radiograph = read_dicom(saved(dataset))
    np.testing.assert_allclose(radiograph.pixels, EXPECTED, atol=1e-6)
    assert radiograph.facts.transfer_syntax == syntax


def test_no_preamble_is_noted(make_dicom, saved, tmp_path: Path):
    dataset = make_dicom([[0, 4095]])
    file = saved(dataset)
    (tmp_path / "bare").write_bytes(file.getvalue()[132:])
    radiograph = read_dicom(tmp_path / "bare")
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert codes(radiograph) == ["no_preamble"]


def test_no_transfer_syntax_is_noted(make_dicom):
    dataset = make_dicom([[0, 4095]])
    del dataset.file_meta
    radiograph = read_dicom(dataset)
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert radiograph.notes == (
        "no_transfer_syntax: no transfer syntax: taken as Explicit VR Little Endian",
    )
    assert not hasattr(dataset, "file_meta")  # the caller's data set is not changed


def test_the_first_of_several_frames(make_dicom):
    dataset = make_dicom([[0, 4095]], NumberOfFrames=2)
    dataset.PixelData = np.array([[[0, 4095]], [[4095, 0]]], dtype=np.uint16).tobytes()
    radiograph = read_dicom(dataset)
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert radiograph.notes == ("frames: 2 frames: frame 1 is taken",)


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


def test_no_pixel_data(make_dicom):
    dataset = make_dicom()
    del dataset.PixelData
    with pytest.raises(InputError, match="no pixel data"):
        read_dicom(dataset)


def test_no_rows(make_dicom):
    dataset = make_dicom()
    del dataset.Rows
    with pytest.raises(InputError, match="no rows"):
        read_dicom(dataset)


def test_absurd_size_is_refused_before_decoding(make_dicom):
    with pytest.raises(InputError, match="65535 x 65535 pixels, more than"):
        read_dicom(make_dicom(Rows=65535, Columns=65535))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_pixel_data_that_cannot_be_decoded(make_dicom, syntax):
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


def test_a_broken_lookup_table_is_an_input_error(make_dicom):
    item = Dataset()
    item.LUTData = b"\0\0"
    with pytest.raises(InputError, match="header cannot be applied"):
        read_dicom(make_dicom(VOILUTSequence=Sequence([item])))


def test_identifiers_are_kept_but_shown_nowhere(make_dicom):
    radiograph = read_dicom(make_dicom())
    assert radiograph.facts.patient_id == "SECRET"
    assert "SECRET" not in repr(radiograph)
    assert radiograph.facts.sop_instance_uid not in repr(radiograph)


def test_warnings_and_log_lines_are_not_passed_on(make_dicom, saved, caplog):
    dataset = make_dicom([[0, 4095]])
    file = saved(dataset)
    content = file.getvalue().replace(b"SECRET", b"SECR\xff\x01")  # not in the character set
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        read_dicom(io.BytesIO(content))
    assert not caplog.records


@pytest.mark.parametrize("charset", ["ISO_NONSENSE", ["ISO 2022 IR 87", "x"], "\\\\"])
@pytest.mark.filterwarnings("ignore")  # pydicom, when it is set
def test_a_nonsensical_character_set_costs_nothing(make_dicom, saved, charset):
    dataset = make_dicom([[0, 4095]], SeriesDescription="chest pa", ViewPosition="")
    dataset.SpecificCharacterSet = charset
    content = saved(dataset).getvalue().replace(b"SECRET", b"\xff\x1b$B\xfe\x80")
    radiograph = read_dicom(io.BytesIO(content))
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert radiograph.view == "frontal"
