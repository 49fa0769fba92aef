"""The script that a user would write: one file after the other, torchvision's densenet121, a CSV.

    python _annotate_peer.py FOLDER WEIGHTS.pt SIDE OUT.csv

The peer of ``annotate.py``. It knows what those files need and nothing else: windows, MONOCHROME1,
no broken file, no study, no second start.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import pydicom
import torch
import torch.nn.functional as F
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from torchvision.models import densenet121

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def main() -> None:
    folder, weights, side, out = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    state = torch.load(weights, weights_only=True)
    network = densenet121(weights=None, num_classes=len(state["classifier.bias"]))
    network.load_state_dict(state)
    network.eval()
    with open(out, "w", newline="") as stream, torch.no_grad():
        rows = csv.writer(stream)
        for file in sorted(folder.rglob("*.dcm")):
            dataset = pydicom.dcmread(file)
            pixels = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
            pixels = np.asarray(pixels, dtype=np.float32) / (2**dataset.BitsStored - 1)
            if dataset.PhotometricInterpretation == "MONOCHROME1":
                pixels = 1 - pixels
            image = torch.from_numpy(pixels)[None, None]
            image = F.interpolate(image, size=(side, side), mode="bilinear", antialias=True)
            logits = network((image.expand(-1, 3, -1, -1) - MEAN) / STD)
            chances = logits.sigmoid()[0].tolist()
            rows.writerow([file.relative_to(folder).as_posix(), *chances])


if __name__ == "__main__":
    main()
