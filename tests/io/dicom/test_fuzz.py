"""Hostile files, a few hundred of them: scripts/fuzz_dicom runs for as long as it is told."""

from __future__ import annotations

import copy
import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from cascade.errors import InputError
from cascade.io.dicom import NOTES, note_code, read_dicom

SIDE = 32
MAX_PIXELS = 10_000
MAX_MEMORY = 32 * 2**20
"""Bytes that Python and numpy may hold at the worst: a picture of the limit takes far less."""

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)
# the same few hundred each time: a failure is a failure for everyone
BUDGET = settings(
    derandomize=True,
    max_examples=80,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

TAGS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PhotometricInterpretation", "PresentationLUTShape", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "WindowCenter"),
    *("WindowWidth", "VOILUTFunction", "PatientOrientation", "ViewPosition", "Modality"),
    *("BodyPartExamined", "SpecificCharacterSet", "RepresentativeFrameNumber"),
)
VALUES = st.one_of(
    st.integers(-(2**33), 2**33),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=12),
    st.binary(max_size=8),
    st.sampled_from(
        ["", "MONOCHROME1", "PALETTE COLOR", "RGB", "YBR_FULL_422", "SIGMOID", "R", "H"]
    ),
    st.lists(st.integers(-70000, 70000), max_size=4),
)


def outcome(source) -> None:
    """A picture by the contract or an InputError, in bounded memory."""
    tracemalloc.start()
    try:
        radiograph = read_dicom(source, max_pixels=MAX_PIXELS)
    except InputError:
        return
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MAX_MEMORY
    assert radiograph.pixels.ndim == 2
    assert radiograph.pixels.dtype == np.float32
    assert 0 <= radiograph.pixels.min() <= radiograph.pixels.max() <= 1
    assert {note_code(note) for note in radiograph.notes} <= set(NOTES)


@pytest.fixture(scope="module")
def seeds(make_dicom, saved):
    picture = np.add.outer(np.arange(SIDE), np.arange(SIDE)) * 100
    tags = {"WindowCenter": 1000, "WindowWidth": 2000, "RescaleSlope": 1, "RescaleIntercept": 3}
    found = {}
    for syntax in SYNTAXES:
        dataset = make_dicom(picture, **tags)
        if syntax.is_encapsulated:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
        found[syntax] = saved(dataset).getvalue()
    return found


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@given(data=st.data())
@BUDGET
def test_flipped_bits_cuts_and_insertions(seeds, syntax, data):
    content = bytearray(seeds[syntax])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=8))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content))) :]
    outcome(io.BytesIO(bytes(content)))


@given(
    tags=st.dictionaries(st.sampled_from(TAGS), VALUES, max_size=6),
    gone=st.sets(st.sampled_from(TAGS), max_size=2),
)
@BUDGET
@pytest.mark.filterwarnings("ignore")  # pydicom on values that no tag may have
def test_any_value_in_any_tag(make_dicom, tags, gone):
    dataset = copy.deepcopy(make_dicom(np.arange(SIDE * SIDE).reshape(SIDE, SIDE)))
    for keyword, value in tags.items():
        try:
            setattr(dataset, keyword, value)
        except Exception:  # pydicom refuses to hold it, so no file can
            continue
    for keyword in gone:
        if keyword in dataset:
            del dataset[keyword]
    outcome(dataset)


@given(content=st.binary(max_size=400))
@BUDGET
def test_anything_behind_a_preamble(content):
    outcome(io.BytesIO(bytes(128) + b"DICM" + content))
