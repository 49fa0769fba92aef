"""``cascade demo``: the whole method on the built-in phantom collection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
cascade demo [out=outputs/demo]

Draws the phantom collection, runs two rounds of the cascade on it, scores both beside the trivial
baselines on the test split, and annotates a small sample archive (with a broken file and a picture
that is no chest). About five minutes on two CPU cores. Run again, it only shows the results; after
a kill it goes on.

The phantom is synthetic: its scores say that the method works, nothing about real radiographs.

Examples:
  cascade demo
  cascade demo rounds=3 out=demo-3
  cascade demo data.studies=600 classifier.epochs=2 classifier.next_epochs=2 out=quick
"""

ARCHIVE_STUDIES = 12


def run(config: DictConfig) -> None:
    """Run the demo."""
    from cascade import RESEARCH_NOTICE
    from cascade.cli.run import run_and_evaluate
    from cascade.cli.support import output_directory, plain

    settings = plain(config)
    out = output_directory()
    evaluation = run_and_evaluate(settings, out)
    archive = out / "archive"
    sample_archive(settings, out, archive)
    summary = annotate_sample(settings, archive, out)
    print(summary)
    print("\nThree drafts beside their truth (test split):")
    for reference, draft in three_drafts(evaluation):
        print(f"  truth  {reference}\n  draft  {draft}\n")
    print(f"evaluation page    {out / 'evaluation' / 'index.html'}")
    print(f"annotated archive  {out / 'annotations' / 'studies'}")
    print(f"trained bundle     {out / 'model'}")
    print(f"\n{RESEARCH_NOTICE}")


def three_drafts(evaluation: Any) -> list[tuple[str, str]]:
    """One normal study, one with a single finding, one with several: the first of each."""
    references, drafts = evaluation.rows.references, evaluation.main.hypotheses
    wanted = [
        lambda text: text == "normal",
        lambda text: text != "normal" and ";" not in text,
        lambda text: ";" in text,
    ]
    pairs = list(zip(references, drafts, strict=True))
    return [
        next(pair for pair in pairs if test(pair[0]))
        for test in wanted
        if any(map(test, references))
    ]


def sample_archive(settings: dict[str, Any], out: Path, archive: Path) -> None:
    """Copy some test radiographs as a hospital's folder would hold them, and add two bad files."""
    if archive.is_dir():
        return
    import shutil

    import numpy as np
    from PIL import Image

    from cascade.io.collection import read_collection
    from cascade.io.files import atomic_directory

    collection = read_collection(settings["collection"] or out / "collection")
    test = collection.studies[collection.studies["split"] == "test"]["study_id"]
    images = collection.images
    chosen = images[images["study_id"].isin(test[:ARCHIVE_STUDIES]) & images["path"].notna()]
    with atomic_directory(archive) as partial:
        for path, study_id in zip(chosen["path"], chosen["study_id"], strict=True):
            source = collection.image_path(path)
            (partial / study_id).mkdir(exist_ok=True)
            shutil.copyfile(source, partial / study_id / source.name)
        (partial / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x00")
        stripes = (np.indices((256, 256)).sum(axis=0) // 16 % 2 * 255).astype(np.uint8)
        Image.fromarray(stripes).save(partial / "test-pattern.png")


def annotate_sample(settings: dict[str, Any], archive: Path, out: Path) -> Any:
    """Annotate the sample archive with the chosen bundle."""
    from cascade.inference.archive import annotate_archive
    from cascade.inference.predictor import Predictor
    from cascade.pipeline.progress import archive_bar

    predictor = Predictor(out / "model")
    with archive_bar() as update:
        return annotate_archive(
            archive,
            predictor,
            out / "annotations",
            image_size=predictor.image_size,
            abstain_below=predictor.abstain_below,
            progress=update,
        )
