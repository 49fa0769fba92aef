"""DICOM files to radiographs: one picture, bone bright, in [0, 1], with what the header says of it.

The order is fixed: modality LUT or rescale, VOI LUT or window, scale to [0, 1], then one inversion
for MONOCHROME1 or PresentationLUTShape INVERSE; last the picture is brought upright where the
header says how it lies. Without a VOI LUT or window the darkest pixel becomes 0 and the brightest
1, pixel padding left out; padding itself is always black. A broken or missing tag that can be got
over becomes a note; what speaks against a chest radiograph a doubt. docs/dicom.md has the tables.
"""

from cascade.io.dicom.photometry import luminance, stretch, window
from cascade.io.dicom.read import read_dicom
from cascade.io.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from cascade.io.radiograph import MAX_BYTES, MAX_PIXELS, NOTES, Facts, Radiograph, note_code

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "NOTES",
    "TRANSFER_SYNTAXES",
    "Facts",
    "Radiograph",
    "luminance",
    "note_code",
    "read_dicom",
    "stretch",
    "window",
]
