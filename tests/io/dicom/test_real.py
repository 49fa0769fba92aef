"""The real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_voi_lut

from cascade.io.dicom import read_dicom


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
