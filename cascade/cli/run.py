"""``cascade run``: the whole cascade."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
cascade run [collection=DIR | data=NAME data.root=PATH] [rounds=N] out=DIR

The recurrent cascade of Shin et al. 2016: mine labels, train the classifier, train the generator,
read the joint contexts, cluster, relabel, fine-tune, generate again, N times; then score every
round on the test split beside the trivial baselines. Finished stages are kept: after a kill the
same command goes on.

Writes collection/, round-N/{labels,classifier,generator}/, model/ (the round best on validation),
rounds.json (why that one, and why no further) and evaluation/index.html. round-2/labels and later
ones have contexts.html: what each new label is, with example radiographs.

stop.patience=N ends the rounds when N in a row gain no more than stop.gain on validation;
relabel.rule=count, paper, gap or hdbscan says how contexts are found (cascade relabel --help).

-m runs once for each of several values, each in a process and a folder of its own (0/, 1/, ...),
with one collection, label table and image cache for all that want the same (shared/). A job that
fails costs only itself; resume=true runs what is not done.
  sweep=NAME       values as shipped: encoders, decoders, depth_data, rounds, hyper; optuna searches
  launcher=NAME    basic (one after another), joblib (launcher.jobs=N at once), submitit (SLURM)

Examples:
  cascade run data=phantom rounds=2 out=runs/phantom
  cascade run data=phantom rounds=9 stop.patience=1 relabel.rule=gap out=runs/until-no-gain
  cascade run data=nih data.root=downloads/nih experiment=nih14_squeezenet \\
      encoder.weights=squeezenet1_1.safetensors out=runs/nih
  cascade run -m seed=1,2,3 collection=collections/phantom out=sweeps/seeds
  cascade run -m sweep=encoders seed=1,2,3 launcher=joblib launcher.jobs=4 out=sweeps/encoders
  cascade run -m sweep=encoders seed=1,2,3 launcher=joblib launcher.jobs=4 out=sweeps/encoders \\
      resume=true
"""


def run(config: DictConfig) -> None:
    """Run and evaluate."""
    from cascade.cli.support import output_directory, plain

    settings = plain(config)
    out = output_directory()
    run_and_evaluate(settings, out)
    print(f"model: {out / 'model'}\nevaluation page: {out / 'evaluation' / 'index.html'}")


def run_and_evaluate(settings: dict[str, Any], out: Path) -> Any:
    """The cascade and its evaluation on the test split; returns the evaluation."""
    from cascade.cli.evaluate import show
    from cascade.cli.support import shared_directory
    from cascade.labels.table import read_label_table
    from cascade.pipeline.assessment import assess
    from cascade.pipeline.rounds import open_collection, run_cascade
    from cascade.pipeline.stages import Context, open_images

    bundles = run_cascade(settings, out, shared_directory(out))
    collection = open_collection(settings, out)
    context = Context(collection, open_images(settings, collection, out / "cache"), settings)
    named = {f"round {number}": bundle for number, bundle in enumerate(bundles, start=1)}
    table = read_label_table(out / "round-1" / "labels")
    evaluation = assess(context, table, named, out / "evaluation")
    show(evaluation)
    return evaluation
