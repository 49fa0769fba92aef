"""``cascade prepare``: a raw download becomes a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
cascade prepare data=NAME data.root=PATH out=DIR

Reads a raw download into a collection: studies.parquet, images.parquet, collection.json. Image
files stay where they are. Splits are by patient; a split that the source gives is kept. What
cannot be read is listed in rejected.csv with its reason. summary.html shows what the collection
holds, in counts and charts, without any text or identifier of a patient.

  data=phantom   the built-in synthetic collection, drawn first (data.studies=N data.size=PIXELS)
  data=openi     Open-i / Indiana University: NLMCXR_reports.tgz, or unpacked; images where present
  data=indiana   the same collection as two CSV files, indiana_reports.csv and _projections.csv
  data=nih       NIH ChestX-ray14: Data_Entry_2017.csv or the reduced labels.csv
  data=mimic_cxr MIMIC-CXR or MIMIC-CXR-JPG: files/ and its tables
  data=chexpert  CheXpert: train.csv, valid.csv and, where there, test.csv
  data=padchest  PadChest: PADCHEST_chest_x_ray_images_labels_*.csv; the reports are Spanish
  data=table     a CSV with one row an image (data.columns.image=NAME data.columns.report=NAME ...;
                 columns that are a label each: data.label_columns=[Edema,Mass])

download=true fetches the public archives of data=openi into data.root first, and unpacks them. A
connection that breaks off, or Ctrl-C, costs nothing: the same command goes on where it stopped.
  data.download_images=png|dicom|none   which images: over 1 GB, about 81 GB, the reports alone
  data.archives.png.url=ADDRESS         from elsewhere; data.archives.png.sha256=SUM checks it
Without a network it says which files to bring from another machine, and where to put them.

Examples:
  cascade prepare data=phantom data.studies=500 out=collections/phantom
  cascade prepare data=openi data.root=downloads/openi out=collections/openi
  cascade prepare data=openi download=true data.root=downloads/openi out=collections/openi
  cascade prepare data=openi data.root=downloads/openi data.split_file=r2gen_split.json out=iu
  cascade prepare data=table data.root=mine.csv data.columns.image=file \\
      data.columns.report=text out=mine
"""


def run(config: DictConfig) -> None:
    """Prepare."""
    from cascade.cli.support import new_output_directory, plain

    settings = plain(config)
    from cascade.pipeline.collecting import prepare

    out = new_output_directory()
    prepare(settings, out)
    print(f"collection: {out}")
