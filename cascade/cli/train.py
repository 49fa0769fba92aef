"""``cascade train``: one stage becomes a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
cascade train stage=classifier collection=DIR label_table=DIR out=DIR
cascade train stage=generator  collection=DIR label_table=DIR classifier_model=RUN/model out=DIR

Trains one stage into a run: config.yaml, metrics.csv, checkpoints/, model/. Killed, the same
command goes on from the last finished epoch.

  encoder=NAME      tiny, nin, googlenet_bn, squeezenet1_1, resnet18, resnet50, densenet121,
                    efficientnet_b0, convnext_tiny, swin_t, vit_b_16, timm (encoder.weights=FILE)
  classifier.pooling=NAME  of the places of a map: mean, max, lse, noisy_or, gated_attention
  classifier.fusion=NAME   of the views of a study (data.views): mean, max, attention
  classifier.loss=NAME     bce, focal, asymmetric; classifier.class_weights=none, inverse, effective
  classifier.uncertain=NAME    labels of -1: ignore, positive, negative, soft
  classifier.calibration=NAME  on validation: none, temperature, platt, isotonic
  decoder=NAME      lstm, gru, hierarchical_lstm, attention_lstm, transformer, gpt2
  trainer=NAME      auto, cpu, gpu, ddp_cpu (two processes), ddp (every GPU), multinode (torchrun),
                    fast (one batch, to see that it runs); docs/scaling.md
  callbacks=NAME    default, ema, early_stopping, ema_early_stopping, none
  logger=NAME       none, csv, tensorboard
  split.train_share=0.5   learn from half of the training patients
  find_lr=true      try a hundred learning rates instead: find_lr.svg, and one to begin with

-m trains once for each of several values, each in a process and a folder of its own; resume=true
runs what is not done of a sweep. launcher=joblib runs several at once, launcher=submitit on SLURM.
  sweep=NAME        values as shipped: encoders, decoders, depth_data, hyper; optuna searches

Examples:
  cascade train stage=classifier collection=collections/nih label_table=labels/nih \\
      encoder=squeezenet1_1 encoder.weights=squeezenet1_1.safetensors out=runs/classifier
  cascade train stage=generator collection=collections/nih label_table=labels/nih \\
      classifier_model=runs/classifier/model decoder=gru out=runs/generator
  cascade train -m encoder=tiny,resnet18 seed=1,2,3 collection=c label_table=l out=sweeps/encoders
  cascade train -m sweep=optuna search.trials=30 collection=c label_table=l out=sweeps/search
"""


def run(config: DictConfig) -> None:
    """Train."""
    from cascade.cli.support import existing, output_directory, plain
    from cascade.errors import InputError

    settings = plain(config)
    if settings["stage"] not in ("classifier", "generator"):
        raise InputError(
            f"unknown stage {settings['stage']!r}, expected 'classifier' or 'generator'"
        )
    if settings["stage"] == "generator":
        classifier = existing(settings, "classifier_model")
    start = existing(settings, "start_from") if settings["start_from"] else None
    collection = existing(settings, "collection")
    from cascade.data.splits import take_training_share
    from cascade.labels.table import read_label_table
    from cascade.pipeline.early import check_networks
    from cascade.pipeline.stages import open_context, train_classifier, train_generator
    from cascade.training.together import check_processes

    check_processes(settings)
    out = output_directory()
    table = read_label_table(existing(settings, "label_table"))
    if not (out / "model").is_dir():
        generator = settings["stage"] == "generator"
        check_networks(settings, classifier if generator else start, decoder=generator)
    context = open_context(settings, collection)
    split = settings["split"]
    context.collection = take_training_share(
        context.collection, float(split["train_share"]), int(split["seed"])
    )
    if settings["find_lr"]:
        from cascade.pipeline.rates import try_rates

        stage = settings["stage"]
        found = try_rates(context, table, stage, out, classifier if stage == "generator" else start)
        print(
            f"picture: {out / 'find_lr.svg'}\nsuggested: {stage}.optimizer.lr={found.suggested:.2g}"
        )
        return
    if settings["stage"] == "classifier":
        bundle = train_classifier(context, table, out, start)
    else:
        bundle = train_generator(context, table, classifier, out)
    print(f"run: {out}\nmodel: {bundle}")
