"""Pixel values worked out by hand, one rule a test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels import apply_voi_lut, apply_windowing
from pydicom.sequence import Sequence

from cascade.errors import InputError
from cascade.io.dicom import Radiograph, note_code, read_dicom, stretch, window


def codes(radiograph: Radiograph) -> list[str]:
    return [note_code(note) for note in radiograph.notes]


# --- photometry -----------------------------------------------------------------------------------


def test_monochrome2_stays(make_dicom):
    radiograph = read_dicom(make_dicom([[0, 4095]]))
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert radiograph.pixels.dtype == np.float32


def test_monochrome1_is_inverted(shown):
    assert shown([[0, 4095]], "MONOCHROME1") == [[1.0, 0.0]]


def test_presentation_lut_shape_inverse_is_inverted(shown):
    assert shown([[0, 4095]], PresentationLUTShape="INVERSE") == [[1.0, 0.0]]


def test_monochrome1_with_inverse_is_inverted_once(shown):
    assert shown([[0, 4095]], "MONOCHROME1", PresentationLUTShape="INVERSE") == [[1.0, 0.0]]


def test_identity_shape_changes_nothing(shown):
    assert shown([[0, 4095]], PresentationLUTShape="IDENTITY") == [[0.0, 1.0]]


def test_true_colour_is_refused_by_name(make_dicom):
    colours = [[[0, 0, 0], [255, 0, 0], [0, 255, 0], [255, 255, 255]]]
    with pytest.raises(InputError, match="the DICOM data set is in true colour .50% of its pixels"):
        read_dicom(make_dicom(colours, "RGB", bits=8))


def test_equal_channels_are_taken_as_they_are(make_dicom):
    radiograph = read_dicom(make_dicom([[[10] * 3, [20] * 3, [30] * 3]], "RGB", bits=8))
    assert radiograph.pixels.tolist() == [[0.0, 0.5, 1.0]]
    assert radiograph.notes == ()


def test_colour_that_looks_grey_becomes_luminance(make_dicom):
    # 0.299 x 20 + 0.587 x 10 + 0.114 x 0 = 11.85 of 0..100: the channels are 20 apart of 255
    radiograph = read_dicom(make_dicom([[[0] * 3, [20, 10, 0], [100] * 3]], "RGB", bits=8))
    assert radiograph.pixels.astype(float).round(4).tolist() == [[0.0, 0.1185, 1.0]]
    assert codes(radiograph) == ["colour"]


def test_a_coloured_stamp_does_not_make_a_colour_picture(make_dicom):
    picture = np.repeat(np.arange(100, dtype=np.uint8)[None, :, None], 3, axis=2)
    picture[0, 50] = [255, 0, 0]
    assert codes(read_dicom(make_dicom(picture, "RGB", bits=8))) == ["colour"]
    picture[0, 50:56] = [255, 0, 0]  # six of a hundred are no stamp
    with pytest.raises(InputError, match="true colour"):
        read_dicom(make_dicom(picture, "RGB", bits=8))


def test_ybr_becomes_rgb_first(make_dicom):
    # PS3.3 C.7.6.3.1.2: with CB and CR at 128 the luminance is R, G and B
    radiograph = read_dicom(make_dicom([[[0, 128, 128], [100, 128, 128]]], "YBR_FULL", bits=8))
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    with pytest.raises(InputError, match="true colour"):
        read_dicom(make_dicom([[[50, 255, 0], [100, 0, 255]]], "YBR_FULL", bits=8))


def test_colour_plane_by_plane(make_dicom):
    dataset = make_dicom(np.zeros((1, 2, 3)), "RGB", bits=8, PlanarConfiguration=1)
    dataset.PixelData = bytes([0, 200, 0, 200, 0, 200])
    assert read_dicom(dataset).pixels.tolist() == [[0.0, 1.0]]


def test_a_palette_of_colours_is_refused(make_dicom):
    tags = {}
    for colour, value in (("Red", 65535), ("Green", 0), ("Blue", 0)):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [2, 0, 16]
        table = np.array([0, value], dtype="<u2").tobytes()
        tags[f"{colour}PaletteColorLookupTableData"] = table
    with pytest.raises(InputError, match="true colour"):
        read_dicom(make_dicom([[0, 1]], "PALETTE COLOR", bits=8, **tags))


def test_a_palette_without_tables_is_an_input_error(make_dicom):
    with pytest.raises(InputError, match="header cannot be applied"):
        read_dicom(make_dicom([[0, 1]], "PALETTE COLOR", bits=8))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE"])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -100), (-1, 7)])
def test_the_order_of_all_steps(make_dicom, signed, photometric, shape, function, slope, intercept):
    """Modality, window, scale, inversion: by the formulas of PS3.3, one value at a time."""
    stored = [-50, -3, 0, 1, 60, 99] if signed else [0, 1, 60, 99, 140, 4095]
    center, width = 40.0, 100.0
    expected = []
    for value in stored:
        x = value * slope + intercept
        if function == "SIGMOID":
            y = 1 / (1 + np.exp(-4 * (x - center) / width))
        elif function == "LINEAR_EXACT":
            y = (x - center) / width + 0.5
        else:
            y = (x - (center - 0.5)) / (width - 1) + 0.5
        y = min(max(y, 0), 1)
        dark_is_high = photometric == "MONOCHROME1" or shape == "INVERSE"
        expected.append(1 - y if dark_is_high else y)
    tags = {"RescaleSlope": slope, "RescaleIntercept": intercept, "PresentationLUTShape": shape}
    tags |= {"WindowCenter": center, "WindowWidth": width, "VOILUTFunction": function}
    pixels = read_dicom(make_dicom([stored], photometric, signed=signed, **tags)).pixels
    np.testing.assert_allclose(pixels, [expected], atol=1e-6)


def test_palette_is_looked_up(shown):
    ramp = np.array([0, 65535, 32768], dtype="<u2").tobytes()
    tags = {}
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = ramp
    pixels = shown([[0, 1, 2, 0]], "PALETTE COLOR", bits=8, **tags)
    assert pixels == [[0.0, 1.0, 0.5, 0.0]]


# --- scale ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "high"), [(8, 200), (10, 1000), (12, 4000), (16, 60000)])
def test_without_a_window_darkest_is_0_and_brightest_1(shown, bits, high):
    assert shown([[high // 2, high // 4 * 3, high]], bits=bits) == [[0.0, 0.5, 1.0]]


def test_signed_pixels(shown):
    assert shown([[-2048, 0, 2048 - 1]], signed=True) == [[0.0, 0.5001, 1.0]]


def test_padding_is_black_and_sets_no_scale(shown):
    tags = {"PixelPaddingValue": 4095}
    assert shown([[4095, 100, 200, 300]], **tags) == [[0.0, 0.0, 0.5, 1.0]]
    assert shown([[4095, 100, 200, 300]], "MONOCHROME1", **tags) == [[0.0, 1.0, 0.5, 0.0]]


def test_padding_range(shown):
    tags = {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 10}
    assert shown([[0, 10, 11, 12]], **tags) == [[0.0, 0.0, 0.0, 1.0]]


def test_negative_padding_written_as_unsigned(make_dicom):
    dataset = make_dicom([[-2000, 0, 10, 20]], signed=True)
    dataset.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    assert read_dicom(dataset).pixels.tolist() == [[0.0, 0.0, 0.5, 1.0]]


def test_padding_over_everything_is_ignored_with_a_note(make_dicom):
    radiograph = read_dicom(make_dicom([[7, 7]], PixelPaddingValue=7))
    assert codes(radiograph) == ["padding_everywhere", "one_shade"]


def test_one_shade_is_black_with_a_note(make_dicom):
    radiograph = read_dicom(make_dicom([[9, 9]]))
    assert radiograph.pixels.tolist() == [[0.0, 0.0]]
    assert codes(radiograph) == ["one_shade"]


# --- modality LUT and window ----------------------------------------------------------------------


def test_rescale_comes_before_the_window(shown):
    # 10 -> 0, 60 -> 100, 110 -> 200 after rescale; the exact window of 0..200 is [0, 1]
    tags = {"RescaleSlope": 2, "RescaleIntercept": -20, "WindowCenter": 100, "WindowWidth": 200}
    pixels = shown([[10, 60, 110, 200]], VOILUTFunction="LINEAR_EXACT", **tags)
    assert pixels == [[0.0, 0.5, 1.0, 1.0]]


def test_a_negative_slope_turns_the_picture(shown):
    assert shown([[0, 100]], RescaleSlope=-1, RescaleIntercept=100) == [[1.0, 0.0]]


def test_linear_window_is_of_the_standard(shown):
    # C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5); with c 100 and w 101: 49.5 -> 0, 149.5 -> 1
    pixels = shown([[49, 50, 99, 149, 150]], WindowCenter=100, WindowWidth=101)
    assert pixels == [[0.0, 0.005, 0.495, 0.995, 1.0]]


def test_sigmoid_window(shown):
    tags = {"WindowCenter": 100, "WindowWidth": 40, "VOILUTFunction": "SIGMOID"}
    # 1 / (1 + exp(-4 (x - c) / w))
    assert shown([[0, 90, 100, 110, 4095]], **tags) == [[0.0, 0.2689, 0.5, 0.7311, 1.0]]


def test_the_first_of_several_windows(make_dicom):
    tags = {"WindowCenter": [100, 2000], "WindowWidth": [200, 4000]}
    dataset = make_dicom([[0, 4095, 100]], VOILUTFunction="LINEAR_EXACT", **tags)
    radiograph = read_dicom(dataset)
    assert radiograph.pixels.tolist() == [[0.0, 1.0, 0.5]]
    assert codes(radiograph) == ["windows"]


def test_the_first_window_of_use_of_several(make_dicom):
    tags = {"WindowCenter": [100, -9000, 100], "WindowWidth": [0, 10, 200]}
    dataset = make_dicom([[0, 4095, 100]], VOILUTFunction="LINEAR_EXACT", **tags)
    radiograph = read_dicom(dataset)
    assert radiograph.pixels.tolist() == [[0.0, 1.0, 0.5]]
    assert codes(radiograph) == ["windows", "window_width", "window_blank"]


def test_more_centers_than_widths(shown):
    tags = {"WindowCenter": [100, 5], "WindowWidth": 200, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown([[0, 50, 4095]], **tags) == [[0.0, 0.25, 1.0]]


def test_a_narrow_linear_window_is_a_threshold(shown):
    # C.11.2.1.2.1 with w 1: above c - 0.5 white, else black
    assert shown([[99, 100]], WindowCenter=100, WindowWidth=1) == [[0.0, 1.0]]


def test_an_unknown_function_is_linear_with_a_note(make_dicom):
    tags = {"WindowCenter": 100, "WindowWidth": 101, "VOILUTFunction": "CUBIC"}
    radiograph = read_dicom(make_dicom([[50, 99]], **tags))
    assert radiograph.pixels.astype(float).round(4).tolist() == [[0.005, 0.495]]
    assert codes(radiograph) == ["window_function"]


def test_padding_is_left_out_of_the_scale_of_signed_values_below_zero(shown):
    tags = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}
    assert shown([[-2000, -1995, -100, 0, 100]], signed=True, **tags) == [[0, 0, 0, 0.5, 1]]


def test_padding_is_black_under_a_window_and_inversion(shown):
    tags = {"WindowCenter": 100, "WindowWidth": 200, "VOILUTFunction": "LINEAR_EXACT"}
    pixels = shown([[0, 50, 4095]], "MONOCHROME1", PixelPaddingValue=0, **tags)
    assert pixels == [[0.0, 0.75, 0.0]]


def test_padding_beyond_the_bits_in_use(make_dicom):
    dataset = make_dicom([[65535, 100, 200]], PixelPaddingValue=65535)  # 12 bits stored
    assert read_dicom(dataset).pixels.tolist() == [[0.0, 0.0, 1.0]]


def test_inversion_comes_after_the_window(shown):
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
def test_a_window_of_no_use_is_ignored_with_a_note(make_dicom, tags):
    radiograph = read_dicom(make_dicom([[0, 4095]], **tags))
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert codes(radiograph)[0].startswith("window_")


def test_rescale_slope_of_0_is_ignored_with_a_note(make_dicom):
    radiograph = read_dicom(make_dicom([[0, 4095]], RescaleSlope=0, RescaleIntercept=5))
    assert radiograph.pixels.tolist() == [[0.0, 1.0]]
    assert codes(radiograph) == ["rescale_slope"]


def test_modality_lut(shown, lut):
    item = lut(10, 16, [0, 500, 1000])
    # below the first mapped value the first entry, above the last the last
    pixels = shown([[0, 10, 11, 12, 99]], ModalityLUTSequence=Sequence([item]))
    assert pixels == [[0.0, 0.0, 0.5, 1.0, 1.0]]


def test_voi_lut_scales_by_its_declared_bits_and_wins_over_a_window(shown, lut):
    item = lut(0, 8, [0, 51, 255])
    tags = {"VOILUTSequence": Sequence([item]), "WindowCenter": 1, "WindowWidth": 1}
    assert shown([[0, 1, 2, 9]], **tags) == [[0.0, 0.2, 1.0, 1.0]]


def test_voi_lut_that_does_not_fill_its_bits_is_scaled_by_its_own_peak(make_dicom, lut):
    item = lut(0, 16, [0, 1000, 4000])
    radiograph = read_dicom(make_dicom([[0, 1, 2]], VOILUTSequence=Sequence([item])))
    assert radiograph.pixels.tolist() == [[0.0, 0.25, 1.0]]
    assert len(radiograph.notes) == 1


def test_voi_lut_of_signed_values(shown, lut):
    item = lut(-1, 8, [0, 51, 255], vr="SS")
    tags = {"VOILUTSequence": Sequence([item])}
    assert shown([[-5, -1, 0, 1]], signed=True, **tags) == [[0.0, 0.0, 0.2, 1.0]]


def test_modality_lut_wins_over_rescale_with_a_note(make_dicom, lut):
    tags = {"ModalityLUTSequence": Sequence([lut(0, 16, [0, 900, 1000])]), "RescaleSlope": 7}
    radiograph = read_dicom(make_dicom([[0, 1, 2]], **tags))
    assert radiograph.pixels.astype(float).round(4).tolist() == [[0.0, 0.9, 1.0]]
    assert codes(radiograph) == ["modality_twice"]


def test_modality_lut_that_turns_the_picture_sets_the_scale_by_what_is_there(shown, lut):
    # 1 is not in the picture, so its entry sets no scale
    item = lut(0, 16, [300, 60000, 200, 100])
    assert shown([[0, 2, 3]], ModalityLUTSequence=Sequence([item])) == [[1.0, 0.5, 0.0]]


def test_modality_lut_of_signed_values(shown, lut):
    item = lut(-2, 16, [0, 500, 1000], vr="SS")
    pixels = shown([[-9, -2, -1, 0, 5]], signed=True, ModalityLUTSequence=Sequence([item]))
    assert pixels == [[0.0, 0.0, 0.5, 1.0, 1.0]]


def test_voi_lut_works_on_what_the_modality_lut_gives(shown, lut):
    modality, voi = lut(0, 16, [0, 1, 2]), lut(0, 8, [255, 102, 0])
    tags = {"ModalityLUTSequence": Sequence([modality]), "VOILUTSequence": Sequence([voi])}
    assert shown([[0, 1, 2]], **tags) == [[1.0, 0.4, 0.0]]
    assert shown([[0, 1, 2]], "MONOCHROME1", **tags) == [[0.0, 0.6, 1.0]]


def test_the_first_of_several_voi_luts(make_dicom, lut):
    luts = Sequence([lut(0, 8, [0, 51, 255]), lut(0, 8, [255, 51, 0])])
    radiograph = read_dicom(make_dicom([[0, 1, 2]], VOILUTSequence=luts))
    assert radiograph.pixels.astype(float).round(4).tolist() == [[0.0, 0.2, 1.0]]
    assert codes(radiograph) == ["windows"]


def test_an_8_bit_lut_in_16_bit_words(shown, lut):
    # PS3.3 C.11.2.1.1: the entries may be bytes; then two stand in a word
    item = lut(0, 8, [0])
    item.LUTDescriptor = [4, 0, 8]
    del item.LUTData
    item.add_new("LUTData", "OW", bytes([0, 51, 102, 255]))
    assert shown([[0, 1, 2, 3]], VOILUTSequence=Sequence([item])) == [[0.0, 0.2, 0.4, 1.0]]


@given(
    center=st.floats(-3000, 3000),
    width=st.floats(1.5, 5000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
@settings(max_examples=50, deadline=None)
@pytest.mark.filterwarnings("ignore:overflow")  # theirs
def test_windows_agree_with_pydicom(make_dicom, center, width, function):
    values = np.arange(0, 4096, 5, dtype=np.uint16)
    dataset = make_dicom([values], VOILUTFunction=function)
    dataset.WindowCenter, dataset.WindowWidth = f"{center:.6f}", f"{width:.6f}"
    theirs = apply_windowing(values, dataset) / 4095
    ours = window(values, float(dataset.WindowCenter), float(dataset.WindowWidth), function)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_voi_lut_agrees_with_pydicom(make_dicom, lut):
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
